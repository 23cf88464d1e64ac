//! The audit log of a real process: each door's changes and refusals are in it, values, passwords and tokens
//! are not.

mod support;

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use callboard::http::v3::pb::{authpb, etcdserverpb as pb};
use prost::Message;
use serde_json::Value;
use support::{
    clock::poll,
    grpc::{Grpc, Status},
    http::{Client, PATIENCE, Request},
    server::Server,
};

const CHEAP: &str = "--bcrypt-cost=4";

/// A server with an audit log.
struct Scene {
    dir: tempfile::TempDir,
    server: Server,
}

impl Scene {
    fn start(flags: &[&str]) -> Scene {
        let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
        let path = format!("--audit-log={}", dir.path().join("audit.log").display());
        let flags: Vec<&str> =
            [path.as_str(), CHEAP].into_iter().chain(flags.iter().copied()).collect();
        Scene { server: Server::start(&flags), dir }
    }

    fn grpc(&self) -> Grpc {
        Grpc::connect(self.server.client_addr())
    }

    fn http(&self) -> Client {
        Client::new(self.server.client_addr())
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    /// The line that has all of these, when it is there.
    fn line(&self, wanted: &[(&str, &str)]) -> Value {
        let find = || lines(&self.path()).into_iter().find(|line| has_all(line, wanted));
        poll(PATIENCE, find)
            .unwrap_or_else(|| panic!("no line with {wanted:?} in\n{}", text(&self.path())))
    }

    /// How many lines have all of these.
    fn count(&self, wanted: &[(&str, &str)]) -> usize {
        lines(&self.path()).iter().filter(|line| has_all(line, wanted)).count()
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = text(path);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn has_all(line: &Value, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(name, value)| match &line[*name] {
        Value::String(text) => text == value,
        Value::Bool(held) => value.parse() == Ok(*held),
        _ => false,
    })
}

/// Calls; the answer is read as a message without fields, for it does not matter.
fn unary<M: Message>(
    grpc: &Grpc,
    token: &str,
    path: &str,
    request: &M,
) -> Result<pb::DefragmentRequest, Status> {
    grpc.unary_with(&[("token", token)], path, request)
}

fn put(key: &'static [u8]) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "SECRET-value".into(), ..pb::PutRequest::default() }
}

fn login(grpc: &Grpc, name: &str, password: &str) -> Result<String, Status> {
    let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
    let answer: pb::AuthenticateResponse =
        grpc.unary("/etcdserverpb.Auth/Authenticate", &request)?;
    Ok(answer.token)
}

#[test]
fn each_doors_changes_are_told() {
    let scene = Scene::start(&[]);
    let (grpc, mut http) = (scene.grpc(), scene.http());

    // gRPC
    unary(&grpc, "", "/etcdserverpb.KV/Put", &put(b"grpc/\xff")).unwrap();
    let key = STANDARD.encode(b"grpc/\xff");
    let line =
        scene.line(&[("door", "grpc"), ("op", "put"), ("key_base64", &key), ("result", "ok")]);
    assert!(line["revision"].as_u64().is_some() && line["user"] == "", "{line}");
    let remote = line["remote"].as_str().unwrap();
    assert!(remote.starts_with("127.0.0.1:"), "{line}");
    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().expect("RFC 3339");
    assert!(jiff::Timestamp::now().duration_since(time).as_secs() < 60, "{line}");
    let op = |request| pb::RequestOp { request: Some(request) };
    let txn = pb::TxnRequest {
        success: vec![
            op(pb::request_op::Request::RequestPut(put(b"txn/a"))),
            op(pb::request_op::Request::RequestRange(pb::RangeRequest {
                key: "only-read".into(),
                ..pb::RangeRequest::default()
            })),
        ],
        failure: vec![op(pb::request_op::Request::RequestPut(put(b"txn/not")))],
        ..pb::TxnRequest::default()
    };
    unary(&grpc, "", "/etcdserverpb.KV/Txn", &txn).unwrap();
    let line = scene.line(&[("op", "txn"), ("succeeded", "true")]);
    assert_eq!(line["writes"].to_string(), r#"[{"key":"txn/a","op":"put"}]"#, "{line}");
    let reads = pb::RangeRequest { key: "only-read".into(), ..pb::RangeRequest::default() };
    unary(&grpc, "", "/etcdserverpb.KV/Range", &reads).unwrap();
    let lease = pb::LeaseGrantRequest { ttl: 100, id: 0x1234 };
    unary(&grpc, "", "/etcdserverpb.Lease/LeaseGrant", &lease).unwrap();
    let lease = pb::LeaseRevokeRequest { id: 0x1234 };
    unary(&grpc, "", "/etcdserverpb.Lease/LeaseRevoke", &lease).unwrap();
    for op in ["lease-grant", "lease-revoke"] {
        scene.line(&[("op", op), ("lease", "1234"), ("result", "ok")]);
    }
    let compact = pb::CompactionRequest { revision: 2, ..pb::CompactionRequest::default() };
    unary(&grpc, "", "/etcdserverpb.KV/Compact", &compact).unwrap();
    scene.line(&[("op", "compact"), ("at", "2")]);
    assert!(unary(&grpc, "", "/etcdserverpb.KV/Compact", &compact).is_err());
    scene.line(&[("op", "compact"), ("result", "OutOfRange")]);
    unary(&grpc, "", "/etcdserverpb.Maintenance/Defragment", &pb::DefragmentRequest {}).unwrap();
    scene.line(&[("op", "defragment"), ("result", "ok")]);
    let mut snapshot = grpc.stream("/etcdserverpb.Maintenance/Snapshot");
    snapshot.send(&pb::SnapshotRequest {});
    snapshot.half_close();
    assert!(snapshot.recv::<pb::SnapshotResponse>().unwrap().is_some());
    scene.line(&[("op", "snapshot"), ("result", "ok")]);
    let alarm = pb::AlarmRequest { action: 1, alarm: 1, ..pb::AlarmRequest::default() };
    unary(&grpc, "", "/etcdserverpb.Maintenance/Alarm", &alarm).unwrap();
    scene.line(&[("op", "alarm-activate"), ("alarm", "NOSPACE")]);
    let alarm = pb::AlarmRequest { action: 2, alarm: 1, ..pb::AlarmRequest::default() };
    unary(&grpc, "", "/etcdserverpb.Maintenance/Alarm", &alarm).unwrap();
    scene.line(&[("op", "alarm-disarm"), ("result", "ok")]);
    let member = pb::MemberRemoveRequest { id: 0xabc };
    assert!(unary(&grpc, "", "/etcdserverpb.Cluster/MemberRemove", &member).is_err());
    scene.line(&[("op", "member-remove"), ("member", "abc"), ("result", "NotFound")]);

    // The gateway.
    let key = STANDARD.encode("gate/way");
    let body = format!(r#"{{"key":"{key}","value":"{}"}}"#, STANDARD.encode("SECRET-value"));
    let answer = http.send(&Request::new("POST", "/v3/kv/put").body(body)).unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    scene.line(&[("door", "gateway"), ("op", "put"), ("key", "gate/way"), ("result", "ok")]);

    // v2.
    assert_eq!(http.put("/dir/a", &[("value", "SECRET-value")]).unwrap().status(), 201);
    let line = scene.line(&[("door", "v2"), ("op", "put"), ("key", "/dir/a"), ("result", "ok")]);
    assert!(line["revision"].as_u64().is_some(), "{line}");
    let create = Request::new("POST", "/v2/keys/queue").form(&[("value", "SECRET-value")]);
    http.send(&create).unwrap();
    scene.line(&[("door", "v2"), ("op", "create"), ("key", "/queue"), ("result", "ok")]);
    http.send(&Request::new("DELETE", "/v2/keys/missing")).unwrap();
    scene.line(&[("door", "v2"), ("op", "delete"), ("key", "/missing"), ("result", "404")]);
    http.send(&Request::new("DELETE", "/v2/members/abc")).unwrap();
    scene.line(&[("door", "v2"), ("op", "delete"), ("path", "/v2/members/abc")]);

    // /kv.
    let put = Request::new("PUT", "/kv/pages/one").body("SECRET-value");
    assert_eq!(http.send(&put).unwrap().status(), 201);
    let line =
        scene.line(&[("door", "kv"), ("op", "put"), ("key", "/pages/one"), ("result", "ok")]);
    assert!(line["revision"].as_u64().is_some(), "{line}");
    http.send(&Request::new("DELETE", "/kv/pages/?prefix=true")).unwrap();
    scene.line(&[("door", "kv"), ("op", "delete"), ("key", "/pages/"), ("range_end", "/pages0")]);
    assert_eq!(http.get("/kv/pages/one").unwrap().status(), 404);
    assert_eq!(http.get("/v2/keys/missing").unwrap().status(), 404);

    let metrics = http.get("/metrics").unwrap().text();
    assert!(metrics.contains("callboard_audit_dropped_total 0"), "{metrics}");
    let text = text(&scene.path());
    for absent in ["SECRET", &STANDARD.encode("SECRET-value"), "only-read", "\"read\""] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
}

#[test]
fn each_doors_refusals_are_told_and_no_secret() {
    let scene = Scene::start(&[]);
    let (grpc, mut http) = (scene.grpc(), scene.http());
    for name in ["root", "bob"] {
        let user = pb::AuthUserAddRequest {
            name: name.into(),
            password: format!("SECRET-{name}"),
            ..pb::AuthUserAddRequest::default()
        };
        unary(&grpc, "", "/etcdserverpb.Auth/UserAdd", &user).unwrap();
        scene.line(&[("op", "user-add"), ("name", name), ("user", ""), ("result", "ok")]);
    }
    let root = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    unary(&grpc, "", "/etcdserverpb.Auth/UserGrantRole", &root).unwrap();
    unary(&grpc, "", "/etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {}).unwrap();
    scene.line(&[("op", "auth-enable"), ("user", ""), ("result", "ok")]);
    let token = login(&grpc, "root", "SECRET-root").unwrap();
    scene.line(&[("op", "authenticate"), ("name", "root"), ("result", "ok")]);
    let role = pb::AuthRoleAddRequest { name: "r".into() };
    unary(&grpc, &token, "/etcdserverpb.Auth/RoleAdd", &role).unwrap();
    scene.line(&[("op", "role-add"), ("role", "r"), ("user", "root")]);
    let perm = authpb::Permission { perm_type: 2, key: "in/".into(), range_end: "in0".into() };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
    unary(&grpc, &token, "/etcdserverpb.Auth/RoleGrantPermission", &grant).unwrap();
    scene.line(&[("op", "role-grant-permission"), ("key", "in/"), ("permission", "readwrite")]);

    // gRPC: wrong password, no token, a bad one, no right, a stream, a watch.
    assert!(login(&grpc, "bob", "SECRET-guess").is_err());
    scene.line(&[("op", "authenticate"), ("name", "bob"), ("result", "InvalidArgument")]);
    let bob = login(&grpc, "bob", "SECRET-bob").unwrap();
    let range = pb::RangeRequest { key: "read/me".into(), ..pb::RangeRequest::default() };
    assert!(grpc.unary::<_, pb::RangeResponse>("/etcdserverpb.KV/Range", &range).is_err());
    scene.line(&[("op", "range"), ("key", "read/me"), ("user", ""), ("result", "InvalidArgument")]);
    assert!(unary(&grpc, "SECRET-token.1", "/etcdserverpb.KV/Range", &range).is_err());
    scene.line(&[("op", "range"), ("key", "read/me"), ("result", "Unauthenticated")]);
    assert!(unary(&grpc, &bob, "/etcdserverpb.KV/Put", &put(b"x")).is_err());
    scene.line(&[("op", "put"), ("key", "x"), ("user", "bob"), ("result", "PermissionDenied")]);
    let mut snapshot = grpc.stream_with(&[("token", &bob)], "/etcdserverpb.Maintenance/Snapshot");
    snapshot.send(&pb::SnapshotRequest {});
    snapshot.half_close();
    assert!(snapshot.recv::<pb::SnapshotResponse>().is_err());
    scene.line(&[("op", "snapshot"), ("user", "bob"), ("result", "PermissionDenied")]);
    let mut watch = grpc.stream_with(&[("token", &bob)], "/etcdserverpb.Watch/Watch");
    let create = pb::WatchCreateRequest { key: "w".into(), ..pb::WatchCreateRequest::default() };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    watch.send(&pb::WatchRequest { request_union: Some(union) });
    assert!(watch.recv::<pb::WatchResponse>().unwrap().unwrap().canceled);
    scene.line(&[("op", "watch"), ("key", "w"), ("user", "bob"), ("result", "PermissionDenied")]);

    // The gateway.
    let read = Request::new("POST", "/v3/kv/range").body(r#"{"key":"Z3c="}"#);
    http.send(&read.header("Authorization", &bob)).unwrap();
    scene.line(&[
        ("door", "gateway"),
        ("key", "gw"),
        ("user", "bob"),
        ("result", "PermissionDenied"),
    ]);

    // v2.
    let basic = |user: &str, password: &str| {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    };
    assert_eq!(http.get("/v2/keys/secret").unwrap().status(), 401);
    scene.line(&[
        ("door", "v2"),
        ("op", "read"),
        ("key", "/secret"),
        ("user", ""),
        ("result", "401"),
    ]);
    let put = || Request::new("PUT", "/v2/keys/y").form(&[("value", "SECRET-value")]);
    let answer = http.send(&put().header("Authorization", &basic("bob", "SECRET-bob"))).unwrap();
    assert_eq!(answer.status(), 401, "{}", answer.text());
    scene.line(&[("door", "v2"), ("op", "put"), ("key", "/y"), ("user", "bob"), ("result", "401")]);
    let answer = http.send(&put().header("Authorization", &basic("root", "SECRET-root"))).unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text());
    scene.line(&[("door", "v2"), ("op", "put"), ("key", "/y"), ("user", "root"), ("result", "ok")]);
    let throttled = poll(PATIENCE, || {
        let answer = http.send(&put().header("Authorization", &basic("eve", "SECRET"))).unwrap();
        (answer.status() == 429).then_some(answer)
    });
    assert_eq!(throttled.expect("guessing is slowed").header("Retry-After"), Some("1"));
    scene.line(&[("door", "v2"), ("user", "eve"), ("result", "429")]);

    // /kv.
    let read = Request::new("GET", "/kv/page").header("Authorization", &bob);
    assert_eq!(http.send(&read).unwrap().status(), 403);
    scene.line(&[
        ("door", "kv"),
        ("op", "read"),
        ("key", "/page"),
        ("user", "bob"),
        ("result", "403"),
    ]);
    assert_eq!(scene.count(&[("key", "/page")]), 1, "one line for one refusal");

    let text = text(&scene.path());
    for absent in ["SECRET", &token, &bob, &STANDARD.encode("SECRET")[..6]] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
}

/// Files are put away as they grow, and what was told before a stop is there after it.
#[test]
fn files_are_put_away_and_a_stop_loses_nothing() {
    const MANY: usize = 150;
    let mut scene = Scene::start(&["--audit-log-max-bytes=4096", "--audit-log-max-files=3"]);
    let mut http = scene.http();
    for number in 0..MANY {
        http.put(&format!("/k{number}"), &[("value", "1")]).unwrap();
    }
    assert!(scene.server.terminate().success());
    let mut keys = Vec::new();
    let names = ["audit.log.3", "audit.log.2", "audit.log.1", "audit.log"];
    for name in names {
        let path = scene.dir.path().join(name);
        assert!(std::fs::metadata(&path).unwrap().len() <= 4096, "{name}");
        keys.extend(lines(&path).iter().map(|line| line["key"].as_str().unwrap().to_owned()));
    }
    assert!(!scene.dir.path().join("audit.log.4").exists());
    let expected: Vec<String> = (0..MANY).map(|number| format!("/k{number}")).collect();
    assert!(keys.len() > 50 && keys == expected[MANY - keys.len()..], "{keys:?}");
}

#[test]
fn a_file_that_cannot_be_made_stops_the_start() {
    let mut server = Server::prepare(&["--audit-log=/nowhere/audit.log"]);
    server.spawn();
    assert!(!server.wait_exit().success());
    let log = server.log();
    assert!(log.contains("audit-log") && log.contains("/nowhere/audit.log"), "{log}");
}
