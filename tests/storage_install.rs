//! A snapshot from a peer takes the place of the state and the log. The member is stopped at every step of
//! that, in every way in which a disk can stop: it comes back with the old state whole or the new one
//! whole, with the new one once it was acknowledged, and goes on from there.

mod storage_common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use callboard::actors::mailbox::Gauge;
use callboard::actors::snapshotter::host::metadata_of;
use callboard::actors::snapshotter::receive::{Reception, Refused, Transfer};
use callboard::actors::wal_writer::{Append, role::Role};
use callboard::storage::data_dir::{DataDir, DataDirError};
use callboard::storage::disk::{Disk, DiskError};
use callboard::storage::mvcc::{Member, State};
use callboard::storage::recovery::{self, Recent, Recovered, RecoveryError};
use callboard::storage::sim_disk::{Crash, SimDisk};
use callboard::storage::snapshot::SnapshotDir;
use callboard::storage::state_file;
use callboard::storage::wal::{Entry, EntryType, HardState, SnapshotMark, Wal, WalError};
use callboard::types::{Index, MemberId, Term};
use raft::eraftpb::{Message, MessageType};
use storage_common::{ROOT, options, snap_dir, wal_dir, wal_meta};

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Receive(#[from] Refused),
    #[error(transparent)]
    Wal(#[from] WalError),
}

fn genesis() -> State {
    let member = |id| Member {
        id: MemberId(id),
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    State::new(vec![member(1), member(2)])
}

fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn start(disk: &SimDisk) -> Result<(Recovered, Wal), Failure> {
    let _data_dir = DataDir::open(disk, Path::new(ROOT), None)?;
    if !Wal::exists(disk, &wal_dir())? {
        drop(Wal::create(shared(disk), &wal_dir(), wal_meta(), options())?);
    }
    let snapshots = SnapshotDir::new(shared(disk), &snap_dir());
    Ok(recovery::recover(&shared(disk), &wal_dir(), &snapshots, options(), |_| genesis(), |_| {})?)
}

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        term: Term(term),
        index: Index(index),
        entry_type: EntryType::Normal,
        data: Bytes::new(),
        context: Bytes::new(),
    }
}

struct Writer {
    role: Role,
    gauge: Arc<Gauge>,
    batches: u64,
}

impl Writer {
    fn new(wal: Wal, snapshot: Index) -> Writer {
        Writer { role: Role::new(wal, snapshot), gauge: Gauge::new("wal-writer", 10), batches: 0 }
    }

    fn write(
        &mut self,
        installed: Option<SnapshotMark>,
        entries: Vec<Entry>,
        (term, commit): (u64, u64),
    ) -> Result<(), WalError> {
        self.batches += 1;
        let hard_state = HardState { term: Term(term), vote: MemberId(0), commit: Index(commit) };
        self.role.add(Append {
            number: self.batches,
            installed,
            entries,
            hard_state: Some(hard_state),
            must_sync: true,
            slot: self.gauge.take_slot().unwrap(),
        });
        self.role.write().map(|_| ())
    }
}

/// The peer's snapshot after entry 20 of term 3.
fn peers_snapshot() -> (Vec<u8>, Transfer, Message) {
    let mut state = genesis();
    for index in 1..=20 {
        state.apply(Index(index), Term(if index < 20 { 2 } else { 3 }), None);
    }
    let (sim, dir) = (SimDisk::new(), Path::new("/peer"));
    sim.create_dir(dir).unwrap();
    let meta = state_file::meta_of(&state, wal_meta().cluster_id, MemberId(1));
    state_file::save(&shared(&sim), dir, &meta, &state).unwrap();
    let bytes = sim.contents(&meta.name().path(dir)).unwrap();
    let mut message = Message { from: 1, to: 2, term: 3, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.mut_snapshot().set_metadata(metadata_of(&meta));
    (bytes.clone(), Transfer { name: meta.name(), len: bytes.len() as u64, head_crc: 0 }, message)
}

/// What was acknowledged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Acked {
    Nothing,
    OwnLog,
    Snapshot,
    EntriesAfterIt,
}

/// A member with a log of its own, `own` entries of which 3 are committed, that receives and installs the
/// snapshot, and then gets entries after it.
fn live(disk: &SimDisk, own: u64, acked: &mut Acked) -> Result<(), Failure> {
    let (recovered, wal) = start(disk)?;
    assert_eq!(recovered.state.applied_index, Index(0));
    let mut writer = Writer::new(wal, Index(0));
    let entries = (1..=own).map(|index| entry(index, 1)).collect();
    writer.write(None, entries, (1, 3.min(own)))?;
    *acked = Acked::OwnLog;

    let (bytes, transfer, message) = peers_snapshot();
    let snapshots = SnapshotDir::new(shared(disk), &snap_dir());
    let mut reception = Reception::new(snapshots.clone(), wal_meta().cluster_id);
    let now = std::time::Duration::ZERO;
    let session = reception.begin(transfer, 0, Index(3), now)?.expect("it is newer");
    for (at, piece) in bytes.chunks(100).enumerate() {
        reception.chunk(session, at as u64 * 100, &Bytes::copy_from_slice(piece), now)?;
    }
    let state = reception.end(session, &message, Index(3))?.expect("it is newer");
    let mark =
        SnapshotMark { index: state.applied_index, term: state.applied_term, installed: true };
    // Snapshotter may have taken the published state before the batch with the mark is written.
    writer.role.snapshotted(SnapshotMark { installed: false, ..mark }, mark.index)?;
    writer.write(Some(mark), Vec::new(), (3, 20))?;
    *acked = Acked::Snapshot;
    assert_eq!(writer.role.snapshot(), Index(20));
    writer.role.snapshotted(SnapshotMark { installed: false, ..mark }, mark.index)?;
    writer.write(None, (21..=23).map(|index| entry(index, 3)).collect(), (3, 22))?;
    *acked = Acked::EntriesAfterIt;
    Ok(())
}

fn check(disk: &SimDisk, own: u64, acked: Acked, what: &str) -> (Recovered, Wal) {
    let (found, wal) = start(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let applied = found.state.applied_index.0;
    let last = applied + found.entries.len() as u64;
    assert!(found.hard_state.commit.0 >= applied, "{what}");
    if applied < 20 {
        assert!(acked < Acked::Snapshot, "{what}: an installed snapshot is lost");
        assert!(applied <= 3 && last <= own, "{what}: {applied}, {last}");
        assert!(last == own || acked < Acked::OwnLog, "{what}: {last} of {own}");
        assert!(found.entries.iter().all(|entry| entry.term == Term(1)), "{what}");
    } else {
        assert!(found.snapshot.as_ref().is_some_and(|meta| meta.index == Index(20)), "{what}");
        assert!(found.hard_state.term >= Term(3), "{what}");
        assert!(last == 23 || acked < Acked::EntriesAfterIt, "{what}: {last}");
        // Nothing is left of the log that it replaced.
        assert!(found.entries.iter().all(|entry| entry.term == Term(3)), "{what}");
    }
    // For peers that lag there is what leads up to the last applied entry, and nothing else.
    let Recent { after, entries: recent } = &found.recent;
    assert!(recent.iter().map(|entry| entry.index.0).eq(after.0.0 + 1..=applied), "{what}");
    let term = if applied < 20 { Term(1) } else { Term(3) };
    assert!(recent.iter().all(|entry| entry.term == term), "{what}");
    assert!(applied < 20 || after.0 >= Index(20), "{what}: {after:?}");
    (found, wal)
}

#[test]
fn stopped_at_every_step_the_old_state_or_the_new_one_is_whole() {
    let (mut cases, mut old, mut new) = (0, 0, 0);
    // The log ends before the snapshot, where it does, and after it with other entries.
    for own in [0, 5, 20, 30] {
        let whole = SimDisk::new();
        live(&whole, own, &mut Acked::Nothing).unwrap();
        let steps = whole.steps();
        for step in 0..=steps {
            let mut acked = Acked::Nothing;
            let stopped = SimDisk::new();
            stopped.stop_at(step);
            assert_eq!(live(&stopped, own, &mut acked).is_ok(), step == steps);
            let random = (0..6).map(|n| Crash::Random { seed: step * 6 + n });
            let torn = (0..2).map(|n| Crash::Torn { seed: step * 2 + n });
            let plain = [Crash::Process, Crash::LoseAll, Crash::KeepAll];
            for crash in plain.into_iter().chain(random).chain(torn) {
                let what = format!("own {own}, step {step}, {crash:?}");
                let disk = stopped.fork();
                disk.crash(crash);
                disk.heal();
                let (found, wal) = check(&disk, own, acked, &what);
                let is_new = found.state.applied_index >= Index(20);
                cases += 1;
                (old, new) = (old + u64::from(!is_new), new + u64::from(is_new));
                // Goes on from what was found, is stopped again, and finds that too.
                let last = found.state.applied_index.0 + found.entries.len() as u64;
                let snapshot = found.snapshot.map_or(Index(0), |meta| meta.index);
                let mut writer = Writer::new(wal, snapshot);
                let next = last + 1;
                writer.write(None, vec![entry(next, 4)], (4, next)).unwrap();
                drop(writer);
                disk.crash(Crash::LoseAll);
                let (again, _) = start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(again.state.applied_index, Index(next), "{what}");
                assert_eq!(again.state.applied_term, Term(4), "{what}");
            }
        }
    }
    assert!(old > 100 && new > 100, "{cases} cases, {old} old, {new} new");
}
