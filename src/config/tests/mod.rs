//! Tests of the configuration, as tables. Arguments and variables are handed in, never the process's.

mod command_line;
mod files;
mod shipped;
mod table;

use std::ffi::OsString;
use std::path::Path;

use super::env::Variables;
use super::flags::Asked;
use super::*;

fn try_load(args: &[&str], env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let variables =
        Variables::new(env.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))))?;
    match flags::parse(args.iter().map(OsString::from))? {
        Asked::Run(flags) => load(&flags, &variables),
        asked => panic!("{asked:?}"),
    }
}

fn loaded(args: &[&str], env: &[(&str, &str)]) -> Loaded {
    try_load(args, env).unwrap_or_else(|error| panic!("{args:?} {env:?}: {error}"))
}

fn config(args: &[&str]) -> Config {
    loaded(args, &[]).config
}

/// The one line, and the exit status.
fn refused(args: &[&str], env: &[(&str, &str)]) -> (String, u8) {
    let error = try_load(args, env).err().unwrap_or_else(|| panic!("{args:?} {env:?} is taken"));
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    (line, error.exit_status().code())
}

fn from_file(name: &str, text: &str) -> Result<Loaded, ConfigError> {
    let mut notices = Vec::new();
    let (givens, ours) = file::parse(Path::new(name), text, &mut notices)?;
    build::build(&givens, ours, notices)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever is typed is taken or refused in one line.
    #[test]
    fn no_argument_breaks_it(
        args in proptest::collection::vec("(-{0,3}(name|wal-dir|pre-vote|x|h|v|cors)?=?)?.{0,6}", 0..4),
    ) {
        if let Err(error) = flags::parse(args.iter().map(OsString::from)) {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
    }

    /// The same for what a file may hold.
    #[test]
    fn no_file_breaks_it(text in "([a-z:=\\[\\]{}'\"&*#! 0-9-]|\n){0,60}") {
        for name in ["x", "x.toml", "x.yaml"] {
            if let Err(error) = from_file(name, &text) {
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
    }
}
