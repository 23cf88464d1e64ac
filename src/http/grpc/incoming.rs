//! The messages of a request, as they come in. What was read is given back to the client's flow control
//! at once; what nobody asks for is not read, and holds the client back.

use std::{
    io::Read as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
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
        let plain = match self.encoding {
            Encoding::Gzip => gunzip(&bytes, self.framing.limit()),
            Encoding::Identity => Err(RpcError::new(
                Code::Internal,
                "grpc: compressed flag set with identity or empty encoding",
            )),
        };
        self.ended |= plain.is_err();
        plain
    }

    fn fail(&mut self, error: RpcError) -> Poll<Option<Result<Bytes, RpcError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

/// A decompressed message of at most `limit` bytes. No more than that, and a byte, is ever unpacked.
fn gunzip(bytes: &[u8], limit: usize) -> Result<Bytes, RpcError> {
    let mut plain = Vec::new();
    let mut unpacking = MultiGzDecoder::new(bytes).take(limit as u64 + 1);
    if let Err(error) = unpacking.read_to_end(&mut plain) {
        let text = format!("grpc: failed to decompress the received message: {error}");
        return Err(RpcError::with_text(Code::Internal, text));
    }
    if plain.len() > limit {
        let text = format!("grpc: received message after decompression larger than max {limit}");
        return Err(RpcError::with_text(Code::ResourceExhausted, text));
    }
    Ok(plain.into())
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packing = GzEncoder::new(Vec::new(), Compression::best());
        packing.write_all(bytes).unwrap();
        packing.finish().unwrap()
    }

    #[test]
    fn messages_are_unpacked_as_far_as_they_may_be() {
        let two = [gzip(b"two "), gzip(b"members")].concat();
        for (packed, limit, expected) in [
            (gzip(b"message"), 7, Ok(&b"message"[..])),
            (gzip(b"message"), 6, Err("larger than max 6")),
            (gzip(&vec![0; 10_000_000]), 1000, Err("larger than max 1000")),
            (gzip(b""), 0, Ok(b"")),
            (two, 11, Ok(b"two members")),
            (b"nonsense, not gzip".to_vec(), 100, Err("failed to decompress")),
            (gzip(b"message")[..12].to_vec(), 100, Err("failed to decompress")),
            (Vec::new(), 100, Err("failed to decompress")),
        ] {
            let plain = gunzip(&packed, limit);
            match expected {
                Ok(expected) => assert_eq!(plain.unwrap(), expected),
                Err(text) => assert!(plain.unwrap_err().message.contains(text), "{text}"),
            }
        }
    }
}
