//! The body in which a snapshot file travels: pieces of the file, each with its place and a checksum, and
//! at the end the Raft message that the file belongs to. The frames are those of [`super::frame`]; the
//! kinds are of this body alone.
//!
//! Pure: bytes in, values out. What is held here is less than one frame and what was read last.

use bytes::{Buf, Bytes, BytesMut};
use raft::eraftpb::Message;

use super::{
    WireError, frame,
    frame::{HEADER_LEN, Header},
    message,
    pack::{PackError, Reader},
};

/// What the path begins with; the rest is `<term>-<index>`, each in 16 digits of lower-case hex.
pub const PATH: &str = "/raft/snapshot/";
/// Decimal: with a question, the file's length.
pub const LEN: &str = "x-callboard-snapshot-len";
/// Decimal: CRC-32C of the file's first [`HEAD_BYTES`], or of all of it. Says whose file it is.
pub const HEAD_CRC: &str = "x-callboard-snapshot-head-crc";
/// Decimal: where the body goes on; in an answer, how many bytes are there.
pub const OFFSET: &str = "x-callboard-snapshot-offset";
/// See [`HEAD_CRC`].
pub const HEAD_BYTES: usize = 4096;

/// The largest piece of the file in one frame.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// A piece of the file: its offset in 8 bytes little-endian, then its bytes.
const CHUNK: u8 = 32;
/// The message.
const END: u8 = 33;
const VERSION: u8 = 1;
const OFFSET_LEN: usize = 8;
/// Longer than the longest message: it has no entries, and names a bounded number of members.
const END_BYTES_MAX: usize = 64 << 10;

/// What a frame of the body says.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A piece of the file.
    Chunk {
        /// Where in the file it belongs.
        offset: u64,
        /// Never empty.
        bytes: Bytes,
    },
    /// The file is complete with this; nothing follows.
    End(Box<Message>),
}

/// The frame of a piece of at most [`CHUNK_BYTES_MAX`].
pub fn encode_chunk(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + OFFSET_LEN + bytes.len());
    let start = frame::begin(&mut out);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(bytes);
    frame::finish(&mut out, start, CHUNK, VERSION);
    out
}

/// The last frame.
pub fn encode_end(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    message::encode(message, &mut out);
    frame::finish(&mut out, start, END, VERSION);
    out
}

/// Takes the body apart as it comes in.
#[derive(Debug, Default)]
pub struct ChunkDecoder {
    buffer: BytesMut,
}

impl ChunkDecoder {
    /// Takes what was read. [`ChunkDecoder::next`] is to be called until it has none.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, if there is one. After an error the body is of no use.
    #[expect(clippy::should_implement_trait, reason = "an iterator's end would be final")]
    pub fn next(&mut self) -> Result<Option<Part>, WireError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let header = Header::decode(header, OFFSET_LEN + CHUNK_BYTES_MAX)?;
        let Header { kind, version, len, .. } = header;
        match (kind, version) {
            (END, VERSION) if len > END_BYTES_MAX => {
                return Err(WireError::TooLong { len, max: END_BYTES_MAX });
            }
            (CHUNK | END, VERSION) => {}
            _ => return Err(WireError::Unknown { kind, version }),
        }
        if self.buffer.len() < HEADER_LEN + len {
            self.buffer.reserve(HEADER_LEN + len - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        let mut payload = self.buffer.split_to(len).freeze();
        header.check(&payload)?;
        if kind == END {
            let malformed = |source| WireError::Malformed { kind, source };
            return decode_end(payload).map(Some).map_err(malformed);
        }
        if len <= OFFSET_LEN {
            let source = PackError::Range { what: "length of a chunk" };
            return Err(WireError::Malformed { kind, source });
        }
        let offset = payload.get_u64_le();
        Ok(Some(Part::Chunk { offset, bytes: payload }))
    }
}

fn decode_end(payload: Bytes) -> Result<Part, PackError> {
    let mut reader = Reader::new(payload);
    let message = message::decode(&mut reader, &mut 0)?;
    reader.end()?;
    Ok(Part::End(Box::new(message)))
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::MessageType;

    use super::*;

    fn message() -> Message {
        let mut message = Message { from: 1, to: 2, term: 3, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        let metadata = message.mut_snapshot().mut_metadata();
        metadata.index = 100;
        metadata.term = 2;
        metadata.mut_conf_state().voters = vec![1, 2, 3];
        message
    }

    fn body() -> Vec<u8> {
        let mut body = encode_chunk(0, &[7; 1000]);
        body.extend(encode_chunk(1000, &[8; 10]));
        body.extend(encode_end(&message()));
        body
    }

    fn decode(body: &[u8], piece: usize) -> Result<Vec<Part>, WireError> {
        let mut decoder = ChunkDecoder::default();
        let mut parts = Vec::new();
        for bytes in body.chunks(piece) {
            decoder.feed(bytes);
            while let Some(part) = decoder.next()? {
                parts.push(part);
            }
        }
        assert_eq!(decoder.buffered(), 0);
        Ok(parts)
    }

    #[test]
    fn cut_anywhere_it_says_the_same() {
        let expected = vec![
            Part::Chunk { offset: 0, bytes: Bytes::from(vec![7; 1000]) },
            Part::Chunk { offset: 1000, bytes: Bytes::from(vec![8; 10]) },
            Part::End(Box::new(message())),
        ];
        for piece in [1, 2, 15, 16, 17, 100, 1 << 20] {
            assert_eq!(decode(&body(), piece), Ok(expected.clone()), "{piece}");
        }
    }

    #[test]
    fn a_changed_byte_is_seen_wherever_it_is() {
        for at in 0..body().len() {
            let mut bad = body();
            bad[at] ^= 1;
            assert!(decode(&bad, 100).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_before_it_takes_memory() {
        let framed = |kind, version, payload: &[u8]| {
            let mut out = Vec::new();
            let start = frame::begin(&mut out);
            out.extend_from_slice(payload);
            frame::finish(&mut out, start, kind, version);
            out
        };
        for (kind, version, payload) in [
            (1, 1, vec![0; 20]),
            (CHUNK, 2, vec![0; 20]),
            (CHUNK, VERSION, vec![0; OFFSET_LEN]),
            (CHUNK, VERSION, vec![0; 3]),
            (CHUNK, VERSION, vec![0; OFFSET_LEN + CHUNK_BYTES_MAX + 1]),
            (END, VERSION, vec![0; END_BYTES_MAX + 1]),
            (END, VERSION, vec![0xc1]),
        ] {
            let what = format!("kind {kind} version {version}, {} bytes", payload.len());
            let bytes = framed(kind, version, &payload);
            let mut decoder = ChunkDecoder::default();
            decoder.feed(&bytes[..bytes.len().min(HEADER_LEN + 20)]);
            let early = decoder.next();
            assert!(early.is_err() || payload.len() <= 20, "{what}: {early:?}");
            if early.is_ok() {
                decoder.feed(&bytes[HEADER_LEN + 20..]);
                assert!(decoder.next().is_err(), "{what}");
            }
        }
    }
}
