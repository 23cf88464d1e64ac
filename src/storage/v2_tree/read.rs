//! Reading the tree.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

use super::{V2Code, V2Kind, V2Node, V2StoreError};
use crate::{
    storage::mvcc::{
        State,
        record::DirRecord,
        watch::{below, bounds_below, is_tree_key},
    },
    types::Revision,
};

/// The node at `path` (normalised). A directory comes with its visible children, and with `recursive`
/// with all that is visible below them; children are in byte order of their keys.
pub fn get(state: &State, path: &[u8], recursive: bool) -> Result<V2Node, V2StoreError> {
    if let Some(file) = state.key(path) {
        return Ok(V2Node::current(state, file));
    }
    let mut node = dir_node(state, path).ok_or_else(|| missing(state, path))?;
    node.kind = V2Kind::Dir(Some(children(state, path, recursive)));
    Ok(node)
}

/// Whether `path` is a directory: the root, one with a marker, or one with a key below it.
pub fn is_dir(state: &State, path: &[u8]) -> bool {
    path == b"/" || state.dirs.contains(path) || first_key_below(state, path).is_some()
}

/// Whether a listing of `path` looks at no more than `max` keys and markers, and at keys of no more than
/// `bytes_max` with their values: all that lie below it, also where only the children are shown, for
/// finding these passes over the others.
pub fn has_at_most(state: &State, path: &[u8], max: usize, bytes_max: usize) -> bool {
    let (from, to) = bounds_below(path);
    let below = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
    let (mut keys, mut bytes) = (0, 0);
    for record in state.keys.range(below.0, below.1).take(max + 1) {
        keys += 1;
        bytes += record.len();
    }
    keys <= max
        && bytes <= bytes_max
        && keys + state.dirs.range(below.0, below.1).take(max + 1).count() <= max
}

/// The directory at `path`, without children, if there is one.
pub(super) fn dir_node(state: &State, path: &[u8]) -> Option<V2Node> {
    if path == b"/" {
        return Some(V2Node {
            key: Bytes::new(),
            kind: V2Kind::Dir(None),
            expires: None,
            kept_alive: None,
            modified: Revision(0),
            created: Revision(0),
        });
    }
    dir_record(state, path).map(|dir| V2Node::dir(&dir))
}

/// The marker of the directory at `path`; for one that exists only through keys below it (v3 made
/// them), a marker made up from the first of these keys, whose creation is taken for the directory's.
pub(super) fn dir_record(state: &State, path: &[u8]) -> Option<std::sync::Arc<DirRecord>> {
    if let Some(dir) = state.dirs.get(path) {
        return Some(std::sync::Arc::clone(dir));
    }
    let created = first_key_below(state, path)?;
    Some(std::sync::Arc::new(DirRecord {
        path: Bytes::copy_from_slice(path),
        create_revision: created,
        mod_revision: created,
        lease: crate::types::LeaseId(0),
        expires: crate::types::UnixNanos(0),
    }))
}

/// The creation of the first key of the tree below `path`.
fn first_key_below(state: &State, path: &[u8]) -> Option<Revision> {
    let (from, to) = bounds_below(path);
    state
        .keys
        .range(Bound::Included(&from), Bound::Excluded(&to))
        .find(|record| is_tree_key(record.key()))
        .map(|record| record.create_revision)
}

/// Why there is no node at `path`: a part of it is a file (104), or the first part that is missing (100).
pub(super) fn missing(state: &State, path: &[u8]) -> V2StoreError {
    let mut ends: Vec<usize> = (1..path.len()).filter(|&at| path[at] == b'/').collect();
    ends.push(path.len());
    for end in ends {
        let part = &path[..end];
        let code = if end < path.len() && state.key(part).is_some() {
            V2Code::NotDir
        } else if state.key(part).is_none() && !is_dir(state, part) {
            V2Code::KeyNotFound
        } else {
            continue;
        };
        return V2StoreError { code, cause: part.to_vec(), index: state.revision };
    }
    V2StoreError { code: V2Code::KeyNotFound, cause: path.to_vec(), index: state.revision }
}

/// The visible children of `dir`, in byte order of their keys.
fn children(state: &State, dir: &[u8], recursive: bool) -> Vec<V2Node> {
    // By name: a directory's own place in key order is that of its slash, after `name-`, `name.` …
    let mut found: BTreeMap<Bytes, V2Node> = BTreeMap::new();
    let (from, to) = bounds_below(dir);
    let mut next = from.clone();
    loop {
        let mut keys = state.keys.range(Bound::Included(&next), Bound::Excluded(&to));
        let Some((key, node)) = keys.find_map(|record| {
            let rest = below(dir, record.key()).filter(|_| is_tree_key(record.key()))?;
            match rest.iter().position(|&b| b == b'/') {
                None => {
                    if !rest.starts_with(b"_") {
                        // Files are taken as they come: no jump is needed after one.
                        let file = V2Node::current(state, record);
                        found.insert(Bytes::copy_from_slice(record.key()), file);
                    }
                    None
                }
                Some(slash) => {
                    let end = record.key().len() - rest.len() + slash;
                    let path = record.key()[..end].to_vec();
                    Some((path, !rest.starts_with(b"_")))
                }
            }
        }) else {
            break;
        };
        if node {
            add_dir(state, &mut found, &key, recursive);
        }
        next = bounds_below(&key).1; // on, behind all that is below this child
    }
    let mut next = from;
    while let Some(marker) = state.dirs.range(Bound::Included(&next), Bound::Excluded(&to)).next() {
        let rest = below(dir, &marker.path).expect("within the bounds of what is below");
        let end = marker.path.len() - rest.len()
            + rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
        let path = marker.path[..end].to_vec();
        if !rest.starts_with(b"_") {
            add_dir(state, &mut found, &path, recursive);
        }
        next = if marker.path.len() == end {
            [&path[..], b"\0"].concat() // the directory itself: what sorts next may be its sibling
        } else {
            bounds_below(&path).1
        };
    }
    found.into_values().collect()
}

fn add_dir(state: &State, found: &mut BTreeMap<Bytes, V2Node>, path: &[u8], recursive: bool) {
    if found.contains_key(path) {
        return; // a file of that name wins (only v3 can make both), or it is there already
    }
    let Some(mut node) = dir_node(state, path) else { return };
    if recursive {
        node.kind = V2Kind::Dir(Some(children(state, path, true)));
    }
    found.insert(node.key.clone(), node);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{V2Command, V2Op, V2Write},
        storage::v2_tree::write::Writer,
        types::UnixNanos,
    };

    #[test]
    fn a_listing_is_large_by_its_keys_its_markers_or_its_bytes() {
        let mut state = State::new(Vec::new());
        let mut set = |path: &str, dir, bytes| {
            let value = Bytes::from(vec![b'v'; bytes]);
            let op = V2Op::Set(V2Write { dir, value, ttl: None, refresh: false });
            let command = V2Command { path: path.as_bytes().to_vec(), op };
            Writer::new(&mut state, UnixNanos(1)).apply(&command).unwrap();
        };
        set("/keys/a", false, 1);
        set("/keys/b", false, 1);
        set("/dirs/a", true, 0);
        set("/dirs/b", true, 0);
        set("/large/a", false, 1000);
        for (path, max, bytes_max, expected) in [
            ("/keys", 2, 1000, true),
            ("/keys", 1, 1000, false),
            ("/dirs", 2, 1000, true),
            ("/dirs", 1, 1000, false),
            ("/large", 2, 2000, true),
            ("/large", 2, 1000, false),
        ] {
            let found = has_at_most(&state, path.as_bytes(), max, bytes_max);
            assert_eq!(found, expected, "{path}, {max} keys, {bytes_max} bytes");
        }
    }
}
