//! All the peers of a member: the [`Network`] that RaftNode has.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use actix::ArbiterHandle;
use raft::eraftpb::Message;
use tokio::sync::{
    mpsc::{UnboundedSender, unbounded_channel},
    oneshot,
};

use super::{
    Network, Outgoing,
    host::{self, Errand, Link},
    role::{Pace, Session},
};
use crate::{
    actors::mailbox::Gauge,
    published::{PeerFigures, Published},
    storage::mvcc::Membership,
    tls::Dialer,
    types::MemberId,
    wire::{Hello, hello::PROTOCOL},
};

/// Sends a snapshot to a member at its peer URLs; the message carries the metadata. Given up when the other
/// end is dropped.
pub type SendSnapshot = Box<dyn Fn(MemberId, Vec<String>, Message, oneshot::Receiver<()>) + Send>;

/// What the peers work with.
pub struct PeersWiring {
    /// Where their tasks run.
    pub arbiter: ArbiterHandle,
    /// Who this member is, and where the peers' figures go.
    pub published: Arc<Published>,
    /// The slots of all parcels that wait for peers' tasks.
    pub gauge: Arc<Gauge>,
    /// How patient they are.
    pub pace: Pace,
    /// How they are called.
    pub dialer: Arc<Dialer>,
    /// Randomness for the distances between attempts.
    pub seed: u64,
    /// A peer could not be reached, or messages to it were dropped. Must not wait.
    pub unreachable: Arc<dyn Fn(MemberId) + Send + Sync>,
    /// A peer says that this member was removed from the cluster: the process is to end.
    pub refused_as_removed: Arc<dyn Fn(MemberId) + Send + Sync>,
    /// Sends a snapshot, without waiting, and tells RaftNode how it ended.
    pub send_snapshot: SendSnapshot,
}

/// See the head of the module. Dropping it closes all streams.
pub struct Peers {
    wiring: PeersWiring,
    own_urls: Vec<String>,
    links: BTreeMap<MemberId, Peer>,
}

struct Peer {
    urls: Vec<String>,
    errands: UnboundedSender<Errand>,
    figures: Arc<PeerFigures>,
    /// RaftNode was told that the mailbox is full.
    told_full: bool,
    /// It is no member as far as is known here, but it called.
    called: bool,
    /// Snapshots on their way to it: they are given up with the peer.
    transfers: Vec<oneshot::Sender<()>>,
}

/// Callers that are no members as far as is known here, at most.
const CALLERS_MAX: usize = 8;

impl Peers {
    /// Of a member that knows no other yet.
    pub fn new(wiring: PeersWiring) -> Peers {
        Peers { wiring, own_urls: Vec::new(), links: BTreeMap::new() }
    }

    fn open(&self, id: MemberId, urls: Vec<String>) -> Peer {
        let identity = &self.wiring.published.identity;
        let (errands, inbox) = unbounded_channel();
        let figures = Arc::new(PeerFigures::default());
        let (unreachable, removed) =
            (Arc::clone(&self.wiring.unreachable), Arc::clone(&self.wiring.refused_as_removed));
        let link = Link {
            id,
            urls: urls.clone(),
            hello: Hello {
                cluster: identity.cluster_id,
                from: identity.member_id,
                to: id,
                protocol: PROTOCOL,
                server_version: env!("CARGO_PKG_VERSION").to_owned(),
                peer_urls: self.own_urls.clone(),
            },
            dialer: Arc::clone(&self.wiring.dialer),
            errands: inbox,
            figures: Arc::clone(&figures),
            unreachable: Box::new(move |id| unreachable(id)),
            refused_as_removed: Box::new(move |id| removed(id)),
        };
        let session = Session::new(self.wiring.pace, self.wiring.seed ^ id.0);
        // False only when the arbiter has stopped, and then the process is ending.
        _ = self.wiring.arbiter.spawn(host::run(link, session));
        Peer { urls, errands, figures, told_full: false, called: false, transfers: Vec::new() }
    }
}

impl Peers {
    fn publish(&self) {
        let figures = self.links.iter().map(|(id, peer)| (*id, Arc::clone(&peer.figures)));
        self.wiring.published.peers.store(Arc::new(figures.collect()));
    }
}

impl Network for Peers {
    fn send(&mut self, to: MemberId, what: Outgoing) {
        let Some(peer) = self.links.get_mut(&to) else { return };
        if let Outgoing::Snapshot(message) = what {
            let (held, wanted) = oneshot::channel();
            peer.transfers.retain(|transfer| !transfer.is_closed());
            peer.transfers.push(held);
            (self.wiring.send_snapshot)(to, peer.urls.clone(), message, wanted);
            return;
        }
        let Ok(slot) = self.wiring.gauge.take_slot_for(what.bytes()) else {
            peer.figures.sent_failures.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut peer.told_full, true) {
                (self.wiring.unreachable)(to);
            }
            return;
        };
        peer.told_full = false;
        // The task ends only when this side is dropped, or with its arbiter.
        _ = peer.errands.send(Errand::Send(what, slot));
    }

    fn members(&mut self, membership: &Membership) {
        let own = self.wiring.published.identity.member_id;
        self.links.retain(|id, peer| {
            let known = membership.member(*id).is_some();
            let called = peer.called && !membership.removed().contains(id);
            peer.called &= !known;
            (known || called) && *id != own
        });
        if let Some(member) = membership.member(own) {
            self.own_urls.clone_from(&member.peer_urls);
        }
        for member in membership.members().iter().filter(|member| member.id != own) {
            match self.links.get_mut(&member.id) {
                None => {
                    let peer = self.open(member.id, member.peer_urls.clone());
                    self.links.insert(member.id, peer);
                }
                Some(peer) if peer.urls != member.peer_urls => {
                    peer.urls.clone_from(&member.peer_urls);
                    _ = peer.errands.send(Errand::Moved(member.peer_urls.clone())); // as above
                }
                Some(_) => {}
            }
        }
        self.publish();
    }

    fn contact(&mut self, id: MemberId, urls: Vec<String>) {
        let own = self.wiring.published.identity.member_id;
        let callers = self.links.values().filter(|peer| peer.called).count();
        if id == own || urls.is_empty() || self.links.contains_key(&id) || callers >= CALLERS_MAX {
            return;
        }
        let peer = Peer { called: true, ..self.open(id, urls) };
        self.links.insert(id, peer);
        self.publish();
    }
}
