//! Iteration over a range, from both ends.

use std::iter::FusedIterator;
use std::ops::Bound;
use std::slice;

use smallvec::SmallVec;

use super::Item;
use super::node::{Node, end_in, start_in};

/// Subtrees still to come, one slice for each level, the deepest last. Eight levels are more than
/// any tree that fits in memory has in practice; a deeper one spills to the heap.
type Path<'a, T> = SmallVec<[slice::Iter<'a, Node<T>>; 8]>;

/// The items of a range in ascending order of their keys: `Tree::range` makes it.
///
/// What is left to yield is, in this order: the rest of the leaf in front, the subtrees right of
/// it, the subtrees between, the subtrees left of the leaf at the back, the rest of that leaf. Each
/// end consumes its own side first and then goes on into the other's, so the ends cannot cross.
pub struct Iter<'a, T: Item> {
    front: slice::Iter<'a, T>,
    front_path: Path<'a, T>,
    between: slice::Iter<'a, Node<T>>,
    back_path: Path<'a, T>,
    back: slice::Iter<'a, T>,
}

impl<'a, T: Item> Iter<'a, T> {
    pub(super) fn new(
        root: &'a Node<T>,
        start: Bound<&T::Key>,
        end: Bound<&T::Key>,
    ) -> Iter<'a, T> {
        let mut iter = Iter {
            front: [].iter(),
            front_path: Path::new(),
            between: [].iter(),
            back_path: Path::new(),
            back: [].iter(),
        };
        let mut node = root;
        // A range whose end comes before its start is empty: `get` then finds its slices reversed.
        loop {
            match node {
                Node::Leaf(items) => {
                    let within = items.get(start_in(items, start)..end_in(items, end));
                    iter.front = within.unwrap_or_default().iter();
                    return iter;
                }
                Node::Inner(inner) => {
                    let (first, last) = (inner.start_for(start), inner.end_for(end));
                    if first == last {
                        node = &inner.children[first];
                        continue;
                    }
                    if let Some(between) = inner.children.get(first + 1..last) {
                        iter.between = between.iter();
                        iter.enter_front(&inner.children[first], start);
                        iter.enter_back(&inner.children[last], end);
                    }
                    return iter;
                }
            }
        }
    }

    /// Makes the first leaf of a subtree the one in front.
    fn enter_front(&mut self, mut node: &'a Node<T>, start: Bound<&T::Key>) {
        loop {
            match node {
                Node::Leaf(items) => {
                    self.front = items[start_in(items, start)..].iter();
                    return;
                }
                Node::Inner(inner) => {
                    let first = inner.start_for(start);
                    self.front_path.push(inner.children[first + 1..].iter());
                    node = &inner.children[first];
                }
            }
        }
    }

    /// Makes the last leaf of a subtree the one at the back.
    fn enter_back(&mut self, mut node: &'a Node<T>, end: Bound<&T::Key>) {
        loop {
            match node {
                Node::Leaf(items) => {
                    self.back = items[..end_in(items, end)].iter();
                    return;
                }
                Node::Inner(inner) => {
                    let last = inner.end_for(end);
                    self.back_path.push(inner.children[..last].iter());
                    node = &inner.children[last];
                }
            }
        }
    }

    fn next_subtree(&mut self) -> Option<&'a Node<T>> {
        while let Some(level) = self.front_path.last_mut() {
            if let Some(node) = level.next() {
                return Some(node);
            }
            self.front_path.pop();
        }
        self.between.next().or_else(|| self.back_path.iter_mut().find_map(Iterator::next))
    }

    fn next_subtree_back(&mut self) -> Option<&'a Node<T>> {
        while let Some(level) = self.back_path.last_mut() {
            if let Some(node) = level.next_back() {
                return Some(node);
            }
            self.back_path.pop();
        }
        self.between
            .next_back()
            .or_else(|| self.front_path.iter_mut().find_map(DoubleEndedIterator::next_back))
    }
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.front.next() {
                return Some(item);
            }
            let Some(node) = self.next_subtree() else { return self.back.next() };
            self.enter_front(node, Bound::Unbounded);
        }
    }
}

impl<T: Item> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.back.next_back() {
                return Some(item);
            }
            let Some(node) = self.next_subtree_back() else { return self.front.next_back() };
            self.enter_back(node, Bound::Unbounded);
        }
    }
}

impl<T: Item> FusedIterator for Iter<'_, T> {}

impl<T: Item> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self {
            front: self.front.clone(),
            front_path: self.front_path.clone(),
            between: self.between.clone(),
            back_path: self.back_path.clone(),
            back: self.back.clone(),
        }
    }
}
