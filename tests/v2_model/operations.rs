//! Random operations, and Callboard's answers in the model's words.

use bytes::Bytes;
use callboard::command::{Command, Proposal, ProposalId, V2Command, V2Compare, V2Op, V2Write};
use callboard::storage::mvcc::{State, record::RevisionRecord, watch::Part};
use callboard::storage::v2_tree::{V2Event, V2Kind, V2Node, V2StoreError, read};
use callboard::types::{LeaseId, MemberId, Revision, UnixNanos};
use proptest::prelude::*;

use crate::model::{Event, Refused, Shown, Store, What};

/// A few paths that meet each other: directories with the same name as files of another operation,
/// names that sort between a directory and what is below it, hidden ones at each level.
pub const PATHS: [&str; 18] = [
    "/",
    "/a",
    "/a/a",
    "/a/b",
    "/a/b/a",
    "/a/b/_h",
    "/a/b/a/b",
    "/a-",
    "/a.x/b",
    "/a0",
    "/b",
    "/b/a",
    "/b/_h",
    "/b/_h/a",
    "/_h",
    "/_h/a/b",
    "/a/_h/c/d",
    "/c",
];

const SECOND: u64 = 1_000_000_000;

/// One thing that happens. What depends on the moment is chosen when it happens.
#[derive(Clone, Debug)]
pub enum Operation {
    Set(Write),
    Create(Write),
    CreateInOrder(Write),
    Update(Write),
    CompareAndSwap(Compare, Write),
    Delete {
        path: usize,
        dir: bool,
        recursive: bool,
    },
    CompareAndDelete(usize, Compare),
    /// Time passes, then what has run out is ended.
    Expire {
        seconds: u64,
    },
    /// A share of the history that there is, in percent, is forgotten.
    Compact {
        percent: u64,
    },
}

/// New content for a path.
#[derive(Clone, Debug)]
pub struct Write {
    path: usize,
    dir: bool,
    value: &'static str,
    ttl: Option<u64>,
    refresh: bool,
}

/// What is given as condition: nothing, what is there, or something else.
#[derive(Clone, Copy, Debug)]
pub struct Compare {
    value: Given,
    index: Given,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Given {
    Nothing,
    Right,
    Wrong,
}

pub fn path() -> impl Strategy<Value = usize> {
    0..PATHS.len()
}

pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => write().prop_map(Operation::Set),
        3 => write().prop_map(Operation::Create),
        1 => write().prop_map(Operation::CreateInOrder),
        3 => write().prop_map(Operation::Update),
        3 => (compare(), write()).prop_map(|(c, w)| Operation::CompareAndSwap(c, w)),
        4 => (path(), any::<bool>(), any::<bool>())
            .prop_map(|(path, dir, recursive)| Operation::Delete { path, dir, recursive }),
        2 => (path(), compare()).prop_map(|(p, c)| Operation::CompareAndDelete(p, c)),
        2 => (0..15_u64).prop_map(|seconds| Operation::Expire { seconds }),
        1 => (0..=100_u64).prop_map(|percent| Operation::Compact { percent }),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let value = prop_oneof![Just(""), Just("x"), Just("yy")];
    let ttl = prop_oneof![
        5 => Just(None),
        4 => (0..20_u64).prop_map(Some),
        1 => Just(Some(u64::MAX)),
    ];
    let bools = (prop::bool::weighted(0.3), prop::bool::weighted(0.15));
    (path(), value, ttl, bools).prop_map(|(path, value, ttl, (dir, refresh))| Write {
        path,
        dir,
        value,
        ttl,
        refresh,
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let given =
        || prop_oneof![1 => Just(Given::Nothing), 3 => Just(Given::Right), 1 => Just(Given::Wrong)];
    (given(), given()).prop_map(|(value, index)| Compare { value, index })
}

impl Write {
    fn of(&self) -> (&'static str, V2Write) {
        let Write { path, dir, value, ttl, refresh } = *self;
        (PATHS[path], V2Write { dir, value: Bytes::from_static(value.as_bytes()), ttl, refresh })
    }
}

impl Compare {
    fn of(self, model: &Store, path: &str) -> V2Compare {
        let (value, index) = model.file(path).unwrap_or((b"none", 1));
        let prev_value = match self.value {
            Given::Nothing => Vec::new(),
            Given::Right => value.to_vec(),
            Given::Wrong => b"other".to_vec(),
        };
        let prev_index = match self.index {
            Given::Nothing => 0,
            Given::Right => index,
            Given::Wrong => index + 1000,
        };
        V2Compare { prev_value, prev_index }
    }
}

impl Operation {
    /// The command that it is now.
    pub fn command(&self, model: &Store, state: &State, clock: &Clock) -> Command {
        let (path, op) = match self {
            Operation::Set(write) => (write.of().0, V2Op::Set(write.of().1)),
            Operation::Create(write) => (write.of().0, V2Op::Create(write.of().1)),
            Operation::CreateInOrder(write) => (write.of().0, V2Op::CreateInOrder(write.of().1)),
            Operation::Update(write) => (write.of().0, V2Op::Update(write.of().1)),
            Operation::CompareAndSwap(compare, write) => {
                let (path, write) = write.of();
                let compare = compare.of(model, path);
                (path, V2Op::CompareAndSwap { compare, write })
            }
            &Operation::Delete { path, dir, recursive } => {
                (PATHS[path], V2Op::Delete { dir, recursive })
            }
            &Operation::CompareAndDelete(path, compare) => {
                let path = PATHS[path];
                (path, V2Op::CompareAndDelete(compare.of(model, path)))
            }
            Operation::Expire { .. } => {
                let now = clock.now();
                let mut due: Vec<_> = state.leases().filter(|l| l.expires <= now).collect();
                due.sort_by_key(|lease| (lease.expires, lease.id));
                let nobodys = LeaseId(7); // one that ended long ago is skipped
                let leases = due.iter().map(|lease| lease.id).chain([nobodys]).collect();
                return Command::Expire { leases };
            }
            Operation::Compact { percent } => {
                let (from, to) = (state.compacted.0, state.revision.0);
                return Command::Compact { revision: Revision(from + (to - from) * percent / 100) };
            }
        };
        Command::V2(V2Command { path: path.as_bytes().to_vec(), op })
    }
}

/// The proposer's clock: moves a little with each operation, so that no two times are equal.
#[derive(Debug)]
pub struct Clock(u64);

impl Clock {
    pub fn new() -> Clock {
        Clock(1_700_000_000 * SECOND)
    }

    pub fn at(now: UnixNanos) -> Clock {
        Clock(now.0)
    }

    pub fn now(&self) -> UnixNanos {
        UnixNanos(self.0)
    }

    pub fn pass(&mut self, operation: &Operation) {
        let seconds = match operation {
            Operation::Expire { seconds } => *seconds,
            _ => 0,
        };
        self.0 += seconds * SECOND + 1_000;
    }
}

pub fn proposal(command: Command, clock: &Clock) -> Proposal {
    Proposal { id: ProposalId(1), member: MemberId(1), time: clock.now(), command }
}

/// The model's word for a node of Callboard.
pub fn shown(node: &V2Node) -> Shown {
    let what = match &node.kind {
        V2Kind::File(record) => What::File(record.value().to_vec()),
        V2Kind::Gone => What::Gone,
        V2Kind::Dir(None) => What::Dir,
        V2Kind::Dir(Some(nodes)) => What::Listed(nodes.iter().map(shown).collect()),
    };
    Shown {
        key: text(&node.key),
        what,
        expires: node.expires.map(|at| at.0),
        created: node.created.0,
        modified: node.modified.0,
    }
}

/// The model's word for one event of a revision.
pub fn event(record: &RevisionRecord, part: Part) -> Event {
    let event = V2Event::of(record, part);
    let mut removed = Vec::new();
    if let Some(dir) = record.dir.as_ref().filter(|_| record.removes_dir()) {
        removed.extend(dir.removed_dirs.iter().map(|path| text(path)));
        removed.extend(record.changes.iter().map(|change| text(change.key())));
    }
    removed.sort();
    Event {
        index: record.revision.0,
        action: event.action.name(),
        node: shown(&event.node),
        prev: event.prev_node.as_ref().map(shown),
        refresh: record.refresh,
        removed,
    }
}

/// The one event of a revision: each revision of these tests is one v2 operation.
pub fn only_event(record: &RevisionRecord) -> Event {
    let parts: Vec<_> = record.v2_parts().collect();
    let [part] = parts[..] else { panic!("{} events in one revision", parts.len()) };
    event(record, part)
}

pub fn refused(error: &V2StoreError) -> Refused {
    Refused { code: error.code as u16, cause: text(&error.cause), index: error.index.0 }
}

/// `GET` from Callboard.
pub fn get(state: &State, path: &str, recursive: bool) -> Result<Shown, Refused> {
    read::get(state, path.as_bytes(), recursive)
        .map(|node| shown(&node))
        .map_err(|error| refused(&error))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the paths of these tests are text")
}
