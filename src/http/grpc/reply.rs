//! The way back to the client of one call: a head, messages, and trailers with gRPC's status; or, where
//! there is no message, a head that is all of it.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::time::{Instant, sleep};

use super::{
    figures::{CountedCall, GrpcFigures},
    framing::HEAD_BYTES,
    metadata::NoCall,
    methods::Method,
};
use crate::http::{
    limits::SHORT_BYTES,
    v3::error::{Code, RpcError},
};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// A message up to this length is handed on at once; a longer one waits for the client's flow control,
/// piece by piece.
const AT_ONCE_BYTES: usize = 16 * 1024;
/// The pieces.
const PIECE_BYTES: usize = 64 * 1024;

/// The client is gone, or gave the call up: there is nobody to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Gone {
        Gone
    }
}

/// See the head of the module. How the call ends is counted once; one that nobody ends was given up.
pub struct Reply {
    respond: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
    patience: Duration,
    counted: Option<CountedCall>,
}

impl Reply {
    /// Before anything is sent. A client that takes nothing of a long message for `patience` is given up;
    /// zero is for ever.
    pub fn new(respond: SendResponse<Bytes>, patience: Duration) -> Reply {
        Reply { respond, sending: None, patience, counted: None }
    }

    /// A call of this method begins.
    pub fn count(&mut self, figures: &Arc<GrpcFigures>, method: Method) {
        self.counted = Some(CountedCall::begin(figures, method));
    }

    fn ended(&mut self, code: Option<Code>) {
        if let Some(counted) = &mut self.counted {
            counted.end(code);
        }
    }

    /// Ready when the client gave the call up, or its connection is lost.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        let reset = match &mut self.sending {
            None => self.respond.poll_reset(cx),
            Some(sending) => sending.poll_reset(cx),
        };
        reset.map(|_| Gone)
    }

    /// Sends framed messages, so many, after the head if they are the first. `interrupted` is polled while the client
    /// holds the message back; when it is ready, the rest is not sent.
    pub async fn send<E: From<Gone>>(
        &mut self,
        frames: Bytes,
        messages: usize,
        interrupted: impl FnMut(&mut Context<'_>) -> Poll<E>,
    ) -> Result<(), E> {
        if let Some(counted) = &self.counted {
            counted.sent(messages, frames.len().saturating_sub(messages * HEAD_BYTES));
        }
        let patience = self.patience;
        send_all(self.sending()?, frames, patience, interrupted).await
    }

    fn sending(&mut self) -> Result<&mut SendStream<Bytes>, Gone> {
        match &mut self.sending {
            Some(sending) => Ok(sending),
            none => Ok(none.insert(self.respond.send_response(head(StatusCode::OK), false)?)),
        }
    }

    /// All went well.
    pub fn finish(mut self) -> Result<(), Gone> {
        self.ended(None);
        let sending = self.sending()?;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(STATUS, HeaderValue::from_static("0"));
        Ok(sending.send_trailers(trailers)?)
    }

    /// It ends with an error.
    pub fn refuse(self, error: &RpcError) -> Result<(), Gone> {
        self.refuse_with(StatusCode::OK, error)
    }

    /// It was none.
    pub fn refuse_call(self, no_call: &NoCall) -> Result<(), Gone> {
        self.refuse_with(no_call.status, &no_call.error)
    }

    fn refuse_with(mut self, status: StatusCode, error: &RpcError) -> Result<(), Gone> {
        self.ended(Some(error.code));
        if let Some(sending) = &mut self.sending {
            let mut trailers = HeaderMap::with_capacity(2);
            put_status(&mut trailers, error);
            return Ok(sending.send_trailers(trailers)?);
        }
        let mut head = head(status);
        put_status(head.headers_mut(), error);
        self.respond.send_response(head, true)?;
        Ok(())
    }
}

/// Sends bytes as the client's flow control allows; `interrupted` is polled while it does not. Many bytes
/// are room that others want: they do not wait for ever.
pub async fn send_all<E: From<Gone>>(
    sending: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    patience: Duration,
    mut interrupted: impl FnMut(&mut Context<'_>) -> Poll<E>,
) -> Result<(), E> {
    if bytes.len() <= AT_ONCE_BYTES {
        sending.reserve_capacity(bytes.len());
        if sending.capacity() >= bytes.len() {
            return sending.send_data(bytes, false).map_err(|_| Gone.into());
        }
    }
    let is_long = bytes.len() > SHORT_BYTES && !patience.is_zero();
    let mut stalled = pin!(is_long.then(|| sleep(patience)));
    while bytes.has_remaining() {
        sending.reserve_capacity(bytes.len().min(PIECE_BYTES));
        let room = poll_fn(|cx| {
            if let Poll::Ready(end) = interrupted(cx) {
                return Poll::Ready(Err(end));
            }
            match sending.capacity() {
                0 => match sending.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room)),
                    Poll::Ready(_) => Poll::Ready(Err(Gone.into())),
                    Poll::Pending => match stalled.as_mut().as_pin_mut() {
                        Some(stalled) => stalled.poll(cx).map(|()| {
                            sending.send_reset(Reason::CANCEL);
                            Err(Gone.into())
                        }),
                        None => Poll::Pending,
                    },
                },
                room => Poll::Ready(Ok(room)),
            }
        })
        .await?;
        if let Some(stalled) = stalled.as_mut().as_pin_mut() {
            stalled.reset(Instant::now() + patience);
        }
        let piece = bytes.split_to(room.min(bytes.len()));
        sending.send_data(piece, false).map_err(|_| E::from(Gone))?;
    }
    Ok(())
}

fn head(status: StatusCode) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = status;
    head.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    head
}

fn put_status(headers: &mut HeaderMap, error: &RpcError) {
    headers.insert(STATUS, HeaderValue::from(error.code as u16));
    if let Ok(text) = HeaderValue::from_maybe_shared(Bytes::from(escaped(&error.message))) {
        headers.insert(MESSAGE, text);
    }
}

/// A text as gRPC wants it in a header: all but visible ASCII, and `%` itself, as `%XX`.
fn escaped(text: &str) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        for (text, expected) in [
            ("etcdserver: no leader", "etcdserver: no leader"),
            ("100%", "100%25"),
            ("ä\n\u{7f}", "%C3%A4%0A%7F"),
            ("", ""),
        ] {
            assert_eq!(escaped(text), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn codes_are_numbers() {
        let mut headers = HeaderMap::new();
        put_status(&mut headers, &RpcError::new(Code::Unauthenticated, "x"));
        assert_eq!(headers[STATUS], "16");
        assert_eq!(headers[MESSAGE], "x");
    }
}
