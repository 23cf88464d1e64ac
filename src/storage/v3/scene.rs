//! For the tests of this room: a state, and short words for what is done to it.

use bytes::Bytes;

use super::{V3Answer, V3Applied, V3Error};
use crate::{
    command::{
        Command, KeyRange, Proposal, ProposalId, V2Command, V2Op, V2Write, V3Command,
        V3DeleteRange, V3Op, V3Put, V3Range,
    },
    storage::mvcc::{Applied, Outcome, State, record::KeyRecord},
    types::{LeaseId, MemberId, Revision, Term, UnixNanos},
};

/// A state of its own.
pub struct Scene {
    /// As it is now.
    pub state: State,
}

/// `a` is one key, `a..c` a range, `a..` all from there on.
pub fn keys(text: &str) -> KeyRange {
    let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    match text.split_once("..") {
        None => KeyRange::one(own(text)),
        Some((key, "")) => KeyRange { key: own(key), range_end: Bytes::from_static(b"\0") },
        Some((key, end)) => KeyRange { key: own(key), range_end: own(end) },
    }
}

/// A put without lease.
pub fn put(key: &str, value: &str) -> V3Put {
    let (key, value) = (key.as_bytes().to_vec().into(), value.as_bytes().to_vec().into());
    V3Put { key, value, ..V3Put::default() }
}

/// A put on a lease.
pub fn put_on(key: &str, lease: i64) -> V3Put {
    V3Put { lease: LeaseId(lease), ..put(key, "v") }
}

/// A range.
pub fn query(text: &str) -> V3Range {
    V3Range { keys: keys(text), ..V3Range::default() }
}

/// A range as of a revision.
pub fn query_at(text: &str, revision: i64) -> V3Range {
    V3Range { revision, ..query(text) }
}

/// Keys and values, as text: `a=1 b=2`.
pub fn shown<'a>(records: impl IntoIterator<Item = &'a KeyRecord>) -> String {
    let show = |record: &KeyRecord| {
        format!("{}={}", record.key().escape_ascii(), record.value().escape_ascii())
    };
    records.into_iter().map(show).collect::<Vec<_>>().join(" ")
}

impl Scene {
    /// Nothing was ever written.
    pub fn new() -> Scene {
        Scene { state: State::new(Vec::new()) }
    }

    /// Applies a command.
    pub fn apply(&mut self, command: Command) -> Outcome {
        let index = self.state.applied_index.next();
        let time = UnixNanos(1_000_000_000 * index.0);
        let proposal = Proposal { id: ProposalId(1), member: MemberId(1), time, command };
        self.state.apply(index, Term(1), Some(&proposal))
    }

    /// Applies a v3 operation.
    pub fn v3(&mut self, op: V3Op) -> V3Applied {
        match self.apply(Command::V3(V3Command { caller: None, op })).applied {
            Applied::V3(applied) => applied,
            other => panic!("applied as {other:?}"),
        }
    }

    /// Puts.
    pub fn put(&mut self, key: &str, value: &str) -> Revision {
        let applied = self.v3(V3Op::Put(put(key, value)));
        assert_eq!(applied.result, Ok(V3Answer::Put(None)));
        applied.revision
    }

    /// Puts on a lease.
    pub fn put_on(&mut self, key: &str, lease: i64) -> Result<V3Answer, V3Error> {
        self.v3(V3Op::Put(put_on(key, lease))).result
    }

    /// Deletes; tells how many.
    pub fn delete(&mut self, text: &str) -> u64 {
        let delete = V3DeleteRange { keys: keys(text), prev_kv: false };
        match self.v3(V3Op::DeleteRange(delete)).result {
            Ok(V3Answer::DeleteRange(deleted, _)) => deleted,
            other => panic!("deleted with {other:?}"),
        }
    }

    /// Compacts.
    pub fn compact(&mut self, revision: i64) -> Result<V3Answer, V3Error> {
        self.v3(V3Op::Compact { revision }).result
    }

    /// A lease of 60 seconds.
    pub fn grant(&mut self, id: i64) -> Result<V3Answer, V3Error> {
        self.v3(V3Op::LeaseGrant { id: LeaseId(id), ttl: 60 }).result
    }

    /// Ends a lease.
    pub fn revoke(&mut self, id: i64) -> Result<V3Answer, V3Error> {
        self.v3(V3Op::LeaseRevoke { id: LeaseId(id) }).result
    }

    /// A v2 set, with a TTL if it is not 0.
    pub fn v2_set(&mut self, path: &str, ttl: u64) {
        let ttl = Some(ttl).filter(|ttl| *ttl > 0);
        let write = V2Write { value: Bytes::from_static(b"v2"), ttl, ..V2Write::default() };
        let command = V2Command { path: path.as_bytes().to_vec(), op: V2Op::Set(write) };
        let applied = self.apply(Command::V2(command)).applied;
        assert!(matches!(applied, Applied::V2(Ok(_))), "{applied:?}");
    }

    /// What a range holds at a revision, as text; 0 is now.
    pub fn held(&self, text: &str, revision: i64) -> String {
        match super::range(&self.state, &query_at(text, revision)) {
            Ok(answer) => shown(&answer.keys),
            Err(error) => error.to_string(),
        }
    }

    /// The keys of a lease.
    pub fn attached(&self, id: i64) -> Vec<String> {
        let keys = self.state.keys_of_lease(LeaseId(id));
        keys.map(|key| key.escape_ascii().to_string()).collect()
    }
}
