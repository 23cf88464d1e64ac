//! How v2 sees a record: nodes and events. No JSON here; the door dresses them.

use bytes::Bytes;

use super::write::is_v2_lease;
use crate::{
    storage::mvcc::{
        State,
        record::{Action, DirBefore, DirRecord, KeyRecord, RevisionRecord},
        watch::Part,
    },
    types::{Revision, UnixNanos},
};

/// A file or a directory as v2 shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct V2Node {
    /// The path; empty for the root, which is shown without.
    pub key: Bytes,
    /// What it is.
    pub kind: V2Kind,
    /// When it ends; none for a permanent one.
    pub expires: Option<UnixNanos>,
    /// For a key on a v3 lease, as it is now: the TTL in seconds. An end that has passed was put off by
    /// those who keep the lease alive, by how much only the leader knows: it is shown as if that had just
    /// been done.
    pub kept_alive: Option<u64>,
    /// `modifiedIndex`; 0 for the root.
    pub modified: Revision,
    /// `createdIndex`; 0 for the root.
    pub created: Revision,
}

/// File or directory.
#[derive(Clone, Debug, PartialEq)]
pub enum V2Kind {
    /// A file: its record holds the value.
    File(KeyRecord),
    /// A file whose value is not told: the node of a delete or expire event.
    Gone,
    /// A directory, with its children where they were asked for.
    Dir(Option<Vec<V2Node>>),
}

/// What happened, as v2 tells it: the answer to a write and the body of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct V2Event {
    /// What was done.
    pub action: Action,
    /// The node after it.
    pub node: V2Node,
    /// The node before it, if there was one.
    pub prev_node: Option<V2Node>,
    /// The clock by which `ttl` is counted: that of the write.
    pub time: UnixNanos,
}

impl V2Event {
    /// The event that `part` of `record` is.
    pub fn of(record: &RevisionRecord, part: Part) -> V2Event {
        let (node, prev_node) = match part {
            Part::Dir => {
                let change =
                    record.dir.as_ref().expect("a directory part of a directory's revision");
                let prev = change.before.as_ref().map(|before| match before {
                    DirBefore::Dir(dir) => V2Node::dir(dir),
                    DirBefore::File(file) => V2Node::file(file),
                });
                let node = match &change.after {
                    Some(dir) => V2Node { modified: record.revision, ..V2Node::dir(dir) },
                    None => V2Node {
                        key: change.path.clone(),
                        kind: V2Kind::Dir(None),
                        expires: None,
                        kept_alive: None,
                        modified: record.revision,
                        created: prev.as_ref().map_or(record.revision, |node| node.created),
                    },
                };
                (node, prev)
            }
            Part::Change(at) => {
                let change = &record.changes[at];
                let prev = change.before.as_ref().map(|before| V2Node::before(before, record.time));
                let node = match (&change.after, &change.before) {
                    (Some(after), _) => V2Node::file(after),
                    (None, before) => V2Node {
                        key: Bytes::copy_from_slice(change.key()),
                        kind: V2Kind::Gone,
                        expires: None,
                        kept_alive: None,
                        modified: record.revision,
                        created: before.as_ref().map_or(record.revision, |b| b.create_revision),
                    },
                };
                (node, prev)
            }
        };
        let action = match (record.action, &node.kind) {
            (Action::Txn, V2Kind::Gone) => Action::Delete,
            (Action::Txn, _) => Action::Set,
            (action, _) => action,
        };
        V2Event { action, node, prev_node, time: record.time }
    }

    /// Whether the answer to this write is `201 Created`.
    pub fn created(&self) -> bool {
        match self.action {
            Action::Create => true,
            Action::Set => self.prev_node.is_none(),
            _ => false,
        }
    }
}

impl V2Node {
    /// A file.
    pub fn file(record: &KeyRecord) -> V2Node {
        V2Node {
            key: Bytes::copy_from_slice(record.key()),
            kind: V2Kind::File(record.clone()),
            expires: Some(record.expires).filter(|at| at.0 != 0),
            kept_alive: None,
            modified: record.mod_revision,
            created: record.create_revision,
        }
    }

    /// A file as it is in `state`.
    pub(super) fn current(state: &State, record: &KeyRecord) -> V2Node {
        let mut node = V2Node::file(record);
        if record.lease.0 != 0
            && let Some(lease) = state.lease(record.lease).filter(|lease| lease.is_v3())
        {
            (node.expires, node.kept_alive) = (Some(lease.expires), Some(lease.ttl));
        }
        node
    }

    /// A file as it was before an event at `time`. How far a v3 lease was put off is not known any more:
    /// where its end as known has passed, none is shown.
    fn before(record: &KeyRecord, time: UnixNanos) -> V2Node {
        let node = V2Node::file(record);
        let has_v2_lease = is_v2_lease(record.lease, record.mod_revision);
        V2Node { expires: node.expires.filter(|&end| has_v2_lease || end > time), ..node }
    }

    /// A directory without its children.
    pub fn dir(record: &DirRecord) -> V2Node {
        V2Node {
            key: record.path.clone(),
            kind: V2Kind::Dir(None),
            expires: Some(record.expires).filter(|at| at.0 != 0),
            kept_alive: None,
            modified: record.mod_revision,
            created: record.create_revision,
        }
    }
}

/// Whole seconds left until `expires`, rounded up, as v2's `ttl` counts them; may be 0 or less.
pub fn ttl_left(expires: UnixNanos, now: UnixNanos) -> i64 {
    const NANOS: i64 = 1_000_000_000;
    let left = expires.0 as i64 - now.0 as i64;
    left.div_euclid(NANOS) + i64::from(left.rem_euclid(NANOS) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_is_rounded_up() {
        for (left, expected) in [(1, 1), (1_000_000_000, 1), (1_000_000_001, 2), (0, 0), (-1, 0)] {
            let now = UnixNanos(50_000_000_000);
            let expires = UnixNanos((now.0 as i64 + left) as u64);
            assert_eq!(ttl_left(expires, now), expected, "{left} ns left");
        }
    }
}
