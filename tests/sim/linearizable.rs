//! Is there an order of these operations, in which each takes effect at one moment between its beginning
//! and its end, that explains every answer? The search of Wing and Gong with Lowe's memory of what was
//! tried before. What an operation does is up to a model.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One operation. Without an end nobody knows whether it took effect, or will.
#[derive(Clone, Copy, Debug)]
pub struct Call<C> {
    pub invoked: u64,
    pub returned: Option<u64>,
    /// Of several that might come next, the one with the lowest is tried first.
    pub rank: u64,
    pub what: C,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    Not,
    /// The search took too long.
    Unproven,
}

/// A point of the search: what is there, and what might come next.
struct Point<M> {
    model: M,
    candidates: Vec<usize>,
    tried: usize,
    /// The call that led here.
    by: Option<usize>,
}

/// The calls that are not done, in the order in which they began, as a doubly linked list.
struct Open {
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The list's own place, after all calls.
    head: usize,
}

impl Open {
    fn new(many: usize) -> Open {
        let places = many + 1;
        Open {
            next: (1..=places).map(|at| at % places).collect(),
            previous: (0..places).map(|at| (at + places - 1) % places).collect(),
            head: many,
        }
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn relink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
    }

    /// Those that begin before any of the others ends, by rank. One without an end whose rank is left behind
    /// comes last: it seems to have had no effect.
    fn candidates<C>(&self, calls: &[Call<C>], reached: u64) -> Vec<usize> {
        let mut found = Vec::new();
        let mut first_end = u64::MAX;
        let mut at = self.next[self.head];
        while at != self.head && calls[at].invoked <= first_end {
            first_end = first_end.min(calls[at].returned.unwrap_or(u64::MAX));
            found.push(at);
            at = self.next[at];
        }
        found.sort_by_key(|&at| {
            let Call { returned, rank, .. } = calls[at];
            (returned.is_none() && rank < reached, rank, at)
        });
        found
    }
}

/// See the head of the module. `step` tells what the model is after a call, if its outcome fits; of one
/// without an end, if it can have an effect. Gives up after so many steps.
pub fn check<C, M: Hash>(
    mut calls: Vec<Call<C>>,
    start: M,
    step: impl Fn(&M, &C) -> Option<M>,
    steps_max: u64,
) -> Verdict {
    calls.sort_by_key(|call| call.invoked);
    let mut open = Open::new(calls.len());
    let mut unfinished = calls.iter().filter(|call| call.returned.is_some()).count();
    let mut seen: BTreeSet<(u64, u64)> = BTreeSet::new();
    let mut done = 0_u64;
    let candidates = open.candidates(&calls, 0);
    let mut path = vec![Point { model: start, candidates, tried: 0, by: None }];
    let mut steps = 0;
    while unfinished > 0 {
        steps += 1;
        if steps > steps_max {
            return Verdict::Unproven;
        }
        let Some(point) = path.last_mut() else { return Verdict::Not };
        let Some(&call) = point.candidates.get(point.tried) else {
            // Nothing fits here: one step back.
            if let Some(by) = path.pop().and_then(|point| point.by) {
                open.relink(by);
                done ^= name_of(by);
                unfinished += usize::from(calls[by].returned.is_some());
            }
            continue;
        };
        point.tried += 1;
        let Some(model) = step(&point.model, &calls[call].what) else { continue };
        if !seen.insert((done ^ name_of(call), digest(&model))) {
            continue;
        }
        open.unlink(call);
        done ^= name_of(call);
        unfinished -= usize::from(calls[call].returned.is_some());
        let candidates = open.candidates(&calls, calls[call].rank);
        path.push(Point { model, candidates, tried: 0, by: Some(call) });
    }
    Verdict::Linearizable
}

/// A number for a call; those of a set of calls, taken together, tell it from other sets.
fn name_of(call: usize) -> u64 {
    digest(&call)
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
