//! `--host-whitelist`: under which names clients may call this server. A page that a browser was led to
//! under a name of the attacker's (DNS rebinding, CVE-2018-5702) is refused, as etcd does: 421.

use actix_http::{RequestHead, StatusCode, header};

use super::answer::{self, Answer};

/// Whether a request's host name is in the list. One without a name (HTTP/1.0) is in no list but `*`.
pub fn is_allowed(whitelist: &[String], head: &RequestHead) -> bool {
    if whitelist.iter().any(|name| name == "*") {
        return true;
    }
    let header = head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = head.uri.host().or(header.map(without_port)).unwrap_or("");
    whitelist.iter().any(|name| name.eq_ignore_ascii_case(host.trim_matches(['[', ']'])))
}

/// The answer to one that is not.
pub fn refused() -> Answer {
    const TEXT: &str = "the host name of this request is not one that this server goes by: \
        add it to the setting host-whitelist\n";
    answer::error_text(StatusCode::MISDIRECTED_REQUEST, TEXT)
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use actix_http::{Uri, header::HeaderValue};

    use super::*;

    #[test]
    fn names_are_compared_without_port_and_case() {
        let names = ["localhost".to_owned(), "::1".to_owned()];
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:2379", true),
            ("[::1]:2379", true),
            ("[::1]", true),
            ("evil.example:2379", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            let mut head = RequestHead::default();
            head.uri = Uri::from_static("/version");
            head.headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(is_allowed(&names, &head), expected, "{host}");
            assert!(is_allowed(&["*".to_owned()], &head), "{host}");
        }
        assert!(!is_allowed(&names, &RequestHead::default()), "no name at all");
    }
}
