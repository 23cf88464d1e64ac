//! Who watches which keys, and who is to be told of a revision.
//!
//! Watchers of one key are found by it. Ranges are in a search tree ordered by their starts in which
//! every node knows the farthest end below it, so ranges elsewhere are passed over together. The tree is
//! kept balanced by numbers that look random and are made of a count: the same calls make the same tree.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::SubscriptionId;
use crate::{command::KeyRange, storage::mvcc::record::RevisionRecord, types::Revision};

/// Each watcher with the revision after which it wants to be told.
type Watchers = BTreeMap<SubscriptionId, Revision>;

/// Revisions that change more keys are not looked up key by key.
const LOOKUPS_MAX: usize = 256;

/// See the head of the module.
#[derive(Debug, Default)]
pub struct RangeHub {
    keys: BTreeMap<Bytes, Watchers>,
    ranges: Link,
    watched: BTreeMap<SubscriptionId, KeyRange>,
    nodes_made: u64,
}

type Link = Option<Box<Node>>;

/// The first key that is not meant; none if all from the start on are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Before(Bytes),
    Open,
}

impl End {
    fn is_past(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < end.as_ref(),
            End::Open => true,
        }
    }
}

#[derive(Debug)]
struct Node {
    start: Bytes,
    end: End,
    watchers: Watchers,
    /// The farthest end of this node and of all below it.
    farthest: End,
    /// No node below has a greater one.
    weight: u64,
    /// The revision that its watchers were told of last: one tells them once.
    told: Revision,
    left: Link,
    right: Link,
}

impl RangeHub {
    /// Adds a watcher of what changes `keys` after `after`.
    pub fn add(&mut self, id: SubscriptionId, keys: KeyRange, after: Revision) {
        if keys.is_one() {
            self.keys.entry(keys.key.clone()).or_default().insert(id, after);
        } else {
            let end = end_of(&keys);
            if let Some(node) = find(&mut self.ranges, &keys.key, &end) {
                node.watchers.insert(id, after);
            } else {
                self.nodes_made += 1;
                let node = Node {
                    start: keys.key.clone(),
                    farthest: end.clone(),
                    end,
                    watchers: Watchers::from([(id, after)]),
                    weight: scrambled(self.nodes_made),
                    told: Revision(0),
                    left: None,
                    right: None,
                };
                insert(&mut self.ranges, Box::new(node));
            }
        }
        self.watched.insert(id, keys);
    }

    /// Removes a watcher; one that is gone already is no error.
    pub fn remove(&mut self, id: SubscriptionId) {
        let Some(keys) = self.watched.remove(&id) else { return };
        if keys.is_one() {
            let Some(watchers) = self.keys.get_mut(&keys.key) else { return };
            watchers.remove(&id);
            if watchers.is_empty() {
                self.keys.remove(&keys.key);
            }
            return;
        }
        let end = end_of(&keys);
        let Some(node) = find(&mut self.ranges, &keys.key, &end) else { return };
        node.watchers.remove(&id);
        if node.watchers.is_empty() {
            remove(&mut self.ranges, &keys.key, &end);
        }
    }

    /// Removes all watchers; answers who they were.
    pub fn clear(&mut self) -> Vec<SubscriptionId> {
        self.keys.clear();
        self.ranges = None;
        std::mem::take(&mut self.watched).into_keys().collect()
    }

    /// How many watch now.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Who is to be told of `record`: each once, whatever it changed of what they watch.
    pub fn notify(&mut self, record: &RevisionRecord) -> Vec<SubscriptionId> {
        let mut told = Vec::new();
        if self.watched.is_empty() {
            return told;
        }
        let mut keys: Vec<&[u8]> = record.changes.iter().map(|change| change.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        if !self.keys.is_empty() {
            for &key in &keys {
                let watchers = self.keys.get(key);
                watchers
                    .into_iter()
                    .for_each(|watchers| tell(watchers, record.revision, &mut told));
            }
        }
        if keys.len() <= LOOKUPS_MAX {
            for key in keys.chunks(1) {
                visit(&mut self.ranges, key, record.revision, &mut told);
            }
        } else {
            visit(&mut self.ranges, &keys, record.revision, &mut told);
        }
        told
    }
}

fn end_of(keys: &KeyRange) -> End {
    if keys.is_open() { End::Open } else { End::Before(keys.range_end.clone()) }
}

fn tell(watchers: &Watchers, revision: Revision, told: &mut Vec<SubscriptionId>) {
    told.extend(watchers.iter().filter(|&(_, &after)| revision > after).map(|(&id, _)| id));
}

/// Tells the watchers of every range that holds one of `keys`, which ascend.
fn visit(link: &mut Link, keys: &[&[u8]], revision: Revision, told: &mut Vec<SubscriptionId>) {
    let Some(node) = link else { return };
    let (Some(&first), Some(&last)) = (keys.first(), keys.last()) else { return };
    if !node.farthest.is_past(first) {
        return;
    }
    visit(&mut node.left, keys, revision, told);
    if last < node.start.as_ref() {
        return; // and so it is for all to the right
    }
    let from = keys.partition_point(|&key| key < node.start.as_ref());
    if node.told < revision && node.end.is_past(keys[from]) {
        node.told = revision;
        tell(&node.watchers, revision, told);
    }
    visit(&mut node.right, &keys[from..], revision, told);
}

fn find<'a>(mut link: &'a mut Link, start: &[u8], end: &End) -> Option<&'a mut Node> {
    loop {
        let node = link.as_deref_mut()?;
        match (start, end).cmp(&(&node.start, &node.end)) {
            std::cmp::Ordering::Less => link = &mut node.left,
            std::cmp::Ordering::Equal => return Some(node),
            std::cmp::Ordering::Greater => link = &mut node.right,
        }
    }
}

impl Node {
    fn is_before(&self, start: &[u8], end: &End) -> bool {
        (self.start.as_ref(), &self.end) < (start, end)
    }

    /// To be called when something below has changed.
    fn measure(&mut self) {
        let below = [&self.left, &self.right].into_iter().flatten().map(|node| &node.farthest);
        let farthest = below.fold(&self.end, |farthest, end| farthest.max(end));
        if self.farthest != *farthest {
            self.farthest = farthest.clone();
        }
    }
}

fn insert(link: &mut Link, mut new: Box<Node>) {
    match link {
        Some(node) if node.weight >= new.weight => {
            let before = node.is_before(&new.start, &new.end);
            insert(if before { &mut node.right } else { &mut node.left }, new);
            node.measure();
        }
        _ => {
            (new.left, new.right) = split(link.take(), &new.start, &new.end);
            new.measure();
            *link = Some(new);
        }
    }
}

/// What is before a range that is not in the tree, and what is after it.
fn split(link: Link, start: &[u8], end: &End) -> (Link, Link) {
    let Some(mut node) = link else { return (None, None) };
    if node.is_before(start, end) {
        let (left, right) = split(node.right.take(), start, end);
        node.right = left;
        node.measure();
        (Some(node), right)
    } else {
        let (left, right) = split(node.left.take(), start, end);
        node.left = right;
        node.measure();
        (left, Some(node))
    }
}

fn remove(link: &mut Link, start: &[u8], end: &End) {
    let Some(node) = link else { return };
    match (start, end).cmp(&(&node.start, &node.end)) {
        std::cmp::Ordering::Less => remove(&mut node.left, start, end),
        std::cmp::Ordering::Greater => remove(&mut node.right, start, end),
        std::cmp::Ordering::Equal => {
            *link = joined(node.left.take(), node.right.take());
            return;
        }
    }
    node.measure();
}

/// One tree of two, all of the first before all of the second.
fn joined(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, link) | (link, None) => link,
        (Some(mut left), Some(mut right)) => {
            if left.weight >= right.weight {
                left.right = joined(left.right.take(), Some(right));
                left.measure();
                Some(left)
            } else {
                right.left = joined(Some(left), right.left.take());
                right.measure();
                Some(right)
            }
        }
    }
}

/// A number that tells nothing of the one that it is made of (the finish of splitmix64).
fn scrambled(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
#[path = "range_hub_tests.rs"]
mod tests;
