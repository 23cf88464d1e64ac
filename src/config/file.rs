//! Configuration files: our TOML, and etcd's YAML (JSON is YAML). The same keys in both; etcd's nested
//! sections are understood in both. In YAML an unknown key is passed over with a notice, as etcd
//! passes over it; in TOML, which nobody but us writes, it is a mistake. Depends on the table and the
//! two parsers.

use std::path::Path;

use serde_json::Value;

use super::build::{Given, Givens};
use super::error::{ConfigError, Place};
use super::settings::{Kind, SETTINGS, Setting, by_name, nearest_name};

/// The two notations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    Toml,
    Yaml,
}

/// Sections of a file, and what stands before their keys to make a setting's name.
const SECTIONS: [(&str, &str); 5] = [
    ("client-transport-security", ""),
    ("peer-transport-security", "peer-"),
    ("discovery-config", "discovery-"),
    ("socket-options", "socket-"),
    ("mailbox", "mailbox-"),
];

/// Keys whose setting's name does not follow from the rule above.
const RENAMED: [(&str, &str, &str); 13] = [
    ("client-transport-security", "allowed-cn", "client-cert-allowed-cn"),
    ("client-transport-security", "allowed-hostname", "client-cert-allowed-hostname"),
    (
        "client-transport-security",
        "skip-client-san-verification",
        "client-skip-client-san-verification",
    ),
    ("client-transport-security", "crl-file", "client-crl-file"),
    ("peer-transport-security", "allowed-cn", "peer-cert-allowed-cn"),
    ("peer-transport-security", "allowed-hostname", "peer-cert-allowed-hostname"),
    ("discovery-config", "secure.cert", "discovery-cert"),
    ("discovery-config", "secure.key", "discovery-key"),
    ("discovery-config", "secure.cacert", "discovery-cacert"),
    ("discovery-config", "secure.insecure-transport", "discovery-insecure-transport"),
    ("discovery-config", "secure.insecure-skip-tls-verify", "discovery-insecure-skip-tls-verify"),
    ("discovery-config", "auth.username", "discovery-user"),
    ("discovery-config", "auth.password", "discovery-password"),
];

/// The setting that a key in a section stands for.
fn setting_of(section: &str, key: &str) -> Option<&'static Setting> {
    let renamed = RENAMED.iter().find(|(s, k, _)| *s == section && *k == key);
    if let Some((_, _, name)) = renamed {
        return by_name(name);
    }
    let prefix = SECTIONS.iter().find(|(s, _)| *s == section)?.1;
    by_name(&format!("{prefix}{key}"))
}

/// Reads the file at `path`. This and the log's own files are the only ones opened outside of the
/// data directory.
pub(super) fn read(path: &Path, notices: &mut Vec<String>) -> Result<(Givens, bool), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::file(path, error))?;
    parse(path, &text, notices)
}

/// Reads `text`, which `path` is said to hold. The boolean tells whether it is our own TOML.
pub(super) fn parse(
    path: &Path,
    text: &str,
    notices: &mut Vec<String>,
) -> Result<(Givens, bool), ConfigError> {
    let (tree, notation) = tree(path, text)?;
    let mut reading = Reading { path, notation, notices, givens: Givens::default() };
    match tree {
        Value::Null => {}
        Value::Object(keys) => {
            for (key, value) in keys {
                reading.top(&key, value)?;
            }
        }
        _ => return Err(ConfigError::file(path, "allowed: keys with their values")),
    }
    Ok((reading.givens, notation == Notation::Toml))
}

fn tree(path: &Path, text: &str) -> Result<(Value, Notation), ConfigError> {
    let toml = || -> Result<Value, toml::de::Error> { toml::from_str(text) };
    let yaml = || -> Result<Value, serde_saphyr::Error> {
        // Only comments is no document; it says nothing, which is allowed.
        if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            return Ok(Value::Null);
        }
        // Else a member called `on` would be called `true`; `give` knows the old words for booleans.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(text, options)
    };
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension {
        "toml" => Ok((toml().map_err(|e| ConfigError::file(path, e))?, Notation::Toml)),
        "yaml" | "yml" | "json" => {
            Ok((yaml().map_err(|e| ConfigError::file(path, e))?, Notation::Yaml))
        }
        // No hint in the name: YAML unless only TOML makes sense of it.
        _ => match (yaml(), toml()) {
            (Ok(tree @ (Value::Object(_) | Value::Null)), _) => Ok((tree, Notation::Yaml)),
            (_, Ok(tree)) => Ok((tree, Notation::Toml)),
            (Err(error), _) => Err(ConfigError::file(path, error)),
            (Ok(_), Err(error)) => Err(ConfigError::file(path, error)),
        },
    }
}

struct Reading<'a> {
    path: &'a Path,
    notation: Notation,
    notices: &'a mut Vec<String>,
    givens: Givens,
}

impl Reading<'_> {
    fn top(&mut self, key: &str, value: Value) -> Result<(), ConfigError> {
        if SECTIONS.iter().any(|(section, _)| *section == key) {
            return match value {
                Value::Null => Ok(()),
                Value::Object(keys) => self.section(key, "", keys),
                _ => Err(self.refuse(key, &value, "a section of keys with their values")),
            };
        }
        match by_name(key) {
            Some(setting) => self.give(setting, key, value),
            None => self.unknown(key, nearest_name(key)),
        }
    }

    fn section(
        &mut self,
        section: &str,
        before: &str,
        keys: serde_json::Map<String, Value>,
    ) -> Result<(), ConfigError> {
        for (key, value) in keys {
            let inner = format!("{before}{key}");
            let shown = format!("{section}.{inner}");
            match (setting_of(section, &inner), value) {
                (Some(setting), value) => self.give(setting, &shown, value)?,
                (None, Value::Object(keys)) if before.is_empty() => {
                    self.section(section, &format!("{inner}."), keys)?;
                }
                (None, _) => {
                    let suggestion = nearest_in(section, &inner);
                    self.unknown(&shown, suggestion.as_deref())?;
                }
            }
        }
        Ok(())
    }

    fn give(&mut self, setting: &Setting, key: &str, value: Value) -> Result<(), ConfigError> {
        let text = match (value, setting.kind) {
            (Value::Null, _) => return Ok(()),
            // Go's durations are nanoseconds when they are numbers.
            (Value::Number(number), Kind::Duration) => format!("{number}ns"),
            (Value::Number(number), _) => number.to_string(),
            (Value::Bool(truth), _) => truth.to_string(),
            (Value::String(text), Kind::Bool) => match text.as_str() {
                "y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => "true".to_owned(),
                "n" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => "false".to_owned(),
                _ => text,
            },
            (Value::String(text), _) => text,
            (Value::Array(items), Kind::List | Kind::Origins | Kind::Urls | Kind::Members) => {
                let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                match words {
                    Some(words) => words.join(","),
                    None => {
                        return Err(self.refuse(key, &Value::Array(items), &setting.allowed()));
                    }
                }
            }
            (value, _) => return Err(self.refuse(key, &value, &setting.allowed())),
        };
        // As with variables, and as etcd's own reading of its file: empty is "not set".
        if text.is_empty() {
            return Ok(());
        }
        let place = Place::Key(key.to_owned(), self.path.to_owned());
        self.givens.add(setting, Given { text, place })
    }

    fn refuse(&self, key: &str, value: &Value, allowed: &str) -> ConfigError {
        ConfigError::Syntax {
            place: Place::Key(key.to_owned(), self.path.to_owned()),
            value: value.to_string(),
            allowed: allowed.to_owned(),
        }
    }

    fn unknown(&mut self, key: &str, suggestion: Option<&str>) -> Result<(), ConfigError> {
        match self.notation {
            Notation::Toml => Err(ConfigError::UnknownKey {
                path: self.path.to_owned(),
                key: key.to_owned(),
                suggestion: suggestion.map(str::to_owned),
            }),
            Notation::Yaml => {
                let file = self.path.display();
                self.notices.push(format!("key {key} in {file}: no such setting, passed over"));
                Ok(())
            }
        }
    }
}

/// The key of `section` that is most like `key`, as it would be written in a file.
fn nearest_in(section: &str, key: &str) -> Option<String> {
    let prefix = SECTIONS.iter().find(|(s, _)| *s == section)?.1;
    SETTINGS
        .iter()
        .filter_map(|setting| setting.name.strip_prefix(prefix))
        .map(|candidate| (strsim::damerau_levenshtein(candidate, key), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| format!("{section}.{candidate}"))
}
