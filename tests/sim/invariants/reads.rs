//! Reads: a linearizable one sees all that was acknowledged before it began; any sees some past state,
//! and on one member none goes back.

use callboard::command::{KeyRange, V3Range};
use callboard::storage::mvcc::{State, record::KeyRecord};
use callboard::storage::v3::{self, V3Error};
use callboard::types::{Index, Revision};

use super::{Broken, Invariant};
use crate::sim::clients::Op;
use crate::sim::ledger::Ledger;

/// What a read saw, and at which revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub revision: Revision,
    pub keys: Vec<KeyRecord>,
}

/// What a state says of a key, as the v2 door asks for it.
pub fn look(state: &State, key: &str) -> Seen {
    Seen {
        revision: state.revision,
        keys: state.key(key.as_bytes()).into_iter().cloned().collect(),
    }
}

/// What a state says of a range, as the v3 door asks for it; 0 is its own revision.
pub fn range(state: &State, keys: &KeyRange, revision: i64) -> Result<Seen, V3Error> {
    let query = V3Range { keys: keys.clone(), revision, ..V3Range::default() };
    let answer = v3::range(state, &query)?;
    Ok(Seen { revision: answer.revision, keys: answer.keys })
}

/// The state at `applied` says so of these keys, as of `revision`; 0 is its own.
pub fn is_past(
    ledger: &Ledger,
    keys: &KeyRange,
    revision: i64,
    applied: Index,
    seen: &Result<Seen, V3Error>,
) -> Result<(), Broken> {
    let Some(state) = ledger.state_at(applied) else { return Ok(()) };
    let at = if revision <= 0 { state.revision } else { Revision(revision as u64) };
    let truth = if at < state.compacted {
        Err(V3Error::Compacted)
    } else if at > state.revision {
        Err(V3Error::FutureRevision)
    } else {
        Ok(Seen { revision: state.revision, keys: ledger.keys_at(keys, at) })
    };
    if truth == *seen {
        return Ok(());
    }
    Err(Invariant::ReadsAreFresh.broken(format!(
        "a read of {keys:?} at revision {at} after entry {applied} sees {seen:?}, not {truth:?}"
    )))
}

/// Nothing that was acknowledged before it began is missing.
pub fn is_fresh(op: &Op, applied: Index, at_least: u64) -> Result<(), Broken> {
    if applied.0 >= op.floor && applied.0 >= at_least {
        return Ok(());
    }
    Err(Invariant::ReadsAreFresh.broken(format!(
        "a read at member {} sees the state after entry {applied}; entry {} was acknowledged before it \
         began, and its read index is {at_least}",
        op.m + 1,
        op.floor
    )))
}
