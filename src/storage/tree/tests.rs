//! The tree against a `BTreeMap`, and its shape after every step.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::node::{INNER_MAX, INNER_MIN, LEAF_MAX, LEAF_MIN, Node};
use super::{Item, Tree};

/// A key, and a value that tells one item under that key from the next.
#[derive(Clone, Debug, PartialEq)]
struct Entry(Arc<(u16, u32)>);

impl Item for Entry {
    type Key = u16;
    type Separator = u16;

    fn key(&self) -> &u16 {
        &self.0.0
    }

    fn separator(&self) -> u16 {
        self.0.0
    }
}

fn entry(key: u16, value: u32) -> Entry {
    Entry(Arc::new((key, value)))
}

type Model = BTreeMap<u16, Entry>;

fn ascending(keys: impl IntoIterator<Item = u16>) -> Tree<Entry> {
    Tree::from_sorted(keys.into_iter().map(|key| entry(key, 0)))
}

/// Panics unless the tree has the shape that it promises to have.
fn check_shape<T: Item>(tree: &Tree<T>) {
    let mut leaf_depths = Vec::new();
    let count = check_node(&tree.root, None, None, true, 0, &mut leaf_depths);
    assert_eq!(count, tree.len());
    assert!(leaf_depths.iter().all(|&depth| depth == leaf_depths[0]), "leaves at several depths");
}

/// Counts the items below a node whose keys are to be at `low` or after it, and before `high`.
fn check_node<T: Item>(
    node: &Node<T>,
    low: Option<&T::Key>,
    high: Option<&T::Key>,
    right_edge: bool,
    depth: usize,
    leaf_depths: &mut Vec<usize>,
) -> usize {
    let root = depth == 0;
    match node {
        Node::Leaf(items) => {
            leaf_depths.push(depth);
            assert!(!items.spilled() && items.len() <= LEAF_MAX);
            let len_min = if right_edge { usize::from(!root) } else { LEAF_MIN };
            assert!(items.len() >= len_min, "leaf of {}", items.len());
            assert!(items.is_sorted_by(|one, next| one.key() < next.key()));
            for item in items.iter() {
                assert!(low.is_none_or(|low| item.key() >= low), "left of its separator");
                assert!(high.is_none_or(|high| item.key() < high), "right of its separator");
            }
            items.len()
        }
        Node::Inner(inner) => {
            let children = inner.children.as_slice();
            assert!(!inner.children.spilled() && children.len() <= INNER_MAX);
            let len_min = if right_edge { 2 } else { INNER_MIN };
            assert!(children.len() >= len_min, "inner node of {}", children.len());
            assert!(!inner.separators.spilled());
            assert_eq!(inner.separators.len(), children.len() - 1);
            let key_at =
                |at: usize| -> &T::Key { std::borrow::Borrow::borrow(&inner.separators[at]) };
            let mut count = 0;
            for (at, child) in children.iter().enumerate() {
                let last = at + 1 == children.len();
                let low = if at == 0 { low } else { Some(key_at(at - 1)) };
                let high = if last { high } else { Some(key_at(at)) };
                count += check_node(child, low, high, right_edge && last, depth + 1, leaf_depths);
            }
            assert_eq!(inner.items, count, "an inner node knows what is below it");
            count
        }
    }
}

fn depth(tree: &Tree<Entry>) -> usize {
    let (mut node, mut depth) = (&tree.root, 0);
    while let Node::Inner(inner) = node {
        node = &inner.children[0];
        depth += 1;
    }
    depth
}

/// What `range` is to answer. (`BTreeMap::range` panics where the end comes before the start.)
fn model_range(model: &Model, start: Bound<&u16>, end: Bound<&u16>) -> Vec<Entry> {
    let after_start = |key: &u16| match start {
        Bound::Included(start) => key >= start,
        Bound::Excluded(start) => key > start,
        Bound::Unbounded => true,
    };
    let before_end = |key: &u16| match end {
        Bound::Included(end) => key <= end,
        Bound::Excluded(end) => key < end,
        Bound::Unbounded => true,
    };
    model
        .iter()
        .filter(|(key, _)| after_start(key) && before_end(key))
        .map(|(_, entry)| entry.clone())
        .collect()
}

fn check_same(tree: &Tree<Entry>, model: &Model) {
    check_shape(tree);
    assert_eq!(tree.len(), model.len());
    assert_eq!(tree.is_empty(), model.is_empty());
    assert_eq!(tree.first(), model.values().next());
    assert_eq!(tree.last(), model.values().next_back());
    assert!(tree.iter().eq(model.values()), "forward");
    assert!(tree.iter().rev().eq(model.values().rev()), "backward");
}

/// Keys are few enough to meet again and enough for a tree of three levels.
const KEYS: u16 = 2_000;

/// Steps come in runs, or a tree of random steps would never be deep, nor empty again.
#[derive(Clone, Debug)]
enum Step {
    Insert { first: u16, stride: u16, count: u16 },
    Remove { first: u16, stride: u16, count: u16 },
    Prune { key: u16, max: usize },
    KeepClone,
    DropClone,
    Rebuild,
}

fn run(first: u16, stride: u16, count: u16) -> impl Iterator<Item = u16> {
    (0..count).map(move |at| (first + at * stride) % KEYS)
}

fn step() -> impl Strategy<Value = Step> {
    let strides = || prop_oneof![Just(1), Just(KEYS - 1), Just(7), Just(1_237), 1..KEYS];
    // Products stay below 2^16 by taking the count from what the stride allows.
    let runs = move || {
        (0..KEYS, strides(), 1..600_u16).prop_map(|(first, stride, count)| {
            (first, stride, count.min((u16::MAX - first) / stride))
        })
    };
    prop_oneof![
        6 => runs().prop_map(|(first, stride, count)| Step::Insert { first, stride, count }),
        4 => runs().prop_map(|(first, stride, count)| Step::Remove { first, stride, count }),
        2 => (0..KEYS + 10, prop_oneof![0..40_usize, 0..2_000_usize, Just(usize::MAX)])
            .prop_map(|(key, max)| Step::Prune { key, max }),
        3 => Just(Step::KeepClone),
        2 => Just(Step::DropClone),
        1 => Just(Step::Rebuild),
    ]
}

fn bound() -> impl Strategy<Value = Bound<u16>> {
    prop_oneof![
        4 => (0..KEYS).prop_map(Bound::Included),
        4 => (0..KEYS).prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to a tree, it holds what a `BTreeMap` would hold, keeps its shape, and
    /// leaves the clones that were made of it as they were.
    #[test]
    fn steps_agree_with_the_model(start in 0..KEYS, steps in vec(step(), 1..40)) {
        let mut tree = ascending(0..start);
        let mut model: Model = tree.iter().map(|entry| (*entry.key(), entry.clone())).collect();
        let mut clones: Vec<(Tree<Entry>, Model)> = Vec::new();
        let mut value = 0;
        for step in steps {
            match step {
                Step::Insert { first, stride, count } => {
                    for key in run(first, stride, count) {
                        value += 1;
                        let item = entry(key, value);
                        prop_assert_eq!(tree.insert(item.clone()), model.insert(key, item));
                    }
                }
                Step::Remove { first, stride, count } => {
                    for key in run(first, stride, count) {
                        prop_assert_eq!(tree.remove(&key), model.remove(&key));
                    }
                }
                Step::Prune { key, max } => {
                    let keys: Vec<u16> = model.range(..key).map(|(&key, _)| key).take(max).collect();
                    let expected: Vec<_> = keys.iter().filter_map(|key| model.remove(key)).collect();
                    prop_assert_eq!(tree.prune_below(&key, max), expected);
                }
                Step::KeepClone => clones.push((tree.clone(), model.clone())),
                Step::DropClone => {
                    clones.pop();
                }
                Step::Rebuild => tree = Tree::from_sorted(model.values().cloned()),
            }
            check_same(&tree, &model);
        }
        for (tree, model) in &clones {
            check_same(tree, model);
        }
    }

    /// Lookups and ranges answer as the model does, from either end and from both in turn.
    #[test]
    fn reads_agree_with_the_model(
        keys in vec(0..KEYS, 0..1_500),
        ranges in vec((bound(), bound(), vec(any::<bool>(), 1..50)), 1..40),
    ) {
        let mut tree = Tree::new();
        let mut model = Model::new();
        for key in keys {
            tree.insert(entry(key, 0));
            model.insert(key, entry(key, 0));
        }
        for key in 0..KEYS {
            prop_assert_eq!(tree.get(&key), model.get(&key));
            prop_assert_eq!(tree.contains(&key), model.contains_key(&key));
            prop_assert_eq!(tree.last_before(&key), model.range(..key).next_back().map(|(_, e)| e));
            let at_or_before = model.range(..=key).next_back().map(|(_, e)| e);
            prop_assert_eq!(tree.last_at_or_before(&key), at_or_before);
            prop_assert_eq!(tree.from(&key).next(), model.range(key..).next().map(|(_, e)| e));
        }
        for (start, end, turns) in ranges {
            let expected = model_range(&model, start.as_ref(), end.as_ref());
            let range = || tree.range(start.as_ref(), end.as_ref());
            prop_assert!(range().eq(&expected), "{:?} {:?}", start, end);
            let count = tree.count(start.as_ref(), end.as_ref());
            prop_assert_eq!(count, expected.len(), "{:?} {:?}", start, end);
            prop_assert!(range().rev().eq(expected.iter().rev()), "{:?} {:?}", start, end);
            // Both ends in turn, until nothing is left for either; and then still nothing.
            let (mut ours, mut theirs) = (range(), expected.iter());
            for &from_front in turns.iter().cycle().take(expected.len() + 2) {
                let (one, other) = if from_front {
                    (ours.next(), theirs.next())
                } else {
                    (ours.next_back(), theirs.next_back())
                };
                prop_assert_eq!(one, other);
            }
            prop_assert_eq!((ours.next(), ours.next_back()), (None, None));
        }
    }
}

/// A log that only grows fills its leaves, built at once or item by item, and so keeps shallow.
#[test]
fn ascending_items_fill_the_leaves() {
    let count = LEAF_MAX * INNER_MAX * 3;
    let built = ascending(0..count as u16);
    let mut appended = Tree::new();
    for key in 0..count as u16 {
        appended.insert(entry(key, 0));
        check_shape(&appended);
    }
    for tree in [built, appended] {
        check_shape(&tree);
        let leaves: Vec<usize> = leaf_lens(&tree.root);
        assert!(leaves.iter().all(|&len| len == LEAF_MAX), "{leaves:?}");
        assert_eq!(depth(&tree), 2);
        let Node::Inner(root) = &tree.root else { panic!("a leaf") };
        let (_, full) = root.children.split_last().unwrap();
        assert!(full.iter().all(|inner| inner.len() >= INNER_MAX - 1), "inner nodes are not full");
    }
}

fn leaf_lens(node: &Node<Entry>) -> Vec<usize> {
    match node {
        Node::Leaf(items) => vec![items.len()],
        Node::Inner(inner) => inner.children.iter().flat_map(leaf_lens).collect(),
    }
}

/// Every number of items around those where a level begins, or a node would be left over alone.
#[test]
fn from_sorted_at_every_edge() {
    let level = LEAF_MAX * INNER_MAX;
    for count in (0..2 * level + 3 * LEAF_MAX).chain(level * INNER_MAX - 2..level * INNER_MAX + 40)
    {
        let tree = ascending(0..count as u16);
        check_shape(&tree);
        assert!(tree.iter().map(|entry| usize::from(*entry.key())).eq(0..count));
    }
}

/// Cutting a tree anywhere leaves a left edge in shape, where neighbours can be merged (leaves half
/// full) and where they cannot (full ones).
#[test]
fn prune_at_every_place() {
    let full = ascending(0..1_500);
    let mut half_full = ascending(0..3_000);
    for key in (0..3_000).step_by(2) {
        half_full.remove(&key);
    }
    for tree in [full, half_full] {
        for count in 0..=tree.len() {
            let mut pruned = tree.clone();
            assert_eq!(pruned.prune_below(&u16::MAX, count).len(), count);
            check_shape(&pruned);
            assert!(pruned.iter().eq(tree.iter().skip(count)), "{count}");
        }
    }
}

#[test]
#[should_panic(expected = "strictly ascending")]
fn from_sorted_refuses_a_key_twice_within_a_leaf() {
    ascending([1, 2, 2]);
}

#[test]
#[should_panic(expected = "strictly ascending")]
fn from_sorted_refuses_disorder_between_leaves() {
    let last = LEAF_MAX as u16 - 1;
    ascending((0..=last).chain([last]));
}

/// Removing from a tree that was large leaves one that is as shallow as a small one.
#[test]
fn removes_make_the_tree_shallow_again() {
    let mut tree = ascending(0..4_096);
    assert!(depth(&tree) >= 2);
    for at in 0..4_090_u16 {
        let key = at.wrapping_mul(2_731) % 4_096; // odd, so every key once
        assert!(tree.remove(&key).is_some());
    }
    check_shape(&tree);
    assert_eq!((tree.len(), depth(&tree)), (6, 0));
}

/// Nodes of a tree from left to right, level by level, as addresses.
fn addresses(tree: &Tree<Entry>) -> Vec<*const u8> {
    fn visit(node: &Node<Entry>, out: &mut Vec<*const u8>) {
        match node {
            Node::Leaf(items) => out.push(Arc::as_ptr(items).cast()),
            Node::Inner(inner) => {
                out.push(Arc::as_ptr(inner).cast());
                inner.children.iter().for_each(|child| visit(child, out));
            }
        }
    }
    let mut out = Vec::new();
    visit(&tree.root, &mut out);
    out
}

fn differing(one: &Tree<Entry>, other: &Tree<Entry>) -> usize {
    let other = addresses(other);
    addresses(one).iter().filter(|address| !other.contains(address)).count()
}

/// A change copies the path to it and shares all else; without a clone about, it copies nothing.
#[test]
fn a_change_copies_no_more_than_its_path() {
    let mut tree = ascending(0..4_096);
    let path = depth(&tree) + 1;
    let before = addresses(&tree);
    tree.insert(entry(1_000, 1));
    assert_eq!(addresses(&tree), before, "nobody shares it: changed where it lies");

    let clone = tree.clone();
    tree.insert(entry(1_000, 2));
    assert_eq!(differing(&tree, &clone), path);
    tree.insert(entry(1_001, 3));
    assert_eq!(differing(&tree, &clone), path, "the same leaf: copied already");

    let clone = tree.clone();
    assert_eq!(tree.remove(&5_000), None);
    assert!(tree.prune_below(&0, 10).is_empty());
    assert!(tree.prune_below(&4_096, 0).is_empty());
    assert_eq!(differing(&tree, &clone), 0, "nothing changed, nothing copied");
    tree.remove(&2_000);
    assert_eq!(differing(&tree, &clone), path);
}

/// Replacing an item under a clone shares even the separators.
#[test]
fn a_replacement_copies_no_separator() {
    let mut tree = ascending(0..4_096);
    let clone = tree.clone();
    tree.insert(entry(1_000, 1));
    let (Node::Inner(new), Node::Inner(old)) = (&tree.root, &clone.root) else { panic!("a leaf") };
    assert!(!Arc::ptr_eq(new, old));
    assert!(Arc::ptr_eq(&new.separators, &old.separators));
}

/// Items leave with the last tree that holds them: separators keep none alive.
#[test]
fn removed_items_are_let_go() {
    let items: Vec<Entry> = (0..3_000).map(|key| entry(key, 0)).collect();
    let mut tree = Tree::from_sorted(items.iter().cloned());
    let clone = tree.clone();
    drop(tree.prune_below(&1_500, usize::MAX));
    for key in 1_500..3_000 {
        tree.remove(&key);
    }
    assert!(tree.is_empty());
    assert!(items.iter().all(|item| Arc::strong_count(&item.0) == 2), "the clone holds them");
    drop(clone);
    assert!(items.iter().all(|item| Arc::strong_count(&item.0) == 1));
}

/// Keys need not be sized: byte strings under owned separators.
#[test]
fn keys_may_be_byte_strings() {
    #[derive(Clone)]
    struct Name(Arc<[u8]>);
    impl Item for Name {
        type Key = [u8];
        type Separator = Arc<[u8]>;

        fn key(&self) -> &[u8] {
            &self.0
        }

        fn separator(&self) -> Arc<[u8]> {
            Arc::clone(&self.0)
        }
    }

    fn is_shared_between_threads<T: Send + Sync>(_: &T) {}

    let mut tree = Tree::new();
    for number in 0..1_000_u32 {
        tree.insert(Name(format!("/key/{:03}", number * 7 % 1_000).into_bytes().into()));
    }
    check_shape(&tree);
    is_shared_between_threads(&tree);
    let range = tree.range(Bound::Included(b"/key/12"), Bound::Excluded(b"/key/13"));
    assert_eq!(range.count(), 10);
    assert_eq!(tree.last_before(b"/key/500").map(Item::key), Some(&b"/key/499"[..]));
}
