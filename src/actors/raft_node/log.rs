//! The part of the Raft log that is held in memory: what the `raft` crate reads through its `Storage`.
//!
//! Entries enter it as soon as they are handed to WalWriter, before they are on disk; the crate itself
//! keeps count of what is persisted. They leave it once they are applied and no member can still need
//! them from here: the disk has them, and a snapshot has what they did.

use std::{cell::Cell, cmp::min, collections::VecDeque};

use raft::{
    Error, GetEntriesContext, RaftState, Result, Storage, StorageError,
    eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata},
};

use crate::types::{Index, Term};

/// See the head of the module.
#[derive(Debug)]
pub struct Log {
    /// The entry before the first one held.
    offset: Index,
    offset_term: Term,
    entries: VecDeque<Entry>,
    bytes: usize,
    hard_state: HardState,
    conf_state: ConfState,
    /// A snapshot that is on disk and can be sent.
    offered: Option<SnapshotMetadata>,
    /// A peer needs one of at least this index.
    wanted: Cell<Option<Index>>,
}

impl Log {
    /// A log that begins after `offset`.
    pub fn new(offset: Index, offset_term: Term, hard: HardState, conf: ConfState) -> Self {
        Log {
            offset,
            offset_term,
            entries: VecDeque::new(),
            bytes: 0,
            hard_state: hard,
            conf_state: conf,
            offered: None,
            wanted: Cell::new(None),
        }
    }

    /// Begins anew after an installed snapshot.
    pub fn reset(&mut self, snapshot: &SnapshotMetadata) {
        self.offset = Index(snapshot.index);
        self.offset_term = Term(snapshot.term);
        self.entries.clear();
        self.bytes = 0;
        self.conf_state = snapshot.get_conf_state().clone();
        self.offered = Some(snapshot.clone());
    }

    /// A snapshot is on disk and can be sent to peers.
    pub fn offer(&mut self, snapshot: SnapshotMetadata) {
        if self.offered.as_ref().is_none_or(|offered| offered.index <= snapshot.index) {
            self.offered = Some(snapshot);
        }
    }

    /// The index after which a peer needs a snapshot that is not on disk yet, since the last question.
    pub fn take_wanted(&self) -> Option<Index> {
        self.wanted.take()
    }

    /// Who votes changed.
    pub fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
    }

    /// Adds entries; those that stand in their place, and all after these, go.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let last = self.offset.0 + self.entries.len() as u64;
        assert!(
            first.index > self.offset.0 && first.index <= last + 1,
            "entries from {} do not fit a log of {}..={last}",
            first.index,
            self.offset.0 + 1,
        );
        for gone in self.entries.drain((first.index - self.offset.0 - 1) as usize..) {
            self.bytes -= size(&gone);
        }
        self.bytes += entries.iter().map(size).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Remembers the hard state.
    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// The hard state.
    pub fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    /// Forgets entries up to `index`.
    pub fn compact(&mut self, index: Index) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.index <= index.0) {
            self.offset = Index(entry.index);
            self.offset_term = Term(entry.term);
            self.bytes -= size(entry);
            self.entries.pop_front();
        }
    }

    /// Forgets the oldest of the entries up to `index` while all together are larger than `max`.
    pub fn compact_to_bytes(&mut self, index: Index, max: usize) {
        while self.bytes > max
            && let Some(first) = self.entries.front().map(|entry| Index(entry.index))
            && first <= index
        {
            self.compact(first);
        }
    }

    /// The entry before the first one held.
    pub fn offset(&self) -> Index {
        self.offset
    }

    /// Bytes of all entries held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(entry: &Entry) -> usize {
    const ENTRY_BYTES: usize = 128; // the struct itself
    entry.data.len() + entry.context.len() + ENTRY_BYTES
}

fn is_member(conf_state: &ConfState, id: u64) -> bool {
    conf_state.voters.contains(&id) || conf_state.learners.contains(&id)
}

impl Storage for Log {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state: self.conf_state.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.offset.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let end = min((high - self.offset.0 - 1) as usize, self.entries.len());
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let range = self.entries.range((low - self.offset.0 - 1) as usize..end);
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += size(entry) as u64;
            first || bytes <= limit
        };
        Ok(range.take_while(fits).cloned().collect())
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.offset.0 {
            return Ok(self.offset_term.0);
        }
        if index < self.offset.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.offset.0 - 1) as usize);
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.offset.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.offset.0 + self.entries.len() as u64)
    }

    /// Metadata alone. One that the log does not continue would be of no use to anybody, and one in which
    /// `to` is no member yet is passed over by it, however often it is sent.
    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        let least = request_index.max(self.offset.0);
        let offered = self.offered.as_ref().filter(|offered| offered.index >= least);
        let Some(offered) = offered.filter(|offered| is_member(offered.get_conf_state(), to))
        else {
            let older = offered.map_or(least, |offered| offered.index + 1);
            self.wanted.set(Some(Index(older)));
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        };
        let mut snapshot = Snapshot::default();
        snapshot.set_metadata(offered.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 10].into(), ..Entry::default() }
    }

    fn log_of(indexes: std::ops::RangeInclusive<u64>) -> Log {
        let mut log =
            Log::new(Index(0), Term(0), HardState::default(), ConfState::from((vec![1], vec![])));
        log.append(&indexes.map(|index| entry(index, 1)).collect::<Vec<_>>());
        log
    }

    fn indexes(log: &Log, low: u64, high: u64, max: Option<u64>) -> Vec<u64> {
        let entries = log.entries(low, high, max, GetEntriesContext::empty(false)).unwrap();
        entries.iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn slices_are_half_open_and_hold_at_least_one() {
        let log = log_of(1..=5);
        assert_eq!(indexes(&log, 2, 5, None), [2, 3, 4]);
        assert_eq!(indexes(&log, 2, 5, Some(0)), [2]);
        let two = 2 * size(&entry(1, 1)) as u64;
        assert_eq!(indexes(&log, 1, 6, Some(two)), [1, 2]);
    }

    #[test]
    fn a_conflicting_append_replaces_the_tail() {
        let mut log = log_of(1..=5);
        log.append(&[entry(3, 2)]);
        assert_eq!(log.last_index().unwrap(), 3);
        assert_eq!(log.term(3).unwrap(), 2);
        assert_eq!(log.bytes(), 3 * size(&entry(1, 1)));
    }

    #[test]
    fn a_snapshot_is_offered_to_those_who_are_members_in_it() {
        let mut log = log_of(1..=5);
        let mut offered = SnapshotMetadata { index: 3, term: 1, ..SnapshotMetadata::default() };
        offered.set_conf_state(ConfState::from((vec![1], vec![2])));
        log.offer(offered.clone());
        for (request, to, index, wanted) in [
            (0, 1, Some(3), None),
            (0, 2, Some(3), None),
            (3, 2, Some(3), None),
            (4, 2, None, Some(4)), // too old
            (0, 3, None, Some(4)), // it joined later
        ] {
            let snapshot = log.snapshot(request, to).ok();
            let found = snapshot.map(|snapshot| snapshot.get_metadata().index);
            assert_eq!(found, index, "{to} asks for {request}");
            assert_eq!(log.take_wanted(), wanted.map(Index), "{to} asks for {request}");
        }
        log.compact(Index(4));
        assert!(log.snapshot(0, 1).is_err(), "the log does not continue it");
        assert_eq!(log.take_wanted(), Some(Index(4)));
    }

    #[test]
    fn what_is_compacted_is_said_to_be() {
        let mut log = log_of(1..=5);
        log.compact(Index(3));
        assert_eq!(log.first_index().unwrap(), 4);
        assert_eq!(log.term(3).unwrap(), 1, "the term before the first is kept");
        assert_eq!(log.term(2), Err(Error::Store(StorageError::Compacted)));
        assert_eq!(log.term(6), Err(Error::Store(StorageError::Unavailable)));
        log.compact(Index(9));
        assert_eq!((log.offset(), log.bytes()), (Index(5), 0));
    }
}
