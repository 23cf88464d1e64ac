//! The data directory: who may use it, what is refused, what is only warned of.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use callboard::storage::data_dir::{DataDir, DataDirError, DataDirWarning};
use callboard::storage::disk::{Disk, RealDisk};
use callboard::storage::frame;
use callboard::storage::sim_disk::{Crash, SimDisk};
use callboard::storage::snapshot::{
    SnapshotDir, SnapshotError, SnapshotMeta, SnapshotReader, SnapshotReceiver, SnapshotWriter,
};
use callboard::types::{ClusterId, Index, Term};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_directory_is_made_for_its_owner_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("some/where");
    let data_dir = DataDir::open(&RealDisk, &root, None).unwrap();
    assert_eq!(data_dir.warnings(), []);
    assert_eq!(data_dir.wal(), root.join("member/wal"));
    assert_eq!(data_dir.snap(), root.join("member/snap"));
    for dir in [data_dir.root(), data_dir.wal(), data_dir.snap()] {
        assert_eq!(mode(dir), 0o700);
    }
    for file in ["format", "lock"] {
        assert_eq!(mode(&root.join(file)), 0o600);
    }
    let format = fs::read_to_string(root.join("format")).unwrap();
    assert_eq!(format, "callboard data directory, format 1\n");
}

#[test]
fn a_second_process_is_told_who_has_it() {
    let temporary = tempfile::tempdir().unwrap();
    let first = DataDir::open(&RealDisk, temporary.path(), None).unwrap();
    for second in [
        DataDir::open(&RealDisk, temporary.path(), None),
        DataDir::inspect(&RealDisk, temporary.path(), None),
    ] {
        let error = second.err().expect("locked").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }
    drop(first);
    DataDir::open(&RealDisk, temporary.path(), None).unwrap();
}

#[test]
fn a_wal_elsewhere_is_locked_too() {
    let temporary = tempfile::tempdir().unwrap();
    let wal = temporary.path().join("wal");
    let one = DataDir::open(&RealDisk, &temporary.path().join("1"), Some(&wal)).unwrap();
    assert_eq!(one.wal(), wal);
    let two = DataDir::open(&RealDisk, &temporary.path().join("2"), Some(&wal));
    assert!(matches!(two, Err(DataDirError::Locked(_))));
}

#[test]
fn what_is_not_ours_is_refused_untouched() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::create_dir_all(root.join("member/snap")).unwrap();
    fs::write(root.join("member/snap/db"), "bbolt").unwrap();
    let error = DataDir::open(&RealDisk, root, None).err().expect("etcd's");
    assert!(matches!(error, DataDirError::Etcd(_)) && error.to_string().contains("etcd"));

    fs::remove_file(root.join("member/snap/db")).unwrap();
    assert!(matches!(DataDir::open(&RealDisk, root, None), Err(DataDirError::Foreign(_))));
    assert_eq!(names(), ["member"], "nothing was created");

    fs::write(root.join("format"), "callboard data directory, format 2\n").unwrap();
    let error = DataDir::open(&RealDisk, root, None).err().expect("newer");
    assert!(matches!(error, DataDirError::Newer { found: 2, .. }), "{error}");
    fs::write(root.join("format"), "hello").unwrap();
    assert!(matches!(DataDir::open(&RealDisk, root, None), Err(DataDirError::BadFormat(_))));
    let missing = DataDir::inspect(&RealDisk, &root.join("no"), None);
    assert!(matches!(missing, Err(DataDirError::Missing(_))));
}

#[test]
fn wide_permissions_and_unknown_names_are_warned_of() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path().join("data");
    drop(DataDir::open(&RealDisk, &root, None).unwrap());
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("member/notes.txt"), "").unwrap();
    let data_dir = DataDir::open(&RealDisk, &root, None).unwrap();
    let wanted = [
        DataDirWarning::Permissions { path: root.clone(), mode: 0o755 },
        DataDirWarning::Unknown(root.join("member/notes.txt")),
    ];
    assert_eq!(data_dir.warnings(), wanted);
}

#[test]
fn a_first_start_stopped_at_any_step_can_be_done_again() {
    let root = Path::new("/a/b");
    let whole = SimDisk::new();
    DataDir::open(&whole, root, None).unwrap();
    for step in 0..whole.steps() {
        for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Process, Crash::Random { seed: step }]
        {
            let disk = SimDisk::new();
            disk.stop_at(step);
            assert!(DataDir::open(&disk, root, None).is_err());
            disk.crash(crash);
            DataDir::open(&disk, root, None).unwrap_or_else(|e| panic!("{step} {crash:?}: {e}"));
            disk.crash(Crash::LoseAll);
            for dir in ["/a/b/member/wal", "/a/b/member/snap"] {
                assert!(disk.exists(Path::new(dir)).unwrap(), "{step} {crash:?}: {dir}");
            }
        }
    }
}

fn snapshots(disk: &SimDisk) -> SnapshotDir {
    SnapshotDir::new(Arc::new(disk.clone()), Path::new("/snap"))
}

fn write_snapshot(disk: &SimDisk, index: u64) -> Result<(), SnapshotError> {
    let meta = SnapshotMeta {
        cluster_id: ClusterId(1),
        term: Term(1),
        index: Index(index),
        ..SnapshotMeta::default()
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = SnapshotWriter::create(shared, Path::new("/snap"), &meta)?;
    for part in 0..50_u8 {
        writer.push(&vec![part; 20_000])?;
    }
    writer.push(&vec![0; 1_000_000])?;
    writer.finish()?;
    Ok(())
}

fn snapshot_disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/snap")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write_snapshot(&disk, 5).unwrap();
    disk
}

#[test]
fn a_snapshot_stopped_at_any_step_is_whole_or_not_there() {
    let first = snapshot_disk();
    let whole = first.fork();
    write_snapshot(&whole, 9).unwrap();
    for step in first.steps()..whole.steps() {
        for seed in 0..4 {
            let disk = first.fork();
            disk.stop_at(step);
            assert!(write_snapshot(&disk, 9).is_err());
            disk.crash(if seed == 0 { Crash::KeepAll } else { Crash::Random { seed } });
            let newest = snapshots(&disk).newest_valid().unwrap();
            assert!(newest.invalid.is_empty(), "step {step}");
            assert!([Index(5), Index(9)].contains(&newest.snapshot.unwrap().index));
            snapshots(&disk).prepare().unwrap();
            let names = disk.list(Path::new("/snap")).unwrap();
            assert!(names.iter().all(|name| !name.ends_with("tmp")), "{names:?}");
        }
    }
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let disk = snapshot_disk();
    let meta = SnapshotMeta { index: Index(8), ..SnapshotMeta::default() };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    drop(SnapshotWriter::create(shared, Path::new("/snap"), &meta).unwrap());
    assert_eq!(disk.list(Path::new("/snap")).unwrap().len(), 1);
}

#[test]
fn a_damaged_snapshot_gives_way_to_the_one_before() {
    let disk = snapshot_disk();
    for index in [7, 9] {
        write_snapshot(&disk, index).unwrap();
    }
    let dir = snapshots(&disk);
    let newest = dir.list().unwrap()[0];
    assert_eq!(newest.index, Index(9));
    disk.damage(&newest.path(Path::new("/snap")), |bytes| bytes[700_000] ^= 1);
    let found = dir.newest_valid().unwrap();
    assert_eq!(found.snapshot.unwrap().index, Index(7));
    assert_eq!(found.invalid[0].name, newest);
    assert!(found.invalid[0].error.to_string().contains("is damaged at byte"));
    let aside = dir.set_aside(newest).unwrap();
    assert!(disk.exists(&aside).unwrap(), "it is kept");
    assert_eq!(dir.retain(1).unwrap().unwrap().index, Index(7));
    assert_eq!(dir.list().unwrap().len(), 1);
}

#[test]
fn chunks_of_another_snapshot_of_the_same_place_are_not_taken() {
    let bytes_of = |records: &[&[u8]]| {
        let disk = snapshot_disk();
        let meta = SnapshotMeta { index: Index(8), ..SnapshotMeta::default() };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut writer = SnapshotWriter::create(shared, Path::new("/snap"), &meta).unwrap();
        for record in records {
            writer.push(record).unwrap();
        }
        writer.finish().unwrap();
        (meta.name(), disk.contents(&meta.name().path(Path::new("/snap"))).unwrap())
    };
    let (name, one) = bytes_of(&[b"one"]);
    let (_, two) = bytes_of(&[b"two"]);
    let frame_end = |at: usize| {
        let len = [one[at + 4], one[at + 5], one[at + 6], one[at + 7]];
        at + frame::OVERHEAD + u32::from_le_bytes(len) as usize
    };
    let footer = frame_end(frame_end(0)); // behind the header and the only chunk
    let mut mixed = one.clone();
    mixed[footer..].copy_from_slice(&two[footer..]); // the footer of one on the chunk of the other
    let disk = SimDisk::new();
    let path = name.path(Path::new("/snap"));
    disk.put(&path, &one);
    SnapshotReader::verify(&disk, &path).unwrap();
    disk.put(&path, &mixed);
    let error = SnapshotReader::verify(&disk, &path).unwrap_err().to_string();
    assert!(error.contains("the footer does not fit the chunks"), "{error}");
}

#[test]
fn a_snapshot_travels_as_bytes() {
    let disk = snapshot_disk();
    let name = snapshots(&disk).list().unwrap()[0];
    let bytes = disk.contents(&name.path(Path::new("/snap"))).unwrap();
    let other = SimDisk::new();
    other.create_dir(Path::new("/snap")).unwrap();
    other.sync_dir(Path::new("/")).unwrap();
    let send = |bytes: &[u8]| {
        let mut receiver = SnapshotReceiver::create(&snapshots(&other), name).unwrap();
        bytes.chunks(70_001).for_each(|part| receiver.write(part).unwrap());
        assert_eq!(receiver.len(), bytes.len() as u64);
        receiver.finish()
    };
    let mut broken = bytes.clone();
    broken[300_000] ^= 4;
    assert!(matches!(send(&broken), Err(SnapshotError::Damaged { .. })));
    assert!(matches!(send(&bytes[..bytes.len() - 1]), Err(SnapshotError::Damaged { .. })));
    assert_eq!(snapshots(&other).list().unwrap(), []);
    assert_eq!(send(&bytes).unwrap().index, Index(5));
    other.crash(Crash::LoseAll);
    assert_eq!(snapshots(&other).newest_valid().unwrap().snapshot.unwrap().index, Index(5));
}
