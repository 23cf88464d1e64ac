//! What the actors publish for everyone who reads: the applied state, whole and immutable, and a few
//! figures of Raft. Reading takes no lock and passes no mailbox.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use crate::{
    storage::mvcc::State,
    types::{ClusterId, Index, MemberId, Term},
};

/// Who this member is; fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This member.
    pub member_id: MemberId,
    /// Its `--name`.
    pub name: String,
}

/// The shared, read-only face of the running member.
#[derive(Debug)]
pub struct Published {
    /// The state after the last applied batch.
    pub state: ArcSwap<State>,
    /// Raft's figures.
    pub raft: RaftFigures,
    /// False from the first SIGTERM on: no new requests.
    pub draining: AtomicBool,
    /// Who we are.
    pub identity: Identity,
}

impl Published {
    /// Publishes `state` first.
    pub fn new(identity: Identity, state: State) -> Arc<Published> {
        Arc::new(Published {
            state: ArcSwap::from_pointee(state),
            raft: RaftFigures::default(),
            draining: AtomicBool::new(false),
            identity,
        })
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.raft.leader() == Some(self.identity.member_id)
    }
}

/// Raft's figures as of the end of RaftNode's last turn.
#[derive(Debug, Default)]
pub struct RaftFigures {
    /// Current term.
    pub term: AtomicU64,
    /// Highest index known to be committed.
    pub commit: AtomicU64,
    /// Highest index applied and published.
    pub applied: AtomicU64,
    /// The leader's id, 0 for none.
    pub leader: AtomicU64,
    /// How often a new leader was seen.
    pub leader_changes: AtomicU64,
    /// Proposals that wait to be applied.
    pub pending: AtomicU64,
    /// Proposals that failed.
    pub failed: AtomicU64,
    /// Unix time in nanoseconds since which the current leader leads.
    pub leader_since: AtomicU64,
}

impl RaftFigures {
    /// Current term.
    pub fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    /// Highest index known to be committed.
    pub fn commit(&self) -> Index {
        Index(self.commit.load(Ordering::Acquire))
    }

    /// Highest index applied and published.
    pub fn applied(&self) -> Index {
        Index(self.applied.load(Ordering::Acquire))
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<MemberId> {
        Some(self.leader.load(Ordering::Acquire)).filter(|&id| id != 0).map(MemberId)
    }
}
