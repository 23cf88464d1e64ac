//! The settings of discovery, of which one way at a time may be chosen. Depends on the rest of `config` only.

use super::build::Givens;
use super::error::ConfigError;
use super::rules::{refuse, spoken};
use super::tls::{file, pair, suites};
use super::url::Url;
use super::{Discovery, DiscoveryFallback};
use crate::tls::TlsSettings;

/// The settings of TLS to the servers of a token.
const TLS: [&str; 4] =
    ["discovery-cert", "discovery-key", "discovery-cacert", "discovery-insecure-skip-tls-verify"];
const INSECURE: &str = "discovery-insecure-transport";

/// The settings that say who the members are. Only one of them may be set.
const WAYS: [&str; 4] = ["initial-cluster", "discovery", "discovery-srv", "discovery-token"];

/// The way that was chosen.
pub(super) fn read(givens: &Givens) -> Result<Discovery, ConfigError> {
    let is_set = |name: &str| givens.get(name).is_some_and(|given| !given.text.is_empty());
    let mut chosen = WAYS.into_iter().filter(|name| is_set(name));
    let way = chosen.next();
    if let Some(second) = chosen.next() {
        let first = way.unwrap_or_default();
        return Err(refuse(
            givens,
            second,
            format!("one of {}; {first} is set too", WAYS.join(", ")),
        ));
    }
    if is_set("discovery-endpoints") && way != Some("discovery-token") {
        return Err(refuse(givens, "discovery-endpoints", "with --discovery-token beside it"));
    }
    for name in TLS {
        if way != Some("discovery-token") && self::is_set(givens, name)? {
            return Err(refuse(givens, name, "with --discovery-token beside it"));
        }
    }
    Ok(match way {
        Some("discovery") => Discovery::Url {
            url: token_url(givens)?,
            proxy: proxy(givens)?,
            fallback: match givens.text("discovery-fallback").as_str() {
                "exit" => DiscoveryFallback::Exit,
                _ => DiscoveryFallback::Proxy,
            },
        },
        Some("discovery-token") => {
            let endpoints = endpoints(givens)?;
            Discovery::Token {
                token: token(givens)?,
                tls: Box::new(token_tls(givens, &endpoints)?),
                endpoints,
                dial_timeout: givens.duration("discovery-dial-timeout")?,
                request_timeout: givens.duration("discovery-request-timeout")?,
            }
        }
        Some("discovery-srv") => Discovery::Srv {
            domain: givens.text("discovery-srv"),
            service_name: givens.text("discovery-srv-name"),
        },
        _ => Discovery::Off,
    })
}

/// A server and a path on it. The text stays as it was written: ids are made from it.
fn token_url(givens: &Givens) -> Result<String, ConfigError> {
    let text = givens.text("discovery");
    let allowed =
        "a URL with the path of a token, like http://host:port/v2/keys/_etcd/registry/TOKEN";
    let url = ::url::Url::parse(&text).map_err(|_| refuse(givens, "discovery", allowed))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(givens, "discovery", allowed));
    }
    let says_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    if url.host_str().is_none() || url.path().trim_matches('/').is_empty() || says_more {
        return Err(refuse(givens, "discovery", allowed));
    }
    Ok(text)
}

/// `host:port` of the proxy.
fn proxy(givens: &Givens) -> Result<Option<String>, ConfigError> {
    const NAME: &str = "discovery-proxy";
    let text = givens.text(NAME);
    if text.is_empty() {
        return Ok(None);
    }
    let allowed = "the URL of an HTTP proxy, like http://host:port";
    let url = ::url::Url::parse(&text).map_err(|_| refuse(givens, NAME, allowed))?;
    match (url.scheme(), url.host_str()) {
        ("http", Some(host)) => {
            Ok(Some(format!("{host}:{}", url.port_or_known_default().unwrap_or(80))))
        }
        _ => Err(refuse(givens, NAME, allowed)),
    }
}

/// A name that can stand in a key.
fn token(givens: &Givens) -> Result<String, ConfigError> {
    let token = givens.text("discovery-token");
    if token.contains('/') || token.contains(char::is_whitespace) {
        return Err(refuse(givens, "discovery-token", "a text without / and blanks"));
    }
    Ok(token)
}

/// At least one server; etcd takes `host:port` too, with TLS if anything is set for that.
fn endpoints(givens: &Givens) -> Result<Vec<Url>, ConfigError> {
    const NAME: &str = "discovery-endpoints";
    let allowed = "URLs of the discovery server joined by commas, like http://10.0.0.1:2379, beside --discovery-token";
    let mut is_secure = !givens.bool(INSECURE)?;
    for name in &TLS[..3] {
        is_secure |= is_set(givens, name)?;
    }
    let scheme = if is_secure { "https" } else { "http" };
    let mut endpoints = Vec::new();
    for word in givens.words(NAME) {
        let text = if word.contains("://") { word } else { format!("{scheme}://{word}") };
        let url = Url::parse(&text).map_err(|_| refuse(givens, NAME, allowed))?;
        spoken(givens, NAME, &url)?;
        if url.host().is_empty() || url.port() == 0 {
            return Err(refuse(givens, NAME, allowed));
        }
        endpoints.push(url);
    }
    if endpoints.is_empty() {
        return Err(refuse(givens, NAME, allowed));
    }
    Ok(endpoints)
}

/// What calls to the servers of a token need to be secure. A setting of TLS that would have no effect is
/// refused: whoever sets it counts on it.
fn token_tls(givens: &Givens, endpoints: &[Url]) -> Result<TlsSettings, ConfigError> {
    let secure = endpoints.iter().filter(|url| url.scheme().is_tls()).count();
    for name in TLS {
        if secure == 0 && is_set(givens, name)? {
            return Err(refuse(givens, name, "with https in --discovery-endpoints"));
        }
    }
    if !givens.bool(INSECURE)? && secure < endpoints.len() {
        let allowed = "https URLs, since discovery-insecure-transport is false";
        return Err(refuse(givens, "discovery-endpoints", allowed));
    }
    pair(givens, "discovery-cert", "discovery-key")?;
    Ok(TlsSettings {
        cert_file: file(givens, "discovery-cert"),
        key_file: file(givens, "discovery-key"),
        ca_file: file(givens, "discovery-cacert"),
        believe_anyone: givens.bool("discovery-insecure-skip-tls-verify")?,
        suites: suites(givens)?,
        ..TlsSettings::default()
    })
}

fn is_set(givens: &Givens, name: &'static str) -> Result<bool, ConfigError> {
    match name {
        "discovery-insecure-skip-tls-verify" => givens.bool(name),
        _ => Ok(!givens.text(name).is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, env::Variables, flags, load};
    use super::*;

    fn read(args: &[&str]) -> Result<Config, String> {
        let flags::Asked::Run(flags) = flags::parse(args.iter().map(Into::into)).unwrap() else {
            panic!("asked for help");
        };
        let none = Variables::new([]).unwrap();
        load(&flags, &none).map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn each_way_is_read() {
        let of = |args: &[&str]| read(args).unwrap().discovery;
        assert_eq!(of(&[]), Discovery::Off);
        assert_eq!(of(&["--initial-cluster=default=http://localhost:2380"]), Discovery::Off);
        let url = "http://a/v2/keys/_etcd/registry/T";
        let expected = |proxy: Option<&str>, fallback| Discovery::Url {
            url: url.to_owned(),
            proxy: proxy.map(str::to_owned),
            fallback,
        };
        let flag = format!("--discovery={url}");
        assert_eq!(of(&[&flag]), expected(None, DiscoveryFallback::Proxy));
        assert_eq!(
            of(&[&flag, "--discovery-proxy=http://p", "--discovery-fallback=exit"]),
            expected(Some("p:80"), DiscoveryFallback::Exit)
        );
        for (more, expected) in [
            (&[][..], ["http://a:1", "http://b:2"]),
            (&["--discovery-cacert=c"], ["http://b:2", "https://a:1"]),
        ] {
            let args = ["--discovery-token=T", "--discovery-endpoints=a:1,http://b:2"];
            let args: Vec<&str> = args.iter().chain(more).copied().collect();
            let Discovery::Token { endpoints, .. } = of(&args) else { panic!("not a token") };
            let mut endpoints: Vec<_> = endpoints.iter().map(Url::as_str).collect();
            endpoints.sort_unstable();
            assert_eq!(endpoints, expected, "{more:?}");
        }
        assert_eq!(
            of(&["--discovery-srv=d.example", "--discovery-srv-name=x"]),
            Discovery::Srv { domain: "d.example".to_owned(), service_name: "x".to_owned() }
        );
    }

    #[test]
    fn mistakes_are_one_line() {
        for (args, line) in [
            (
                &["--discovery=http://a/t", "--initial-cluster=default=http://localhost:2380"][..],
                "setting --discovery: value \"http://a/t\": allowed: one of initial-cluster, discovery, discovery-srv, discovery-token; initial-cluster is set too",
            ),
            (
                &["--discovery-endpoints=a:1"],
                "setting --discovery-endpoints: value \"a:1\": allowed: with --discovery-token beside it",
            ),
            (
                &["--discovery-token=t"],
                "setting --discovery-endpoints (its default): value \"\": allowed: URLs of the discovery server joined by commas, like http://10.0.0.1:2379, beside --discovery-token",
            ),
            (
                &["--discovery=http://a:1/"],
                "setting --discovery: value \"http://a:1/\": allowed: a URL with the path of a token, like http://host:port/v2/keys/_etcd/registry/TOKEN",
            ),
            (
                &["--discovery-cacert=ca.crt"],
                "setting --discovery-cacert: value \"ca.crt\": allowed: with --discovery-token beside it",
            ),
            (
                &[
                    "--discovery-token=t",
                    "--discovery-endpoints=http://a:1",
                    "--discovery-cacert=c",
                ],
                "setting --discovery-cacert: value \"c\": allowed: with https in --discovery-endpoints",
            ),
            (
                &[
                    "--discovery-token=t",
                    "--discovery-endpoints=http://a:1",
                    "--discovery-insecure-transport=false",
                ],
                "setting --discovery-endpoints: value \"http://a:1\": allowed: https URLs, since discovery-insecure-transport is false",
            ),
            (
                &["--discovery-token=t", "--discovery-endpoints=a:1", "--discovery-cert=c"],
                "setting --discovery-cert: value \"c\": allowed: a file, with --discovery-key beside it",
            ),
            (
                &["--discovery-token=a/b", "--discovery-endpoints=a:1"],
                "setting --discovery-token: value \"a/b\": allowed: a text without / and blanks",
            ),
        ] {
            assert_eq!(read(args), Err(line.to_owned()), "{args:?}");
        }
    }
}
