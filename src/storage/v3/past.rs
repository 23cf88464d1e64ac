//! Keys of a range, as they are or as they were: what a range held at a revision that history still
//! knows.

use std::{cmp::Ordering, collections::BTreeMap, ops::Bound};

use super::V3Error;
use crate::{
    command::KeyRange,
    storage::{
        mvcc::{State, record::KeyRecord},
        tree::Iter,
    },
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

/// The keys of a range at a revision. It belongs to the state it was made of, and is of no use with
/// another; it does not hold that state itself, so that both can be kept side by side.
pub struct View {
    keys: KeyRange,
    changed: Vec<Changed>,
}

/// A key that changed since the revision of a view.
struct Changed {
    /// Some version of it, which tells the key.
    named: KeyRecord,
    then: Option<KeyRecord>,
}

impl View {
    /// The keys of `keys` at `revision`, which [`revision_of`] let pass. At the current revision this
    /// takes no time; else it takes a look at all that was changed since, or, for a key alone that was
    /// there all the time, at all that was done to it.
    pub fn new(state: &State, keys: &KeyRange, revision: Revision) -> View {
        let mut view = View { keys: keys.clone(), changed: Vec::new() };
        if revision == state.revision || keys.bounds().is_none() {
            return view;
        }
        if keys.is_one()
            && let Some(now) = state.key(&keys.key)
            && now.create_revision <= revision
        {
            if now.mod_revision > revision {
                let then = back(state, now, revision);
                view.changed.push(Changed { named: now.clone(), then });
            }
            return view;
        }
        view.changed = changed_since(state, keys, revision);
        view
    }

    /// How many keys there are.
    pub fn count(&self, state: &State) -> usize {
        let Some((from, to)) = self.keys.bounds() else { return 0 };
        let now = if self.keys.is_one() {
            usize::from(state.key(&self.keys.key).is_some())
        } else {
            state.keys.count(from, to)
        };
        self.changed.iter().fold(now, |count, changed| {
            let is = usize::from(state.key(changed.named.key()).is_some());
            count + usize::from(changed.then.is_some()) - is
        })
    }

    /// The keys, ascending: those after a key, or all.
    pub fn iter<'a>(&'a self, state: &'a State, after: Option<&[u8]>) -> Keys<'a> {
        let Some((from, to)) = self.keys.bounds() else { return Keys::default() };
        let from = after.map_or(from, Bound::Excluded);
        let first = after.map_or(0, |after| {
            self.changed.partition_point(|changed| changed.named.key() <= after)
        });
        let mut keys = Keys { changed: &self.changed[first..], ..Keys::default() };
        if self.keys.is_one() {
            keys.next_now = if after.is_none() { state.key(&self.keys.key) } else { None };
        } else {
            let mut now = state.keys.range(from, to);
            keys.next_now = now.next();
            keys.now = Some(now);
        }
        keys
    }

    /// The keys, descending, if they are those of now; else the caller must turn them round.
    pub fn descending<'a>(
        &'a self,
        state: &'a State,
    ) -> Option<impl Iterator<Item = &'a KeyRecord>> {
        if !self.changed.is_empty() {
            return None;
        }
        let range = self.keys.bounds().map(|(from, to)| state.keys.range(from, to).rev());
        Some(range.into_iter().flatten())
    }
}

/// The keys of a [`View`], ascending.
#[derive(Default)]
pub struct Keys<'a> {
    /// The next that is there now.
    next_now: Option<&'a KeyRecord>,
    /// Those after it; none where only one can be: a lookup costs less than a range of one.
    now: Option<Iter<'a, KeyRecord>>,
    changed: &'a [Changed],
}

impl<'a> Keys<'a> {
    fn take_now(&mut self) -> Option<&'a KeyRecord> {
        let following = self.now.as_mut().and_then(Iterator::next);
        std::mem::replace(&mut self.next_now, following)
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a KeyRecord;

    fn next(&mut self) -> Option<&'a KeyRecord> {
        loop {
            let Some((first, rest)) = self.changed.split_first() else { return self.take_now() };
            let order =
                self.next_now.map_or(Ordering::Greater, |now| now.key().cmp(first.named.key()));
            if order == Ordering::Less {
                return self.take_now();
            }
            self.changed = rest;
            if order == Ordering::Equal {
                self.take_now(); // it was something else then
            }
            if let Some(then) = &first.then {
                return Some(then);
            }
        }
    }
}

/// The version as of `revision` of a key that has been there ever since.
fn back(state: &State, now: &KeyRecord, revision: Revision) -> Option<KeyRecord> {
    let mut record = now;
    while record.mod_revision > revision {
        let made = state.history.get(&record.mod_revision)?;
        record = made.change_of(record.key())?.before.as_ref()?;
    }
    Some(record.clone())
}

/// Every key of `keys` that changed after `revision`, ascending, with what it was at that revision: what
/// the first of its changes since then found.
fn changed_since(state: &State, keys: &KeyRange, revision: Revision) -> Vec<Changed> {
    let mut found: BTreeMap<&[u8], (&KeyRecord, Option<&KeyRecord>)> = BTreeMap::new();
    for record in state.history.range(Bound::Excluded(&revision), Bound::Unbounded) {
        for change in record.changes.iter().filter(|change| keys.contains(change.key())) {
            let then = change.before.as_ref();
            let Some(named) = then.or(change.after.as_ref()) else { continue };
            found.entry(change.key()).or_insert((named, then));
        }
    }
    let changed = found.into_values();
    changed.map(|(named, then)| Changed { named: named.clone(), then: then.cloned() }).collect()
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
