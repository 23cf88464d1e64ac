//! What Store's host does: applies later than it is told to, publishes, answers, delivers.

use std::collections::BTreeMap;
use std::mem;

use callboard::actors::raft_node::ProposeError;
use callboard::actors::raft_node::role::Input as RaftInput;
use callboard::actors::store::SubscriptionId;
use callboard::actors::store::role::{Committed, Effect, Input};
use callboard::command::ProposalId;
use callboard::storage::mvcc::{State, watch::WatchPattern};
use callboard::types::{Index, Revision};

use super::clients::Answer;
use super::member::{RaftIn, Running};
use super::world::{Event, World, id_of};

/// What Store's mailbox holds.
#[derive(Debug)]
pub enum StoreIn {
    Apply(Vec<Committed>, BTreeMap<ProposalId, usize>),
    Fail(ProposalId, ProposeError),
    Install(Box<State>),
    Subscribe { w: usize, turn: u64, pattern: WatchPattern, after: Revision },
    Cancel(SubscriptionId),
    Tick,
}

/// Where events of subscriptions go: the watcher, and which of its subscriptions it is.
pub type Sinks = BTreeMap<SubscriptionId, (usize, u64)>;

impl World {
    pub fn tell_store(&mut self, m: usize, input: StoreIn) {
        let Some(mut run) = self.members[m].run.take() else { return };
        self.put_store(m, &mut run, input);
        self.members[m].run = Some(run);
    }

    pub fn put_store(&mut self, m: usize, run: &mut Running, input: StoreIn) {
        run.store_in.push_back(input);
        if !mem::replace(&mut run.store_due, true) {
            let delay = self.members[m].random.below(self.settings.apply_delay);
            let life = self.members[m].life;
            self.after(delay, Event::StoreTurn { m, life });
        }
    }

    pub fn store_tick(&mut self, m: usize) {
        self.tell_store(m, StoreIn::Tick);
    }

    pub fn store_turn(&mut self, m: usize) {
        let Some(mut run) = self.members[m].run.take() else { return };
        run.store_due = false;
        let inputs = mem::take(&mut run.store_in);
        for input in inputs {
            self.store_input(m, &mut run, input);
            if self.broken.is_some() {
                break;
            }
        }
        self.members[m].run = Some(run);
    }

    fn store_input(&mut self, m: usize, run: &mut Running, input: StoreIn) {
        let input = match input {
            StoreIn::Apply(entries, waiting) => {
                run.store_waiting.extend(waiting);
                Input::Apply(entries)
            }
            StoreIn::Fail(id, error) => {
                let op = run.store_waiting.remove(&id);
                return self.refused(m, id, error, op);
            }
            StoreIn::Install(state) => Input::Install(state),
            StoreIn::Subscribe { w, turn, pattern, after } => {
                let id = SubscriptionId(run.next_subscription);
                run.next_subscription += 1;
                run.sinks.insert(id, (w, turn));
                Input::Subscribe { id, pattern, after, once: false }
            }
            StoreIn::Cancel(id) => Input::Cancel(id),
            StoreIn::Tick => {
                let leads = run.leader == Some(id_of(m));
                Input::Tick { leads, term: run.raft.term() }
            }
        };
        let changes = matches!(input, Input::Apply(_) | Input::Install(_));
        for effect in run.store.handle(input) {
            self.store_effect(m, run, effect);
        }
        if changes {
            self.compare_state(m, run.store.state());
        }
    }

    fn store_effect(&mut self, m: usize, run: &mut Running, effect: Effect) {
        match effect {
            Effect::Publish => run.published = run.store.state().clone(),
            Effect::Answer(id, applied) => {
                let result = self.answer_is_true(m, id, &applied);
                self.check(result);
                if let Some(op) = run.store_waiting.remove(&id) {
                    self.reply(op, Answer::Applied(applied));
                }
            }
            Effect::Applied(index) => {
                self.put_raft(m, run, RaftIn::Input(RaftInput::Applied { index: Index(index.0) }));
            }
            Effect::Subscribed(id, result) => {
                let Some(&(w, turn)) = run.sinks.get(&id) else { return };
                if result.is_err() {
                    run.sinks.remove(&id);
                }
                self.subscribed(w, turn, result);
            }
            Effect::End(ids) => {
                for id in ids {
                    if let Some((w, turn)) = run.sinks.remove(&id) {
                        self.watch_ended(w, turn);
                    }
                }
            }
            Effect::Deliver(event, ids) => {
                for id in ids {
                    let Some(&(w, turn)) = run.sinks.get(&id) else { continue };
                    if !self.watch_event(w, turn, &event) {
                        run.sinks.remove(&id);
                        run.store.handle(Input::Cancel(id));
                        self.watch_ended(w, turn);
                    }
                }
            }
            Effect::Propose(command) => self.put_raft(m, run, RaftIn::Propose(command, None)),
            // Nobody watches ranges here.
            Effect::Digest(_)
            | Effect::Count(_)
            | Effect::Login { .. }
            | Effect::RangeSubscribed(..)
            | Effect::Tell(..) => {}
        }
    }
}
