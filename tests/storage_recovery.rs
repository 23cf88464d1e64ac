//! A start from disk, whole: random proposals through the WAL writer's role, snapshots as the
//! snapshotter writes them, a crash at some step, and then the state of exactly the entries that were
//! acknowledged, or of those and some that were under way. `CALLBOARD_CRASH_SCALE=10` runs ten times
//! as many seeds.

mod storage_common;

use std::path::Path;
use std::sync::Arc;

use callboard::actors::mailbox::Gauge;
use callboard::actors::wal_writer::{Append, role::Role};
use callboard::command::{Command, Proposal, ProposalId, V2Command, V2Compare, V2Op, V2Write};
use callboard::storage::data_dir::{DataDir, DataDirError};
use callboard::storage::disk::{Disk, DiskError};
use callboard::storage::mvcc::{State, codec};
use callboard::storage::recovery::{self, Recent, Recovered, RecoveryError};
use callboard::storage::sim_disk::{Crash, SimDisk};
use callboard::storage::snapshot::{SnapshotDir, SnapshotError, SnapshotMeta};
use callboard::storage::state_file;
use callboard::storage::wal::{Entry, EntryType, HardState, SnapshotMark, Wal, WalBatch, WalError};
use callboard::types::{Index, MemberId, Revision, Term, UnixNanos};
use storage_common::{ROOT, Random, options, scale, snap_dir, wal_dir, wal_meta};

const KEEP: usize = 2;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Wal(#[from] WalError),
}

/// A member without Raft: it appends, commits what is on disk, and takes snapshots.
struct Member {
    disk: SimDisk,
    random: Random,
    role: Option<Role>,
    gauge: Arc<Gauge>,
    batches: u64,
    term: Term,
    /// All entries that were ever handed to the log, and the state after each.
    entries: Vec<Entry>,
    states: Vec<State>,
    /// Entries that were acknowledged, and the commit index in what was.
    persisted: u64,
    committed: u64,
    snapshots: usize,
    /// Whether a start ever succeeded.
    started: bool,
}

fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn snapshot_dir(disk: &SimDisk) -> SnapshotDir {
    SnapshotDir::new(shared(disk), &snap_dir())
}

fn genesis() -> State {
    State::new(Vec::new())
}

/// Starts on a disk, as a member does.
fn start(disk: &SimDisk) -> Result<(Recovered, Wal), Failure> {
    let _data_dir = DataDir::open(disk, Path::new(ROOT), None)?;
    if !Wal::exists(disk, &wal_dir())? {
        drop(Wal::create(shared(disk), &wal_dir(), wal_meta(), options())?);
    }
    let snapshots = snapshot_dir(disk);
    let genesis = |_: &_| genesis();
    Ok(recovery::recover(&shared(disk), &wal_dir(), &snapshots, options(), genesis, |_| {})?)
}

/// All that a start finds, to be compared.
fn found(recovered: &Recovered) -> (Index, u32, Vec<Entry>, HardState) {
    let Recovered { state, entries, hard_state, .. } = recovered;
    (state.applied_index, codec::digest(state), entries.clone(), *hard_state)
}

impl Member {
    fn new(seed: u64) -> Member {
        Member {
            disk: SimDisk::new(),
            random: Random::new(seed),
            role: None,
            gauge: Gauge::new("wal-writer", 1000),
            batches: 0,
            term: Term(1),
            entries: Vec::new(),
            states: vec![genesis()],
            persisted: 0,
            committed: 0,
            snapshots: 0,
            started: false,
        }
    }

    /// Starts, holds what is found against what was acknowledged, and goes on from there.
    fn start(&mut self, what: &str) -> Result<(), Failure> {
        let (recovered, wal) = start(&self.disk)?;
        self.check(&recovered, what);
        self.term = Term(self.term.0 + 1);
        let last = recovered.state.applied_index.0 + recovered.entries.len() as u64;
        self.entries.truncate(last as usize);
        self.states.truncate(last as usize + 1);
        let snapshot = recovered.snapshot.map_or(Index(0), |meta| meta.index);
        self.role = Some(Role::new(wal, snapshot));
        self.persisted = last; // a start syncs what it read
        self.started = true;
        Ok(())
    }

    fn check(&self, recovered: &Recovered, what: &str) {
        let (applied, digest, entries, hard_state) = found(recovered);
        let last = applied.0 + entries.len() as u64;
        assert!(last >= self.persisted, "{what}: {last} of {} acknowledged", self.persisted);
        assert!(last <= self.entries.len() as u64, "{what}: {last} were never written");
        assert!(hard_state.commit.0 >= self.committed, "{what}: the commit index fell");
        assert_eq!(entries, self.entries[applied.0 as usize..last as usize], "{what}");
        assert_eq!(digest, codec::digest(&self.states[applied.0 as usize]), "{what}");
        let Recent { after: (after, term), entries: recent } = &recovered.recent;
        assert_eq!(recent[..], self.entries[after.0 as usize..applied.0 as usize], "{what}");
        let before = (after.0 as usize).checked_sub(1).map(|at| self.entries[at].term);
        assert_eq!(*term, before.unwrap_or_default(), "{what}");
        let mut state = recovered.state.clone();
        for entry in &entries {
            apply(&mut state, entry);
        }
        assert_eq!(codec::digest(&state), codec::digest(&self.states[last as usize]), "{what}");
    }

    fn run(&mut self, things: u64) -> Result<(), Failure> {
        for _ in 0..things {
            match self.random.below(12) {
                0..=6 => self.group(1)?,
                7..=9 => {
                    let batches = 1 + self.random.below(4);
                    self.group(batches)?;
                }
                10 => self.role().idle()?,
                _ => self.snapshot()?,
            }
        }
        Ok(())
    }

    fn role(&mut self) -> &mut Role {
        self.role.as_mut().expect("it is started first")
    }

    /// So many batches go to disk together; then they are acknowledged.
    fn group(&mut self, batches: u64) -> Result<(), Failure> {
        let mut hard_state = HardState::default();
        for _ in 0..batches {
            let first = self.entries.len();
            for _ in 0..=self.random.below(4) {
                let entry = self.entry();
                let mut state = self.states[self.entries.len()].clone();
                apply(&mut state, &entry);
                self.entries.push(entry);
                self.states.push(state);
            }
            let commit = Index(self.persisted);
            hard_state = HardState { term: self.term, vote: MemberId(7), commit };
            self.batches += 1;
            let append = Append {
                installed: None,
                number: self.batches,
                entries: self.entries[first..].to_vec(),
                hard_state: Some(hard_state),
                must_sync: true,
                slot: self.gauge.take_slot().expect("there are many"),
            };
            self.role().add(append);
        }
        let written = self.role().write()?;
        assert_eq!(written.persisted, Some(self.batches));
        self.persisted = self.entries.len() as u64;
        self.committed = hard_state.commit.0;
        Ok(())
    }

    /// What the snapshotter does, from the state of all that is acknowledged or an older one.
    fn snapshot(&mut self) -> Result<(), Failure> {
        let newest = snapshot_dir(&self.disk).list()?.first().map_or(0, |name| name.index.0);
        if self.persisted == newest {
            return Ok(());
        }
        let index = newest + 1 + self.random.below(self.persisted - newest);
        let state = &self.states[index as usize];
        let term = self.entries[index as usize - 1].term;
        let meta = SnapshotMeta {
            index: Index(index),
            term,
            revision: state.revision,
            state_version: state_file::STATE_VERSION,
            ..SnapshotMeta::default()
        };
        state_file::save(&shared(&self.disk), &snap_dir(), &meta, state)?;
        let oldest = snapshot_dir(&self.disk).retain(KEEP)?.expect("one was just written");
        let mark = SnapshotMark { index: meta.index, term, installed: false };
        self.role().snapshotted(mark, oldest.index)?;
        self.snapshots += 1;
        Ok(())
    }

    fn entry(&mut self) -> Entry {
        let index = Index(self.entries.len() as u64 + 1);
        let mut data = Vec::new();
        if self.random.below(20) > 0 {
            let proposal = self.proposal(index);
            data = rmp_serde::to_vec(&proposal).expect("plain data");
        }
        let (term, entry_type) = (self.term, EntryType::Normal);
        Entry { term, index, entry_type, data: data.into(), context: <_>::default() }
    }

    fn proposal(&mut self, index: Index) -> Proposal {
        let state = &self.states[index.0 as usize - 1];
        let random = &mut self.random;
        let path = ["/a", "/a/b", "/a/b/c", "/d", "/d/_e", "/f"][random.below(6) as usize];
        let value = vec![b'v'; random.below(900) as usize];
        let ttl = (random.below(3) == 0).then(|| random.below(100));
        let write = V2Write { value: value.into(), ttl, ..V2Write::default() };
        let prev_index = state.key(path.as_bytes()).map_or(1, |key| key.mod_revision.0);
        let compare = V2Compare { prev_value: Vec::new(), prev_index };
        let leases = state.leases().take(2).map(|lease| lease.id).collect();
        let behind = random.below(5);
        let op = match random.below(12) {
            0..=3 => V2Op::Set(write),
            4 => V2Op::Set(V2Write { dir: true, value: <_>::default(), ..write }),
            5 => V2Op::Create(write),
            6 => V2Op::CreateInOrder(write),
            7 => V2Op::Update(write),
            8 => V2Op::CompareAndSwap { compare, write },
            _ => V2Op::Delete { dir: true, recursive: true },
        };
        let v2 = Command::V2(V2Command { path: path.into(), op });
        let command = match random.below(12) {
            0 => Command::Expire { leases },
            1 => Command::Compact { revision: Revision(state.revision.0.saturating_sub(behind)) },
            _ => v2,
        };
        let time = UnixNanos(1_700_000_000_000_000_000 + index.0);
        Proposal { id: ProposalId(index.0), member: MemberId(7), time, command }
    }

    fn crash(&mut self) -> Crash {
        let seed = self.random.below(1 << 32);
        match self.random.below(6) {
            0 => Crash::Process,
            1 => Crash::LoseAll,
            2 => Crash::KeepAll,
            3 => Crash::Torn { seed },
            _ => Crash::Random { seed },
        }
    }
}

fn apply(state: &mut State, entry: &Entry) {
    let proposal: Option<Proposal> =
        (!entry.data.is_empty()).then(|| rmp_serde::from_slice(&entry.data).expect("as written"));
    state.apply(entry.index, entry.term, proposal.as_ref());
}

#[test]
fn a_start_finds_exactly_what_was_acknowledged() {
    let (mut starts, mut snapshots, mut entries, mut tails) = (0, 0, 0, 0);
    for seed in 0..150 * scale() {
        let mut member = Member::new(seed);
        for life in 0..6 {
            let what = format!("seed {seed}, life {life}");
            // Dies at some step, of the start or of what follows.
            let room = if member.random.below(4) == 0 { 20 } else { 400 };
            member.disk.stop_at(member.disk.steps() + member.random.below(room));
            let lived = member.start(&what).and_then(|()| member.run(40));
            member.role = None;
            let crash = member.crash();
            let what = format!("{what}: {crash:?} after {lived:?}");
            member.disk.crash(crash);
            member.disk.heal();

            let (recovered, wal) = start(&member.disk).unwrap_or_else(|e| panic!("{what}: {e}"));
            member.check(&recovered, &what);
            tails += u64::from(recovered.report.torn.is_some());
            drop(wal);
            // Whatever a start found, the next one finds, with nothing written in between.
            member.disk.crash(Crash::LoseAll);
            let (again, _) = start(&member.disk).unwrap_or_else(|e| panic!("{what}, again: {e}"));
            assert_eq!(found(&again), found(&recovered), "{what}, again");
            starts += 2;
        }
        snapshots += member.snapshots;
        entries += member.entries.len();
    }
    eprintln!("{starts} starts, {entries} entries, {snapshots} snapshots, {tails} torn tails");
    assert!(snapshots > 100 && tails > 20, "{snapshots} snapshots, {tails} torn tails");
}

#[test]
fn damaged_snapshots_are_told_and_the_one_before_is_enough() {
    let (mut fell_back, mut refused) = (0, 0);
    for seed in 0..100 * scale() {
        let mut member = Member::new(seed);
        member.start("empty").unwrap();
        member.run(120).unwrap();
        member.role().idle().unwrap();
        member.role = None;
        let names = snapshot_dir(&member.disk).list().unwrap();
        let &[newest, older] = &names[..] else { continue };
        let flip = |disk: &SimDisk, path: &Path, random: &mut Random| {
            disk.damage(path, |bytes| {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
            });
        };
        // What was renamed or removed last is made durable, so that only rot is at work.
        member.disk.crash(Crash::KeepAll);

        flip(&member.disk, &newest.path(&snap_dir()), &mut member.random);
        let (recovered, _) = start(&member.disk).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        member.check(&recovered, &format!("seed {seed}"));
        assert_eq!(recovered.snapshot.as_ref().map(SnapshotMeta::name), Some(older));
        let invalid: Vec<_> = recovered.invalid.iter().map(|invalid| invalid.name).collect();
        assert_eq!(invalid, [newest], "seed {seed}");
        assert_eq!(snapshot_dir(&member.disk).list().unwrap(), [older], "it is set aside");
        fell_back += 1;

        member.disk.crash(Crash::KeepAll);
        flip(&member.disk, &older.path(&snap_dir()), &mut member.random);
        match start(&member.disk) {
            Ok((recovered, _)) => {
                // Small lives only: the log still has its first entry.
                assert_eq!(recovered.snapshot, None, "seed {seed}");
                member.check(&recovered, &format!("seed {seed}"));
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains(&older.file_name()), "seed {seed}: {said}");
                assert_eq!(snapshot_dir(&member.disk).list().unwrap(), [older], "it stays");
                refused += 1;
            }
        }
    }
    eprintln!("{fell_back} fell back, {refused} refused");
    assert!(fell_back > 50 && refused > 50, "{fell_back} fell back, {refused} refused");
}

/// The log begins anew after a snapshot that a peer sent; should that rot, what follows it stands on
/// nothing.
#[test]
fn a_log_after_an_installed_snapshot_that_rots_is_refused() {
    let disk = SimDisk::new();
    let (_, mut wal) = start(&disk).unwrap();
    let mut state = genesis();
    (state.applied_index, state.applied_term) = (Index(5), Term(2));
    let meta = state_file::meta_of(&state, wal_meta().cluster_id, wal_meta().member_id);
    state_file::save(&shared(&disk), &snap_dir(), &meta, &state).unwrap();
    let installed = SnapshotMark { index: Index(5), term: Term(2), installed: true };
    let entry = Entry { term: Term(2), index: Index(6), ..Entry::default() };
    let hard_state = HardState { term: Term(2), vote: MemberId(1), commit: Index(6) };
    wal.append(&WalBatch {
        snapshot_mark: Some(installed),
        entries: &[entry],
        hard_state: Some(hard_state),
    })
    .unwrap();
    wal.sync().unwrap();
    wal.mark_synced().unwrap();
    drop(wal);
    disk.crash(Crash::LoseAll);
    disk.damage(&meta.name().path(&snap_dir()), |bytes| bytes[40] ^= 1);
    let refused = start(&disk).map(|_| ()).unwrap_err();
    let named = refused.to_string().contains(&meta.name().file_name());
    assert!(named && matches!(refused, Failure::Recovery(_)), "{refused}");
}
