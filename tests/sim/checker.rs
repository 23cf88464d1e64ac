//! The checker of histories knows good from bad.

use std::sync::Arc;

use callboard::command::{
    CompareResult, CompareTarget, KeyRange, V3Compare, V3DeleteRange, V3Op, V3Put, V3RequestOp,
    V3Txn,
};
use callboard::storage::mvcc::Applied;
use callboard::storage::mvcc::record::{Action, Change, KeyHead, KeyRecord, RevisionRecord};
use callboard::storage::v2_tree::{V2Code, V2StoreError};
use callboard::storage::v3::{OpAnswer, TxnAnswer, V3Answer, V3Applied, V3Error};
use callboard::types::{LeaseId, Revision, UnixNanos};
use smallvec::smallvec;

use crate::sim::clients::{Ended, Kind};
use crate::sim::invariants::reads::Seen;
use crate::sim::linearizable::{Call, Verdict, check};
use crate::sim::model::{Model, What, step};
use crate::sim::wishes::everything;

/// A call: when, on which key, what, and what was told.
type Told = ((u64, u64), &'static str, Kind, Ended);

const A: &str = "/k/a";
const B: &str = "/k/b";
const LEASE: LeaseId = LeaseId(7);

fn verdict_of(told: &[Told], steps_max: u64) -> Verdict {
    let mut calls: Vec<_> = told
        .iter()
        .map(|((invoked, returned), key, kind, ended)| {
            let told = Some(ended).filter(|ended| **ended != Ended::Unknown);
            Call {
                invoked: *invoked,
                returned: told.map(|_| *returned),
                rank: 0,
                what: What::Op(key, kind, told),
            }
        })
        .collect();
    if told.iter().any(|told| matches!(told.2, Kind::V3(V3Op::LeaseGrant { .. }))) {
        calls.push(Call { invoked: 0, returned: None, rank: 0, what: What::Ends(LEASE) });
    }
    check(calls, Model::default(), step, steps_max)
}

fn verdict(told: &[Told]) -> Verdict {
    verdict_of(told, 100_000)
}

/// A key as somebody saw it.
fn record(key: &str, value: &str, version: u64, modified: u64, lease: LeaseId) -> KeyRecord {
    let mod_revision = Revision(modified);
    let head = KeyHead { mod_revision, version, lease, ..KeyHead::default() };
    KeyRecord::new(key.as_bytes(), value.as_bytes(), head)
}

fn a(value: &str, version: u64, modified: u64) -> KeyRecord {
    record(A, value, version, modified, LeaseId(0))
}

fn b(value: &str, version: u64, modified: u64) -> KeyRecord {
    record(B, value, version, modified, LeaseId(0))
}

fn set(value: &str) -> Kind {
    Kind::Set { value: value.to_owned(), ttl: None }
}

fn swap(previous: &str, value: &str) -> Kind {
    Kind::Swap { previous: previous.to_owned(), index: 0, value: value.to_owned() }
}

/// A v2 write that worked, and what it replaced.
fn wrote(revision: u64, before: Option<KeyRecord>) -> Ended {
    let record = RevisionRecord {
        revision: Revision(revision),
        time: UnixNanos(1),
        action: Action::Set,
        refresh: false,
        changes: smallvec![Change { before, after: None }],
        dir: None,
    };
    Ended::Applied(Applied::V2(Ok(Arc::new(record))))
}

fn refused(revision: u64, code: V2Code) -> Ended {
    let error = V2StoreError { code, cause: Vec::new(), index: Revision(revision) };
    Ended::Applied(Applied::V2(Err(error)))
}

fn saw(revision: u64, keys: &[KeyRecord]) -> Ended {
    Ended::Read(Seen { revision: Revision(revision), keys: keys.to_vec() })
}

fn all() -> Kind {
    Kind::Range { keys: everything(), revision: 0, serializable: false }
}

fn put_of(key: &str, value: &str, lease: LeaseId) -> V3Put {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    V3Put { key, value, lease, ..V3Put::default() }
}

fn put(value: &str, lease: LeaseId) -> Kind {
    Kind::V3(V3Op::Put(put_of(A, value, lease)))
}

fn applied(revision: u64, result: Result<V3Answer, V3Error>) -> Ended {
    Ended::Applied(Applied::V3(V3Applied { revision: Revision(revision), result }))
}

fn done(revision: u64) -> Ended {
    applied(revision, Ok(V3Answer::Done))
}

fn was_put(revision: u64) -> Ended {
    applied(revision, Ok(V3Answer::Put(None)))
}

/// If `A` compares, both keys are put.
fn both(target: CompareTarget, one: &str, two: &str) -> Kind {
    let keys = KeyRange::one(A);
    let compare = vec![V3Compare { keys, result: CompareResult::Equal, target }];
    let put = |key, value| V3RequestOp::Put(put_of(key, value, LeaseId(0)));
    let success = vec![put(A, one), put(B, two)];
    Kind::V3(V3Op::Txn(V3Txn { compare, success, failure: Vec::new() }))
}

fn txn(revision: u64, succeeded: bool) -> Ended {
    let put = || OpAnswer::Put(Revision(revision), None);
    let responses = if succeeded { vec![put(), put()] } else { Vec::new() };
    applied(revision, Ok(V3Answer::Txn(TxnAnswer { succeeded, responses })))
}

fn grant() -> Kind {
    Kind::V3(V3Op::LeaseGrant { id: LEASE, ttl: 5 })
}

fn revoke() -> Kind {
    Kind::V3(V3Op::LeaseRevoke { id: LEASE })
}

#[test]
fn good_histories_pass() {
    let delete = Kind::V3(V3Op::DeleteRange(V3DeleteRange { keys: everything(), prev_kv: true }));
    let on_lease = record(A, "x", 1, 2, LEASE);
    for (name, calls) in [
        ("nothing", vec![]),
        (
            "one by one, through both doors",
            vec![
                ((0, 1), A, set("x"), wrote(2, None)),
                ((2, 3), A, Kind::Get, saw(2, &[a("x", 1, 2)])),
                ((4, 5), A, put("y", LeaseId(0)), was_put(3)),
                ((6, 7), A, Kind::Delete, wrote(5, Some(a("y", 2, 3)))),
                ((8, 9), A, all(), saw(9, &[])),
                ((10, 11), A, Kind::Delete, refused(9, V2Code::KeyNotFound)),
                ((12, 13), A, both(CompareTarget::Version(0), "1", "2"), txn(10, true)),
                (
                    (14, 15),
                    A,
                    delete,
                    applied(11, Ok(V3Answer::DeleteRange(2, vec![a("1", 1, 10), b("2", 1, 10)]))),
                ),
            ],
        ),
        (
            "a read beside a write sees either",
            vec![
                ((0, 10), A, set("x"), wrote(2, None)),
                ((1, 2), A, Kind::Get, saw(1, &[])),
                ((3, 4), A, Kind::Get, saw(2, &[a("x", 1, 2)])),
            ],
        ),
        (
            "an unknown write may have happened",
            vec![
                ((0, 0), A, put("x", LeaseId(0)), Ended::Unknown),
                ((5, 6), A, Kind::Get, saw(1, &[])),
                ((7, 8), A, Kind::Get, saw(3, &[a("x", 1, 3)])),
                ((9, 10), A, both(CompareTarget::Mod(3), "1", "2"), txn(4, true)),
            ],
        ),
        (
            "at a revision that nobody was told",
            vec![
                ((0, 0), A, set("x"), Ended::Unknown),
                ((5, 6), A, Kind::Create { value: "y".to_owned() }, refused(3, V2Code::NodeExist)),
                (
                    (7, 8),
                    A,
                    Kind::Swap { previous: String::new(), index: 2, value: "z".to_owned() },
                    refused(3, V2Code::TestFailed),
                ),
                ((9, 10), A, Kind::Get, saw(3, &[a("x", 1, 3)])),
            ],
        ),
        (
            "or never",
            vec![
                ((0, 0), A, both(CompareTarget::Version(0), "1", "2"), Ended::Unknown),
                ((5, 6), A, all(), saw(1, &[])),
            ],
        ),
        (
            "swaps find their order",
            vec![
                ((0, 10), A, swap("y", "z"), wrote(4, Some(a("y", 2, 3)))),
                ((0, 10), A, swap("x", "y"), wrote(3, Some(a("x", 1, 2)))),
                ((0, 10), A, set("x"), wrote(2, None)),
                ((11, 12), A, Kind::Get, saw(4, &[a("z", 3, 4)])),
            ],
        ),
        (
            "of two creates one comes too late",
            vec![
                ((0, 10), A, Kind::Create { value: "x".to_owned() }, refused(2, V2Code::NodeExist)),
                ((0, 10), A, Kind::Create { value: "y".to_owned() }, wrote(2, None)),
                ((11, 12), A, both(CompareTarget::Value("x".into()), "1", "2"), txn(2, false)),
            ],
        ),
        (
            "keys may end with their lease, which may run out at any time",
            vec![
                ((0, 1), "", grant(), done(1)),
                ((2, 3), A, put("x", LEASE), was_put(2)),
                ((4, 5), A, Kind::Get, saw(2, &[on_lease])),
                ((6, 7), A, Kind::Get, saw(3, &[])),
                ((8, 9), A, put("x", LEASE), applied(3, Err(V3Error::LeaseNotFound))),
                ((8, 9), "", revoke(), applied(3, Err(V3Error::LeaseNotFound))),
            ],
        ),
    ] {
        assert_eq!(verdict(&calls), Verdict::Linearizable, "{name}");
    }
}

#[test]
fn bad_histories_fail() {
    let on_lease = || record(A, "x", 1, 2, LEASE);
    for (name, calls) in [
        (
            "a stale read",
            vec![((0, 1), A, set("x"), wrote(2, None)), ((2, 3), A, Kind::Get, saw(1, &[]))],
        ),
        (
            "a read that goes back",
            vec![
                ((0, 10), A, set("x"), wrote(2, None)),
                ((1, 2), A, Kind::Get, saw(2, &[a("x", 1, 2)])),
                ((3, 4), A, Kind::Get, saw(1, &[])),
            ],
        ),
        (
            "a lost write",
            vec![
                ((0, 1), A, set("x"), wrote(2, None)),
                ((2, 3), A, put("y", LeaseId(0)), was_put(3)),
                ((4, 5), A, Kind::Get, saw(3, &[a("x", 1, 2)])),
            ],
        ),
        (
            "a write that happens twice",
            vec![
                ((0, 1), A, put("x", LeaseId(0)), was_put(2)),
                ((2, 3), A, Kind::Get, saw(3, &[a("x", 2, 3)])),
            ],
        ),
        (
            "half a transaction",
            vec![
                ((0, 1), A, both(CompareTarget::Version(0), "1", "2"), txn(2, true)),
                ((2, 3), A, all(), saw(2, &[a("1", 1, 2)])),
            ],
        ),
        (
            "half a transaction, of which nobody knows",
            vec![
                ((0, 0), A, both(CompareTarget::Version(0), "1", "2"), Ended::Unknown),
                ((2, 3), A, all(), saw(2, &[a("1", 1, 2)])),
            ],
        ),
        (
            "a compare that was judged before its time",
            vec![
                ((0, 1), A, set("x"), wrote(2, None)),
                ((2, 3), A, set("y"), wrote(3, Some(a("x", 1, 2)))),
                ((4, 5), A, both(CompareTarget::Value("x".into()), "1", "2"), txn(4, true)),
            ],
        ),
        (
            "the same, by a revision",
            vec![
                ((0, 1), A, set("x"), wrote(2, None)),
                ((4, 5), A, both(CompareTarget::Mod(2), "1", "2"), txn(3, false)),
            ],
        ),
        (
            "a revision that is used twice",
            vec![
                ((0, 1), A, put("x", LeaseId(0)), was_put(2)),
                ((2, 3), A, put("y", LeaseId(0)), was_put(2)),
            ],
        ),
        (
            "a key that outlives its lease",
            vec![
                ((0, 1), "", grant(), done(1)),
                ((2, 3), A, put("x", LEASE), was_put(2)),
                ((4, 5), "", revoke(), done(3)),
                ((6, 7), A, Kind::Get, saw(3, &[on_lease()])),
            ],
        ),
        (
            "a key on a lease that has run out",
            vec![
                ((0, 1), "", grant(), done(1)),
                ((2, 3), "", revoke(), applied(1, Err(V3Error::LeaseNotFound))),
                ((4, 5), A, put("x", LEASE), was_put(2)),
            ],
        ),
    ] {
        assert_eq!(verdict(&calls), Verdict::Not, "{name}");
    }
}

#[test]
fn the_search_is_bounded() {
    let unknown = |number: u64| ((0, 0), A, put(&number.to_string(), LeaseId(0)), Ended::Unknown);
    let mut calls: Vec<Told> = (0..40).map(unknown).collect();
    calls.push(((1, 2), A, Kind::Get, saw(100, &[a("nobody wrote this", 1, 50)])));
    assert_eq!(verdict_of(&calls, 1000), Verdict::Unproven);
}
