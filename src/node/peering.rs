//! Puts the peers together: the tasks that speak to them, the port on which they speak, and the arbiter
//! that both share.

use std::{
    io,
    net::TcpListener,
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix::{Addr, Arbiter, ArbiterHandle};
use raft::eraftpb::Message;

use super::boot;
use crate::{
    actors::{
        mailbox::Gauge,
        peer::{
            peers::{Peers, PeersWiring},
            role::Pace,
        },
        raft_node::host::{Contact, RaftNode, SnapshotSent, Unreachable},
    },
    clock::wall_clock,
    config::Config,
    http::{
        drain::DrainSignal,
        peer::{PeerDoors, Refusals, Streams, server},
    },
    metrics::Metrics,
    published::Published,
    types::MemberId,
    wire,
};

/// Peers ping a few times a second; one that is silent for so long is not there.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// See the head of the module.
pub(super) struct Peering {
    arbiter: Arbiter,
    published: Arc<Published>,
    outbox: Arc<Gauge>,
    inbox: Arc<Gauge>,
    pace: Pace,
    payload_max: usize,
    /// Known once RaftNode is started, which needs its network first.
    raft_node: Arc<OnceLock<Addr<RaftNode>>>,
    doors: OnceLock<Arc<PeerDoors>>,
}

impl Peering {
    pub(super) fn new(config: &Config, published: &Arc<Published>, metrics: &Metrics) -> Peering {
        let gauge = |name, capacity| {
            let gauge = Gauge::new(name, capacity);
            metrics.register_mailbox(Arc::clone(&gauge));
            gauge
        };
        Peering {
            arbiter: Arbiter::new(),
            published: Arc::clone(published),
            outbox: gauge("peer", config.mailbox.peer),
            inbox: gauge("peer-inbox", config.mailbox.peer_inbox),
            pace: Pace::for_heartbeat(Duration::from_millis(config.heartbeat_interval_ms)),
            payload_max: wire::payload_max(boot::proposal_bytes_max(config)),
            raft_node: Arc::default(),
            doors: OnceLock::new(),
        }
    }

    fn arbiter(&self) -> ArbiterHandle {
        self.arbiter.handle()
    }

    /// The way to the peers, for RaftNode.
    pub(super) fn peers(&self) -> Peers {
        let to_raft = Arc::clone(&self.raft_node);
        let unreachable = move |peer| {
            if let Some(raft_node) = to_raft.get() {
                raft_node.do_send(Unreachable(peer));
            }
        };
        let to_raft = Arc::clone(&self.raft_node);
        let send_snapshot = move |to, _urls, _message: Message| {
            if let Some(raft_node) = to_raft.get() {
                raft_node.do_send(SnapshotSent { to, arrived: false }); // Raft tries again later
            }
        };
        let own = self.published.identity.member_id;
        Peers::new(PeersWiring {
            arbiter: self.arbiter(),
            published: Arc::clone(&self.published),
            gauge: Arc::clone(&self.outbox),
            pace: self.pace,
            seed: wall_clock().0 ^ own.0,
            unreachable: Arc::new(unreachable),
            refused_as_removed: Arc::new(end_as_removed),
            send_snapshot: Box::new(send_snapshot),
        })
    }

    /// Opens the peer port, now that RaftNode takes what comes.
    pub(super) fn open(
        &self,
        raft_node: Addr<RaftNode>,
        listeners: Vec<TcpListener>,
    ) -> io::Result<()> {
        let inbox = raft_node.clone().recipient();
        let to_raft = raft_node.clone();
        _ = self.raft_node.set(raft_node); // called once
        let doors = Arc::new(PeerDoors {
            published: Arc::clone(&self.published),
            inbox,
            gauge: Arc::clone(&self.inbox),
            payload_max: self.payload_max,
            idle_timeout: IDLE_TIMEOUT,
            snapshot: None,
            contact: Box::new(move |id, urls| to_raft.do_send(Contact { id, urls })),
            drain: DrainSignal::default(),
            streams: Streams::default(),
            refusals: Refusals::default(),
        });
        for listener in listeners {
            listener.set_nonblocking(true)?; // what may fail fails here, where it is told
            let doors = Arc::clone(&doors);
            self.arbiter().spawn_fn(move || {
                if let Err(error) = server::serve(&doors, listener) {
                    tracing::error!(%error, "the peer port is not served");
                }
            });
        }
        _ = self.doors.set(doors); // called once
        Ok(())
    }

    /// Closes all streams, in both directions.
    pub(super) fn stop(&self) {
        if let Some(doors) = self.doors.get() {
            doors.drain.give();
        }
        self.arbiter.stop();
    }
}

/// A peer has applied the removal of this member; here it may never arrive.
fn end_as_removed(peer: MemberId) {
    tracing::error!(
        peer = format!("{peer:x}"),
        "this member was removed from the cluster, says a peer; this process ends"
    );
    std::process::exit(1);
}
