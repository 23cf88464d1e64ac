//! What is read from the disk, or was taken over from another member: segments of the log, snapshot files,
//! the state in them, and what an entry of the log carries.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use callboard::{
    command::{
        Command, MemberChange, Proposal, ProposalId, V2Command, V2Compare, V2Op, V2Write,
        V3Command, V3Op, V3Put,
    },
    storage::{
        frame::{self, Salt},
        mvcc::{Member, State, codec},
        sim_disk::SimDisk,
        snapshot::{SnapshotMeta, SnapshotReader, SnapshotWriter},
        wal::{Entry, HardState, Wal, WalBatch, WalMeta, WalOptions, WalReplay},
    },
    types::{ClusterId, Index, LeaseId, MemberId, Revision, Term, UnixNanos},
};

use super::{Input, piece, pieces};

const DIR: &str = "/wal";
const FIRST_SEGMENT: &str = "/wal/0000000000000000-0000000000000001.wal";

fn meta() -> WalMeta {
    let members = vec![MemberId(2)];
    WalMeta { cluster_id: ClusterId(1), member_id: MemberId(2), voters: members, learners: vec![] }
}

fn framed(out: &mut Vec<u8>, kind: u8, version: u8, payload: &[u8], salt: Salt) {
    let start = frame::begin(out);
    out.extend_from_slice(payload);
    frame::finish(out, start, kind.max(1), version, salt, start as u64);
}

/// The first byte says what the rest is: a file as it is (checksums and all), or payloads that are put
/// into frames whose checksums are right, in batches or not.
pub fn wal(data: &[u8]) {
    let mut input = Input(data);
    let file = match input.byte() % 3 {
        0 => input.0.to_vec(),
        mode => segment(&mut input, mode == 2),
    };
    let disk = SimDisk::new();
    disk.put(Path::new(FIRST_SEGMENT), &file);
    let options = WalOptions { segment_bytes: 4096, fsync: true };
    let replay = WalReplay::open(Arc::new(disk), Path::new(DIR), options, Index(0), Term(0));
    let Ok(mut replay) = replay else { return };
    while let Ok(Some(_)) = replay.next() {}
    if let Ok((mut wal, report)) = replay.finish() {
        let entry =
            Entry { term: Term(u64::MAX - 1), index: report.last_index.next(), ..Entry::default() };
        _ = wal.append(&WalBatch { entries: &[entry], ..WalBatch::default() });
    }
}

fn segment(input: &mut Input<'_>, in_batches: bool) -> Vec<u8> {
    let head = (meta(), 0u64, Index(1), HardState::default(), 0u64);
    let mut file = Vec::new();
    let payload = rmp_serde::to_vec(&head).expect("plain values");
    framed(&mut file, 1, 1, &payload, Salt::new(&[0, 1]));
    let salt = Salt::new(&[1, 2, 0]);
    while !input.is_empty() {
        let (kind, version) = (input.byte() % 8, 1 + input.byte() / 250);
        let payload = input.piece();
        if !in_batches {
            framed(&mut file, kind, version, payload, salt);
            continue;
        }
        let synced = file.len() as u64;
        let len = (payload.len() + frame::OVERHEAD) as u64;
        let start = [&[0x92, 0xcf][..], &synced.to_be_bytes(), &[0xcf], &len.to_be_bytes()];
        framed(&mut file, 5, 1, &start.concat(), salt);
        framed(&mut file, kind, version, payload, salt);
    }
    file.resize(file.len().next_multiple_of(512), 0);
    file
}

pub fn wal_seeds() -> Vec<Vec<u8>> {
    let disk = SimDisk::new();
    disk.put(Path::new("/wal/x"), b"");
    let options = WalOptions { segment_bytes: 2048, fsync: true };
    let entries: Vec<Entry> = (1..4)
        .map(|at| Entry {
            term: Term(1),
            index: Index(at),
            data: Bytes::from_static(b"some data"),
            ..Entry::default()
        })
        .collect();
    let hard_state = HardState { term: Term(1), vote: MemberId(2), commit: Index(2) };
    let wal = Wal::create(Arc::new(disk.clone()), Path::new(DIR), meta(), options);
    let mut wal = wal.expect("an empty disk");
    let batch = WalBatch { entries: &entries, hard_state: Some(hard_state), ..WalBatch::default() };
    wal.append(&batch).and_then(|()| wal.sync()).expect("the disk is good");
    let whole = disk.contents(Path::new(FIRST_SEGMENT)).expect("it was made");
    let encoded = |value: &Entry| rmp_serde::to_vec(value).expect("plain values");
    let mut batches = vec![2];
    for entry in &entries {
        batches.extend([&[2, 0][..], &piece(encoded(entry))].concat());
    }
    let hard_state = rmp_serde::to_vec(&hard_state).expect("plain values");
    batches.extend([&[3, 0][..], &piece(hard_state)].concat());
    batches.extend([&[4, 0][..], &piece([0x93, 1, 1, 0xc2])].concat());
    let end = [&[1, 6, 0][..], &piece([0x91, 1])].concat();
    vec![[&[0], &whole[..]].concat(), batches, end]
}

const SNAPSHOT_META: SnapshotMeta = SnapshotMeta {
    cluster_id: ClusterId(1),
    member_id: MemberId(2),
    term: Term(1),
    index: Index(5),
    conf_state: callboard::storage::snapshot::ConfState {
        voters: Vec::new(),
        learners: Vec::new(),
        voters_outgoing: Vec::new(),
        learners_next: Vec::new(),
        auto_leave: false,
    },
    revision: Revision(3),
    state_version: 1,
};

/// The first byte says what the rest is: a file, frames that it is made of, or the records in it.
pub fn snapshot(data: &[u8]) {
    let mut input = Input(data);
    let mode = input.byte() % 3;
    if mode == 2 {
        let mut loader = codec::Loader::default();
        while !input.is_empty() {
            if loader.push(input.piece()).is_err() {
                return;
            }
        }
        if let Ok(state) = loader.finish() {
            is_written_and_read(&state);
        }
        return;
    }
    let name = SNAPSHOT_META.name();
    let file = if mode == 0 {
        input.0.to_vec()
    } else {
        let mut file = Vec::new();
        let head = rmp_serde::to_vec(&SNAPSHOT_META).expect("plain values");
        framed(&mut file, 1, 1, &head, Salt::new(&[1, 5]));
        while !input.is_empty() {
            let (kind, version) = (input.byte() % 5, 1 + input.byte() / 250);
            framed(&mut file, kind, version, input.piece(), Salt::new(&[1, 1, 5]));
        }
        file
    };
    let (disk, path) = (SimDisk::new(), name.path(Path::new("/snap")));
    disk.put(&path, &file);
    let Ok(mut reader) = SnapshotReader::open(&disk, &path) else { return };
    let mut loader = codec::Loader::default();
    while let Ok(Some(record)) = reader.next() {
        if loader.push(record).is_err() {
            return;
        }
    }
    if let Ok(state) = loader.finish() {
        is_written_and_read(&state);
    }
}

/// What was read once is read again.
fn is_written_and_read(state: &State) {
    let mut loader = codec::Loader::default();
    codec::encode(state, |record| loader.push(record)).expect("it was just written");
    let again = loader.finish().expect("all of it");
    assert_eq!(codec::digest(&again), codec::digest(state), "a state is what was read of it");
}

pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    let state = some_state();
    let disk = SimDisk::new();
    disk.put(Path::new("/snap/x"), b"");
    let writer = SnapshotWriter::create(Arc::new(disk.clone()), Path::new("/snap"), &SNAPSHOT_META);
    let mut writer = writer.expect("an empty disk");
    let mut records = vec![2];
    codec::encode(&state, |record| {
        records.extend(piece(record));
        writer.push(record)
    })
    .expect("the disk is good");
    writer.finish().expect("the disk is good");
    let path = SNAPSHOT_META.name().path(Path::new("/snap"));
    let whole = disk.contents(&path).expect("it was made");
    let frames = [&[1, 2, 0][..], &piece(b"\x93\x01\x02\x03"), &[3, 0], &piece([0x94, 0, 1, 2, 3])];
    vec![[&[0], &whole[..]].concat(), frames.concat(), records]
}

fn some_state() -> State {
    let mut state = state();
    for (at, command) in commands().into_iter().enumerate() {
        state.apply(state_next(&state), Term(1), Some(&proposal(at as u64, command)));
    }
    state
}

fn state() -> State {
    let url = |port: u16| vec![format!("http://127.0.0.1:{port}")];
    let member = |id| Member {
        id: MemberId(id),
        name: format!("n{id}"),
        peer_urls: url(id as u16),
        client_urls: Vec::new(),
        learner: false,
    };
    State::founded_by(vec![member(1), member(2)])
}

fn state_next(state: &State) -> Index {
    state.applied_index.next()
}

fn proposal(id: u64, command: Command) -> Proposal {
    let time = UnixNanos(1_800_000_000_000_000_000 + id);
    Proposal { id: ProposalId(id), member: MemberId(1), time, command }
}

fn commands() -> Vec<Command> {
    let v2 = |path: &str, op| Command::V2(V2Command { path: path.as_bytes().to_vec(), op });
    let write = |value: &'static str, ttl| V2Write {
        value: Bytes::from_static(value.as_bytes()),
        ttl,
        ..V2Write::default()
    };
    let v3 = |op| Command::V3(V3Command { caller: None, op });
    let compare = V2Compare { prev_value: b"1".to_vec(), prev_index: 0 };
    vec![
        v2("/a/b", V2Op::Set(write("1", Some(100)))),
        v2("/a/b", V2Op::CompareAndSwap { compare, write: write("2", None) }),
        v2("/a", V2Op::CreateInOrder(write("3", None))),
        v2("/d", V2Op::Create(V2Write { dir: true, ..V2Write::default() })),
        v3(V3Op::LeaseGrant { id: LeaseId(7), ttl: 60 }),
        v3(V3Op::Put(put("k", "v", 7))),
        v3(V3Op::Compact { revision: 2 }),
        v2("/a", V2Op::Delete { dir: true, recursive: true }),
        v3(V3Op::LeaseRevoke { id: LeaseId(7) }),
        Command::Members(MemberChange::Remove { id: MemberId(2) }),
        Command::Compact { revision: Revision(3) },
    ]
}

fn put(key: &'static str, value: &'static str, lease: i64) -> V3Put {
    V3Put {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(value.as_bytes()),
        lease: LeaseId(lease),
        prev_kv: true,
        ignore_value: false,
        ignore_lease: false,
    }
}

/// Entries one after the other. What can be read of them is applied, and the state must stay such as can
/// be written and read.
pub fn entry(data: &[u8]) {
    let mut input = Input(data);
    let mut state = state();
    while !input.is_empty() {
        let encoded = input.piece();
        _ = callboard::command::proposer(encoded);
        let Ok(proposal) = rmp_serde::from_slice::<Proposal>(encoded) else { continue };
        state.apply(state_next(&state), Term(1), Some(&proposal));
        state.free_compacted(10);
    }
    is_written_and_read(&state);
}

pub fn entry_seeds() -> Vec<Vec<u8>> {
    let encode = |(at, command): (usize, Command)| {
        rmp_serde::to_vec(&proposal(at as u64, command)).expect("plain values")
    };
    let all: Vec<Vec<u8>> = commands().into_iter().enumerate().map(encode).collect();
    let each = all.iter().map(|one| pieces(&[], [one]));
    each.chain([all.iter().flat_map(piece).collect()]).collect()
}
