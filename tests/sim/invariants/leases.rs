//! Leases: none ends before its TTL has passed; none lives on for long in a healthy cluster.

use callboard::storage::mvcc::State;
use callboard::storage::mvcc::record::LeaseRecord;
use callboard::types::UnixNanos;

use super::{Broken, Invariant};

/// Where all clocks are right, a lease is proposed to end only once it has run out.
pub fn not_early(lease: &LeaseRecord, proposed: UnixNanos) -> Result<(), Broken> {
    if proposed >= lease.expires {
        return Ok(());
    }
    let early = (lease.expires.0 - proposed.0) / 1_000_000;
    Err(Invariant::Leases.broken(format!("lease {:?} ends {early} ms early", lease.id)))
}

/// At the end all have run out.
pub fn none_is_left(state: &State) -> Result<(), Broken> {
    match state.leases().next() {
        None => Ok(()),
        Some(lease) => Err(Invariant::Leases.broken(format!("lease {:?} never ends", lease.id))),
    }
}
