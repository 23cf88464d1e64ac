use super::super::scene::{Scene, put, shown};
use super::*;
use crate::{
    command::{Command, V2Command, V2Op, V3RequestOp, V3Txn},
    storage::mvcc::{LeaseChange, Member},
    types::MemberId,
};

fn lease_of(scene: &Scene, key: &str) -> i64 {
    scene.state.key(key.as_bytes()).map_or(-1, |record| record.lease.0)
}

/// Each put moves the key to the lease that it names, or to none.
#[test]
fn a_key_hangs_on_its_last_lease() {
    let mut scene = Scene::new();
    scene.grant(1).unwrap();
    scene.grant(2).unwrap();
    assert_eq!(scene.grant(1), Err(V3Error::LeaseExists));
    let of_both = |scene: &Scene| [scene.attached(1).join(" "), scene.attached(2).join(" ")];
    scene.put_on("a", 1).unwrap();
    scene.put_on("b", 1).unwrap();
    assert_eq!(of_both(&scene), ["a b", ""]);
    scene.put_on("a", 2).unwrap();
    assert_eq!(of_both(&scene), ["b", "a"]);
    scene.put("a", "alone");
    assert_eq!(of_both(&scene), ["b", ""]);
    scene.put_on("a", 2).unwrap();
    scene.put_on("a", 2).unwrap();
    assert_eq!(of_both(&scene), ["b", "a"]);
    assert_eq!(scene.delete("a"), 1);
    assert_eq!(of_both(&scene), ["b", ""]);
    assert_eq!(scene.put_on("c", 3), Err(V3Error::LeaseNotFound));
    let keep = V3Put { ignore_lease: true, ..put("b", "kept") };
    scene.v3(V3Op::Put(keep)).result.unwrap();
    assert_eq!(of_both(&scene), ["b", ""]);
}

/// A lease takes its keys with it, in one revision; without keys it takes none.
#[test]
fn a_lease_ends() {
    let mut scene = Scene::new();
    scene.grant(1).unwrap();
    scene.grant(-2).unwrap();
    assert_eq!(scene.state.revision, Revision(1), "a grant is no change of keys");
    for key in ["c", "a", "b"] {
        scene.put_on(key, 1).unwrap();
    }
    scene.put("d", "stays");
    let applied = scene.v3(V3Op::LeaseRevoke { id: LeaseId(1) });
    assert_eq!((applied.revision, applied.result), (Revision(6), Ok(V3Answer::Done)));
    assert_eq!((scene.held("a..", 0), scene.held("a..c", 5)), ("d=stays".into(), "a=v b=v".into()));
    let record = scene.state.history.last().unwrap();
    assert_eq!(record.action, Action::Expire);
    let gone: Vec<&[u8]> = record.changes.iter().map(Change::key).collect();
    assert_eq!(gone, [b"a", b"b", b"c"]);
    assert_eq!(scene.revoke(1), Err(V3Error::LeaseNotFound));
    assert_eq!(scene.revoke(-2), Ok(V3Answer::Done));
    assert_eq!(scene.state.revision, Revision(6));
    assert!(scene.state.attached.is_empty());
}

/// Leases that ran out go each with a revision of its own; what a later leader finds is left alone.
#[test]
fn leases_expire_in_their_order() {
    let mut scene = Scene::new();
    for (id, key) in [(1, "a"), (2, "b"), (3, "c")] {
        scene.grant(id).unwrap();
        scene.put_on(key, id).unwrap();
    }
    let leases = vec![LeaseId(2), LeaseId(9), LeaseId(1)];
    let stale = V3Op::LeaseExpire { leases: leases.clone(), term: Term(0) };
    assert_eq!(scene.v3(stale).revision, Revision(4));
    let expire =
        Command::V3(V3Command { caller: None, op: V3Op::LeaseExpire { leases, term: Term(1) } });
    let outcome = scene.apply(expire);
    let gone: Vec<&[u8]> = outcome.records.iter().map(|record| record.changes[0].key()).collect();
    assert_eq!(gone, [b"b", b"a"]);
    assert_eq!(
        outcome.leases.to_vec(),
        [LeaseChange::Revoked(LeaseId(2)), LeaseChange::Revoked(LeaseId(1))]
    );
    assert_eq!(scene.held("a..", 0), "c=v");
}

/// v2 TTLs and v3 leases are leases of one kind of key: whoever writes last decides.
#[test]
fn v2_and_v3_take_keys_from_each_other() {
    let mut scene = Scene::new();
    scene.grant(1).unwrap();
    let v3_leases = |scene: &Scene| scene.state.leases().filter(|lease| lease.is_v3()).count();
    let v2_leases = |scene: &Scene| scene.state.leases().count() - v3_leases(scene);

    scene.v2_set("/k", 30);
    assert_eq!((v2_leases(&scene), v3_leases(&scene)), (1, 1));
    let of_v2 = lease_of(&scene, "/k");
    assert_ne!(of_v2, 0);
    assert_eq!(scene.put_on("/other", of_v2), Err(V3Error::LeaseNotFound), "v3 cannot share it");
    assert_eq!(scene.revoke(of_v2), Err(V3Error::LeaseNotFound), "nor end it");
    assert_eq!(scene.grant(of_v2), Err(V3Error::LeaseExists));

    let keep = V3Put { ignore_lease: true, ..put("/k", "kept") };
    scene.v3(V3Op::Put(keep)).result.unwrap();
    assert_eq!((v2_leases(&scene), lease_of(&scene, "/k")), (1, of_v2));
    assert_ne!(scene.state.key(b"/k").unwrap().expires, UnixNanos(0));

    scene.put_on("/k", 1).unwrap();
    assert_eq!((v2_leases(&scene), v3_leases(&scene)), (0, 1), "the TTL is over");
    assert_eq!(scene.attached(1), ["/k"]);

    scene.v2_set("/k", 0);
    assert!(scene.attached(1).is_empty(), "v2 takes it off the lease");
    assert_eq!((v3_leases(&scene), lease_of(&scene, "/k")), (1, 0), "which lives on");

    scene.put_on("/k", 1).unwrap();
    scene.v2_set("/k", 30);
    assert_eq!((scene.attached(1).len(), v2_leases(&scene)), (0, 1));
    assert_eq!(scene.delete("/k"), 1);
    assert_eq!(v2_leases(&scene), 0);

    scene.put_on("/d/k", 1).unwrap();
    let delete = V2Op::Delete { dir: true, recursive: true };
    scene.apply(Command::V2(V2Command { path: b"/d".to_vec(), op: delete }));
    assert!(scene.attached(1).is_empty());
    scene.revoke(1).unwrap();
}

#[test]
fn compaction_rules() {
    let mut scene = Scene::new();
    assert_eq!(scene.compact(0), Ok(V3Answer::Done), "etcd takes it on a fresh store");
    assert_eq!(scene.compact(-1), Err(V3Error::Compacted));
    assert_eq!(scene.compact(2), Err(V3Error::FutureRevision));
    for value in ["1", "2", "3"] {
        scene.put("a", value);
    }
    for (revision, expected) in [
        (5, Err(V3Error::FutureRevision)),
        (i64::MAX, Err(V3Error::FutureRevision)),
        (2, Ok(V3Answer::Done)),
        (2, Err(V3Error::Compacted)),
        (1, Err(V3Error::Compacted)),
        (0, Err(V3Error::Compacted)),
        (i64::MIN, Err(V3Error::Compacted)),
        (4, Ok(V3Answer::Done)),
        (4, Err(V3Error::Compacted)),
    ] {
        assert_eq!(scene.compact(revision), expected, "at {revision}");
        assert_eq!(scene.state.revision, Revision(4), "a compaction is no revision");
    }
}

/// What was there before is told when that is asked, and versions count from the last deletion.
#[test]
fn puts_and_deletions_tell_what_was_there() {
    let mut scene = Scene::new();
    let asking = |key: &str, value: &str| V3Op::Put(V3Put { prev_kv: true, ..put(key, value) });
    for (value, before, version, create) in [("1", "", 1, 2), ("2", "a=1", 2, 2)] {
        let Ok(V3Answer::Put(prev)) = scene.v3(asking("a", value)).result else { panic!("no put") };
        assert_eq!(shown(&prev), before);
        let now = scene.state.key(b"a").unwrap();
        assert_eq!((now.version, now.create_revision), (version, Revision(create)));
    }
    scene.put("b", "1");
    let delete = |text| {
        V3Op::DeleteRange(V3DeleteRange { keys: super::super::scene::keys(text), prev_kv: true })
    };
    for (text, gone, revision) in
        [("x", "", 4), ("b..a", "", 4), ("a..", "a=2 b=1", 5), ("a..", "", 5)]
    {
        let applied = scene.v3(delete(text));
        let Ok(V3Answer::DeleteRange(count, prev)) = applied.result else { panic!("no deletion") };
        assert_eq!((shown(&prev).as_str(), applied.revision), (gone, Revision(revision)), "{text}");
        assert_eq!(count as usize, prev.len());
    }
    scene.put("a", "again");
    let now = scene.state.key(b"a").unwrap();
    assert_eq!((now.version, now.create_revision), (1, Revision(6)));
}

/// Alarms: a full store takes nothing in, a corrupt one does nothing at all.
#[test]
fn alarms_refuse() {
    let mut scene = Scene::new();
    let member = Member {
        id: MemberId(1),
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    scene.state.membership = Arc::new(crate::storage::mvcc::Membership::new(vec![member.clone()]));
    scene.put("a", "1");
    scene.grant(1).unwrap();
    let txn = |op: V3RequestOp| V3Op::Txn(V3Txn { failure: vec![op], ..V3Txn::default() });
    let range = V3DeleteRange { keys: super::super::scene::keys("x"), prev_kv: false };
    let ops = [
        (V3Op::Put(put("a", "2")), false),
        (V3Op::LeaseGrant { id: LeaseId(2), ttl: 5 }, false),
        (txn(V3RequestOp::Put(put("a", "2"))), false),
        (txn(V3RequestOp::DeleteRange(range.clone())), true),
        (V3Op::DeleteRange(range), true),
        (V3Op::Compact { revision: 2 }, true),
        (V3Op::LeaseRevoke { id: LeaseId(1) }, true),
    ];
    for kind in [AlarmKind::NoSpace, AlarmKind::Corrupt] {
        scene.apply(Command::Alarm { member: member.id, kind, raised: true });
        for (op, passes) in &ops {
            let result = scene.v3(op.clone()).result;
            match kind {
                AlarmKind::Corrupt => assert_eq!(result, Err(V3Error::Corrupt), "{op:?}"),
                AlarmKind::NoSpace if *passes => assert!(result.is_ok(), "{op:?}: {result:?}"),
                AlarmKind::NoSpace => assert_eq!(result, Err(V3Error::NoSpace), "{op:?}"),
            }
        }
        scene.apply(Command::Alarm { member: member.id, kind, raised: false });
    }
    scene.put("a", "3");
}
