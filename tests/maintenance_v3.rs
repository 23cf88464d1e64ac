//! The Maintenance service of a real member: its state, its alarms, its quota, and snapshots that are
//! handed out and restored.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use callboard::http::v3::pb::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, CompactionRequest, CompactionResponse,
    DefragmentRequest, DefragmentResponse, DeleteRangeRequest, DeleteRangeResponse,
    DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
    MoveLeaderRequest, MoveLeaderResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse, TxnRequest,
    TxnResponse, request_op::Request,
};
use sha2::{Digest as _, Sha256};
use support::clock::poll;
use support::grpc::{Grpc, Status};
use support::http::{self, Client};
use support::server::Server;

const SETTLE: Duration = Duration::from_secs(30);

const UNKNOWN: u32 = 2;
const INVALID_ARGUMENT: u32 = 3;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const OUT_OF_RANGE: u32 = 11;

const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

const GET: i32 = 0;
const ACTIVATE: i32 = 1;
const DEACTIVATE: i32 = 2;
const NOSPACE: i32 = 1;

fn put(grpc: &Grpc, key: &str, value: &str) -> Result<PutResponse, Status> {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    grpc.unary("/etcdserverpb.KV/Put", &PutRequest { key, value, ..PutRequest::default() })
}

fn range(grpc: &Grpc, key: &str, end: &str) -> RangeResponse {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    let request = RangeRequest { key, range_end, ..RangeRequest::default() };
    grpc.unary("/etcdserverpb.KV/Range", &request).unwrap()
}

fn delete(grpc: &Grpc, key: &str, end: &str) -> DeleteRangeResponse {
    let (key, range_end) = (key.to_owned().into(), end.to_owned().into());
    let request = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
    grpc.unary("/etcdserverpb.KV/DeleteRange", &request).unwrap()
}

fn compact(grpc: &Grpc, revision: i64) {
    let request = CompactionRequest { revision, ..CompactionRequest::default() };
    let _: CompactionResponse = grpc.unary("/etcdserverpb.KV/Compact", &request).unwrap();
}

fn status(grpc: &Grpc) -> StatusResponse {
    grpc.unary("/etcdserverpb.Maintenance/Status", &StatusRequest {}).unwrap()
}

fn alarm(grpc: &Grpc, action: i32, member_id: u64, alarm: i32) -> Result<Vec<AlarmMember>, Status> {
    let request = AlarmRequest { action, member_id, alarm };
    let answer: AlarmResponse = grpc.unary("/etcdserverpb.Maintenance/Alarm", &request)?;
    assert!(answer.header.is_some_and(|header| header.revision > 0));
    Ok(answer.alarms)
}

fn hash_kv(grpc: &Grpc, revision: i64) -> Result<HashKvResponse, Status> {
    grpc.unary("/etcdserverpb.Maintenance/HashKV", &HashKvRequest { revision })
}

#[test]
fn what_is_asked_of_one_member() {
    let server = Server::start(&["--quota-backend-bytes=1000000"]);
    let grpc = Grpc::connect(server.client_addr());
    let before = status(&grpc);
    put(&grpc, "a", "1").unwrap();
    let after = status(&grpc);
    assert_eq!((after.version.as_str(), after.storage_version.as_str()), ("3.6.0", "3.6.0"));
    assert!(after.db_size > before.db_size && after.db_size_in_use == after.db_size);
    assert_eq!(after.db_size_quota, 1_000_000);
    assert!(after.raft_index > before.raft_index && after.raft_applied_index == after.raft_index);
    assert!(after.raft_term > 0 && after.errors.is_empty() && !after.is_learner);
    assert!(after.downgrade_info.is_some_and(|info| !info.enabled));
    let header = after.header.unwrap();
    assert_eq!((header.member_id, header.revision), (after.leader, 2));

    let hashed = hash_kv(&grpc, 0).unwrap();
    assert_eq!((hashed.hash_revision, hashed.compact_revision), (2, -1));
    assert_eq!(hash_kv(&grpc, 2).unwrap().hash, hashed.hash);
    let future = hash_kv(&grpc, 3).unwrap_err();
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert!(future.is(OUT_OF_RANGE, text), "{future:?}");
    let hash = |grpc: &Grpc| -> HashResponse {
        grpc.unary("/etcdserverpb.Maintenance/Hash", &HashRequest {}).unwrap()
    };
    assert_eq!(hash(&grpc).hash, hash(&grpc).hash);

    let path = "/etcdserverpb.Maintenance/Defragment";
    let done: DefragmentResponse = grpc.unary(path, &DefragmentRequest {}).unwrap();
    assert!(done.header.is_none());

    let path = "/etcdserverpb.Maintenance/MoveLeader";
    let target_id = header.member_id;
    let done: MoveLeaderResponse = grpc.unary(path, &MoveLeaderRequest { target_id }).unwrap();
    assert!(done.header.is_none(), "to itself");
    let refused = grpc.unary::<_, MoveLeaderResponse>(path, &MoveLeaderRequest { target_id: 7 });
    let refused = refused.unwrap_err();
    assert!(refused.is(FAILED_PRECONDITION, "etcdserver: bad leader transferee"), "{refused:?}");

    for (action, version, code, text) in [
        (0, "3.5.0", INVALID_ARGUMENT, "etcdserver: invalid downgrade target version"),
        (1, "3.5.0", INVALID_ARGUMENT, "etcdserver: invalid downgrade target version"),
        (0, "five", INVALID_ARGUMENT, "etcdserver: wrong downgrade target version format"),
        (2, "", FAILED_PRECONDITION, "etcdserver: no inflight downgrade job"),
        (9, "3.5.0", UNKNOWN, "etcdserver: unknown method"),
    ] {
        let request = DowngradeRequest { action, version: version.to_owned() };
        let path = "/etcdserverpb.Maintenance/Downgrade";
        let refused = grpc.unary::<_, DowngradeResponse>(path, &request).unwrap_err();
        assert!(refused.is(code, text), "{action} {version}: {refused:?}");
    }
}

#[test]
fn alarms_are_raised_and_cleared_by_hand() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let own = status(&grpc).leader;
    let raised = |member_id, alarm| AlarmMember { member_id, alarm };
    assert_eq!(alarm(&grpc, ACTIVATE, own, 0).unwrap(), [], "no alarm of no kind");
    assert_eq!(alarm(&grpc, GET, 0, 0).unwrap(), []);
    assert_eq!(alarm(&grpc, ACTIVATE, own, NOSPACE).unwrap(), [raised(own, NOSPACE)]);
    assert_eq!(alarm(&grpc, ACTIVATE, own, NOSPACE).unwrap(), [raised(own, NOSPACE)]);
    assert_eq!(alarm(&grpc, GET, 0, 0).unwrap(), [raised(own, NOSPACE)]);
    assert_eq!(alarm(&grpc, GET, 0, 2).unwrap(), [], "none of the other kind");
    assert_eq!(status(&grpc).errors, [format!("memberID:{own} alarm:NOSPACE ")]);
    let refused = put(&grpc, "a", "1").unwrap_err();
    assert!(refused.is(RESOURCE_EXHAUSTED, NO_SPACE), "{refused:?}");
    assert_eq!(alarm(&grpc, DEACTIVATE, own, NOSPACE).unwrap(), [raised(own, NOSPACE)]);
    assert_eq!(alarm(&grpc, DEACTIVATE, own, NOSPACE).unwrap(), []);
    put(&grpc, "a", "1").unwrap();
    assert_eq!(alarm(&grpc, 9, own, NOSPACE).unwrap_err().code, Some(INVALID_ARGUMENT));
}

/// Puts until it is refused, and waits for the alarm.
fn fill(grpc: &Grpc) {
    let value = "x".repeat(500);
    let refused = (0..1000).find_map(|n| put(grpc, &format!("k{n}"), &value).err());
    let refused = refused.expect("the quota is met");
    assert!(refused.is(RESOURCE_EXHAUSTED, NO_SPACE), "{refused:?}");
    let raised = poll(SETTLE, || Some(()).filter(|()| alarm(grpc, GET, 0, 0).unwrap().len() == 1));
    raised.expect("the alarm is raised");
}

#[test]
fn a_full_store_takes_no_more_until_it_is_disarmed() {
    let flags = ["--quota-backend-bytes=65536", "--quota-auto-disarm=false"];
    let server = Server::start(&flags);
    let grpc = Grpc::connect(server.client_addr());
    let mut http = Client::new(server.client_addr());
    http.put("/kept", &[("value", "1"), ("ttl", "100")]).unwrap();
    fill(&grpc);

    let small = put(&grpc, "a", "").unwrap_err();
    assert!(small.is(RESOURCE_EXHAUSTED, NO_SPACE), "{small:?}");
    let key: Bytes = "a".into();
    let op = Request::RequestPut(PutRequest { key, ..PutRequest::default() });
    let txn =
        TxnRequest { failure: vec![RequestOp { request: Some(op) }], ..TxnRequest::default() };
    let refused = grpc.unary::<_, TxnResponse>("/etcdserverpb.KV/Txn", &txn).unwrap_err();
    assert!(refused.is(RESOURCE_EXHAUSTED, NO_SPACE), "a put in the other branch: {refused:?}");
    for body in [vec![("value", "2")], vec![("dir", "true")]] {
        let refused = http.put("/new", &body).unwrap();
        assert_eq!(refused.status(), 500);
        assert!(refused.text().contains(r#""errorCode":300"#), "{}", refused.text());
        assert!(refused.text().contains(NO_SPACE), "{}", refused.text());
    }
    let kept = [("ttl", "100"), ("refresh", "true"), ("prevExist", "true")];
    assert_eq!(http.put("/kept", &kept).unwrap().status(), 200, "what only keeps a key alive");

    let ill = http.get("/health").unwrap();
    let text = r#"{"health":"false","reason":"ALARM NOSPACE"}"#;
    assert_eq!((ill.status(), ill.text().trim_end()), (503, text));
    assert_eq!(http.get("/health?exclude=NOSPACE").unwrap().status(), 200);
    let metrics = http.get("/metrics").unwrap().text();
    assert!(metrics.contains("\netcd_server_quota_backend_bytes 65536\n"), "{metrics}");

    let warned = poll(SETTLE, || server.log().contains("more than 95 %").then_some(()));
    warned.expect("a warning in the log");

    assert!(range(&grpc, "k", "l").count > 50, "reads go on");
    let deleted = delete(&grpc, "k", "l");
    compact(&grpc, deleted.header.unwrap().revision);
    assert_eq!(http.send(&http::Request::new("DELETE", "/v2/keys/kept")).unwrap().status(), 200);
    let freed = poll(SETTLE, || Some(()).filter(|()| status(&grpc).db_size < 10_000));
    freed.expect("compaction frees what was deleted");
    let refused = put(&grpc, "a", "1").unwrap_err();
    assert!(refused.is(RESOURCE_EXHAUSTED, NO_SPACE), "the alarm is on still: {refused:?}");
    let own = status(&grpc).leader;
    assert_eq!(alarm(&grpc, DEACTIVATE, own, NOSPACE).unwrap().len(), 1);
    put(&grpc, "a", "1").unwrap();
    assert_eq!(http.put("/new", &[("value", "2")]).unwrap().status(), 201);
    assert_eq!(http.get("/health").unwrap().status(), 200);
    let log = server.log();
    for told in ["more than 95 %", "the quota is used up"] {
        assert_eq!(log.matches(told).count(), 1, "{told} in {log}");
    }
}

#[test]
fn an_alarm_goes_when_there_is_room_again() {
    let server = Server::start(&["--quota-backend-bytes=65536"]);
    let grpc = Grpc::connect(server.client_addr());
    fill(&grpc);
    let deleted = delete(&grpc, "k", "l");
    compact(&grpc, deleted.header.unwrap().revision);
    let taken = poll(SETTLE, || put(&grpc, "a", "1").ok());
    taken.expect("it takes writes again");
    assert_eq!(alarm(&grpc, GET, 0, 0).unwrap(), []);
    assert!(server.log().contains("there is room again"));
}

/// All blobs of a snapshot, put together as a client does.
fn snapshot(grpc: &Grpc) -> Vec<u8> {
    let mut call = grpc.stream("/etcdserverpb.Maintenance/Snapshot");
    call.send(&SnapshotRequest {});
    call.half_close();
    let mut whole = Vec::new();
    let mut last = None;
    while let Some(SnapshotResponse { blob, remaining_bytes, version, header }) =
        call.recv().unwrap()
    {
        assert_eq!((version.as_str(), header), ("3.6.0", None));
        assert!(last != Some(0), "nothing follows the last");
        last = Some(remaining_bytes);
        if remaining_bytes == 0 {
            assert_eq!(blob[..], Sha256::digest(&whole)[..]);
        }
        whole.extend_from_slice(&blob);
    }
    assert_eq!(last, Some(0));
    whole
}

fn restore(from: &Path, to: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_callboard"))
        .args([Path::new("restore"), from, to])
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_snapshot_that_was_fetched_is_restored() {
    let mut server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    for n in 0..300 {
        put(&grpc, &format!("k{n:03}"), &"v".repeat(2000)).unwrap();
    }
    let deleted = delete(&grpc, "k100", "k200");
    compact(&grpc, deleted.header.unwrap().revision - 50);
    Client::new(server.client_addr()).put("/dir/file", &[("value", "v2")]).unwrap();
    let whole = snapshot(&grpc);
    assert!(whole.len() > 400_000 && whole.len() % 512 == 32, "{} bytes", whole.len());
    let hash = hash_kv(&grpc, 0).unwrap();
    put(&grpc, "later", "1").unwrap();
    let keys = range(&grpc, "k", "l");
    server.terminate();

    let file = server.data_dir().with_file_name("backup");
    let restored = server.data_dir().with_file_name("restored");
    for damage in [
        (0..whole.len() - 1).collect::<Vec<_>>(), // cut
        (0..whole.len() - 512).collect(),
        (0..32).collect(),
    ] {
        std::fs::write(&file, &whole[..damage.len()]).unwrap();
        assert!(!restore(&file, &restored).0, "cut to {}", damage.len());
    }
    for at in [40, whole.len() / 2, whole.len() - 40, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, damaged).unwrap();
        let (restored, said) = restore(&file, &restored);
        assert!(!restored && said.contains("SHA-256"), "byte {at}: {said}");
    }
    std::fs::write(&file, &whole).unwrap();
    let (done, said) = restore(&file, &restored);
    assert!(done, "{said}");
    std::fs::remove_dir_all(server.data_dir()).unwrap();
    std::fs::rename(&restored, server.data_dir()).unwrap();
    server.restart();
    let grpc = Grpc::connect(server.client_addr());
    assert_eq!(hash_kv(&grpc, 0).unwrap().hash, hash.hash);
    assert_eq!(range(&grpc, "k", "l").kvs, keys.kvs);
    assert_eq!(range(&grpc, "later", "").count, 0);
    let mut http = Client::new(server.client_addr());
    assert!(http.get("/v2/keys/dir/file").unwrap().text().contains("v2"));
}

/// Whoever asks for a snapshot and goes away, or does not read it, costs nothing for long.
#[test]
fn snapshots_that_nobody_fetches_end() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    for n in 0..20 {
        put(&grpc, &format!("k{n}"), &"v".repeat(1_000_000)).unwrap();
    }
    let ask = || {
        let mut call = grpc.stream("/etcdserverpb.Maintenance/Snapshot");
        call.send(&SnapshotRequest {});
        call.half_close();
        call
    };
    for _ in 0..20 {
        let mut call = ask();
        if let Ok(Some(piece)) = call.recv::<SnapshotResponse>() {
            assert!(piece.remaining_bytes > 0);
        }
        call.cancel();
    }
    let fetched = poll(SETTLE, || {
        let mut call = ask();
        call.recv::<SnapshotResponse>().ok().flatten()
    });
    fetched.expect("there is a place again");
}
