//! Who guesses passwords must wait: longer with every wrong one, for each user and address.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

/// So many wrong ones cost nothing: people mistype.
const FREE: u32 = 10;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// After this long nothing is held against anyone.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// So many are remembered; then those that failed longest ago are forgotten.
const GUESSERS_MAX: usize = 4096;

/// A user, and from where it was tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guess([u8; 32]);

impl Guess {
    /// Names may be long: a digest is not.
    pub fn of(remote: Option<IpAddr>, user: &str) -> Guess {
        let remote = remote.map(|ip| ip.to_string()).unwrap_or_default();
        Guess(Sha256::digest(format!("{remote} {user}")).into())
    }
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn wait(self) -> Duration {
        match self.count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => Duration::from_secs(1 << more.min(16)).min(WAIT_MAX),
        }
    }
}

/// See the head of the module.
#[derive(Default)]
pub struct Throttle(BTreeMap<Guess, Failures>);

impl Throttle {
    /// Whether another password may be tried.
    pub fn may_try(&self, guess: Guess, now: Instant) -> bool {
        self.0
            .get(&guess)
            .is_none_or(|failures| now.saturating_duration_since(failures.last) >= failures.wait())
    }

    /// It was wrong.
    pub fn failed(&mut self, guess: Guess, now: Instant) {
        if self.0.len() >= GUESSERS_MAX && !self.0.contains_key(&guess) {
            self.0
                .retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET_AFTER);
            let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(guess, _)| *guess)
                && self.0.len() >= GUESSERS_MAX
            {
                self.0.remove(&oldest);
            }
        }
        let failures = self.0.entry(guess).or_insert(Failures { count: 0, last: now });
        if now.saturating_duration_since(failures.last) >= FORGET_AFTER {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// It was right.
    pub fn succeeded(&mut self, guess: Guess) {
        self.0.remove(&guess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_password_costs_more() {
        let mut throttle = Throttle::default();
        let guess = Guess::of(None, "ann");
        #[allow(clippy::disallowed_methods, reason = "some instant to count from")]
        let mut now = Instant::now();
        for _ in 0..FREE {
            assert!(throttle.may_try(guess, now));
            throttle.failed(guess, now);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!throttle.may_try(guess, now));
            now += Duration::from_secs(seconds);
            assert!(throttle.may_try(guess, now), "after {seconds} s");
            throttle.failed(guess, now);
        }
        assert!(throttle.may_try(Guess::of(None, "bob"), now));
        assert!(throttle.may_try(Guess::of("::1".parse().ok(), "ann"), now));
        now += FORGET_AFTER;
        throttle.failed(guess, now);
        assert!(throttle.may_try(guess, now));
        for number in 0..2 * GUESSERS_MAX {
            throttle.failed(Guess::of(None, &number.to_string()), now);
        }
        assert!(throttle.0.len() <= GUESSERS_MAX);
        throttle.succeeded(guess);
        assert!(throttle.may_try(guess, now));
    }
}
