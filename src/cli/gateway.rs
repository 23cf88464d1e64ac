//! `callboard gateway [start]`: joins TCP connections to endpoints, with etcd's flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command};

use super::Streams;
use crate::config::{Config, ConfigError, ExitStatus, Place, parse_bool, parse_duration};
use crate::proxy::gateway::{self, Settings};
use crate::telemetry::Telemetry;

pub(super) fn command() -> Command {
    Command::new("gateway")
        .about("Forward TCP connections to endpoints, whatever goes through them")
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .args(flags())
        .subcommand(Command::new("start").about("The same, as etcd spells it").args(flags()))
}

fn flags() -> [Arg; 8] {
    let flag = |name: &'static str, value, default, help| {
        Arg::new(name).long(name).value_name(value).default_value(default).help(help)
    };
    [
        flag("endpoints", "HOST:PORT,...", "127.0.0.1:2379", "Where to forward to, in turn"),
        flag("listen-addr", "HOST:PORT", "127.0.0.1:23790", "Where to listen"),
        flag("retry-delay", "DURATION", "1m0s", "How long an endpoint that failed is left out"),
        flag("discovery-srv", "DOMAIN", "", "Find the endpoints by this domain's SRV records"),
        flag("discovery-srv-name", "NAME", "", "Suffix of the service's name in those records"),
        flag(
            "trusted-ca-file",
            "FILE",
            "",
            "Take of those only what shows a certificate signed by it",
        ),
        flag(
            "insecure-discovery",
            "BOOL",
            "false",
            "Take those that speak no TLS too, as without the file",
        )
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true"),
        flag("log-level", "LEVEL", "info", "The least important lines that are logged"),
    ]
}

pub(super) fn help() -> String {
    command().bin_name("callboard gateway").render_help().to_string()
}

pub(super) fn run(args: impl IntoIterator<Item = OsString>, streams: &mut Streams<'_>) -> u8 {
    let (settings, log_level) = match read(args) {
        Ok(Some(read)) => read,
        Ok(None) => {
            streams.answer(&help());
            return 0;
        }
        Err(complaint) => {
            streams.complain(complaint);
            return ExitStatus::Usage.code();
        }
    };
    let config = Config { log_level, ..Config::default() };
    if let Err(error) = Telemetry::init(&config) {
        streams.complain(error);
        return ExitStatus::Failure.code();
    }
    match gateway::run(&settings) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "stopped");
            ExitStatus::Failure.code()
        }
    }
}

/// The settings and the log's level; none when help is asked for.
fn read(args: impl IntoIterator<Item = OsString>) -> Result<Option<(Settings, String)>, String> {
    let matches = match command().no_binary_name(true).try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            return Err(format!("gateway: {}", first.trim_start_matches("error: ")));
        }
        Err(_) => return Ok(None),
    };
    let matches = matches.subcommand().map_or(&matches, |(_, start)| start);
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let retry_delay = read_setting("retry-delay", &text("retry-delay"), "like 5s, 1m", |text| {
        parse_duration(text).filter(|delay| *delay > Duration::ZERO)
    })?;
    let endpoints = read_setting("endpoints", &text("endpoints"), "host:port,host:port", |text| {
        text.split(',').map(endpoint).collect::<Option<Vec<_>>>()
    })?;
    let listen_addr = read_setting("listen-addr", &text("listen-addr"), "host:port", endpoint)?;
    let domain = text("discovery-srv");
    let authority = text("trusted-ca-file");
    let insecure = text("insecure-discovery");
    let allowed = "with --discovery-srv beside it, and without --insecure-discovery";
    let is_insecure = read_setting("insecure-discovery", &insecure, "true or false", parse_bool)?;
    read_setting("trusted-ca-file", &authority, allowed, |text| {
        (text.is_empty() || !(domain.is_empty() || is_insecure)).then_some(())
    })?;
    let settings = Settings {
        listen_addr,
        endpoints,
        discovery_srv: Some(domain).filter(|domain| !domain.is_empty()),
        discovery_srv_name: text("discovery-srv-name"),
        trusted_ca_file: Some(authority).filter(|path| !path.is_empty()).map(PathBuf::from),
        retry_delay,
    };
    Ok(Some((settings, text("log-level"))))
}

fn read_setting<T>(
    name: &str,
    value: &str,
    allowed: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let place = Place::Flag(name.to_owned());
    let refused = || {
        let (value, allowed) = (value.to_owned(), allowed.to_owned());
        ConfigError::Syntax { place, value, allowed }.to_string()
    };
    read(value).ok_or_else(refused)
}

/// `host:port`; a scheme before it means nothing here, as with etcd.
fn endpoint(text: &str) -> Option<String> {
    let text = text.trim();
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let (host, port) = address.rsplit_once(':')?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = !host.is_empty() && !host.contains(['/', ' ', '@']);
    (is_host && is_port).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> Result<Option<(Settings, String)>, String> {
        read(args.iter().map(OsString::from))
    }

    #[test]
    fn flags_are_etcd_s_with_and_without_start() {
        let flags = ["--endpoints", "a:1, http://b:2", "--retry-delay=10s"];
        for start in [&["start"][..], &[]] {
            let args: Vec<&str> = start.iter().chain(&flags).copied().collect();
            let (settings, level) = settings(&args).unwrap().unwrap();
            assert_eq!(settings.endpoints, ["a:1", "b:2"]);
            assert_eq!(settings.listen_addr, "127.0.0.1:23790");
            assert_eq!(settings.retry_delay, Duration::from_secs(10));
            assert_eq!((settings.discovery_srv, level.as_str()), (None, "info"));
        }
        let (secured, _) =
            settings(&["--discovery-srv=d", "--trusted-ca-file=ca.crt"]).unwrap().unwrap();
        assert_eq!(secured.trusted_ca_file, Some(PathBuf::from("ca.crt")));
        assert_eq!(settings(&["start", "--help"]).unwrap(), None);
    }

    #[test]
    fn mistakes_are_one_line() {
        for args in [
            &["--endpoints=a"][..],
            &["--endpoints=a:x"],
            &["--endpoints="],
            &["--listen-addr=:"],
            &["start", "--retry-delay=soon"],
            &["--retry-delay=0"],
            &["--trusted-ca-file=ca.crt"],
            &["--trusted-ca-file=ca.crt", "--discovery-srv=d", "--insecure-discovery"],
            &["--insecure-discovery=maybe"],
            &["--what"],
            &["stop"],
        ] {
            let said = settings(args).unwrap_err();
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
