//! Nodes and events as v2's JSON, written straight into a buffer: members in etcd's order, absent when
//! empty but for a file's value.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    http::json::{push_i64, push_string, push_time, push_u64},
    storage::{
        mvcc::{record::Action, watch::SharedEvent},
        v2_tree::{V2Event, V2Kind, V2Node, node::ttl_left},
    },
    types::UnixNanos,
};

/// The answer to a GET; `now` is what `ttl` counts from.
pub fn got(node: &V2Node, now: UnixNanos) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + size_hint(node));
    out.extend_from_slice(br#"{"action":"get","node":"#);
    push_node(&mut out, node, now);
    out.extend_from_slice(b"}\n");
    out
}

/// The answer to a write, or what a watcher is told.
pub fn happened(event: &V2Event) -> Vec<u8> {
    let hint = size_hint(&event.node) + event.prev_node.as_ref().map_or(0, size_hint);
    let mut out = Vec::with_capacity(256 + hint);
    out.extend_from_slice(br#"{"action":""#);
    out.extend_from_slice(event.action.name().as_bytes());
    out.extend_from_slice(br#"","node":"#);
    push_node(&mut out, &event.node, event.time);
    if let Some(prev_node) = &event.prev_node {
        out.extend_from_slice(br#","prevNode":"#);
        push_node(&mut out, prev_node, event.time);
    }
    out.extend_from_slice(b"}\n");
    out
}

/// The answer to a write with `noValueOnSuccess`.
pub fn happened_briefly(action: Action) -> Vec<u8> {
    [br#"{"action":""#, action.name().as_bytes(), b"\"}\n"].concat()
}

/// An event for watchers: made by whoever needs it first, shared by all.
pub fn shared(event: &Arc<SharedEvent>) -> Bytes {
    let make = || Bytes::from(happened(&V2Event::of(&event.record, event.part)));
    event.v2_json.get_or_init(make).clone()
}

fn size_hint(node: &V2Node) -> usize {
    match &node.kind {
        V2Kind::File(record) => record.len(),
        V2Kind::Gone | V2Kind::Dir(None) => node.key.len(),
        V2Kind::Dir(Some(children)) => children.len() * 128,
    }
}

fn push_node(out: &mut Vec<u8>, node: &V2Node, now: UnixNanos) {
    let start = out.len();
    if !node.key.is_empty() {
        out.extend_from_slice(br#","key":"#);
        push_string(out, &node.key);
    }
    let mut children: &[V2Node] = &[];
    match &node.kind {
        V2Kind::File(record) => {
            out.extend_from_slice(br#","value":"#);
            push_string(out, record.value());
        }
        V2Kind::Gone => {}
        V2Kind::Dir(below) => {
            out.extend_from_slice(br#","dir":true"#);
            children = below.as_deref().unwrap_or_default();
        }
    }
    if let Some(mut expires) = node.expires {
        if let Some(ttl) = node.kept_alive.filter(|_| expires <= now) {
            let end = now.0.saturating_add(ttl.saturating_mul(1_000_000_000));
            expires = UnixNanos(end.min(i64::MAX as u64)); // the year 2262: for ever
        }
        out.extend_from_slice(br#","expiration":""#);
        push_time(out, expires);
        out.push(b'"');
        let ttl = ttl_left(expires, now);
        if ttl != 0 {
            out.extend_from_slice(br#","ttl":"#);
            push_i64(out, ttl);
        }
    }
    if !children.is_empty() {
        out.extend_from_slice(br#","nodes":["#);
        for (at, child) in children.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push_node(out, child, now);
        }
        out.push(b']');
    }
    for (name, revision) in
        [(&br#","modifiedIndex":"#[..], node.modified), (br#","createdIndex":"#, node.created)]
    {
        if revision.0 != 0 {
            out.extend_from_slice(name);
            push_u64(out, revision.0);
        }
    }
    match out.get_mut(start) {
        Some(comma) => *comma = b'{', // every member began with a comma
        None => out.push(b'{'),
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        storage::mvcc::record::{DirRecord, KeyHead, KeyRecord},
        types::{LeaseId, Revision},
    };

    const SECOND: u64 = 1_000_000_000;

    fn file(key: &[u8], value: &[u8], expires: u64) -> V2Node {
        let head = KeyHead {
            mod_revision: Revision(5),
            create_revision: Revision(4),
            expires: UnixNanos(expires),
            ..KeyHead::default()
        };
        V2Node::file(&KeyRecord::new(key, value, head))
    }

    fn dir(path: &'static str, children: Option<Vec<V2Node>>) -> V2Node {
        let record = DirRecord {
            path: Bytes::from_static(path.as_bytes()),
            create_revision: Revision(3),
            mod_revision: Revision(3),
            lease: LeaseId(0),
            expires: UnixNanos(0),
        };
        V2Node { kind: V2Kind::Dir(children), ..V2Node::dir(&record) }
    }

    fn root(children: Option<Vec<V2Node>>) -> V2Node {
        let (modified, created) = (Revision(0), Revision(0));
        V2Node {
            key: Bytes::new(),
            kind: V2Kind::Dir(children),
            expires: None,
            kept_alive: None,
            modified,
            created,
        }
    }

    #[test]
    fn nodes() {
        for (node, expected) in [
            (
                file(b"/a", b"v<", 0),
                r#"{"key":"/a","value":"v\u003c","modifiedIndex":5,"createdIndex":4}"#,
            ),
            (file(b"/a", b"", 0), r#"{"key":"/a","value":"","modifiedIndex":5,"createdIndex":4}"#),
            (
                file(b"/t", b"x", 100 * SECOND + 500_000_000),
                r#"{"key":"/t","value":"x","expiration":"1970-01-01T00:01:40.5Z","ttl":91,"modifiedIndex":5,"createdIndex":4}"#,
            ),
            (
                file(b"/t", b"x", 10 * SECOND),
                r#"{"key":"/t","value":"x","expiration":"1970-01-01T00:00:10Z","modifiedIndex":5,"createdIndex":4}"#,
            ),
            (root(None), r#"{"dir":true}"#),
            (root(Some(vec![])), r#"{"dir":true}"#),
            (
                dir("/d", Some(vec![dir("/d/e", None), file(b"/d/f", b"1", 0)])),
                concat!(
                    r#"{"key":"/d","dir":true,"nodes":["#,
                    r#"{"key":"/d/e","dir":true,"modifiedIndex":3,"createdIndex":3},"#,
                    r#"{"key":"/d/f","value":"1","modifiedIndex":5,"createdIndex":4}"#,
                    r#"],"modifiedIndex":3,"createdIndex":3}"#,
                ),
            ),
        ] {
            let got = got(&node, UnixNanos(10 * SECOND));
            let expected = format!("{{\"action\":\"get\",\"node\":{expected}}}\n");
            assert_eq!(String::from_utf8_lossy(&got), expected);
        }
    }

    #[test]
    fn events() {
        let gone = V2Node { kind: V2Kind::Gone, modified: Revision(6), ..file(b"/a", b"", 0) };
        let event = V2Event {
            action: Action::Delete,
            node: gone,
            prev_node: Some(file(b"/a", b"1", 0)),
            time: UnixNanos(0),
        };
        let expected = concat!(
            r#"{"action":"delete","node":{"key":"/a","modifiedIndex":6,"createdIndex":4},"#,
            r#""prevNode":{"key":"/a","value":"1","modifiedIndex":5,"createdIndex":4}}"#,
            "\n",
        );
        assert_eq!(String::from_utf8_lossy(&happened(&event)), expected);
        assert_eq!(happened_briefly(Action::Set), b"{\"action\":\"set\"}\n");
    }
}
