//! Wake-ups that travel together.
//!
//! Waking a task on another thread costs a system call each time. When a batch is applied, dozens of
//! callers on a few threads are answered at once: so wake-ups are collected while the batch is worked
//! on ([`together`]), and each thread gets all of its own in one message, which costs one system call.
//! A thread takes part by having a courier ([`start`]); others are woken one by one, as usual.

use std::{cell::RefCell, task::Waker};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The way to one thread. There is never more in it than there are tasks that wait on that thread.
#[derive(Clone, Debug)]
pub struct Courier(UnboundedSender<Vec<Waker>>);

/// Wake-ups by the thread that they go to.
type Outbox = Vec<(Courier, Vec<Waker>)>;

thread_local! {
    /// The courier of this thread, if its tasks want to be woken together.
    static OWN: RefCell<Option<Courier>> = const { RefCell::new(None) };
    /// Wake-ups of the batch that this thread works on.
    static OUTBOX: RefCell<Option<Outbox>> = const { RefCell::new(None) };
}

/// Gives this thread a courier, once. Must be called inside a local task set.
pub fn start() {
    OWN.with_borrow_mut(|own| {
        if own.is_none() {
            let (sender, receiver) = unbounded_channel();
            actix::spawn(deliver(receiver));
            *own = Some(Courier(sender));
        }
    });
}

async fn deliver(mut receiver: UnboundedReceiver<Vec<Waker>>) {
    while let Some(wakers) = receiver.recv().await {
        wakers.into_iter().for_each(Waker::wake); // on their own thread: no system call
    }
}

/// The courier of this thread.
pub(super) fn of_this_thread() -> Option<Courier> {
    OWN.with_borrow(Option::clone)
}

/// Wakes now, or with the batch that this thread works on.
pub(super) fn wake(waker: Waker, courier: Option<Courier>) {
    let Some(courier) = courier else { return waker.wake() };
    if of_this_thread().is_some_and(|own| own.0.same_channel(&courier.0)) {
        return waker.wake(); // it is here already
    }
    let now = OUTBOX.with_borrow_mut(|outbox| {
        let Some(outbox) = outbox else { return Some(waker) };
        let same = |(other, _): &&mut (Courier, Vec<Waker>)| other.0.same_channel(&courier.0);
        match outbox.iter_mut().find(same) {
            Some((_, wakers)) => wakers.push(waker),
            None => outbox.push((courier, vec![waker])),
        }
        None
    });
    if let Some(waker) = now {
        waker.wake();
    }
}

/// Collects the wake-ups of `work` and sends them off when it is done.
pub fn together<R>(work: impl FnOnce() -> R) -> R {
    let outermost = OUTBOX.with_borrow_mut(|outbox| outbox.replace(Vec::new()).is_none());
    assert!(outermost, "a batch inside a batch would send the outer one's wake-ups early");
    let result = work();
    let batch = OUTBOX.with_borrow_mut(Option::take).unwrap_or_default();
    for (courier, wakers) in batch {
        if let Err(unsent) = courier.0.send(wakers) {
            unsent.0.into_iter().for_each(Waker::wake); // the thread ends; its tasks see to themselves
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::{AskError, Reply};

    #[actix::test]
    async fn answers_of_a_batch_arrive_when_it_is_done() {
        super::start();
        let (replies, answers): (Vec<_>, Vec<_>) = (0..100).map(|_| Reply::channel()).unzip();
        let waiting = actix::spawn(futures_util::future::join_all(answers));
        tokio::task::yield_now().await; // they wait now
        let answered = std::thread::spawn(move || {
            super::together(|| {
                for (number, reply) in replies.into_iter().enumerate() {
                    reply.send(number).unwrap();
                }
            });
        });
        let answers = waiting.await.unwrap();
        answered.join().unwrap();
        assert_eq!(answers, (0..100).map(Ok).collect::<Vec<_>>());
    }

    #[actix::test]
    async fn a_dropped_reply_is_told_and_a_gone_asker_too() {
        let (reply, answering) = Reply::<u8>::channel();
        drop(reply);
        assert_eq!(answering.await, Err(AskError::Stopped));
        let (reply, answering) = Reply::<u8>::channel();
        drop(answering);
        assert_eq!(reply.send(7), Err(7));
    }
}
