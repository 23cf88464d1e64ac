//! What Store thinks of leases: which clock a lease hangs on, and what the leader says of v3 leases.

use super::{Counted, Effect, LeaseCounted, Role};
use crate::{
    actors::store::{TICKS_PER_SECOND, lessor::Lessor, v3_lessor::V3Lessor},
    command::{Command, Proposal, V3Command, V3Op},
    storage::mvcc::{LeaseChange, Outcome, State, record::LeaseRecord},
    types::{LeaseId, Term},
    wire::{LeaseQuestion, LeaseStanding},
};

/// What a leader says of a lease; see [`Role::ask_leases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// How it stands.
    pub standing: LeaseStanding,
    /// True of a lease that was kept alive while the log says, or is about to say, that it has less: it
    /// is kept alive only when [`V3Op::LeaseCheckpoint`] with its whole TTL is applied in this term.
    pub must_tell: bool,
}

impl Role {
    /// Answers questions about v3 leases as the leader of `term`. The caller is sure that this member led
    /// in `term` when it was asked, and that all that was committed by then is applied. None where this
    /// member does not see itself lead in that term: somebody else is to be asked.
    pub fn ask_leases(
        &mut self,
        term: Term,
        questions: &[LeaseQuestion],
    ) -> Option<Vec<LeaseAnswer>> {
        if self.state.applied_term != term {
            return None;
        }
        self.lead_leases(term);
        Some(questions.iter().map(|&question| self.ask_lease(question)).collect())
    }

    fn ask_lease(&mut self, question: LeaseQuestion) -> LeaseAnswer {
        let answer = |standing| LeaseAnswer { standing, must_tell: false };
        match question {
            LeaseQuestion::TimeToLive(id) => {
                let left = self.v3_lessor.left(id).or_else(|| {
                    // v2 leases keep their own time.
                    let granted = self.state.lease(id)?.ttl;
                    Some((granted, (self.lessor.left(id)? / TICKS_PER_SECOND).min(granted)))
                });
                answer(match left {
                    Some((granted, left)) => LeaseStanding::Lives { granted, left },
                    None => LeaseStanding::Gone,
                })
            }
            LeaseQuestion::Renew(id) => match self.v3_lessor.renew(id) {
                Some(renewed) => LeaseAnswer {
                    standing: LeaseStanding::Lives { granted: renewed.ttl, left: renewed.ttl },
                    must_tell: renewed.must_tell
                        || self.state.lease(id).is_some_and(|lease| lease.remaining.is_some()),
                },
                None => answer(LeaseStanding::Gone),
            },
        }
    }

    /// All v3 leases, the first to end first: by the own clock, which is right where this member leads.
    pub fn leases_by_end(&self) -> Vec<LeaseId> {
        self.v3_lessor.by_end().collect()
    }

    /// A tick's work for v3 leases.
    pub(super) fn tick_leases(&mut self, leads: Option<Term>, effects: &mut Vec<Effect>) {
        match leads {
            Some(term) => self.lead_leases(term),
            None => self.v3_lessor.follow(),
        }
        let due = self.v3_lessor.tick();
        let term = due.term;
        let mut propose = |op| {
            effects.push(Effect::Propose(Command::V3(V3Command { caller: None, op })));
        };
        if !due.ended.is_empty() {
            propose(V3Op::LeaseExpire { leases: due.ended, term });
        }
        if !due.checkpoints.is_empty() {
            propose(V3Op::LeaseCheckpoint { leases: due.checkpoints, term });
        }
    }

    /// Starts the leader's clock, once all entries of earlier terms are applied: the last leader's
    /// checkpoints are then known, and one that comes later has no effect.
    fn lead_leases(&mut self, term: Term) {
        if self.state.applied_term == term {
            self.v3_lessor.lead(term, v3_leases(&self.state));
        }
    }

    /// What an entry did to leases.
    pub(super) fn note_leases(&mut self, changes: &[LeaseChange], effects: &mut Vec<Effect>) {
        for change in changes {
            match *change {
                LeaseChange::Granted(id, ttl) => {
                    if self.state.lease(id).is_some_and(|lease| lease.is_v3()) {
                        self.v3_lessor.granted(id, ttl);
                        effects.push(Effect::Count(Counted::Lease(LeaseCounted::Granted(ttl))));
                    } else {
                        self.lessor.granted(id, ttl.saturating_mul(TICKS_PER_SECOND));
                    }
                }
                LeaseChange::Revoked(id) => {
                    if self.v3_lessor.revoked(id) {
                        effects.push(Effect::Count(Counted::Lease(LeaseCounted::Revoked)));
                    } else {
                        self.lessor.revoked(id);
                    }
                }
            }
        }
    }

    /// What an entry of `term` did that has the leader's own word on v3 leases.
    pub(super) fn note_leaders_word(
        &mut self,
        proposal: &Proposal,
        term: Term,
        outcome: &Outcome,
        effects: &mut Vec<Effect>,
    ) {
        match &proposal.command {
            Command::V3(V3Command { op: V3Op::LeaseCheckpoint { leases, term: of }, .. })
                if *of == term =>
            {
                for &(id, _) in leases {
                    self.v3_lessor.checkpointed(id);
                }
            }
            Command::V3(V3Command { op: V3Op::LeaseExpire { .. }, .. }) => {
                let keys = outcome.records.iter().map(|record| record.changes.len()).sum();
                effects.push(Effect::Count(Counted::Expired(keys)));
                if proposal.member == self.member {
                    let expired = LeaseCounted::Expired(outcome.leases.len());
                    effects.push(Effect::Count(Counted::Lease(expired)));
                }
            }
            _ => {}
        }
    }
}

/// `lessor`, which is empty, as a clock for the v3 leases of `state`, until this member leads and gives
/// them their time anew.
pub(super) fn v3_lessor_of(state: &State, mut lessor: V3Lessor) -> V3Lessor {
    for (id, ttl, _) in v3_leases(state) {
        lessor.granted(id, ttl);
    }
    lessor
}

/// The v3 leases, with their TTL and what they have left as far as the log knows.
fn v3_leases(state: &State) -> impl Iterator<Item = (LeaseId, u64, u64)> {
    let v3 = state.leases().filter(|lease| lease.is_v3());
    v3.map(|lease| (lease.id, lease.ttl, lease.remaining.unwrap_or(lease.ttl)))
}

/// A clock for the v2 leases of `state`, each with so many ticks left.
pub(super) fn lessor_of(state: &State, ticks_left: impl Fn(&LeaseRecord) -> u64) -> Lessor {
    let mut lessor = Lessor::default();
    for lease in state.leases().filter(|lease| !lease.is_v3()) {
        lessor.granted(lease.id, ticks_left(lease));
    }
    lessor
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
