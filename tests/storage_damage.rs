//! Torn writes, decayed bytes and misplaced sectors: a torn end is cut off and nothing else; damage is
//! refused and never answered with wrong data, a lost record or a panic; garbage never panics.
//! `CALLBOARD_CRASH_SCALE=10` runs ten times as many cases.

mod storage_common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use callboard::storage::disk::Disk;
use callboard::storage::frame::{self, Salt};
use callboard::storage::sim_disk::{Crash, SimDisk};
use callboard::storage::snapshot::{SnapshotName, SnapshotReader};
use callboard::storage::wal::{HardState, WalBatch, WalReplay};
use callboard::types::{Index, MemberId, Term};
use proptest::prelude::*;
use storage_common::{Life, Random, options, recover, scale, snap_dir, wal_dir};

/// A life that ends after a few things, with its disk at rest.
fn lived(seed: u64, things: usize, marked: bool) -> Life {
    let mut life = Life::new(SimDisk::new(), seed);
    life.start().unwrap();
    life.run(things).unwrap();
    life.group_commit(1).unwrap();
    if marked {
        life.wal.as_mut().unwrap().mark_synced().unwrap();
    }
    life.disk.crash(Crash::LoseAll);
    life
}

fn files(disk: &SimDisk, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.list(dir).unwrap().into_iter().map(|name| dir.join(name));
    paths.map(|path| (path.clone(), disk.contents(&path).unwrap())).collect()
}

/// Either the start is refused, or all that was acknowledged is there. Answers whether refused.
fn refused_or_right(life: &Life, disk: &SimDisk, what: &str) -> bool {
    match recover(disk) {
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("/data/member/"), "{what}: does not name the file: {text}");
            true
        }
        Ok(found) => {
            let found = found.unwrap_or_else(|| panic!("{what}: the WAL is gone"));
            life.model.check(&found).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            false
        }
    }
}

#[test]
fn a_write_torn_at_each_byte_loses_itself_and_nothing_else() {
    let mut cases = 0;
    for seed in 0..12 * scale() {
        let mut life = Life::new(SimDisk::new(), seed);
        life.start().unwrap();
        life.run(5 + seed as usize % 40).unwrap();
        // The last three records, in three batches of which the third is torn, or in one batch.
        let one_batch = seed % 2 == 0;
        let first = life.model.now().last().next();
        let entries = life.entries(first, 3);
        let before = life.wal.as_ref().unwrap().stats().bytes_appended;
        let chunks = if one_batch { 3 } else { 1 };
        for chunk in entries.chunks(chunks) {
            life.append(&WalBatch { entries: chunk, ..WalBatch::default() }).unwrap();
        }
        let written = life.wal.as_ref().unwrap().stats().bytes_appended - before;
        for bytes in 0..=written as usize {
            let disk = life.disk.fork();
            disk.crash(Crash::TornLast { bytes });
            let what = format!("seed {seed}, {bytes} of {written} bytes");
            let found = recover(&disk).unwrap_or_else(|e| panic!("{what}: {e}")).unwrap();
            life.model.check(&found).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            if one_batch {
                let whole = bytes == written as usize;
                assert_eq!(found.wal.last_index() == life.model.now().last(), whole, "{what}");
                assert_eq!(found.report.torn.is_some(), !whole && bytes > 0, "{what}");
            }
            cases += 1;
        }
    }
    eprintln!("{cases} cases");
    assert!(cases > 5_000);
}

#[test]
fn every_flipped_byte_is_refused_or_harmless() {
    let (mut cases, mut refused) = (0, 0);
    for seed in 0..4 * scale() {
        let life = lived(seed, 25, seed % 2 == 0);
        for (path, bytes) in files(&life.disk, &wal_dir()) {
            for at in 0..bytes.len() {
                if bytes[at] == 0 && at % 16 != 0 && bytes[at..].iter().all(|byte| *byte == 0) {
                    continue; // the space that was never written: a sample is enough
                }
                let disk = life.disk.fork();
                disk.damage(&path, |bytes| bytes[at] ^= 1 << ((at + seed as usize) % 8));
                let what = format!("seed {seed}, byte {at} of {}", path.display());
                refused += u32::from(refused_or_right(&life, &disk, &what));
                cases += 1;
            }
        }
    }
    eprintln!("{cases} cases, {refused} refused");
    assert!(refused > cases / 4);
}

#[test]
fn a_flipped_bit_in_a_snapshot_falls_back_or_is_refused() {
    let mut life = lived(7, 60, true);
    let snapshots = files(&life.disk, &snap_dir());
    assert!(snapshots.len() >= 2);
    life.model.snapshot_acknowledged = Index(0); // an older one with the log after it will do
    let mut fallen_back = 0;
    for (path, bytes) in &snapshots {
        for at in (0..bytes.len()).step_by(7) {
            let disk = life.disk.fork();
            disk.damage(path, |bytes| bytes[at] ^= 1 << (at % 8));
            let name = path.file_name().and_then(|name| name.to_str()).unwrap();
            SnapshotName::parse(name).unwrap();
            assert!(SnapshotReader::verify(&disk, path).is_err(), "byte {at}");
            fallen_back += u32::from(!refused_or_right(&life, &disk, &format!("byte {at}")));
        }
    }
    assert!(fallen_back > 0);
}

#[test]
fn misplaced_and_lost_sectors_are_refused_or_harmless() {
    let mut refused = 0;
    for seed in 0..400 * scale() {
        let life = lived(seed % 64, 20, true);
        let mut random = Random::new(seed);
        let files = files(&life.disk, &wal_dir());
        let (path, bytes) = &files[random.below(files.len() as u64) as usize];
        // The very last write of all can be lost without a trace; nothing before it can.
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        let last_mark = (written - 64) / 512;
        let (from, source) = &files[random.below(files.len() as u64) as usize];
        let sector = random.below(last_mark.max(1)) as usize * 512;
        if sector as u64 / 512 >= last_mark {
            continue;
        }
        let source_sector = random.below(source.len() as u64 / 512) as usize * 512;
        let disk = life.disk.fork();
        let copy = match seed % 3 {
            0 => vec![0; 512],
            _ => source[source_sector..source_sector + 512].to_vec(),
        };
        disk.damage(path, |bytes| bytes[sector..sector + 512].copy_from_slice(&copy));
        let what = format!("seed {seed}: {} {source_sector} to {sector}", from.display());
        refused += u32::from(refused_or_right(&life, &disk, &what));
    }
    eprintln!("{refused} refused");
    assert!(refused > 50);
}

/// The case that the torn-tail rule of etcd gets wrong: a value of zeros, then rot beside it.
#[test]
fn rot_beside_a_value_of_zeros_does_not_pass_for_a_torn_tail() {
    for offset in 0..40 {
        let mut life = Life::new(SimDisk::new(), 1);
        life.start().unwrap();
        let mut entries = life.entries(Index(1), 2);
        entries[0].data = vec![1; offset * 13].into();
        entries[1].data = vec![0; 2000].into();
        life.append(&WalBatch { entries: &entries, ..WalBatch::default() }).unwrap();
        life.sync().unwrap();
        life.disk.crash(Crash::LoseAll);
        let (path, bytes) = files(&life.disk, &wal_dir()).remove(0);
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for at in [written - 40, written - 700, written - 1500] {
            let disk = life.disk.fork();
            disk.damage(&path, |bytes| bytes[at] ^= 0x10);
            assert!(refused_or_right(&life, &disk, "zeros"), "offset {offset}, byte {at}");
        }
    }
}

#[test]
fn a_lost_segment_is_noticed_wherever_it_was() {
    let life = lived(5, 60, true);
    let segments = files(&life.disk, &wal_dir());
    assert!(segments.len() >= 2, "{}", segments.len());
    let mut refused = 0;
    for (path, _) in &segments {
        let disk = life.disk.fork();
        disk.remove(path).unwrap();
        refused += u32::from(refused_or_right(&life, &disk, &path.display().to_string()));
    }
    assert!(refused > 0);
    let newest = segments.last().unwrap();
    life.disk.remove(&newest.0).unwrap();
    let error = recover(&life.disk).err().expect("the newest segment is gone").to_string();
    assert!(error.contains("is missing"), "{error}");
}

fn segment_name() -> PathBuf {
    wal_dir().join("0000000000000000-0000000000000001.wal")
}

fn snapshot_name() -> PathBuf {
    snap_dir().join("0000000000000001-0000000000000009.snap")
}

/// Opens the bytes as a segment and as a snapshot; only a panic is wrong.
fn read_as_anything(segment: &[u8], snapshot: &[u8]) {
    let disk = SimDisk::new();
    disk.put(&segment_name(), segment);
    disk.put(&snapshot_name(), snapshot);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    if let Ok(mut replay) = WalReplay::open(shared, &wal_dir(), options(), Index(0), Term(0))
        && replay.read_to_end(|_| {}).is_ok()
    {
        _ = replay.finish();
    }
    _ = SnapshotReader::verify(&disk, &snapshot_name());
}

/// A small good segment and snapshot, to spoil.
fn good_files() -> (Vec<u8>, Vec<u8>) {
    let mut life = Life::new(SimDisk::new(), 1);
    life.start().unwrap();
    let entries = life.entries(Index(1), 9);
    let hard_state = Some(HardState { term: Term(1), vote: MemberId(7), commit: Index(9) });
    life.append(&WalBatch { entries: &entries, hard_state, snapshot_mark: None }).unwrap();
    life.sync().unwrap();
    life.write_snapshot(Index(9), Term(1)).unwrap();
    let segment = life.disk.contents(&segment_name()).unwrap();
    (segment, life.disk.contents(&snapshot_name()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        _ = frame::decode(&bytes, Salt::new(&[1, 2]), 3);
        read_as_anything(&bytes, &bytes);
    }

    #[test]
    fn spoilt_files_never_panic(
        spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut segment, mut snapshot) = good_files();
        for (at, byte) in spots {
            let place = at.index(segment.len());
            segment[place] = byte;
            let place = at.index(snapshot.len());
            snapshot[place] = byte;
        }
        segment.truncate(cut.index(segment.len()) + 1);
        snapshot.truncate(cut.index(snapshot.len()) + 1);
        read_as_anything(&segment, &snapshot);
    }

    /// Payloads with right checksums and wrong contents: what a hostile or newer writer makes.
    #[test]
    fn wrong_records_in_good_frames_never_panic(
        kind in 1..9_u8,
        version in 1..3_u8,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut segment, mut snapshot) = good_files();
        let spoil = |file: &mut Vec<u8>, salts: [Salt; 2]| {
            let header = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize;
            let at = header + frame::OVERHEAD;
            for (place, salt) in [(0, salts[0]), (at, salts[1])] {
                let mut spoilt = file.clone();
                let mut framed = Vec::new();
                let start = frame::begin(&mut framed);
                framed.extend_from_slice(&payload);
                frame::finish(&mut framed, start, kind, version, salt, place as u64);
                let end = (place + framed.len()).min(spoilt.len());
                spoilt[place..end].copy_from_slice(&framed[..end - place]);
                *file = if place == 0 { file.clone() } else { spoilt.clone() };
                read_as_anything(&spoilt, &spoilt);
            }
        };
        spoil(&mut segment, [Salt::new(&[0, 1]), Salt::new(&[42, 7, 0])]);
        spoil(&mut snapshot, [Salt::new(&[1, 9]), Salt::new(&[42, 1, 9])]);
        read_as_anything(&segment, &snapshot);
    }
}
