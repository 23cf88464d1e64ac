//! Watches: every event of the pattern once, in order, whatever members the watcher goes to.

use std::sync::Arc;

use callboard::storage::mvcc::record::RevisionRecord;
use callboard::storage::mvcc::watch::{Part, Seen, SharedEvent, WatchPattern};
use callboard::types::Revision;

use super::{Broken, Invariant};

/// The first revision that is written.
const FIRST: u64 = 2;

/// How far a watcher is: all before a revision, and so many of that revision's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub revision: Revision,
    pub events: usize,
}

impl Place {
    /// All before `revision` is seen.
    pub fn at(revision: Revision) -> Place {
        Place { revision, events: 0 }
    }

    /// One more event, of this revision.
    #[must_use]
    pub fn saw(self, revision: Revision) -> Place {
        let before = if revision == self.revision { self.events } else { 0 };
        Place { revision, events: before + 1 }
    }
}

/// The next event for a watcher that is there.
pub fn next<'a>(
    history: &'a [Arc<RevisionRecord>],
    pattern: &WatchPattern,
    place: Place,
) -> Option<(&'a Arc<RevisionRecord>, Part)> {
    let from = place.revision.0.saturating_sub(FIRST) as usize;
    let later = history.get(from..).unwrap_or_default().iter().filter(|record| !record.refresh);
    later
        .flat_map(|record| {
            let seen = if record.revision == place.revision { place.events } else { 0 };
            let parts = record.v2_parts().filter(|&part| pattern.matches(record, part, Seen::Live));
            parts.skip(seen).map(move |part| (record, part))
        })
        .next()
}

/// This event is the next.
pub fn is_next(
    history: &[Arc<RevisionRecord>],
    pattern: &WatchPattern,
    place: Place,
    event: &SharedEvent,
) -> Result<(), Broken> {
    let expected = next(history, pattern, place);
    if expected.is_some_and(|(record, part)| **record == *event.record && part == event.part) {
        return Ok(());
    }
    Err(Invariant::WatchOrder.broken(format!(
        "a watcher of {} that is at {place:?} gets {:?} of revision {}, not {:?}",
        pattern.path.escape_ascii(),
        event.part,
        event.revision(),
        expected.map(|(record, part)| (record.revision, part))
    )))
}
