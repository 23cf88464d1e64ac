//! What WalWriter thinks: which of the waiting batches go to disk together, and what to do when the
//! disk is full. A state machine over a [`Wal`], whose disk may be the real one or a simulated one.

use std::collections::VecDeque;

use super::Append;
use crate::{
    storage::wal::{SnapshotMark, Wal, WalBatch, WalError},
    types::Index,
};

/// What came of a group of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// This batch and all before it are on disk.
    pub persisted: Option<u64>,
    /// Entries written.
    pub entries: usize,
    /// A sync was made.
    pub synced: bool,
    /// The disk has no room for the batches that wait: try again later.
    pub no_space: bool,
}

/// See the head of the module.
pub struct Role {
    wal: Wal,
    waiting: VecDeque<Append>,
    snapshot: Index,
}

impl Role {
    /// Goes on with an open WAL; `snapshot` is the newest snapshot's index.
    pub fn new(wal: Wal, snapshot: Index) -> Self {
        Role { wal, waiting: VecDeque::new(), snapshot }
    }

    /// Takes a batch into the group that is written next.
    pub fn add(&mut self, append: Append) {
        self.waiting.push_back(append);
    }

    /// Writes all that waits as one group, with one sync. An error is final: the process must end, for
    /// after a failed sync nobody knows what the disk holds.
    pub fn write(&mut self) -> Result<Written, WalError> {
        let mut written = Written { persisted: None, entries: 0, synced: false, no_space: false };
        let mut must_sync = false;
        while let Some(append) = self.waiting.front() {
            let batch = WalBatch {
                snapshot_mark: append.installed,
                entries: &append.entries,
                hard_state: append.hard_state,
            };
            match self.wal.append(&batch) {
                Ok(()) => {}
                Err(WalError::NoSpace(_)) => {
                    written.no_space = true; // nothing of it was written, and it stays first
                    break;
                }
                Err(error) => return Err(error),
            }
            if let Some(mark) = append.installed {
                self.snapshot = mark.index;
            }
            written.persisted = Some(append.number);
            written.entries += append.entries.len();
            must_sync |= append.must_sync;
            self.waiting.pop_front();
        }
        if must_sync {
            self.wal.sync()?;
            written.synced = true;
        }
        Ok(written)
    }

    /// A quiet moment: notes in the WAL that all of it is synced, so that damage to it can never pass
    /// for a torn tail.
    pub fn idle(&mut self) -> Result<(), WalError> {
        match self.wal.mark_synced() {
            Err(WalError::NoSpace(_)) => Ok(()), // it is a precaution only
            result => result,
        }
    }

    /// A snapshot is durable; segments that only snapshots older than `release` need are removed.
    pub fn snapshotted(&mut self, mark: SnapshotMark, release: Index) -> Result<(), WalError> {
        if mark.index > self.wal.last_index() {
            // Taken of a state that came from a peer, before the batch that installs it: that one has a
            // mark of its own, and until it is written the log that is here is needed.
            return Ok(());
        }
        if mark.index < self.snapshot {
            return Ok(()); // overtaken by one that was installed
        }
        self.snapshot = mark.index;
        // It may be of a state that a peer sent, whose batch is still on its way here.
        let ahead = mark.index > self.wal.last_index();
        let snapshot_mark = (!ahead).then_some(mark);
        let batch = WalBatch { snapshot_mark, ..WalBatch::default() };
        match self.wal.append(&batch) {
            Err(WalError::NoSpace(_)) => {} // recovery does not need the mark; making room comes first
            result => result?,
        }
        self.wal.release(release)
    }

    /// Whether batches wait that could not be written.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The newest snapshot that the log knows of, taken here or installed.
    pub fn snapshot(&self) -> Index {
        self.snapshot
    }

    /// Bytes of log after the newest snapshot.
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.wal.bytes_since(self.snapshot)
    }

    /// The WAL.
    pub fn wal(&self) -> &Wal {
        &self.wal
    }
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
