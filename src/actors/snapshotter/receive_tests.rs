//! The rules of receiving, on a simulated disk.

use std::{path::Path, sync::Arc};

use raft::eraftpb::MessageType;

use super::*;
use crate::{
    command::{Command, Proposal, ProposalId, V2Command, V2Op, V2Write},
    storage::{
        disk::Disk,
        mvcc::{Member, codec},
        sim_disk::{Fault, SimDisk},
    },
    types::{MemberId, UnixNanos},
};

const CLUSTER: ClusterId = ClusterId(7);
const NONE: Index = Index(0);
const NOW: Duration = Duration::ZERO;

/// The state after so many writes.
fn state(index: u64) -> State {
    let member = |id| Member {
        id: MemberId(id),
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    let mut state = State::new(vec![member(1), member(2)]);
    for at in 1..=index {
        let write = V2Write { value: vec![at as u8; 50_000].into(), ..V2Write::default() };
        let command =
            Command::V2(V2Command { path: format!("/k{at}").into(), op: V2Op::Set(write) });
        let proposal =
            Proposal { id: ProposalId(at), member: MemberId(1), time: UnixNanos(at), command };
        state.apply(Index(at), Term(2), Some(&proposal));
    }
    state
}

/// A snapshot as a peer has it: its file, which file that is, the message, the state.
fn snapshot(index: u64, cluster: ClusterId) -> (Vec<u8>, Transfer, Message, State) {
    let (sim, state) = (SimDisk::new(), state(index));
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    disk.create_dir(Path::new("/peer")).unwrap();
    let meta = state_file::meta_of(&state, cluster, MemberId(1));
    state_file::save(&disk, Path::new("/peer"), &meta, &state).unwrap();
    let bytes = sim.contents(&meta.name().path(Path::new("/peer"))).unwrap();
    let mut message = Message { from: 1, to: 2, term: 3, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.mut_snapshot().set_metadata(metadata_of(&meta));
    let transfer = Transfer { name: meta.name(), len: bytes.len() as u64, head_crc: 1 };
    (bytes, transfer, message, state)
}

fn reception() -> (SimDisk, Reception) {
    let sim = SimDisk::new();
    sim.create_dir(Path::new("/snap")).unwrap();
    let dir = SnapshotDir::new(Arc::new(sim.clone()), Path::new("/snap"));
    (sim, Reception::new(dir, CLUSTER))
}

fn begin(reception: &mut Reception, transfer: Transfer, offset: u64) -> Session {
    reception.begin(transfer, offset, NONE, NOW).unwrap().unwrap()
}

fn write(reception: &mut Reception, session: Session, bytes: &[u8], from: usize, to: usize) {
    for at in (from..to).step_by(70_001) {
        let piece = Bytes::copy_from_slice(&bytes[at..to.min(at + 70_001)]);
        reception.chunk(session, at as u64, &piece, NOW).unwrap();
    }
}

fn names(sim: &SimDisk) -> Vec<String> {
    sim.list(Path::new("/snap")).unwrap()
}

#[test]
fn a_broken_transfer_goes_on_where_it_was() {
    let (bytes, transfer, message, expected) = snapshot(20, CLUSTER);
    let (sim, mut reception) = reception();
    let first = begin(&mut reception, transfer, 0);
    write(&mut reception, first, &bytes, 0, 400_000);
    assert_eq!(reception.progress(transfer, NONE).unwrap(), Progress::Bytes(400_000));
    // Another file of the same snapshot does not go on there.
    let other = Transfer { head_crc: 2, ..transfer };
    assert_eq!(reception.progress(other, NONE).unwrap(), Progress::Bytes(0));
    let again = reception.begin(transfer, 0, NONE, NOW);
    assert!(matches!(again, Err(Refused::Offset { expected: 400_000, found: 0 })), "{again:?}");

    let second = begin(&mut reception, transfer, 400_000);
    let late = reception.chunk(first, 400_000, &Bytes::from_static(b"x"), NOW);
    assert!(matches!(late, Err(Refused::Superseded)), "{late:?}");
    let gap = reception.chunk(second, 400_001, &Bytes::from_static(b"x"), NOW);
    assert!(matches!(gap, Err(Refused::Offset { .. })), "{gap:?}");
    let early = reception.end(second, &message, NONE);
    assert!(matches!(early, Err(Refused::Offset { .. })), "{:?}", early.map(|_| ()));
    write(&mut reception, second, &bytes, 400_000, bytes.len());
    assert_ne!(names(&sim), [transfer.name.file_name()], "no name before it is whole");
    let state = reception.end(second, &message, NONE).unwrap().unwrap();
    assert_eq!(codec::digest(&state), codec::digest(&expected));
    assert_eq!(names(&sim), [transfer.name.file_name()]);

    // RaftNode had no use for it, and the leader comes again: the bytes are here.
    assert_eq!(reception.progress(transfer, NONE).unwrap(), Progress::Bytes(transfer.len));
    let third = begin(&mut reception, transfer, transfer.len);
    let state = reception.end(third, &message, NONE).unwrap().unwrap();
    assert_eq!(codec::digest(&state), codec::digest(&expected));
    assert_eq!(reception.progress(transfer, Index(20)).unwrap(), Progress::Have);
    assert!(reception.begin(transfer, 0, Index(20), NOW).unwrap().is_none());
}

#[test]
fn a_newer_snapshot_takes_the_place_of_an_older_and_not_the_other_way_round() {
    let (bytes, older, _, _) = snapshot(5, CLUSTER);
    let (_, newer, _, _) = snapshot(9, CLUSTER);
    let (sim, mut reception) = reception();
    let first = begin(&mut reception, older, 0);
    write(&mut reception, first, &bytes, 0, 1000);
    begin(&mut reception, newer, 0);
    let late = reception.chunk(first, 1000, &Bytes::from_static(b"x"), NOW);
    assert!(matches!(late, Err(Refused::Superseded)), "{late:?}");
    let back = reception.begin(older, 0, NONE, NOW);
    assert!(matches!(back, Err(Refused::Busy)), "{back:?}");
    assert_eq!(names(&sim).len(), 1);
    reception.forget_abandoned(ABANDONED / 2);
    assert_eq!(names(&sim).len(), 1);
    reception.forget_abandoned(ABANDONED);
    assert_eq!(names(&sim), [""; 0]);
    begin(&mut reception, older, 0);
}

#[test]
fn what_is_not_what_it_should_be_leaves_nothing() {
    let (good, transfer, message, _) = snapshot(20, CLUSTER);
    let (foreign, foreign_transfer, _, _) = snapshot(20, ClusterId(8));
    let mut flipped = good.clone();
    flipped[300_000] ^= 1;
    let mut other_members = message.clone();
    other_members.mut_snapshot().mut_metadata().mut_conf_state().voters.push(3);
    let mut other_index = message.clone();
    other_index.mut_snapshot().mut_metadata().index = 21;
    for (what, bytes, transfer, message) in [
        ("a flipped bit", &flipped, transfer, &message),
        ("another cluster", &foreign, foreign_transfer, &message),
        ("other members", &good, transfer, &other_members),
        ("another index", &good, transfer, &other_index),
    ] {
        let (sim, mut reception) = reception();
        let session = begin(&mut reception, transfer, 0);
        write(&mut reception, session, bytes, 0, bytes.len());
        let ended = reception.end(session, message, NONE).map(|_| ());
        assert!(matches!(ended, Err(Refused::Wrong(_))), "{what}: {ended:?}");
        assert_eq!(names(&sim), [""; 0], "{what}");
        assert_eq!(reception.progress(transfer, NONE).unwrap(), Progress::Bytes(0), "{what}");
    }
    let (sim, mut reception) = reception();
    let session = begin(&mut reception, Transfer { len: 10, ..transfer }, 0);
    let long = reception.chunk(session, 0, &Bytes::from_static(b"eleven byte"), NOW);
    assert!(matches!(long, Err(Refused::Wrong(_))), "{long:?}");
    assert_eq!(names(&sim), [""; 0]);
}

#[test]
fn a_disk_that_fails_at_any_step_leaves_no_snapshot_or_a_whole_one() {
    let (bytes, transfer, message, _) = snapshot(10, CLUSTER);
    let mut failed = 0;
    for step in 0..30 {
        for fault in [Fault::Eio, Fault::NoSpace, Fault::ShortWrite(10)] {
            let (sim, mut reception) = reception();
            sim.fail_at(sim.steps() + step, fault);
            let mut receive = || {
                let session = reception.begin(transfer, 0, NONE, NOW)?.unwrap();
                for (at, piece) in bytes.chunks(100_000).enumerate() {
                    let offset = at as u64 * 100_000;
                    reception.chunk(session, offset, &Bytes::copy_from_slice(piece), NOW)?;
                }
                reception.end(session, &message, NONE)
            };
            let received = receive();
            failed += usize::from(received.is_err());
            sim.heal();
            let dir = SnapshotDir::new(Arc::new(sim.clone()), Path::new("/snap"));
            let newest = dir.newest_valid().unwrap();
            assert!(newest.invalid.is_empty(), "{step}, {fault:?}");
            assert_eq!(newest.snapshot.is_some(), received.is_ok(), "{step}, {fault:?}");
        }
    }
    assert!(failed > 15, "{failed}");
}
