//! What RaftNode's role learns, what it wants done, and what it starts from.
//!
//! Pure: part of RaftNode's role.

use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{Entry, HardState, Message, SnapshotMetadata};

use super::{ProposeError, ReadError};
use crate::{
    command::ProposalId,
    storage::{mvcc::Membership, wal::SnapshotMark},
    types::{Index, MemberId, Term},
    wire::{Forward, Refusal},
};

/// What it can learn.
#[derive(Debug)]
pub enum Input {
    /// Have this committed: in the own log, or by way of the leader; while there is no leader it waits.
    Propose {
        /// Ascending, never used before by this member. Refused under this name, should it be.
        id: ProposalId,
        /// An encoded [`crate::command::Proposal`] with this id and this member.
        data: Bytes,
        /// Its command is [`crate::command::Command::Members`]: it takes a configuration-change entry.
        members: bool,
    },
    /// Find a read index.
    Read {
        /// Under this name it is answered.
        id: ReadId,
    },
    /// A message from a peer, checked by [`crate::wire::check`]. One with a snapshot comes as
    /// [`Input::Snapshot`].
    Step(Message),
    /// A peer's [`raft::eraftpb::MessageType::MsgSnapshot`]: said once the snapshot's file is durable here and read.
    Snapshot {
        /// The message, with metadata alone.
        message: Message,
        /// The membership in the snapshot's state.
        membership: Arc<Membership>,
    },
    /// Proposals from a peer that takes this member for the leader.
    Forwarded {
        /// Who forwards.
        from: MemberId,
        /// What.
        forward: Forward,
    },
    /// The leader could not take proposals that this member forwarded.
    Refused(Refusal),
    /// A peer could not be reached, or messages to it were dropped.
    Unreachable(MemberId),
    /// A snapshot that may be sent to peers is on disk here.
    SnapshotTaken(SnapshotMetadata),
    /// How the sending of a snapshot to a peer ended. Said once for each
    /// [`raft::eraftpb::MessageType::MsgSnapshot`] that was given to be sent.
    SnapshotSent {
        /// The peer.
        to: MemberId,
        /// Whether the peer has it.
        arrived: bool,
    },
    /// Hand the lead to this voter, or to the one that is furthest along. Nothing happens where this
    /// member does not lead or no other can.
    Transfer(Option<MemberId>),
    /// One heartbeat interval has passed.
    Tick,
    /// The batch of this number, and all before it, are on disk.
    Persisted {
        /// As in [`Effect::Append`].
        number: u64,
    },
    /// All entries up to this one are applied and published.
    Applied {
        /// The last of them.
        index: Index,
    },
}

/// Names a read until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Send to peers; each message says to whom. Any of them may be lost. A
    /// [`raft::eraftpb::MessageType::MsgSnapshot`] carries metadata alone: the file goes first, by its own way.
    Send(Vec<Message>),
    /// Send proposals to the leader; may be lost.
    Forward {
        /// The leader.
        to: MemberId,
        /// The proposals.
        forward: Forward,
    },
    /// Tell a peer that its proposals were not taken; may be lost.
    RefuseForward {
        /// The peer.
        to: MemberId,
        /// Which.
        refusal: Refusal,
    },
    /// The state of this snapshot, which a peer sent, takes the place of the own: before the
    /// [`Effect::Append`] that follows is written, and before anything is applied. To be answered with
    /// [`Input::Applied`] for its index.
    Install(SnapshotMetadata),
    /// Write to the WAL as one batch, sync if told to, then say [`Input::Persisted`].
    Append {
        /// Ascending without gaps.
        number: u64,
        /// A snapshot was installed: the log starts anew after it.
        installed: Option<SnapshotMark>,
        /// May be empty, when only the hard state changes.
        entries: Vec<Entry>,
        /// New hard state, if it changed.
        hard_state: Option<HardState>,
        /// Whether it must survive a crash.
        must_sync: bool,
    },
    /// Apply these, then say [`Input::Applied`].
    Apply(Vec<Entry>),
    /// A proposal is given up: for [`ProposeError::TimedOut`] it may still be applied, for all others it
    /// will never be.
    Refuse(ProposalId, ProposeError),
    /// What is published now is fresh enough for these.
    ReadReady(Vec<ReadId>, Index),
    /// No read index could be had for these.
    ReadFailed(Vec<ReadId>, ReadError),
    /// A peer needs a snapshot after at least this index: take one, then say [`Input::SnapshotTaken`].
    /// Said again until it is there.
    WantSnapshot(Index),
    /// The membership as of the last committed entry, each time it changed: who the peers are.
    Membership(Arc<Membership>),
    /// This learner has caught up: propose that it be promoted. Said again now and then until it is.
    Promote(MemberId),
    /// This member was removed from the cluster; the change is committed. The process is to end.
    Removed,
}

/// What it starts from.
#[derive(Debug)]
pub struct Boot {
    /// This member.
    pub id: MemberId,
    /// `--election-timeout` in ticks of `--heartbeat-interval`.
    pub election_ticks: usize,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// A leader gives learners that have caught up their vote.
    pub promote_learners: bool,
    /// Ticks after which a proposal that is not applied is given up.
    pub proposal_ticks: u64,
    /// Bytes of proposals that may be in the log but not committed yet.
    pub uncommitted_bytes_max: u64,
    /// Applied entries that stay in memory for peers that lag.
    pub catch_up_entries: u64,
    /// Draws the election timeouts, and makes the read rounds of this start unlike any other's.
    pub seed: u64,
    /// Everything up to here is applied.
    pub applied: Index,
    /// The entry before the first of `entries`, at most the last that is applied: its index and term.
    pub before: (Index, Term),
    /// As on disk.
    pub hard_state: HardState,
    /// As of `applied`; empty for a member that joins and knows nothing yet.
    pub membership: Arc<Membership>,
    /// The log after `before`. What of it is applied is there for peers that lag.
    pub entries: Vec<Entry>,
}
