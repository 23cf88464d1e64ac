//! A start from what is on disk: the newest valid snapshot, then the log after it.
//!
//! Committed entries go straight into the state as they are read, so that a long log costs no memory;
//! what the log does not know to be committed is left to Raft. Nothing is skipped in silence: a
//! snapshot that does not check is set aside only when an older one and the log after it are whole.

use std::{collections::VecDeque, path::Path, sync::Arc};

use super::{
    disk::{Disk, DiskError},
    mvcc::State,
    snapshot::{InvalidSnapshot, SnapshotDir, SnapshotError, SnapshotMeta},
    state_file::{self, StateFileError},
    wal::{
        Entry, HardState, Record, RecoveryReport, SnapshotMark, Wal, WalBatch, WalError, WalMeta,
        WalOptions, WalReplay,
    },
};
use crate::{
    command::Proposal,
    types::{Index, Term},
};

/// Why a member cannot start from its data.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A snapshot failed, or none of those that are there checks.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log failed.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The log begins behind a snapshot, and no snapshot that it continues checks.
    #[error("{invalid}: no snapshot that checks is left, and the log does not reach back: {error}")]
    NoValidSnapshot {
        /// Each that does not check, and why.
        invalid: String,
        /// What the log lacks.
        error: WalError,
    },
    /// A snapshot checks, but is no state that this version knows.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// An entry checks, but is no command that this version knows.
    #[error("entry {index} of the log cannot be read by this version: {error}")]
    Entry {
        /// Which.
        index: Index,
        /// What is wrong.
        error: rmp_serde::decode::Error,
    },
}

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Loading a snapshot: bytes done, bytes in all.
    Snapshot(u64, u64),
    /// Replaying the log: bytes done, bytes in all.
    Log(u64, u64),
}

/// The last applied entries that the log still has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// The entry before the first of them.
    pub after: (Index, Term),
    /// Without a gap; the last is the last that is applied. Empty where the log has none.
    pub entries: Vec<Entry>,
}

impl Recent {
    /// The last `keep` of them.
    #[must_use]
    pub fn last(mut self, keep: usize) -> Recent {
        let too_many = self.entries.len().saturating_sub(keep);
        if let Some(last) = self.entries.drain(..too_many).next_back() {
            self.after = (last.index, last.term);
        }
        self
    }
}

/// Bytes of applied entries that are kept for peers that lag.
const RECENT_BYTES: usize = 64 << 20;

/// What a start finds.
pub struct Recovered {
    /// The state after the last entry that is known to be committed.
    pub state: State,
    /// Entries after that.
    pub entries: Vec<Entry>,
    /// The last entries before that, for peers that lag.
    pub recent: Recent,
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// What the log belongs to.
    pub meta: WalMeta,
    /// The snapshot that was loaded.
    pub snapshot: Option<SnapshotMeta>,
    /// Newer snapshots that do not check.
    pub invalid: Vec<InvalidSnapshot>,
    /// What was found in the log.
    pub report: RecoveryReport,
    /// Entries applied from the log.
    pub replayed: u64,
}

/// Reads everything and changes nothing. `genesis` is the state before the first entry.
pub fn read(
    disk: &Arc<dyn Disk>,
    wal_dir: &Path,
    snapshots: &SnapshotDir,
    options: WalOptions,
    genesis: impl FnOnce(&WalMeta) -> State,
    on_progress: impl FnMut(Stage),
) -> Result<Recovered, RecoveryError> {
    read_and_open(disk, wal_dir, snapshots, options, genesis, on_progress).map(|(found, ..)| found)
}

/// Reads everything, then opens the log for appending: its torn tail is cut off, snapshots that do not
/// check are set aside.
pub fn recover(
    disk: &Arc<dyn Disk>,
    wal_dir: &Path,
    snapshots: &SnapshotDir,
    options: WalOptions,
    genesis: impl FnOnce(&WalMeta) -> State,
    on_progress: impl FnMut(Stage),
) -> Result<(Recovered, Wal), RecoveryError> {
    snapshots.prepare()?;
    let (recovered, replay, replaced) =
        read_and_open(disk, wal_dir, snapshots, options, genesis, on_progress)?;
    let (mut wal, _) = replay.finish()?;
    if let Some(meta) = recovered.snapshot.as_ref().filter(|_| replaced) {
        // The crash came after a peer's snapshot had its name and before its mark was written. Without
        // one the next start could not tell what follows the snapshot from the log before it.
        let mark = SnapshotMark { index: meta.index, term: meta.term, installed: true };
        wal.append(&WalBatch { snapshot_mark: Some(mark), ..WalBatch::default() })?;
        wal.sync()?;
    }
    for invalid in &recovered.invalid {
        snapshots.set_aside(invalid.name)?;
    }
    Ok((recovered, wal))
}

fn read_and_open(
    disk: &Arc<dyn Disk>,
    wal_dir: &Path,
    snapshots: &SnapshotDir,
    options: WalOptions,
    genesis: impl FnOnce(&WalMeta) -> State,
    mut on_progress: impl FnMut(Stage),
) -> Result<(Recovered, WalReplay, bool), RecoveryError> {
    let newest = snapshots.newest_valid()?;
    let loaded = match &newest.snapshot {
        Some(meta) => {
            let mut reader = snapshots.open(meta.name())?;
            let note = |done, total| on_progress(Stage::Snapshot(done, total));
            Some(state_file::load(&mut reader, note)?)
        }
        None => None,
    };
    let with_snapshots = |error| blame_snapshots(error, &newest.invalid);
    let open = |from: &State| {
        let (index, term) = (from.applied_index, from.applied_term);
        WalReplay::open(Arc::clone(disk), wal_dir, options, index, term).map_err(with_snapshots)
    };
    let state = match loaded {
        Some(state) => state,
        // Who founded the cluster is in the log's own head.
        None => genesis(open(&State::new(Vec::new()))?.meta()),
    };
    let mut replay = open(&state)?;
    let (from, from_term) = (state.applied_index, state.applied_term);
    let mut log = Applier::new(state, from, from_term);
    let mut records = 0_u64;
    while let Some(record) = replay.next()? {
        log.take(record)?;
        records += 1;
        if records.is_multiple_of(4096) {
            let progress = replay.progress();
            on_progress(Stage::Log(progress.bytes_done, progress.bytes_total));
        }
    }
    replay.check_base().map_err(with_snapshots)?;
    let report = replay.report().clone();
    log.apply_committed(report.hard_state.commit)?;
    let applied = log.state.applied_index;
    let mut hard_state = report.hard_state;
    hard_state.commit = hard_state.commit.max(applied);
    if hard_state.term < log.state.applied_term {
        hard_state = HardState { term: log.state.applied_term, vote: <_>::default(), ..hard_state };
    }
    let recent = log.recent.end(applied, log.state.applied_term, (from, from_term));
    let recovered = Recovered {
        state: log.state,
        entries: log.pending.into(),
        recent,
        hard_state,
        meta: replay.meta().clone(),
        snapshot: newest.snapshot,
        invalid: newest.invalid,
        report,
        replayed: applied.0 - from.0,
    };
    Ok((recovered, replay, log.replaced))
}

/// A log that lacks its snapshot is not at fault if that snapshot is there and does not check.
fn blame_snapshots(error: WalError, invalid: &[InvalidSnapshot]) -> RecoveryError {
    match error {
        WalError::StartsTooLate { .. } | WalError::NeedsSnapshot { .. } if !invalid.is_empty() => {
            let invalid: Vec<_> = invalid.iter().map(|i| i.error.to_string()).collect();
            let invalid = invalid.join("; ");
            RecoveryError::NoValidSnapshot { invalid, error }
        }
        error => error.into(),
    }
}

/// Applies what is committed, keeps what is not known to be.
struct Applier {
    state: State,
    from: Index,
    from_term: Term,
    pending: VecDeque<Entry>,
    recent: RecentLog,
    /// What is read now is the log that an installed snapshot replaced.
    replaced: bool,
}

impl Applier {
    fn new(state: State, from: Index, from_term: Term) -> Self {
        let (pending, recent) = (VecDeque::new(), RecentLog::default());
        Applier { state, from, from_term, pending, recent, replaced: false }
    }

    fn take(&mut self, record: Record) -> Result<(), RecoveryError> {
        match record {
            Record::Entry(entry) => {
                // Entries up to the snapshot are in it. One that replaces another drops what follows.
                let applied = self.state.applied_index;
                let keep = entry.index.0.saturating_sub(applied.0 + 1) as usize;
                self.pending.truncate(keep);
                if entry.index <= self.from {
                    self.replaced = entry.index == self.from && entry.term != self.from_term;
                    self.recent.push(entry);
                } else if entry.index > applied && !self.replaced {
                    self.pending.push_back(entry);
                }
                Ok(())
            }
            Record::HardState(hard_state) => self.apply_committed(hard_state.commit),
            Record::SnapshotMark(mark) => {
                if mark.installed {
                    self.pending.clear();
                    self.recent.clear();
                    self.replaced = false;
                }
                Ok(())
            }
        }
    }

    fn apply_committed(&mut self, commit: Index) -> Result<(), RecoveryError> {
        // What follows a snapshot that is not there waits: once all is read, that is refused.
        while let Some(entry) = self.pending.front().filter(|entry| entry.index <= commit)
            && entry.index == self.state.applied_index.next()
        {
            let index = entry.index;
            let data = entry.proposal();
            let proposal: Option<Proposal> = (!data.is_empty())
                .then(|| rmp_serde::from_slice(data))
                .transpose()
                .map_err(|error| RecoveryError::Entry { index, error })?;
            self.state.apply(index, entry.term, proposal.as_ref());
            self.state.free_compacted(64);
            if let Some(entry) = self.pending.pop_front() {
                self.recent.push(entry);
            }
        }
        Ok(())
    }
}

/// The end of the log that was read so far, but for what is not applied.
#[derive(Default)]
struct RecentLog {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl RecentLog {
    /// One that replaces another drops what follows; one that leaves a gap, all before it.
    fn push(&mut self, entry: Entry) {
        while let Some(last) = self.entries.back().filter(|last| last.index >= entry.index) {
            self.bytes -= size(last);
            self.entries.pop_back();
        }
        if self.entries.back().is_some_and(|last| last.index.next() != entry.index) {
            self.clear();
        }
        self.bytes += size(&entry);
        self.entries.push_back(entry);
        while self.bytes > RECENT_BYTES
            && let Some(first) = self.entries.pop_front()
        {
            self.bytes -= size(&first);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// What leads up to the last applied entry. `base` is the snapshot, whose term is known.
    fn end(mut self, applied: Index, term: Term, base: (Index, Term)) -> Recent {
        let leads_up = |last: &Entry| (last.index, last.term) == (applied, term);
        let Some(first) =
            self.entries.front().filter(|_| self.entries.back().is_some_and(leads_up))
        else {
            return Recent { after: (applied, term), entries: Vec::new() };
        };
        let after = if first.index == base.0.next() {
            base
        } else {
            let before = (first.index, first.term);
            self.entries.pop_front(); // of the one before it the term is not known
            before
        };
        Recent { after, entries: self.entries.into() }
    }
}

/// In memory.
fn size(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + size_of::<Entry>()
}
