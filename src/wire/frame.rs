//! The frame around everything that peers send: length, kind, version, checksums.
//!
//! A header of [`HEADER_LEN`] bytes, then the payload. The header has a checksum of its own: a length that
//! was damaged on the way is seen at once, and nothing is ever allocated for it. Depends on crc32c alone.

use crc32c::crc32c;

use super::WireError;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;

/// A header whose checksum was right, and whose length is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is; never 0.
    pub kind: u8,
    /// The version of the payload's encoding; starts at 1.
    pub version: u8,
    /// Length of the payload.
    pub len: usize,
    payload_crc: u32,
}

impl Header {
    /// Decodes a header.
    pub fn decode(header: &[u8; HEADER_LEN], payload_max: usize) -> Result<Header, WireError> {
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (stored, computed) = (word(12), crc32c(&header[..12]));
        if stored != computed {
            return Err(WireError::Header { stored, computed });
        }
        let (len, max) = (word(0) as usize, payload_max);
        if len > max {
            return Err(WireError::TooLong { len, max });
        }
        let [_, _, _, _, kind, version, reserved @ ..] = *header;
        if reserved[..2] != [0, 0] {
            return Err(WireError::Reserved);
        }
        Ok(Header { kind, version, len, payload_crc: word(8) })
    }

    /// Says whether this is the payload that the header speaks of.
    pub fn check(&self, payload: &[u8]) -> Result<(), WireError> {
        let (stored, computed) = (self.payload_crc, crc32c(payload));
        if stored == computed { Ok(()) } else { Err(WireError::Payload { stored, computed }) }
    }
}

/// Leaves room for a header at the end of `out`. The payload is then appended, and [`finish`] is called
/// with the answer.
#[must_use]
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    start
}

/// Completes the frame begun at `start`.
pub fn finish(out: &mut [u8], start: usize, kind: u8, version: u8) {
    let (header, payload) = out[start..].split_at_mut(HEADER_LEN);
    let len = u32::try_from(payload.len()).expect("a batch ends long before that");
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..8].copy_from_slice(&[kind, version, 0, 0]);
    header[8..12].copy_from_slice(&crc32c(payload).to_le_bytes());
    let header_crc = crc32c(&header[..12]);
    header[12..].copy_from_slice(&header_crc.to_le_bytes());
}
