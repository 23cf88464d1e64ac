//! Snapshotter owns the snapshot folder. It takes ticks and orders; it writes a snapshot from the
//! published state when the log has outgrown it, keeps several, and tells WalWriter which log is not
//! needed any more. It promises that the Store never waits for it: the state that it writes out is an
//! immutable view.
//!
//! It runs on an OS thread of its own, behind a bounded channel.

pub mod host;
pub mod role;

use crate::{
    actors::mailbox::{Reply, Slot},
    types::Index,
};

/// What Snapshotter is told.
#[derive(Debug)]
pub enum Order {
    /// Look whether a snapshot is due. Sent with every tick; may be dropped when the mailbox is full.
    Consider,
    /// Take one now. Answered with its index once it is durable.
    Take(Reply<Result<Index, String>>),
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
