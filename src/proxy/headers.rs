//! What goes along with a request and with an answer: everything but what belongs to one connection.
//! Two versions of the same header types meet here, the server's and the client's.

use std::net::IpAddr;

use actix_http::header as server;
use hyper::header::{self as client, HeaderMap, HeaderName, HeaderValue};

/// Headers that end at each connection.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header stays behind; `connection` has the values of the message's `Connection` header,
/// which may name more.
fn stays_behind<'a>(name: &str, mut connection: impl Iterator<Item = &'a str>) -> bool {
    HOP_BY_HOP.contains(&name)
        || connection.any(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(name)))
}

/// The headers of a client's request, for an endpoint. `from` is appended to `X-Forwarded-For`.
pub fn to_endpoint(headers: &server::HeaderMap, from: Option<IpAddr>) -> HeaderMap {
    const OURS: [&str; 4] = ["host", "content-length", "expect", "x-forwarded-for"];
    let values = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).filter_map(|value| value.to_str().ok());
        values.map(str::to_owned).collect()
    };
    let connection = values("connection");
    let mut sent = HeaderMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        if OURS.contains(&name) || stays_behind(name, connection.iter().map(String::as_str)) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            sent.append(name, value);
        }
    }
    // Says to members that the certificate of the connection is not that of whoever asks.
    sent.append(client::VIA, HeaderValue::from_static("1.1 callboard"));
    let mut forwarded = values("x-forwarded-for");
    forwarded.extend(from.map(|ip| ip.to_string()));
    if let Ok(value) = HeaderValue::from_str(&forwarded.join(", "))
        && !forwarded.is_empty()
    {
        sent.insert(HeaderName::from_static("x-forwarded-for"), value);
    }
    sent
}

/// The headers of an endpoint's answer, for a client. How long the body is, the body says.
pub fn to_client(
    headers: &HeaderMap,
) -> impl Iterator<Item = (server::HeaderName, server::HeaderValue)> {
    let connection =
        || headers.get_all(client::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    headers.iter().filter_map(move |(name, value)| {
        let name = name.as_str();
        if name == "content-length" || stays_behind(name, connection()) {
            return None;
        }
        let name = server::HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, server::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    })
}

/// A number in an answer's header.
pub fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_stays_behind() {
        let mut given = server::HeaderMap::new();
        for (name, value) in [
            ("host", "proxy:1"),
            ("connection", "keep-alive, X-Own"),
            ("x-own", "1"),
            ("te", "trailers"),
            ("content-length", "7"),
            ("content-type", "text/plain"),
            ("x-many", "a"),
            ("x-many", "b"),
            ("x-forwarded-for", "10.0.0.9"),
        ] {
            given.append(
                server::HeaderName::from_static(name),
                server::HeaderValue::from_static(value),
            );
        }
        let sent = to_endpoint(&given, Some(IpAddr::from([127, 0, 0, 1])));
        let mut shown: Vec<String> =
            sent.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "content-type=text/plain",
                "via=1.1 callboard",
                "x-forwarded-for=10.0.0.9, 127.0.0.1",
                "x-many=a",
                "x-many=b"
            ]
        );
    }

    #[test]
    fn an_answer_keeps_its_own_headers() {
        let mut given = HeaderMap::new();
        for (name, value) in [
            ("x-etcd-index", "7"),
            ("content-length", "3"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ] {
            given.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(number(&given, "x-etcd-index"), Some(7));
        let kept: Vec<String> = to_client(&given).map(|(name, _)| name.to_string()).collect();
        assert_eq!(kept, ["x-etcd-index"]);
    }
}
