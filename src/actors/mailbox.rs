//! The door to an actor's mailbox: asking with counted slots.
//!
//! actix counts a mailbox's capacity for each sender and cannot tell its depth, so slots are counted
//! here. A question takes a slot when it is asked and gives it back when its actor takes it up; when
//! all slots are taken the asker is told at once. Nothing that was accepted is ever dropped: it is
//! answered, or its asker learns that the actor has stopped.
//!
//! [`bell`] wakes threads that have no mailbox of actix's, [`courier`] carries the wake-ups of a batch.
//!
//! Depends on actix and on tokio's and crossbeam's channels. Knows no role and no door.

pub mod bell;
pub mod courier;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix::dev::Recipient;
use courier::Courier;

/// Something that is asked of an actor, and the type of the answer.
pub trait Question: Send + 'static {
    /// What the asker gets.
    type Answer: Send + 'static;
}

/// Why a question got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// All slots of the mailbox are taken; nothing was done, ask again later.
    #[error("mailbox is full")]
    Full,
    /// The actor stopped before it answered; what was asked may or may not have been done.
    #[error("actor has stopped")]
    Stopped,
}

/// The figures of one mailbox. Several kinds of questions may share one.
#[derive(Debug)]
pub struct Gauge {
    name: &'static str,
    capacity: usize,
    depth: AtomicUsize,
    bytes_max: usize,
    bytes: AtomicUsize,
    rejected: AtomicU64,
    taken: AtomicU64,
    waited_nanos: AtomicU64,
    waited_buckets: [AtomicU64; WAIT_BOUNDS_MICROS.len() + 1],
}

/// Upper bounds of the time-in-queue histogram, in microseconds; the last bucket is open.
pub const WAIT_BOUNDS_MICROS: [u64; 9] =
    [10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000, 1_000_000];

impl Gauge {
    /// A mailbox called `name` (as in the `[mailbox]` settings) with `capacity` slots, at least one.
    pub fn new(name: &'static str, capacity: usize) -> Arc<Gauge> {
        Gauge::of_bytes(name, capacity, usize::MAX)
    }

    /// One whose contents, as far as [`Gauge::take_slot_for`] is told of them, are `bytes_max` at most.
    pub fn of_bytes(name: &'static str, capacity: usize, bytes_max: usize) -> Arc<Gauge> {
        assert!(capacity >= 1, "mailbox {name} needs a slot");
        Arc::new(Gauge {
            name,
            capacity,
            depth: AtomicUsize::new(0),
            bytes_max,
            bytes: AtomicUsize::new(0),
            rejected: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
            waited_buckets: Default::default(),
        })
    }

    /// The mailbox's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Slots in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slots taken now.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Bytes that wait now; none where they are not counted.
    pub fn bytes(&self) -> Option<usize> {
        (self.bytes_max < usize::MAX).then(|| self.bytes.load(Ordering::Relaxed))
    }

    /// Questions turned away so far.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Time in queue: (counts for each bound of [`WAIT_BOUNDS_MICROS`] and beyond, sum, count).
    pub fn waited(&self) -> (Vec<u64>, Duration, u64) {
        let buckets = self.waited_buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let sum = Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed));
        (buckets, sum, self.taken.load(Ordering::Relaxed))
    }

    /// Takes a slot, or says that there is none.
    pub fn take_slot(self: &Arc<Self>) -> Result<Slot, AskError> {
        self.take_slot_for(0)
    }

    /// The same for what must not wait behind a flood: it may have an eighth more.
    pub fn take_urgent_slot(self: &Arc<Self>) -> Result<Slot, AskError> {
        self.take_slot_of(self.capacity + self.capacity / 8 + 1, 0)
    }

    /// The same for something of so many bytes. What alone is larger than all that may wait finds room
    /// when nothing waits.
    pub fn take_slot_for(self: &Arc<Self>, bytes: usize) -> Result<Slot, AskError> {
        self.take_slot_of(self.capacity, bytes)
    }

    fn take_slot_of(self: &Arc<Self>, capacity: usize, bytes: usize) -> Result<Slot, AskError> {
        let weighed = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum <= self.bytes_max).then_some(sum)
        });
        if weighed.is_err() {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(AskError::Full);
        }
        let taken = self.depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |depth| {
            (depth < capacity).then_some(depth + 1)
        });
        if taken.is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(AskError::Full);
        }
        Ok(Slot { gauge: Arc::clone(self), bytes, since: now() })
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "hosts measure how long messages wait; no role sees it"
)]
fn now() -> Instant {
    Instant::now()
}

/// A taken slot; dropping it gives it back and counts the time that it was held.
#[derive(Debug)]
pub struct Slot {
    gauge: Arc<Gauge>,
    bytes: usize,
    since: Instant,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let gauge = &self.gauge;
        let waited = now().saturating_duration_since(self.since);
        let micros = waited.as_micros() as u64;
        let bucket = WAIT_BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        gauge.waited_buckets[bucket].fetch_add(1, Ordering::Relaxed);
        gauge.waited_nanos.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
        gauge.taken.fetch_add(1, Ordering::Relaxed);
        gauge.depth.fetch_sub(1, Ordering::Relaxed);
        gauge.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Carries an answer back. Dropping it tells the asker that the actor has stopped.
#[derive(Debug)]
pub struct Reply<A>(Option<Arc<Letter<A>>>);

/// What a reply and its asker share.
#[derive(Debug)]
struct Letter<A>(Mutex<Contents<A>>);

#[derive(Debug)]
enum Contents<A> {
    /// Not answered yet; who is to be woken, and by which courier.
    Awaited(Option<(Waker, Option<Courier>)>),
    Answered(A),
    /// The actor has dropped its side.
    Stopped,
    /// The asker has dropped its side, or has the answer.
    Closed,
}

impl<A> Letter<A> {
    fn open(&self) -> MutexGuard<'_, Contents<A>> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the outcome in; gives it back if nobody waits any more.
    fn close(&self, outcome: Contents<A>) -> Result<(), Contents<A>> {
        let mut contents = self.open();
        let Contents::Awaited(waiting) = &mut *contents else { return Err(outcome) };
        let waiting = waiting.take();
        *contents = outcome;
        drop(contents);
        if let Some((waker, courier)) = waiting {
            courier::wake(waker, courier);
        }
        Ok(())
    }
}

impl<A> Reply<A> {
    /// A reply and the end at which it arrives.
    pub fn channel() -> (Reply<A>, Answering<A>) {
        let letter = Arc::new(Letter(Mutex::new(Contents::Awaited(None))));
        (Reply(Some(Arc::clone(&letter))), Answering(letter))
    }

    /// Answers. Gives the answer back if the asker has gone.
    pub fn send(mut self, answer: A) -> Result<(), A> {
        let letter = self.0.take().expect("taken only here and on drop");
        match letter.close(Contents::Answered(answer)) {
            Err(Contents::Answered(answer)) => Err(answer),
            _ => Ok(()),
        }
    }
}

impl<A> Drop for Reply<A> {
    fn drop(&mut self) {
        if let Some(letter) = self.0.take() {
            _ = letter.close(Contents::Stopped); // or the asker has gone
        }
    }
}

/// The wait for an answer.
#[derive(Debug)]
pub struct Answering<A>(Arc<Letter<A>>);

impl<A> Future for Answering<A> {
    type Output = Result<A, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut contents = self.0.open();
        match std::mem::replace(&mut *contents, Contents::Closed) {
            Contents::Awaited(_) => {
                *contents =
                    Contents::Awaited(Some((cx.waker().clone(), courier::of_this_thread())));
                Poll::Pending
            }
            Contents::Answered(answer) => Poll::Ready(Ok(answer)),
            Contents::Stopped | Contents::Closed => Poll::Ready(Err(AskError::Stopped)),
        }
    }
}

impl<A> Answering<A> {
    /// Waits no more. Gives the answer if it is there; one that comes later comes back to its actor.
    pub fn give_up(&mut self) -> Option<A> {
        let contents = std::mem::replace(&mut *self.0.open(), Contents::Closed);
        match contents {
            Contents::Answered(answer) => Some(answer),
            _ => None, // what else it is, is dropped outside the lock
        }
    }
}

impl<A> Drop for Answering<A> {
    fn drop(&mut self) {
        drop(self.give_up());
    }
}

/// A question in a mailbox.
pub struct Ask<Q: Question> {
    /// What is asked.
    pub question: Q,
    /// Where the answer goes.
    pub reply: Reply<Q::Answer>,
    slot: Slot,
}

impl<Q: Question> Ask<Q> {
    /// Takes the question up: gives its slot back.
    pub fn take(self) -> (Q, Reply<Q::Answer>) {
        drop(self.slot);
        (self.question, self.reply)
    }
}

impl<Q: Question> actix::Message for Ask<Q> {
    type Result = ();
}

/// A cheap handle through which any thread asks an actor questions of one kind.
pub struct Mailbox<Q: Question> {
    recipient: Recipient<Ask<Q>>,
    gauge: Arc<Gauge>,
}

impl<Q: Question> Clone for Mailbox<Q> {
    fn clone(&self) -> Self {
        Mailbox { recipient: self.recipient.clone(), gauge: Arc::clone(&self.gauge) }
    }
}

impl<Q: Question> Mailbox<Q> {
    /// A door to `recipient`, whose slots `gauge` counts.
    pub fn new(recipient: Recipient<Ask<Q>>, gauge: Arc<Gauge>) -> Self {
        Mailbox { recipient, gauge }
    }

    /// Asks; the answer is awaited separately. [`AskError::Full`] at once if there is no slot.
    pub fn ask(&self, question: Q) -> Result<Answering<Q::Answer>, AskError> {
        let slot = self.gauge.take_slot()?;
        let (reply, answering) = Reply::channel();
        self.recipient.do_send(Ask { question, reply, slot });
        Ok(answering)
    }

    /// The same for what must not wait behind a flood of other questions.
    pub fn ask_urgently(&self, question: Q) -> Result<Answering<Q::Answer>, AskError> {
        let slot = self.gauge.take_urgent_slot()?;
        let (reply, answering) = Reply::channel();
        self.recipient.do_send(Ask { question, reply, slot });
        Ok(answering)
    }

    /// The figures of this mailbox.
    pub fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_more_than_there_are_is_refused_and_counted() {
        let gauge = Gauge::new("test", 2);
        let first = gauge.take_slot().unwrap();
        let _second = gauge.take_slot().unwrap();
        assert_eq!(gauge.take_slot().unwrap_err(), AskError::Full);
        assert_eq!((gauge.depth(), gauge.rejected()), (2, 1));
        let urgent = gauge.take_urgent_slot().expect("a lease does not wait for writes");
        assert_eq!(gauge.take_urgent_slot().unwrap_err(), AskError::Full);
        drop(urgent);
        drop(first);
        assert!(gauge.take_slot().is_ok());
        assert_eq!(gauge.waited().2, 3, "slots given back were timed");
    }

    #[test]
    fn more_bytes_than_may_wait_are_refused_and_counted() {
        let gauge = Gauge::of_bytes("test", 3, 100);
        let large = gauge.take_slot_for(1000).unwrap(); // alone it passes, or it never would
        assert_eq!(gauge.take_slot_for(1).unwrap_err(), AskError::Full);
        assert_eq!((gauge.bytes(), gauge.depth(), gauge.rejected()), (Some(1000), 1, 1));
        drop(large);
        let _first = gauge.take_slot_for(60).unwrap();
        assert_eq!(gauge.take_slot_for(41).unwrap_err(), AskError::Full);
        let second = gauge.take_slot_for(40).unwrap();
        let _third = gauge.take_slot_for(0).unwrap();
        assert_eq!(gauge.take_slot_for(0).unwrap_err(), AskError::Full, "no slot");
        assert_eq!((gauge.bytes(), gauge.depth()), (Some(100), 3));
        drop(second);
        assert_eq!((gauge.bytes(), gauge.depth()), (Some(60), 2));
        assert_eq!(Gauge::new("test", 1).bytes(), None);
    }
}
