//! `callboard proxy --endpoints URL,URL [--readonly]`: an HTTP proxy of these endpoints. All flags of
//! `serve` are known; what is about a member means nothing to a proxy. `callboard serve --proxy on` ends
//! up here too, with the members of `--initial-cluster` to ask for the endpoints.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::Streams;
use crate::config::{Config, ConfigError, ExitStatus, Place, ProxyMode, Url};
use crate::proxy::{cluster_file::ClusterFile, refresh::Source, server};
use crate::telemetry::Telemetry;

const ENDPOINTS: &str = "endpoints";
const READONLY: &str = "readonly";
const DEFAULT_ENDPOINTS: &str = "http://127.0.0.1:2379";

pub(super) fn command() -> clap::Command {
    use clap::{Arg, ArgAction, Command};
    Command::new("proxy")
        .about("Proxy HTTP requests to endpoints, sharing watches")
        .disable_version_flag(true)
        .arg(
            Arg::new(ENDPOINTS)
                .long(ENDPOINTS)
                .value_name("URLS")
                .default_value(DEFAULT_ENDPOINTS)
                .help("Whom to ask; the members that they name are asked too"),
        )
        .arg(
            Arg::new(READONLY)
                .long(READONLY)
                .action(ArgAction::SetTrue)
                .help("Let only GET through"),
        )
        .after_help(
            "And the flags of `callboard serve`: --listen-client-urls, --proxy-failure-wait, \
             --proxy-refresh-interval, --proxy-dial-timeout, --proxy-write-timeout, \
             --proxy-read-timeout, --max-request-bytes, --http-workers, --log-level and more.",
        )
}

pub(super) fn help() -> String {
    command().bin_name("callboard proxy").render_help().to_string()
}

pub(super) fn run(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    streams: &mut Streams<'_>,
) -> u8 {
    let Own { endpoints, readonly, rest } = take_own(args);
    let endpoints = match read_endpoints(&endpoints) {
        Ok(endpoints) => endpoints,
        Err(error) => {
            streams.complain(&error);
            return error.exit_status().code();
        }
    };
    // Told first, since a proxy need not say where a member is reached.
    let flag = if readonly { "--proxy=readonly" } else { "--proxy=on" };
    let args = std::iter::once(OsString::from(flag)).chain(rest);
    let mut loaded = match super::serve::asked(args, environment, &help, streams) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    loaded.config.proxy.mode = if readonly { ProxyMode::ReadOnly } else { ProxyMode::On }; // a file may say no
    super::serve::with_log(loaded, streams, |config, _| {
        server::run(config, Source::Endpoints(endpoints)).map_err(|error| error.to_string())
    })
}

/// Runs a proxy of the members of `initial-cluster`, or of those that a file remembers.
pub(super) fn run_by_peers(config: &Config, _telemetry: Telemetry) -> Result<(), String> {
    let source = peers(config)
        .map_err(|error| format!("{}: {error}", config.data_dir.join("proxy").display()))?;
    server::run(config, source).map_err(|error| error.to_string())
}

/// Runs a proxy of a cluster that had all its members when this process wanted to be one.
pub(super) fn run_beside(config: &Config, peer_urls: &[String]) -> Result<(), String> {
    tracing::warn!(
        peer_urls = peer_urls.join(","),
        "the cluster is complete: this process is its proxy"
    );
    let mut config = config.clone();
    config.proxy.mode = ProxyMode::On;
    let urls = peer_urls.iter().filter_map(|url| Url::parse(url).ok()).collect();
    let source = peers_or(&config, urls)
        .map_err(|error| format!("{}: {error}", config.data_dir.join("proxy").display()))?;
    server::run(&config, source).map_err(|error| error.to_string())
}

fn peers(config: &Config) -> io::Result<Source> {
    peers_or(config, config.initial_cluster.iter().flat_map(|it| it.peer_urls.clone()).collect())
}

/// The peer URLs that the cluster file remembers, or else these.
fn peers_or(config: &Config, named: Vec<Url>) -> io::Result<Source> {
    let file = ClusterFile::in_data_dir(&config.data_dir)?;
    let remembered = file.read()?.unwrap_or_default();
    let mut urls: Vec<Url> = remembered.iter().filter_map(|url| Url::parse(url).ok()).collect();
    if urls.is_empty() {
        urls = named;
    } else {
        tracing::info!(peer_urls = remembered.join(","), "the cluster file is used");
    }
    Ok(Source::Peers { urls, file })
}

/// What a data directory is for, by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataOf {
    Nobody,
    Member,
    Proxy,
    /// A mistake: it cannot be known which of the two is meant.
    Both,
}

pub(super) fn data_of(data_dir: &Path) -> DataOf {
    match (data_dir.join("member").exists(), data_dir.join("proxy").exists()) {
        (false, false) => DataOf::Nobody,
        (true, false) => DataOf::Member,
        (false, true) => DataOf::Proxy,
        (true, true) => DataOf::Both,
    }
}

/// The command's own flags, and the others.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    endpoints: String,
    readonly: bool,
    rest: Vec<OsString>,
}

fn take_own(args: impl IntoIterator<Item = OsString>) -> Own {
    let mut own =
        Own { endpoints: DEFAULT_ENDPOINTS.to_owned(), readonly: false, rest: Vec::new() };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        let body = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).unwrap_or_default();
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        match (name, value) {
            (ENDPOINTS, Some(value)) => own.endpoints = value,
            (ENDPOINTS, None) => {
                let next = args.next().map(|next| next.to_string_lossy().into_owned());
                own.endpoints = next.unwrap_or_default();
            }
            (READONLY, value) => own.readonly = value.is_none_or(|value| value != "false"),
            _ => own.rest.push(arg),
        }
    }
    own
}

fn read_endpoints(text: &str) -> Result<Vec<Url>, ConfigError> {
    let place = || Place::Flag(ENDPOINTS.to_owned());
    let mut urls = Vec::new();
    for one in text.split(',').map(str::trim) {
        let with_scheme =
            if one.contains("://") { one.to_owned() } else { format!("http://{one}") };
        let url =
            Url::parse(with_scheme.trim_end_matches('/')).map_err(|error| ConfigError::Syntax {
                place: place(),
                value: one.to_owned(),
                allowed: error.to_string(),
            })?;
        if url.scheme().is_unix() {
            return Err(ConfigError::NotInThisVersion {
                place: place(),
                value: one.to_owned(),
                feature: "Unix sockets; http://host:port is".to_owned(),
            });
        }
        if url.host().is_empty() || url.port() == 0 {
            let allowed = "URLs with a host and a port, like http://10.0.0.1:2379".to_owned();
            return Err(ConfigError::Syntax { place: place(), value: one.to_owned(), allowed });
        }
        urls.push(url);
    }
    urls.sort();
    urls.dedup();
    Ok(urls)
}

/// What to say of a data directory that is of both.
pub(super) const OF_BOTH: &str =
    "holds both member and proxy; allowed: one of them. Keep what this process is to be";

/// The exit status for that.
pub(super) fn refuse_both(config: &Config, streams: &mut Streams<'_>) -> u8 {
    streams.complain(format_args!("{} {OF_BOTH}", config.data_dir.display()));
    ExitStatus::Failure.code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_flags_are_taken_out() {
        for (args, endpoints, readonly, rest) in [
            (&[][..], DEFAULT_ENDPOINTS, false, &[][..]),
            (&["--endpoints", "a", "-readonly", "--name", "x"], "a", true, &["--name", "x"]),
            (&["-endpoints=a,b", "--readonly=false"], "a,b", false, &[]),
        ] {
            let own = take_own(args.iter().map(OsString::from));
            let rest = rest.iter().map(OsString::from).collect();
            assert_eq!(own, Own { endpoints: endpoints.to_owned(), readonly, rest });
        }
    }

    #[test]
    fn endpoints_are_http_or_https() {
        let read = |text: &str| {
            read_endpoints(text)
                .map(|urls| urls.iter().map(|url| url.as_str().to_owned()).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("http://b:2/,a:1").unwrap(), ["http://a:1", "http://b:2"]);
        assert_eq!(read("https://a:1").unwrap(), ["https://a:1"]);
        assert_eq!(
            read("unix://a:1").unwrap_err(),
            "setting --endpoints: value \"unix://a:1\": not in this version: Unix sockets; http://host:port is"
        );
        for text in ["", "a", "http://:1", "http://a:0", "http://a:1/v2"] {
            let said = read(text).unwrap_err();
            assert!(said.starts_with("setting --endpoints: value "), "{said}");
        }
    }

    #[test]
    fn a_data_directory_belongs_to_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(data_of(folder.path()), DataOf::Nobody);
        std::fs::create_dir(folder.path().join("proxy")).unwrap();
        assert_eq!(data_of(folder.path()), DataOf::Proxy);
        std::fs::create_dir(folder.path().join("member")).unwrap();
        assert_eq!(data_of(folder.path()), DataOf::Both);
        std::fs::remove_dir(folder.path().join("proxy")).unwrap();
        assert_eq!(data_of(folder.path()), DataOf::Member);
    }
}
