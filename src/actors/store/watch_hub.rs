//! Who watches what, and who is to be told of a revision.
//!
//! Watchers are found by the path that they look at: an event looks up its own path and the
//! directories above it, so a watcher elsewhere costs a write nothing.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

use super::SubscriptionId;
use crate::{
    storage::mvcc::{
        record::RevisionRecord,
        watch::{Part, Seen, WatchPattern, bounds_below},
    },
    types::Revision,
};

/// One watcher.
#[derive(Clone, Copy, Debug)]
struct Watcher {
    recursive: bool,
    once: bool,
    after: Revision,
}

/// See the head of the module.
#[derive(Debug, Default)]
pub struct WatchHub {
    by_path: BTreeMap<Bytes, BTreeMap<SubscriptionId, Watcher>>,
    paths: BTreeMap<SubscriptionId, Bytes>,
}

impl WatchHub {
    /// Adds a watcher of events after `after`; one that is `once` goes with its first event.
    pub fn add(&mut self, id: SubscriptionId, pattern: WatchPattern, after: Revision, once: bool) {
        let WatchPattern { path, recursive } = pattern;
        self.paths.insert(id, path.clone());
        let watcher = Watcher { recursive, once, after };
        self.by_path.entry(path).or_default().insert(id, watcher);
    }

    /// Removes a watcher; one that is gone already is no error.
    pub fn remove(&mut self, id: SubscriptionId) {
        let Some(path) = self.paths.remove(&id) else { return };
        let Some(watchers) = self.by_path.get_mut(&path) else { return };
        watchers.remove(&id); // not by a walk: thousands may wait at one path, and all go at once
        if watchers.is_empty() {
            self.by_path.remove(&path);
        }
    }

    /// Removes all watchers; answers who they were.
    pub fn clear(&mut self) -> Vec<SubscriptionId> {
        self.by_path.clear();
        std::mem::take(&mut self.paths).into_keys().collect()
    }

    /// How many watch now.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Who is to be told of which event of `record`, event by event. Those that wanted one event only
    /// are removed.
    pub fn notify(&mut self, record: &RevisionRecord) -> Vec<(Part, Vec<SubscriptionId>)> {
        if record.refresh || self.by_path.is_empty() {
            return Vec::new();
        }
        let mut told = Vec::new();
        for part in record.v2_parts() {
            let mut ids = Vec::new();
            let mut served = Vec::new();
            let path = record.path_of(part);
            for end in ends_of_ancestors(path) {
                let at = if end == 0 { &b"/"[..] } else { &path[..end] };
                if let Some((at, watchers)) = self.by_path.get_key_value(at) {
                    collect(at, watchers, record, part, &mut ids, &mut served);
                }
            }
            if record.removes_dir() {
                let (from, to) = bounds_below(path);
                let below = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
                for (at, watchers) in self.by_path.range::<[u8], _>(below) {
                    collect(at, watchers, record, part, &mut ids, &mut served);
                }
            }
            for id in served {
                self.remove(id);
            }
            if !ids.is_empty() {
                told.push((part, ids));
            }
        }
        told
    }
}

/// The ends of `path`'s ancestors and of itself: 0 (the root), then each part's end.
fn ends_of_ancestors(path: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let inner = (1..path.len()).filter(|&at| path[at] == b'/');
    let own = (path.len() > 1).then_some(path.len());
    std::iter::once(0).chain(inner).chain(own)
}

fn collect(
    at: &Bytes,
    watchers: &BTreeMap<SubscriptionId, Watcher>,
    record: &RevisionRecord,
    part: Part,
    ids: &mut Vec<SubscriptionId>,
    served: &mut Vec<SubscriptionId>,
) {
    for (&id, watcher) in watchers.iter().filter(|(_, watcher)| record.revision > watcher.after) {
        let pattern = WatchPattern { path: at.clone(), recursive: watcher.recursive };
        if pattern.matches(record, part, Seen::Live) {
            ids.push(id);
            if watcher.once {
                served.push(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{V2Command, V2Op, V2Write},
        storage::{mvcc::State, v2_tree::write::Writer},
        types::UnixNanos,
    };

    /// All of them at one path, served by one event or leaving one by one: with a walk through the
    /// others for each, this would take minutes.
    #[test]
    fn a_crowd_at_one_path_comes_and_goes() {
        const CROWD: u64 = 50_000;
        let write = V2Write { dir: false, value: Bytes::new(), ttl: None, refresh: false };
        let command = V2Command { path: b"/a".to_vec(), op: V2Op::Set(write) };
        let mut state = State::new(Vec::new());
        let record = Writer::new(&mut state, UnixNanos(1)).apply(&command).unwrap();
        let pattern = WatchPattern { path: Bytes::from_static(b"/a"), recursive: false };
        let ids = || (0..CROWD).map(SubscriptionId);
        let mut hub = WatchHub::default();
        for once in [true, false] {
            ids().for_each(|id| hub.add(id, pattern.clone(), Revision(1), once));
            let told = hub.notify(&record);
            assert_eq!(told.len(), 1);
            assert!(told[0].1.iter().copied().eq(ids()), "in the order in which they came");
            assert_eq!(hub.len() as u64, if once { 0 } else { CROWD });
        }
        ids().rev().for_each(|id| hub.remove(id));
        assert!(hub.is_empty() && hub.by_path.is_empty());
    }
}
