//! gRPC's frames around messages: a byte that tells whether the message is compressed, its length in four
//! bytes, the message. Nothing is kept for a message before its bytes are here, whatever length it
//! announces; one that came in one piece is not copied.

use bytes::{Buf, Bytes, BytesMut};

/// The length of a frame's head.
pub const HEAD_BYTES: usize = 5;

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether it is compressed, as the metadata says how.
    pub compressed: bool,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What is wrong with a frame; the texts are grpc-go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the limit.
    #[error("grpc: received message larger than max ({announced} vs. {limit})")]
    TooLarge {
        /// How long it says that it is.
        announced: u32,
        /// How long it may be.
        limit: usize,
    },
    /// The first byte is neither 0 nor 1.
    #[error("grpc: received unexpected payload format {0}")]
    Format(u8),
}

/// Takes pieces in, gives messages out.
#[derive(Debug)]
pub struct Framing {
    limit: usize,
    /// The rest of the last piece.
    piece: Bytes,
    /// The beginning of a frame whose end is not here yet, head and all.
    partial: BytesMut,
}

impl Framing {
    /// For messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Framing {
        Framing { limit, piece: Bytes::new(), partial: BytesMut::new() }
    }

    /// How long a message may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes the next piece in. The messages of the one before must have been taken out.
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece is taken in when the last is used up");
        self.piece = piece;
    }

    /// The next message, if it is here whole.
    pub fn take(&mut self) -> Result<Option<Message>, FrameError> {
        if self.partial.is_empty() {
            if self.piece.len() >= HEAD_BYTES {
                let (compressed, len) = self.head(&self.piece)?;
                if self.piece.len() >= HEAD_BYTES + len {
                    self.piece.advance(HEAD_BYTES);
                    return Ok(Some(Message { compressed, bytes: self.piece.split_to(len) }));
                }
            }
            self.keep(usize::MAX);
            return Ok(None);
        }
        self.keep(HEAD_BYTES.saturating_sub(self.partial.len()));
        if self.partial.len() < HEAD_BYTES {
            return Ok(None);
        }
        let (compressed, len) = self.head(&self.partial)?;
        self.keep(HEAD_BYTES + len - self.partial.len());
        if self.partial.len() < HEAD_BYTES + len {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.partial).freeze();
        bytes.advance(HEAD_BYTES);
        Ok(Some(Message { compressed, bytes }))
    }

    /// Whether nothing of a message is here.
    pub fn is_between_messages(&self) -> bool {
        self.partial.is_empty() && self.piece.is_empty()
    }

    fn head(&self, bytes: &[u8]) -> Result<(bool, usize), FrameError> {
        let compressed = match bytes[0] {
            0 => false,
            1 => true,
            other => return Err(FrameError::Format(other)),
        };
        let announced = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        if announced as usize > self.limit {
            return Err(FrameError::TooLarge { announced, limit: self.limit });
        }
        Ok((compressed, announced as usize))
    }

    /// Keeps at most so many bytes of the piece.
    fn keep(&mut self, wanted: usize) {
        let len = wanted.min(self.piece.len());
        self.partial.extend_from_slice(&self.piece[..len]);
        self.piece.advance(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(compressed: u8, message: &[u8]) -> Vec<u8> {
        let len = (message.len() as u32).to_be_bytes();
        [&[compressed][..], &len, message].concat()
    }

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let input = [frame(0, b"one"), frame(1, b""), frame(0, b""), frame(0, &[7; 40])].concat();
        for size in 1..=input.len() {
            let mut framing = Framing::new(40);
            let mut messages = Vec::new();
            for piece in input.chunks(size) {
                framing.push(Bytes::copy_from_slice(piece));
                while let Some(message) = framing.take().expect("well framed") {
                    messages.push((message.compressed, message.bytes.to_vec()));
                }
            }
            let expected =
                [(false, b"one".to_vec()), (true, vec![]), (false, vec![]), (false, vec![7; 40])];
            assert_eq!(messages, expected, "in pieces of {size}");
            assert!(framing.is_between_messages());
        }
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let piece = Bytes::from(frame(0, b"message"));
        let mut framing = Framing::new(7);
        framing.push(piece.clone());
        let message = framing.take().expect("well framed").expect("it is whole");
        assert_eq!(message.bytes.as_ptr(), piece[HEAD_BYTES..].as_ptr());
    }

    #[test]
    fn bad_heads_are_refused_and_nothing_is_allocated_for_them() {
        for (head, error) in [
            ([0, 0, 0, 0, 41], FrameError::TooLarge { announced: 41, limit: 40 }),
            ([0, 255, 255, 255, 255], FrameError::TooLarge { announced: u32::MAX, limit: 40 }),
            ([2, 0, 0, 0, 1], FrameError::Format(2)),
        ] {
            for size in 1..=HEAD_BYTES {
                let mut framing = Framing::new(40);
                let mut result = Ok(None);
                for piece in head.chunks(size) {
                    framing.push(Bytes::copy_from_slice(piece));
                    result = framing.take();
                }
                assert_eq!(result, Err(error), "{head:?} in pieces of {size}");
                assert!(framing.partial.capacity() < 1024);
            }
        }
    }

    #[test]
    fn a_cut_message_is_not_between_messages() {
        let mut framing = Framing::new(40);
        framing.push(Bytes::from_static(&[0, 0, 0, 0, 9, 1]));
        assert_eq!(framing.take(), Ok(None));
        assert!(!framing.is_between_messages());
    }
}
