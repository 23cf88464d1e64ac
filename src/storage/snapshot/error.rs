//! What can go wrong with a snapshot file.

use std::path::PathBuf;

use crate::storage::disk::DiskError;
use crate::storage::frame::FrameError;

/// Why a snapshot cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed; the file may be good.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is not a whole snapshot.
    #[error("snapshot {} is damaged at byte {offset}: {kind}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the bad frame starts.
        offset: u64,
        /// What is wrong with it.
        kind: SnapshotDamage,
    },
}

/// What is wrong with a snapshot file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotDamage {
    /// A frame does not check.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A frame checks but does not hold what belongs there.
    #[error("frame kind {kind} version {version} is out of place or unknown")]
    Kind {
        /// The frame's kind.
        kind: u8,
        /// The frame's version.
        version: u8,
    },
    /// A frame's payload is not what its kind says.
    #[error("frame kind {kind}: {source}")]
    Malformed {
        /// The frame's kind.
        kind: u8,
        /// What the decoder says.
        source: rmp_serde::decode::Error,
    },
    /// A chunk's records do not fill it exactly.
    #[error("the records of a chunk do not fill it")]
    Records,
    /// The footer counts other chunks than those that are there.
    #[error("the footer does not fit the chunks")]
    Footer,
    /// Bytes follow the footer.
    #[error("{0} bytes follow the footer")]
    Trailing(u64),
    /// An exported snapshot is cut short, or was changed.
    #[error("the SHA-256 at its end does not fit")]
    Sum,
    /// The header is not that of the file's name.
    #[error("the header does not fit the file's name")]
    Name,
}
