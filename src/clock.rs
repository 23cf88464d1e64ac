//! The wall clock, for hosts and doors. Roles and storage never read it: time reaches them in messages.

use std::time::SystemTime;

use crate::types::UnixNanos;

/// Now, by the wall clock; the epoch if the clock stands before it.
#[allow(clippy::disallowed_methods, reason = "the one place where hosts and doors read the clock")]
pub fn wall_clock() -> UnixNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixNanos(since.as_nanos() as u64)
}
