//! etcd's Range: which keys, in which order, how many.

use std::cmp::Ordering;

use super::{
    V3Error,
    past::{View, revision_of},
};
use crate::{
    command::{SortOrder, SortTarget, V3Range},
    storage::mvcc::{State, record::KeyRecord},
    types::Revision,
};

/// What a range holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeAnswer {
    /// The keys that were asked for, in the order that was asked for.
    pub keys: Vec<KeyRecord>,
    /// Show them without their values.
    pub keys_only: bool,
    /// There are more that the limit cut off.
    pub more: bool,
    /// Keys of the range, whatever limit and filters say.
    pub count: u64,
    /// The current revision of the state that was looked at.
    pub revision: Revision,
}

/// Looks `query` up in `state`.
pub fn range(state: &State, query: &V3Range) -> Result<RangeAnswer, V3Error> {
    let view = View::new(state, &query.keys, revision_of(state, query.revision)?);
    let mut answer = RangeAnswer {
        revision: state.revision,
        keys_only: query.keys_only,
        count: view.count(state) as u64,
        ..RangeAnswer::default()
    };
    if query.count_only {
        return Ok(answer);
    }
    let limit = limit_of(query);
    let passing = |record: &&KeyRecord| passes(query, record);
    // In key order the first `limit` are those that are wanted, and one more tells that there are more.
    let enough = limit.saturating_add(1);
    let by_key_down =
        query.sort_order == SortOrder::Descend && query.sort_target == SortTarget::Key;
    if let Some(keys) = view.descending(state).filter(|_| by_key_down) {
        answer.keys = keys.filter(passing).take(enough).cloned().collect();
    } else {
        // With a target and no order, etcd too takes the first by key, and sorts only them.
        let ends_early = is_ascending(query) || in_key_order(query) && !filters(query);
        let enough = if ends_early { enough } else { usize::MAX };
        answer.keys = view.iter(state, None).filter(passing).take(enough).cloned().collect();
        if !is_ascending(query) {
            sort(&mut answer.keys, query.sort_order, query.sort_target);
        }
    }
    answer.more = answer.keys.len() > limit;
    answer.keys.truncate(limit);
    Ok(answer)
}

/// How much work a range is, roughly: keys and revisions to look at.
pub fn work(state: &State, query: &V3Range) -> usize {
    let past = if query.revision <= 0 {
        0
    } else {
        state.revision.0.saturating_sub(query.revision as u64) as usize
    };
    let walked = match query.keys.bounds() {
        None => 0,
        Some(_) if query.count_only || query.keys.is_one() => 1,
        Some((from, to)) => {
            let count = state.keys.count(from, to);
            let by_key =
                query.sort_target == SortTarget::Key || query.sort_order == SortOrder::None;
            if by_key && !filters(query) { count.min(limit_of(query)) } else { count }
        }
    };
    walked.saturating_add(past)
}

/// At most so many keys.
pub fn limit_of(query: &V3Range) -> usize {
    if query.limit <= 0 { usize::MAX } else { query.limit as usize }
}

/// Whether etcd takes the order of keys for the wanted one, and lets the limit end its walk.
pub fn in_key_order(query: &V3Range) -> bool {
    query.sort_order == SortOrder::None || is_ascending(query)
}

fn is_ascending(query: &V3Range) -> bool {
    query.sort_target == SortTarget::Key && query.sort_order != SortOrder::Descend
}

/// Whether keys are selected by their revisions.
pub fn filters(query: &V3Range) -> bool {
    query.min_mod_revision != 0
        || query.max_mod_revision != 0
        || query.min_create_revision != 0
        || query.max_create_revision != 0
}

fn passes(query: &V3Range, record: &KeyRecord) -> bool {
    let within = |revision: Revision, min: i64, max: i64| {
        (min == 0 || revision.0 as i64 >= min) && (max == 0 || revision.0 as i64 <= max)
    };
    within(record.mod_revision, query.min_mod_revision, query.max_mod_revision)
        && within(record.create_revision, query.min_create_revision, query.max_create_revision)
}

/// Ties stay in key order, also where the order is descending.
fn sort(keys: &mut [KeyRecord], order: SortOrder, target: SortTarget) {
    let compare = |a: &KeyRecord, b: &KeyRecord| -> Ordering {
        match target {
            SortTarget::Key => a.key().cmp(b.key()),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value().cmp(b.value()),
        }
    };
    if order == SortOrder::Descend {
        keys.sort_by(|a, b| compare(b, a));
    } else {
        keys.sort_by(compare);
    }
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
