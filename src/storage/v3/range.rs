//! etcd's Range: which keys, in which order, how many.

use std::cmp::Ordering;

use super::{
    V3Error,
    past::{revision_of, visit},
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
    let at = revision_of(state, query.revision)?;
    let mut answer = RangeAnswer {
        revision: state.revision,
        keys_only: query.keys_only,
        ..RangeAnswer::default()
    };
    if query.count_only {
        visit(state, &query.keys, at, |_| answer.count += 1);
        return Ok(answer);
    }
    let limit = if query.limit <= 0 { usize::MAX } else { query.limit as usize };
    let sorted = query.sort_order != SortOrder::None || query.sort_target != SortTarget::Key;
    // In key order the first `limit` are those that are wanted, and one more tells that there are more.
    let plain =
        !sorted || (query.sort_order == SortOrder::Ascend && query.sort_target == SortTarget::Key);
    let keep = if plain { limit.saturating_add(1) } else { usize::MAX };
    let keys = &mut answer.keys;
    let count = &mut answer.count;
    visit(state, &query.keys, at, |record| {
        *count += 1;
        if keys.len() < keep && passes(query, record) {
            keys.push(record.clone());
        }
    });
    if !plain {
        sort(keys, query.sort_order, query.sort_target);
    }
    answer.more = keys.len() > limit;
    keys.truncate(limit);
    Ok(answer)
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
