//! What the actors publish for everyone who reads: the applied state, whole and immutable, and a few
//! figures of Raft and of the peers. Reading takes no lock and passes no mailbox.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
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
    /// The other members, as far as this one sees them.
    pub peers: ArcSwap<BTreeMap<MemberId, Arc<PeerFigures>>>,
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
            peers: ArcSwap::default(),
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
    /// Append messages sent to peers (`sendAppendRequestCnt`).
    pub appends_sent: AtomicU64,
    /// Append messages from the leader (`recvAppendRequestCnt`).
    pub appends_received: AtomicU64,
}

/// One other member, as this one sees it.
#[derive(Debug, Default)]
pub struct PeerFigures {
    /// Unix time in nanoseconds since which the peer answers without a break; 0 while it does not.
    pub active_since: AtomicU64,
    /// Bytes sent to it.
    pub sent_bytes: AtomicU64,
    /// Bytes received from it.
    pub received_bytes: AtomicU64,
    /// Messages that were dropped, and connections that failed.
    pub sent_failures: AtomicU64,
    /// Streams from it that ended in an error.
    pub received_failures: AtomicU64,
    /// Round trips, one for each ping.
    round_trips: Mutex<RoundTrips>,
}

/// Round trips to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoundTrips {
    /// How many were measured.
    pub count: u64,
    /// The last.
    pub current: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// The sum, in seconds.
    pub sum: f64,
    /// The sum of the squares, in seconds squared.
    pub sum_of_squares: f64,
}

impl PeerFigures {
    /// Counts a round trip.
    pub fn note_round_trip(&self, took: Duration) {
        let mut trips = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        trips.min = if trips.count == 0 { took } else { trips.min.min(took) };
        trips.max = trips.max.max(took);
        trips.count += 1;
        trips.current = took;
        trips.sum += took.as_secs_f64();
        trips.sum_of_squares += took.as_secs_f64().powi(2);
    }

    /// The round trips so far.
    pub fn round_trips(&self) -> RoundTrips {
        *self.round_trips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when it answers, if it does.
    pub fn active_since(&self) -> Option<u64> {
        Some(self.active_since.load(Ordering::Acquire)).filter(|&since| since != 0)
    }
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
