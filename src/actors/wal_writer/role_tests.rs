//! The role over a simulated disk.

use std::{path::Path, sync::Arc};

use super::*;
use crate::{
    actors::mailbox::Gauge,
    storage::{
        disk::Disk,
        sim_disk::{Fault, SimDisk},
        wal::{Entry, HardState, WalMeta, WalOptions},
    },
    types::{MemberId, Term},
};

fn role_on(disk: &SimDisk) -> Role {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_dir(Path::new("/wal")).unwrap();
    let options = WalOptions { segment_bytes: 4096, fsync: true };
    let wal = Wal::create(disk, Path::new("/wal"), WalMeta::default(), options).unwrap();
    Role::new(wal, Index(0))
}

fn append(number: u64, bytes: usize, must_sync: bool) -> Append {
    let entry = Entry {
        term: Term(1),
        index: Index(number),
        data: vec![7; bytes].into(),
        ..Entry::default()
    };
    let hard_state = HardState { term: Term(1), vote: MemberId(1), commit: Index(number - 1) };
    Append {
        installed: None,
        number,
        entries: vec![entry],
        hard_state: Some(hard_state),
        must_sync,
        slot: Gauge::new("wal-writer", 1).take_slot().unwrap(),
    }
}

#[test]
fn what_waits_is_joined_into_one_sync() {
    let mut role = role_on(&SimDisk::new());
    for number in 1..=5 {
        role.add(append(number, 10, true));
    }
    let before = role.wal().stats().syncs;
    let written = role.write().unwrap();
    assert_eq!(written.persisted, Some(5));
    assert_eq!(written.entries, 5);
    assert_eq!(role.wal().stats().syncs - before, 1);
    assert!(role.wal().is_synced());
}

#[test]
fn what_need_not_survive_is_not_synced() {
    let mut role = role_on(&SimDisk::new());
    role.add(append(1, 10, false));
    let written = role.write().unwrap();
    assert_eq!((written.persisted, written.synced), (Some(1), false));
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimDisk::new();
    let mut role = role_on(&disk);
    role.add(append(1, 10, true));
    disk.fail_at(disk.steps() + 1, Fault::Eio); // the write works, its sync does not
    assert!(role.write().is_err());
    role.add(append(2, 10, true));
    assert!(role.write().is_err(), "no write is tried after that");
}

#[test]
fn a_full_disk_keeps_the_batch_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new();
    let mut role = role_on(&disk);
    role.add(append(1, 8000, true)); // needs another segment
    disk.fail_at(disk.steps() + 2, Fault::NoSpace); // sync, create, allocate
    let written = role.write().unwrap();
    assert_eq!((written.persisted, written.no_space), (None, true));
    assert!(role.is_waiting());
    disk.heal();
    assert_eq!(role.write().unwrap().persisted, Some(1));
    assert!(!role.is_waiting());
}

#[test]
fn a_snapshot_of_what_is_still_on_its_way_here_leaves_no_mark() {
    let mut role = role_on(&SimDisk::new());
    role.add(append(1, 10, true));
    role.write().unwrap();
    let mark = |installed| SnapshotMark { index: Index(9), term: Term(1), installed };
    role.snapshotted(mark(false), Index(9)).unwrap(); // taken of a state that a peer sent
    let mut batch = append(10, 10, true);
    batch.installed = Some(mark(true));
    role.add(batch);
    assert_eq!(role.write().unwrap().persisted, Some(10));
    assert_eq!(role.wal().last_index(), Index(10));
}
