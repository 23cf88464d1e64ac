//! The bytes between members: what old versions wrote stays readable for ever, what is written is read
//! back, and no bytes at all make the decoder panic or allocate more than they are.
//!
//! `UPDATE_GOLDEN=1` writes files that are not there yet; it never changes one that is.

#[path = "support/random.rs"]
mod random;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use callboard::command::ProposalId;
use callboard::types::{Index, LeaseId, Term};
use callboard::wire::{
    Decoder, Forward, ForwardedProposal, LeaseAnswers, LeaseQuestion, LeaseQuestions,
    LeaseStanding, PeerFrame, Refusal, StateHash, WireError, encode, payload_max,
};
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};
use random::Random;

const PAYLOAD_MAX: usize = 1 << 20;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats/peer-v1").join(name)
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

/// Sixteen bytes a line.
fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{}", line.join(" ")).unwrap();
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn encoded(said: &PeerFrame) -> Vec<u8> {
    let mut out = Vec::new();
    encode(said, &mut out);
    out
}

/// All frames in `bytes`, which come in pieces of `piece` bytes.
fn decoded(bytes: &[u8], piece: usize, payload_max: usize) -> Result<Vec<PeerFrame>, WireError> {
    let mut decoder = Decoder::new(payload_max);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn entry(term: u64, index: u64, data: &'static [u8]) -> Entry {
    Entry { term, index, data: Bytes::from_static(data), ..Entry::default() }
}

fn message(kind: MessageType) -> Message {
    let mut message =
        Message { to: 0x8e9e_05c5_2164_694d, from: 2, term: 70_000, ..Message::default() };
    message.set_msg_type(kind);
    message
}

/// One message of each kind that goes from peer to peer, with every field used somewhere.
fn messages() -> Vec<Message> {
    use MessageType as T;
    let mut append = message(T::MsgAppend);
    (append.log_term, append.index, append.commit) = (300, 41, 40);
    let mut change = entry(70_000, 43, b"change");
    change.set_entry_type(EntryType::EntryConfChangeV2);
    change.context = Bytes::from_static(b"a proposal");
    append.entries = vec![entry(300, 42, b""), change, entry(70_000, 44, &[7; 300])].into();
    let mut refused = message(T::MsgAppendResponse);
    (refused.index, refused.reject, refused.reject_hint, refused.log_term) = (41, true, 30, 5);
    (refused.commit, refused.request_snapshot) = (29, 30);
    let mut vote = message(T::MsgRequestVote);
    (vote.index, vote.log_term, vote.commit, vote.commit_term) = (44, 300, 41, 300);
    vote.context = Bytes::from_static(b"CampaignTransfer");
    vote.priority = -1;
    let mut voted = message(T::MsgRequestVoteResponse);
    (voted.reject, voted.commit, voted.commit_term) = (true, 41, 300);
    let mut snapshot = message(T::MsgSnapshot);
    let metadata = snapshot.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (500, 300);
    metadata.set_conf_state(ConfState {
        voters: vec![1, 2, 0x8e9e_05c5_2164_694d],
        learners: vec![4],
        voters_outgoing: vec![5],
        learners_next: vec![6],
        auto_leave: true,
        ..ConfState::default()
    });
    let mut heartbeat = message(T::MsgHeartbeat);
    (heartbeat.commit, heartbeat.context) = (41, Bytes::from_static(b"12345678"));
    let mut beaten = message(T::MsgHeartbeatResponse);
    (beaten.commit, beaten.context) = (41, Bytes::from_static(b"12345678"));
    let mut read = message(T::MsgReadIndex);
    (read.term, read.entries) = (0, vec![entry(0, 0, b"12345678")].into());
    let mut answer = message(T::MsgReadIndexResp);
    (answer.index, answer.entries) = (41, vec![entry(0, 0, b"12345678")].into());
    let mut pre_vote = vote.clone();
    pre_vote.set_msg_type(T::MsgRequestPreVote);
    let mut pre_voted = voted.clone();
    pre_voted.set_msg_type(T::MsgRequestPreVoteResponse);
    vec![
        append,
        refused,
        vote,
        voted,
        snapshot,
        heartbeat,
        beaten,
        message(T::MsgTransferLeader),
        message(T::MsgTimeoutNow),
        read,
        answer,
        pre_vote,
        pre_voted,
    ]
}

fn frames() -> Vec<(&'static str, PeerFrame)> {
    let proposal = |id, members, data: &'static [u8]| ForwardedProposal {
        id: ProposalId(id),
        members,
        data: Bytes::from_static(data),
    };
    let forward = Forward {
        term: Term(300),
        oldest: ProposalId(1000),
        proposals: vec![proposal(1000, false, b"set"), proposal(1002, true, &[9; 70_000])],
    };
    let questions = LeaseQuestions {
        number: 1 << 60,
        questions: vec![
            LeaseQuestion::Renew(LeaseId(1 << 40)),
            LeaseQuestion::TimeToLive(LeaseId(-2)),
        ],
    };
    let lives = LeaseStanding::Lives { granted: 9_000_000_000, left: 59 };
    let answers = LeaseAnswers { number: 7, answers: vec![lives, LeaseStanding::Gone] };
    let refusal = Refusal { term: Term(300), ids: vec![ProposalId(1000), ProposalId(1 << 40)] };
    vec![
        ("raft", PeerFrame::Raft(messages())),
        ("forward", PeerFrame::Forward(forward)),
        ("refusal", PeerFrame::Refusal(refusal)),
        ("ping", PeerFrame::Ping { nonce: 7 }),
        ("pong", PeerFrame::Pong { nonce: u64::MAX }),
        ("state_hash", PeerFrame::StateHash(StateHash { index: Index(70_000), hash: 1 << 63 })),
        ("lease_questions", PeerFrame::LeaseQuestions(questions)),
        ("lease_answers", PeerFrame::LeaseAnswers(answers)),
    ]
}

#[test]
fn peer_version_1_stays_readable() {
    let mut all = String::new();
    for (name, said) in frames() {
        let mut said = said;
        if let PeerFrame::Forward(forward) = &mut said {
            forward.proposals[1].data.truncate(300); // a file that can be looked at
        }
        check(&format!("{name}.hex"), &to_hex(&encoded(&said)));
        let kept = from_hex(&fs::read_to_string(golden(&format!("{name}.hex"))).unwrap());
        let read = decoded(&kept, usize::MAX, PAYLOAD_MAX).unwrap();
        assert_eq!(read, [said], "{name}");
        writeln!(all, "{name}: {:?}", read[0]).unwrap();
    }
    check("frames.txt", &all);
}

#[test]
fn frames_come_in_pieces_of_any_size() {
    let frames: Vec<PeerFrame> = frames().into_iter().map(|(_, said)| said).collect();
    let mut bytes = Vec::new();
    for said in &frames {
        encode(said, &mut bytes);
    }
    for piece in [1, 2, 15, 16, 17, 100, 1000, 70_000, usize::MAX] {
        assert_eq!(decoded(&bytes, piece, PAYLOAD_MAX).as_ref(), Ok(&frames), "{piece}");
    }
}

#[test]
fn long_batches_are_cut_and_keep_their_order() {
    let mut messages = Vec::new();
    for index in 0..5000 {
        let mut append = message(MessageType::MsgAppend);
        append.index = index;
        append.entries = vec![entry(1, index + 1, &[5; 1000])].into();
        messages.push(append);
    }
    let mut large = message(MessageType::MsgAppend);
    large.entries = vec![entry(1, 1, Box::leak(vec![1; 3 << 20].into()))].into();
    messages.insert(2500, large);
    let bytes = encoded(&PeerFrame::Raft(messages.clone()));
    let mut read = Vec::new();
    let frames = decoded(&bytes, 1 << 16, payload_max(3 << 20)).unwrap();
    assert!(frames.len() > 5, "{} frames", frames.len());
    for frame in frames {
        let PeerFrame::Raft(some) = frame else { panic!("another kind") };
        read.extend(some);
    }
    assert_eq!(read, messages);

    let ids: Vec<ProposalId> = (0..200_000).map(ProposalId).collect();
    let refusal = Refusal { term: Term(3), ids: ids.clone() };
    let mut read = Vec::new();
    for frame in
        decoded(&encoded(&PeerFrame::Refusal(refusal)), usize::MAX, PAYLOAD_MAX * 2).unwrap()
    {
        let PeerFrame::Refusal(Refusal { term: Term(3), ids }) = frame else {
            panic!("no refusal")
        };
        read.extend(ids);
    }
    assert_eq!(read, ids);
}

#[test]
fn a_batch_of_nothing() {
    assert!(encoded(&PeerFrame::Raft(vec![])).is_empty());
    let nothing = PeerFrame::Forward(Forward { oldest: ProposalId(7), ..Forward::default() });
    assert_eq!(decoded(&encoded(&nothing), 1, PAYLOAD_MAX), Ok(vec![nothing]));
}

#[test]
fn the_data_of_a_snapshot_stays_behind() {
    let mut with_data = message(MessageType::MsgSnapshot);
    let mut snapshot = Snapshot { data: Bytes::from_static(b"much"), ..Snapshot::default() };
    snapshot.mut_metadata().index = 5;
    with_data.set_snapshot(snapshot);
    let read = decoded(&encoded(&PeerFrame::Raft(vec![with_data])), 100, PAYLOAD_MAX).unwrap();
    let PeerFrame::Raft(read) = &read[0] else { panic!("another kind") };
    assert_eq!(read[0].get_snapshot().get_metadata().index, 5);
    assert!(read[0].get_snapshot().data.is_empty());
}

/// A frame around any payload, made by the page that describes it.
fn framed(kind: u8, version: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes.extend([kind, version, 0, 0]);
    bytes.extend(crc32c::crc32c(payload).to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn every_flipped_bit_is_seen() {
    let bytes = encoded(&PeerFrame::Raft(messages()));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decoded(&flipped, usize::MAX, PAYLOAD_MAX).is_err(), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        assert_eq!(decoded(&bytes[..cut], 50, PAYLOAD_MAX), Ok(vec![]), "cut at {cut}");
    }
}

#[test]
fn what_is_unknown_or_too_long_is_an_error_and_stays_one() {
    let error = |bytes: &[u8]| decoded(bytes, 7, 100).unwrap_err();
    for (kind, version) in [(0, 1), (9, 1), (255, 1), (1, 0), (4, 2)] {
        assert_eq!(error(&framed(kind, version, &[1])), WireError::Unknown { kind, version });
    }
    let long = framed(4, 1, &[0; 101]);
    assert_eq!(error(&long[..16]), WireError::TooLong { len: 101, max: 100 });
    for payload in [&[][..], &[0x01, 0x02], &[0xc0], &[0xcf, 0, 0, 0, 0, 0, 0, 0]] {
        assert!(matches!(error(&framed(4, 1, payload)), WireError::Malformed { kind: 4, .. }));
    }
    let mut decoder = Decoder::new(100);
    decoder.feed(framed(9, 1, &[]).into());
    let failed = decoder.next().unwrap_err();
    decoder.feed(framed(4, 1, &[1]).into());
    assert_eq!(decoder.next(), Err(failed));
}

/// What the decoded values take on the heap, beside the frame's own bytes that they share.
fn heap_bytes(said: &PeerFrame) -> usize {
    match said {
        PeerFrame::Raft(messages) => {
            let of = |message: &Message| {
                let state = message.get_snapshot().get_metadata().get_conf_state();
                let ids = state.voters.capacity() + state.learners.capacity();
                let ids = ids + state.voters_outgoing.capacity() + state.learners_next.capacity();
                message.entries.len() * size_of::<Entry>() + ids * 8 + size_of::<Snapshot>()
            };
            messages.capacity() * size_of::<Message>() + messages.iter().map(of).sum::<usize>()
        }
        PeerFrame::Forward(forward) => {
            forward.proposals.capacity() * size_of::<ForwardedProposal>()
        }
        PeerFrame::Refusal(refusal) => refusal.ids.capacity() * size_of::<ProposalId>(),
        PeerFrame::LeaseQuestions(asked) => asked.questions.capacity() * size_of::<LeaseQuestion>(),
        PeerFrame::LeaseAnswers(said) => said.answers.capacity() * size_of::<LeaseStanding>(),
        _ => 0,
    }
}

/// Random bytes behind a sound header, and sound payloads with a few bytes changed: a frame or a typed
/// error, and no more memory than the shortest records that fill the payload would take.
#[test]
fn no_payload_panics_or_swells() {
    let mut random = Random(1);
    let sound: Vec<Vec<u8>> = frames().iter().map(|(_, said)| encoded(said)).collect();
    let sound: Vec<&Vec<u8>> = sound.iter().filter(|bytes| bytes.len() < 2000).collect();
    let (mut read, mut refused) = (0, 0);
    for _ in 0..300_000 {
        let (kind, payload) = if random.below(3) == 0 {
            let len = random.below(40);
            let markers = [0x90, 0x93, 0x9f, 0xc0, 0xc2, 0xc4, 0xc6, 0xcf, 0xdc, 0xdd, 0xff];
            let byte = |random: &mut Random| match random.below(3) {
                0 => markers[random.below(markers.len())],
                1 => random.below(16) as u8,
                _ => random.next() as u8,
            };
            (1 + random.below(8) as u8, (0..len).map(|_| byte(&mut random)).collect())
        } else {
            let bytes = sound[random.below(sound.len())];
            let mut payload = bytes[16..].to_vec();
            for _ in 0..random.below(4) {
                let at = random.below(payload.len());
                match random.below(4) {
                    0 => payload[at] = random.next() as u8,
                    1 => payload[at] ^= 1 << random.below(8),
                    2 => payload.truncate(at + 1),
                    _ => payload.insert(at, random.next() as u8),
                }
            }
            (bytes[4], payload)
        };
        let bytes = framed(kind, 1, &payload);
        match decoded(&bytes, 1 + random.below(bytes.len()), 4096) {
            Ok(frames) => {
                read += 1;
                let heap: usize = frames.iter().map(heap_bytes).sum();
                assert!(heap <= 20 * payload.len() + 1024, "{} bytes: {heap}", payload.len());
            }
            Err(WireError::Malformed { .. }) => refused += 1,
            Err(other) => panic!("kind {kind}: {other}: {bytes:02x?}"),
        }
    }
    assert!(read > 20_000 && refused > 20_000, "{read} read, {refused} refused");
}

/// Streams of random bytes: what has no sound header ends the stream.
#[test]
fn no_stream_panics() {
    let mut random = Random(2);
    for _ in 0..100_000 {
        let bytes: Vec<u8> = (0..random.below(60)).map(|_| random.next() as u8).collect();
        let read = decoded(&bytes, 1 + random.below(60), 100);
        assert!(read.is_err() == (bytes.len() >= 16), "{bytes:02x?}");
    }
}

/// Headers that promise much, and arrays that promise more elements than there are bytes.
#[test]
fn promises_allocate_nothing() {
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmPeak")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let before = peak();
    let header = {
        let mut bytes = (1u32 << 30).to_le_bytes().to_vec();
        bytes.extend([1, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    };
    let mut open = Vec::new();
    for _ in 0..1000 {
        let mut decoder = Decoder::new(1 << 30);
        decoder.feed(header.clone().into());
        assert_eq!(decoder.next(), Ok(None));
        open.push(decoder);
    }
    for kind in 1..=3 {
        let array = [0x93, 1, 1, 0xdd, 0xff, 0xff, 0xff, 0xff];
        let payload = if kind == 1 { &array[3..] } else { &array[..] };
        assert!(decoded(&framed(kind, 1, payload), 5, 1 << 30).is_err());
    }
    assert!(peak() - before < 500_000, "{} kB for nothing", peak() - before);
}
