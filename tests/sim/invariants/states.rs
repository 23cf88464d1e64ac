//! States: the same index, the same state, on every member.

use callboard::storage::mvcc::{State, codec};

use super::Invariant;
use crate::sim::world::World;

/// A whole digest of every so manieth comparison; the others look at a few numbers.
const WHOLE: u64 = 16;

impl World {
    pub fn compare_state(&mut self, m: usize, state: &State) {
        let index = state.applied_index;
        let Some(truth) = self.ledger.state_at(index) else { return };
        let numbers = |state: &State| {
            let (keys, leases) = (state.key_count(), state.leases().count());
            (state.applied_term, state.revision, state.compacted, keys, leases)
        };
        let (own, truth) = (numbers(state), numbers(truth));
        self.trace.note(&[index.0, state.revision.0]);
        if own != truth {
            let what = format!(
                "after entry {index} member {} has (term, revision, compacted, keys, leases) {own:?} \
                 where {truth:?} is right",
                m + 1
            );
            return self.check(Err(Invariant::StateMachineSafety.broken(what)));
        }
        if index.0.is_multiple_of(WHOLE) || self.ending {
            self.compare_digest(m, state);
        }
    }

    pub fn compare_digest(&mut self, m: usize, state: &State) {
        let index = state.applied_index;
        let own = codec::digest(state);
        if let Some(truth) = self.ledger.digest_at(index)
            && truth != own
        {
            let what =
                format!("after entry {index} member {} has digest {own:x}, not {truth:x}", m + 1);
            self.check(Err(Invariant::StateMachineSafety.broken(what)));
        }
    }
}
