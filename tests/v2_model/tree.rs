//! The tree: every answer, every listing, history, and what a snapshot brings back.

use callboard::command::Command;
use callboard::storage::mvcc::{
    Applied, CompactError, State,
    codec::{self, Loader},
};
use callboard::types::{Index, Revision, Term};
use proptest::{prelude::*, test_runner::Config};

use crate::model::{Event, Shown, Store};
use crate::operations::{Clock, Operation, PATHS, get, only_event, operation, proposal, refused};

/// Both, side by side.
struct Pair {
    model: Store,
    state: State,
    clock: Clock,
}

/// All that can be seen of a state.
#[derive(Debug, PartialEq)]
struct Sight {
    digest: u32,
    listing: Shown,
    history: Vec<Event>,
    key_count: usize,
    live_bytes: u64,
    leases: usize,
}

impl Sight {
    fn of(state: &State) -> Sight {
        Sight {
            digest: codec::digest(state),
            listing: get(state, "/", true).expect("the root is there"),
            history: state.history_from(Revision(0)).map(|record| only_event(record)).collect(),
            key_count: state.key_count(),
            live_bytes: state.live_bytes(),
            leases: state.leases().count(),
        }
    }
}

impl Pair {
    fn new() -> Pair {
        Pair { model: Store::new(), state: State::new(Vec::new()), clock: Clock::new() }
    }

    /// Lets one thing happen to both, and compares what they say of it.
    fn run(&mut self, operation: &Operation) {
        self.clock.pass(operation);
        let now = self.clock.now();
        let command = operation.command(&self.model, &self.state, &self.clock);
        let proposal = proposal(command, &self.clock);
        let (index, compacted) = (self.state.applied_index.next(), self.state.compacted);
        let outcome = self.state.apply(index, Term(1), Some(&proposal));
        let records: Vec<_> = outcome.records.iter().map(|record| only_event(record)).collect();
        match (&proposal.command, &outcome.applied) {
            (Command::V2(command), Applied::V2(answer)) => {
                let expected = self.model.apply(command, now.0);
                let answer = answer.as_ref().map(|r| only_event(r)).map_err(refused);
                assert_eq!(answer, expected, "{command:?}");
                assert_eq!(records, answer.into_iter().collect::<Vec<_>>());
            }
            (Command::Expire { .. }, Applied::Expired(count)) => {
                assert_eq!(records, self.model.expire(now.0));
                assert_eq!(*count, records.len());
            }
            (Command::Compact { revision }, Applied::Compacted(result)) => {
                let expected = if *revision > compacted {
                    Ok(*revision)
                } else {
                    Err(CompactError::AlreadyCompacted)
                };
                assert_eq!(*result, expected);
                assert_eq!(self.state.compacted, compacted.max(*revision));
                assert_eq!(records, []);
            }
            (command, applied) => panic!("{command:?} was answered by {applied:?}"),
        }
        self.compare();
    }

    fn compare(&self) {
        let Pair { model, state, .. } = self;
        assert_eq!(state.revision.0, model.index);
        assert_eq!(get(state, "/", true), model.get("/", true));
        for path in PATHS {
            assert_eq!(get(state, path, false), model.get(path, false), "GET {path}");
        }
        assert_eq!(state.leases().count(), model.ttls(), "each TTL is one lease");
    }

    fn compare_history(&self) {
        let kept = self.model.events.iter().filter(|e| e.index > self.state.compacted.0);
        let history: Vec<_> = self.state.history_from(Revision(0)).collect();
        let history: Vec<_> = history.into_iter().map(|record| only_event(record)).collect();
        assert_eq!(history, kept.cloned().collect::<Vec<_>>());
    }
}

/// What a snapshot of the state brings back.
fn reloaded(state: &State) -> State {
    let mut loader = Loader::default();
    codec::encode(state, |record| loader.push(record)).expect("it was just written");
    loader.finish().expect("it is whole")
}

proptest! {
    #![proptest_config(Config { cases: 1000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_tree_is_what_the_model_says(
        before in prop::collection::vec(operation(), 1..45),
        after in prop::collection::vec(operation(), 1..25),
    ) {
        let mut pair = Pair::new();
        for operation in &before {
            pair.run(operation);
        }
        // A view of now must not see what comes, nor may a snapshot of now.
        let view = pair.state.clone();
        let seen = Sight::of(&view);
        let mut loaded = Pair {
            model: pair.model.clone(),
            state: reloaded(&view),
            clock: Clock::at(pair.clock.now()),
        };
        prop_assert_eq!(&Sight::of(&loaded.state), &seen);
        for operation in &after {
            pair.run(operation);
            loaded.run(operation); // a member that started from the snapshot goes the same way
        }
        pair.compare_history();
        prop_assert_eq!(&Sight::of(&view), &seen);
        prop_assert_eq!(Sight::of(&loaded.state), Sight::of(&pair.state));
    }

    #[test]
    fn a_snapshot_after_a_compaction_brings_back_all_but_what_was_forgotten(
        operations in prop::collection::vec(operation(), 1..60),
        percent in 0..=100_u64,
        bites in 1..20_usize,
    ) {
        let mut pair = Pair::new();
        for operation in &operations {
            pair.run(operation);
        }
        let (before, seen) = (pair.state.clone(), Sight::of(&pair.state));
        pair.run(&Operation::Compact { percent });
        let at_once = Sight::of(&pair.state); // what is forgotten is not seen, freed or not
        while pair.state.must_free() {
            pair.state.free_compacted(bites);
        }
        prop_assert_eq!(&Sight::of(&pair.state), &at_once);
        pair.compare_history();
        let loaded = reloaded(&pair.state);
        prop_assert_eq!(Sight::of(&loaded), at_once);
        prop_assert_eq!(loaded.history_bytes(), pair.state.history_bytes());
        prop_assert_eq!(Sight::of(&before), seen);
    }
}

#[test]
fn the_tree_of_nothing() {
    let pair = Pair::new();
    pair.compare();
    assert_eq!(pair.state.applied_index, Index(0));
    assert_eq!(Sight::of(&reloaded(&pair.state)), Sight::of(&pair.state));
}
