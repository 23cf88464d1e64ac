//! What the kinds of WAL record have in common: a kind, a version, `MessagePack` in a frame.
//!
//! A kind's number and a version's encoding never change once released; a changed encoding is a new
//! version, and the old one stays readable.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, HardState, SnapshotMark};
use crate::storage::frame::{self, Salt};

/// What replay yields, in the order in which it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Replaces the entry of its index, if there is one, and everything after it.
    Entry(Entry),
    /// Replaces the hard state.
    HardState(HardState),
    /// A snapshot was taken here, or installed.
    SnapshotMark(SnapshotMark),
}

/// A kind of record.
pub(super) trait RecordKind: Serialize + DeserializeOwned {
    /// The frame's kind; never used again for anything else.
    const KIND: u8;
    /// The version in which it is written.
    const VERSION: u8 = 1;
}

/// Why a frame's payload is not the record that its kind says.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A kind, or a version of a kind, that this program does not know.
    #[error("record kind {kind} version {version} is unknown: a newer version wrote it")]
    Unknown {
        /// The frame's kind.
        kind: u8,
        /// The frame's version.
        version: u8,
    },
    /// The payload is not what the kind says.
    #[error("record kind {kind}: {source}")]
    Malformed {
        /// The frame's kind.
        kind: u8,
        /// What the decoder says.
        source: rmp_serde::decode::Error,
    },
    /// A kind that has no place here.
    #[error("record kind {kind} is out of place")]
    OutOfPlace {
        /// The frame's kind.
        kind: u8,
    },
}

/// Appends the record in a frame to `out`, which begins at `base` in the file.
pub(super) fn encode<R: RecordKind>(record: &R, out: &mut Vec<u8>, salt: Salt, base: u64) {
    let start = frame::begin(out);
    rmp_serde::encode::write(out, record).expect("a Vec takes all bytes, and records are plain");
    frame::finish(out, start, R::KIND, R::VERSION, salt, base + start as u64);
}

/// Decodes a frame's payload.
pub(super) fn decode<R: RecordKind>(
    kind: u8,
    version: u8,
    payload: &[u8],
) -> Result<R, RecordError> {
    if kind != R::KIND {
        return Err(RecordError::OutOfPlace { kind });
    }
    if version != R::VERSION {
        return Err(RecordError::Unknown { kind, version });
    }
    rmp_serde::from_slice(payload).map_err(|source| RecordError::Malformed { kind, source })
}

/// Decodes a record that may stand in a batch.
pub(super) fn decode_in_batch(
    kind: u8,
    version: u8,
    payload: &[u8],
) -> Result<Record, RecordError> {
    match kind {
        Entry::KIND => decode(kind, version, payload).map(Record::Entry),
        HardState::KIND => decode(kind, version, payload).map(Record::HardState),
        SnapshotMark::KIND => decode(kind, version, payload).map(Record::SnapshotMark),
        1..=6 => Err(RecordError::OutOfPlace { kind }),
        _ => Err(RecordError::Unknown { kind, version }),
    }
}
