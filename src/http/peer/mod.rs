//! The doors of the peer port: the streams on which other members speak, and the few pages that etcd has
//! there. A hyper server of its own and not the client port's: after the handshake the bare socket is
//! taken over, and nothing of HTTP stands between it and the frames.
//!
//! The way of a request: [`server`] accepts; `route` answers, or hands the socket of a stream to
//! [`stream`], which decodes, checks, and gives RaftNode what came.

pub mod pages;
pub mod server;
pub mod snapshot;
pub mod stream;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::Recipient;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};
use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};
use tracing::warn;

use super::{accept::Origin, drain::DrainSignal};
use crate::{
    actors::{lease_keeper, mailbox::Gauge, raft_node::FromPeer},
    published::Published,
    types::MemberId,
    wire::Standing,
};

/// What a request at the peer port is answered with.
pub type PeerAnswer = Response<Full<Bytes>>;

/// All that the peer port may reach.
pub struct PeerDoors {
    /// Who this member is, and who the others are.
    pub published: Arc<Published>,
    /// What came from the peers.
    pub inbox: Recipient<FromPeer>,
    /// What they ask and answer of leases.
    pub leases: Recipient<lease_keeper::FromPeer>,
    /// The slots of both mailboxes.
    pub gauge: Arc<Gauge>,
    /// The largest frame; see [`crate::wire::payload_max`].
    pub payload_max: usize,
    /// A connection on which nothing comes for so long is closed.
    pub idle_timeout: Duration,
    /// `/raft/snapshot`.
    pub snapshot: snapshot::SnapshotDoors,
    /// Told of a member that this one does not know yet, and where it is found: it may lead.
    pub contact: Box<dyn Fn(MemberId, Vec<String>) + Send + Sync>,
    /// Whether it matters from where a member with a certificate calls.
    pub origin: Origin,
    /// Closes all streams.
    pub drain: DrainSignal,
    /// The stream of each member: a new one ends the one before.
    pub streams: Streams,
    /// What the log has of refusals.
    pub refusals: Refusals,
}

impl PeerDoors {
    /// Whether this member knows another as a member.
    pub fn knows(&self, id: MemberId) -> bool {
        self.published.state.load().membership().member(id).is_some()
    }

    /// How this member knows another.
    pub fn standing(&self, id: MemberId) -> Standing {
        standing(&self.published, id)
    }
}

/// How this member knows another.
pub fn standing(published: &Published, id: MemberId) -> Standing {
    let state = published.state.load();
    let membership = state.membership();
    // Without a leader this member may be behind; and whom it takes for the leader, it has heard of.
    let leader = published.raft.leader();
    let may_be_behind = leader.is_none_or(|leader| leader == id);
    if membership.removed().contains(&id) {
        Standing::Removed
    } else if membership.member(id).is_some() || may_be_behind {
        Standing::Member
    } else {
        Standing::Unknown
    }
}

/// See [`PeerDoors::streams`].
#[derive(Debug, Default)]
pub struct Streams(Mutex<BTreeMap<MemberId, Arc<Notify>>>);

impl Streams {
    /// Ends the member's stream, if there is one, and gives what ends the new one.
    async fn replace(&self, from: MemberId) -> Arc<Notify> {
        let end = Arc::new(Notify::new());
        if let Some(before) = self.0.lock().await.insert(from, Arc::clone(&end)) {
            before.notify_one();
        }
        end
    }

    /// A stream has ended.
    async fn ended(&self, from: MemberId, end: &Arc<Notify>) {
        let mut streams = self.0.lock().await;
        if streams.get(&from).is_some_and(|current| Arc::ptr_eq(current, end)) {
            streams.remove(&from);
        }
    }
}

/// Lets a stranger who knocks all day write one line in a while, with how often he knocked.
#[derive(Debug, Default)]
pub struct Refusals(std::sync::Mutex<(Option<Instant>, u64)>);

impl Refusals {
    const EVERY: Duration = Duration::from_secs(1);

    fn log(&self, address: std::net::SocketAddr, reason: &str) {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.0.is_some_and(|at| at.elapsed() < Self::EVERY) {
            last.1 += 1;
            return;
        }
        let unlogged = std::mem::take(&mut last.1);
        last.0 = Some(Instant::now());
        drop(last);
        warn!(%address, reason, unlogged, "a peer was refused");
    }
}

/// A page of text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> PeerAnswer {
    whole(status, "text/plain; charset=utf-8", body)
}

fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> PeerAnswer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}
