//! The proposals of this member that are not settled, and those that peers forwarded here.
//!
//! A proposal enters the log in a term that its proposer knows: it is appended by this member as the
//! leader of that term, or forwarded to it, and a leader of another term drops it. So once an entry of
//! a later term is committed, whatever of the earlier term was not committed before it never will be, and
//! can be proposed anew without being applied twice. Within a term the leader knows what came from whom,
//! and a proposal may be sent again.
//!
//! Pure: part of RaftNode's role.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    command::{Command, Proposal, ProposalId},
    types::{MemberId, Term},
    wire::{Forward, ForwardedProposal, Refusal},
};

/// One of this member.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub data: Bytes,
    pub members: bool,
    /// The tick at which it came.
    since: u64,
    /// None while it waits for a leader; or in which term it was appended or forwarded, and at which tick.
    sent: Option<(Term, u64)>,
}

/// See the head of the module.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    pending: BTreeMap<ProposalId, Pending>,
    /// Those that wait to be appended or forwarded.
    waiting: BTreeSet<ProposalId>,
    bytes: u64,
    committed_term: Term,
    /// Of the last proposal that came.
    newest: ProposalId,
}

/// A proposal that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It is in no log and never will be.
    NeverProposed(ProposalId),
    /// It may be in a log.
    Unknown(ProposalId),
}

impl Proposals {
    /// Takes a new one, unless too many bytes are pending.
    pub fn add(&mut self, id: ProposalId, data: Bytes, members: bool, now: u64, max: u64) -> bool {
        assert!(id > self.newest, "proposal {} after {}", id.0, self.newest.0);
        if self.bytes > 0 && self.bytes + data.len() as u64 > max {
            return false;
        }
        self.newest = id;
        self.bytes += data.len() as u64;
        self.pending.insert(id, Pending { data, members, since: now, sent: None });
        self.waiting.insert(id);
        true
    }

    /// Whether all are settled.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether any wait to be appended or forwarded.
    pub fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Those that wait, in order; what the caller cannot send now it gives back to [`Self::put_back`].
    pub fn take_waiting(&mut self, term: Term) -> Vec<(ProposalId, Pending)> {
        self.leave_to_fate(term);
        let ids = std::mem::take(&mut self.waiting);
        ids.into_iter().filter_map(|id| Some((id, self.pending.get(&id)?.clone()))).collect()
    }

    /// These go on waiting.
    pub fn put_back(&mut self, ids: impl IntoIterator<Item = ProposalId>) {
        self.waiting.extend(ids);
    }

    /// This one was appended, or forwarded, in `term`.
    pub fn sent(&mut self, id: ProposalId, term: Term, now: u64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.sent = Some((term, now));
        }
    }

    /// A forward to the leader of `term` with all that wait, or none if none do. At most about `max`
    /// bytes; the rest waits for the next.
    pub fn forward(&mut self, term: Term, now: u64, max: usize) -> Option<Forward> {
        self.leave_to_fate(term);
        let oldest = self.oldest();
        let mut proposals = Vec::new();
        let mut bytes = 0;
        while let Some(&id) = self.waiting.first() {
            let Some(pending) = self.pending.get_mut(&id) else {
                self.waiting.pop_first();
                continue;
            };
            bytes += pending.data.len();
            if bytes > max && !proposals.is_empty() {
                break;
            }
            pending.sent = Some((term, now));
            let (members, data) = (pending.members, pending.data.clone());
            proposals.push(ForwardedProposal { id, members, data });
            self.waiting.pop_first();
        }
        if proposals.is_empty() {
            return None;
        }
        Some(Forward { term, oldest, proposals })
    }

    /// Those that were forwarded in `term` and did not come back for `patience` ticks wait again: the
    /// forward, or the way back, may be lost.
    pub fn resend(&mut self, term: Term, now: u64, patience: u64) {
        for (&id, pending) in &mut self.pending {
            if pending.sent.is_some_and(|(sent, at)| sent == term && now - at >= patience) {
                pending.sent = Some((term, now)); // not queued twice
                self.waiting.insert(id);
            }
        }
    }

    /// Those that were sent in an earlier term wait no more to be sent again: they may be in a log, and be
    /// committed with this term's entries. They wait again when that is decided.
    fn leave_to_fate(&mut self, term: Term) {
        let pending = &self.pending;
        let sent = |id: &ProposalId| pending.get(id).and_then(|pending| pending.sent);
        self.waiting.retain(|id| sent(id).is_none_or(|(sent, _)| sent == term));
    }

    fn oldest(&self) -> ProposalId {
        self.pending.first_key_value().map_or(ProposalId(self.newest.0 + 1), |(&id, _)| id)
    }

    /// An entry of `term` is committed; `own` is the proposal of this member that it carries.
    pub fn committed(&mut self, term: Term, own: Option<ProposalId>) {
        if let Some(id) = own {
            self.settle(id);
        }
        if term > self.committed_term {
            self.committed_term = term;
            for (&id, pending) in &mut self.pending {
                if pending.sent.is_some_and(|(sent, _)| sent < term) {
                    pending.sent = None;
                    self.waiting.insert(id);
                }
            }
        }
    }

    /// The leader of `refusal.term` did not take these. Those that are thereby settled.
    pub fn refused(&mut self, refusal: &Refusal) -> Vec<(ProposalId, Pending)> {
        let mut gone = Vec::new();
        for &id in &refusal.ids {
            let sent = self.pending.get(&id).and_then(|pending| pending.sent);
            if sent.is_some_and(|(term, _)| term == refusal.term) {
                gone.extend(self.settle(id).map(|pending| (id, pending)));
            }
        }
        gone
    }

    /// Takes one out. It may still be among those that wait, where it is passed over.
    pub fn settle(&mut self, id: ProposalId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.bytes -= pending.data.len() as u64;
        Some(pending)
    }

    /// Those that are older than `max` ticks are given up.
    pub fn give_up(&mut self, now: u64, max: u64) -> Vec<GivenUp> {
        let mut gone = Vec::new();
        while let Some((&id, pending)) = self.pending.first_key_value()
            && now - pending.since >= max
        {
            gone.push(match pending.sent {
                None => GivenUp::NeverProposed(id),
                Some(_) => GivenUp::Unknown(id),
            });
            self.settle(id);
        }
        gone
    }

    /// Entries were skipped by way of a snapshot: what was sent may be among them, and nobody will say.
    pub fn skipped(&mut self) -> Vec<ProposalId> {
        let sent = self.pending.iter().filter(|(_, pending)| pending.sent.is_some());
        let gone: Vec<ProposalId> = sent.map(|(&id, _)| id).collect();
        for &id in &gone {
            self.settle(id);
        }
        gone
    }
}

/// What a leader knows, in its term, of proposals that were forwarded to it.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    term: Term,
    seen: BTreeMap<(MemberId, u64), Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// All before it are settled.
    oldest: ProposalId,
    /// Those from there on that came.
    ids: BTreeSet<ProposalId>,
}

/// Starts of one member that are kept apart: a member restarts now and then, in one term rarely.
const BOOTS: usize = 8;

impl Forwarded {
    /// Those of `forward` that are new in the leader's `term`, and sound.
    pub fn take(&mut self, from: MemberId, forward: Forward, term: Term) -> Vec<ForwardedProposal> {
        if forward.term != term {
            return Vec::new();
        }
        if self.term != term {
            self.term = term;
            self.seen.clear();
        }
        let Forward { oldest, proposals, .. } = forward;
        let boot = oldest.boot();
        let of_member = self.seen.range((from, 0)..=(from, u64::MAX)).count();
        if of_member >= BOOTS && !self.seen.contains_key(&(from, boot)) {
            return Vec::new();
        }
        let seen = self.seen.entry((from, boot)).or_default();
        seen.oldest = seen.oldest.max(oldest);
        seen.ids = seen.ids.split_off(&seen.oldest);
        let mut new = Vec::with_capacity(proposals.len());
        for proposal in proposals {
            let sound = proposal.id.boot() == boot && is_sound(&proposal, from);
            if sound && proposal.id >= seen.oldest && seen.ids.insert(proposal.id) {
                new.push(proposal);
            }
        }
        new
    }
}

/// Whether it carries the id and the member that it is said to be of, and can be applied: an entry that
/// nobody can read would end all members, at every start again.
fn is_sound(proposal: &ForwardedProposal, from: MemberId) -> bool {
    let read = rmp_serde::from_slice::<Proposal>(&proposal.data);
    read.is_ok_and(|read| {
        let members = matches!(read.command, Command::Members(_));
        (read.id, read.member) == (proposal.id, from) && members == proposal.members
    })
}

#[cfg(test)]
#[path = "proposals_tests.rs"]
mod tests;
