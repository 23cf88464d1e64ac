//! The line from Store to someone who watches many ranges of keys: one channel for all of its watches,
//! so that what happened comes in order, and memory is bounded by one capacity.
//!
//! When the channel is full, the watches that miss something end, and the line's other end is told
//! which: it drains what is there, brings each of them up from history, and subscribes again.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntGauge;
use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::SubscriptionId;
use crate::{
    actors::mailbox::Question, command::KeyRange, storage::mvcc::watch::SharedRecord,
    types::Revision,
};

/// Asks to be told of every revision after `after` that changes one of `keys`. What happened already
/// since then is told first, if it is not much.
#[derive(Debug)]
pub struct SubscribeRange {
    /// Which keys.
    pub keys: KeyRange,
    /// Only later revisions; may lie in the future.
    pub after: Revision,
    /// The name under which it is told.
    pub tag: u64,
    /// Where to.
    pub line: Arc<WatchLine>,
}

impl Question for SubscribeRange {
    type Answer = Result<SubscriptionId, RangeRefused>;
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeRefused {
    /// Too much happened since: it is to be read from history first, if that still knows.
    #[error("too far behind")]
    Behind,
    /// This member's data differs from the others': nothing is told of it.
    #[error("corrupt cluster")]
    Corrupt,
}

/// Asks for a [`Told::Mark`]. A line has at most one on its way, so this needs no slot.
#[derive(Debug)]
pub struct Mark(pub Arc<WatchLine>);

impl actix::Message for Mark {
    type Result = ();
}

/// What comes over a line.
#[derive(Debug)]
pub enum Told {
    /// A revision that some of the watches are to see.
    Record {
        /// Which watches.
        tags: Tags,
        /// What happened.
        record: Arc<SharedRecord>,
        /// Counts it as pending, for each of them, while it is on its way.
        pending: Pending,
    },
    /// All up to this revision has been told.
    Mark(Revision),
    /// Something else is to be looked at: what did not go through, or users and roles. Does not come where
    /// something else waits already, which makes the owner look as well.
    Look,
}

/// Watches of one line. Mostly one; but a stream of a thousand is told of a revision in one message.
pub type Tags = SmallVec<[u64; 2]>;

/// Counted while it is there.
#[derive(Debug)]
pub struct Pending(IntGauge, i64);

impl Pending {
    fn new(gauge: &IntGauge, count: usize) -> Pending {
        let count = count as i64;
        gauge.add(count);
        Pending(gauge.clone(), count)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.sub(self.1);
    }
}

/// What did not go through.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Watches that ended, by tag.
    pub watches: Vec<u64>,
    /// A mark.
    pub mark: bool,
}

/// Store's end of a line, shared with its owner.
#[derive(Debug)]
pub struct WatchLine {
    sender: mpsc::Sender<Told>,
    missed: Mutex<Missed>,
    pending: IntGauge,
}

/// Tells subscriptions of a revision, neighbours on one line together. Answers which have ended, because
/// their lines had no room: their owners know, and go on from history.
pub fn tell_all<'a>(
    subscriptions: impl Iterator<Item = (SubscriptionId, u64, &'a Arc<WatchLine>)>,
    record: &Arc<SharedRecord>,
) -> Vec<SubscriptionId> {
    let mut ended = Vec::new();
    let mut subscriptions = subscriptions.peekable();
    while let Some((first, tag, line)) = subscriptions.next() {
        let (mut ids, mut tags) = (vec![first], Tags::from_slice(&[tag]));
        let is_neighbour = |(.., next): &(_, _, &Arc<WatchLine>)| Arc::ptr_eq(next, line);
        while let Some((id, tag, _)) = subscriptions.next_if(is_neighbour) {
            ids.push(id);
            tags.push(tag);
        }
        if let Err(tags) = line.tell(tags, record) {
            tags.into_iter().for_each(|tag| line.end(tag));
            ended.extend(ids);
        }
    }
    ended
}

impl WatchLine {
    /// A line on which `capacity` revisions may wait; `pending` counts them for each watch.
    pub fn new(capacity: usize, pending: IntGauge) -> (Arc<WatchLine>, mpsc::Receiver<Told>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Arc::new(WatchLine { sender, missed: Mutex::default(), pending }), receiver)
    }

    /// Tells watches of a revision, all or, where there is no room, none: those come back.
    fn tell(&self, tags: Tags, record: &Arc<SharedRecord>) -> Result<(), Tags> {
        let Ok(permit) = self.sender.try_reserve() else { return Err(tags) };
        let pending = Pending::new(&self.pending, tags.len());
        permit.send(Told::Record { tags, record: Arc::clone(record), pending });
        Ok(())
    }

    /// Tells the owner that a watch has ended, after all that it was told.
    pub fn end(&self, tag: u64) {
        self.missing(|missed| missed.watches.push(tag));
    }

    /// Tells the owner that all up to `revision` has been told.
    pub fn mark(&self, revision: Revision) {
        if self.sender.try_send(Told::Mark(revision)).is_err() {
            self.missing(|missed| missed.mark = true);
        }
    }

    fn missing(&self, note: impl FnOnce(&mut Missed)) {
        note(&mut self.missed.lock().unwrap_or_else(PoisonError::into_inner));
        self.look();
    }

    /// Makes the owner look at what is not told: at once, or after what waits.
    pub fn look(&self) {
        _ = self.sender.try_send(Told::Look); // or something waits, or the owner has gone
    }

    /// Takes what did not go through. To be called after each message.
    pub fn take_missed(&self) -> Missed {
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
