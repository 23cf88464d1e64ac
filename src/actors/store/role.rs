//! What Store thinks: applies batches to the state, knows who watches, and, where this member leads,
//! which leases have run out and how much history is to go.
//!
//! No clock, no I/O: time is [`Input::Tick`].

mod leases;

use std::{mem, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    SubscribeError, SubscriptionId, TICKS_PER_SECOND,
    compactor::{Compactor, HistorySize},
    lessor::Lessor,
    range_hub::RangeHub,
    v3_lessor::V3Lessor,
    watch_hub::WatchHub,
    watch_line::RangeRefused,
};
use crate::{
    command::{
        AlarmKind, AuthChange, Command, KeyRange, Proposal, ProposalId, TokenHash, V2Op, V3Command,
        V3Op,
    },
    storage::{
        mvcc::{
            Applied, State,
            record::RevisionRecord,
            watch::{SharedEvent, SharedRecord, WatchPattern},
        },
        v3::V3Applied,
    },
    types::{Index, MemberId, Revision, Term, UnixNanos},
};
pub use leases::LeaseAnswer;
use leases::{lessor_of, v3_lessor_of};

/// A committed entry, as the log has it.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its place.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// An encoded [`Proposal`], or empty.
    pub data: Bytes,
}

/// What it can learn.
#[derive(Debug)]
pub enum Input {
    /// Apply these, in order.
    Apply(Vec<Committed>),
    /// A peer's snapshot takes the place of the state.
    Install(Box<State>),
    /// Someone wants to watch.
    Subscribe {
        /// A fresh id.
        id: SubscriptionId,
        /// What to watch.
        pattern: WatchPattern,
        /// Only revisions after this one.
        after: Revision,
        /// One event only.
        once: bool,
    },
    /// Someone wants to watch a range of keys.
    SubscribeRange {
        /// A fresh id.
        id: SubscriptionId,
        /// Which keys.
        keys: KeyRange,
        /// Only revisions after this one.
        after: Revision,
    },
    /// Nobody listens any more.
    Cancel(SubscriptionId),
    /// A tenth of a second has passed.
    Tick {
        /// Whether this member leads.
        leads: bool,
        /// The term that it is in.
        term: Term,
    },
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// The state has changed: publish it before anyone is answered or told.
    Publish,
    /// Tell a caller of this member.
    Answer(ProposalId, Applied),
    /// Tell RaftNode that all up to here is applied.
    Applied(Index),
    /// Answer a subscriber.
    Subscribed(SubscriptionId, Result<(), SubscribeError>),
    /// History between what these saw last and now is not there any more, or this member's data is not
    /// to be shown: they end, as if they were slow.
    End(Vec<SubscriptionId>),
    /// Hand an event to watchers.
    Deliver(Arc<SharedEvent>, Vec<SubscriptionId>),
    /// Answer a subscriber of a range.
    RangeSubscribed(SubscriptionId, Result<(), RangeRefused>),
    /// Tell watchers of ranges of a revision.
    Tell(Arc<SharedRecord>, Vec<SubscriptionId>),
    /// Put this through the log; the answer does not matter.
    Propose(Command),
    /// Digest this state, for the comparison with the other members'.
    Digest(State),
    /// A user has a token from now on.
    Login {
        /// Which.
        user: String,
        /// By this it is known.
        token: TokenHash,
        /// The auth revision at which the user showed its password.
        auth_revision: u64,
        /// When, by the proposer's clock.
        time: UnixNanos,
    },
    /// Count a write for `/v2/stats/store`.
    Count(Counted),
}

/// What `/v2/stats/store` counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    /// A write and whether it worked.
    Write(V2Op, bool),
    /// This many keys and directories that ran out.
    Expired(usize),
    /// For `/metrics`.
    Lease(LeaseCounted),
}

/// What `/metrics` counts of v3 leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseCounted {
    /// One was granted, for so many seconds.
    Granted(u64),
    /// One has gone, however.
    Revoked,
    /// This many ran out by this member's clock.
    Expired(usize),
}

/// See the head of the module.
#[derive(Debug)]
pub struct Role {
    member: MemberId,
    state: State,
    hub: WatchHub,
    ranges: RangeHub,
    lessor: Lessor,
    v3_lessor: V3Lessor,
    compactor: Compactor,
}

/// Compacted revisions that are freed with each tick, beside those that each batch frees. Each costs a
/// few misses of the cache: half a millisecond's work.
const FREE_PER_TICK: usize = 500;

/// Revisions that are read from history for one who subscribes to a range; who is farther behind reads
/// it for itself.
const REPLAY_MAX: u64 = 256;

impl Role {
    /// Starts from `state`. `now` tells how much of each v2 lease is left; a clock that was set back
    /// lengthens none beyond its TTL. v3 leases get their time from who leads.
    pub fn new(member: MemberId, state: State, compactor: Compactor, now: UnixNanos) -> Self {
        let lessor = lessor_of(&state, |lease| {
            let left_nanos = lease.expires.0.saturating_sub(now.0);
            let left_ticks = left_nanos.div_ceil(1_000_000_000 / TICKS_PER_SECOND);
            left_ticks.min(lease.ttl.saturating_mul(TICKS_PER_SECOND))
        });
        let v3_lessor = v3_lessor_of(&state, V3Lessor::default());
        let (hub, ranges) = (WatchHub::default(), RangeHub::default());
        Role { member, state, hub, ranges, lessor, v3_lessor, compactor }
    }

    /// With a checkpoint of each long v3 lease every so many ticks, in place of the usual time.
    #[must_use]
    pub fn with_checkpoints(mut self, ticks: u64) -> Self {
        self.v3_lessor = v3_lessor_of(&self.state, V3Lessor::with_checkpoints(ticks));
        self
    }

    /// The state as it is now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How many watch paths.
    pub fn watchers(&self) -> usize {
        self.hub.len()
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Apply(entries) => self.apply(&entries),
            Input::Install(state) => self.install(*state),
            Input::Subscribe { id, pattern, after, once } => {
                self.subscribe(id, pattern, after, once)
            }
            Input::SubscribeRange { id, keys, after } => self.subscribe_range(id, keys, after),
            Input::Cancel(id) => {
                self.hub.remove(id);
                self.ranges.remove(id);
                Vec::new()
            }
            Input::Tick { leads, term } => self.tick(leads, term),
        }
    }

    fn apply(&mut self, entries: &[Committed]) -> Vec<Effect> {
        let mut effects = Vec::with_capacity(entries.len() + 2);
        effects.push(Effect::Publish);
        let mut records: SmallVec<[Arc<RevisionRecord>; 64]> = SmallVec::new();
        for entry in entries {
            let proposal = decode(entry);
            let outcome = self.state.apply(entry.index, entry.term, proposal.as_ref());
            self.note_leases(&outcome.leases, &mut effects);
            if let Some(proposal) = &proposal {
                self.note_leaders_word(proposal, entry.term, &outcome, &mut effects);
            }
            records.extend(outcome.records);
            let Some(proposal) = proposal else { continue };
            match (proposal.command, &outcome.applied) {
                (Command::V2(command), applied) => {
                    let worked = matches!(applied, Applied::V2(Ok(_)));
                    effects.push(Effect::Count(Counted::Write(command.op, worked)));
                }
                (_, Applied::Checkpoint) => effects.push(Effect::Digest(self.state.clone())),
                (
                    Command::V3(V3Command {
                        op: V3Op::Auth(AuthChange::Login { user, token, auth_revision }),
                        ..
                    }),
                    Applied::V3(V3Applied { result: Ok(_), .. }),
                ) => {
                    let time = proposal.time;
                    effects.push(Effect::Login { user, token, auth_revision, time });
                }
                (Command::Expire { .. }, Applied::Expired(count)) => {
                    effects.push(Effect::Count(Counted::Expired(*count)));
                }
                _ => {}
            }
            if proposal.member == self.member {
                effects.push(Effect::Answer(proposal.id, outcome.applied));
            }
        }
        effects.push(Effect::Applied(self.state.applied_index));
        if self.is_corrupt() {
            effects.push(self.end_all());
        }
        for record in records {
            self.notify(&record, &mut effects);
        }
        self.state.free_compacted(2 * entries.len() + 16);
        effects
    }

    /// Watchers go on without a gap: what they missed is in the history of the new state, or they end.
    /// Leases that were known go on as they were counted here; of the others nothing is known but their
    /// TTL, and none may end early.
    fn install(&mut self, state: State) -> Vec<Effect> {
        let before = mem::replace(&mut self.state, state);
        assert!(
            self.state.applied_index >= before.applied_index,
            "a snapshot of {} cannot replace the state of {}",
            self.state.applied_index,
            before.applied_index,
        );
        let counted = mem::take(&mut self.lessor);
        self.lessor = lessor_of(&self.state, |lease| {
            let known = before.lease(lease.id).is_some_and(|known| known.expires == lease.expires);
            let left = counted.left(lease.id).filter(|_| known);
            left.unwrap_or(lease.ttl.saturating_mul(TICKS_PER_SECOND))
        });
        let empty = V3Lessor::with_checkpoints(self.v3_lessor.checkpoint_ticks());
        self.v3_lessor = v3_lessor_of(&self.state, empty);
        let mut effects = vec![Effect::Publish, Effect::Applied(self.state.applied_index)];
        if self.state.compacted > before.revision || self.is_corrupt() {
            effects.push(self.end_all());
            return effects;
        }
        let state = self.state.clone();
        for record in state.history_from(before.revision.next()) {
            self.notify(record, &mut effects);
        }
        effects
    }

    fn notify(&mut self, record: &Arc<RevisionRecord>, effects: &mut Vec<Effect>) {
        for (part, ids) in self.hub.notify(record) {
            effects.push(Effect::Deliver(SharedEvent::new(Arc::clone(record), part), ids));
        }
        let ids = self.ranges.notify(record);
        if !ids.is_empty() {
            effects.push(Effect::Tell(SharedRecord::new(Arc::clone(record)), ids));
        }
    }

    fn end_all(&mut self) -> Effect {
        let mut ids = self.hub.clear();
        ids.extend(self.ranges.clear());
        Effect::End(ids)
    }

    /// Whether this member was found to hold other data than the others: nobody is told of it.
    fn is_corrupt(&self) -> bool {
        let alarms = self.state.alarms();
        !alarms.is_empty() && alarms.contains(&(self.member, AlarmKind::Corrupt))
    }

    fn subscribe(
        &mut self,
        id: SubscriptionId,
        pattern: WatchPattern,
        after: Revision,
        once: bool,
    ) -> Vec<Effect> {
        if self.is_corrupt() {
            return vec![Effect::Subscribed(id, Err(SubscribeError::Corrupt))];
        }
        let compacted = self.state.compacted;
        if after < compacted {
            return vec![Effect::Subscribed(id, Err(SubscribeError::Compacted { compacted }))];
        }
        let mut effects = vec![Effect::Subscribed(id, Ok(()))];
        let missed = self.state.replay(&pattern, after.next());
        let missed = missed.take(if once { 1 } else { usize::MAX });
        effects.extend(missed.map(|event| Effect::Deliver(event, vec![id])));
        let served = once && effects.len() > 1;
        if !served {
            self.hub.add(id, pattern, after.max(self.state.revision), once);
        }
        effects
    }

    fn subscribe_range(
        &mut self,
        id: SubscriptionId,
        keys: KeyRange,
        after: Revision,
    ) -> Vec<Effect> {
        let behind = self.state.revision.0.saturating_sub(after.0);
        let refused = if self.is_corrupt() {
            Some(RangeRefused::Corrupt)
        } else if after < self.state.compacted || behind > REPLAY_MAX {
            Some(RangeRefused::Behind)
        } else {
            None
        };
        if let Some(refused) = refused {
            return vec![Effect::RangeSubscribed(id, Err(refused))];
        }
        let mut effects = vec![Effect::RangeSubscribed(id, Ok(()))];
        for record in self.state.history_from(after.next()) {
            if record.changes.iter().any(|change| keys.contains(change.key())) {
                effects.push(Effect::Tell(SharedRecord::new(Arc::clone(record)), vec![id]));
            }
        }
        self.ranges.add(id, keys, after.max(self.state.revision));
        effects
    }

    fn tick(&mut self, leads: bool, term: Term) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.tick_leases(leads.then_some(term), &mut effects);
        let leases = self.lessor.tick(leads);
        if !leases.is_empty() {
            effects.push(Effect::Propose(Command::Expire { leases }));
        }
        let size = HistorySize {
            revision: self.state.revision,
            compacted: self.state.compacted,
            // While compacted revisions are still being freed their bytes count as history's: a bound
            // on bytes would take them for what is left, and compact more and more of it.
            bytes: if self.state.must_free() { 0 } else { self.state.history_bytes() },
        };
        if let Some(revision) = self.compactor.tick(size, leads) {
            effects.push(Effect::Propose(Command::Compact { revision }));
        }
        if self.state.must_free() {
            self.state.free_compacted(FREE_PER_TICK);
            effects.push(Effect::Publish); // or the published state would keep all of it
        }
        effects
    }
}

/// The proposal in an entry. Entries are checked where they enter the log, so one that cannot be read
/// was made by a newer version, or is damaged in a way that no checksum saw: going on would make this
/// member differ from the others.
fn decode(entry: &Committed) -> Option<Proposal> {
    if entry.data.is_empty() {
        return None;
    }
    match rmp_serde::from_slice(&entry.data) {
        Ok(proposal) => Some(proposal),
        Err(error) => panic!("entry {} cannot be read by this version: {error}", entry.index),
    }
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
