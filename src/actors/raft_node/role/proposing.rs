//! How proposals get into the log: appended here by a leader, or forwarded to it.

use std::mem;

use raft::eraftpb::{Entry, Message, MessageType};

use super::{
    super::conf_change::{entry_of, membership_change},
    Effect, ProposeError, Role,
};
use crate::{
    command::{MemberChange, ProposalId},
    types::MemberId,
    wire::{Forward, Refusal},
};

/// Bytes of proposals in one forward.
const FORWARD_BYTES: usize = 1 << 20;

impl Role {
    pub(super) fn propose_waiting(&mut self) {
        if !self.proposals.any_waiting() {
            return;
        }
        let Some(leader) = self.leader() else { return };
        if leader != self.id {
            while let Some(forward) = self.proposals.forward(self.term(), self.now, FORWARD_BYTES) {
                self.effects.push(Effect::Forward { to: leader, forward });
            }
            return;
        }
        if !self.leads() || self.node.raft.lead_transferee.is_some() {
            return; // until the transfer has ended, one way or the other
        }
        let (mut ids, mut entries, mut later) = (Vec::new(), Vec::new(), Vec::new());
        for (id, pending) in self.proposals.take_waiting(self.term()) {
            if pending.members && (self.node.raft.has_pending_conf() || !entries.is_empty()) {
                later.push(id); // one at a time, and by itself
                continue;
            }
            if pending.members && self.promotes_too_early(&pending.data) {
                self.proposals.settle(id);
                self.effects.push(Effect::Refuse(id, ProposeError::LearnerNotReady));
                continue;
            }
            ids.push(id);
            entries.push(entry_of(pending.data, pending.members));
            if pending.members {
                self.append(mem::take(&mut entries), &mem::take(&mut ids));
            }
        }
        self.append(entries, &ids);
        self.proposals.put_back(later);
    }

    /// Whether a proposal gives its vote to a learner that has less than nine tenths of the log: the bound
    /// is etcd's. Who is no learner is left to the check of the change.
    fn promotes_too_early(&self, proposal: &[u8]) -> bool {
        let Some(MemberChange::Promote { id }) = membership_change(proposal) else { return false };
        let is_learner = self.membership.learners().any(|learner| learner == id);
        let last = self.last_index().0;
        let matched = self.node.raft.prs().get(id.0).map_or(0, |progress| progress.matched);
        is_learner && matched < last - last / 10
    }

    /// The leader did not take these.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        for (id, pending) in self.proposals.refused(refusal) {
            let promotion = pending.members
                && matches!(membership_change(&pending.data), Some(MemberChange::Promote { .. }));
            let error = if promotion {
                ProposeError::LearnerNotReady
            } else {
                ProposeError::TooManyRequests
            };
            self.effects.push(Effect::Refuse(id, error));
        }
    }

    /// Appends proposals of this member, who leads.
    fn append(&mut self, entries: Vec<Entry>, ids: &[ProposalId]) {
        if entries.is_empty() {
            return;
        }
        let (term, now) = (self.term(), self.now);
        if self.propose(entries) {
            for &id in ids {
                self.proposals.sent(id, term, now);
            }
        } else {
            for &id in ids {
                self.proposals.settle(id);
                self.effects.push(Effect::Refuse(id, ProposeError::TooManyRequests));
            }
        }
    }

    /// Puts entries into the own log. False, and nothing happened, if too much is uncommitted.
    fn propose(&mut self, entries: Vec<Entry>) -> bool {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.id.0;
        message.entries = entries.into();
        self.node.raft.step(message).is_ok()
    }

    /// Takes proposals of a peer, if this member leads in the term that the peer has in mind. While the
    /// lead is being handed on they are dropped: they will come again, to whoever leads then.
    pub(super) fn forwarded(&mut self, from: MemberId, forward: Forward) {
        if !self.leads() || self.node.raft.lead_transferee.is_some() {
            return;
        }
        let term = self.term();
        let new = self.forwarded.take(from, forward, term);
        let mut refused = Vec::new();
        let (mut ids, mut entries) = (Vec::new(), Vec::new());
        for proposal in new {
            let busy = self.node.raft.has_pending_conf() || !entries.is_empty();
            if proposal.members && (busy || self.promotes_too_early(&proposal.data)) {
                refused.push(proposal.id);
                continue;
            }
            ids.push(proposal.id);
            entries.push(entry_of(proposal.data, proposal.members));
            if proposal.members && !self.propose(mem::take(&mut entries)) {
                refused.append(&mut ids);
            }
        }
        if !entries.is_empty() && !self.propose(entries) {
            refused.append(&mut ids);
        }
        if !refused.is_empty() {
            let refusal = Refusal { term, ids: refused };
            self.effects.push(Effect::RefuseForward { to: from, refusal });
        }
    }
}
