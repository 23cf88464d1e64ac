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
use tokio::sync::watch;

pub use self::sessions::{Session, Sessions};

use crate::{
    storage::mvcc::State,
    types::{ClusterId, Index, MemberId, Revision, Term, UnixNanos},
};

mod sessions;

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
    /// The revision of that state: tells those who wait for a change that there is something to look at.
    pub revision: watch::Sender<Revision>,
    /// The stamp of its users and roles ([`crate::storage::mvcc::auth::AuthState::stamp`]): tells streams
    /// whose client was let pass that it must be asked for anew.
    pub rights: watch::Sender<u64>,
    /// Raft's figures.
    pub raft: RaftFigures,
    /// False from the first SIGTERM on: no new requests.
    pub draining: AtomicBool,
    /// The other members, as far as this one sees them.
    pub peers: ArcSwap<BTreeMap<MemberId, Arc<PeerFigures>>>,
    /// Who has shown its password, by its token.
    pub sessions: Sessions,
    /// Who we are.
    pub identity: Identity,
}

impl Published {
    /// Publishes `state` first.
    pub fn new(identity: Identity, state: State) -> Arc<Published> {
        Arc::new(Published {
            revision: watch::Sender::new(state.revision),
            rights: watch::Sender::new(state.auth().stamp()),
            state: ArcSwap::from_pointee(state),
            raft: RaftFigures::default(),
            draining: AtomicBool::new(false),
            peers: ArcSwap::default(),
            sessions: Sessions::default(),
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

/// The upper bounds of the histogram of round trips, in seconds: etcd's, from a tenth of a millisecond.
pub const ROUND_TRIP_BOUNDS: [f64; 16] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048,
    0.4096, 0.8192, 1.6384, 3.2768,
];

/// One other member, as this one sees it.
#[derive(Debug, Default)]
pub struct PeerFigures {
    /// Unix time in nanoseconds since which the peer answers without a break; 0 while it does not.
    pub active_since: AtomicU64,
    /// How often it stopped to answer.
    pub disconnects: AtomicU64,
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
    /// How many took at most so long as [`ROUND_TRIP_BOUNDS`] says at this place, and longer than it says
    /// before.
    pub buckets: [u64; ROUND_TRIP_BOUNDS.len()],
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
        let bucket = ROUND_TRIP_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        if let Some(count) = trips.buckets.get_mut(bucket) {
            *count += 1;
        }
    }

    /// It answers now.
    pub fn note_answering(&self, now: UnixNanos) {
        let since = &self.active_since;
        // Or it did already: the time since when stays.
        _ = since.compare_exchange(0, now.0.max(1), Ordering::AcqRel, Ordering::Acquire);
    }

    /// It does not answer any more.
    pub fn note_silent(&self) {
        if self.active_since.swap(0, Ordering::AcqRel) != 0 {
            self.disconnects.fetch_add(1, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_fall_into_buckets() {
        let peer = PeerFigures::default();
        for micros in [50, 100, 150, 4_000_000] {
            peer.note_round_trip(Duration::from_micros(micros));
        }
        let trips = peer.round_trips();
        assert_eq!((trips.count, trips.buckets[0], trips.buckets[1]), (4, 2, 1));
        assert_eq!(trips.buckets.iter().sum::<u64>(), 3, "one is above all bounds");
    }

    #[test]
    fn a_peer_answers_since_its_first_answer() {
        let peer = PeerFigures::default();
        peer.note_silent();
        assert_eq!((peer.active_since(), peer.disconnects.load(Ordering::Relaxed)), (None, 0));
        peer.note_answering(UnixNanos(5));
        peer.note_answering(UnixNanos(9));
        assert_eq!(peer.active_since(), Some(5));
        peer.note_silent();
        peer.note_silent();
        assert_eq!((peer.active_since(), peer.disconnects.load(Ordering::Relaxed)), (None, 1));
    }
}
