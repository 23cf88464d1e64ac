//! Both side by side: every answer, every revision, what a snapshot brings back, and what must always hold.

use callboard::command::{
    Command, KeyRange, Proposal, ProposalId, V2Command, V3Command, V3Op, V3Range,
};
use callboard::storage::mvcc::{
    Applied, State,
    codec::{self, Loader},
    record::{KeyRecord, LeaseHolder},
};
use callboard::storage::v3::{self, OpAnswer, RangeAnswer, TxnAnswer, V3Answer};
use callboard::types::{MemberId, Revision, Term, UnixNanos};
use proptest::{prelude::*, test_runner::Config};

use crate::model::{Answer, Keys, Model, Version};
use crate::operations::{Operation, operation, range};

fn shown(record: &KeyRecord) -> Version {
    Version {
        key: record.key().to_vec(),
        value: record.value().to_vec(),
        create: record.create_revision.0,
        modified: record.mod_revision.0,
        version: record.version,
        lease: record.lease.0,
    }
}

fn shown_range(answer: RangeAnswer) -> Answer {
    let keys = answer.keys.iter().map(shown).collect();
    Answer::Range(answer.revision.0, keys, answer.more, answer.count)
}

fn shown_txn(answer: TxnAnswer) -> Answer {
    let ops = answer.responses.into_iter().map(|op| match op {
        OpAnswer::Range(answer) => shown_range(answer),
        OpAnswer::Put(revision, prev) => Answer::Put(revision.0, prev.as_ref().map(shown)),
        OpAnswer::DeleteRange(revision, count, prev) => {
            Answer::Delete(revision.0, count, prev.iter().map(shown).collect())
        }
        OpAnswer::Txn(inner) => shown_txn(inner),
    });
    Answer::Txn(answer.succeeded, ops.collect())
}

fn shown_answer(answer: V3Answer) -> Answer {
    match answer {
        V3Answer::Put(prev) => Answer::Put(0, prev.as_ref().map(shown)),
        V3Answer::DeleteRange(count, prev) => {
            Answer::Delete(0, count, prev.iter().map(shown).collect())
        }
        V3Answer::Txn(answer) => shown_txn(answer),
        V3Answer::Done | V3Answer::V2Auth(_) => Answer::Done,
    }
}

/// All keys.
fn everything() -> V3Range {
    let keys = KeyRange { key: b"\0".as_slice().into(), range_end: b"\0".as_slice().into() };
    V3Range { keys, ..V3Range::default() }
}

fn keys_now(state: &State) -> Keys {
    let answer = v3::range(state, &everything()).expect("now can be read");
    answer.keys.iter().map(|record| (record.key().to_vec(), shown(record))).collect()
}

/// What a snapshot of the state brings back.
fn reloaded(state: &State) -> State {
    let mut loader = Loader::default();
    codec::encode(state, |record| loader.push(record)).expect("it was just written");
    loader.finish().expect("it is whole")
}

struct Pair {
    model: Model,
    state: State,
}

impl Pair {
    fn new() -> Pair {
        Pair { model: Model::new(), state: State::new(Vec::new()) }
    }

    /// Lets one thing happen to both, and compares what they say of it.
    fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::V3(op) => self.v3(op),
            Operation::Compact(percent) => {
                let (from, to) = (self.state.compacted.0, self.state.revision.0);
                let revision = (from + (to - from) * percent / 100) as i64;
                self.v3(&V3Op::Compact { revision });
            }
            Operation::Free(max) => self.state.free_compacted(*max),
            Operation::V2(path, op) => {
                let command = V2Command { path: path.as_bytes().to_vec(), op: op.clone() };
                let before = self.state.revision;
                let applied = self.apply(Command::V2(command));
                assert!(matches!(applied, Applied::V2(_)), "{applied:?}");
                if self.state.revision > before {
                    assert_eq!(self.state.revision, before.next());
                    self.model.adopt(keys_now(&self.state)); // right is what v2's own model tells
                }
            }
        }
        self.check();
    }

    fn apply(&mut self, command: Command) -> Applied {
        let index = self.state.applied_index.next();
        let time = UnixNanos(1_700_000_000_000_000_000 + index.0);
        let proposal = Proposal { id: ProposalId(1), member: MemberId(1), time, command };
        self.state.apply(index, Term(1), Some(&proposal)).applied
    }

    fn v3(&mut self, op: &V3Op) {
        let expected = self.model.apply(op);
        let command = Command::V3(V3Command { caller: None, op: op.clone() });
        let Applied::V3(applied) = self.apply(command) else { panic!("not a v3 answer") };
        assert_eq!(applied.result.map(shown_answer), expected, "{op:?}");
        assert_eq!(applied.revision, self.state.revision);
    }

    /// What must always hold.
    fn check(&self) {
        let Pair { model, state } = self;
        assert_eq!(state.revision.0, model.revision());
        assert_eq!(&keys_now(state), model.now());
        let live: usize = model.now().values().map(|v| v.key.len() + v.value.len()).sum();
        assert_eq!(state.live_bytes(), live as u64);
        assert_eq!(state.key_count(), model.now().len());
        let mut leases = model.leases.clone();
        for lease in state.leases() {
            if lease.is_v3() {
                assert!(leases.remove(&lease.id.0), "{lease:?} is not there");
                let attached: Vec<&[u8]> = state.keys_of_lease(lease.id).map(|k| &k[..]).collect();
                let of_it = |v: &&Version| v.lease == lease.id.0;
                let expected: Vec<&[u8]> =
                    model.now().values().filter(of_it).map(|v| &v.key[..]).collect();
                assert_eq!(attached, expected, "keys of {lease:?}");
            } else if let LeaseHolder::Key(key) = &lease.holder {
                let holds = state.key(key).is_some_and(|record| record.lease == lease.id);
                assert!(holds, "{lease:?} has lost its key");
            }
        }
        assert!(leases.is_empty(), "{leases:?} are gone");
        for version in model.now().values().filter(|version| version.lease != 0) {
            let lease = state.leases().find(|lease| lease.id.0 == version.lease);
            assert!(lease.is_some(), "{version:?} hangs on nothing");
        }
    }

    /// Every revision that can be read, and some questions about it.
    fn check_past(&self, queries: &[V3Range]) {
        let Pair { model, state } = self;
        let compare = |query: &V3Range| {
            let answer = v3::range(state, query).map(shown_range);
            assert_eq!(answer, model.range(query), "{query:?}");
        };
        for revision in 1..=model.revision() + 1 {
            compare(&V3Range { revision: revision as i64, ..everything() });
        }
        queries.iter().for_each(compare);
        for query in queries {
            // Key by key, as a stream goes: the same keys.
            let Ok(at) = v3::revision_of(state, query.revision) else { continue };
            let view = v3::View::new(state, &query.keys, at);
            let (mut walked, mut last): (Vec<&KeyRecord>, Option<&[u8]>) = (Vec::new(), None);
            while let Some(record) = view.iter(state, last).next() {
                walked.push(record);
                last = Some(record.key());
            }
            assert!(walked.iter().copied().eq(view.iter(state, None)), "{query:?}");
            assert_eq!(walked.len(), view.count(state), "{query:?}");
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_keyspace_is_what_the_model_says(
        before in prop::collection::vec(operation(), 1..30),
        after in prop::collection::vec(operation(), 1..20),
        queries in prop::collection::vec(range(), 1..25),
    ) {
        let mut pair = Pair::new();
        for operation in &before {
            pair.run(operation);
        }
        pair.check_past(&queries);
        // A view of now must not see what comes, nor may a snapshot of now.
        let view = Pair { model: pair.model.clone(), state: pair.state.clone() };
        let digest = codec::digest(&view.state);
        let mut loaded = Pair { model: pair.model.clone(), state: reloaded(&view.state) };
        prop_assert_eq!(codec::digest(&loaded.state), digest);
        loaded.check();
        loaded.check_past(&queries);
        for operation in &after {
            pair.run(operation);
            loaded.run(operation); // a member that started from the snapshot goes the same way
        }
        prop_assert_eq!(codec::digest(&loaded.state), codec::digest(&pair.state));
        pair.check_past(&queries);
        view.check_past(&queries);
        prop_assert_eq!(codec::digest(&view.state), digest);
        prop_assert!(pair.state.compacted <= pair.state.revision.max(Revision(1)));
    }
}
