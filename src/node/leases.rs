//! Starts LeaseKeeper, which stands between the doors, the peers, RaftNode and Store.

use std::sync::Arc;

use actix::{Actor as _, Addr, Arbiter};

use crate::{
    actors::{
        lease_keeper::{
            host::{LeaseKeeper, Wiring},
            role::Role,
        },
        mailbox::{Gauge, Mailbox},
        raft_node::host::RaftNode,
        store::host::Store,
    },
    clock::wall_clock,
    published::Published,
};

/// What LeaseKeeper is connected to.
pub(super) struct Wires<'a> {
    pub(super) published: &'a Arc<Published>,
    pub(super) raft_node: &'a Addr<RaftNode>,
    pub(super) raft_gauge: &'a Arc<Gauge>,
    pub(super) store: &'a Addr<Store>,
    pub(super) store_gauge: &'a Arc<Gauge>,
}

impl Wires<'_> {
    /// On the arbiter of RaftNode and Store, with which it speaks for each question.
    pub(super) fn start(self, arbiter: &Arbiter) -> Addr<LeaseKeeper> {
        let Wires { published, raft_node, raft_gauge, store, store_gauge } = self;
        let wiring = Wiring {
            published: Arc::clone(published),
            read_index: Mailbox::new(raft_node.clone().recipient(), Arc::clone(raft_gauge)),
            propose: Mailbox::new(raft_node.clone().recipient(), Arc::clone(raft_gauge)),
            store: Mailbox::new(store.clone().recipient(), Arc::clone(store_gauge)),
            to_peers: raft_node.clone().recipient(),
        };
        let role = Role::new(wall_clock().0);
        LeaseKeeper::start_in_arbiter(&arbiter.handle(), move |_| LeaseKeeper::new(role, wiring))
    }
}
