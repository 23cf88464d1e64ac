//! Is there an order of these operations on one key, in which each takes effect at one moment between
//! its beginning and its end, that explains every answer? The search of Wing and Gong with Lowe's memory
//! of what was tried before.

use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Set(String),
    Create(String),
    /// If it has this value, this one instead.
    Swap(String, String),
    /// The same by a version, which the checker does not know.
    SwapAny(String),
    DeleteIf(String),
    Delete,
    Get,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It worked; the value that it saw or replaced.
    Value(Option<String>),
    Missing,
    Exists,
    Mismatch,
}

/// One operation. Without an end nobody knows whether it took effect, or will.
#[derive(Clone, Debug)]
pub struct Call {
    pub invoked: u64,
    pub returned: Option<u64>,
    pub action: Action,
    pub outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    Not,
    /// The search took too long.
    Unproven,
}

type Value = Option<String>;

/// What the key is after the call, if its outcome fits.
fn step(value: &Value, call: &Call) -> Option<Value> {
    let (after, outcome) = match &call.action {
        Action::Set(new) => (Some(new.clone()), Outcome::Value(value.clone())),
        Action::Create(_) if value.is_some() => (value.clone(), Outcome::Exists),
        Action::Create(new) => (Some(new.clone()), Outcome::Value(None)),
        Action::Get => (value.clone(), Outcome::Value(value.clone())),
        Action::Swap(..) | Action::SwapAny(_) | Action::DeleteIf(_) | Action::Delete
            if value.is_none() =>
        {
            (None, Outcome::Missing)
        }
        Action::Swap(old, new) if value.as_ref() == Some(old) => {
            (Some(new.clone()), Outcome::Value(value.clone()))
        }
        Action::SwapAny(new) => match &call.outcome {
            Some(Outcome::Mismatch) => return Some(value.clone()),
            _ => (Some(new.clone()), Outcome::Value(value.clone())),
        },
        Action::DeleteIf(old) if value.as_ref() == Some(old) => {
            (None, Outcome::Value(value.clone()))
        }
        Action::Swap(..) | Action::DeleteIf(_) => (value.clone(), Outcome::Mismatch),
        Action::Delete => (None, Outcome::Value(value.clone())),
    };
    call.outcome.as_ref().is_none_or(|told| *told == outcome).then_some(after)
}

/// Begins and ends of calls in the order of time, as a doubly linked list.
struct Timeline {
    /// The call, and whether it is its end.
    events: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    end_of: Vec<usize>,
}

/// The list's own place in it.
const HEAD: usize = 0;

impl Timeline {
    fn new(calls: &[Call]) -> Timeline {
        let mut events: Vec<(u64, bool, usize)> = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            events.push((call.invoked, false, number));
            events.push((call.returned.unwrap_or(u64::MAX), true, number));
        }
        events.sort_unstable(); // at one time begins come before ends
        let many = events.len() + 1;
        let mut end_of = vec![HEAD; calls.len()];
        for (at, &(_, is_end, call)) in events.iter().enumerate() {
            if is_end {
                end_of[call] = at + 1;
            }
        }
        Timeline {
            events: std::iter::once((usize::MAX, false))
                .chain(events.iter().map(|&(_, is_end, call)| (call, is_end)))
                .collect(),
            next: (1..=many).map(|at| at % many).collect(),
            previous: (0..many).map(|at| (at + many - 1) % many).collect(),
            end_of,
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
}

/// See the head of the module. Gives up after so many steps.
pub fn check(calls: &[Call], steps_max: u64) -> Verdict {
    let mut list = Timeline::new(calls);
    let mut value: Value = None;
    let mut done = vec![0_u64; calls.len().div_ceil(64)];
    let mut tried: BTreeSet<(Vec<u64>, Value)> = BTreeSet::new();
    let mut stack: Vec<(usize, Value)> = Vec::new();
    let mut at = list.next[HEAD];
    let mut unfinished = calls.iter().filter(|call| call.returned.is_some()).count();
    let mut steps = 0;
    while unfinished > 0 {
        steps += 1;
        if steps > steps_max {
            return Verdict::Unproven;
        }
        let (call, is_end) = list.events[at];
        if at != HEAD && !is_end {
            let after = step(&value, &calls[call]);
            let mut with = done.clone();
            with[call / 64] |= 1 << (call % 64);
            if let Some(after) = after
                && tried.insert((with.clone(), after.clone()))
            {
                done = with;
                stack.push((at, std::mem::replace(&mut value, after)));
                unfinished -= usize::from(calls[call].returned.is_some());
                list.unlink(at);
                list.unlink(list.end_of[call]);
                at = list.next[HEAD];
            } else {
                at = list.next[at];
            }
            continue;
        }
        // Somebody was told an answer before which this call must come: one step back.
        let Some((last, before)) = stack.pop() else { return Verdict::Not };
        let call = list.events[last].0;
        value = before;
        done[call / 64] &= !(1 << (call % 64));
        unfinished += usize::from(calls[call].returned.is_some());
        list.relink(list.end_of[call]);
        list.relink(last);
        at = list.next[last];
    }
    Verdict::Linearizable
}
