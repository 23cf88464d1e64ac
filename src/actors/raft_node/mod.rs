//! RaftNode owns the `raft` crate's RawNode, the unsnapshotted log in memory and the reads that wait
//! for a read index.
//!
//! It takes [`Propose`] and [`ReadIndex`] from the doors, ticks from outside, and the progress reports
//! of WalWriter and Store; it gives append batches to WalWriter and apply batches to Store. It promises
//! that a proposal is answered once: applied, refused before it entered the log, or with an error that
//! says that its fate is not known.

pub mod conf_change;
mod contract;
pub mod host;
pub mod log;
mod proposals;
mod reads;
pub mod role;

use crate::{
    actors::mailbox::Question,
    command::Command,
    storage::mvcc::Applied,
    types::{Index, MemberId},
};

/// Asks that a command be committed. Answered when it is applied, or when it no longer can be.
///
/// Sent by the doors and by the Store's own clocks (expiry, compaction). A full mailbox answers
/// [`super::mailbox::AskError::Full`] and nothing was proposed.
#[derive(Debug)]
pub struct Propose(pub Command);

impl Question for Propose {
    type Answer = Result<Applied, ProposeError>;
}

/// Why a proposal was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader is known; nothing was proposed.
    #[error("no leader")]
    NoLeader,
    /// Too much is under way already; nothing was proposed, ask again later.
    #[error("too many requests")]
    TooManyRequests,
    /// It cannot be stored: the encoded command is larger than the limit. Nothing was proposed.
    #[error("request is too large")]
    TooLarge,
    /// The disk has no room for it; nothing was proposed.
    #[error("no space on the disk of the log")]
    NoSpace,
    /// Not applied in time, or leadership was lost: it may or may not be applied later.
    #[error("request timed out")]
    TimedOut,
    /// A promotion that the leader did not take: the learner is not in sync with it, or another change of
    /// the membership is under way. Nothing was proposed.
    #[error("the learner is not in sync with the leader")]
    LearnerNotReady,
    /// The member is shutting down; nothing was proposed.
    #[error("server stopped")]
    Stopping,
}

/// Asks for a moment at which what is published is at least as new as every write acknowledged before
/// the question. Questions of one turn share one round. Answered with the index once that much is
/// applied and published here.
#[derive(Debug)]
pub struct ReadIndex;

impl Question for ReadIndex {
    type Answer = Result<Index, ReadError>;
}

/// Why there is no read index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The round did not end in time.
    #[error("request timed out")]
    TimedOut,
    /// The member is shutting down.
    #[error("server stopped")]
    Stopping,
}

/// Hands the lead to another voter, where this member leads and there is one. Sent by the doors and by
/// the member's end; who leads then is seen in published state.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Transfer(pub Option<MemberId>);

/// From a peer.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct FromPeer {
    /// Who.
    pub from: MemberId,
    /// What.
    pub what: crate::actors::peer::Incoming,
    /// Its place in the mailbox of the peers' messages.
    pub slot: crate::actors::mailbox::Slot,
}
