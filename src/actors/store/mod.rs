//! Store owns the MVCC keyspace and the watchers. It takes apply batches from RaftNode, subscriptions
//! from the doors and ticks; it answers the callers whose proposals it applied, delivers events to
//! watchers in revision order, and publishes the new state for everyone who reads.

pub mod compactor;
pub mod host;
pub mod lessor;
pub mod range_hub;
pub mod role;
pub mod v3_lessor;
pub mod watch_hub;
pub mod watch_line;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::{
    actors::mailbox::Question,
    storage::mvcc::watch::{SharedEvent, WatchPattern},
    types::{LeaseId, Revision, Term},
    wire::LeaseQuestion,
};

/// The beat of Store's own clock.
pub const TICKS_PER_SECOND: u64 = 10;

/// Names a live subscription; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriptionId(pub u64);

/// Asks to be told of events. Events after `after` that already happened are delivered first, from
/// history; a caller whose `after` lies below history's start is told so.
#[derive(Debug)]
pub struct Subscribe {
    /// Which events.
    pub pattern: WatchPattern,
    /// Only events of later revisions; may lie in the future.
    pub after: Revision,
    /// Where they go.
    pub sink: Sink,
}

impl Question for Subscribe {
    type Answer = Result<SubscriptionId, SubscribeError>;
}

/// Asks how v3 leases stand, or to keep them alive, of the leader of a term; see
/// [`role::Role::ask_leases`]. Sent by LeaseKeeper. Answered at once, by none where this member does not
/// lead in that term.
#[derive(Debug)]
pub struct AskLeases {
    /// The term.
    pub term: Term,
    /// About which leases.
    pub questions: Vec<LeaseQuestion>,
}

impl Question for AskLeases {
    type Answer = Option<Vec<role::LeaseAnswer>>;
}

/// Asks for all v3 leases, the first to end first: by this member's own clock, which is right where it
/// leads. Sent by the doors. Answered at once.
#[derive(Debug)]
pub struct LeasesByEnd;

impl Question for LeasesByEnd {
    type Answer = Vec<LeaseId>;
}

/// Where the events of a subscription go.
#[derive(Debug)]
pub enum Sink {
    /// One event, and the subscription ends.
    Once(oneshot::Sender<Arc<SharedEvent>>),
    /// Event after event. When the channel is full the subscription ends (the sender is dropped): the
    /// receiver drains what it has, catches up from history and subscribes again; its place is the
    /// revision of the last event that it saw.
    Stream(mpsc::Sender<Arc<SharedEvent>>),
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// History begins only after the compacted revision.
    #[error("required revision has been compacted: {compacted}")]
    Compacted {
        /// History up to here is gone.
        compacted: Revision,
    },
    /// This member's data differs from the others': nothing is told of it.
    #[error("corrupt cluster")]
    Corrupt,
}

/// Tells that nobody listens to a subscription any more. Each subscription is cancelled at most once by
/// its owner, so this needs no slot: there are never more of them than there were subscriptions.
#[derive(Debug)]
pub struct Cancel(pub SubscriptionId);

impl actix::Message for Cancel {
    type Result = ();
}
