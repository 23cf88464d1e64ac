use super::super::scene::{Scene, keys, put, query, query_at, shown};
use super::super::{V3Answer, V3Applied};
use super::*;
use crate::{
    command::V3Op,
    storage::mvcc::record::{Action, RevisionRecord},
    types::LeaseId,
};
use CompareResult::{Equal, Greater, Less, NotEqual};
use bytes::Bytes;

fn compare(text: &str, result: CompareResult, target: CompareTarget) -> V3Compare {
    V3Compare { keys: keys(text), result, target }
}

fn value(text: &str) -> CompareTarget {
    CompareTarget::Value(Bytes::copy_from_slice(text.as_bytes()))
}

/// Fails always.
fn never() -> V3Compare {
    compare("none", Greater, CompareTarget::Version(0))
}

fn puts(key: &str, value: &str) -> V3RequestOp {
    V3RequestOp::Put(put(key, value))
}

fn deletes(text: &str) -> V3RequestOp {
    V3RequestOp::DeleteRange(V3DeleteRange { keys: keys(text), prev_kv: true })
}

fn ranges(text: &str) -> V3RequestOp {
    V3RequestOp::Range(query(text))
}

fn ranges_at(text: &str, revision: i64) -> V3RequestOp {
    V3RequestOp::Range(query_at(text, revision))
}

fn then(success: Vec<V3RequestOp>) -> V3Txn {
    V3Txn { success, ..V3Txn::default() }
}

fn if_not(failure: Vec<V3RequestOp>) -> V3Txn {
    V3Txn { compare: vec![never()], failure, ..V3Txn::default() }
}

fn inner(txn: V3Txn) -> V3RequestOp {
    V3RequestOp::Txn(txn)
}

/// An answer as text: `4:a=1` a range as of revision 4, `put 5`, `del 5 1:a=1`, `{ … }` a transaction.
fn told(answer: &TxnAnswer) -> String {
    let op = |op: &OpAnswer| match op {
        OpAnswer::Range(answer) => format!("{}:{}", answer.revision, shown(&answer.keys)),
        OpAnswer::Put(revision, _) => format!("put {revision}"),
        OpAnswer::DeleteRange(revision, count, prev) => {
            format!("del {revision} {count}:{}", shown(prev))
        }
        OpAnswer::Txn(answer) => format!("{{ {} }}", told(answer)),
    };
    let ops: Vec<String> = answer.responses.iter().map(op).collect();
    format!("{} {}", if answer.succeeded { "yes" } else { "no" }, ops.join(", "))
}

fn apply(scene: &mut Scene, txn: V3Txn) -> (Revision, Result<String, V3Error>) {
    let V3Applied { revision, result } = scene.v3(V3Op::Txn(txn));
    let result = result.map(|answer| match answer {
        V3Answer::Txn(answer) => told(&answer),
        other => panic!("answered {other:?}"),
    });
    (revision, result)
}

/// `a` = 1 of revision 2, `b` = 2 of revisions 3 and 4, on lease 7.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.grant(7).unwrap();
    scene.put("a", "1");
    scene.put("b", "x");
    let on_lease = V3Put { lease: LeaseId(7), ..put("b", "2") };
    scene.v3(V3Op::Put(on_lease)).result.unwrap();
    scene
}

#[test]
fn compares_of_all_kinds() {
    let scene = scene();
    let version = CompareTarget::Version;
    let create = CompareTarget::Create;
    let modified = CompareTarget::Mod;
    let lease = CompareTarget::Lease;
    for (text, target, holding) in [
        ("b", version(2), &[Equal][..]),
        ("b", version(1), &[Greater, NotEqual]),
        ("b", version(3), &[Less, NotEqual]),
        ("b", version(-1), &[Greater, NotEqual]),
        ("b", create(3), &[Equal]),
        ("b", modified(4), &[Equal]),
        ("b", modified(3), &[Greater, NotEqual]),
        ("b", lease(7), &[Equal]),
        ("a", lease(0), &[Equal]),
        ("a", lease(7), &[Less, NotEqual]),
        ("b", value("2"), &[Equal]),
        ("b", value("1"), &[Greater, NotEqual]),
        ("b", value("20"), &[Less, NotEqual]),
        ("b", value(""), &[Greater, NotEqual]),
        // A key that does not exist: numbers are 0, and no value compares.
        ("c", version(0), &[Equal]),
        ("c", create(0), &[Equal]),
        ("c", modified(1), &[Less, NotEqual]),
        ("c", lease(-1), &[Greater, NotEqual]),
        ("c", value(""), &[]),
        ("c", value("2"), &[]),
        // Ranges: all keys must compare; none is like a key that does not exist.
        ("a..c", version(0), &[Greater, NotEqual]),
        ("a..c", version(1), &[]),
        ("a..c", create(2), &[]),
        ("a..c", create(9), &[Less, NotEqual]),
        ("a..", value("0"), &[Greater, NotEqual]),
        ("a..", value("1"), &[]),
        ("c..", create(0), &[Equal]),
        ("c..", value(""), &[]),
        ("b..a", modified(0), &[Equal]),
    ] {
        for result in [Equal, Greater, Less, NotEqual] {
            let compare = compare(text, result, target.clone());
            let expected = holding.contains(&result);
            assert_eq!(holds(&scene.state, &compare), expected, "{compare:?}");
        }
    }
}

/// What each transaction answers, and which revision is the current one after it.
#[test]
fn transactions() {
    let txn = |compare, success, failure| V3Txn { compare, success, failure };
    let both = |left, right| vec![left, right];
    let has_a = || compare("a", Equal, value("1"));
    for (name, txn, expected, revision) in [
        ("nothing to compare", then(vec![puts("c", "1")]), "yes put 5", 5),
        (
            "one of two fails",
            txn(both(has_a(), never()), vec![], vec![puts("c", "1")]),
            "no put 5",
            5,
        ),
        ("nothing done", txn(vec![has_a()], vec![], vec![puts("c", "1")]), "yes ", 4),
        (
            "a range before and after a write",
            then(vec![ranges("a.."), puts("c", "1"), ranges("a..")]),
            "yes 4:a=1 b=2, put 5, 5:a=1 b=2 c=1",
            5,
        ),
        (
            "the past, also after a write",
            then(vec![puts("a", "9"), ranges_at("a..", 2), ranges_at("a..", 4), ranges("a")]),
            "yes put 5, 5:a=1, 5:a=1 b=2, 5:a=9",
            5,
        ),
        (
            "writes share a revision",
            then(vec![puts("c", "1"), puts("d", "1"), deletes("b")]),
            "yes put 5, put 5, del 5 1:b=2",
            5,
        ),
        (
            "a deletion of nothing",
            then(vec![deletes("x"), ranges("a"), deletes("x..y")]),
            "yes del 4 0:, 4:a=1, del 4 0:",
            4,
        ),
        (
            "put and deleted again",
            then(vec![puts("c", "1"), deletes("c.."), ranges("c")]),
            "yes put 5, del 5 1:c=1, 5:",
            5,
        ),
        (
            "put over what was there, and deleted again",
            then(vec![puts("a", "9"), deletes("a..")]),
            "yes put 5, del 5 2:a=9 b=2",
            5,
        ),
        (
            "inner compares look at the state before all",
            then(vec![
                puts("a", "9"),
                inner(txn(vec![has_a()], vec![ranges("a")], vec![puts("c", "1")])),
                inner(if_not(vec![puts("d", "1"), inner(then(vec![ranges("d")]))])),
            ]),
            "yes put 5, { yes 5:a=9 }, { no put 5, { yes 5:d=1 } }",
            5,
        ),
    ] {
        let mut scene = scene();
        let before = scene.state.clone();
        let applied = apply(&mut scene, txn);
        assert_eq!(applied, (Revision(revision), Ok(expected.to_owned())), "{name}");
        assert_eq!(before.revision, Revision(4), "the state before is still what it was");
        assert_eq!(super::super::range(&before, &query("a..")).unwrap().count, 2);
    }
}

/// One operation that cannot be carried out, and nothing is; but in the other branch it may stand.
#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let on = |put: V3Put, lease: i64| V3RequestOp::Put(V3Put { lease: LeaseId(lease), ..put });
    let ignoring_value = |key: &str| {
        V3RequestOp::Put(V3Put { ignore_value: true, value: Bytes::new(), ..put(key, "") })
    };
    let ignoring_lease =
        |key: &str| V3RequestOp::Put(V3Put { ignore_lease: true, ..put(key, "v") });
    for (op, error) in [
        (ranges_at("a", 5), V3Error::FutureRevision),
        (ranges_at("a", 1), V3Error::Compacted),
        (ranges_at("a", -1), V3Error::Compacted),
        (ranges_at("b..a", 5), V3Error::FutureRevision),
        (on(put("c", "1"), 8), V3Error::LeaseNotFound),
        (ignoring_value("c"), V3Error::KeyNotFound),
        (ignoring_lease("c"), V3Error::KeyNotFound),
    ] {
        let mut scene = scene();
        scene.compact(2).unwrap();
        let revision = scene.state.revision;
        for txn in [
            then(vec![puts("c", "1"), op.clone()]),
            then(vec![puts("d", "1"), inner(if_not(vec![op.clone()]))]),
            then(vec![op.clone(), ranges_at("a", 9), on(put("z", ""), 99)]),
        ] {
            assert_eq!(apply(&mut scene, txn), (revision, Err(error)), "{op:?}");
            assert_eq!(scene.held("c..", 0), "");
        }
        if let V3RequestOp::Range(_) = op {
            assert_eq!(read_txn(&scene.state, &then(vec![op.clone()])), Err(error));
        }
        let elsewhere = V3Txn { success: vec![op], ..if_not(vec![puts("c", "1")]) };
        assert_eq!(apply(&mut scene, elsewhere), (revision.next(), Ok("no put 5".to_owned())));
    }
}

#[test]
fn what_a_put_ignores_it_keeps() {
    let mut scene = scene();
    let keep_value = V3Put { ignore_value: true, ..put("b", "") };
    let keep_lease = V3Put { ignore_lease: true, prev_kv: true, ..put("b", "3") };
    apply(&mut scene, then(vec![V3RequestOp::Put(keep_lease)])).1.unwrap();
    let b = scene.state.key(b"b").unwrap();
    assert_eq!((b.value(), b.lease, b.version), (&b"3"[..], LeaseId(7), 3));
    apply(&mut scene, then(vec![V3RequestOp::Put(keep_value)])).1.unwrap();
    let b = scene.state.key(b"b").unwrap();
    assert_eq!((b.value(), b.lease, b.version), (&b"3"[..], LeaseId(0), 4));
    assert!(scene.attached(7).is_empty());
}

/// The record of a revision: changes in the order of the operations, and an action that says so.
#[test]
fn the_order_of_changes() {
    let sides = |record: &RevisionRecord| -> String {
        let side =
            |record: &Option<KeyRecord>| record.iter().map(|r| shown([r])).collect::<String>();
        let change = |change: &crate::storage::mvcc::record::Change| {
            format!("{}>{}", side(&change.before), side(&change.after))
        };
        record.changes.iter().map(change).collect::<Vec<_>>().join(" ")
    };
    for (ops, changes, action) in [
        (vec![puts("c", "1"), puts("d", "1")], ">c=1 >d=1", Action::Set),
        (vec![puts("d", "1"), puts("c", "1")], ">d=1 >c=1", Action::Txn),
        (vec![deletes("a..")], "a=1> b=2>", Action::Delete),
        (vec![deletes("b"), deletes("a")], "b=2> a=1>", Action::Txn),
        (vec![puts("b", "3"), deletes("a")], "b=2>b=3 a=1>", Action::Txn),
        (vec![deletes("a"), puts("b", "3")], "a=1> b=2>b=3", Action::Txn),
        (vec![puts("a", "9"), deletes("a..")], "a=1>a=9 a=9> b=2>", Action::Txn),
        (vec![deletes("a.."), puts("a", "9")], "a=1> b=2> >a=9", Action::Txn),
    ] {
        let mut scene = scene();
        apply(&mut scene, then(ops)).1.unwrap();
        let record = scene.state.history.last().unwrap();
        assert_eq!((sides(record).as_str(), record.action), (changes, action));
        assert_eq!(scene.held("a..", 4), "a=1 b=2", "as it was before {changes}");
        assert_eq!(scene.held("a", 4), "a=1", "as it was before {changes}");
    }
}

/// A key deleted and put again by one transaction is a new key, and its past is still told.
#[test]
fn deleted_and_put_again() {
    let mut scene = scene();
    apply(&mut scene, then(vec![deletes("a.."), puts("b", "9")])).1.unwrap();
    let b = scene.state.key(b"b").unwrap();
    assert_eq!((b.create_revision, b.version, b.lease), (Revision(5), 1, LeaseId(0)));
    assert!(scene.attached(7).is_empty());
    for (revision, held) in [(2, ""), (3, "b=x"), (4, "b=2"), (5, "b=9")] {
        assert_eq!(scene.held("b", revision), held, "at {revision}");
    }
}

#[test]
fn the_work_of_a_transaction() {
    let mut scene = Scene::new();
    for number in 0..50 {
        scene.put(&format!("{number:03}"), "");
    }
    let txn = V3Txn {
        compare: vec![compare("0..", Equal, value("")), compare("001", Equal, value(""))],
        success: vec![ranges("0.."), inner(then(vec![ranges("001")]))],
        failure: vec![ranges_at("001", 41)],
    };
    assert_eq!(read_work(&scene.state, &txn), 50 + 1 + 50 + 1 + 11);
}
