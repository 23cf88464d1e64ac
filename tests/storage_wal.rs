//! The WAL on the real disk and on the simulated one: what an owner may rely on in quiet times.

mod storage_common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use callboard::storage::disk::{Disk, RealDisk};
use callboard::storage::sim_disk::{Crash, Fault, SimDisk};
use callboard::storage::wal::{
    Entry, EntryType, HardState, RecoveredLog, SnapshotMark, Wal, WalBatch, WalError, WalOptions,
    WalReplay,
};
use callboard::types::{Index, MemberId, Term};
use storage_common::wal_meta;

fn entry(term: u64, index: u64, len: usize) -> Entry {
    let data = Bytes::from(vec![index as u8 | 1; len]);
    let (term, index) = (Term(term), Index(index));
    Entry { term, index, entry_type: EntryType::Normal, data, context: Bytes::new() }
}

fn entries(term: u64, indices: std::ops::RangeInclusive<u64>, len: usize) -> Vec<Entry> {
    indices.map(|index| entry(term, index, len)).collect()
}

fn append(wal: &mut Wal, entries: &[Entry]) {
    wal.append(&WalBatch { entries, ..WalBatch::default() }).unwrap();
    wal.sync().unwrap();
}

struct Place {
    disk: Arc<dyn Disk>,
    dir: std::path::PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

/// A fresh folder on each kind of disk.
fn places() -> [Place; 2] {
    let temporary = tempfile::tempdir().unwrap();
    let real = temporary.path().join("wal");
    RealDisk.create_dir(&real).unwrap();
    let simulated = SimDisk::new();
    simulated.create_dir(Path::new("/wal")).unwrap();
    simulated.sync_dir(Path::new("/")).unwrap();
    [
        Place { disk: Arc::new(RealDisk), dir: real, _temporary: Some(temporary) },
        Place { disk: Arc::new(simulated), dir: "/wal".into(), _temporary: None },
    ]
}

impl Place {
    fn options() -> WalOptions {
        WalOptions { segment_bytes: 4096, fsync: true }
    }

    fn create(&self) -> Wal {
        Wal::create(Arc::clone(&self.disk), &self.dir, wal_meta(), Place::options()).unwrap()
    }

    fn replay(&self, from: u64, from_term: u64) -> Result<WalReplay, WalError> {
        let disk = Arc::clone(&self.disk);
        WalReplay::open(disk, &self.dir, Place::options(), Index(from), Term(from_term))
    }

    fn reopen(&self, from: u64, from_term: u64) -> Result<(Wal, RecoveredLog), WalError> {
        let mut replay = self.replay(from, from_term)?;
        let log = replay.read_to_end(|_| {})?;
        Ok((replay.finish()?.0, log))
    }
}

#[test]
fn what_was_appended_is_read_back() {
    for place in places() {
        assert!(!Wal::exists(&*place.disk, &place.dir).unwrap());
        assert!(matches!(place.replay(0, 0), Err(WalError::Empty(_))));
        let mut wal = place.create();
        let wanted = entries(1, 1..=200, 100);
        for chunk in wanted.chunks(7) {
            append(&mut wal, chunk);
        }
        let hard_state = HardState { term: Term(1), vote: MemberId(7), commit: Index(150) };
        wal.append(&WalBatch { hard_state: Some(hard_state), ..WalBatch::default() }).unwrap();
        wal.sync().unwrap();
        assert!(wal.stats().segments > 5 && wal.is_synced());
        drop(wal);
        let again = Wal::create(Arc::clone(&place.disk), &place.dir, wal_meta(), Place::options());
        assert!(matches!(again, Err(WalError::AlreadyExists(_))));

        let mut seen = Vec::new();
        let mut replay = place.replay(0, 0).unwrap();
        let log = replay.read_to_end(|progress| seen.push(progress)).unwrap();
        assert_eq!((&log.entries, log.hard_state), (&wanted, hard_state));
        assert!(seen.is_sorted_by_key(|progress| progress.bytes_done));
        assert_eq!(replay.progress().bytes_done, replay.progress().bytes_total);
        let (mut wal, report) = replay.finish().unwrap();
        assert_eq!((report.last_index, report.torn), (Index(200), None));
        append(&mut wal, &entries(2, 201..=201, 10));
        let (_, log) = place.reopen(100, 1).unwrap();
        assert_eq!(log.entries[..100], wanted[100..]);
        assert_eq!(log.entries[100], entry(2, 201, 10));
    }
}

#[test]
fn a_later_entry_replaces_its_index_and_what_follows() {
    for place in places() {
        let mut wal = place.create();
        append(&mut wal, &entries(1, 1..=30, 300));
        append(&mut wal, &entries(2, 11..=12, 300)); // in a later segment
        assert_eq!(wal.last_index(), Index(12));
        let wanted = [entries(1, 1..=10, 300), entries(2, 11..=12, 300)].concat();
        drop(wal);
        assert_eq!(place.reopen(0, 0).unwrap().1.entries, wanted);
        // A snapshot in the part that was replaced: nothing of the old term may show.
        assert_eq!(place.reopen(12, 2).unwrap().1.entries, []);
        assert_eq!(place.reopen(11, 2).unwrap().1.entries, wanted[11..]);
    }
}

#[test]
fn release_keeps_what_follows_and_a_start_before_it_is_refused() {
    for place in places() {
        let mut wal = place.create();
        let all = entries(1, 1..=100, 200);
        for chunk in all.chunks(3) {
            append(&mut wal, chunk);
        }
        let before = wal.stats();
        assert!(wal.bytes_since(Index(50)) >= 50 * 200);
        wal.release(Index(0)).unwrap();
        assert_eq!(wal.stats().segments, before.segments);
        wal.release(Index(50)).unwrap();
        assert!(wal.stats().segments < before.segments);
        assert!(wal.stats().segment_bytes < before.segment_bytes);
        drop(wal);
        let (mut wal, log) = place.reopen(50, 1).unwrap();
        assert_eq!(log.entries, all[50..]);
        let error = place.replay(0, 0).err().unwrap();
        assert!(matches!(error, WalError::StartsTooLate { needed: Index(1), .. }), "{error}");
        wal.release(Index(100)).unwrap();
        assert_eq!(wal.stats().segments, 1, "the open segment stays");
        append(&mut wal, &entries(1, 101..=101, 5));
    }
}

/// A vote must not go with the segment in which it was written.
#[test]
fn the_hard_state_outlives_its_segment() {
    for place in places() {
        let mut wal = place.create();
        append(&mut wal, &entries(1, 1..=3, 300));
        let hard_state = HardState { term: Term(9), vote: MemberId(8), commit: Index(2) };
        wal.append(&WalBatch { hard_state: Some(hard_state), ..WalBatch::default() }).unwrap();
        append(&mut wal, &entries(9, 4..=60, 300));
        append(&mut wal, &entries(9, 61..=61, 300));
        wal.release(Index(60)).unwrap();
        assert_eq!(wal.hard_state(), hard_state);
        drop(wal);
        let (wal, log) = place.reopen(60, 9).unwrap();
        assert_eq!(log.hard_state, HardState { commit: Index(60), ..hard_state });
        assert_eq!(wal.hard_state().vote, MemberId(8));
    }
}

#[test]
fn release_keeps_every_entry_after_it() {
    for place in places() {
        let mut wal = place.create();
        let all = entries(1, 1..=60, 300);
        for entry in &all {
            append(&mut wal, std::slice::from_ref(entry));
        }
        for up_to in 0..=60 {
            wal.release(Index(up_to)).unwrap();
            let log = place.replay(up_to, 1).unwrap().read_to_end(|_| {}).unwrap();
            assert_eq!(log.entries, all[up_to as usize..], "released up to {up_to}");
        }
    }
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_size() {
    for place in places() {
        let mut wal = place.create();
        append(&mut wal, &entries(1, 1..=1, 10));
        let large = entries(1, 2..=4, 3_000_000);
        append(&mut wal, &large);
        append(&mut wal, &entries(1, 5..=5, 10));
        drop(wal);
        let (_, log) = place.reopen(0, 0).unwrap();
        assert_eq!(log.entries.len(), 5);
        assert_eq!(log.entries[1..4], large);
    }
}

#[test]
fn an_installed_snapshot_takes_the_place_of_the_log() {
    for place in places() {
        let mut wal = place.create();
        append(&mut wal, &entries(1, 1..=20, 50));
        let mark = SnapshotMark { index: Index(500), term: Term(4), installed: true };
        wal.append(&WalBatch {
            snapshot_mark: Some(mark),
            entries: &entries(5, 501..=502, 50),
            hard_state: Some(HardState { term: Term(5), vote: MemberId(0), commit: Index(500) }),
        })
        .unwrap();
        wal.sync().unwrap();
        drop(wal);
        assert_eq!(place.reopen(500, 4).unwrap().1.entries, entries(5, 501..=502, 50));
        let error = place.reopen(10, 1).err().unwrap();
        assert!(matches!(error, WalError::NeedsSnapshot { index: Index(500), .. }), "{error}");
    }
}

#[test]
fn an_installed_snapshot_also_ends_the_log_that_went_beyond_it() {
    for place in places() {
        let mut wal = place.create();
        append(&mut wal, &entries(1, 1..=20, 50));
        let mark = SnapshotMark { index: Index(10), term: Term(4), installed: true };
        wal.append(&WalBatch { snapshot_mark: Some(mark), ..WalBatch::default() }).unwrap();
        assert_eq!(wal.last_index(), Index(10));
        append(&mut wal, &entries(4, 11..=12, 50));
        drop(wal);
        assert_eq!(place.reopen(10, 4).unwrap().1.entries, entries(4, 11..=12, 50));
        assert_eq!(place.reopen(11, 4).unwrap().1.entries, entries(4, 12..=12, 50));
    }
}

#[test]
fn a_snapshot_that_the_log_does_not_know_of_wins() {
    for place in places() {
        let mut wal = place.create();
        append(&mut wal, &entries(1, 1..=20, 50));
        drop(wal);
        // Ahead of the log, and then in it but of another term.
        for (from, from_term) in [(30, 2), (30, 3)] {
            let (wal, log) = place.reopen(from, from_term).unwrap();
            assert_eq!((log.entries.len(), wal.last_index()), (0, Index(30)));
            assert_eq!(log.hard_state.commit, Index(30));
            assert_eq!(log.hard_state.term, Term(from_term));
        }
        let (mut wal, _) = place.reopen(30, 3).unwrap();
        append(&mut wal, &entries(3, 31..=33, 9));
        assert_eq!(place.reopen(30, 3).unwrap().1.entries, entries(3, 31..=33, 9));
    }
}

#[test]
fn a_quiet_log_costs_no_sync() {
    for place in places() {
        let mut wal = place.create();
        append(&mut wal, &entries(1, 1..=3, 50));
        wal.mark_synced().unwrap();
        let stats = wal.stats();
        wal.mark_synced().unwrap();
        wal.sync().unwrap();
        wal.append(&WalBatch::default()).unwrap();
        assert_eq!(wal.stats(), stats);
    }
}

#[test]
fn several_batches_share_one_sync() {
    for place in places() {
        let mut wal = place.create();
        for index in 1..=8 {
            let entries = entries(1, index..=index, 20);
            wal.append(&WalBatch { entries: &entries, ..WalBatch::default() }).unwrap();
        }
        wal.sync().unwrap();
        assert_eq!((wal.stats().batches, wal.stats().syncs), (8, 1));
    }
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/wal")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let place = Place { disk: Arc::new(disk.clone()), dir: "/wal".into(), _temporary: None };
    let mut wal = place.create();
    append(&mut wal, &entries(1, 1..=5, 200));
    // The next segment: sync, look, create, allocate. The third step has no room.
    disk.fail_at(disk.steps() + 1, Fault::NoSpace);
    let large = entries(1, 6..=20, 200);
    let error = wal.append(&WalBatch { entries: &large, ..WalBatch::default() }).unwrap_err();
    assert!(error.is_no_space() && matches!(error, WalError::NoSpace(_)), "{error}");
    append(&mut wal, &entries(1, 6..=6, 10)); // what still fits still works
    append(&mut wal, &entries(1, 7..=20, 200)); // and there is room again
    disk.crash(Crash::LoseAll);
    assert_eq!(place.reopen(0, 0).unwrap().1.entries.len(), 20);
}

#[test]
fn without_fsync_nothing_is_synced_but_segments() {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/wal")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let options = WalOptions { segment_bytes: 4096, fsync: false };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut wal = Wal::create(Arc::clone(&shared), Path::new("/wal"), wal_meta(), options).unwrap();
    append(&mut wal, &entries(1, 1..=3, 50));
    wal.mark_synced().unwrap();
    append(&mut wal, &entries(1, 4..=6, 50));
    assert_eq!(wal.stats().syncs, 0);
    disk.crash(Crash::Random { seed: 8 });
    let replay = WalReplay::open(shared, Path::new("/wal"), options, Index(0), Term(0)).unwrap();
    replay.finish().expect("a torn tail, never damage");
}

#[test]
#[should_panic(expected = "does not follow")]
fn a_gap_is_a_broken_invariant() {
    let [_, place] = places();
    let mut wal = place.create();
    append(&mut wal, &entries(1, 1..=3, 50));
    append(&mut wal, &entries(1, 5..=5, 50));
}
