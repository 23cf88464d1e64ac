//! Old bytes stay readable for ever: files of each format version, kept as hex, and what they say.
//!
//! `UPDATE_GOLDEN=1` writes files that are not there yet; it never changes one that is.

mod storage_common;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use callboard::storage::disk::Disk;
use callboard::storage::sim_disk::SimDisk;
use callboard::storage::snapshot::{ConfState, SnapshotMeta, SnapshotReader, SnapshotWriter};
use callboard::storage::wal::{
    Entry, EntryType, HardState, Record, SnapshotMark, Wal, WalBatch, WalMeta, WalOptions,
    WalReplay,
};
use callboard::types::{ClusterId, Index, MemberId, Revision, Term};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats").join(name)
}

/// Compares with the golden file, or writes it if there is none and that was asked for.
fn check(name: &str, found: &str) {
    let path = golden(name);
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(expected, found, "{name}");
}

/// Sixteen bytes a line; the zeros at the end are left out but for the file's length.
fn to_hex(bytes: &[u8]) -> String {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut text = format!("length {}\n", bytes.len());
    for line in bytes[..written].chunks(16) {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{}", line.join(" ")).unwrap();
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let (length, lines) = text.split_once('\n').unwrap();
    let mut bytes: Vec<u8> =
        lines.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.resize(length.strip_prefix("length ").unwrap().parse().unwrap(), 0);
    bytes
}

/// Puts the golden files of a folder on a disk, under `dir`.
fn load(folder: &str, dir: &Path) -> SimDisk {
    let disk = SimDisk::new();
    for entry in fs::read_dir(golden(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "hex") {
            let bytes = from_hex(&fs::read_to_string(&path).unwrap());
            disk.put(&dir.join(path.file_stem().unwrap()), &bytes);
        }
    }
    disk
}

const DIR: &str = "/golden";

fn show(record: &Record) -> String {
    match record {
        Record::Entry(Entry { term, index, entry_type, data, context }) => {
            let kind = u8::from(*entry_type);
            let data = if data.len() > 60 {
                format!("{} times {:?}", data.len(), data[0])
            } else {
                format!("{data:?}")
            };
            format!("entry term {term} index {index} type {kind} data {data} context {context:?}")
        }
        Record::HardState(HardState { term, vote, commit }) => {
            format!("hard state term {term} vote {vote} commit {commit}")
        }
        Record::SnapshotMark(SnapshotMark { index, term, installed }) => {
            format!("snapshot mark index {index} term {term} installed {installed}")
        }
    }
}

/// The log that was written when format version 1 was new: every record kind, two segments, a
/// masked payload, a batch without records.
fn write_wal(disk: &SimDisk) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_dir(Path::new(DIR)).unwrap();
    let meta = WalMeta {
        cluster_id: ClusterId(0xc0ff_ee00_c0ff_ee00),
        member_id: MemberId(0x8e9e_05c5_2164_694d),
        voters: vec![MemberId(0x8e9e_05c5_2164_694d), MemberId(2)],
        learners: vec![MemberId(3)],
    };
    let options = WalOptions { segment_bytes: 3072, fsync: true };
    let mut wal = Wal::create(shared, Path::new(DIR), meta, options).unwrap();
    let entry = |term, index, entry_type, data: &[u8]| Entry {
        term: Term(term),
        index: Index(index),
        entry_type,
        data: Bytes::copy_from_slice(data),
        context: Bytes::from_static(if index == 2 { b"context" } else { b"" }),
    };
    let vote = MemberId(0x8e9e_05c5_2164_694d);
    let hard_state = |commit| Some(HardState { term: Term(1), vote, commit: Index(commit) });
    let entries = [
        entry(1, 1, EntryType::Normal, b""),
        entry(1, 2, EntryType::ConfChange, b"add"),
        entry(1, 3, EntryType::Normal, &[0; 1500]),
    ];
    let mut append = |batch: &WalBatch<'_>| {
        wal.append(batch).unwrap();
        wal.sync().unwrap();
    };
    append(&WalBatch { entries: &entries, hard_state: hard_state(1), snapshot_mark: None });
    append(&WalBatch { entries: &[], hard_state: hard_state(3), snapshot_mark: None });
    let mark = SnapshotMark { index: Index(3), term: Term(1), installed: false };
    append(&WalBatch { snapshot_mark: Some(mark), ..WalBatch::default() });
    let replaced = [entry(2, 4, EntryType::ConfChangeV2, &[b'v'; 1200])];
    append(&WalBatch { entries: &replaced, ..WalBatch::default() });
    let mark = SnapshotMark { index: Index(500), term: Term(3), installed: true };
    append(&WalBatch { snapshot_mark: Some(mark), ..WalBatch::default() });
    wal.mark_synced().unwrap();
    wal.append(&WalBatch {
        entries: &[entry(70_000, 501, EntryType::Normal, b"last")],
        ..WalBatch::default()
    })
    .unwrap();
    wal.sync().unwrap();
}

#[test]
fn wal_version_1_stays_readable() {
    let folder = "wal-v1";
    let written = SimDisk::new();
    write_wal(&written);
    for name in written.list(Path::new(DIR)).unwrap() {
        let bytes = written.contents(&Path::new(DIR).join(&name)).unwrap();
        check(&format!("{folder}/{name}.hex"), &to_hex(&bytes));
    }
    let disk: Arc<dyn Disk> = Arc::new(load(folder, Path::new(DIR)));
    let options = WalOptions::default();
    let mut replay = WalReplay::open(disk, Path::new(DIR), options, Index(500), Term(3)).unwrap();
    let mut text = format!("{:?}\n", replay.meta());
    let mut records = Vec::new();
    while let Some(record) = replay.next().unwrap() {
        records.push(record);
    }
    assert_eq!(records.len(), 3, "a start from 500 reads the segment that holds it");
    let disk: Arc<dyn Disk> = Arc::new(load(folder, Path::new(DIR)));
    let mut replay = WalReplay::open(disk, Path::new(DIR), options, Index(0), Term(0)).unwrap();
    while let Some(record) = replay.next().unwrap() {
        writeln!(text, "{}", show(&record)).unwrap();
    }
    check(&format!("{folder}/records.txt"), &text);
    assert_eq!(replay.report().torn, None);
}

#[test]
fn snapshot_version_1_stays_readable() {
    let folder = "snapshot-v1";
    let written = SimDisk::new();
    written.create_dir(Path::new(DIR)).unwrap();
    let meta = SnapshotMeta {
        cluster_id: ClusterId(0xc0ff_ee00_c0ff_ee00),
        member_id: MemberId(0x8e9e_05c5_2164_694d),
        term: Term(3),
        index: Index(500),
        conf_state: ConfState {
            voters: vec![MemberId(1), MemberId(2)],
            learners: vec![MemberId(3)],
            voters_outgoing: vec![MemberId(1)],
            learners_next: vec![],
            auto_leave: true,
        },
        revision: Revision(777),
        state_version: 1,
    };
    let shared: Arc<dyn Disk> = Arc::new(written.clone());
    let mut writer = SnapshotWriter::create(shared, Path::new(DIR), &meta).unwrap();
    for record in [&b"first"[..], b"", &[0; 1200], b"last"] {
        writer.push(record).unwrap();
    }
    writer.finish().unwrap();
    let path = meta.name().path(Path::new(DIR));
    let name = path.file_name().unwrap().to_str().unwrap();
    check(&format!("{folder}/{name}.hex"), &to_hex(&written.contents(&path).unwrap()));

    let disk = load(folder, Path::new(DIR));
    let mut reader = SnapshotReader::open(&disk, &path).unwrap();
    assert_eq!(*reader.meta(), meta);
    let mut text = format!("{meta:?}\n");
    while let Some(record) = reader.next().unwrap() {
        let start = &record[..record.len().min(20)];
        writeln!(text, "{} bytes: {}", record.len(), start.escape_ascii()).unwrap();
    }
    check(&format!("{folder}/records.txt"), &text);
}
