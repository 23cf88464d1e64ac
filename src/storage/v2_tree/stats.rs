//! The counters of `/v2/stats/store`. Plain cells, counted by the Store (writes) and the doors (reads).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::command::V2Op;

/// A pair of counters for one kind of operation.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often it worked.
    pub success: AtomicU64,
    /// How often it was refused.
    pub fail: AtomicU64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&self, success: bool) {
        let cell = if success { &self.success } else { &self.fail };
        cell.fetch_add(1, Ordering::Relaxed);
    }
}

/// `/v2/stats/store`, counted since the process started.
#[derive(Debug, Default)]
pub struct V2Stats {
    /// Reads through `/v2/keys`.
    pub gets: Tally,
    /// `set`.
    pub sets: Tally,
    /// `delete`.
    pub deletes: Tally,
    /// `update`.
    pub updates: Tally,
    /// `create`, POST too.
    pub creates: Tally,
    /// `compareAndSwap`.
    pub compare_and_swaps: Tally,
    /// `compareAndDelete`.
    pub compare_and_deletes: Tally,
    /// Keys and directories that ran out.
    pub expires: AtomicU64,
    /// Watchers that wait now.
    pub watchers: AtomicU64,
}

impl V2Stats {
    /// Counts one write.
    pub fn count_write(&self, op: &V2Op, success: bool) {
        let tally = match op {
            V2Op::Set(_) => &self.sets,
            V2Op::Create(_) | V2Op::CreateInOrder(_) => &self.creates,
            V2Op::Update(_) => &self.updates,
            V2Op::CompareAndSwap { .. } => &self.compare_and_swaps,
            V2Op::Delete { .. } => &self.deletes,
            V2Op::CompareAndDelete(_) => &self.compare_and_deletes,
        };
        tally.count(success);
    }
}
