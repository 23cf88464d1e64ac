//! The environment: `CALLBOARD_SOME_NAME` and `ETCD_SOME_NAME` are the flag `--some-name`; ours wins.
//! An empty variable is none. The variables are handed in, never read from the process here. Depends
//! on the table.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::build::{Given, Givens};
use super::error::{ConfigError, Place};
use super::flags::Flags;
use super::settings::{SETTINGS, by_name};

/// The prefixes, the one that wins first.
const PREFIXES: [&str; 2] = ["CALLBOARD_", "ETCD_"];

/// Variables that begin like settings and are none, which etcd's own scripts and images set.
const OTHERS: [&str; 2] = ["UNSUPPORTED_ARCH", "CONFIG_FILE"];

/// Our variables out of an environment; names without one of the two prefixes are left alone.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Takes what is ours from an environment.
    pub fn new(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Variables, ConfigError> {
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let Some(name) = name.to_str().filter(|n| PREFIXES.iter().any(|p| n.starts_with(p)))
            else {
                continue;
            };
            let value = value.into_string().map_err(|value| ConfigError::NotUtf8 {
                what: format!("variable {name}"),
                shown: value.to_string_lossy().into_owned(),
            })?;
            if !value.is_empty() {
                variables.insert(name.to_owned(), value);
            }
        }
        Ok(Variables(variables))
    }

    /// The path of the configuration file, if a variable has it.
    pub(super) fn config_file(&self) -> Option<String> {
        PREFIXES.iter().find_map(|prefix| self.0.get(&format!("{prefix}CONFIG_FILE"))).cloned()
    }

    /// Whether any but the path of the file is set.
    pub(super) fn says_more_than_the_file(&self) -> bool {
        self.0.keys().any(|name| !name.ends_with("_CONFIG_FILE"))
    }

    /// What the variables give. A setting that a flag gives too is a mistake, as with etcd: which of
    /// the two was meant cannot be known.
    pub(super) fn givens(
        &self,
        flags: &Flags,
        notices: &mut Vec<String>,
    ) -> Result<Givens, ConfigError> {
        let mut givens = Givens::default();
        let flagged = flags.settings();
        for prefix in PREFIXES {
            let mut from_prefix = Givens::default();
            for setting in SETTINGS {
                for name in setting.names() {
                    let variable = format!("{prefix}{}", variable_suffix(name));
                    let Some(text) = self.0.get(&variable) else { continue };
                    if flagged.contains(setting.name) {
                        let flag = setting.name.to_owned();
                        return Err(ConfigError::Conflict { variable, flag });
                    }
                    let place = Place::Variable(variable);
                    from_prefix.add(setting, Given { text: text.clone(), place })?;
                }
            }
            givens.fill_from(from_prefix);
        }
        for name in self.0.keys() {
            let suffix = PREFIXES.iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name);
            let flag = suffix.to_ascii_lowercase().replace('_', "-");
            if by_name(&flag).is_none() && !OTHERS.contains(&suffix) {
                notices.push(format!("unrecognized environment variable {name}"));
            }
        }
        Ok(givens)
    }
}

fn variable_suffix(flag: &str) -> String {
    flag.to_ascii_uppercase().replace('-', "_")
}
