//! The JSON gateway: the v3 API as JSON over POST, for clients without gRPC. Paths, fields and errors are
//! those of etcd's gateway.
//!
//! [`codec`] reads and writes messages, [`objects`] takes them out of a body that holds many, [`error`] is
//! what a refusal looks like, [`streaming`] an RPC with many answers. What the RPCs do is in
//! [`crate::http::v3`], and is known here by its table of methods alone.

use std::{sync::Arc, time::Duration};

use actix_http::{
    Payload, Request, StatusCode,
    header::{self, HeaderMap},
};

use tokio::time::Instant;

use self::codec::Json;
use super::{
    Doors,
    answer::{self, Answer},
    auth::certificate::CommonName,
    body::{self, BodyError},
    grpc::{figures::CountedCall, metadata, methods::Method},
    service::Routed,
    v3::{
        Caller, Services,
        error::{Code, NO_LEADER, RpcError},
        methods::{Streaming, Unary},
    },
};

pub mod codec;
pub mod error;
pub mod objects;
pub mod streaming;

/// What older clients call `/v3`.
const PREFIXES: [&[u8]; 3] = [b"/v3/", b"/v3beta/", b"/v3alpha/"];
/// Beside `--max-request-bytes`, for what surrounds a request: as in etcd.
const OVERHEAD_BYTES: usize = 512 * 1024;

/// The client's time is over.
const LATE: RpcError = RpcError::new(Code::DeadlineExceeded, "context deadline exceeded");

/// Whether a path is the gateway's, there or not.
pub fn is_gateway(path: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// What an RPC is called as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rpc {
    Unary(Unary),
    Streaming(Streaming),
}

impl From<Rpc> for Method {
    fn from(rpc: Rpc) -> Method {
        match rpc {
            Rpc::Unary(rpc) => Method::Unary(rpc),
            Rpc::Streaming(rpc) => Method::Streaming(rpc),
        }
    }
}

impl Rpc {
    fn of(path: &[u8]) -> Option<Rpc> {
        let rest = PREFIXES.iter().find_map(|prefix| path.strip_prefix(*prefix))?;
        let path = format!("/v3/{}", std::str::from_utf8(rest).ok()?);
        let unary = Unary::of_gateway(&path).map(Rpc::Unary);
        unary.or_else(|| Streaming::of_gateway(&path).map(Rpc::Streaming))
    }
}

/// Answers a request for a path of the gateway.
pub fn answer(doors: &Arc<Doors>, path: &[u8], request: &mut Request) -> Routed {
    let Some(rpc) = Rpc::of(path) else { return Routed::Now(error::no_such_path()) };
    if request.method() != actix_http::Method::POST {
        return Routed::Now(answer::method_not_allowed(Some("POST")));
    }
    let caller = caller(request);
    let timeout = match timeout(request.head().headers()) {
        Ok(timeout) => timeout,
        Err(error) => return Routed::Now(error::answer(&error)),
    };
    let declared = body::declared_len(request.head());
    let payload = request.take_payload();
    let doors = Arc::clone(doors);
    Routed::later(async move {
        let mut counted = CountedCall::begin(&doors.grpc, rpc.into());
        let called = match rpc {
            Rpc::Unary(rpc) => {
                let calling = call(doors, rpc, &caller, payload, declared, &counted);
                let called = in_time(timeout, calling).await;
                counted.end(called.as_ref().err().map(|error| error.code));
                called
            }
            Rpc::Streaming(rpc) => {
                let deadline = timeout.map(|timeout| Instant::now() + timeout);
                let call = streaming::Call { rpc, caller, deadline, counted };
                streaming::answer(doors, call, payload, declared).await
            }
        };
        called.unwrap_or_else(|error| error::answer(&error))
    })
}

/// Gives up when the client does.
async fn in_time<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, RpcError>>,
) -> Result<T, RpcError> {
    match timeout {
        None => work.await,
        Some(timeout) => tokio::time::timeout(timeout, work).await.unwrap_or(Err(LATE)),
    }
}

async fn call(
    doors: Arc<Doors>,
    rpc: Unary,
    caller: &Caller,
    payload: Payload,
    declared: Option<u64>,
    counted: &CountedCall,
) -> Result<Answer, RpcError> {
    let request = whole_body(&doors, payload, declared).await?;
    counted.received(0); // bytes are those of gRPC
    refuse_without_leader(&doors, caller)?;
    let answer = rpc.call(&Services::new(doors), caller, Json::Unary, request).await?;
    if answer.is_empty() {
        return Err(codec::NOT_WRITTEN);
    }
    counted.sent(1, 0);
    Ok(answer::json(StatusCode::OK, answer))
}

/// The one message of a request.
async fn whole_body(
    doors: &Doors,
    payload: Payload,
    declared: Option<u64>,
) -> Result<bytes::Bytes, RpcError> {
    let limit = message_bytes_max(doors);
    body::read(payload, declared, limit).await.map_err(|error| match error {
        BodyError::TooLarge => objects::too_large(limit),
        BodyError::Broken => RpcError::new(Code::InvalidArgument, "unexpected EOF"),
        BodyError::Slow => LATE,
    })
}

/// The longest request as JSON: its bytes are in base64, which is a third longer.
fn message_bytes_max(doors: &Doors) -> usize {
    let message = doors.settings.max_request_bytes.saturating_add(OVERHEAD_BYTES);
    message.saturating_add(message / 3)
}

fn refuse_without_leader(doors: &Doors, caller: &Caller) -> Result<(), RpcError> {
    if caller.has_leader && doors.has_no_leader() { Err(NO_LEADER) } else { Ok(()) }
}

/// How long the client waits: header `Grpc-Timeout`.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, RpcError> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let timeout = metadata::timeout(value.as_bytes());
    timeout.map(Some).ok_or_else(|| {
        let value = String::from_utf8_lossy(value.as_bytes());
        RpcError::with_text(Code::InvalidArgument, format!("invalid grpc-timeout: {value}"))
    })
}

/// Who calls. A header `Grpc-Metadata-NAME` is gRPC's metadata NAME.
pub fn caller(request: &Request) -> Caller {
    let headers = request.head().headers();
    let metadata = |name: &str| headers.get(name).map(header::HeaderValue::as_bytes);
    let token = metadata("grpc-metadata-token").or_else(|| metadata("authorization"));
    Caller {
        token: token.map(bare_token),
        has_leader: metadata("grpc-metadata-hasleader") == Some(b"true"),
        remote: request.peer_addr(),
        certificate: CommonName::of_request(request),
        shown: None,
        door: "gateway",
        watches: None,
    }
}

/// A token as it is, or as a bearer token.
pub(in crate::http) fn bare_token(value: &[u8]) -> String {
    const SCHEME: &[u8] = b"bearer ";
    let has_scheme = value.get(..SCHEME.len()).is_some_and(|s| s.eq_ignore_ascii_case(SCHEME));
    let token = if has_scheme { &value[SCHEME.len()..] } else { value };
    String::from_utf8_lossy(token.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_is_there_under_every_prefix() {
        let unary = Unary::ALL
            .iter()
            .flat_map(|(rpc, _, paths)| paths.iter().map(|path| (Rpc::Unary(*rpc), *path)));
        let streaming = Streaming::ALL
            .iter()
            .filter_map(|(rpc, _, path)| Some((Rpc::Streaming(*rpc), (*path)?)));
        for (rpc, path) in unary.chain(streaming) {
            let rest = path.strip_prefix("/v3/").expect("all are under /v3");
            for prefix in ["/v3/", "/v3beta/", "/v3alpha/"] {
                assert_eq!(Rpc::of(format!("{prefix}{rest}").as_bytes()), Some(rpc), "{path}");
            }
        }
        for path in
            ["/v3/", "/v3/kv", "/v3/kv/range/", "/v3betakv/range", "/v2/kv/range", "/v3/\u{e9}"]
        {
            assert_eq!(Rpc::of(path.as_bytes()), None, "{path}");
        }
        assert_eq!(Rpc::of(b"/v3/\xff"), None);
    }

    #[test]
    fn tokens() {
        for (value, token) in [
            ("abc.1", "abc.1"),
            ("Bearer abc.1", "abc.1"),
            ("bearer  abc.1 ", "abc.1"),
            ("Bearer", "Bearer"),
            ("", ""),
        ] {
            assert_eq!(bare_token(value.as_bytes()), token, "{value:?}");
        }
    }
}
