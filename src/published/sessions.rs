//! Who has shown its password: tokens, known by their hashes. Filled when a login is applied, so that a
//! token from one member is good for all. A table of each member's own: no snapshot has it, and how
//! long a token lives since it was last used is counted where it is used.
//!
//! A token that was made void (another password, a user that is gone) may stay in the table: whoever
//! looks it up compares its auth revision with the users as they are.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{command::TokenHash, types::UnixNanos};

/// So many tokens at most; when there are more, the quarter that was used longest ago goes.
const SESSIONS_MAX: usize = 1 << 16;

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user.
    pub user: String,
    /// The auth revision at which it showed its password.
    pub auth_revision: u64,
}

/// See the head of the module.
#[derive(Debug, Default)]
pub struct Sessions {
    known: Mutex<BTreeMap<TokenHash, Known>>,
}

#[derive(Debug)]
struct Known {
    session: Session,
    /// By the proposer's clock.
    made: UnixNanos,
    /// By this process's; none if it was not used here yet.
    used: Option<Instant>,
}

impl Known {
    fn is_alive(&self, now: Instant, wall: UnixNanos, ttl: Duration) -> bool {
        let idle = match self.used {
            Some(used) => now.saturating_duration_since(used),
            None => Duration::from_nanos(wall.0.saturating_sub(self.made.0)),
        };
        idle < ttl
    }
}

impl Sessions {
    /// A token was given out then.
    pub fn add(&self, token: TokenHash, session: Session, made: UnixNanos) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SESSIONS_MAX {
            let mut order: Vec<_> =
                known.iter().map(|(token, known)| (known.used, known.made, *token)).collect();
            order.sort_unstable();
            for (_, _, token) in order.drain(..SESSIONS_MAX / 4) {
                known.remove(&token);
            }
        }
        known.insert(token, Known { session, made, used: None });
    }

    /// Whose a token is, if it was used no longer than `ttl` ago; it is now.
    pub fn touch(
        &self,
        token: &TokenHash,
        now: Instant,
        wall: UnixNanos,
        ttl: Duration,
    ) -> Option<Session> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get_mut(token)?;
        if !found.is_alive(now, wall, ttl) {
            known.remove(token);
            return None;
        }
        found.used = Some(now);
        Some(found.session.clone())
    }

    /// Forgets tokens that nobody used for so long.
    pub fn sweep(&self, now: Instant, wall: UnixNanos, ttl: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.is_alive(now, wall, ttl));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);
    const SECOND: u64 = 1_000_000_000;

    #[allow(clippy::disallowed_methods, reason = "some instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn token(number: usize) -> TokenHash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        TokenHash(bytes)
    }

    fn ann() -> Session {
        Session { user: "ann".to_owned(), auth_revision: 3 }
    }

    #[test]
    fn a_token_lives_from_use_to_use() {
        let sessions = Sessions::default();
        let start = start();
        let at = |seconds: u64| (start + Duration::from_secs(seconds), UnixNanos(seconds * SECOND));
        let touch = |seconds| {
            let (now, wall) = at(seconds);
            sessions.touch(&token(1), now, wall, TTL)
        };
        assert_eq!(touch(0), None);
        sessions.add(token(1), ann(), UnixNanos(0));
        assert_eq!(touch(299), Some(ann()));
        assert_eq!(touch(598), Some(ann()));
        let (now, wall) = at(800);
        sessions.sweep(now, wall, TTL);
        assert_eq!(touch(897), Some(ann()));
        assert_eq!(touch(1197), None);
        // Read from the log again long after it was made: it never was used here.
        sessions.add(token(1), ann(), UnixNanos(0));
        assert_eq!(touch(300), None);
    }

    #[test]
    fn the_table_is_bounded_and_loses_what_was_used_longest_ago() {
        let sessions = Sessions::default();
        let start = start();
        for number in 0..SESSIONS_MAX {
            sessions.add(token(number), ann(), UnixNanos(number as u64));
        }
        assert!(sessions.touch(&token(0), start, UnixNanos(0), TTL).is_some());
        sessions.add(token(SESSIONS_MAX), ann(), UnixNanos(0));
        let alive = |number| sessions.touch(&token(number), start, UnixNanos(0), TTL).is_some();
        assert!(alive(0) && alive(SESSIONS_MAX) && alive(SESSIONS_MAX - 1));
        assert!(!alive(1) && !alive(SESSIONS_MAX / 4));
        assert_eq!(sessions.known.lock().unwrap().len(), SESSIONS_MAX / 4 * 3 + 1);
    }
}
