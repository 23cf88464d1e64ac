//! Snapshotter owns the snapshot folder. It takes ticks and orders; it writes a snapshot from the
//! published state when the log has outgrown it, keeps several, and tells WalWriter which log is not
//! needed any more. It promises that the Store never waits for it: the state that it writes out is an
//! immutable view.
//!
//! It runs on an OS thread of its own, behind a bounded channel. Snapshots that peers send are taken in by
//! a second thread ([`receiver`]), so that neither waits for the other; the two share the folder alone.

pub mod host;
pub mod receive;
pub mod receiver;
pub mod role;

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::{
    actors::mailbox::{Gauge, Reply, Slot},
    types::Index,
};

/// What Snapshotter is told.
#[derive(Debug)]
pub enum Order {
    /// Look whether a snapshot is due. Sent with every tick; may be dropped when the mailbox is full.
    Consider,
    /// Take one now. Answered with its index once it is durable.
    Take(Reply<Result<Index, String>>),
    /// A peer needs one after at least this index: take one, unless there is one already. Answered by
    /// telling RaftNode. May be dropped when the mailbox is full: RaftNode asks again.
    TakeForPeer(Index),
    /// End.
    Stop,
}

/// An order in the mailbox.
#[derive(Debug)]
pub struct Ordered {
    /// What.
    pub order: Order,
    /// Its place.
    pub slot: Slot,
}

/// RaftNode's way to order a snapshot for a peer: never waits. What finds no slot is dropped.
pub fn for_peers(orders: Sender<Ordered>, gauge: Arc<Gauge>) -> Box<dyn Fn(Index) + Send> {
    Box::new(move |index| {
        if let Ok(slot) = gauge.take_slot() {
            let order = Order::TakeForPeer(index);
            _ = orders.try_send(Ordered { order, slot }); // or the member is stopping
        }
    })
}
