//! URLs as etcd's settings hold them: a scheme and an address, nothing else. Depends on nothing.

use std::fmt;
use std::net::IpAddr;

/// How a URL is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
    /// Plain HTTP over a Unix socket.
    Unix,
    /// HTTP over TLS over a Unix socket.
    Unixs,
}

impl Scheme {
    /// Whether TLS is asked for.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }

    /// Whether the address names a Unix socket.
    pub fn is_unix(self) -> bool {
        matches!(self, Scheme::Unix | Scheme::Unixs)
    }
}

/// `http://host:port`, or `unix://path`. Shown and compared exactly as it was written: member ids are
/// made from this text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
}

/// Why a text is no such URL; what is allowed is etcd's rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It begins otherwise.
    #[error("URLs whose scheme is http, https, unix or unixs, like http://127.0.0.1:2379")]
    Scheme,
    /// No port, or a host that is none.
    #[error("URLs with an address of the form host:port, like http://127.0.0.1:2379")]
    Address,
    /// More than an address.
    #[error("URLs without a path, query or user, like http://127.0.0.1:2379")]
    Path,
}

impl Url {
    /// Reads one URL.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(UrlError::Scheme),
        };
        if scheme.is_unix() {
            if rest.is_empty() {
                return Err(UrlError::Address);
            }
            return Ok(Url { text: text.to_owned(), scheme, host: rest.to_owned(), port: 0 });
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::Path);
        }
        let (host, port) = rest.rsplit_once(':').ok_or(UrlError::Address)?;
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(UrlError::Address);
        }
        let port = port.parse().map_err(|_| UrlError::Address)?;
        let host = match host.strip_prefix('[') {
            Some(inside) => {
                let inside = inside.strip_suffix(']').ok_or(UrlError::Address)?;
                inside.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Address)?;
                inside
            }
            None if host.contains(':') => return Err(UrlError::Address), // IPv6 wants brackets
            None => host,
        };
        if host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '%') {
            return Err(UrlError::Address);
        }
        Ok(Url { text: text.to_owned(), scheme, host: host.to_owned(), port })
    }

    /// Reads a comma-joined list, sorts it and drops repetitions, as etcd does.
    pub fn parse_list(text: &str) -> Result<Vec<Url>, UrlError> {
        let mut urls = text.split(',').map(Url::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        urls.dedup();
        Ok(urls)
    }

    /// Its text, as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host without brackets; for a Unix socket its path. Empty in `http://:2379`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 lets the system choose, and is what a Unix socket has.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `(host, port)` for binding or connecting (it is a [`std::net::ToSocketAddrs`]).
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether a listener can be bound to it: etcd takes an IP address or `localhost`, so that a
    /// name that moves in DNS does not decide where a server listens.
    pub fn is_bindable(&self) -> bool {
        self.scheme.is_unix() || self.host == "localhost" || self.host.parse::<IpAddr>().is_ok()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_etcd_reads() {
        for (text, host, port) in [
            ("http://localhost:2379", "localhost", 2379),
            (" http://127.0.0.1:0 ", "127.0.0.1", 0),
            ("https://[::1]:2379", "::1", 2379),
            ("http://:2379", "", 2379),
            ("HTTP://a.example:80", "a.example", 80),
            ("unix:///run/callboard.sock", "/run/callboard.sock", 0),
            ("unixs://localhost:m1", "localhost:m1", 0),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.to_string(), text.trim(), "shown as written");
        }
    }

    #[test]
    fn refuses_what_etcd_refuses() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("foo", UrlError::Scheme),
            ("localhost:2379", UrlError::Scheme),
            ("ftp://a:1", UrlError::Scheme),
            ("http://localhost", UrlError::Address),
            ("http://localhost:", UrlError::Address),
            ("http://localhost:x", UrlError::Address),
            ("http://localhost:+1", UrlError::Address),
            ("http://localhost:65536", UrlError::Address),
            ("http://::1:2379", UrlError::Address),
            ("http://[::1:2379", UrlError::Address),
            ("http://[a]:2379", UrlError::Address),
            ("http://a b:1", UrlError::Address),
            ("http://localhost:2379/", UrlError::Path),
            ("http://localhost:2379/x?y", UrlError::Path),
            ("http://u@localhost:2379", UrlError::Path),
            ("unix://", UrlError::Address),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn lists_are_sorted_and_say_each_once() {
        let urls = Url::parse_list("http://b:1, http://a:1,http://b:1").unwrap();
        assert_eq!(urls.iter().map(Url::as_str).collect::<Vec<_>>(), ["http://a:1", "http://b:1"]);
    }

    #[test]
    fn only_addresses_are_bound() {
        for (text, bindable) in [
            ("http://localhost:1", true),
            ("http://0.0.0.0:1", true),
            ("http://[::]:1", true),
            ("http://:1", false),
            ("http://a.example:1", false),
        ] {
            assert_eq!(Url::parse(text).unwrap().is_bindable(), bindable, "{text}");
        }
    }
}
