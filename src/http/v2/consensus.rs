//! Asking RaftNode: for a command to be applied, or for a moment at which a read is linearizable. And
//! what is said when no answer came in time: where it can be told why, in etcd's words.

use std::time::Duration;

use super::error::{Blame, V2Error};
use crate::{
    actors::raft_node::{Propose, ReadIndex},
    clock::wall_clock,
    command::Command,
    http::{Doors, limits::Class},
    published::Published,
    storage::mvcc::Applied,
    types::{MemberId, UnixNanos},
};

/// Proposes a command, and waits until it is applied.
pub async fn propose(doors: &Doors, command: Command) -> Result<Applied, V2Error> {
    let _place = doors.limits.enter_proposal(&command)?;
    let started = wall_clock();
    let answering = doors.propose.ask(Propose(command))?;
    let answered = tokio::time::timeout(doors.settings.request_timeout, answering).await;
    let answered = answered.map_err(|_| V2Error::TimedOut(Blame::Nothing));
    let flat = answered.and_then(|answer| Ok(answer??));
    flat.map_err(|error| explained(doors, started, error))
}

/// Waits until what is published is as new as every write that was acknowledged before.
pub async fn read_index(doors: &Doors) -> Result<(), V2Error> {
    let _place = doors.limits.enter(Class::Reads)?;
    let started = wall_clock();
    let answering = doors.read_index.ask(ReadIndex)?;
    let answered = tokio::time::timeout(doors.settings.request_timeout, answering).await;
    doors.metrics.observe_read_index(since(started));
    let answered = answered.map_err(|_| V2Error::TimedOut(Blame::Nothing));
    let flat = answered.and_then(|answer| Ok(answer??));
    flat.map(drop).map_err(|error| explained(doors, started, error))
}

/// The time that has passed by the wall clock.
pub(crate) fn since(started: UnixNanos) -> Duration {
    Duration::from_nanos(wall_clock().0.saturating_sub(started.0))
}

fn explained(doors: &Doors, started: UnixNanos, error: V2Error) -> V2Error {
    let V2Error::TimedOut(_) = error else { return error };
    V2Error::TimedOut(blame(&doors.published, started, doors.settings.election_timeout))
}

/// What a request that began then, and has timed out now, most likely fell into: an election, or a
/// connection that broke.
pub(crate) fn blame(
    published: &Published,
    started: UnixNanos,
    election_timeout: Duration,
) -> Blame {
    let led_since = published.raft.leader_since.load(std::sync::atomic::Ordering::Acquire);
    let lost_at = led_since.saturating_sub(2 * election_timeout.as_nanos() as u64);
    if started.0 > lost_at && started.0 < led_since {
        return Blame::LeaderLost;
    }
    let peers = published.peers.load();
    let own = published.identity.member_id;
    let connected = |id: MemberId| {
        let since = peers.get(&id).and_then(|peer| peer.active_since());
        since.is_some_and(|since| since < started.0)
    };
    let is_cut_off = match published.raft.leader() {
        None => false, // nobody leads: the text without a reason says no less
        Some(leader) if leader == own => {
            let state = published.state.load();
            let members = state.members();
            let reached = members.iter().filter(|m| m.id == own || connected(m.id)).count();
            reached < members.len() / 2 + 1
        }
        Some(leader) => !connected(leader),
    };
    if is_cut_off { Blame::ConnectionLost } else { Blame::Nothing }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, atomic::Ordering},
    };

    use super::*;
    use crate::{
        published::{Identity, PeerFigures},
        storage::mvcc::{Member, State},
        types::ClusterId,
    };

    /// Member 1 of 3, asked at 100 s by a request that has timed out.
    fn seen(leader: u64, led_since: u64, active: [u64; 2]) -> Blame {
        const SECOND: u64 = 1_000_000_000;
        let members = (1..=3).map(|id| Member {
            id: MemberId(id),
            name: format!("m{id}"),
            peer_urls: vec![format!("http://m{id}:1")],
            client_urls: Vec::new(),
            learner: false,
        });
        let identity =
            Identity { cluster_id: ClusterId(9), member_id: MemberId(1), name: "m1".to_owned() };
        let published = Published::new(identity, State::new(members.collect()));
        published.raft.leader.store(leader, Ordering::Release);
        published.raft.leader_since.store(led_since * SECOND, Ordering::Release);
        let peers = active.iter().zip(2..).map(|(since, id)| {
            let figures = PeerFigures::default();
            figures.active_since.store(since * SECOND, Ordering::Release);
            (MemberId(id), Arc::new(figures))
        });
        published.peers.store(Arc::new(peers.collect::<BTreeMap<_, _>>()));
        blame(&published, UnixNanos(100 * SECOND), Duration::from_secs(1))
    }

    #[test]
    fn a_timeout_is_explained_where_it_can_be() {
        for (leader, led_since, active, expected) in [
            (1, 50, [50, 50], Blame::Nothing),
            (1, 50, [50, 0], Blame::Nothing), // two of three are a quorum
            (1, 50, [0, 0], Blame::ConnectionLost),
            (1, 50, [101, 0], Blame::ConnectionLost), // it came back, but only after the request
            (2, 50, [50, 0], Blame::Nothing),
            (2, 50, [0, 50], Blame::ConnectionLost),
            (0, 50, [0, 0], Blame::Nothing),
            (2, 101, [50, 50], Blame::LeaderLost),
            (2, 103, [50, 50], Blame::Nothing), // elected long after: not that leader's predecessor
        ] {
            assert_eq!(
                seen(leader, led_since, active),
                expected,
                "{leader} {led_since} {active:?}"
            );
        }
    }
}
