//! Keys as they were: what a range held at a revision that history still knows.

use std::{collections::BTreeMap, ops::Bound};

use super::V3Error;
use crate::{
    command::KeyRange,
    storage::mvcc::{State, record::KeyRecord},
    types::Revision,
};

/// The revision at which a request looks: the current one if it names none.
pub fn revision_of(state: &State, asked: i64) -> Result<Revision, V3Error> {
    if asked <= 0 {
        return Ok(state.revision);
    }
    let revision = Revision(asked as u64);
    if revision > state.revision {
        return Err(V3Error::FutureRevision);
    }
    if revision < state.compacted {
        return Err(V3Error::Compacted);
    }
    Ok(revision)
}

/// Calls `visit` with every key of `keys` as of `revision`, which [`revision_of`] let pass, ascending.
pub fn visit(
    state: &State,
    keys: &KeyRange,
    revision: Revision,
    mut visit: impl FnMut(&KeyRecord),
) {
    let Some((from, to)) = keys.bounds() else { return };
    if revision == state.revision {
        if keys.is_one() {
            state.key(&keys.key).into_iter().for_each(visit);
        } else {
            state.keys.range(from, to).for_each(visit);
        }
        return;
    }
    if keys.is_one()
        && let Some(now) = state.key(&keys.key)
    {
        if let Some(then) = back(state, now, revision) {
            visit(&then);
        }
        return;
    }
    let changed = changed_since(state, keys, revision);
    let mut old = changed.iter().peekable();
    for now in state.keys.range(from, to) {
        while let Some((_, then)) = old.next_if(|(key, _)| **key < now.key()) {
            then.iter().for_each(&mut visit);
        }
        match old.next_if(|(key, _)| **key == now.key()) {
            Some((_, then)) => then.iter().for_each(&mut visit),
            None => visit(now),
        }
    }
    old.for_each(|(_, then)| then.iter().for_each(&mut visit));
}

/// The version of a key that exists now, as of `revision`; none if it did not exist then.
fn back(state: &State, now: &KeyRecord, revision: Revision) -> Option<KeyRecord> {
    let mut record = now.clone();
    while record.mod_revision > revision {
        let made = state.history.get(&record.mod_revision)?;
        record = made.change_of(record.key())?.before.clone()?;
    }
    Some(record)
}

/// Every key of `keys` that changed after `revision`, with what it was at that revision: what the first
/// of its changes since then found.
fn changed_since<'a>(
    state: &'a State,
    keys: &KeyRange,
    revision: Revision,
) -> BTreeMap<&'a [u8], Option<KeyRecord>> {
    let mut found: BTreeMap<&[u8], Option<KeyRecord>> = BTreeMap::new();
    for record in state.history.range(Bound::Excluded(&revision), Bound::Unbounded) {
        for change in record.changes.iter().filter(|change| keys.contains(change.key())) {
            found.entry(change.key()).or_insert_with(|| change.before.clone());
        }
    }
    found
}
