//! What is wrong with a configuration, as one line each, and the exit status etcd gives for it.
//! Depends on nothing.

use std::fmt;
use std::path::{Path, PathBuf};

/// With what the process ends; etcd's own numbers, which scripts and service managers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 1: whatever is wrong beyond the spelling of the command line.
    Failure,
    /// 2: an unknown flag, or a flag's value that cannot be read.
    Usage,
}

impl ExitStatus {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Failure => 1,
            ExitStatus::Usage => 2,
        }
    }
}

/// Where a value was given, so that a message can point at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the command line, by this name (without dashes).
    Flag(String),
    /// In this environment variable.
    Variable(String),
    /// Under this key of this file.
    Key(String, PathBuf),
    /// Nowhere: the default of the setting with this name.
    Default(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(name) => write!(f, "--{name}"),
            Place::Variable(name) => f.write_str(name),
            Place::Key(key, file) => write!(f, "key {key} in {}", file.display()),
            Place::Default(name) => write!(f, "--{name} (its default)"),
        }
    }
}

/// A mistake that stops the start. Each is one line, whatever was typed: values are shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text cannot be read as what the setting holds.
    #[error("setting {place}: value {value:?}: allowed: {allowed}")]
    Syntax {
        /// Where it was given.
        place: Place,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
    /// The text can be read, but a rule forbids what it says.
    #[error("setting {place}: value {value:?}: allowed: {allowed}")]
    Rule {
        /// Where it was given.
        place: Place,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
    /// The value asks for something that etcd has and this version has not: going on without it
    /// would be worse than not to start.
    #[error("setting {place}: value {value:?}: not in this version: {feature}")]
    NotInThisVersion {
        /// Where it was given.
        place: Place,
        /// What was given.
        value: String,
        /// What it asks for.
        feature: String,
    },
    /// No setting has this name.
    #[error("setting --{name}: no such flag{}; `callboard serve --help` lists them", nearest(.suggestion.as_deref()))]
    UnknownFlag {
        /// The name, without dashes.
        name: String,
        /// The setting whose name is most like it.
        suggestion: Option<String>,
    },
    /// A flag without its value.
    #[error("setting --{name}: flag needs an argument: --{name}=VALUE")]
    FlagWithoutValue {
        /// The name.
        name: String,
    },
    /// Something like `---x` or `-=x`.
    #[error("argument {arg:?}: bad flag syntax: allowed: --name=value, --name value")]
    FlagSyntax {
        /// What was given.
        arg: String,
    },
    /// An argument that is no flag.
    #[error("{arg:?} is not a valid flag; allowed: --name=value, --name value")]
    StrayArgument {
        /// What was given.
        arg: String,
    },
    /// An argument or a variable that is not text.
    #[error("{what}: not valid UTF-8: {shown:?}")]
    NotUtf8 {
        /// What was being read.
        what: String,
        /// As much of it as can be shown.
        shown: String,
    },
    /// A flag and the variable of the same setting.
    #[error(
        "conflicting environment variable {variable:?} is shadowed by corresponding command-line flag --{flag} (either unset environment variable or disable flag)"
    )]
    Conflict {
        /// The variable.
        variable: String,
        /// The flag.
        flag: String,
    },
    /// One setting under two of its names.
    #[error("setting {first}: also given as {second}; allowed: one of the two names")]
    Twice {
        /// Where it was given.
        first: Place,
        /// Where it was given too.
        second: Place,
    },
    /// The configuration file cannot be read.
    #[error("configuration file {}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why, on one line.
        reason: String,
    },
    /// A key that no setting has, in a file of our own format.
    #[error("key {key} in {}: no such setting{}", path.display(), nearest(.suggestion.as_deref()))]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// The key, with its tables before it.
        key: String,
        /// The key that is most like it.
        suggestion: Option<String>,
    },
}

impl ConfigError {
    /// What the process ends with.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            ConfigError::Syntax { place: Place::Flag(_), .. }
            | ConfigError::UnknownFlag { .. }
            | ConfigError::FlagWithoutValue { .. }
            | ConfigError::FlagSyntax { .. } => ExitStatus::Usage,
            _ => ExitStatus::Failure,
        }
    }

    pub(super) fn file(path: &Path, reason: impl fmt::Display) -> ConfigError {
        // Parsers explain themselves over several lines; a log and a terminal want one.
        let reason = reason.to_string();
        let lines: Vec<&str> = reason.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        ConfigError::File { path: path.to_owned(), reason: lines.join("; ") }
    }
}

fn nearest(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(", did you mean {name}?")).unwrap_or_default()
}
