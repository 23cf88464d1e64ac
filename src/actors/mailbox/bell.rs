//! The bell of a thread that waits for several channels.
//!
//! A receiver that sleeps inside crossbeam's channel is woken by a sender that still holds the channel's
//! lock: on another core it runs into that lock at once, and sleeps a second time. Here the sender lets go
//! of the channel first and then rings: a lone write costs one wake-up of its thread, not two, and a
//! thread that is awake costs none.
//!
//! Depends on crossbeam-channel and the threads of std.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use crossbeam_channel::{Receiver, SendError, Sender, TrySendError};

/// Wakes one thread.
#[derive(Debug, Default)]
pub struct Bell {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Bell {
    /// Wakes the thread, if it sleeps.
    fn ring(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Sleeps until it is rung, or for so long; or not at all where `is_idle` finds something to do. May
    /// also end early. Always called by the same thread.
    ///
    /// A sender fills its channel and then looks whether the thread sleeps; the thread says that it
    /// sleeps and then looks whether the channels are empty. One of the two sees the other, in whatever
    /// order they come: all four steps are sequentially consistent.
    pub fn wait(&self, timeout: Duration, is_idle: impl FnOnce() -> bool) {
        self.thread.get_or_init(thread::current);
        self.asleep.store(true, Ordering::SeqCst);
        if is_idle() {
            thread::park_timeout(timeout);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// Sends to a channel and rings its thread's bell.
#[derive(Debug)]
pub struct RingingSender<T> {
    sender: Sender<T>,
    bell: Arc<Bell>,
}

impl<T> Clone for RingingSender<T> {
    fn clone(&self) -> Self {
        RingingSender { sender: self.sender.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> RingingSender<T> {
    /// Sends, unless there is no room or no receiver.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.sender.try_send(message)?;
        self.bell.ring();
        Ok(())
    }

    /// Waits for room and sends, unless there is no receiver.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.sender.send(message)?;
        self.bell.ring();
        Ok(())
    }
}

/// A channel of this capacity whose receiver sleeps by this bell.
pub fn channel<T>(bell: &Arc<Bell>, capacity: usize) -> (RingingSender<T>, Receiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (RingingSender { sender, bell: Arc::clone(bell) }, receiver)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test that would hang otherwise")]
    fn no_message_is_slept_through() {
        const EACH: u32 = 20_000;
        let bell = Arc::new(Bell::default());
        let (left, from_left) = channel::<u32>(&bell, 8);
        let (right, from_right) = channel::<u32>(&bell, 8);
        let deadline = Instant::now() + Duration::from_secs(60);
        let senders: Vec<_> = [left, right]
            .into_iter()
            .map(|sender| thread::spawn(move || (0..EACH).for_each(|n| sender.send(n).unwrap())))
            .collect();
        let (mut received, mut long_waits) = (0, 0);
        while received < 2 * EACH {
            let now = from_left.try_iter().chain(from_right.try_iter()).count();
            received += u32::try_from(now).unwrap();
            let started = Instant::now();
            assert!(started < deadline, "{received} of {} arrived", 2 * EACH);
            let is_idle = || received < 2 * EACH && from_left.is_empty() && from_right.is_empty();
            bell.wait(Duration::from_secs(20), is_idle);
            long_waits += u32::from(started.elapsed() > Duration::from_secs(10));
        }
        assert_eq!(long_waits, 0, "a sleeper was not woken");
        for sender in senders {
            sender.join().unwrap();
        }
    }

    #[test]
    fn what_cannot_be_sent_comes_back() {
        let bell = Arc::new(Bell::default());
        let (sender, receiver) = channel::<u8>(&bell, 1);
        sender.try_send(1).unwrap();
        assert!(matches!(sender.try_send(2), Err(TrySendError::Full(2))));
        drop(receiver);
        assert!(matches!(sender.try_send(3), Err(TrySendError::Disconnected(3))));
        assert_eq!(sender.send(4), Err(SendError(4)));
    }
}
