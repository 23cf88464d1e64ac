//! What can be wrong with a peer's bytes.

use super::pack::PackError;

/// The stream cannot go on after any of these: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The header does not match its checksum.
    #[error("frame header checksum stored {stored:#010x}, computed {computed:#010x}")]
    Header {
        /// What the header says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The payload does not match its checksum.
    #[error("frame payload checksum stored {stored:#010x}, computed {computed:#010x}")]
    Payload {
        /// What the header says.
        stored: u32,
        /// What the payload gives.
        computed: u32,
    },
    /// A frame that is longer than this member takes.
    #[error("frame of {len} bytes, at most {max}")]
    TooLong {
        /// The payload's length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes of a frame header are not zero")]
    Reserved,
    /// A kind, or a version of a kind, that this program does not know.
    #[error("frame kind {kind} version {version} is unknown")]
    Unknown {
        /// The frame's kind.
        kind: u8,
        /// The frame's version.
        version: u8,
    },
    /// The payload is not what the kind says.
    #[error("frame kind {kind}: {source}")]
    Malformed {
        /// The frame's kind.
        kind: u8,
        /// Where it differs.
        source: PackError,
    },
}
