//! The clock of v3 leases, which live by being kept alive. That does not go through the log: only the
//! leader's clock knows how much a lease has left, and only the leader's answers count.
//!
//! Who begins to lead gives every lease its time anew: what the last checkpoint says, or all of its TTL.
//! So none ends early, however often the lead changes. Checkpoints are for leases that live long: without
//! them one could be given all of its days again with each change of leaders. Every
//! [`CHECKPOINT_TICKS`] the leader puts through the log what is left of those that are not kept alive
//! meanwhile; a change of leaders gives them at most about that much more. A lease that is kept alive
//! after its checkpoint has to be told of with another, before its client hears of it:
//! [`Renewed::must_tell`].
//!
//! Counts ticks of its own host, like [`super::lessor`]. No clock, no I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::TICKS_PER_SECOND;
use crate::types::{LeaseId, Term};

/// How long a proposal to end leases may be under way before it is made again.
const RETRY_TICKS: u64 = 2 * TICKS_PER_SECOND;
/// Leases that end with one entry, at most.
const ENDS_MAX: usize = 512;
/// The time between two checkpoints of a lease, as in etcd; leases that have less left have none.
const CHECKPOINT_TICKS: u64 = 300 * TICKS_PER_SECOND;
/// Checkpoints in one entry, at most.
const CHECKPOINTS_MAX: usize = 1000;

/// See the head of the module.
#[derive(Debug)]
pub struct V3Lessor {
    now: u64,
    /// The time between two checkpoints of a lease.
    checkpoint_ticks: u64,
    /// Whether this member leads in `term`, and gives answers.
    leads: bool,
    /// The last term in which it led.
    term: Term,
    leases: BTreeMap<LeaseId, Lease>,
    /// When leases end; for one whose end is proposed, when that is to be proposed again.
    ends: BTreeSet<(u64, LeaseId)>,
    /// When leases are to be told of.
    checkpoints: BTreeSet<(u64, LeaseId)>,
}

#[derive(Debug)]
struct Lease {
    /// In seconds, as granted.
    ttl: u64,
    /// The tick at which it is due in `ends`.
    end: u64,
    /// The tick at which it is due in `checkpoints`.
    checkpoint: Option<u64>,
    /// Its end is proposed: nobody can keep it alive any more.
    is_ending: bool,
    /// A checkpoint of it is on its way through the log.
    is_told: bool,
}

/// What a tick brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The term in which this was found.
    pub term: Term,
    /// These have run out, in this order.
    pub ended: Vec<LeaseId>,
    /// These have so many seconds left.
    pub checkpoints: Vec<(LeaseId, u64)>,
}

/// A lease that was kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// It has all of its time again: so many seconds.
    pub ttl: u64,
    /// The log says, or is about to say, that it has less: it is kept alive only when a checkpoint with
    /// its whole TTL is applied.
    pub must_tell: bool,
}

impl Default for V3Lessor {
    fn default() -> V3Lessor {
        V3Lessor::with_checkpoints(CHECKPOINT_TICKS)
    }
}

impl V3Lessor {
    /// One whose leases have a checkpoint every so many ticks.
    pub fn with_checkpoints(checkpoint_ticks: u64) -> V3Lessor {
        V3Lessor {
            now: 0,
            checkpoint_ticks,
            leads: false,
            term: Term(0),
            leases: BTreeMap::new(),
            ends: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
        }
    }

    /// The time between two checkpoints of a lease, in ticks.
    pub fn checkpoint_ticks(&self) -> u64 {
        self.checkpoint_ticks
    }

    /// A lease runs from now on.
    pub fn granted(&mut self, id: LeaseId, ttl: u64) {
        self.set(id, ttl, ttl);
    }

    /// A lease is gone. False if it was not known.
    pub fn revoked(&mut self, id: LeaseId) -> bool {
        let Some(lease) = self.leases.remove(&id) else { return false };
        self.ends.remove(&(lease.end, id));
        if let Some(at) = lease.checkpoint {
            self.checkpoints.remove(&(at, id));
        }
        true
    }

    /// A checkpoint of this leader's own is applied: what the log says is in the state.
    pub fn checkpointed(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.is_told = false;
        }
    }

    /// From now on this member leads in `term`, with these leases: id, TTL, and the seconds to give them.
    /// If it led in this term before, it goes on: what it proposed in it may still come to pass.
    pub fn lead(&mut self, term: Term, leases: impl Iterator<Item = (LeaseId, u64, u64)>) {
        self.leads = true;
        if self.term == term {
            return;
        }
        let empty = V3Lessor::with_checkpoints(self.checkpoint_ticks);
        *self = V3Lessor { now: self.now, leads: true, term, ..empty };
        for (id, ttl, left) in leases {
            self.set(id, ttl, left);
        }
    }

    /// This member does not lead.
    pub fn follow(&mut self) {
        self.leads = false;
    }

    /// Time passes. On a member that does not lead nothing comes of it.
    pub fn tick(&mut self) -> Due {
        self.now += 1;
        if !self.leads {
            return Due::default();
        }
        let due = |queue: &BTreeSet<(u64, LeaseId)>, max| -> Vec<LeaseId> {
            queue.iter().take_while(|(at, _)| *at <= self.now).take(max).map(|row| row.1).collect()
        };
        let ended = due(&self.ends, ENDS_MAX);
        let to_tell = due(&self.checkpoints, CHECKPOINTS_MAX);
        for &id in &ended {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            self.ends.remove(&(lease.end, id));
            lease.is_ending = true;
            lease.end = self.now + RETRY_TICKS; // asked again, should the proposal be lost
            self.ends.insert((lease.end, id));
        }
        let mut checkpoints = Vec::with_capacity(to_tell.len());
        for id in to_tell {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.is_told = true;
            checkpoints.push((id, (lease.end - self.now).div_ceil(TICKS_PER_SECOND)));
            self.plan_checkpoint(id);
        }
        Due { term: self.term, ended, checkpoints }
    }

    /// Keeps a lease alive. None if it is not there, or its end is proposed.
    pub fn renew(&mut self, id: LeaseId) -> Option<Renewed> {
        let lease = self.leases.get(&id).filter(|lease| !lease.is_ending)?;
        let (ttl, must_tell) = (lease.ttl, lease.is_told);
        self.set(id, ttl, ttl);
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.is_told = must_tell;
        }
        Some(Renewed { ttl, must_tell })
    }

    /// Its TTL, and whole seconds that it has left. None if it is not there.
    pub fn left(&self, id: LeaseId) -> Option<(u64, u64)> {
        let lease = self.leases.get(&id)?;
        if lease.is_ending {
            return Some((lease.ttl, 0));
        }
        let left = lease.end.saturating_sub(self.now).saturating_sub(GRACE_TICKS);
        Some((lease.ttl, left / TICKS_PER_SECOND))
    }

    /// All leases, the first to end first.
    pub fn by_end(&self) -> impl Iterator<Item = LeaseId> {
        self.ends.iter().map(|&(_, id)| id)
    }

    fn set(&mut self, id: LeaseId, ttl: u64, left: u64) {
        self.revoked(id);
        let end = left.saturating_mul(TICKS_PER_SECOND).saturating_add(self.now + GRACE_TICKS);
        self.ends.insert((end, id));
        let (checkpoint, is_ending, is_told) = (None, false, false);
        self.leases.insert(id, Lease { ttl, end, checkpoint, is_ending, is_told });
        self.plan_checkpoint(id);
    }

    /// The next checkpoint, if the lease lives long enough to have one.
    fn plan_checkpoint(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if let Some(before) = lease.checkpoint.take() {
            self.checkpoints.remove(&(before, id));
        }
        let at = self.now + self.checkpoint_ticks;
        if at + GRACE_TICKS < lease.end {
            lease.checkpoint = Some(at);
            self.checkpoints.insert((at, id));
        }
    }
}

/// Ticks that a lease gets beside its time: a tick may have been on its way here before, and the one
/// after it may follow at once; from then on there is a whole tick's time between any two.
const GRACE_TICKS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LeaseId = LeaseId(1);
    const TWO: LeaseId = LeaseId(-2);

    fn leading(leases: &[(LeaseId, u64, u64)]) -> V3Lessor {
        let mut lessor = V3Lessor::default();
        lessor.lead(Term(1), leases.iter().copied());
        lessor
    }

    /// The ticks until something is due, and what.
    fn next_due(lessor: &mut V3Lessor) -> Option<(u64, Due)> {
        (1..10_000).map(|tick| (tick, lessor.tick())).find(|(_, due)| {
            let nothing = due.ended.is_empty() && due.checkpoints.is_empty();
            !nothing
        })
    }

    fn ends(ids: &[LeaseId]) -> Due {
        Due { term: Term(1), ended: ids.to_vec(), checkpoints: Vec::new() }
    }

    #[test]
    fn one_that_is_not_kept_alive_ends_once_its_time_is_over() {
        let mut lessor = leading(&[]);
        lessor.granted(ONE, 5);
        assert_eq!(lessor.left(ONE), Some((5, 5)));
        assert_eq!(next_due(&mut lessor), Some((52, ends(&[ONE]))));
        assert_eq!(lessor.renew(ONE), None, "its end is proposed");
        assert_eq!(lessor.left(ONE), Some((5, 0)));
        assert_eq!(next_due(&mut lessor), Some((RETRY_TICKS, ends(&[ONE]))), "proposed again");
        assert!(lessor.revoked(ONE));
        assert_eq!((next_due(&mut lessor), lessor.left(ONE)), (None, None));
    }

    #[test]
    fn one_that_is_kept_alive_has_all_of_its_time_again() {
        let mut lessor = leading(&[(ONE, 5, 5), (TWO, 5, 2)]);
        for _ in 0..50 {
            for _ in 0..20 {
                assert_eq!(lessor.tick(), ends(&[]));
            }
            for id in [ONE, TWO] {
                assert_eq!(lessor.renew(id), Some(Renewed { ttl: 5, must_tell: false }));
            }
        }
        assert_eq!(next_due(&mut lessor), Some((52, ends(&[TWO, ONE]))));
        assert_eq!(lessor.renew(LeaseId(3)), None);
    }

    #[test]
    fn only_a_leader_ends_leases_and_each_gives_them_their_time_anew() {
        let mut lessor = V3Lessor::default();
        lessor.granted(ONE, 5);
        assert_eq!(next_due(&mut lessor), None);
        lessor.lead(Term(2), [(ONE, 5, 3)].into_iter());
        let (ticks, due) = next_due(&mut lessor).unwrap();
        assert_eq!((ticks, due.term, due.ended), (32, Term(2), vec![ONE]));
        lessor.lead(Term(3), [(ONE, 5, 5)].into_iter());
        assert!(lessor.renew(ONE).is_some(), "what an older term wanted to end lives on");
        lessor.follow();
        assert_eq!(next_due(&mut lessor), None);
    }

    #[test]
    fn a_term_gives_leases_their_time_once() {
        let mut lessor = leading(&[(ONE, 5, 5)]);
        assert!(next_due(&mut lessor).is_some());
        lessor.follow();
        lessor.lead(Term(1), [(ONE, 5, 5)].into_iter());
        assert_eq!(lessor.renew(ONE), None, "its end may be on its way");
    }

    #[test]
    fn a_batch_ends_at_most_so_many() {
        let ids: Vec<_> = (1..=600).map(|id| (LeaseId(id), 1, 1)).collect();
        let mut lessor = leading(&ids);
        let (ticks, due) = next_due(&mut lessor).unwrap();
        assert_eq!((ticks, due.ended.len()), (12, ENDS_MAX));
        assert_eq!(lessor.tick().ended.len(), 600 - ENDS_MAX);
    }

    #[test]
    fn long_leases_have_checkpoints_and_short_ones_have_none() {
        let mut lessor = leading(&[(ONE, 1000, 1000), (TWO, 300, 300)]);
        let told = |left| Due { term: Term(1), ended: Vec::new(), checkpoints: vec![(ONE, left)] };
        assert_eq!(next_due(&mut lessor), Some((3000, told(701))));
        assert_eq!(next_due(&mut lessor), Some((2, ends(&[TWO]))));
        lessor.revoked(TWO);
        assert_eq!(next_due(&mut lessor), Some((2998, told(401))));
        assert_eq!(next_due(&mut lessor), Some((3000, told(101))));
        assert_eq!(next_due(&mut lessor), Some((1002, ends(&[ONE]))));
    }

    #[test]
    fn checkpoints_come_as_often_as_is_said_whoever_leads() {
        let mut lessor = V3Lessor::with_checkpoints(20);
        for term in 1..3 {
            lessor.lead(Term(term), [(ONE, 10, 10)].into_iter());
            let told = vec![(ONE, 9)]; // whole seconds, rounded up
            let due = Due { term: Term(term), ended: Vec::new(), checkpoints: told };
            assert_eq!(next_due(&mut lessor), Some((20, due)));
        }
    }

    #[test]
    fn who_keeps_one_alive_while_its_checkpoint_is_under_way_must_tell() {
        let mut lessor = leading(&[(ONE, 1000, 1000)]);
        assert_eq!(next_due(&mut lessor).map(|due| due.0), Some(3000));
        assert_eq!(lessor.renew(ONE), Some(Renewed { ttl: 1000, must_tell: true }));
        assert_eq!(lessor.renew(ONE), Some(Renewed { ttl: 1000, must_tell: true }));
        lessor.checkpointed(ONE);
        assert_eq!(lessor.renew(ONE), Some(Renewed { ttl: 1000, must_tell: false }));
        assert_eq!(next_due(&mut lessor).map(|due| due.0), Some(3000), "counted anew");
    }
}
