//! The peer port: frames of a stream, the body of a snapshot, and the headers that open a stream.

use bytes::Bytes;
use callboard::{
    command::ProposalId,
    types::{ClusterId, Index, LeaseId, MemberId, Term},
    wire::{
        Decoder, Forward, Hello, PeerFrame, Refusal, StateHash, WireError, encode, encode_raft,
        frame, hello,
        lease::{LeaseQuestion, LeaseQuestions},
        payload_max,
        snapshot_chunk::{ChunkDecoder, Part, encode_chunk, encode_end},
    },
};
use raft::eraftpb::{Entry, Message, MessageType};

use super::{Input, piece, pieces};

/// The first byte says what the rest is.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 5 {
        0 => stream(input.0),
        1 => {
            let mut bytes = Vec::new();
            while !input.is_empty() {
                let kind = input.byte() % 10;
                framed(&mut bytes, kind, input.piece());
            }
            stream(&bytes);
        }
        2 => snapshot(input.0),
        3 => {
            let mut bytes = Vec::new();
            while !input.is_empty() {
                let kind = 32 + input.byte() % 3;
                framed(&mut bytes, kind, input.piece());
            }
            snapshot(&bytes);
        }
        _ => opening(&mut input),
    }
}

fn framed(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let start = frame::begin(out);
    out.extend_from_slice(payload);
    frame::finish(out, start, kind, 1);
}

/// Frames, and how it ended, as they come when the bytes are read so many at a time.
fn frames(bytes: &[u8], at_once: usize) -> (Vec<PeerFrame>, Option<WireError>) {
    let mut decoder = Decoder::new(payload_max(64 << 10));
    let mut frames = Vec::new();
    for chunk in bytes.chunks(at_once) {
        decoder.feed(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn stream(bytes: &[u8]) {
    let (whole, error) = frames(bytes, usize::MAX);
    assert_eq!((&whole, &error), (&frames(bytes, 7).0, &frames(bytes, 7).1), "cuts change nothing");
    let mut again = Vec::new();
    for frame in &whole {
        if let PeerFrame::Raft(messages) = frame {
            for message in messages {
                _ = callboard::wire::check::form(message);
            }
        }
        encode(frame, &mut again);
    }
    let (read, error) = frames(&again, usize::MAX);
    assert_eq!(error, None, "what was read can be written");
    assert_eq!(weight(&read), weight(&whole), "and says the same");
}

/// How much is said: batches may be cut elsewhere.
fn weight(frames: &[PeerFrame]) -> usize {
    let of = |frame: &PeerFrame| match frame {
        PeerFrame::Raft(messages) => messages.len(),
        PeerFrame::Forward(forward) => forward.proposals.len(),
        PeerFrame::Refusal(refusal) => refusal.ids.len(),
        _ => 1,
    };
    frames.iter().map(of).sum()
}

fn parts(bytes: &[u8], at_once: usize) -> (Vec<Part>, Option<WireError>) {
    let mut decoder = ChunkDecoder::default();
    let mut parts = Vec::new();
    for chunk in bytes.chunks(at_once) {
        decoder.feed(chunk);
        loop {
            match decoder.next() {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => break,
                Err(error) => return (parts, Some(error)),
            }
        }
    }
    (parts, None)
}

fn snapshot(bytes: &[u8]) {
    let whole = parts(bytes, usize::MAX);
    assert_eq!(whole, parts(bytes, 5), "cuts change nothing");
    for part in whole.0 {
        if let Part::End(message) = part {
            _ = callboard::wire::check::form(&message);
        }
    }
}

fn opening(input: &mut Input<'_>) {
    let texts: [String; 6] = std::array::from_fn(|_| input.text());
    let names = hello_names();
    let header = |name: &str| {
        let at = names.iter().position(|known| *known == name)?;
        Some(texts[at].as_str()).filter(|text| !text.is_empty())
    };
    let Ok(hello) = Hello::parse(header) else { return };
    let written = hello.headers();
    let again =
        Hello::parse(|name| written.iter().find(|row| row.0 == name).map(|row| row.1.as_str()));
    assert_eq!(again.as_ref(), Ok(&hello), "what was read can be written");
}

fn hello_names() -> [&'static str; 6] {
    hello_of_one().headers().map(|row| row.0)
}

fn hello_of_one() -> Hello {
    Hello {
        cluster: ClusterId(1),
        from: MemberId(2),
        to: MemberId(3),
        protocol: hello::PROTOCOL,
        server_version: "0.1.0".to_owned(),
        peer_urls: vec!["http://a:1".to_owned()],
    }
}

fn message(kind: MessageType) -> Message {
    let mut message = Message { from: 2, to: 1, term: 3, index: 4, ..Message::default() };
    message.set_msg_type(kind);
    message
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut append = message(MessageType::MsgAppend);
    append.log_term = 2;
    append.entries =
        vec![Entry { term: 3, index: 5, data: Bytes::from_static(b"data"), ..Entry::default() }]
            .into();
    let mut snapshot = message(MessageType::MsgSnapshot);
    let metadata = snapshot.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (9, 3);
    metadata.set_conf_state((vec![1, 2, 3], vec![4]).into());
    let frames = [
        PeerFrame::Forward(Forward {
            term: Term(3),
            oldest: ProposalId(1),
            proposals: vec![callboard::wire::ForwardedProposal {
                id: ProposalId(1),
                members: false,
                data: Bytes::from_static(b"\x94\x01\x02\x03\x04"),
            }],
        }),
        PeerFrame::Refusal(Refusal { term: Term(3), ids: vec![ProposalId(1)] }),
        PeerFrame::Ping { nonce: 7 },
        PeerFrame::Pong { nonce: 7 },
        PeerFrame::StateHash(StateHash { index: Index(4), hash: 99 }),
        PeerFrame::LeaseQuestions(LeaseQuestions {
            number: 7,
            questions: vec![
                LeaseQuestion::Renew(LeaseId(3)),
                LeaseQuestion::TimeToLive(LeaseId(-1)),
            ],
        }),
    ];
    let mut stream = vec![0];
    encode_raft(&[append, message(MessageType::MsgHeartbeat)], &mut stream);
    for frame in &frames {
        encode(frame, &mut stream);
    }
    let mut payloads = vec![1];
    let mut decoded = &stream[1..];
    while let Some(header) = decoded.first_chunk() {
        let header = frame::Header::decode(header, 1 << 20).expect("just written");
        let (one, rest) = decoded.split_at(frame::HEADER_LEN + header.len);
        payloads.push(header.kind);
        payloads.extend(piece(&one[frame::HEADER_LEN..]));
        decoded = rest;
    }
    let body = [&[2][..], &encode_chunk(0, b"bytes"), &encode_end(&snapshot)].concat();
    let ended = encode_end(&snapshot);
    let end = [&[3, 1][..], &piece(&ended[frame::HEADER_LEN..])].concat();
    let written = hello_of_one().headers().map(|row| row.1);
    let hello = pieces(&[4], std::array::from_fn::<&[u8], 6, _>(|at| written[at].as_bytes()));
    vec![stream, payloads, body, end, hello]
}
