//! The settings of discovery, of which one way at a time may be chosen. Depends on the rest of `config` only.

use super::build::Givens;
use super::error::ConfigError;
use super::rules::{refuse, spoken};
use super::url::{Scheme, Url};
use super::{Discovery, DiscoveryFallback};

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
    Ok(match way {
        Some("discovery") => Discovery::Url {
            url: token_url(givens)?,
            proxy: proxy(givens)?,
            fallback: match givens.text("discovery-fallback").as_str() {
                "exit" => DiscoveryFallback::Exit,
                _ => DiscoveryFallback::Proxy,
            },
        },
        Some("discovery-token") => Discovery::Token {
            token: token(givens)?,
            endpoints: endpoints(givens)?,
            dial_timeout: givens.duration("discovery-dial-timeout")?,
            request_timeout: givens.duration("discovery-request-timeout")?,
        },
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
    match url.scheme() {
        "http" => {}
        "https" => return Err(without_tls(givens, "discovery")),
        _ => return Err(refuse(givens, "discovery", allowed)),
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
        ("https", _) => Err(without_tls(givens, NAME)),
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

/// At least one server; etcd takes `host:port` too.
fn endpoints(givens: &Givens) -> Result<Vec<Url>, ConfigError> {
    const NAME: &str = "discovery-endpoints";
    let allowed = "URLs of the discovery server joined by commas, like http://10.0.0.1:2379, beside --discovery-token";
    let mut endpoints = Vec::new();
    for word in givens.words(NAME) {
        let text = if word.contains("://") { word } else { format!("http://{word}") };
        let url = Url::parse(&text).map_err(|_| refuse(givens, NAME, allowed))?;
        spoken(givens, NAME, &url)?;
        if url.scheme() != Scheme::Http || url.host().is_empty() || url.port() == 0 {
            return Err(refuse(givens, NAME, allowed));
        }
        endpoints.push(url);
    }
    if endpoints.is_empty() {
        return Err(refuse(givens, NAME, allowed));
    }
    Ok(endpoints)
}

fn without_tls(givens: &Givens, name: &'static str) -> ConfigError {
    let given = givens.effective(name);
    ConfigError::NotInThisVersion {
        place: given.place,
        value: given.text,
        feature: "TLS; http://host:port is".to_owned(),
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
        let Discovery::Token { endpoints, .. } =
            of(&["--discovery-token=T", "--discovery-endpoints=a:1,http://b:2"])
        else {
            panic!("not a token");
        };
        assert_eq!(
            endpoints.iter().map(Url::as_str).collect::<Vec<_>>(),
            ["http://a:1", "http://b:2"]
        );
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
                &["--discovery=https://discovery.etcd.io/x"],
                "setting --discovery: value \"https://discovery.etcd.io/x\": not in this version: TLS; http://host:port is",
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
