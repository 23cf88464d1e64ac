//! A member's storage in miniature: a scripted life on a simulated disk, and the model that says what
//! must be there after it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use callboard::storage::data_dir::DataDir;
use callboard::storage::disk::{Disk, DiskError};
use callboard::storage::sim_disk::SimDisk;
use callboard::storage::snapshot::{SnapshotDir, SnapshotError, SnapshotMeta, SnapshotWriter};
use callboard::storage::wal::{
    Entry, EntryType, HardState, RecoveredLog, RecoveryReport, SnapshotMark, Wal, WalBatch,
    WalError, WalMeta, WalOptions, WalReplay,
};
use callboard::types::{ClusterId, Index, MemberId, Term};

pub const ROOT: &str = "/data";
pub const SEGMENT_BYTES: u64 = 4096;
const KEEP: usize = 2;

/// How much longer than usual the tests are to run.
pub fn scale() -> u64 {
    let scale = std::env::var("CALLBOARD_CRASH_SCALE").ok();
    scale.and_then(|text| text.parse().ok()).unwrap_or(1)
}

pub fn options() -> WalOptions {
    WalOptions { segment_bytes: SEGMENT_BYTES, fsync: true }
}

pub fn wal_dir() -> PathBuf {
    Path::new(ROOT).join("member/wal")
}

pub fn snap_dir() -> PathBuf {
    Path::new(ROOT).join("member/snap")
}

pub fn wal_meta() -> WalMeta {
    let voters = vec![MemberId(7), MemberId(8), MemberId(9)];
    WalMeta { cluster_id: ClusterId(42), member_id: MemberId(7), voters, learners: vec![] }
}

/// xorshift64*.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }
}

/// What went wrong, anywhere in storage.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    DataDir(#[from] callboard::storage::data_dir::DataDirError),
}

impl Failure {
    pub fn is_damage(&self) -> bool {
        matches!(self, Failure::Wal(WalError::Damaged(_) | WalError::MissingSegment { .. }))
    }
}

/// The log as Raft sees it: what a snapshot at `base` covers, and the entries after it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogState {
    pub base: Index,
    pub base_term: Term,
    pub entries: Vec<Entry>,
    pub hard_state: HardState,
}

impl LogState {
    pub fn last(&self) -> Index {
        self.entries.last().map_or(self.base, |entry| entry.index)
    }

    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base {
            return Some(self.base_term);
        }
        self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }

    pub fn apply(&mut self, batch: &WalBatch<'_>) {
        if let Some(mark) = batch.snapshot_mark
            && mark.installed
        {
            (self.base, self.base_term) = (mark.index, mark.term);
            self.entries.clear();
        }
        for entry in batch.entries {
            self.entries.retain(|kept| kept.index < entry.index);
            self.entries.push(entry.clone());
        }
        self.hard_state = batch.hard_state.unwrap_or(self.hard_state);
    }

    /// What a start from a snapshot must find of it.
    pub fn seen_from(&self, from: Index, from_term: Term) -> (Vec<Entry>, HardState) {
        let mut hard_state = self.hard_state;
        if hard_state.term < from_term {
            hard_state = HardState { term: from_term, vote: MemberId(0), commit: from };
        }
        hard_state.commit = hard_state.commit.max(from);
        let agrees = from.0 == 0 || self.term_at(from) == Some(from_term);
        let after = self.entries.iter().filter(|entry| agrees && entry.index > from);
        (after.cloned().collect(), hard_state)
    }
}

/// What must be there: states since the last that was acknowledged, and snapshots likewise.
#[derive(Clone, Debug)]
pub struct Model {
    pub states: Vec<LogState>,
    pub acknowledged: usize,
    pub snapshots: Vec<(Index, Term)>,
    pub snapshot_acknowledged: Index,
    pub created: bool,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            states: vec![LogState::default()],
            acknowledged: 0,
            snapshots: vec![(Index(0), Term(0))],
            snapshot_acknowledged: Index(0),
            created: false,
        }
    }
}

impl Model {
    pub fn now(&self) -> &LogState {
        self.states.last().unwrap()
    }

    fn acknowledge(&mut self) {
        self.acknowledged = self.states.len() - 1;
    }

    /// Whether a recovery found what it must; says what is wrong if not.
    pub fn check(&self, found: &Recovered) -> Result<(), String> {
        let (from, from_term) = (found.log.from, found.log.from_term);
        if from < self.snapshot_acknowledged || !self.snapshots.contains(&(from, from_term)) {
            return Err(format!(
                "snapshot at {from}, one at {} was acknowledged",
                self.snapshot_acknowledged
            ));
        }
        let seen = (found.log.entries.clone(), found.log.hard_state);
        let possible = &self.states[self.acknowledged..];
        if possible.iter().any(|state| state.seen_from(from, from_term) == seen) {
            return Ok(());
        }
        let last = |entries: &[Entry]| entries.last().map(|entry| (entry.term, entry.index));
        let wanted = possible[0].seen_from(from, from_term);
        Err(format!(
            "from {from}: found {} entries to {:?} and {:?}, acknowledged were {} to {:?} and {:?}",
            seen.0.len(),
            last(&seen.0),
            seen.1,
            wanted.0.len(),
            last(&wanted.0),
            wanted.1,
        ))
    }
}

/// What a start found.
pub struct Recovered {
    pub wal: Wal,
    pub log: RecoveredLog,
    pub report: RecoveryReport,
}

/// The state that a snapshot holds, as records: they depend on its place alone.
fn snapshot_records(index: Index, term: Term) -> impl Iterator<Item = Vec<u8>> {
    (0..6).map(move |part| format!("{index} {term} {part} ").into_bytes().repeat(40))
}

/// Starts from what is on the disk, as a member does.
pub fn recover(disk: &SimDisk) -> Result<Option<Recovered>, Failure> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let _data_dir = DataDir::open(disk, Path::new(ROOT), None)?;
    if !Wal::exists(disk, &wal_dir())? {
        return Ok(None);
    }
    let snapshots = SnapshotDir::new(Arc::clone(&shared), &snap_dir());
    snapshots.prepare()?;
    let newest = snapshots.newest_valid()?;
    let meta = newest.snapshot.unwrap_or_default();
    let (from, from_term) = (meta.index, meta.term);
    if from.0 > 0 {
        let mut reader = snapshots.open(meta.name())?;
        for wanted in snapshot_records(from, from_term) {
            assert_eq!(reader.next()?, Some(&wanted[..]));
        }
        assert_eq!(reader.next()?, None);
    }
    let mut replay = WalReplay::open(shared, &wal_dir(), options(), from, from_term)?;
    assert_eq!(*replay.meta(), wal_meta());
    let log = replay.read_to_end(|_| {})?;
    let (wal, report) = replay.finish()?;
    assert_eq!(report.hard_state, log.hard_state);
    let last = log.entries.last().map_or(from, |entry| entry.index);
    assert_eq!((wal.last_index(), report.last_index), (last, last));
    Ok(Some(Recovered { wal, log, report }))
}

/// A member that lives by a script until something fails.
pub struct Life {
    pub disk: SimDisk,
    pub model: Model,
    pub wal: Option<Wal>,
    /// Whether a full disk is survived by trying again, as the process does.
    pub retries_no_space: bool,
    random: Random,
    term: u64,
}

impl Life {
    pub fn new(disk: SimDisk, seed: u64) -> Life {
        let random = Random::new(seed);
        let model = Model::default();
        Life { disk, model, wal: None, retries_no_space: false, random, term: 1 }
    }

    /// Goes on after a start.
    pub fn resume(disk: SimDisk, seed: u64, model: &Model, wal: Wal, log: &RecoveredLog) -> Life {
        let mut life = Life::new(disk, seed);
        life.model.clone_from(model);
        life.model.states = vec![LogState {
            base: log.from,
            base_term: log.from_term,
            entries: log.entries.clone(),
            hard_state: log.hard_state,
        }];
        life.model.acknowledged = 0;
        life.term = log.hard_state.term.0.max(log.entries.last().map_or(1, |entry| entry.term.0));
        life.wal = Some(wal);
        life
    }

    pub fn start(&mut self) -> Result<(), Failure> {
        let _data_dir = DataDir::open(&self.disk, Path::new(ROOT), None)?;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        self.wal = Some(Wal::create(disk, &wal_dir(), wal_meta(), options())?);
        self.model.created = true;
        Ok(())
    }

    /// Does so many things.
    pub fn run(&mut self, things: usize) -> Result<(), Failure> {
        for _ in 0..things {
            match self.random.below(20) {
                0..=8 => self.group_commit(1)?,
                9..=11 => {
                    let batches = 2 + self.random.below(3);
                    self.group_commit(batches)?;
                }
                12 => self.conflict()?,
                13..=14 => self.vote()?,
                15..=16 => self.wal().mark_synced()?,
                17..=18 => self.snapshot()?,
                _ => self.install()?,
            }
        }
        Ok(())
    }

    fn wal(&mut self) -> &mut Wal {
        self.wal.as_mut().expect("started")
    }

    /// Appends; from now on the batch may be found.
    pub fn append(&mut self, batch: &WalBatch<'_>) -> Result<(), Failure> {
        let mut state = self.model.now().clone();
        state.apply(batch);
        self.model.states.push(state);
        let retries = self.retries_no_space;
        match self.wal().append(batch) {
            Err(WalError::NoSpace(_)) if retries => self.wal().append(batch)?,
            result => result?,
        }
        Ok(())
    }

    /// Syncs; from now on everything appended must be found.
    pub fn sync(&mut self) -> Result<(), Failure> {
        self.wal().sync()?;
        self.model.acknowledge();
        Ok(())
    }

    pub fn entries(&mut self, first: Index, count: u64) -> Vec<Entry> {
        let term = Term(self.term);
        (0..count)
            .map(|offset| {
                let index = Index(first.0 + offset);
                let len = [0, 3, 40, 150, 300, 700][self.random.below(6) as usize];
                let byte = [0, 0, b'x', 0xA5][self.random.below(4) as usize];
                let mut data = format!("{index}/{term}").into_bytes();
                if self.random.below(4) == 0 {
                    data.clear();
                }
                data.resize(data.len() + len, byte);
                let entry_type = EntryType::Normal;
                Entry { term, index, entry_type, data: data.into(), context: Bytes::new() }
            })
            .collect()
    }

    fn hard_state(&mut self, last: Index) -> HardState {
        let before = self.model.now().hard_state;
        let room = last.0 - before.commit.0;
        let commit = Index(before.commit.0 + self.random.below(room + 1));
        let vote = if before.term.0 == self.term { before.vote } else { MemberId(0) };
        HardState { term: Term(self.term), vote, commit }
    }

    pub fn group_commit(&mut self, batches: u64) -> Result<(), Failure> {
        for _ in 0..batches {
            let first = self.model.now().last().next();
            let count = 1 + self.random.below(5);
            let entries = self.entries(first, count);
            let hard_state =
                (self.random.below(2) == 0).then(|| self.hard_state(Index(first.0 + count - 1)));
            self.append(&WalBatch { entries: &entries, hard_state, snapshot_mark: None })?;
        }
        self.sync()
    }

    /// A new leader replaces what was not committed.
    fn conflict(&mut self) -> Result<(), Failure> {
        self.term += 1;
        let now = self.model.now();
        let commit = now.hard_state.commit.max(now.base);
        let room = now.last().0 - commit.0;
        let first = Index(commit.0 + 1 + self.random.below(room + 1));
        let entries = self.entries(first, 2);
        let hard_state = HardState { term: Term(self.term), vote: MemberId(0), commit };
        self.append(&WalBatch {
            entries: &entries,
            hard_state: Some(hard_state),
            snapshot_mark: None,
        })?;
        self.sync()
    }

    fn vote(&mut self) -> Result<(), Failure> {
        self.term += 1;
        let commit = self.model.now().hard_state.commit;
        let hard_state = HardState { term: Term(self.term), vote: MemberId(8), commit };
        self.append(&WalBatch { hard_state: Some(hard_state), ..WalBatch::default() })?;
        self.sync()
    }

    pub fn write_snapshot(&mut self, index: Index, term: Term) -> Result<(), Failure> {
        self.model.snapshots.push((index, term));
        let meta = SnapshotMeta {
            cluster_id: ClusterId(42),
            member_id: MemberId(7),
            index,
            term,
            ..SnapshotMeta::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let mut writer = SnapshotWriter::create(disk, &snap_dir(), &meta)?;
        for record in snapshot_records(index, term) {
            writer.push(&record)?;
        }
        writer.finish()?;
        self.model.snapshot_acknowledged = index;
        Ok(())
    }

    fn release(&mut self) -> Result<(), Failure> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let oldest = SnapshotDir::new(disk, &snap_dir()).retain(KEEP)?;
        if let Some(oldest) = oldest {
            self.wal().release(oldest.index)?;
        }
        Ok(())
    }

    /// Takes a snapshot of what is committed.
    fn snapshot(&mut self) -> Result<(), Failure> {
        let now = self.model.now();
        let index = now.hard_state.commit;
        let Some(term) = now.term_at(index) else { return Ok(()) };
        if index <= self.model.snapshot_acknowledged {
            return Ok(());
        }
        self.write_snapshot(index, term)?;
        let snapshot_mark = Some(SnapshotMark { index, term, installed: false });
        self.append(&WalBatch { snapshot_mark, ..WalBatch::default() })?;
        self.sync()?;
        self.release()
    }

    /// Gets a snapshot from elsewhere: it is ahead of the log, or of another term than the part of
    /// the log that was not committed.
    fn install(&mut self) -> Result<(), Failure> {
        let now = self.model.now();
        let (last, commit) = (now.last().0, now.hard_state.commit.0.max(now.base.0));
        let inside = last - commit;
        let index = if inside > 0 && self.random.below(3) > 0 {
            self.term += 1;
            Index(commit + 1 + self.random.below(inside))
        } else {
            self.term += self.random.below(2);
            Index(last + 3)
        };
        let term = Term(self.term);
        self.write_snapshot(index, term)?;
        let vote = MemberId(0);
        self.append(&WalBatch {
            snapshot_mark: Some(SnapshotMark { index, term, installed: true }),
            entries: &[],
            hard_state: Some(HardState { term, vote, commit: index }),
        })?;
        self.sync()?;
        self.release()
    }
}
