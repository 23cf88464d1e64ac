//! Figures of a WAL: for metrics, and for deciding when a snapshot is due.

use std::collections::VecDeque;

use crate::types::Index;

/// What a WAL has done since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Bytes appended since it was opened, frames included.
    pub bytes_appended: u64,
    /// Batches appended since it was opened.
    pub batches: u64,
    /// Syncs of the open segment that reached the disk.
    pub syncs: u64,
    /// Segments started since it was opened.
    pub cuts: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes that the segments take on disk.
    pub segment_bytes: u64,
    /// Bytes that still fit into the open segment.
    pub room: u64,
    /// The last entry's index.
    pub last_index: Index,
}

/// One mark for so many bytes.
const GRAIN: u64 = 64 << 10;

/// Remembers, coarsely, how many log bytes follow each index.
#[derive(Debug, Default)]
pub(super) struct ByteMarks {
    total: u64,
    /// (index, bytes before its entry), both rising.
    marks: VecDeque<(Index, u64)>,
}

impl ByteMarks {
    /// Notes that a batch of `len` bytes was appended whose first entry is `first`.
    pub(super) fn note(&mut self, first: Option<Index>, len: u64) {
        if let Some(first) = first {
            while self.marks.back().is_some_and(|(index, _)| *index >= first) {
                self.marks.pop_back(); // replaced after a conflict
            }
            if self.marks.back().is_none_or(|(_, at)| self.total - at >= GRAIN) {
                self.marks.push_back((first, self.total));
            }
        }
        self.total += len;
    }

    /// Bytes appended after `index`, at most one grain and a batch too many.
    pub(super) fn since(&self, index: Index) -> u64 {
        let after = self.marks.partition_point(|(first, _)| *first <= index.next());
        let before = after.checked_sub(1).and_then(|at| self.marks.get(at));
        before.map_or(self.total, |(_, at)| self.total - at)
    }

    /// Forgets what is needed only for indices below `index`.
    pub(super) fn release(&mut self, index: Index) {
        while self.marks.get(1).is_some_and(|(second, _)| *second <= index.next()) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_since_is_coarse_but_never_too_few() {
        let mut marks = ByteMarks::default();
        for index in 1..=1000 {
            marks.note(Some(Index(index)), 1000);
        }
        assert_eq!(marks.since(Index(0)), 1_000_000);
        for index in 0..1000 {
            let exact = (1000 - index) * 1000;
            let found = marks.since(Index(index));
            assert!((exact..=exact + GRAIN + 1000).contains(&found), "{index}: {found}");
        }
        marks.release(Index(900));
        assert!(marks.marks.len() < 5);
        assert!(marks.since(Index(950)) >= 50_000);
    }
}
