//! What a start needs of the WAL: the entries after a snapshot, and the hard state.

use super::{Entry, HardState, Record};
use crate::types::{Index, Term};

/// The log after a snapshot, as replay leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// The snapshot's last index; 0 for no snapshot.
    pub from: Index,
    /// That entry's term.
    pub from_term: Term,
    /// The entries after it, without gaps.
    pub entries: Vec<Entry>,
    /// The hard state, with a commit index and a term no lower than the snapshot's.
    pub hard_state: HardState,
    /// The term of the entry at `from`, if the log has one there.
    term_at_from: Option<Term>,
}

impl RecoveredLog {
    /// An empty log that continues a snapshot.
    pub(super) fn new(from: Index, from_term: Term, hard_state: HardState) -> RecoveredLog {
        RecoveredLog { from, from_term, entries: Vec::new(), hard_state, term_at_from: None }
    }

    /// Takes the next record. Replay has checked that entries leave no gap.
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Entry(entry) => {
                let keep = entry.index.0.saturating_sub(self.from.0 + 1) as usize;
                self.entries.truncate(keep);
                if entry.index > self.from {
                    self.entries.push(entry);
                } else {
                    let at_from = entry.index == self.from;
                    self.term_at_from = at_from.then_some(entry.term);
                }
            }
            Record::HardState(hard_state) => self.hard_state = hard_state,
            Record::SnapshotMark(mark) => {
                if mark.installed {
                    self.entries.clear();
                    self.term_at_from = (mark.index == self.from).then_some(mark.term);
                }
            }
        }
    }

    /// Lets the snapshot win where the log disagrees with it: a crash after a snapshot was installed
    /// and before its mark was written leaves the log that it replaces.
    pub(super) fn settle(&mut self) {
        if self.term_at_from.take().is_some_and(|term| term != self.from_term) {
            self.entries.clear();
        }
        settle_hard_state(&mut self.hard_state, self.from, self.from_term);
    }
}

/// Raises a hard state to what a snapshot proves. A vote in a term that was never written down was
/// never given.
pub(super) fn settle_hard_state(hard_state: &mut HardState, from: Index, from_term: Term) {
    hard_state.commit = hard_state.commit.max(from);
    if hard_state.term < from_term {
        *hard_state =
            HardState { term: from_term, commit: hard_state.commit, ..HardState::default() };
    }
}
