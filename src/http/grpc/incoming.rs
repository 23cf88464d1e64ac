//! The messages of a request, as they come in. What was read is given back to the client's flow control
//! at once; what nobody asks for is not read, and holds the client back.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;

use super::{
    GrpcDoor,
    framing::{FrameError, Framing, Message},
    metadata::Encoding,
    methods::Method,
};
use crate::http::{
    Doors,
    v3::error::{Code, RpcError},
};

/// See the head of the module.
pub struct Incoming {
    doors: Arc<Doors>,
    method: Method,
    body: RecvStream,
    framing: Framing,
    encoding: Encoding,
    ended: bool,
}

impl Incoming {
    /// The messages of this body.
    pub fn new(door: &GrpcDoor, method: Method, body: RecvStream, encoding: Encoding) -> Incoming {
        let framing = Framing::new(door.message_bytes_max);
        Incoming { doors: Arc::clone(&door.doors), method, body, framing, encoding, ended: false }
    }

    /// The next message, decompressed; none at the client's half-close.
    pub fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RpcError>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            match self.framing.take() {
                Ok(Some(message)) => {
                    self.doors.grpc.received(self.method, message.bytes.len());
                    return Poll::Ready(Some(self.plain(message)));
                }
                Ok(None) => {}
                Err(error) => return self.fail(error.into()),
            }
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(piece)) => {
                    // Fails when the stream is reset, which the next look tells too.
                    _ = self.body.flow_control().release_capacity(piece.len());
                    self.framing.push(piece);
                }
                Some(Err(error)) => {
                    let text = error.to_string();
                    return self.fail(RpcError::with_text(Code::Cancelled, text));
                }
                None if self.framing.is_between_messages() => self.ended = true,
                None => return self.fail(RpcError::new(Code::Internal, "unexpected EOF")),
            }
        }
    }

    /// The only message of a request that has one.
    pub fn poll_only(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, RpcError>> {
        const NONE: RpcError = RpcError::new(
            Code::Internal,
            "cardinality violation: received no request message from non-client-streaming RPC",
        );
        self.poll_message(cx).map(|message| message.unwrap_or(Err(NONE)))
    }

    fn plain(&mut self, message: Message) -> Result<Bytes, RpcError> {
        let Message { compressed, bytes } = message;
        if !compressed {
            return Ok(bytes);
        }
        match self.encoding {
            Encoding::Identity => {
                self.ended = true;
                Err(RpcError::new(
                    Code::Internal,
                    "grpc: compressed flag set with identity or empty encoding",
                ))
            }
        }
    }

    fn fail(&mut self, error: RpcError) -> Poll<Option<Result<Bytes, RpcError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, RpcError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl From<FrameError> for RpcError {
    fn from(error: FrameError) -> RpcError {
        let code = match error {
            FrameError::TooLarge { .. } => Code::ResourceExhausted,
            FrameError::Format(_) => Code::Internal,
        };
        RpcError::with_text(code, error.to_string())
    }
}
