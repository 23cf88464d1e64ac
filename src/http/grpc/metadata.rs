//! What a request says beside its message: who calls, until when an answer is of use, and how messages
//! are compressed.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header, request::Parts};

use crate::http::{
    auth::certificate::{Client, PASSED_ON},
    v3::{
        Caller,
        error::{Code, RpcError},
    },
};

/// What the headers of a call say.
#[derive(Debug)]
pub struct Metadata {
    /// Who calls.
    pub caller: Caller,
    /// How long the client waits, if it says so.
    pub timeout: Option<Duration>,
    /// How its messages are compressed.
    pub encoding: Encoding,
}

/// How messages are compressed, where their frames say that they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952. Answers are not compressed in return, which gRPC leaves to the server: their cost would
    /// be borne by all who share the connection's thread.
    Gzip,
}

/// A request that is no RPC at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCall {
    /// The HTTP status.
    pub status: StatusCode,
    /// What a gRPC client is told.
    pub error: RpcError,
}

/// Whether a request means gRPC, well or badly put.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    value.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The version of etcd that a client was made for, as it says.
pub fn client_version(headers: &HeaderMap) -> &str {
    let value = headers.get("client-api-version").and_then(|value| value.to_str().ok());
    value.unwrap_or("unknown")
}

impl Metadata {
    /// Reads the head of a request that means gRPC.
    pub fn read(head: &Parts, from: Client) -> Result<Metadata, NoCall> {
        let headers = &head.headers;
        let content_type = text(headers, "content-type");
        if !is_protobuf(content_type) {
            let text = format!("invalid gRPC request content-type {content_type:?}");
            return Err(NoCall {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                error: RpcError::with_text(Code::InvalidArgument, text),
            });
        }
        if head.method != Method::POST {
            let method = head.method.as_str();
            let text =
                format!("Received a HEADERS frame with :method {method:?} which should be POST");
            return Err(NoCall {
                status: StatusCode::METHOD_NOT_ALLOWED,
                error: RpcError::with_text(Code::Internal, text),
            });
        }
        let timeout = match headers.get("grpc-timeout") {
            None => None,
            Some(value) => Some(timeout(value.as_bytes()).ok_or_else(|| NoCall {
                status: StatusCode::BAD_REQUEST,
                error: RpcError::new(Code::Internal, "malformed grpc-timeout"),
            })?),
        };
        let encoding = match text(headers, "grpc-encoding") {
            "" | "identity" => Encoding::Identity,
            "gzip" => Encoding::Gzip,
            other => {
                let text =
                    format!("grpc: Decompressor is not installed for grpc-encoding {other:?}");
                return Err(NoCall {
                    status: StatusCode::OK,
                    error: RpcError::with_text(Code::Unimplemented, text),
                });
            }
        };
        let passed_on = PASSED_ON.iter().any(|name| headers.contains_key(*name));
        let certificate = from.certificate.map(|name| name.of_request_passed_on(passed_on));
        let token = headers.get("token").or_else(|| headers.get(header::AUTHORIZATION));
        let caller = Caller {
            token: token.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            has_leader: text(headers, "hasleader") == "true",
            remote: from.address,
            certificate,
            shown: None,
            door: "grpc",
            watches: head.extensions.get().cloned(),
        };
        Ok(Metadata { caller, timeout, encoding })
    }
}

/// A header's value, empty if it is not there or not ASCII.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// `application/grpc`, which means Protobuf, or `application/grpc+proto`; with any parameters.
fn is_protobuf(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim_end();
    matches!(media_type, "application/grpc" | "application/grpc+proto")
}

/// How long a client waits, as `grpc-timeout` says it: at most eight digits and a unit.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("123456789S", None),
        ] {
            assert_eq!(timeout(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn content_types() {
        for (value, grpc, protobuf) in [
            ("application/grpc", true, true),
            ("application/grpc+proto", true, true),
            ("application/grpc;charset=utf-8", true, true),
            ("application/grpc+json", true, false),
            ("application/grpc-web", true, false),
            ("application/json", false, false),
            ("", false, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().expect("ASCII"));
            assert_eq!(is_grpc(&headers), grpc, "{value}");
            assert_eq!(is_protobuf(value), protobuf, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn heads() {
        let read = |method: &str, headers: &[(&str, &str)]| {
            let mut request = http::Request::builder().method(method).uri("/x/Y");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            Metadata::read(&request.body(()).expect("well put").into_parts().0, Client::default())
        };
        let grpc = ("content-type", "application/grpc");
        let good = read("POST", &[grpc, ("token", "t"), ("hasleader", "true")]).expect("good");
        assert_eq!((good.caller.token.as_deref(), good.caller.has_leader), (Some("t"), true));
        let good = read("POST", &[grpc, ("authorization", "a"), ("hasleader", "1")]).expect("good");
        assert_eq!((good.caller.token.as_deref(), good.caller.has_leader), (Some("a"), false));
        for (method, headers, status, text) in [
            ("POST", &[("content-type", "application/grpc-web")][..], 415, "content-type"),
            ("GET", &[grpc], 405, ":method \"GET\""),
            ("POST", &[grpc, ("grpc-timeout", "1")], 400, "grpc-timeout"),
            ("POST", &[grpc, ("grpc-encoding", "snappy")], 200, "\"snappy\""),
        ] {
            let error = read(method, headers).expect_err("bad");
            assert_eq!(error.status, status, "{headers:?}");
            assert!(error.error.message.contains(text), "{error:?}");
        }
    }
}
