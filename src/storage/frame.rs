//! The frame around every record and chunk on disk: length, kind, version, checksums.
//!
//! A frame is a header of [`HEADER_LEN`] bytes, the payload, and one footer byte. The header's
//! checksum is salted with what the file is and where in it the frame starts, so that a sector that
//! belongs elsewhere (stale, misdirected, of a recycled file) never passes for a frame.
//!
//! Files are filled with zeros before they are written, and a disk writes whole sectors. So that a
//! sector which was never written can be told from one which decayed, **no sector's part of a whole
//! frame is all zero**: the first byte (kind) and the last (footer) are not zero, and a payload that
//! would leave a sector of zeros in between is masked. The only exception is a payload that has
//! whole sectors of each of the 256 byte values.
//!
//! Whether a bad frame is the torn end of a crash or damage is for the reader of the whole file to
//! say; this module only says what it sees. Depends on crc32c alone.

use std::borrow::Cow;
use std::ops::Range;

use crc32c::{crc32c, crc32c_append};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;
/// Bytes that a frame adds to its payload.
pub const OVERHEAD: usize = HEADER_LEN + 1;
/// The last byte of every frame.
pub const FOOTER: u8 = 0xA5;
/// What a disk writes as a whole, at least.
pub const SECTOR: u64 = 512;
/// The longest payload; far above what a proposal may carry.
pub const PAYLOAD_MAX: usize = 1 << 30;

/// What the bytes at a place are, if they are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Sixteen zeros stand where a header would: nothing was written here, or it was lost.
    #[error("no frame")]
    End,
    /// The bytes end before the frame does, which needs this many in all.
    #[error("frame of {needed} bytes is cut short")]
    Cut {
        /// Length of the whole frame, or of the header if not even that is there.
        needed: usize,
    },
    /// The header does not match its checksum, or belongs to another file or place.
    #[error("header checksum stored {stored:#010x}, computed {computed:#010x}")]
    Header {
        /// What the header says.
        stored: u32,
        /// What its bytes, the file's identity and the offset give.
        computed: u32,
    },
    /// The payload does not match its checksum.
    #[error("payload checksum stored {stored:#010x}, computed {computed:#010x}")]
    Payload {
        /// What the header says.
        stored: u32,
        /// What the payload gives.
        computed: u32,
    },
    /// The last byte is not the footer.
    #[error("footer is {found:#04x}, expected {FOOTER:#04x}")]
    Footer {
        /// The byte in the footer's place.
        found: u8,
    },
}

/// The identity of a file, mixed into the checksum of each frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(u32);

impl Salt {
    /// Makes the salt of a file from the numbers that tell it from every other.
    pub fn new(parts: &[u64]) -> Salt {
        Salt(parts.iter().fold(0, |crc, part| crc32c_append(crc, &part.to_le_bytes())))
    }

    fn header_crc(self, first: &[u8], offset: u64) -> u32 {
        let mut bytes = [0; 20];
        bytes[..12].copy_from_slice(first);
        bytes[12..].copy_from_slice(&offset.to_le_bytes());
        crc32c_append(self.0, &bytes)
    }
}

/// A header whose checksum was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is; never 0.
    pub kind: u8,
    /// The version of the payload's encoding; starts at 1.
    pub version: u8,
    mask: u8,
    len: u32,
    payload_crc: u32,
}

/// A frame that is whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the payload is.
    pub kind: u8,
    /// The version of the payload's encoding.
    pub version: u8,
    /// What was framed; borrowed unless it was masked.
    pub payload: Cow<'a, [u8]>,
    /// Length of the whole frame.
    pub len: usize,
}

impl Header {
    /// Decodes the header that starts `bytes`, which stand at `offset` in the file.
    pub fn decode(bytes: &[u8], salt: Salt, offset: u64) -> Result<Header, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(FrameError::Cut { needed: HEADER_LEN });
        };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if *header == [0; HEADER_LEN] {
            return Err(FrameError::End);
        }
        let (stored, computed) = (word(12), salt.header_crc(&header[..12], offset));
        if stored != computed {
            return Err(FrameError::Header { stored, computed });
        }
        let [kind, version, mask, ..] = *header;
        Ok(Header { kind, version, mask, len: word(4), payload_crc: word(8) })
    }

    /// Length of the whole frame.
    pub fn frame_len(&self) -> usize {
        self.len as usize + OVERHEAD
    }
}

/// Decodes the frame that starts `bytes`, which stand at `offset` in the file.
pub fn decode(bytes: &[u8], salt: Salt, offset: u64) -> Result<Frame<'_>, FrameError> {
    let header = Header::decode(bytes, salt, offset)?;
    let len = header.frame_len();
    if bytes.len() < len {
        return Err(FrameError::Cut { needed: len });
    }
    let payload = &bytes[HEADER_LEN..len - 1];
    if bytes[len - 1] != FOOTER {
        return Err(FrameError::Footer { found: bytes[len - 1] });
    }
    let (stored, computed) = (header.payload_crc, crc32c(payload));
    if stored != computed {
        return Err(FrameError::Payload { stored, computed });
    }
    let payload = match header.mask {
        0 => Cow::Borrowed(payload),
        mask => Cow::Owned(payload.iter().map(|byte| byte ^ mask).collect()),
    };
    Ok(Frame { kind: header.kind, version: header.version, payload, len })
}

/// Leaves room for a header at the end of `out`. The payload is then appended to `out`, and
/// [`finish`] is called with the answer.
#[must_use]
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    start
}

/// Completes the frame begun at `start`, which will stand at `offset` in the file.
pub fn finish(out: &mut Vec<u8>, start: usize, kind: u8, version: u8, salt: Salt, offset: u64) {
    let payload_at = start + HEADER_LEN;
    let len = out.len() - payload_at;
    assert!(len <= PAYLOAD_MAX, "size was limited when it was proposed");
    assert!(kind != 0, "a frame's first byte must not look unwritten");
    let mask = mask_for(&out[payload_at..], offset);
    if mask != 0 {
        out[payload_at..].iter_mut().for_each(|byte| *byte ^= mask);
    }
    let payload_crc = crc32c(&out[payload_at..]);
    let header = &mut out[start..payload_at];
    header[..3].copy_from_slice(&[kind, version, mask]);
    header[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    header[8..12].copy_from_slice(&payload_crc.to_le_bytes());
    let header_crc = salt.header_crc(&header[..12], offset);
    header[12..].copy_from_slice(&header_crc.to_le_bytes());
    out.push(FOOTER);
}

/// The byte to mask a payload with so that no whole sector of it is zero; 0 for none.
fn mask_for(payload: &[u8], frame_offset: u64) -> u8 {
    let payload_offset = frame_offset + HEADER_LEN as u64;
    let footer_sector = (payload_offset + payload.len() as u64) / SECTOR;
    if footer_sector <= frame_offset / SECTOR + 1 {
        return 0; // each of its sectors has the kind or the footer
    }
    let mut constant = [false; 256];
    for part in sectors(payload_offset, payload.len()) {
        let sector = (payload_offset + part.start as u64) / SECTOR;
        let part = &payload[part];
        if sector != frame_offset / SECTOR
            && sector != footer_sector
            && part.iter().all(|byte| *byte == part[0])
        {
            constant[usize::from(part[0])] = true;
        }
    }
    constant.iter().position(|used| !used).unwrap_or(0) as u8
}

/// Whether a sector's part of `bytes`, which stand at `offset` in the file, is all zero: then it was
/// never written, for a whole frame has no such part.
pub fn has_unwritten_sector(bytes: &[u8], offset: u64) -> bool {
    sectors(offset, bytes.len()).any(|part| bytes[part].iter().all(|byte| *byte == 0))
}

/// The ranges into which sector boundaries cut `len` bytes at `offset`.
fn sectors(offset: u64, len: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let room = (SECTOR - (offset + at as u64) % SECTOR) as usize;
        let part = at..len.min(at + room);
        at = part.end;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(0x1234_5678);

    fn framed(payload: &[u8], offset: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin(&mut out);
        out.extend_from_slice(payload);
        finish(&mut out, start, 3, 1, SALT, offset);
        out
    }

    #[test]
    fn round_trip_every_cut_and_every_flipped_bit() {
        let bytes = framed(b"the payload", 77);
        let frame = decode(&bytes, SALT, 77).unwrap();
        assert_eq!((frame.kind, frame.version, frame.len), (3, 1, bytes.len()));
        assert_eq!(frame.payload, Cow::Borrowed(b"the payload"));
        for cut in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..cut], SALT, 77), Err(FrameError::Cut { .. })));
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, SALT, 77).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_elsewhere_is_no_frame() {
        let bytes = framed(b"x", 77);
        assert!(matches!(decode(&bytes, SALT, 78), Err(FrameError::Header { .. })));
        assert!(matches!(decode(&bytes, Salt::new(&[1]), 77), Err(FrameError::Header { .. })));
    }

    #[test]
    fn a_whole_frame_has_no_sector_of_zeros() {
        for len in [0, 1, 495, 496, 511, 512, 1024, 5000] {
            for offset in [0, 1, 15, 495, 500, 511, 512, 777] {
                let payload = vec![0; len];
                let bytes = framed(&payload, offset);
                assert!(!has_unwritten_sector(&bytes, offset), "{len} bytes at {offset}");
                assert_eq!(decode(&bytes, SALT, offset).unwrap().payload, payload);
            }
        }
    }

    #[test]
    fn the_mask_avoids_every_constant_sector() {
        let mut payload = vec![0; 2048];
        payload.extend([1; 2048]); // a mask of 1 would turn these into zeros
        let bytes = framed(&payload, 0);
        assert_eq!(bytes[2], 2);
        assert!(!has_unwritten_sector(&bytes, 0));
    }

    #[test]
    fn unwritten_sectors_are_seen_at_sector_boundaries() {
        let mut bytes = vec![1; 1536];
        bytes[500..1000].fill(0);
        assert!(!has_unwritten_sector(&bytes, 0));
        assert!(!has_unwritten_sector(&bytes, 12));
        bytes[1000..1012].fill(0);
        assert!(has_unwritten_sector(&bytes, 12)); // 500..1012 is one sector there
        assert!(has_unwritten_sector(&bytes[..501], 12)); // and so is the part of it that is left
    }
}
