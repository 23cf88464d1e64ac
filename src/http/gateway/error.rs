//! What a refused RPC looks like at the gateway: the HTTP status of its code, and a body for clients of
//! every age: older ones read `error`, newer ones `message`.

use actix_http::{
    StatusCode,
    header::{self, HeaderValue},
};
use bytes::Bytes;

use crate::http::{
    answer::{self, Answer},
    json,
    v3::error::{Code, RpcError, TOO_MANY_REQUESTS},
};

/// The HTTP status of a code.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A refusal before anything was answered.
pub fn answer(error: &RpcError) -> Answer {
    let text = error.message.as_bytes();
    let mut body = br#"{"error":"#.to_vec();
    json::push_string(&mut body, text);
    body.extend_from_slice(br#","code":"#);
    json::push_u64(&mut body, error.code as u64);
    body.extend_from_slice(br#","message":"#);
    json::push_string(&mut body, text);
    body.push(b'}');
    let mut answer = answer::json(status(error.code), body);
    if *error == TOO_MANY_REQUESTS {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// A path under the gateway's prefixes that is no RPC.
pub fn no_such_path() -> Answer {
    answer(&RpcError::new(Code::NotFound, "Not Found"))
}

/// A refusal as the last line of a stream.
pub fn line(error: &RpcError) -> Bytes {
    let status = status(error.code);
    let mut line = br#"{"error":{"grpc_code":"#.to_vec();
    json::push_u64(&mut line, error.code as u64);
    line.extend_from_slice(br#","http_code":"#);
    json::push_u64(&mut line, u64::from(status.as_u16()));
    line.extend_from_slice(br#","message":"#);
    json::push_string(&mut line, error.message.as_bytes());
    line.extend_from_slice(br#","http_status":"#);
    json::push_string(&mut line, status.canonical_reason().unwrap_or("").as_bytes());
    line.extend_from_slice(b"}}\n");
    Bytes::from(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::v3::error::{COMPACTED, NO_LEADER};

    #[test]
    fn every_code_has_its_status() {
        for (code, expected) in [
            (Code::Cancelled, 499),
            (Code::Unknown, 500),
            (Code::InvalidArgument, 400),
            (Code::DeadlineExceeded, 504),
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::PermissionDenied, 403),
            (Code::ResourceExhausted, 429),
            (Code::FailedPrecondition, 400),
            (Code::Aborted, 409),
            (Code::OutOfRange, 400),
            (Code::Unimplemented, 501),
            (Code::Internal, 500),
            (Code::Unavailable, 503),
            (Code::DataLoss, 500),
            (Code::Unauthenticated, 401),
        ] {
            assert_eq!(status(code).as_u16(), expected, "{code:?}");
        }
    }

    #[test]
    fn the_last_line_of_a_stream() {
        assert_eq!(
            line(&NO_LEADER),
            r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#
                .to_owned()
                + "\n",
        );
        assert_eq!(answer(&COMPACTED).status(), StatusCode::BAD_REQUEST);
    }
}
