//! The one place where tests of a real process ask for the time or wait for it to pass.
//!
//! Rule: wait for an event, with a deadline after which the test fails. `pause` is only for asking
//! again when the other side has no way to tell us (a port that is not open yet, a counter).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment after which waiting is a failure.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `wait` from now.
    pub fn after(wait: Duration) -> Self {
        Self(now() + wait)
    }

    /// What is left, or `None` when it has passed.
    pub fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(now()).filter(|left| !left.is_zero())
    }
}

/// The monotonic clock.
#[allow(clippy::disallowed_methods, reason = "a real process runs in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, by the clock on the wall.
#[allow(clippy::disallowed_methods, reason = "expirations are times of day")]
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_secs_f64()
}

/// A short rest before asking again.
#[allow(clippy::disallowed_methods, reason = "a started process has no other way to tell us")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Asks until there is an answer, or until `wait` has passed.
pub fn poll<T>(wait: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(wait);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        deadline.left()?;
        pause();
    }
}
