//! Puts the peers together: the tasks that speak to them, the port on which they speak, and the arbiter
//! that both share.

use std::{
    io,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    thread::JoinHandle,
    time::Duration,
};

use actix::{Addr, Arbiter, ArbiterHandle, Recipient};
use tokio::sync::Notify;

use super::boot;
use crate::{
    actors::{
        lease_keeper,
        mailbox::Gauge,
        peer::{
            WAITING_BYTES_MAX,
            peers::{Peers, PeersWiring},
            role::Pace,
            snapshot_sender::{self, SnapshotSender},
        },
        raft_node::host::{Contact, RaftNode, SnapshotArrived, SnapshotSent, Unreachable},
        snapshotter::{
            receive::Reception,
            receiver::{self, ReceiverDoor},
        },
    },
    clock::wall_clock,
    config::Config,
    http::{
        accept::Origin,
        drain::DrainSignal,
        peer::{PeerDoors, Refusals, Streams, server, snapshot::SnapshotDoors, standing},
        server::Listening,
    },
    metrics::Metrics,
    published::Published,
    storage::snapshot::SnapshotDir,
    tls::Dialer,
    types::MemberId,
    wire::{self, Hello, hello::PROTOCOL},
};

/// Peers ping a few times a second; one that is silent for so long is not there.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// See the head of the module.
pub(super) struct Peering {
    arbiter: Arbiter,
    snapshots: SnapshotDir,
    dialer: Arc<Dialer>,
    origin: Origin,
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
    pub(super) fn new(
        config: &Config,
        snapshots: SnapshotDir,
        published: &Arc<Published>,
        metrics: &Metrics,
        dialer: Arc<Dialer>,
    ) -> Peering {
        let gauge = |name, capacity| {
            let gauge = Gauge::of_bytes(name, capacity, WAITING_BYTES_MAX);
            metrics.register_mailbox(Arc::clone(&gauge));
            gauge
        };
        Peering {
            arbiter: Arbiter::new(),
            snapshots,
            dialer,
            origin: if config.peer_tls.checks_address {
                Origin::OfCertificate
            } else {
                Origin::Any
            },
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
    pub(super) fn peers(&self, removed: Arc<Notify>) -> Peers {
        let to_raft = Arc::clone(&self.raft_node);
        let unreachable = move |peer| {
            if let Some(raft_node) = to_raft.get() {
                raft_node.do_send(Unreachable(peer));
            }
        };
        let to_raft = Arc::clone(&self.raft_node);
        let sent = move |to, arrived| {
            if let Some(raft_node) = to_raft.get() {
                raft_node.do_send(SnapshotSent { to, arrived });
            }
        };
        let own = self.published.identity.member_id;
        let published = Arc::clone(&self.published);
        let sender = SnapshotSender::new(snapshot_sender::Wiring {
            dir: self.snapshots.clone(),
            dialer: Arc::clone(&self.dialer),
            hello: Box::new(move |to| hello(&published, to)),
            sent: Box::new(sent),
            pace: snapshot_sender::Pace::default(),
            bytes_read: AtomicU64::new(0),
        });
        let arbiter = self.arbiter();
        let send_snapshot = move |to, urls, message, wanted| {
            let sender = sender.clone();
            // False only when the arbiter has stopped, and then the process is ending.
            _ = arbiter.spawn(async move {
                sender.send_while(to, urls, message, wanted).await;
            });
        };
        Peers::new(PeersWiring {
            arbiter: self.arbiter(),
            published: Arc::clone(&self.published),
            gauge: Arc::clone(&self.outbox),
            pace: self.pace,
            dialer: Arc::clone(&self.dialer),
            seed: wall_clock().0 ^ own.0,
            unreachable: Arc::new(unreachable),
            refused_as_removed: Arc::new(move |peer| {
                tracing::error!(
                    peer = format!("{peer:x}"),
                    "a peer has applied the removal of this member, which never arrived here"
                );
                removed.notify_one();
            }),
            send_snapshot: Box::new(send_snapshot),
        })
    }

    /// Opens the peer port, now that RaftNode takes what comes.
    pub(super) fn open(
        &self,
        raft_node: Addr<RaftNode>,
        leases: Recipient<lease_keeper::FromPeer>,
        listeners: Vec<Listening>,
    ) -> io::Result<JoinHandle<()>> {
        let inbox = raft_node.clone().recipient();
        let (to_raft, raft_node_for_snapshots) = (raft_node.clone(), raft_node.clone());
        _ = self.raft_node.set(raft_node); // called once
        let (receiver, thread) = self.receiver(raft_node_for_snapshots)?;
        let published = Arc::clone(&self.published);
        let snapshot = SnapshotDoors {
            published: Arc::clone(&self.published),
            receiver,
            standing: Box::new(move |hello| standing(&published, hello.from)),
        };
        let doors = Arc::new(PeerDoors {
            published: Arc::clone(&self.published),
            inbox,
            leases,
            gauge: Arc::clone(&self.inbox),
            payload_max: self.payload_max,
            idle_timeout: IDLE_TIMEOUT,
            snapshot,
            contact: Box::new(move |id, urls| to_raft.do_send(Contact { id, urls })),
            origin: self.origin,
            drain: DrainSignal::default(),
            streams: Streams::default(),
            refusals: Refusals::default(),
        });
        for listener in listeners {
            listener.socket.set_nonblocking(true)?; // what may fail fails here, where it is told
            let doors = Arc::clone(&doors);
            self.arbiter().spawn_fn(move || {
                if let Err(error) = server::serve(&doors, listener) {
                    tracing::error!(%error, "the peer port is not served");
                }
            });
        }
        _ = self.doors.set(doors); // called once
        Ok(thread)
    }

    /// The thread that takes snapshots of peers.
    fn receiver(&self, raft_node: Addr<RaftNode>) -> io::Result<(ReceiverDoor, JoinHandle<()>)> {
        let published = Arc::clone(&self.published);
        let cluster = published.identity.cluster_id;
        receiver::spawn(receiver::Wiring {
            reception: Reception::new(self.snapshots.clone(), cluster),
            applied: Box::new(move || published.state.load().applied_index),
            arrived: Box::new(move |message, state| {
                raft_node.do_send(SnapshotArrived { message, state });
            }),
        })
    }

    /// Closes all streams, in both directions, and tells the receiver of snapshots to end.
    pub(super) async fn stop(&self) {
        const LOOK: Duration = Duration::from_millis(5);
        self.arbiter.stop();
        if let Some(doors) = self.doors.get() {
            doors.drain.give();
            while !doors.snapshot.receiver.stop() {
                tokio::time::sleep(LOOK).await; // it is working off what came before
            }
        }
    }
}

/// What this member says of itself to a peer.
fn hello(published: &Published, to: MemberId) -> Hello {
    let (state, identity) = (published.state.load(), &published.identity);
    let own = state.membership().member(identity.member_id);
    Hello {
        cluster: identity.cluster_id,
        from: identity.member_id,
        to,
        protocol: PROTOCOL,
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        peer_urls: own.map(|member| member.peer_urls.clone()).unwrap_or_default(),
    }
}
