//! Watches: every event of the pattern once, in order, whatever members the watcher goes to.

use std::sync::Arc;

use callboard::storage::mvcc::record::RevisionRecord;
use callboard::storage::mvcc::watch::{Seen, SharedEvent, WatchPattern};
use callboard::types::Revision;

use super::{Broken, Invariant};

/// The first revision that is written.
const FIRST: u64 = 2;

/// The next event for a watcher that saw all up to `after`.
pub fn next<'a>(
    history: &'a [Arc<RevisionRecord>],
    pattern: &WatchPattern,
    after: Revision,
) -> Option<&'a Arc<RevisionRecord>> {
    let from = (after.0 + 1).saturating_sub(FIRST) as usize;
    let later = history.get(from..).unwrap_or_default();
    later.iter().find(|record| pattern.first_match(record, Seen::Live).is_some())
}

/// This event is the next.
pub fn is_next(
    history: &[Arc<RevisionRecord>],
    pattern: &WatchPattern,
    after: Revision,
    event: &SharedEvent,
) -> Result<(), Broken> {
    let expected = next(history, pattern, after);
    if expected.is_some_and(|record| **record == *event.record) {
        return Ok(());
    }
    Err(Invariant::WatchOrder.broken(format!(
        "a watcher of {} that saw all up to {after} gets revision {}, not {:?}",
        pattern.path.escape_ascii(),
        event.revision(),
        expected.map(|record| record.revision)
    )))
}
