//! The command line of the `callboard` binary: what is asked for, and with what the process ends.
//! The last layer: it may use everything, nothing uses it.
//!
//! Standard output belongs to answers (version, help, reports); mistakes are one line on standard
//! error. Exit statuses are etcd's: 0, 1, and 2 for a command line that cannot be read.

mod cert;
mod check_data_dir;
mod gateway;
mod proxy;
mod restore;
mod serve;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Arg, Command, value_parser};

use crate::config::ETCD_VERSION;
use crate::config::flags;

/// Where a command's words go; handed in, so that tests see them.
pub struct Streams<'a> {
    /// Answers.
    pub out: &'a mut dyn Write,
    /// Mistakes.
    pub err: &'a mut dyn Write,
}

impl Streams<'_> {
    /// Prints an answer. Whoever closed standard output does not want it.
    fn answer(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Prints one line of complaint.
    fn complain(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.err, "callboard: {text}").and_then(|()| self.err.flush());
    }
}

/// The whole program: `args` without the program's own name. Returns the exit status.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    mut streams: Streams<'_>,
) -> u8 {
    let mut args = args.into_iter();
    let first = args.next();
    match first.as_ref().and_then(|arg| arg.to_str()) {
        Some("serve") => serve::run(args, environment, &mut streams),
        Some("proxy") => proxy::run(args, environment, &mut streams),
        Some("gateway") => gateway::run(args, &mut streams),
        Some("cert") => cert::run(args, &mut streams),
        Some("check-data-dir") => check_data_dir::run(args, &mut streams),
        Some("restore") => restore::run(args, &mut streams),
        Some("version" | "--version" | "-version" | "-V") => {
            streams.answer(&version());
            0
        }
        Some("help" | "--help" | "-help" | "-h") => {
            let help = match args.next().as_ref().and_then(|arg| arg.to_str()) {
                Some("serve") => serve_help(),
                Some("proxy") => proxy::help(),
                Some("gateway") => gateway::help(),
                Some("cert") => cert::help(),
                Some("check-data-dir") => check_data_dir::help(),
                Some("restore") => restore::help(),
                _ => command().render_help().to_string(),
            };
            streams.answer(&help);
            0
        }
        _ => {
            match first {
                Some(arg) => streams.complain(format_args!(
                    "{:?} is not a command; allowed: {COMMANDS}",
                    arg.to_string_lossy()
                )),
                None => streams.complain(format_args!("a command is needed: {COMMANDS}")),
            }
            2
        }
    }
}

/// What there is, for those who mistyped it.
const COMMANDS: &str = "serve, proxy, gateway, cert, check-data-dir, restore, version, help";

fn command() -> Command {
    Command::new("callboard")
        .about("A linearizable key-value store for configuration and service discovery")
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .subcommand(flags::command())
        .subcommand(proxy::command())
        .subcommand(gateway::command())
        .subcommand(cert::command())
        .subcommand(check_data_dir::command())
        .subcommand(restore::command())
        .subcommand(Command::new("version").about("Print the version"))
        .subcommand(Command::new("help").about("Print this help, or that of a command"))
}

/// `--wal-dir`, for the commands that look at data offline.
fn wal_dir_arg() -> Arg {
    Arg::new("wal-dir")
        .long("wal-dir")
        .value_parser(value_parser!(PathBuf))
        .help("Where the WAL is, if not in the data directory")
}

fn serve_help() -> String {
    flags::command().bin_name("callboard serve").render_help().to_string()
}

/// Four lines as etcd prints them; tools read the first one.
fn version() -> String {
    let commit = option_env!("CALLBOARD_GIT_SHA").unwrap_or("Not provided");
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: {commit}\nCallboard Version: {}\nOS/Arch: {}/{arch}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(args: &[&str]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let streams = Streams { out: &mut out, err: &mut err };
        let code = run(args.iter().map(OsString::from), [], streams);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_version_is_four_lines_and_the_first_is_etcd_s() {
        for args in
            [&["version"][..], &["--version"], &["serve", "--version"], &["serve", "-version"]]
        {
            let (code, out, err) = ran(args);
            assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
            assert_eq!(out.lines().count(), 4);
            assert_eq!(out.lines().next(), Some("etcd Version: 3.6.0"));
        }
    }

    #[test]
    fn help_names_every_setting() {
        for args in [&["help", "serve"][..], &["serve", "--help"], &["serve", "-h"]] {
            let (code, out, _) = ran(args);
            assert_eq!(code, 0);
            for setting in crate::config::settings::SETTINGS {
                let shown = out.contains(&format!("--{} ", setting.name));
                let relic = setting.kind == crate::config::settings::Kind::Relic;
                assert_eq!(shown, !relic, "{}", setting.name);
            }
        }
        assert!(ran(&["--help"]).1.contains("check-data-dir"));
    }

    #[test]
    fn what_is_no_command_is_said_in_one_line() {
        for args in [
            &[][..],
            &["srve"],
            &["--name", "x"],
            &["check-data-dir"],
            &["check-data-dir", "a", "b"],
        ] {
            let (code, out, err) = ran(args);
            assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
}
