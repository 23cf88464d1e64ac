//! What members say to each other: MessagePack in frames of our own. The `raft` crate's types are
//! mirrored here, so that no byte from a peer reaches a protobuf parser, and a checker stands
//! between what was decoded and the crate, which panics on messages that no sound member sends.
//!
//! Pure: bytes in, values out. Depends on `types`, `command` and the `raft` crate's types.
//! docs/peer-protocol.md describes the bytes.

pub mod check;
pub mod decoder;
pub mod error;
pub mod frame;
pub mod hello;
pub mod lease;
pub mod message;
pub mod pack;
pub mod peer_frame;
pub mod snapshot_chunk;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    command::ProposalId,
    types::{Index, Term},
};
pub use decoder::Decoder;
pub use error::WireError;
pub use hello::{Hello, HelloError, Standing};
pub use lease::{LeaseAnswers, LeaseQuestion, LeaseQuestions, LeaseStanding};
pub use peer_frame::{PeerFrame, encode, encode_raft, payload_max};

/// Proposals on their way from the member that was asked to the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The term in which the receiver leads, as far as the sender knows: a receiver in another term drops
    /// the message, so that a proposal can enter the log only in a term that its sender knows.
    pub term: Term,
    /// All proposals of the sender before this one are settled: none of them will come again.
    pub oldest: ProposalId,
    /// In ascending order. One that comes again (the first may have been lost on the way) is known by
    /// its id and not proposed twice.
    pub proposals: Vec<ForwardedProposal>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedProposal {
    /// As in the encoded proposal.
    pub id: ProposalId,
    /// A change of the membership.
    pub members: bool,
    /// An encoded [`crate::command::Proposal`] whose `id` and `member` are those of the sender.
    pub data: Bytes,
}

/// The leader could not take forwarded proposals; they did not enter the log in this term.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The leader's term.
    pub term: Term,
    /// Which, in ascending order.
    pub ids: Vec<ProposalId>,
}

/// A hash of a member's whole state, for the comparison between members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash {
    /// The state after this entry.
    pub index: Index,
    /// Its digest.
    pub hash: u64,
}
