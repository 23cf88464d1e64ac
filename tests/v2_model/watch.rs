//! Watchers: what the Store's role delivers, from history and as it happens, in batches of any size.

use std::collections::BTreeMap;

use bytes::Bytes;
use callboard::actors::store::{
    SubscribeError, SubscriptionId,
    compactor::{Compactor, Retention},
    role::{Committed, Effect, Input, Role},
};
use callboard::storage::mvcc::{State, watch::WatchPattern};
use callboard::types::{MemberId, Revision, Term, UnixNanos};
use proptest::{prelude::*, test_runner::Config};

use crate::model::{Event, Store, Watch};
use crate::operations::{Clock, Operation, PATHS, event, operation, path, proposal};

#[derive(Clone, Debug)]
enum Step {
    /// So many operations are applied as one batch.
    Batch(Vec<Operation>),
    Subscribe {
        path: usize,
        recursive: bool,
        from: From,
        once: bool,
    },
    /// One of the watchers goes.
    Cancel(prop::sample::Index),
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
enum From {
    Now,
    /// This many revisions ago, perhaps before history begins.
    Past(u64),
    /// This many revisions ahead.
    Future(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let from = prop_oneof![
        2 => Just(From::Now),
        2 => (0..30_u64).prop_map(From::Past),
        1 => (1..8_u64).prop_map(From::Future),
    ];
    let subscribe = (path(), any::<bool>(), from, prop::bool::weighted(0.3));
    prop_oneof![
        4 => prop::collection::vec(operation(), 1..6).prop_map(Step::Batch),
        3 => subscribe.prop_map(|(path, recursive, from, once)| {
            Step::Subscribe { path, recursive, from, once }
        }),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
    ]
}

/// A watcher as the model has it.
#[derive(Debug)]
struct Watcher {
    watch: Watch,
    once: bool,
    /// Events up to here were told, or are none of its business.
    after: u64,
    start: u64,
    /// What it was told while events happened, and after it had read history.
    live: Vec<Event>,
}

struct Pair {
    model: Store,
    role: Role,
    /// The same state, to choose commands by within a batch.
    ahead: State,
    clock: Clock,
    watchers: BTreeMap<u64, Watcher>,
    next: u64,
}

fn pattern(watch: &Watch) -> WatchPattern {
    let path = Bytes::copy_from_slice(watch.path.as_bytes());
    WatchPattern { path, recursive: watch.recursive }
}

impl Pair {
    fn new() -> Pair {
        let state = State::new(Vec::new());
        let compactor = Compactor::new(Retention::Off, 0);
        Pair {
            model: Store::new(),
            role: Role::new(MemberId(1), state.clone(), compactor, UnixNanos(0)),
            ahead: state,
            clock: Clock::new(),
            watchers: BTreeMap::new(),
            next: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Batch(operations) => self.batch(operations),
            &Step::Subscribe { path, recursive, from, once } => {
                let watch = Watch { path: PATHS[path].to_owned(), recursive };
                self.subscribe(watch, from, once);
            }
            Step::Cancel(index) => {
                if self.watchers.is_empty() {
                    return;
                }
                let id = *index.get(&self.watchers.keys().copied().collect::<Vec<_>>());
                self.watchers.remove(&id);
                let effects = self.role.handle(Input::Cancel(SubscriptionId(id)));
                assert!(effects.is_empty(), "{effects:?}");
            }
        }
        assert_eq!(self.role.watchers(), self.watchers.len());
    }

    fn batch(&mut self, operations: &[Operation]) {
        let mut entries = Vec::new();
        let known = self.model.events.len();
        for operation in operations {
            self.clock.pass(operation);
            let command = operation.command(&self.model, &self.ahead, &self.clock);
            let proposal = proposal(command, &self.clock);
            let index = self.ahead.applied_index.next();
            self.ahead.apply(index, Term(1), Some(&proposal));
            if let callboard::command::Command::V2(command) = &proposal.command {
                _ = self.model.apply(command, self.clock.now().0); // a refusal is no event
            } else if let Operation::Expire { .. } = operation {
                self.model.expire(self.clock.now().0);
            }
            let data = rmp_serde::to_vec(&proposal).expect("plain data").into();
            entries.push(Committed { index, term: Term(1), data });
        }
        let effects = self.role.handle(Input::Apply(entries));
        let applied = effects.iter().position(|e| matches!(e, Effect::Applied(_)));
        let delivered = effects.iter().position(|e| matches!(e, Effect::Deliver(..)));
        assert!(matches!(effects[0], Effect::Publish), "what is told can be read");
        assert!(delivered.is_none_or(|at| Some(at) > applied), "callers are answered first");
        let mut told = told(&effects);
        for happened in &self.model.events[known..] {
            let mut served = Vec::new();
            for (id, watcher) in &mut self.watchers {
                if happened.index > watcher.after && watcher.watch.sees_live(happened) {
                    watcher.after = happened.index;
                    watcher.live.push(happened.clone());
                    served.extend(watcher.once.then_some(*id));
                }
            }
            self.watchers.retain(|id, watcher| {
                let live = watcher.live.last().is_some_and(|event| event.index == happened.index);
                let expected = live.then_some(happened);
                let found = told.entry(*id).or_default();
                let found = (found.first() == expected && live).then(|| found.remove(0));
                assert_eq!(found.as_ref(), expected, "watcher {id}: {watcher:?}");
                !served.contains(id)
            });
        }
        told.retain(|_, events| !events.is_empty());
        assert_eq!(told, BTreeMap::new(), "told of what nobody asked for");
    }

    fn subscribe(&mut self, watch: Watch, from: From, once: bool) {
        let state = self.role.state();
        let (revision, compacted) = (state.revision.0, state.compacted.0);
        let after = match from {
            From::Now => revision,
            From::Past(back) => revision.saturating_sub(back),
            From::Future(ahead) => revision + ahead,
        };
        let id = self.next;
        self.next += 1;
        let effects = self.role.handle(Input::Subscribe {
            id: SubscriptionId(id),
            pattern: pattern(&watch),
            after: Revision(after),
            once,
        });
        let Effect::Subscribed(answered, result) = &effects[0] else { panic!("{effects:?}") };
        assert_eq!(answered.0, id);
        let expected = if after < compacted {
            Err(SubscribeError::Compacted { compacted: Revision(compacted) })
        } else {
            Ok(())
        };
        assert_eq!(*result, expected, "after {after}");
        if expected.is_err() {
            assert_eq!(effects.len(), 1);
            return;
        }
        let missed = self.model.events.iter().filter(|event| event.index > after);
        let missed = missed.filter(|event| watch.sees_in_history(event)).cloned();
        let missed: Vec<Event> = missed.take(if once { 1 } else { usize::MAX }).collect();
        let served = once && !missed.is_empty();
        assert_eq!(told(&effects).remove(&id).unwrap_or_default(), missed);
        if !served {
            let after = after.max(revision);
            let watcher = Watcher { watch, once, after, start: after, live: Vec::new() };
            self.watchers.insert(id, watcher);
        }
    }

    /// What a watcher was told as it happened is what history tells afterwards, but for the ends of
    /// directories above a path that did not exist.
    fn compare_with_history(&self) {
        let state = self.role.state();
        for watcher in self.watchers.values().filter(|watcher| !watcher.once) {
            let from = Revision(watcher.start + 1).max(state.oldest_revision());
            let pattern = pattern(&watcher.watch);
            let mut replayed: Vec<Event> =
                state.replay(&pattern, from).map(|e| event(&e.record, e.part)).collect();
            replayed.retain(|event| {
                let above = event.removed.contains(&event.node.key)
                    && watcher.watch.path.starts_with(&format!("{}/", event.node.key));
                !above || event.removed.contains(&watcher.watch.path)
            });
            let live = watcher.live.iter().filter(|event| event.index >= from.0);
            assert_eq!(replayed, live.cloned().collect::<Vec<_>>(), "{watcher:?}");
        }
    }
}

/// What each watcher is told by these effects, in their order.
fn told(effects: &[Effect]) -> BTreeMap<u64, Vec<Event>> {
    let mut told: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for effect in effects {
        if let Effect::Deliver(shared, ids) = effect {
            for id in ids {
                told.entry(id.0).or_default().push(event(&shared.record, shared.part));
            }
        }
    }
    told
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn watchers_are_told_what_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.run(step);
        }
        pair.compare_with_history();
    }
}
