//! What a watch reads by itself from published state: the revisions that it missed, and what was there
//! when it began.

use std::{ops::Bound, sync::Arc};

use bytes::Bytes;

use super::{answers::len_in_answer, watcher::View};
use crate::{
    command::{KeyRange, V3Range},
    http::v3::{error::RpcError, pb::Event},
    storage::{
        mvcc::{State, record::KeyRecord},
        v3,
    },
    types::Revision,
};

/// Records that are looked at before others get their turn.
const RECORDS_MAX: usize = 2048;
/// An answer of more bytes than this gets no further revision.
const ANSWER_BYTES: usize = 1 << 20;
/// Keys in one answer of what was there at the beginning.
const KEYS_MAX: usize = 1024;

/// Reads revisions from `next` on; none of them is forgotten. Gives what is to be seen of them, and the
/// first that was not looked at.
pub fn stretch(
    state: &State,
    keys: &KeyRange,
    view: View,
    next: Revision,
) -> (Vec<Event>, Revision) {
    let mut events = Vec::new();
    let (mut bytes, mut weighed) = (0, 0);
    for (looked_at, record) in state.history_from(next).enumerate() {
        if looked_at >= RECORDS_MAX || bytes >= ANSWER_BYTES {
            return (events, record.revision);
        }
        view.of_history(keys, record, &mut events);
        bytes += events[weighed..].iter().map(len_in_answer).sum::<usize>();
        weighed = events.len();
    }
    (events, state.revision.next())
}

/// The compacted revision itself: all that it did or, after a start from a snapshot, the keys that it put.
pub fn of_compacted(state: &State, keys: &KeyRange, view: View) -> Result<Vec<Event>, RpcError> {
    if let Some(record) = state.compacted_record() {
        let mut events = Vec::new();
        view.of_history(keys, record, &mut events);
        return Ok(events);
    }
    if view.no_put {
        return Ok(Vec::new());
    }
    let revision = state.compacted.0 as i64;
    let query = V3Range {
        keys: keys.clone(),
        revision,
        min_mod_revision: revision,
        max_mod_revision: revision,
        ..V3Range::default()
    };
    Ok(v3::range(state, &query)?.keys.into_iter().map(Event::Stored).collect())
}

/// What was there when a watch began, sent bit by bit.
pub struct Initial {
    from: Source,
    /// As of this revision.
    pub revision: Revision,
}

enum Source {
    /// The state as it was then, and the last key that was sent.
    State(Arc<State>, Option<Bytes>),
    /// An older revision: what is left.
    Keys(std::vec::IntoIter<KeyRecord>),
}

impl Initial {
    /// The keys as of `revision`, which is one that `state` knows.
    pub fn new(
        state: &Arc<State>,
        keys: &KeyRange,
        revision: Revision,
    ) -> Result<Initial, RpcError> {
        let from = if revision == state.revision {
            Source::State(Arc::clone(state), None)
        } else {
            let revision = revision.0 as i64;
            let query = V3Range { keys: keys.clone(), revision, ..V3Range::default() };
            Source::Keys(v3::range(state, &query)?.keys.into_iter())
        };
        Ok(Initial { from, revision })
    }

    /// The next events, and whether they are the last.
    pub fn take(&mut self, keys: &KeyRange) -> (Vec<Event>, bool) {
        match &mut self.from {
            Source::Keys(left) => {
                let events = bounded(&mut *left);
                (events, left.len() == 0)
            }
            Source::State(state, last) => {
                let Some((from, to)) = keys.bounds() else { return (Vec::new(), true) };
                let from = last.as_deref().map_or(from, Bound::Excluded);
                let mut left = state.keys.range(from, to).cloned().peekable();
                let events = bounded(&mut left);
                let done = left.peek().is_none();
                drop(left);
                if let Some(Event::Stored(record)) = events.last() {
                    *last = Some(Bytes::copy_from_slice(record.key()));
                }
                (events, done)
            }
        }
    }
}

fn bounded(keys: &mut impl Iterator<Item = KeyRecord>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut bytes = 0;
    while events.len() < KEYS_MAX && bytes < ANSWER_BYTES {
        let Some(record) = keys.next() else { break };
        bytes += record.len();
        events.push(Event::Stored(record));
    }
    events
}
