//! Peer owns the stream to one other member. It takes what RaftNode has for that member and gives it what
//! came from there; it promises nothing about delivery, for Raft sends again: when its mailbox is full, or
//! the peer cannot be reached, messages are dropped and RaftNode is told, but never made to wait.

mod dial;
mod host;
pub mod peers;
pub mod role;
pub mod snapshot_sender;

use raft::eraftpb::{Entry, Message};

use crate::{
    storage::mvcc::Membership,
    types::MemberId,
    wire::{Forward, ForwardedProposal, LeaseAnswers, LeaseQuestions, Refusal, StateHash},
};

/// What RaftNode has for a peer.
#[derive(Debug)]
pub enum Outgoing {
    /// Raft's messages, in order. None is a [`raft::eraftpb::MessageType::MsgSnapshot`].
    Raft(Vec<Message>),
    /// Proposals for the leader.
    Forward(Forward),
    /// Proposals that were not taken.
    Refusal(Refusal),
    /// The digest of the own state, for the leader.
    StateHash(StateHash),
    /// Questions about leases, for the leader.
    LeaseQuestions(LeaseQuestions),
    /// Answers to a peer's questions about leases.
    LeaseAnswers(LeaseAnswers),
    /// A snapshot is to be sent, and then this message, which carries its metadata. How it ended is told
    /// with [`super::raft_node::host::SnapshotSent`].
    Snapshot(Message),
}

/// Parcels that wait, to all peers or from all, are so many bytes at most: what is beyond is dropped as
/// where there are too many.
pub const WAITING_BYTES_MAX: usize = 64 << 20;

impl Outgoing {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        match self {
            Outgoing::Raft(messages) => messages.iter().map(message_bytes).sum(),
            Outgoing::Forward(forward) => forward_bytes(forward),
            Outgoing::Refusal(refusal) => size_of_val(&refusal.ids[..]),
            Outgoing::LeaseQuestions(said) => size_of_val(&said.questions[..]),
            Outgoing::LeaseAnswers(said) => size_of_val(&said.answers[..]),
            Outgoing::StateHash(_) | Outgoing::Snapshot(_) => size_of::<Outgoing>(),
        }
    }
}

impl Incoming {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        match self {
            Incoming::Raft(messages) => messages.iter().map(message_bytes).sum(),
            Incoming::Forward(forward) => forward_bytes(forward),
            Incoming::Refusal(refusal) => size_of_val(&refusal.ids[..]),
            Incoming::StateHash(_) => size_of::<Incoming>(),
        }
    }
}

fn message_bytes(message: &Message) -> usize {
    let entries = message.entries.iter();
    let data = entries.map(|entry| size_of::<Entry>() + entry.data.len() + entry.context.len());
    size_of::<Message>() + message.context.len() + data.sum::<usize>()
}

fn forward_bytes(forward: &Forward) -> usize {
    forward.proposals.iter().map(|p| size_of::<ForwardedProposal>() + p.data.len()).sum()
}

/// What came from a peer, decoded and checked for its form.
#[derive(Debug)]
pub enum Incoming {
    /// Raft's messages, in order.
    Raft(Vec<Message>),
    /// Proposals, for this member as the leader.
    Forward(Forward),
    /// Proposals that the leader did not take.
    Refusal(Refusal),
    /// The digest of the peer's state.
    StateHash(StateHash),
}

/// The way to the peers, as RaftNode sees it: nothing here waits.
pub trait Network: Send {
    /// Sends, or drops.
    fn send(&mut self, to: MemberId, what: Outgoing);

    /// A member that this one does not know (yet) has called, and is found there: it is answered, as long as
    /// the membership does not say that it was removed.
    fn contact(&mut self, id: MemberId, urls: Vec<String>);

    /// These are the members now: streams to those who are new are opened, to those who are gone closed.
    fn members(&mut self, membership: &Membership);
}

/// Nobody is there: a member that is alone.
#[derive(Debug)]
pub struct NoNetwork;

impl Network for NoNetwork {
    fn send(&mut self, _to: MemberId, _what: Outgoing) {}

    fn contact(&mut self, _id: MemberId, _urls: Vec<String>) {}

    fn members(&mut self, _membership: &Membership) {}
}
