//! What can go wrong with a WAL.

use std::path::PathBuf;

use super::record::RecordError;
use crate::storage::disk::DiskError;
use crate::storage::frame::FrameError;
use crate::types::Index;

/// Why the WAL cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk failed. If the operation was a write or a sync, the WAL is poisoned.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is no room for another segment. Nothing was written, what is there is intact, and the
    /// append may be tried again when there is room.
    #[error("no space for another WAL segment: {0}")]
    NoSpace(#[source] DiskError),
    /// A write or sync failed before; what is on disk is known again only after a restart.
    #[error("the WAL failed before and takes no more work until a restart")]
    Poisoned,
    /// Bytes that must be readable are not.
    #[error(transparent)]
    Damaged(#[from] Box<Damage>),
    /// There is no segment.
    #[error("{} holds no WAL segment", .0.display())]
    Empty(PathBuf),
    /// A WAL is to be created where there is one.
    #[error("{} holds a WAL already", .0.display())]
    AlreadyExists(PathBuf),
    /// The log begins after the index from which it is needed.
    #[error(
        "{}: the log is needed from index {needed} on but begins at {first}: the snapshot it \
         continues is missing; {REMEDY}",
        .dir.display()
    )]
    StartsTooLate {
        /// The WAL's directory.
        dir: PathBuf,
        /// The first index that is needed.
        needed: Index,
        /// The first index that is there.
        first: Index,
    },
    /// Segments are missing in the middle, or the newest one.
    #[error("{}: segment {sequence} is missing; {REMEDY}", .dir.display())]
    MissingSegment {
        /// The WAL's directory.
        dir: PathBuf,
        /// The number of the missing segment.
        sequence: u64,
    },
    /// The log continues a snapshot that was installed later than the one that was loaded.
    #[error(
        "{}: the log continues the snapshot at index {index}, which could not be loaded; {REMEDY}",
        .dir.display()
    )]
    NeedsSnapshot {
        /// The WAL's directory.
        dir: PathBuf,
        /// The index of the snapshot that is needed.
        index: Index,
    },
}

pub(super) const REMEDY: &str = "the member must not start from this data: look with `callboard \
    check-data-dir`, then restore the data directory from a backup, or remove this member from the \
    cluster and add it again with an empty one";

/// Bytes that must be readable and are not.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {kind}; {REMEDY}", .path.display())]
pub struct Damage {
    /// The segment.
    pub path: PathBuf,
    /// Where the bad frame starts.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with a frame that must be whole.
#[derive(Debug, thiserror::Error)]
pub enum DamageKind {
    /// The frame does not check.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The frame does not check, and a later one says that it had been synced.
    #[error("{error}, though the frame at byte {witness} says that it was synced up to {synced}")]
    Synced {
        /// What is wrong with the frame.
        error: FrameError,
        /// Where the later frame is.
        witness: u64,
        /// What the later frame says.
        synced: u64,
    },
    /// The frame checks but holds no record that belongs there.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// An entry does not follow those before it.
    #[error("entry {found} follows entry {last}")]
    OutOfOrder {
        /// The entry's index.
        found: Index,
        /// The last index before it.
        last: Index,
    },
    /// The segment's first record does not fit its name or the other segments.
    #[error("the segment's first record does not fit {0}")]
    Foreign(&'static str),
    /// A batch or segment does not end where it was said to end.
    #[error("the batch does not end at byte {0}, where it should")]
    Length(u64),
}

impl WalError {
    /// Whether the disk is full. The WAL goes on only if the error is [`WalError::NoSpace`].
    pub fn is_no_space(&self) -> bool {
        match self {
            WalError::NoSpace(_) => true,
            WalError::Disk(error) => error.is_no_space(),
            _ => false,
        }
    }

    pub(super) fn damaged(path: &std::path::Path, offset: u64, kind: DamageKind) -> WalError {
        WalError::Damaged(Box::new(Damage { path: path.to_owned(), offset, kind }))
    }
}
