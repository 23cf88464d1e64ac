//! What comes to RaftNode because there are peers: their messages, the fate of those to them, snapshots,
//! digests.

use std::sync::{Arc, atomic::Ordering};

use actix::{Handler, Message};
use raft::eraftpb::{self, MessageType::MsgAppend, SnapshotMetadata};

use super::{
    super::{FromPeer, Transfer, role::Input},
    RaftNode,
};
use crate::{
    actors::peer::{Incoming, Outgoing},
    storage::mvcc::State,
    types::{Index, MemberId},
    wire::StateHash,
};

impl Handler<FromPeer> for RaftNode {
    type Result = ();

    fn handle(&mut self, FromPeer { from, what, slot }: FromPeer, ctx: &mut Self::Context) {
        drop(slot);
        match what {
            Incoming::Raft(messages) => {
                for message in messages {
                    if message.get_msg_type() == MsgAppend {
                        let figures = &self.wiring.published.raft;
                        figures.appends_received.fetch_add(1, Ordering::Relaxed);
                    }
                    self.feed(Input::Step(message), ctx);
                }
            }
            Incoming::Forward(forward) => {
                self.turn_bytes += forward.proposals.iter().map(|p| p.data.len()).sum::<usize>();
                self.feed(Input::Forwarded { from, forward }, ctx);
            }
            Incoming::Refusal(refusal) => self.feed(Input::Refused(refusal), ctx),
            Incoming::StateHash(StateHash { index, hash }) => {
                self.auditor.digested(from, index, hash);
            }
        }
    }
}

/// A peer could not be reached, or messages to it were dropped. Sent at most once for each time that it
/// happens, by the peer's own actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Unreachable(pub MemberId);

impl Handler<Unreachable> for RaftNode {
    type Result = ();

    fn handle(&mut self, Unreachable(peer): Unreachable, ctx: &mut Self::Context) {
        self.feed(Input::Unreachable(peer), ctx);
    }
}

/// How the sending of a snapshot to a peer ended; said once for each [`Outgoing::Snapshot`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SnapshotSent {
    /// The peer.
    pub to: MemberId,
    /// Whether it has the snapshot.
    pub arrived: bool,
}

impl Handler<SnapshotSent> for RaftNode {
    type Result = ();

    fn handle(&mut self, SnapshotSent { to, arrived }: SnapshotSent, ctx: &mut Self::Context) {
        self.feed(Input::SnapshotSent { to, arrived }, ctx);
    }
}

/// A snapshot from the leader: its file is durable here, and read.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SnapshotArrived {
    /// The leader's message, with metadata alone.
    pub message: eraftpb::Message,
    /// The state in the file; its index and term are those of the metadata.
    pub state: State,
}

impl Handler<SnapshotArrived> for RaftNode {
    type Result = ();

    fn handle(&mut self, arrived: SnapshotArrived, ctx: &mut Self::Context) {
        let SnapshotArrived { message, state } = arrived;
        let membership = Arc::clone(state.membership());
        if self.role.has_snapshot_to_install() {
            return; // the one before is not installed yet; should this one be needed, it comes again
        }
        self.arrived = Some(state);
        self.feed(Input::Snapshot { message, membership }, ctx);
        if !self.role.has_snapshot_to_install() {
            self.arrived = None; // installed already, or of no use
        }
    }
}

/// From Snapshotter: a snapshot is on disk that may be sent to peers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SnapshotTaken(pub SnapshotMetadata);

impl Handler<SnapshotTaken> for RaftNode {
    type Result = ();

    fn handle(&mut self, SnapshotTaken(snapshot): SnapshotTaken, ctx: &mut Self::Context) {
        self.feed(Input::SnapshotTaken(snapshot), ctx);
    }
}

/// Something for a peer that is not RaftNode's own: all that peers hear goes by way of its network. May be
/// lost. Sent by LeaseKeeper, a few in each of its turns.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SendToPeer {
    /// To whom.
    pub to: MemberId,
    /// What.
    pub what: Outgoing,
}

impl Handler<SendToPeer> for RaftNode {
    type Result = ();

    fn handle(&mut self, SendToPeer { to, what }: SendToPeer, _ctx: &mut Self::Context) {
        self.wiring.network.send(to, what);
    }
}

impl Handler<Transfer> for RaftNode {
    type Result = ();

    fn handle(&mut self, Transfer(to): Transfer, ctx: &mut Self::Context) {
        self.feed(Input::Transfer(to), ctx);
    }
}

/// The digest of the own state after `index`: compared here by a leader, sent to it by others.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Digested {
    /// After which entry.
    pub index: Index,
    /// The digest.
    pub hash: u64,
}

impl Handler<Digested> for RaftNode {
    type Result = ();

    fn handle(&mut self, Digested { index, hash }: Digested, _ctx: &mut Self::Context) {
        let own = self.wiring.published.identity.member_id;
        match self.role.leader() {
            Some(leader) if leader == own => self.auditor.digested(own, index, hash),
            Some(leader) => {
                let hash = StateHash { index, hash };
                self.wiring.network.send(leader, Outgoing::StateHash(hash));
            }
            None => {} // the next checkpoint is compared
        }
    }
}

/// A member that this one does not know (yet) has called; see [`crate::actors::peer::Network::contact`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Contact {
    /// Who.
    pub id: MemberId,
    /// Where it is found.
    pub urls: Vec<String>,
}

impl Handler<Contact> for RaftNode {
    type Result = ();

    fn handle(&mut self, Contact { id, urls }: Contact, _ctx: &mut Self::Context) {
        if !self.role.membership().removed().contains(&id) {
            self.wiring.network.contact(id, urls);
        }
    }
}
