//! The checker of histories knows good from bad.

use crate::sim::linearizable::{Action, Call, Outcome, Verdict, check};

fn call(times: (u64, u64), action: Action, outcome: Outcome) -> Call {
    Call { invoked: times.0, returned: Some(times.1), action, outcome: Some(outcome) }
}

fn unknown(invoked: u64, action: Action) -> Call {
    Call { invoked, returned: None, action, outcome: None }
}

fn set(value: &str) -> Action {
    Action::Set(value.to_owned())
}

fn was(value: &str) -> Outcome {
    Outcome::Value((!value.is_empty()).then(|| value.to_owned()))
}

fn verdict(calls: &[Call]) -> Verdict {
    check(calls, 100_000)
}

#[test]
fn good_histories_pass() {
    let swap = |old: &str, new: &str| Action::Swap(old.to_owned(), new.to_owned());
    for (name, calls) in [
        ("nothing", vec![]),
        (
            "one by one",
            vec![
                call((0, 1), set("a"), was("")),
                call((2, 3), Action::Get, was("a")),
                call((4, 5), Action::Delete, was("a")),
                call((6, 7), Action::Get, was("")),
                call((8, 9), Action::Delete, Outcome::Missing),
            ],
        ),
        (
            "a read beside a write sees either",
            vec![
                call((0, 10), set("a"), was("")),
                call((1, 2), Action::Get, was("")),
                call((3, 4), Action::Get, was("a")),
            ],
        ),
        (
            "an unknown write may have happened",
            vec![
                unknown(0, set("a")),
                call((5, 6), Action::Get, was("")),
                call((7, 8), Action::Get, was("a")),
            ],
        ),
        ("or never", vec![unknown(0, set("a")), call((5, 6), Action::Get, was(""))]),
        (
            "swaps find their order",
            vec![
                call((0, 10), swap("b", "c"), was("b")),
                call((0, 10), swap("a", "b"), was("a")),
                call((0, 10), set("a"), was("")),
                call((11, 12), Action::Get, was("c")),
            ],
        ),
        (
            "of two creates one comes too late",
            vec![
                call((0, 10), Action::Create("a".to_owned()), Outcome::Exists),
                call((0, 10), Action::Create("b".to_owned()), was("")),
            ],
        ),
    ] {
        assert_eq!(verdict(&calls), Verdict::Linearizable, "{name}");
    }
}

#[test]
fn bad_histories_fail() {
    let swap = |old: &str, new: &str| Action::Swap(old.to_owned(), new.to_owned());
    for (name, calls) in [
        ("a stale read", vec![call((0, 1), set("a"), was("")), call((2, 3), Action::Get, was(""))]),
        (
            "a read that goes back",
            vec![
                call((0, 10), set("a"), was("")),
                call((1, 2), Action::Get, was("a")),
                call((3, 4), Action::Get, was("")),
            ],
        ),
        (
            "a lost write",
            vec![
                call((0, 1), set("a"), was("")),
                call((2, 3), set("b"), was("a")),
                call((4, 5), Action::Get, was("a")),
            ],
        ),
        (
            "a write that happens twice",
            vec![
                call((0, 1), set("a"), was("")),
                call((2, 3), set("b"), was("a")),
                call((4, 5), set("c"), was("a")),
            ],
        ),
        (
            "two swaps of one value",
            vec![
                call((0, 1), set("a"), was("")),
                call((2, 9), swap("a", "b"), was("a")),
                call((2, 9), swap("a", "c"), was("a")),
            ],
        ),
        (
            "two creates",
            vec![
                call((0, 10), Action::Create("a".to_owned()), was("")),
                call((0, 10), Action::Create("b".to_owned()), was("")),
            ],
        ),
        ("a value out of nowhere", vec![unknown(0, set("a")), call((5, 6), Action::Get, was("b"))]),
        (
            "an unknown write before it began",
            vec![call((0, 1), Action::Get, was("a")), unknown(2, set("a"))],
        ),
    ] {
        assert_eq!(verdict(&calls), Verdict::Not, "{name}");
    }
}

#[test]
fn the_search_is_bounded() {
    let calls: Vec<Call> = (0..40).map(|n| unknown(0, set(&n.to_string()))).collect();
    let mut calls = calls;
    calls.push(call((1, 2), Action::Get, was("nobody wrote this")));
    assert_eq!(check(&calls, 1000), Verdict::Unproven);
}
