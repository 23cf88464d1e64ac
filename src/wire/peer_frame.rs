//! What a frame between peers says, and its bytes. The decoder is in [`super::decoder`].
//!
//! Batches are cut: a frame ends with the message that makes it longer than [`BATCH_BYTES`], and nothing in
//! it may be more than so many. So a frame's memory is bounded by its length and by these numbers, and the
//! order of what is sent is kept.

use bytes::Bytes;
use raft::eraftpb::Message;

use super::{
    Forward, ForwardedProposal, LeaseAnswers, LeaseQuestions, Refusal, StateHash, frame,
    message::{self, ENTRIES_MAX, MESSAGE_BYTES_MIN},
    pack::{PackError, Reader, begin_array, end_array, put_array, put_bin, put_bool, put_uint},
};
use crate::{
    command::ProposalId,
    types::{Index, Term},
};

/// A frame that is longer than this takes no further message.
pub const BATCH_BYTES: usize = 1 << 20;
/// Messages in one frame.
pub const MESSAGES_MAX: usize = 4096;
/// Proposals, or their ids, in one frame.
pub const PROPOSALS_MAX: usize = 1 << 16;
/// The version of every kind.
const VERSION: u8 = 1;

/// What one member says to another.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerFrame {
    /// Raft messages, in the order in which they were made. They still have to pass [`super::check`].
    Raft(Vec<Message>),
    /// Proposals for the leader.
    Forward(Forward),
    /// The leader did not take proposals.
    Refusal(Refusal),
    /// Are you there? Answered at once, on the same stream.
    Ping {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// Here I am.
    Pong {
        /// Of the ping.
        nonce: u64,
    },
    /// The digest of the sender's state, for the leader.
    StateHash(StateHash),
    /// Questions about leases, for the leader.
    LeaseQuestions(LeaseQuestions),
    /// The leader's answers.
    LeaseAnswers(LeaseAnswers),
}

/// The longest payload that a member sends whose entries and proposals are at most this long.
pub fn payload_max(entry_bytes_max: usize) -> usize {
    // A batch that is not full yet and one more message; the crate fills it with 1 MiB or a single entry,
    // and counts twelve bytes for an entry's own fields, which take up to thirty here.
    BATCH_BYTES + entry_bytes_max + 3 * (1 << 20)
}

/// Appends what is said; a long batch makes several frames.
pub fn encode(said: &PeerFrame, out: &mut Vec<u8>) {
    match said {
        PeerFrame::Raft(messages) => encode_raft(messages, out),
        PeerFrame::Forward(forward) => encode_forward(forward, out),
        PeerFrame::Refusal(refusal) => encode_refusal(refusal, out),
        PeerFrame::Ping { nonce } => framed(out, 4, |out| put_uint(out, *nonce)),
        PeerFrame::Pong { nonce } => framed(out, 5, |out| put_uint(out, *nonce)),
        PeerFrame::StateHash(StateHash { index, hash }) => framed(out, 6, |out| {
            put_array(out, 2);
            put_uint(out, index.0);
            put_uint(out, *hash);
        }),
        PeerFrame::LeaseQuestions(questions) => framed(out, 7, |out| questions.encode(out)),
        PeerFrame::LeaseAnswers(answers) => framed(out, 8, |out| answers.encode(out)),
    }
}

/// Appends Raft messages; a long batch makes several frames. None makes none.
pub fn encode_raft(messages: &[Message], out: &mut Vec<u8>) {
    let weight = |message: &Message| message.entries.len();
    if messages.is_empty() {
        return;
    }
    in_batches(out, 1, messages, weight, |_| {}, message::encode);
}

fn encode_forward(forward: &Forward, out: &mut Vec<u8>) {
    let head = |out: &mut Vec<u8>| {
        put_array(out, 3);
        put_uint(out, forward.term.0);
        put_uint(out, forward.oldest.0);
    };
    in_batches(
        out,
        2,
        &forward.proposals,
        |_| 0,
        head,
        |proposal, out| {
            put_array(out, 3);
            put_uint(out, proposal.id.0);
            put_bool(out, proposal.members);
            put_bin(out, &proposal.data);
        },
    );
}

fn encode_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    let head = |out: &mut Vec<u8>| {
        put_array(out, 2);
        put_uint(out, refusal.term.0);
    };
    in_batches(out, 3, &refusal.ids, |_| 0, head, |id, out| put_uint(out, id.0));
}

fn framed(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = frame::begin(out);
    payload(out);
    frame::finish(out, start, kind, VERSION);
}

/// One frame, or several, each of a head and an array of items; one without items if there are none.
fn in_batches<T>(
    out: &mut Vec<u8>,
    kind: u8,
    items: &[T],
    entries_of: impl Fn(&T) -> usize,
    head: impl Fn(&mut Vec<u8>),
    encode: impl Fn(&T, &mut Vec<u8>),
) {
    let count_max = if kind == 1 { MESSAGES_MAX } else { PROPOSALS_MAX };
    let mut items = items.iter().peekable();
    loop {
        let start = frame::begin(out);
        head(out);
        let array = begin_array(out);
        let (mut count, mut entries) = (0, 0);
        while let Some(item) = items.peek() {
            entries += entries_of(item);
            let is_full =
                count == count_max || entries > ENTRIES_MAX || out.len() - start >= BATCH_BYTES;
            if is_full && count > 0 {
                break;
            }
            encode(item, out);
            items.next();
            count += 1;
        }
        end_array(out, array, count as u32);
        frame::finish(out, start, kind, VERSION);
        if items.peek().is_none() {
            return;
        }
    }
}

/// Whether frames of this kind and version can be decoded.
pub(super) fn is_known(kind: u8, version: u8) -> bool {
    (1..=8).contains(&kind) && version == VERSION
}

/// Decodes the payload of a known kind.
pub(super) fn decode(kind: u8, payload: Bytes) -> Result<PeerFrame, PackError> {
    let mut reader = Reader::new(payload);
    let said = match kind {
        1 => PeerFrame::Raft(decode_raft(&mut reader)?),
        2 => PeerFrame::Forward(decode_forward(&mut reader)?),
        3 => PeerFrame::Refusal(decode_refusal(&mut reader)?),
        4 => PeerFrame::Ping { nonce: reader.uint("nonce")? },
        5 => PeerFrame::Pong { nonce: reader.uint("nonce")? },
        6 => {
            reader.record("state hash", 2)?;
            let index = Index(reader.uint("index")?);
            PeerFrame::StateHash(StateHash { index, hash: reader.uint("hash")? })
        }
        7 => PeerFrame::LeaseQuestions(LeaseQuestions::decode(&mut reader)?),
        _ => PeerFrame::LeaseAnswers(LeaseAnswers::decode(&mut reader)?),
    };
    reader.end()?;
    Ok(said)
}

fn decode_raft(reader: &mut Reader) -> Result<Vec<Message>, PackError> {
    let count = reader.count("messages", MESSAGE_BYTES_MIN, MESSAGES_MAX)?;
    let mut entries_left = ENTRIES_MAX;
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        messages.push(message::decode(reader, &mut entries_left)?);
    }
    Ok(messages)
}

fn decode_forward(reader: &mut Reader) -> Result<Forward, PackError> {
    reader.record("forward", 3)?;
    let term = Term(reader.uint("term")?);
    let oldest = ProposalId(reader.uint("oldest")?);
    let count = reader.count("proposals", 5, PROPOSALS_MAX)?;
    let mut proposals = Vec::with_capacity(count);
    for _ in 0..count {
        reader.record("proposal", 3)?;
        proposals.push(ForwardedProposal {
            id: ProposalId(reader.uint("proposal id")?),
            members: reader.boolean("members")?,
            data: reader.bin("proposal data")?,
        });
    }
    Ok(Forward { term, oldest, proposals })
}

fn decode_refusal(reader: &mut Reader) -> Result<Refusal, PackError> {
    reader.record("refusal", 2)?;
    let term = Term(reader.uint("term")?);
    let count = reader.count("proposals", 1, PROPOSALS_MAX)?;
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(ProposalId(reader.uint("proposal id")?));
    }
    Ok(Refusal { term, ids })
}
