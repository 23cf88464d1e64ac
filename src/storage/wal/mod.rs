//! The write-ahead log: entries, hard states and snapshot marks in preallocated segments.
//!
//! What always holds:
//! - a batch is all there or not at all, and batches are there in the order of their appending;
//! - what [`Wal::sync`] covered is there after any crash, or the start is refused;
//! - a torn end is told from damage: the end is cut off and reported, damage stops the start;
//! - after a failed write or sync the log refuses all further work.
//!
//! [`Wal`] (writer.rs) appends, [`WalReplay`] (reader.rs) reads and recovers, [`RecoveredLog`]
//! (log.rs) is what a start needs of it. One file for each kind of record has its encoding.
//! Depends on the disk, the frames and the numbers of `types`; knows nothing of the `raft` crate.

mod batch_start;
mod entry;
mod error;
mod hard_state;
mod log;
mod metadata;
mod reader;
mod record;
mod scan;
mod segment;
mod segment_end;
mod snapshot_mark;
mod stats;
mod writer;

pub use entry::{Entry, EntryType};
pub use error::{Damage, DamageKind, WalError};
pub use hard_state::HardState;
pub use log::RecoveredLog;
pub use metadata::WalMeta;
pub use reader::{Progress, RecoveryReport, TornTail, WalReplay};
pub use record::{Record, RecordError};
pub use snapshot_mark::SnapshotMark;
pub use stats::WalStats;
pub use writer::{Wal, WalBatch};

/// How a WAL is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// Bytes that a segment is preallocated with; a batch that is larger makes a larger segment.
    pub segment_bytes: u64,
    /// Whether [`Wal::sync`] waits for the disk. Without it a crash of the machine loses what was
    /// acknowledged (etcd's `--unsafe-no-fsync`).
    pub fsync: bool,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions { segment_bytes: 64 << 20, fsync: true }
    }
}
