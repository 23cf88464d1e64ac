//! Batches for the disk: one for each Ready that has something for it, and what comes of their being
//! there.

use raft::eraftpb::HardState;

use super::{Effect, Role};

/// Ticks of quiet after which a commit index that moved is written without waiting for other entries.
const QUIET_TICKS: u64 = 2;

impl Role {
    /// What is on disk: this batch, all before it, and those after it of which nothing was written.
    pub(super) fn persisted(&mut self, mut number: u64) {
        while let Some(&(next, written)) = self.under_way.front()
            && (next <= number || !written)
        {
            self.under_way.pop_front();
            number = number.max(next);
        }
        self.node.on_persist_ready(number);
        while self.held.front().is_some_and(|(held, _)| *held <= number) {
            let (_, messages) = self.held.pop_front().expect("there is a front");
            self.effects.push(Effect::Send(messages));
        }
        if self.voting.is_some_and(|voting| voting <= number) {
            self.voting = None;
        }
        if self.installing.is_some_and(|installing| installing <= number) {
            self.installing = None;
            self.tell_applied();
        }
    }

    /// Takes one Ready; whether it made a batch for the disk.
    pub(super) fn take_ready(&mut self) -> bool {
        let mut ready = self.node.ready();
        let messages = ready.take_messages();
        let (number, must_sync) = (ready.number(), ready.must_sync());
        let voted = |hard: &HardState| {
            let before = self.node.store().hard_state();
            (hard.term, hard.vote) != (before.term, before.vote)
        };
        if ready.hs().is_some_and(voted) {
            self.voting = Some(number);
        }
        if messages.is_empty() {
        } else if self.voting.is_some() {
            // An only voter leads before its vote is on disk. Should that be lost, it would lead in the
            // same term again, with other entries.
            self.held.push_back((number, messages));
        } else {
            self.effects.push(Effect::Send(messages)); // a leader's: they need not wait for its own disk
        }
        if ready.hs().is_some() {
            self.hard_state_since = self.now;
        }
        self.last_ready = number;
        let installed = self.install(&ready);
        let entries = ready.take_entries();
        self.hard_state = ready.hs().cloned().or(self.hard_state.take());
        let held = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        self.node.mut_store().append(&entries);
        if let Some(hard_state) = &self.hard_state {
            self.node.mut_store().set_hard_state(hard_state.clone());
        }
        self.node.advance_append_async(ready);
        if !held.is_empty() {
            self.held.push_back((number, held));
        }
        if !committed.is_empty() {
            self.committed(committed);
        }
        // A commit index that moved may be lost, so it waits for the next entries: half the batches.
        let written = must_sync || !entries.is_empty();
        self.under_way.push_back((number, written));
        if written {
            let hard_state = self.hard_state.take();
            self.effects.push(Effect::Append { number, installed, entries, hard_state, must_sync });
        } else if self.under_way.len() == 1 {
            self.persisted(number); // nothing is before it
        }
        written
    }

    /// Whether a commit index that moved has waited long enough for entries that it could be written with.
    /// A member that is alone finds it again in any case.
    pub(super) fn is_quiet(&self) -> bool {
        self.now - self.hard_state_since >= QUIET_TICKS && self.has_peers()
    }

    /// The commit index is not to wait for further entries: at the end of the turn it is written.
    pub fn flush(&mut self) {
        self.hard_state_due = true;
    }

    /// Without a sync: it is for those who start again after a crash of the process and find no quorum.
    /// They show what was acknowledged to the last.
    pub(super) fn write_hard_state(&mut self) {
        if !self.under_way.is_empty() {
            return; // what is under way may move it again
        }
        let Some(hard_state) = self.hard_state.take() else { return };
        let number = self.last_ready;
        self.under_way.push_back((number, true));
        self.effects.push(Effect::Append {
            number,
            installed: None,
            entries: Vec::new(),
            hard_state: Some(hard_state),
            must_sync: false,
        });
    }
}
