//! The wall clock, read in one place: reads count a TTL from now, and uptime is told in answers.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::types::UnixNanos;

/// Now, by this machine's wall clock; 0 should it stand before 1970.
#[allow(clippy::disallowed_methods, reason = "a door tells seconds left; no role sees this clock")]
pub fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(since.as_nanos() as u64)
}
