//! Watching: which part of a revision a watcher is interested in. Used alike for replay from history
//! and for live delivery, so that both see the same.
//!
//! The rules are those of etcd's v2 watcher hub; where its replay differs from its live delivery by
//! accident (hidden keys, prefixes that are no path), the live rule holds for both.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::record::{Action, RevisionRecord};
use crate::types::Revision;

/// What a v2 watcher looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPattern {
    /// The normalised path, `/` for the root.
    pub path: Bytes,
    /// All below it too (but for what a `_` component hides).
    pub recursive: bool,
}

/// One event of a revision: the directory's, or that of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The revision's [`super::record::DirChange`].
    Dir,
    /// The change at this place in `changes`.
    Change(usize),
}

/// An event on its way to watchers: shared by all of them, and dressed at most once.
#[derive(Debug)]
pub struct SharedEvent {
    /// The revision it belongs to.
    pub record: Arc<RevisionRecord>,
    /// Which of the revision's events it is.
    pub part: Part,
    /// The v2 JSON, filled in by the first door that sends it.
    pub v2_json: OnceLock<Bytes>,
}

impl SharedEvent {
    /// Not dressed yet.
    pub fn new(record: Arc<RevisionRecord>, part: Part) -> Arc<SharedEvent> {
        Arc::new(SharedEvent { record, part, v2_json: OnceLock::new() })
    }

    /// The revision it belongs to.
    pub fn revision(&self) -> Revision {
        self.record.revision
    }
}

/// A revision on its way to watchers of ranges of keys: shared by all of them, and dressed at most once.
#[derive(Debug)]
pub struct SharedRecord {
    /// The revision.
    pub record: Arc<RevisionRecord>,
    /// Its changes as v3 tells them, without and with what was there before, filled in by the first
    /// door that sends them.
    pub v3_events: [OnceLock<Vec<Bytes>>; 2],
}

impl SharedRecord {
    /// Not dressed yet.
    pub fn new(record: Arc<RevisionRecord>) -> Arc<SharedRecord> {
        Arc::new(SharedRecord { record, v3_events: Default::default() })
    }
}

impl RevisionRecord {
    /// The v2 events of this revision: the directory's alone, or one for each key. Keys without a place
    /// in the tree (see [`is_tree_key`]) have none.
    pub fn v2_parts(&self) -> impl Iterator<Item = Part> + '_ {
        let dir = self.dir.is_some();
        let changes = if dir { 0 } else { self.changes.len() };
        dir.then_some(Part::Dir)
            .into_iter()
            .chain((0..changes).filter(|&i| is_tree_key(self.changes[i].key())).map(Part::Change))
    }

    /// The path of one of this revision's events.
    pub fn path_of(&self, part: Part) -> &[u8] {
        match (part, &self.dir) {
            (Part::Dir, Some(dir)) => &dir.path,
            (Part::Dir, None) => unreachable!("a directory part of a revision without one"),
            (Part::Change(at), _) => self.changes[at].key(),
        }
    }

    /// Whether the revision took a directory away, and with it all below.
    pub fn removes_dir(&self) -> bool {
        matches!(self.action, Action::Delete | Action::Expire)
            && self.dir.as_ref().is_some_and(|dir| dir.after.is_none())
    }

    /// Whether `path` (a file or a directory) went away with this revision's directory.
    pub fn removed_with_dir(&self, path: &[u8]) -> bool {
        self.removes_dir()
            && (self.change_of(path).is_some()
                || self.dir.as_ref().is_some_and(|dir| {
                    dir.removed_dirs.binary_search_by(|at| at.as_ref().cmp(path)).is_ok()
                }))
    }
}

/// How a watcher got to see the event: decides one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As it happened: a directory's end reaches watchers of what existed below it.
    Live,
    /// From history: a directory's end reaches watchers of any path below it.
    Replay,
}

impl WatchPattern {
    /// The first event of `record` that this watcher is to see.
    pub fn first_match(&self, record: &RevisionRecord, seen: Seen) -> Option<Part> {
        if record.refresh {
            return None;
        }
        record.v2_parts().find(|&part| self.matches(record, part, seen))
    }

    /// Whether this watcher is to see that event.
    pub fn matches(&self, record: &RevisionRecord, part: Part, seen: Seen) -> bool {
        let path = record.path_of(part);
        if path == self.path.as_ref() {
            return true;
        }
        if let Some(below) = below(&self.path, path) {
            return self.recursive && !is_hidden_below(below);
        }
        record.removes_dir()
            && is_below(path, &self.path)
            && (seen == Seen::Replay || record.removed_with_dir(&self.path))
    }
}

/// The part of `path` below `dir`, without the slash between; none if it is not below.
pub fn below<'a>(dir: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    if dir == b"/" {
        return path.strip_prefix(b"/").filter(|rest| !rest.is_empty());
    }
    path.strip_prefix(dir)?.strip_prefix(b"/")
}

/// Whether `path` lies below `dir`.
pub fn is_below(dir: &[u8], path: &[u8]) -> bool {
    below(dir, path).is_some()
}

/// The half-open range of paths below `dir`: from `/a/` to `/a0` (`0` is the byte after `/`).
pub fn bounds_below(dir: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let stem = if dir == b"/" { &b""[..] } else { dir };
    ([stem, b"/"].concat(), [stem, b"0"].concat())
}

fn is_hidden_below(below: &[u8]) -> bool {
    below.split(|&b| b == b'/').any(|part| part.starts_with(b"_"))
}

/// The deepest path of the v2 tree, in components: what recursion over the tree is bounded by.
pub const DEPTH_MAX: usize = 256;

/// Whether `key` has a place in the v2 tree: a leading slash, no empty, `.` or `..` component, and not
/// more than [`DEPTH_MAX`] of them.
pub fn is_tree_key(key: &[u8]) -> bool {
    let Some(path) = key.strip_prefix(b"/") else { return false };
    let mut depth = 0;
    path.split(|&b| b == b'/').all(|part| {
        depth += 1;
        depth <= DEPTH_MAX && !matches!(part, b"" | b"." | b"..")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_by_component() {
        for (dir, path, expected) in [
            ("/", "/a", Some("a")),
            ("/", "/", None),
            ("/a", "/a/b/c", Some("b/c")),
            ("/a", "/ab", None),
            ("/a", "/a", None),
        ] {
            let found = below(dir.as_bytes(), path.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{path} below {dir}");
        }
    }

    #[test]
    fn tree_keys() {
        for (key, expected) in [
            ("/a", true),
            ("/a/b", true),
            ("a", false),
            ("/", false),
            ("/a/", false),
            ("/a//b", false),
            ("/a/./b", false),
            ("/..", false),
            ("/...", true),
        ] {
            assert_eq!(is_tree_key(key.as_bytes()), expected, "{key}");
        }
    }
}
