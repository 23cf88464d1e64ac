//! Watches of ranges: every revision that changes one of the keys once, whole, in order, whatever members
//! the watcher goes to; what compaction took is told as compacted, and progress is not told too soon.

use std::sync::Arc;

use callboard::command::KeyRange;
use callboard::storage::mvcc::record::RevisionRecord;
use callboard::types::Revision;

use super::{Broken, Invariant};

/// The first revision that is written.
const FIRST: u64 = 2;

/// The next revision for one who watches `keys` and has seen all before `from`.
pub fn next<'a>(
    history: &'a [Arc<RevisionRecord>],
    keys: &KeyRange,
    from: Revision,
) -> Option<&'a Arc<RevisionRecord>> {
    let later = history.get(from.0.saturating_sub(FIRST) as usize..).unwrap_or_default();
    later.iter().find(|record| record.changes.iter().any(|change| keys.contains(change.key())))
}

/// This revision is the next, and as it was made.
pub fn is_next(
    history: &[Arc<RevisionRecord>],
    keys: &KeyRange,
    from: Revision,
    record: &RevisionRecord,
) -> Result<(), Broken> {
    let expected = next(history, keys, from);
    if expected.is_some_and(|expected| **expected == *record) {
        return Ok(());
    }
    Err(Invariant::RangeWatches.broken(format!(
        "a watcher of {keys:?} that saw all before {from} gets revision {}, not {:?}",
        record.revision,
        expected.map(|record| record.revision)
    )))
}

/// Nothing up to `told` is still to come.
pub fn is_progress(
    history: &[Arc<RevisionRecord>],
    keys: &KeyRange,
    from: Revision,
    told: Revision,
) -> Result<(), Broken> {
    match next(history, keys, from) {
        Some(missed) if missed.revision <= told => Err(Invariant::RangeWatches.broken(format!(
            "a watcher of {keys:?} that saw all before {from} is told that it saw all up to {told}, but \
             never saw {}",
            missed.revision
        ))),
        _ => Ok(()),
    }
}

/// Told only where it is true.
pub fn is_compacted(told: Revision, truth: Revision, from: Revision) -> Result<(), Broken> {
    if from <= told && told <= truth {
        return Ok(());
    }
    Err(Invariant::RangeWatches.broken(format!(
        "a watcher that saw all before {from} is told that all up to {told} is compacted, where all up to \
         {truth} is"
    )))
}
