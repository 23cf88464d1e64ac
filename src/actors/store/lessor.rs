//! The leader's clock of leases: tells which have run out. No part of the replicated state: every
//! member counts, only the leader's count is proposed.
//!
//! Counts ticks of its own host, so a jump of the wall clock ends no lease; never early, at most a few
//! ticks and the way through the log late.

use std::collections::{BTreeMap, BTreeSet};

use super::TICKS_PER_SECOND;
use crate::types::LeaseId;

/// How long a proposal may be under way before it is made again.
const RETRY_TICKS: u64 = 2 * TICKS_PER_SECOND;
/// Leases that end with one entry, at most.
const BATCH: usize = 512;

/// See the head of the module.
#[derive(Debug, Default)]
pub struct Lessor {
    now: u64,
    ends: BTreeMap<LeaseId, u64>,
    queue: BTreeSet<(u64, LeaseId)>,
}

impl Lessor {
    /// A lease has `ttl_ticks` to live from now.
    pub fn granted(&mut self, id: LeaseId, ttl_ticks: u64) {
        // Two more: a tick may have been on its way here before the grant, and the one after it may
        // follow at once; from then on there is a whole tick's time between any two.
        self.set(id, self.now.saturating_add(ttl_ticks).saturating_add(2));
    }

    /// Ticks that a lease has left.
    pub fn left(&self, id: LeaseId) -> Option<u64> {
        self.ends.get(&id).map(|end| end.saturating_sub(self.now))
    }

    /// A lease is gone.
    pub fn revoked(&mut self, id: LeaseId) {
        if let Some(end) = self.ends.remove(&id) {
            self.queue.remove(&(end, id));
        }
    }

    /// Time passes. Returns what is to be ended, in the order in which it ran out; on a member that
    /// does not lead nothing, but the leases stay due.
    pub fn tick(&mut self, leads: bool) -> Vec<LeaseId> {
        self.now += 1;
        if !leads {
            return Vec::new();
        }
        let due: Vec<LeaseId> = self
            .queue
            .iter()
            .take_while(|(end, _)| *end <= self.now)
            .take(BATCH)
            .map(|&(_, id)| id)
            .collect();
        for &id in &due {
            self.set(id, self.now + RETRY_TICKS); // asked again, should the proposal be lost
        }
        due
    }

    fn set(&mut self, id: LeaseId, end: u64) {
        if let Some(before) = self.ends.insert(id, end) {
            self.queue.remove(&(before, id));
        }
        self.queue.insert((end, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks_until_due(lessor: &mut Lessor, leads: bool) -> Option<(u64, Vec<LeaseId>)> {
        (1..1000)
            .find_map(|tick| Some((tick, lessor.tick(leads))).filter(|(_, due)| !due.is_empty()))
    }

    #[test]
    fn ends_after_its_ttl_and_is_asked_for_until_it_is_gone() {
        let mut lessor = Lessor::default();
        lessor.granted(LeaseId(1), 5);
        assert_eq!(ticks_until_due(&mut lessor, true), Some((7, vec![LeaseId(1)])));
        assert_eq!(ticks_until_due(&mut lessor, true), Some((RETRY_TICKS, vec![LeaseId(1)])));
        lessor.revoked(LeaseId(1));
        assert_eq!(ticks_until_due(&mut lessor, true), None);
    }

    #[test]
    fn a_new_grant_replaces_the_old_end() {
        let mut lessor = Lessor::default();
        lessor.granted(LeaseId(1), 5);
        lessor.tick(true);
        lessor.granted(LeaseId(1), 20);
        assert_eq!(ticks_until_due(&mut lessor, true).unwrap().0, 22);
    }

    #[test]
    fn only_the_leader_ends_leases_but_all_count() {
        let mut lessor = Lessor::default();
        lessor.granted(LeaseId(2), 3);
        lessor.granted(LeaseId(1), 4);
        assert_eq!(ticks_until_due(&mut lessor, false), None);
        assert_eq!(lessor.tick(true), [LeaseId(2), LeaseId(1)], "in the order of their ends");
    }
}
