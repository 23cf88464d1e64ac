//! What Store's host does: applies later than it is told to, publishes, answers, delivers.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use callboard::actors::raft_node::ProposeError;
use callboard::actors::raft_node::role::Input as RaftInput;
use callboard::actors::store::SubscriptionId;
use callboard::actors::store::role::{Committed, Effect, Input};
use callboard::actors::store::watch_line::{WatchLine, tell_all};
use callboard::command::{KeyRange, ProposalId};
use callboard::storage::mvcc::{State, watch::WatchPattern};
use callboard::types::{Index, Revision, Term};
use callboard::wire::LeaseQuestion;

use super::clients::{Answer, Asker};
use super::keeper_host::KeeperIn;
use super::member::{RaftIn, Running};
use super::settings::Planted;
use super::world::{Event, World, id_of};

/// What Store's mailbox holds.
#[derive(Debug)]
pub enum StoreIn {
    Apply(Vec<Committed>, BTreeMap<ProposalId, Asker>),
    Fail(ProposalId, ProposeError),
    Install(Box<State>),
    Subscribe {
        w: usize,
        turn: u64,
        pattern: WatchPattern,
        after: Revision,
    },
    SubscribeRange {
        s: usize,
        turn: u64,
        tag: u64,
        keys: KeyRange,
        after: Revision,
        line: Arc<WatchLine>,
    },
    Mark(Arc<WatchLine>),
    Cancel(SubscriptionId),
    AskLeases {
        batch: u64,
        term: Term,
        questions: Vec<LeaseQuestion>,
    },
    Tick,
}

/// Where events of subscriptions go: the watcher, and which of its subscriptions it is.
pub type Sinks = BTreeMap<SubscriptionId, (usize, u64)>;

/// A watch of a range, and the line that it shares with others: of which stream, and in which of its
/// connections.
pub struct OnLine {
    s: usize,
    turn: u64,
    tag: u64,
    line: Arc<WatchLine>,
}

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
                let asker = run.store_waiting.remove(&id);
                return self.refused(m, id, error, asker);
            }
            StoreIn::Install(state) => Input::Install(state),
            StoreIn::Subscribe { w, turn, pattern, after } => {
                let id = SubscriptionId(run.next_subscription);
                run.next_subscription += 1;
                run.sinks.insert(id, (w, turn));
                Input::Subscribe { id, pattern, after, once: false }
            }
            StoreIn::SubscribeRange { s, turn, tag, keys, after, line } => {
                let id = SubscriptionId(run.next_subscription);
                run.next_subscription += 1;
                run.lines.insert(id, OnLine { s, turn, tag, line });
                Input::SubscribeRange { id, keys, after }
            }
            StoreIn::Mark(line) => return line.mark(run.store.state().revision),
            StoreIn::Cancel(id) => {
                run.lines.remove(&id);
                Input::Cancel(id)
            }
            StoreIn::AskLeases { batch, term, questions } => {
                let answers = run.store.ask_leases(term, &questions);
                return self.tell_keeper(m, KeeperIn::Stood { batch, answers });
            }
            StoreIn::Tick => {
                let all = self.options.planted == Some(Planted::EveryoneEndsLeases);
                let leads = all || run.leader == Some(id_of(m));
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
                if let Some(asker) = run.store_waiting.remove(&id) {
                    self.reply_to(m, asker, Answer::Applied(applied));
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
                    if let Some(OnLine { tag, line, .. }) = run.lines.remove(&id) {
                        line.end(tag);
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
            Effect::RangeSubscribed(id, result) => {
                let Some(&OnLine { s, turn, tag, .. }) = run.lines.get(&id) else { return };
                if result.is_err() {
                    run.lines.remove(&id);
                }
                self.range_subscribed(s, turn, tag, result.map(|()| id));
            }
            Effect::Tell(record, ids) => {
                let lines = &run.lines;
                let on_line = |id| lines.get(&id).map(|at| (id, at.tag, &at.line));
                for id in tell_all(ids.into_iter().filter_map(on_line), &record) {
                    run.lines.remove(&id);
                    run.store.handle(Input::Cancel(id));
                }
            }
            Effect::Digest(_) | Effect::Count(_) | Effect::Login { .. } => {}
        }
    }
}
