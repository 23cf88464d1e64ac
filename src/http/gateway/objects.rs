//! A body that holds JSON objects one after the other, maybe for as long as its client likes: each is
//! given as soon as it is complete. What an object holds is not looked at here.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::Payload;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream;

use crate::http::v3::error::{Code, RpcError};

/// No request is that deep.
const DEPTH_MAX: usize = 128;

const NO_OBJECT: RpcError = RpcError::new(Code::InvalidArgument, "the body is not made of objects");
const TOO_DEEP: RpcError = RpcError::new(Code::InvalidArgument, "the body is nested too deep");
const CUT_SHORT: RpcError = RpcError::new(Code::InvalidArgument, "unexpected EOF");

/// What is longer than `limit` is refused.
pub fn too_large(limit: usize) -> RpcError {
    let text = format!("grpc: received message larger than max (vs. {limit})");
    RpcError::with_text(Code::ResourceExhausted, text)
}

/// The objects of a body. An error is the last item.
pub struct Objects {
    /// None after its end.
    payload: Option<Payload>,
    cutter: Cutter,
}

impl Objects {
    /// Each of at most so many bytes.
    pub fn new(payload: Payload, bytes_max: usize) -> Objects {
        Objects { payload: Some(payload), cutter: Cutter::new(bytes_max) }
    }
}

impl Stream for Objects {
    type Item = Result<Bytes, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Objects { payload: slot, cutter } = &mut *self;
        loop {
            let Some(payload) = slot else { return Poll::Ready(None) };
            let chunk = match cutter.next() {
                Ok(None) => ready!(Pin::new(payload).poll_next(cx)),
                Ok(Some(object)) => return Poll::Ready(Some(Ok(object))),
                Err(error) => {
                    *slot = None;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            match chunk {
                Some(Ok(chunk)) => cutter.held.extend_from_slice(&chunk),
                None if cutter.held.is_empty() => *slot = None,
                None | Some(Err(_)) => {
                    *slot = None;
                    return Poll::Ready(Some(Err(CUT_SHORT)));
                }
            }
        }
    }
}

/// Finds where objects end.
struct Cutter {
    held: BytesMut,
    /// So much of it was looked at.
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    bytes_max: usize,
}

impl Cutter {
    fn new(bytes_max: usize) -> Cutter {
        let held = BytesMut::new();
        Cutter { held, seen: 0, depth: 0, in_string: false, escaped: false, bytes_max }
    }

    /// The next object, if it is there.
    fn next(&mut self) -> Result<Option<Bytes>, RpcError> {
        if self.depth == 0 {
            let blank = self.held.len() - self.held.trim_ascii_start().len();
            self.held.advance(blank);
        }
        while let Some(&byte) = self.held.get(self.seen) {
            self.seen += 1;
            if self.ends_with(byte)? {
                let object = self.held.split_to(self.seen).freeze();
                self.seen = 0;
                return Ok(Some(object));
            }
            if self.seen > self.bytes_max {
                return Err(too_large(self.bytes_max));
            }
        }
        Ok(None)
    }

    fn ends_with(&mut self, byte: u8) -> Result<bool, RpcError> {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = byte == b'\\' && !self.escaped;
            return Ok(false);
        }
        match byte {
            b'{' => self.depth += 1,
            _ if self.depth == 0 => return Err(NO_OBJECT),
            b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            b'"' => self.in_string = true,
            _ => {}
        }
        if self.depth > DEPTH_MAX { Err(TOO_DEEP) } else { Ok(self.depth == 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of a body that comes in pieces of `len`.
    fn cut(body: &[u8], len: usize) -> (Vec<Bytes>, Result<usize, RpcError>) {
        let mut cutter = Cutter::new(400);
        let mut objects = Vec::new();
        for piece in body.chunks(len) {
            cutter.held.extend_from_slice(piece);
            loop {
                match cutter.next() {
                    Ok(Some(object)) => objects.push(object),
                    Ok(None) => break,
                    Err(error) => return (objects, Err(error)),
                }
            }
        }
        (objects, Ok(cutter.held.len()))
    }

    #[test]
    fn objects_are_found_however_they_come() {
        let body = br#" {"a":1}{"b":{"c":["}",{}]}}
            {"d":"\"}{\\"}{}	{"e":[[]]}"#;
        let expected = [
            &br#"{"a":1}"#[..],
            br#"{"b":{"c":["}",{}]}}"#,
            br#"{"d":"\"}{\\"}"#,
            b"{}",
            br#"{"e":[[]]}"#,
        ];
        for len in 1..body.len() {
            assert_eq!(cut(body, len), (expected.map(Bytes::from_static).to_vec(), Ok(0)), "{len}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_and_what_is_cut_short_is_kept() {
        let deep = "{\"a\":".repeat(DEPTH_MAX + 1);
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(400));
        for (body, objects, rest) in [
            ("[]", 0, Err(NO_OBJECT)),
            ("{}7", 1, Err(NO_OBJECT)),
            ("}", 0, Err(NO_OBJECT)),
            ("\u{0}", 0, Err(NO_OBJECT)),
            (deep.as_str(), 0, Err(too_large(400))),
            (&deep.replace("\"a\":", ""), 0, Err(TOO_DEEP)),
            (&long, 0, Err(too_large(400))),
            ("{} {\"a\":\"}", 1, Ok(7)),
            ("", 0, Ok(0)),
            (" \n", 0, Ok(0)),
        ] {
            let (found, ended) = cut(body.as_bytes(), 3);
            assert_eq!((found.len(), ended), (objects, rest), "{body:?}");
        }
    }
}
