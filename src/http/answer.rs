//! What a handler gives back: a response whose body is whole, or a watch that goes on.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::{
    Response, StatusCode,
    body::{BodySize, MessageBody},
    header::{self, HeaderName, HeaderValue},
};
use bytes::Bytes;
use futures_util::Stream;

use super::json;

/// A response of the doors.
pub type Answer = Response<DoorBody>;

/// A body is handed over in pieces of at most so many bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The body of an answer.
pub enum DoorBody {
    /// All there is, with its length.
    Whole(Bytes),
    /// A parked poll: at most one chunk, some time. Taken out when it has come.
    Once(Option<Pin<Box<dyn Future<Output = Option<Bytes>>>>>),
    /// Chunk after chunk.
    Stream(Pin<Box<dyn Stream<Item = Bytes>>>),
}

impl MessageBody for DoorBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        match self {
            DoorBody::Whole(bytes) => BodySize::Sized(bytes.len() as u64),
            DoorBody::Once(_) | DoorBody::Stream(_) => BodySize::Stream,
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let chunk = match &mut *self {
            DoorBody::Whole(bytes) if bytes.is_empty() => None,
            // What is handed over is copied into the connection's buffer: a long body goes there bit by bit.
            DoorBody::Whole(bytes) => Some(bytes.split_to(bytes.len().min(PIECE_BYTES))),
            DoorBody::Once(None) => None,
            DoorBody::Once(slot @ Some(_)) => {
                let parked = slot.as_mut().expect("it was just matched");
                let Poll::Ready(chunk) = parked.as_mut().poll(cx) else { return Poll::Pending };
                *slot = None;
                chunk
            }
            DoorBody::Stream(stream) => {
                let Poll::Ready(chunk) = stream.as_mut().poll_next(cx) else {
                    return Poll::Pending;
                };
                chunk
            }
        };
        Poll::Ready(chunk.map(Ok))
    }
}

/// An answer with a body of a type that never changes its name.
pub fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    with_body(status, content_type, DoorBody::Whole(body.into()))
}

/// An answer with any body.
pub fn with_body(status: StatusCode, content_type: &'static str, body: DoorBody) -> Answer {
    let mut answer = Response::with_body(status, body);
    answer.head_mut().set_camel_case_headers(true); // what scripts grep for in etcd's answers
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer of nothing but its status.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::with_body(status, DoorBody::Whole(Bytes::new()));
    answer.head_mut().set_camel_case_headers(true);
    answer
}

/// JSON.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    whole(status, "application/json", body)
}

/// Plain text that is meant to be shown.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    whole(status, "text/plain; charset=utf-8", body)
}

/// A refusal in plain text, as Go's `http.Error` gives it: a line, and a hint not to guess its type.
pub fn error_text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = text(status, body);
    answer
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// 404 in plain text.
pub fn not_found() -> Answer {
    error_text(StatusCode::NOT_FOUND, &b"404 page not found\n"[..])
}

/// 405 in plain text, with the methods that are allowed (none: not told).
pub fn method_not_allowed(allow: Option<&'static str>) -> Answer {
    let mut answer = error_text(StatusCode::METHOD_NOT_ALLOWED, &b"Method Not Allowed\n"[..]);
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    answer
}

/// `{"message":…}`, the shape of refusals outside the keys; no newline.
pub fn message(status: StatusCode, text: &[u8]) -> Answer {
    let mut body = br#"{"message":"#.to_vec();
    json::push_string(&mut body, text);
    body.push(b'}');
    json(status, body)
}

/// Adds a header whose value is made of visible ASCII.
pub fn set_header(answer: &mut Answer, name: &HeaderName, value: Vec<u8>) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        answer.headers_mut().insert(name.clone(), value);
    }
}

/// Adds a header whose value is a number.
pub fn set_number(answer: &mut Answer, name: &HeaderName, number: u64) {
    let mut digits = Vec::with_capacity(20);
    json::push_u64(&mut digits, number);
    set_header(answer, name, digits);
}
