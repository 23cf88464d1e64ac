//! WalWriter owns the open WAL segment. It takes append batches from RaftNode and marks from
//! Snapshotter; it tells RaftNode what is on disk. It promises that `Persisted` is said only after the
//! sync that covers it returned, and that after a failed write or sync the process ends.
//!
//! It runs on an OS thread of its own, behind a bounded channel: whatever waits there when the disk
//! becomes free is joined into one write and one fdatasync.

pub mod host;
pub mod role;

use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::{
    actors::mailbox::Slot,
    storage::wal::{Entry, HardState, SnapshotMark},
    types::Index,
};

/// A batch from RaftNode. Answered with `Persisted`.
#[derive(Debug)]
pub struct Append {
    /// Ascending; said back once this batch and all before it are on disk.
    pub number: u64,
    /// A snapshot was installed: the log starts anew after it, and these entries follow.
    pub installed: Option<SnapshotMark>,
    /// May be empty.
    pub entries: Vec<Entry>,
    /// The hard state after these entries, if it changed.
    pub hard_state: Option<HardState>,
    /// False when nothing of it must survive a crash.
    pub must_sync: bool,
    /// Its place in the mailbox.
    pub slot: Slot,
}

/// What Snapshotter and the one who stops the member tell.
#[derive(Debug)]
pub enum Control {
    /// A snapshot is durable: note it, and let go of the segments that no kept snapshot needs.
    Snapshotted {
        /// The newest snapshot.
        mark: SnapshotMark,
        /// The oldest snapshot that is kept.
        release: Index,
    },
    /// Write what is left, sync it, and end. Everyone who appends must have stopped.
    Stop,
}

/// Figures that others may read at any time.
#[derive(Debug, Default)]
pub struct WalFigures {
    /// Bytes of log after the newest snapshot, about.
    pub bytes_since_snapshot: AtomicU64,
    /// Index of the newest snapshot.
    pub snapshot_index: AtomicU64,
    /// The disk is full: RaftNode refuses writes until it is not.
    pub no_space: AtomicBool,
    /// Bytes appended since the start.
    pub bytes_appended: AtomicU64,
    /// Syncs since the start.
    pub syncs: AtomicU64,
    /// Segments on disk.
    pub segments: AtomicU64,
    /// Bytes that they take.
    pub segment_bytes: AtomicU64,
    /// The number of the thread's last batch.
    pub persisted: AtomicU64,
}
