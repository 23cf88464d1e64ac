//! The Cluster service of real members, and what Maintenance says of a cluster.

mod support;

use std::time::Duration;

use callboard::http::v3::methods::{Streaming, Unary};
use callboard::http::v3::pb::etcdserverpb::{
    HashKvRequest, HashKvResponse, Member, MemberAddRequest, MemberAddResponse, MemberListRequest,
    MemberListResponse, MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest,
    MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest,
    MoveLeaderResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader,
    StatusRequest, StatusResponse,
};
use support::clock::poll;
use support::cluster::{Cluster, FAST, SETTLE};
use support::grpc::{Grpc, Status};
use support::server::Server;

const UNKNOWN: u32 = 2;
const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const FAILED_PRECONDITION: u32 = 9;
const UNAVAILABLE: u32 = 14;

const NOT_READY: &str =
    "etcdserver: can only promote a learner member which is in sync with leader";

fn add(grpc: &Grpc, urls: &[&str], is_learner: bool) -> Result<MemberAddResponse, Status> {
    let peer_ur_ls = urls.iter().map(ToString::to_string).collect();
    let request = MemberAddRequest { peer_ur_ls, is_learner };
    grpc.unary("/etcdserverpb.Cluster/MemberAdd", &request)
}

fn remove(grpc: &Grpc, id: u64) -> Result<MemberRemoveResponse, Status> {
    grpc.unary("/etcdserverpb.Cluster/MemberRemove", &MemberRemoveRequest { id })
}

fn promote(grpc: &Grpc, id: u64) -> Result<MemberPromoteResponse, Status> {
    grpc.unary("/etcdserverpb.Cluster/MemberPromote", &MemberPromoteRequest { id })
}

fn update(grpc: &Grpc, id: u64, url: &str) -> Result<MemberUpdateResponse, Status> {
    let request = MemberUpdateRequest { id, peer_ur_ls: vec![url.to_owned()] };
    grpc.unary("/etcdserverpb.Cluster/MemberUpdate", &request)
}

fn list(grpc: &Grpc, linearizable: bool) -> Result<Vec<Member>, Status> {
    let request = MemberListRequest { linearizable };
    let answer: MemberListResponse = grpc.unary("/etcdserverpb.Cluster/MemberList", &request)?;
    has_no_revision(answer.header);
    Ok(answer.members)
}

fn status(grpc: &Grpc) -> StatusResponse {
    grpc.unary("/etcdserverpb.Maintenance/Status", &StatusRequest {}).unwrap()
}

fn has_no_revision(header: Option<ResponseHeader>) {
    let header = header.expect("a header");
    assert_eq!(header.revision, 0);
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
}

fn refused(result: Result<impl std::fmt::Debug, Status>, code: u32, text: &str) {
    let status = result.expect_err(text);
    assert!(status.is(code, text), "{status:?} instead of {text}");
}

/// Asks again while the cluster is not steady yet: `--strict-reconfig-check` waits for that.
fn when_steady<T>(mut ask: impl FnMut() -> Result<T, Status>) -> T {
    let mut last = None;
    let done = poll(SETTLE, || match ask() {
        Ok(done) => Some(done),
        Err(status) => {
            assert_eq!(status.code, Some(UNAVAILABLE), "{status:?}");
            last = Some(status);
            None
        }
    });
    done.unwrap_or_else(|| panic!("{last:?}"))
}

#[test]
fn a_member_alone() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let members = list(&grpc, true).unwrap();
    let [own] = &members[..] else { panic!("{members:?}") };
    assert_eq!(own.name, "n1");
    assert_eq!(own.peer_ur_ls, [format!("http://{}", server.peer_addr())]);
    assert_eq!(own.client_ur_ls, [format!("http://{}", server.client_addr())]);
    assert_eq!(list(&grpc, false).unwrap(), members);

    let bad = "etcdserver: given member URLs are invalid";
    for urls in [&[][..], &["http://a"], &["a:1"], &["http://a:1/x"], &["http://b:1", "ftp://a:1"]]
    {
        refused(add(&grpc, urls, false), INVALID_ARGUMENT, bad);
    }
    let taken = [own.peer_ur_ls[0].as_str()];
    let exists = "etcdserver: Peer URLs already exists";
    refused(add(&grpc, &taken, false), FAILED_PRECONDITION, exists);
    let few = "etcdserver: re-configuration failed due to not enough started members";
    refused(remove(&grpc, own.id), UNKNOWN, few);
    let voter = "etcdserver: can only promote a learner member";
    refused(promote(&grpc, own.id), FAILED_PRECONDITION, voter);
    let unknown = "etcdserver: member not found";
    refused(remove(&grpc, 7), NOT_FOUND, unknown);
    refused(promote(&grpc, 7), NOT_FOUND, unknown);
    refused(update(&grpc, 7, "http://a:1"), NOT_FOUND, unknown);

    // A learner that never comes costs nothing, and does not get a vote.
    let added = add(&grpc, &["http://127.0.0.1:9", " http://127.0.0.1:8"], true).unwrap();
    has_no_revision(added.header);
    let member = added.member.unwrap();
    assert_eq!(member.peer_ur_ls, ["http://127.0.0.1:8", "http://127.0.0.1:9"]);
    assert!(member.is_learner && member.name.is_empty());
    assert!(added.members.contains(&member) && added.members.len() == 2);
    let many = "etcdserver: too many learner members in cluster";
    refused(add(&grpc, &["http://127.0.0.1:7"], true), FAILED_PRECONDITION, many);
    refused(promote(&grpc, member.id), FAILED_PRECONDITION, NOT_READY);
    let moved = update(&grpc, member.id, "http://127.0.0.1:6").unwrap();
    let found = moved.members.iter().find(|found| found.id == member.id).unwrap();
    assert!(found.is_learner, "it is a learner still");
    assert_eq!(found.peer_ur_ls, ["http://127.0.0.1:6"]);
    let left = remove(&grpc, member.id).unwrap();
    assert_eq!(left.members, members);
    refused(remove(&grpc, member.id), NOT_FOUND, unknown);
}

#[test]
fn a_learner_is_promoted_when_it_has_caught_up() {
    let mut cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    let follower = Grpc::connect(cluster.client((leader + 1) % 3).addr());
    // Enough of a log that one who has nothing of it is not ready.
    for n in 0..50 {
        let request =
            PutRequest { key: format!("k{n}").into(), value: "v".into(), ..PutRequest::default() };
        let _: PutResponse = follower.unary("/etcdserverpb.KV/Put", &request).unwrap();
    }
    let added = when_steady(|| add(&follower, &["http://127.0.0.1:9"], true));
    let absent = added.member.unwrap().id;
    let at_leader = Grpc::connect(cluster.client(leader).addr());
    refused(promote(&follower, absent), FAILED_PRECONDITION, NOT_READY);
    refused(promote(&at_leader, absent), FAILED_PRECONDITION, NOT_READY);
    remove(&follower, absent).unwrap();

    let n = cluster.join(leader, r#","isLearner":true"#);
    let learner = Grpc::connect({
        cluster.member(n).wait_listening();
        cluster.client(n).addr()
    });
    let id = u64::from_str_radix(&cluster.id(n), 16).unwrap();
    let known = poll(SETTLE, || status(&learner).is_learner.then_some(()));
    known.expect("it learns that it has no vote");
    let only_voters = "etcdserver: rpc not supported for learner";
    refused(list(&learner, false), FAILED_PRECONDITION, only_voters);
    refuses_what_needs_a_vote(&learner, only_voters);
    let promoted = poll(SETTLE, || match promote(&follower, id) {
        Ok(answer) => Some(answer),
        Err(status) => {
            assert!(status.is(FAILED_PRECONDITION, NOT_READY), "{status:?}");
            None
        }
    });
    let promoted = promoted.expect("it catches up");
    assert!(promoted.members.iter().all(|member| !member.is_learner));
    let learned = poll(SETTLE, || (!status(&learner).is_learner).then_some(()));
    learned.expect("it learns that it votes");
    assert_eq!(list(&learner, true).unwrap().len(), 4);
}

/// A learner tells what it has, to those who know that it may be old, and nothing else.
fn refuses_what_needs_a_vote(learner: &Grpc, only_voters: &str) {
    let range = |serializable| {
        let request = RangeRequest { key: "k1".into(), serializable, ..RangeRequest::default() };
        learner.unary::<_, RangeResponse>("/etcdserverpb.KV/Range", &request)
    };
    refused(range(false), FAILED_PRECONDITION, only_voters);
    let found = poll(SETTLE, || range(true).unwrap().kvs.into_iter().next());
    assert_eq!(found.expect("it gets the log").key(), b"k1");
    for (rpc, _, _) in
        Unary::ALL.iter().filter(|row| !matches!(row.0, Unary::Range | Unary::Status))
    {
        let answer = learner.unary::<_, RangeResponse>(rpc.grpc_path(), &RangeRequest::default());
        refused(answer, FAILED_PRECONDITION, only_voters);
    }
    for (rpc, path, _) in Streaming::ALL {
        let mut call = learner.stream(path);
        call.send(&RangeRequest::default());
        call.half_close();
        if *rpc == Streaming::Snapshot {
            assert!(call.recv_bytes().unwrap().is_some_and(|piece| !piece.is_empty()));
            continue;
        }
        let status = call.end();
        assert!(status.is(FAILED_PRECONDITION, only_voters), "{path}: {status:?}");
    }
}

#[test]
fn the_lead_is_moved_and_all_hold_the_same() {
    let cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    let grpcs: Vec<Grpc> = (0..3).map(|n| Grpc::connect(cluster.client(n).addr())).collect();
    let target = (leader + 1) % 3;
    let target_id = u64::from_str_radix(&cluster.id(target), 16).unwrap();
    let path = "/etcdserverpb.Maintenance/MoveLeader";
    let to = |target_id| MoveLeaderRequest { target_id };
    let not_leader = grpcs[target].unary::<_, MoveLeaderResponse>(path, &to(target_id));
    refused(not_leader, FAILED_PRECONDITION, "etcdserver: not leader");
    let nobody = grpcs[leader].unary::<_, MoveLeaderResponse>(path, &to(0));
    refused(nobody, FAILED_PRECONDITION, "etcdserver: bad leader transferee");
    let _: MoveLeaderResponse = grpcs[leader].unary(path, &to(target_id)).unwrap();
    assert_eq!(status(&grpcs[leader]).leader, target_id);

    for n in 0..30 {
        let key = format!("k{}", n % 7).into();
        let request = PutRequest { key, value: format!("{n}").into(), ..PutRequest::default() };
        let _: PutResponse = grpcs[n % 3].unary("/etcdserverpb.KV/Put", &request).unwrap();
    }
    let path = "/etcdserverpb.Maintenance/HashKV";
    let hash = |n: usize, revision: i64| {
        // A member that is behind does not know the revision yet.
        let hashed = poll(Duration::from_secs(10), || {
            grpcs[n].unary::<_, HashKvResponse>(path, &HashKvRequest { revision }).ok()
        });
        hashed.expect("it catches up").hash
    };
    for revision in [31, 20] {
        assert_eq!(hash(0, revision), hash(1, revision));
        assert_eq!(hash(0, revision), hash(2, revision));
    }
    assert_ne!(hash(0, 31), hash(0, 20));
}
