//! The command line, spelled as Go programs take it: `--f=v`, `--f v`, `-f v`, booleans bare or `=true`.
//!
//! clap knows the names (from the table), finds the like of a misspelled one and writes the help. It
//! does not know Go's spelling, so `canonical` first turns each flag into `--name=value`. Depends on
//! clap and the table.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::build::{Given, Givens};
use super::error::{ConfigError, Place};
use super::settings::{Effect, Kind, SETTINGS, Setting, by_name, nearest_name};
use super::values::parse_bool;

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To run, with these flags.
    Run(Flags),
    /// To print the help, and to end.
    Help,
    /// To print the version, and to end.
    Version,
}

/// The flags of a command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub(super) givens: Givens,
    /// `--config-file`, if given.
    pub(super) config_file: Option<String>,
}

/// Flags that are no settings: they say where settings come from, or ask for something else.
const CONFIG_FILE: &str = "config-file";
const HELP: &str = "help";
const VERSION: &str = "version";

/// The `serve` command with all its flags, for parsing and for the help of the whole program.
pub fn command() -> Command {
    let mut command = Command::new("serve")
        .about("Run a member")
        .long_about(
            "Run a member. Each flag --some-name is also the variable CALLBOARD_SOME_NAME or \
             ETCD_SOME_NAME, and the key some-name of a configuration file.",
        )
        .args_override_self(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(
            Arg::new(CONFIG_FILE)
                .long(CONFIG_FILE)
                .value_name("FILE")
                .help("Read all settings from this file (TOML, or etcd's YAML or JSON); other flags and variables are then ignored."),
        )
        .arg(Arg::new(HELP).long(HELP).action(ArgAction::SetTrue).help("Print this help."))
        .arg(Arg::new(VERSION).long(VERSION).action(ArgAction::SetTrue).help("Print the version."));
    for setting in SETTINGS {
        command = command.arg(argument(setting, setting.name));
        for alias in setting.aliases {
            command = command.arg(argument(setting, alias).hide(true));
        }
    }
    command
}

fn argument(setting: &Setting, name: &'static str) -> Arg {
    let value_name = match setting.kind {
        Kind::Text => "TEXT",
        Kind::Path => "PATH",
        Kind::Bool | Kind::Relic => "true|false",
        Kind::Count(..) | Kind::Signed => "NUMBER",
        Kind::Duration => "DURATION",
        Kind::Choice(_) => "WORD",
        Kind::Urls => "URLS",
        Kind::Members => "NAME=URL,...",
        Kind::List | Kind::Origins => "LIST",
    };
    let mut help = vec![setting.help.to_owned()];
    if let Kind::Choice(words) = setting.kind {
        let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
        help.push(format!("[allowed: {}]", words.join(", ")));
    }
    if !setting.default.is_empty() {
        help.push(format!("[default: {}]", setting.default));
    }
    help.extend(match setting.effect {
        Effect::Used => None,
        Effect::Ignored(_) => Some("[no effect]".to_owned()),
        Effect::Later(_) => Some("[no effect yet]".to_owned()),
        Effect::NotYet(_) => Some("[not in this version]".to_owned()),
    });
    Arg::new(name)
        .long(name)
        .value_name(value_name)
        .action(ArgAction::Set)
        .help(help.join(" "))
        .help_heading(setting.section.title())
        .hide(setting.kind == Kind::Relic)
}

/// Reads the arguments that follow `serve`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, ConfigError> {
    let mut texts = Vec::new();
    for arg in args {
        texts.push(arg.into_string().map_err(|arg| ConfigError::NotUtf8 {
            what: "argument".to_owned(),
            shown: arg.to_string_lossy().into_owned(),
        })?);
    }
    let (flags, stray) = canonical(texts)?;
    let matches = command().no_binary_name(true).try_get_matches_from(flags).map_err(unknown)?;
    if matches.get_flag(HELP) {
        return Ok(Asked::Help);
    }

    let mut flags = Flags::default();
    for setting in SETTINGS {
        for name in setting.names() {
            if let Some(text) = matches.get_one::<String>(name) {
                let place = Place::Flag(name.to_owned());
                flags.givens.add(setting, Given { text: text.clone(), place })?;
            }
        }
    }
    // Also when a file makes them moot: etcd reads the whole command line before it looks at one.
    flags.givens.check_syntax()?;
    if let Some(arg) = stray {
        return Err(ConfigError::StrayArgument { arg });
    }
    if matches.get_flag(VERSION) {
        return Ok(Asked::Version);
    }
    flags.config_file =
        matches.get_one::<String>(CONFIG_FILE).filter(|path| !path.is_empty()).cloned();
    Ok(Asked::Run(flags))
}

/// Turns Go's spellings into `--name=value`, up to the first argument that is no flag, which is
/// returned beside them. An unknown name is left for clap to report.
fn canonical(args: Vec<String>) -> Result<(Vec<String>, Option<String>), ConfigError> {
    let mut flags = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let body = match arg.strip_prefix('-') {
            None | Some("") => return Ok((flags, Some(arg))),
            Some("-") => return Ok((flags, args.next())),
            Some(rest) => rest.strip_prefix('-').unwrap_or(rest),
        };
        if body.starts_with(['-', '=']) {
            return Err(ConfigError::FlagSyntax { arg });
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let name = if name == "h" { HELP } else { name };
        let bare = by_name(name).map_or(name == HELP || name == VERSION, Setting::is_bare_flag);
        let known = bare || name == CONFIG_FILE || by_name(name).is_some();
        let value = match value {
            Some(value) => value.to_owned(),
            None if bare => "true".to_owned(),
            None if !known => {
                // Whether the next argument is its value cannot be known; nothing after matters.
                flags.push(format!("--{name}"));
                return Ok((flags, None));
            }
            None => args
                .next()
                .ok_or_else(|| ConfigError::FlagWithoutValue { name: name.to_owned() })?,
        };
        match name {
            HELP => flags.push(format!("--{HELP}")), // Go looks at no value here
            VERSION => match parse_bool(&value) {
                Some(true) => flags.push(format!("--{VERSION}")),
                Some(false) => {}
                None => return Err(ConfigError::FlagSyntax { arg: format!("--{name}={value}") }),
            },
            _ => flags.push(format!("--{name}={value}")),
        }
    }
    Ok((flags, None))
}

/// After [`canonical`] only an unknown name is left to go wrong.
fn unknown(error: clap::Error) -> ConfigError {
    if error.kind() != ErrorKind::UnknownArgument {
        let arg = error.to_string().lines().next().unwrap_or_default().to_owned();
        return ConfigError::FlagSyntax { arg };
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let dashless = |text: String| text.trim_start_matches('-').to_owned();
    let invalid = context(ContextKind::InvalidArg).map(dashless).unwrap_or_default();
    let ends = |c: char| c == '=' || c.is_whitespace(); // a message is one line
    let name = invalid.split(ends).next().unwrap_or_default().to_owned();
    let suggestion = context(ContextKind::SuggestedArg)
        .map(dashless)
        .or_else(|| nearest_name(&name).map(str::to_owned))
        .map(|name| format!("--{name}"));
    ConfigError::UnknownFlag { name, suggestion }
}

impl Flags {
    /// The present names of the settings given, to find variables that say the same thing.
    pub(super) fn settings(&self) -> BTreeSet<&'static str> {
        SETTINGS.iter().map(|s| s.name).filter(|name| self.givens.get(name).is_some()).collect()
    }
}
