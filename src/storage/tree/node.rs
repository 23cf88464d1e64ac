//! Nodes: what trees share, and how a node is split, mended and emptied.
//!
//! Every method that changes a node goes through `Arc::make_mut`: a node that another tree also
//! holds is copied first, a node that is ours alone is changed where it lies.

use std::borrow::Borrow;
use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Item;

/// Most items in a leaf. Copying a leaf touches the count of every item in it, a cache miss each,
/// so this is small; measured with `INNER_MAX`, as the module head tells.
pub(super) const LEAF_MAX: usize = 16;
/// Fewest items in a leaf that is neither the root nor on the right edge. Well below half, so that
/// alternating inserts and removes do not split and merge the same leaf for ever.
pub(super) const LEAF_MIN: usize = LEAF_MAX / 3;
/// Most children of an inner node.
pub(super) const INNER_MAX: usize = 16;
/// Fewest children of an inner node off the right edge. (The root and the right edge have two.)
pub(super) const INNER_MIN: usize = INNER_MAX / 3;

pub(super) type Items<T> = SmallVec<[T; LEAF_MAX]>;
type Separators<T> = SmallVec<[<T as Item>::Separator; INNER_MAX - 1]>;
type Children<T> = SmallVec<[Node<T>; INNER_MAX]>;

pub(super) enum Node<T: Item> {
    Leaf(Arc<Items<T>>),
    Inner(Arc<Inner<T>>),
}

/// Children, and between each two of them a separator: greater than every key on its left, and not
/// greater than any key on its right. It need not be the key of an item that is still there.
pub(super) struct Inner<T: Item> {
    /// Shared on their own: replacing an item copies the children of the nodes above it, and has
    /// no reason to touch the count of every separator too.
    pub(super) separators: Arc<Separators<T>>,
    pub(super) children: Children<T>,
    /// How many items there are below: so that a range can be counted without a walk over it.
    pub(super) items: usize,
}

/// What became of an item that was inserted below a node.
pub(super) enum Inserted<T: Item> {
    /// It took the place of this one.
    Replaced(T),
    Added,
    /// The node was full: its right part is now this one, whose keys start at the separator.
    Split(T::Separator, Node<T>),
}

impl<T: Item> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Node::Leaf(items) => Node::Leaf(Arc::clone(items)),
            Node::Inner(inner) => Node::Inner(Arc::clone(inner)),
        }
    }
}

impl<T: Item> Clone for Inner<T> {
    fn clone(&self) -> Self {
        let (separators, children) = (Arc::clone(&self.separators), self.children.clone());
        Self { separators, children, items: self.items }
    }
}

impl<T: Item> Default for Node<T> {
    fn default() -> Self {
        Node::Leaf(Arc::default())
    }
}

impl<T: Item> Node<T> {
    /// Items of a leaf, children of an inner node.
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(inner) => inner.children.len(),
        }
    }

    /// Items in it and below it.
    pub(super) fn items(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(inner) => inner.items,
        }
    }

    pub(super) fn len_min(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF_MIN,
            Node::Inner(_) => INNER_MIN,
        }
    }

    pub(super) fn first(&self) -> Option<&T> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(items) => return items.first(),
                Node::Inner(inner) => node = inner.children.first()?,
            }
        }
    }

    pub(super) fn last(&self) -> Option<&T> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(items) => return items.last(),
                Node::Inner(inner) => node = inner.children.last()?,
            }
        }
    }

    pub(super) fn get(&self, key: &T::Key) -> Option<&T> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(items) => return search(items, key).ok().map(|at| &items[at]),
                Node::Inner(inner) => node = inner.child_for(key),
            }
        }
    }

    /// The last item that `end` does not shut out.
    pub(super) fn last_within(&self, end: Bound<&T::Key>) -> Option<&T> {
        let mut node = self;
        let mut nearest_left: Option<&Self> = None; // holds the answer if the leaf does not
        loop {
            match node {
                Node::Leaf(items) => {
                    return match end_in(items, end) {
                        0 => nearest_left?.last(),
                        end => items.get(end - 1),
                    };
                }
                Node::Inner(inner) => {
                    let at = inner.end_for(end);
                    if at > 0 {
                        nearest_left = Some(&inner.children[at - 1]);
                    }
                    node = &inner.children[at];
                }
            }
        }
    }

    /// How many items a range that starts so leaves out at its start.
    pub(super) fn items_before(&self, start: Bound<&T::Key>) -> usize {
        let (mut node, mut before) = (self, 0);
        loop {
            match node {
                Node::Leaf(items) => return before + start_in(items, start),
                Node::Inner(inner) => {
                    let at = inner.start_for(start);
                    before += inner.items_left_of(at);
                    node = &inner.children[at];
                }
            }
        }
    }

    /// How many items there are up to where a range that ends so ends.
    pub(super) fn items_until(&self, end: Bound<&T::Key>) -> usize {
        let (mut node, mut before) = (self, 0);
        loop {
            match node {
                Node::Leaf(items) => return before + end_in(items, end),
                Node::Inner(inner) => {
                    let at = inner.end_for(end);
                    before += inner.items_left_of(at);
                    node = &inner.children[at];
                }
            }
        }
    }

    /// `right_edge`: no node of the tree lies to the right of this one.
    pub(super) fn insert(&mut self, item: T, right_edge: bool) -> Inserted<T> {
        match self {
            Node::Leaf(items) => {
                let items = Arc::make_mut(items);
                match search(items, item.key()) {
                    Ok(at) => Inserted::Replaced(std::mem::replace(&mut items[at], item)),
                    Err(at) => add_item(items, at, item, right_edge),
                }
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let at = inner.index_for(item.key());
                let right_edge = right_edge && at + 1 == inner.children.len();
                match inner.children[at].insert(item, right_edge) {
                    Inserted::Split(separator, right) => {
                        inner.items += 1;
                        inner.add_child(at, separator, right, right_edge)
                    }
                    Inserted::Added => {
                        inner.items += 1;
                        Inserted::Added
                    }
                    replaced @ Inserted::Replaced(_) => replaced,
                }
            }
        }
    }

    /// May leave this node itself too small, for the caller to mend; never one below it.
    pub(super) fn remove(&mut self, key: &T::Key) -> Option<T> {
        match self {
            Node::Leaf(items) => {
                let at = search(items, key).ok()?;
                Some(Arc::make_mut(items).remove(at))
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let at = inner.index_for(key);
                let removed = inner.children[at].remove(key)?;
                inner.items -= 1;
                if inner.children[at].len() < inner.children[at].len_min() {
                    inner.mend(at);
                }
                Some(removed)
            }
        }
    }

    /// Moves the first items into `pruned`: those below `key`, until it holds `max`. May leave the
    /// left edge too small or this node empty: `mend_left_edge` is for afterwards.
    pub(super) fn prune(&mut self, key: &T::Key, max: usize, pruned: &mut Vec<T>) {
        match self {
            Node::Leaf(items) => {
                let count = end_in(items, Bound::Excluded(key)).min(max - pruned.len());
                if count == items.len() {
                    // The leaf goes as a whole: where it is shared, copying it would be for nothing.
                    pruned.extend(std::mem::take(items).iter().cloned());
                } else if count > 0 {
                    pruned.extend(Arc::make_mut(items).drain(..count));
                }
            }
            Node::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                let pruned_before = pruned.len();
                let mut emptied = 0;
                while emptied < inner.children.len()
                    && pruned.len() < max
                    && (emptied == 0 || inner.separator(emptied - 1) < key)
                {
                    inner.children[emptied].prune(key, max, pruned);
                    if inner.children[emptied].len() > 0 {
                        break;
                    }
                    emptied += 1;
                }
                if emptied > 0 {
                    inner.children.drain(..emptied);
                    let separators = Arc::make_mut(&mut inner.separators);
                    separators.drain(..emptied.min(separators.len()));
                }
                inner.items -= pruned.len() - pruned_before;
            }
        }
    }

    /// Mends the nodes of the left edge below this one, which has two children or is a leaf.
    pub(super) fn mend_left_edge(&mut self) {
        let mut node = self;
        while let Node::Inner(inner) = node {
            // One more than the least, since mending the next level may take one from this.
            if inner.children[0].len() <= inner.children[0].len_min() {
                Arc::make_mut(inner).mend(0);
            }
            node = &mut Arc::make_mut(inner).children[0];
        }
    }
}

impl<T: Item> Inner<T> {
    pub(super) fn new(
        separators: impl IntoIterator<Item = T::Separator>,
        children: impl IntoIterator<Item = Node<T>>,
    ) -> Self {
        let children: Children<T> = children.into_iter().collect();
        let items = children.iter().map(Node::items).sum();
        Self { separators: Arc::new(separators.into_iter().collect()), children, items }
    }

    /// Items below the children that are left of this one: counted on the side where there are fewer.
    fn items_left_of(&self, at: usize) -> usize {
        let (left, right) = self.children.split_at(at);
        if left.len() <= right.len() {
            left.iter().map(Node::items).sum()
        } else {
            self.items - right.iter().map(Node::items).sum::<usize>()
        }
    }

    fn separator(&self, at: usize) -> &T::Key {
        self.separators[at].borrow()
    }

    /// Which child holds `key`, if any does.
    fn index_for(&self, key: &T::Key) -> usize {
        self.separators.partition_point(|separator| separator.borrow() <= key)
    }

    fn child_for(&self, key: &T::Key) -> &Node<T> {
        &self.children[self.index_for(key)]
    }

    /// The child in which a range that starts so starts (or at the end of which it does).
    pub(super) fn start_for(&self, start: Bound<&T::Key>) -> usize {
        match start {
            Bound::Included(key) | Bound::Excluded(key) => self.index_for(key),
            Bound::Unbounded => 0,
        }
    }

    /// The child in which a range that ends so ends (or at the start of which it does).
    pub(super) fn end_for(&self, end: Bound<&T::Key>) -> usize {
        match end {
            Bound::Included(key) | Bound::Excluded(key) => self.index_for(key),
            Bound::Unbounded => self.children.len() - 1,
        }
    }

    /// Takes in the right part of child `at`, which was split at `separator`.
    fn add_child(
        &mut self,
        at: usize,
        separator: T::Separator,
        right: Node<T>,
        right_edge: bool,
    ) -> Inserted<T> {
        let separators = Arc::make_mut(&mut self.separators);
        if self.children.len() < INNER_MAX {
            separators.insert(at, separator);
            self.children.insert(at + 1, right);
            return Inserted::Added;
        }
        let mut separators: Vec<_> = separators.drain(..).collect();
        let mut children: Vec<_> = self.children.drain(..).collect();
        separators.insert(at, separator);
        children.insert(at + 1, right);
        // On the right edge what stays will not grow again, so it stays as full as two children
        // for the other part allow: with one, that one would have no neighbour to be mended with.
        let keep = if right_edge { children.len() - 2 } else { children.len() / 2 };
        let (left, separator, right) = cut(separators, children, keep);
        *self = left;
        Inserted::Split(separator, Node::Inner(Arc::new(right)))
    }

    /// Makes one of child `at` and a neighbour of it or, if they are too many for one node, gives
    /// each half. There must be a neighbour.
    fn mend(&mut self, at: usize) {
        let at = at.min(self.children.len() - 2);
        let [left, right] = &mut self.children[at..at + 2] else { unreachable!("two children") };
        match (left, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let (left, right) = (Arc::make_mut(left), Arc::make_mut(right));
                if left.len() + right.len() <= LEAF_MAX {
                    left.extend(right.drain(..));
                    self.remove_child_after(at);
                    return;
                }
                let mut items: Vec<_> = left.drain(..).chain(right.drain(..)).collect();
                right.extend(items.drain(items.len() / 2..));
                left.extend(items);
                let separator = right[0].separator();
                Arc::make_mut(&mut self.separators)[at] = separator;
            }
            (Node::Inner(left), Node::Inner(right)) => {
                let (left, right) = (Arc::make_mut(left), Arc::make_mut(right));
                let between = self.separators[at].clone();
                let mut separators: Vec<_> = left.separators.to_vec();
                separators.push(between);
                separators.extend(right.separators.iter().cloned());
                let children: Vec<_> =
                    left.children.drain(..).chain(right.children.drain(..)).collect();
                if children.len() <= INNER_MAX {
                    *left = Inner::new(separators, children);
                    self.remove_child_after(at);
                    return;
                }
                let keep = children.len() / 2;
                let (new_left, separator, new_right) = cut(separators, children, keep);
                (*left, *right) = (new_left, new_right);
                Arc::make_mut(&mut self.separators)[at] = separator;
            }
            _ => unreachable!("all leaves are at one depth"),
        }
    }

    fn remove_child_after(&mut self, at: usize) {
        Arc::make_mut(&mut self.separators).remove(at);
        self.children.remove(at + 1);
    }
}

/// Two nodes, the left one with `keep` children, and what separates them.
fn cut<T: Item>(
    mut separators: Vec<T::Separator>,
    mut children: Vec<Node<T>>,
    keep: usize,
) -> (Inner<T>, T::Separator, Inner<T>) {
    let right = Inner::new(separators.drain(keep..), children.drain(keep..));
    let between = separators.pop().expect("a cut has children on both sides");
    (Inner::new(separators, children), between, right)
}

fn add_item<T: Item>(items: &mut Items<T>, at: usize, item: T, right_edge: bool) -> Inserted<T> {
    if items.len() < LEAF_MAX {
        items.insert(at, item);
        return Inserted::Added;
    }
    // Appending to the tree leaves full leaves behind: nothing will be added to them.
    let keep = if right_edge && at == LEAF_MAX { LEAF_MAX } else { LEAF_MAX / 2 };
    let mut right: Items<T> = items.drain(keep..).collect();
    if at < keep {
        items.insert(at, item);
    } else {
        right.insert(at - keep, item);
    }
    Inserted::Split(right[0].separator(), Node::Leaf(Arc::new(right)))
}

fn search<T: Item>(items: &[T], key: &T::Key) -> Result<usize, usize> {
    items.binary_search_by(|item| item.key().cmp(key))
}

/// Where in a leaf a range that starts so starts.
pub(super) fn start_in<T: Item>(items: &[T], start: Bound<&T::Key>) -> usize {
    match start {
        Bound::Included(key) => items.partition_point(|item| item.key() < key),
        Bound::Excluded(key) => items.partition_point(|item| item.key() <= key),
        Bound::Unbounded => 0,
    }
}

/// Before which place in a leaf a range that ends so ends.
pub(super) fn end_in<T: Item>(items: &[T], end: Bound<&T::Key>) -> usize {
    match end {
        Bound::Included(key) => items.partition_point(|item| item.key() <= key),
        Bound::Excluded(key) => items.partition_point(|item| item.key() < key),
        Bound::Unbounded => items.len(),
    }
}
