//! Peer owns the stream to one other member. It takes what RaftNode has for that member and gives it what
//! came from there; it promises nothing about delivery, for Raft sends again: when its mailbox is full, or
//! the peer cannot be reached, messages are dropped and RaftNode is told, but never made to wait.

pub mod snapshot_sender;

use raft::eraftpb::Message;

use crate::{
    storage::mvcc::Membership,
    types::MemberId,
    wire::{Forward, Refusal},
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
    /// A snapshot is to be sent, and then this message, which carries its metadata. How it ended is told
    /// with [`super::raft_node::host::SnapshotSent`].
    Snapshot(Message),
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
}

/// The way to the peers, as RaftNode sees it: nothing here waits.
pub trait Network: Send {
    /// Sends, or drops.
    fn send(&mut self, to: MemberId, what: Outgoing);

    /// These are the members now: streams to those who are new are opened, to those who are gone closed.
    fn members(&mut self, membership: &Membership);
}

/// Nobody is there: a member that is alone.
#[derive(Debug)]
pub struct NoNetwork;

impl Network for NoNetwork {
    fn send(&mut self, _to: MemberId, _what: Outgoing) {}

    fn members(&mut self, _membership: &Membership) {}
}
