//! Reads: a linearizable one sees all that was acknowledged before it began; any sees some past state,
//! and on one member none goes back.

use callboard::storage::mvcc::State;
use callboard::types::Index;

use super::{Broken, Invariant};
use crate::sim::clients::Op;
use crate::sim::ledger::Ledger;

/// What a read saw.
pub type Seen = Option<(Vec<u8>, u64)>;

/// What a state says of a key.
pub fn look(state: &State, key: &str) -> Seen {
    state.key(key.as_bytes()).map(|record| (record.value().to_vec(), record.mod_revision.0))
}

/// The state at `applied` says so.
pub fn is_past(ledger: &Ledger, key: &str, applied: Index, seen: &Seen) -> Result<(), Broken> {
    match ledger.state_at(applied).map(|state| look(state, key)) {
        Some(truth) if truth != *seen => Err(Invariant::ReadsAreFresh
            .broken(format!("a read of {key} after entry {applied} sees {seen:?}, not {truth:?}"))),
        _ => Ok(()),
    }
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
