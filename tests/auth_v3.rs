//! Users and rights on real members: every RPC for everyone, tokens, restarts, and v2 with the same
//! users.

mod support;

use callboard::http::v3::{
    methods::Unary,
    pb::{authpb, etcdserverpb as pb, v3electionpb},
};
use prost::Message;
use support::cluster::Cluster;
use support::grpc::{Grpc, Status, frame};
use support::http::{Client, Request};
use support::rights::{May, Row, put, row};
use support::server::Server;

const NOBODY: &str = "etcdserver: user name is empty";
const BAD_TOKEN: &str = "etcdserver: invalid auth token";
const DENIED: &str = "etcdserver: permission denied";
const CHEAP: &str = "--bcrypt-cost=4";

fn auth<M: Message>(grpc: &Grpc, token: &str, method: &str, request: &M) -> Result<(), Status> {
    call(grpc, Some(token), &format!("/etcdserverpb.Auth/{method}"), &request.encode_to_vec())
}

/// Calls with an encoded message; the answer does not matter, but that there is one.
fn call(grpc: &Grpc, token: Option<&str>, path: &str, message: &[u8]) -> Result<(), Status> {
    let metadata: Vec<(&str, &str)> = token.map(|token| ("token", token)).into_iter().collect();
    let mut call = grpc.stream_with(&metadata, path);
    call.send_bytes(frame(0, message), true);
    call.recv_bytes()?;
    Ok(())
}

fn login(grpc: &Grpc, name: &str, password: &str) -> Result<String, Status> {
    let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
    let answer: pb::AuthenticateResponse =
        grpc.unary("/etcdserverpb.Auth/Authenticate", &request)?;
    Ok(answer.token)
}

fn add_user(grpc: &Grpc, token: &str, name: &str) {
    let request = pb::AuthUserAddRequest {
        name: name.into(),
        password: format!("pw-{name}"),
        ..pb::AuthUserAddRequest::default()
    };
    auth(grpc, token, "UserAdd", &request).unwrap();
}

fn grant_role(grpc: &Grpc, token: &str, user: &str, role: &str) {
    let request = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
    auth(grpc, token, "UserGrantRole", &request).unwrap();
}

/// Users root, bob (who may read and write `in/`) and eve (who may nothing); authentication is on.
fn enable(grpc: &Grpc) {
    for user in ["root", "bob", "eve"] {
        add_user(grpc, "", user);
    }
    auth(grpc, "", "RoleAdd", &pb::AuthRoleAddRequest { name: "r".into() }).unwrap();
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: "in/".into(),
        range_end: "in0".into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
    auth(grpc, "", "RoleGrantPermission", &grant).unwrap();
    grant_role(grpc, "", "root", "root");
    grant_role(grpc, "", "bob", "r");
    auth(grpc, "", "AuthEnable", &pb::AuthEnableRequest {}).unwrap();
}

/// etcd's text of a refusal, with whatever a service puts around it.
fn refused(result: &Result<(), Status>, text: &str) -> bool {
    result.as_ref().is_err_and(|status| status.message.ends_with(text))
}

#[test]
fn every_rpc_is_for_those_who_may() {
    let server = Server::start(&[CHEAP]);
    let grpc = Grpc::connect(server.client_addr());
    enable(&grpc);
    let token = |name: &str| login(&grpc, name, &format!("pw-{name}")).unwrap();
    let (eve, bob, root) = (token("eve"), token("bob"), token("root"));
    for &(rpc, path, _) in Unary::ALL {
        let Row { message, may, .. } = row(rpc, "k");
        let result = |token: Option<&str>| call(&grpc, token, path, &message);
        let nobody = result(None);
        assert_eq!(refused(&nobody, NOBODY), may > May::Anyone, "{path}: {nobody:?}");
        let mut forged = bob.clone();
        forged.replace_range(..1, if bob.starts_with('0') { "1" } else { "0" });
        for forged in [forged.as_str(), "", "root", "root.1"] {
            let result = result(Some(forged));
            assert_eq!(refused(&result, BAD_TOKEN), may > May::Anyone, "{path}: {result:?}");
        }
        let by_eve = result(Some(&eve));
        assert_eq!(refused(&by_eve, DENIED), may > May::Users, "{path} by eve: {by_eve:?}");
        // Each has a place of its own to wait for.
        let result =
            |token: &str, name: &str| call(&grpc, Some(token), path, &row(rpc, name).message);
        let by_bob = result(&bob, "bob");
        assert_eq!(refused(&by_bob, DENIED), may > May::Bob, "{path} by bob: {by_bob:?}");
        if rpc != Unary::AuthDisable {
            let by_root = result(&root, "root");
            for text in [DENIED, BAD_TOKEN, NOBODY] {
                assert!(!refused(&by_root, text), "{path} by root: {by_root:?}");
            }
        }
    }
    auth(&grpc, &root, "AuthDisable", &pb::AuthDisableRequest {}).unwrap();
    call(&grpc, None, "/etcdserverpb.KV/Put", &put("x").encode_to_vec()).unwrap();
}

#[test]
fn rights_follow_what_is_touched_and_returned() {
    use pb::request_op::Request as Op;

    let server = Server::start(&[CHEAP]);
    let grpc = Grpc::connect(server.client_addr());
    call(&grpc, None, "/etcdserverpb.KV/Put", &put("out").encode_to_vec()).unwrap();
    enable(&grpc);
    let bob = login(&grpc, "bob", "pw-bob").unwrap();
    let txn = |request: pb::TxnRequest| {
        call(&grpc, Some(&bob), "/etcdserverpb.KV/Txn", &request.encode_to_vec())
    };
    let op = |request| pb::RequestOp { request: Some(request) };
    let range = |key: &str, end: &str| pb::RangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        ..pb::RangeRequest::default()
    };
    let denied = |request: pb::TxnRequest| {
        let result = txn(request);
        assert!(refused(&result, DENIED), "{result:?}");
    };
    let inner = |op| pb::TxnRequest { success: vec![op], ..pb::TxnRequest::default() };
    txn(inner(op(Op::RequestRange(range("in/", "in0"))))).unwrap();
    denied(inner(op(Op::RequestRange(range("out", "")))));
    denied(inner(op(Op::RequestTxn(inner(op(Op::RequestRange(range("out", ""))))))));
    let not_taken = pb::TxnRequest {
        failure: vec![op(Op::RequestPut(put("out")))],
        ..pb::TxnRequest::default()
    };
    denied(not_taken);
    let compare = pb::Compare { key: "out".into(), ..pb::Compare::default() };
    denied(pb::TxnRequest { compare: vec![compare], ..pb::TxnRequest::default() });
    let read = |key: &str, end: &str| {
        let request = range(key, end).encode_to_vec();
        call(&grpc, Some(&bob), "/etcdserverpb.KV/Range", &request)
    };
    read("in/", "in0").unwrap();
    for (key, end) in [("in/", "in1"), ("in/", "\0"), ("in", ""), ("\0", "\0"), ("out", "in0")] {
        assert!(refused(&read(key, end), DENIED), "{key} {end:?}");
    }
    // A role acts on live tokens; another password ends them.
    let root = login(&grpc, "root", "pw-root").unwrap();
    let revoke = pb::AuthUserRevokeRoleRequest { name: "bob".into(), role: "r".into() };
    auth(&grpc, &root, "UserRevokeRole", &revoke).unwrap();
    assert!(refused(&read("in/", "in0"), DENIED));
    grant_role(&grpc, &root, "bob", "r");
    read("in/", "in0").unwrap();
    let change = pb::AuthUserChangePasswordRequest {
        name: "bob".into(),
        password: "another".into(),
        ..pb::AuthUserChangePasswordRequest::default()
    };
    auth(&grpc, &root, "UserChangePassword", &change).unwrap();
    assert!(refused(&read("in/", "in0"), BAD_TOKEN));
    assert!(login(&grpc, "bob", "pw-bob").is_err());
    assert!(login(&grpc, "bob", "another").is_ok());
}

/// What is told of keys, and what hangs on them, needs the right to it, in a transaction as well.
#[test]
fn neither_prev_kv_nor_a_lease_is_a_way_around() {
    use pb::request_op::Request as Op;

    let server = Server::start(&[CHEAP]);
    let grpc = Grpc::connect(server.client_addr());
    let lease = pb::LeaseGrantRequest { ttl: 600, id: 7 }.encode_to_vec();
    call(&grpc, None, "/etcdserverpb.Lease/LeaseGrant", &lease).unwrap();
    let out = pb::PutRequest { lease: 7, ..put("out") };
    call(&grpc, None, "/etcdserverpb.KV/Put", &out.encode_to_vec()).unwrap();
    enable(&grpc);
    let root = login(&grpc, "root", "pw-root").unwrap();
    auth(&grpc, &root, "RoleAdd", &pb::AuthRoleAddRequest { name: "w".into() }).unwrap();
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Write.into(),
        key: "wo/".into(),
        range_end: "wo0".into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "w".into(), perm: Some(perm) };
    auth(&grpc, &root, "RoleGrantPermission", &grant).unwrap();
    grant_role(&grpc, &root, "bob", "w");
    let bob = login(&grpc, "bob", "pw-bob").unwrap();

    let delete = |key: &str, prev_kv: bool| pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        prev_kv,
        ..pb::DeleteRangeRequest::default()
    };
    let told = |key: &str| pb::PutRequest { prev_kv: true, ..put(key) };
    let leased = |key: &str| pb::PutRequest { lease: 7, ..put(key) };
    let kept = pb::PutRequest { ignore_lease: true, ..put("out") };
    for (op, allowed) in [
        (Op::RequestPut(put("wo/a")), true),
        (Op::RequestPut(told("wo/a")), false),
        (Op::RequestPut(told("in/a")), true),
        (Op::RequestPut(leased("in/a")), false),
        (Op::RequestPut(kept), false),
        (Op::RequestDeleteRange(delete("wo/a", true)), false),
        (Op::RequestDeleteRange(delete("wo/a", false)), true),
        (Op::RequestDeleteRange(delete("out", false)), false),
    ] {
        let (path, message) = match &op {
            Op::RequestPut(put) => ("/etcdserverpb.KV/Put", put.encode_to_vec()),
            Op::RequestDeleteRange(delete) => {
                ("/etcdserverpb.KV/DeleteRange", delete.encode_to_vec())
            }
            _ => unreachable!("not in the table"),
        };
        let op = || pb::RequestOp { request: Some(op.clone()) };
        let txn = |op| pb::TxnRequest { success: vec![op], ..pb::TxnRequest::default() };
        let nested = pb::RequestOp { request: Some(Op::RequestTxn(txn(op()))) };
        for (path, message) in [
            (path, message),
            ("/etcdserverpb.KV/Txn", txn(op()).encode_to_vec()),
            ("/etcdserverpb.KV/Txn", txn(nested).encode_to_vec()),
        ] {
            let result = call(&grpc, Some(&bob), path, &message);
            assert_eq!(refused(&result, DENIED), !allowed, "{path} {:?}: {result:?}", op());
        }
    }
    for (path, message) in [
        ("LeaseRevoke", pb::LeaseRevokeRequest { id: 7 }.encode_to_vec()),
        ("LeaseTimeToLive", pb::LeaseTimeToLiveRequest { id: 7, keys: true }.encode_to_vec()),
        ("LeaseLeases", Vec::new()),
    ] {
        let path = format!("/etcdserverpb.Lease/{path}");
        let result = call(&grpc, Some(&bob), &path, &message);
        assert!(refused(&result, DENIED), "{path}: {result:?}");
    }
}

/// What a full store still takes, it takes from those who may.
#[test]
fn an_alarm_leaves_rights_as_they_are() {
    const FULL: &str = "etcdserver: mvcc: database space exceeded";

    let server = Server::start(&[CHEAP, "--quota-auto-disarm=false"]);
    let grpc = Grpc::connect(server.client_addr());
    enable(&grpc);
    let (root, bob, eve) = (
        login(&grpc, "root", "pw-root").unwrap(),
        login(&grpc, "bob", "pw-bob").unwrap(),
        login(&grpc, "eve", "pw-eve").unwrap(),
    );
    call(&grpc, Some(&bob), "/etcdserverpb.KV/Put", &put("in/k").encode_to_vec()).unwrap();
    let status: pb::StatusResponse = grpc
        .unary_with(&[("token", &root)], "/etcdserverpb.Maintenance/Status", &pb::StatusRequest {})
        .unwrap();
    let raise = pb::AlarmRequest { action: 1, alarm: 1, member_id: status.leader };
    let path = "/etcdserverpb.Maintenance/Alarm";
    call(&grpc, Some(&root), path, &raise.encode_to_vec()).unwrap();
    for &(rpc, path, _) in Unary::ALL {
        let Row { message, may, .. } = row(rpc, "k");
        let nobody = call(&grpc, None, path, &message);
        assert_eq!(refused(&nobody, NOBODY), may > May::Anyone, "{path}: {nobody:?}");
        let by_eve = call(&grpc, Some(&eve), path, &message);
        // The lease for these would take room, and is asked for first.
        let full = matches!(rpc, Unary::Lock | Unary::Campaign) && refused(&by_eve, FULL);
        assert_eq!(refused(&by_eve, DENIED) || full, may > May::Users, "{path}: {by_eve:?}");
    }
    let mut http = Client::new(server.client_addr());
    for (method, target, body) in [
        ("DELETE", "/v2/keys/in/k", ""),
        ("PUT", "/v2/keys/in/k", "value=v"),
        ("PUT", "/v2/auth/users/eve", r#"{"user":"eve","grant":["root"]}"#),
        ("DELETE", "/v2/auth/enable", ""),
        ("DELETE", "/kv?key=in/k", ""),
        ("PUT", "/kv?key=in/k", "v"),
    ] {
        for value in [None, Some("Basic ZXZlOnB3LWV2ZQ==")] {
            let mut request = Request::new(method, target).body(body);
            if let Some(value) = value {
                request = request.header("Authorization", value);
            }
            let answer = http.send(&request).unwrap();
            let (status, text) = (answer.status(), answer.text());
            assert!(matches!(status, 401 | 403), "{method} {target}: {status} {text}");
        }
    }
    let full = call(&grpc, Some(&bob), "/etcdserverpb.KV/Put", &put("in/k").encode_to_vec());
    assert!(refused(&full, FULL), "{full:?}");
    let delete = pb::DeleteRangeRequest { key: "in/k".into(), ..Default::default() };
    call(&grpc, Some(&bob), "/etcdserverpb.KV/DeleteRange", &delete.encode_to_vec()).unwrap();
}

#[test]
fn a_watch_ends_with_its_right() {
    const REASON: &str = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";

    let server = Server::start(&[CHEAP]);
    let grpc = Grpc::connect(server.client_addr());
    enable(&grpc);
    let token = |name: &str| login(&grpc, name, &format!("pw-{name}")).unwrap();
    let (bob, root) = (token("bob"), token("root"));
    let create = |key: &str, end: &str| pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(
            pb::WatchCreateRequest {
                key: key.to_owned().into(),
                range_end: end.to_owned().into(),
                ..pb::WatchCreateRequest::default()
            },
        )),
    };
    let mut watch = grpc.stream_with(&[("token", &bob)], "/etcdserverpb.Watch/Watch");
    let mut next = |request: Option<pb::WatchRequest>| -> pb::WatchResponse {
        if let Some(request) = request {
            watch.send(&request);
        }
        watch.recv().unwrap().expect("the stream goes on")
    };
    for (key, end) in [("in/", "\0"), ("out", ""), ("\0", "\0")] {
        let refused = next(Some(create(key, end)));
        assert!(refused.created && refused.canceled && refused.watch_id == -1, "{refused:?}");
        assert_eq!(refused.cancel_reason, REASON);
    }
    assert!(!next(Some(create("in/", "in0"))).canceled);
    let put = put("in/k").encode_to_vec();
    let put = || call(&grpc, Some(&root), "/etcdserverpb.KV/Put", &put).unwrap();
    put();
    assert_eq!(next(None).events.len(), 1);
    // A change that is none of its business leaves it alone.
    auth(&grpc, &root, "RoleAdd", &pb::AuthRoleAddRequest { name: "s".into() }).unwrap();
    put();
    assert_eq!(next(None).events.len(), 1);
    let revoke = pb::AuthUserRevokeRoleRequest { name: "bob".into(), role: "r".into() };
    auth(&grpc, &root, "UserRevokeRole", &revoke).unwrap();
    let last = next(None);
    assert!(last.canceled && last.events.is_empty(), "{last:?}");
    assert_eq!(last.cancel_reason, REASON);
}

/// The RPCs with many answers are no way round the rights.
#[test]
fn streams_ask_who_calls() {
    let server = Server::start(&[CHEAP]);
    let grpc = Grpc::connect(server.client_addr());
    enable(&grpc);
    let (bob, root) = (login(&grpc, "bob", "pw-bob").unwrap(), login(&grpc, "root", "pw-root"));
    let root = root.unwrap();
    let range = |key: &str| pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let election = |name: &str| v3electionpb::LeaderRequest { name: name.to_owned().into() };
    let renewal = pb::LeaseKeepAliveRequest { id: 1 }.encode_to_vec();
    for (path, message, as_bob) in [
        ("/etcdserverpb.KV/RangeStream", range("in/k").encode_to_vec(), None),
        ("/etcdserverpb.KV/RangeStream", range("out").encode_to_vec(), Some(DENIED)),
        ("/etcdserverpb.Maintenance/Snapshot", Vec::new(), Some(DENIED)),
        ("/etcdserverpb.Lease/LeaseKeepAlive", renewal, None),
        ("/v3electionpb.Election/Observe", election("out").encode_to_vec(), Some(DENIED)),
    ] {
        let result = call(&grpc, None, path, &message);
        assert!(refused(&result, NOBODY), "{path}: {result:?}");
        let result = call(&grpc, Some("forged.1"), path, &message);
        assert!(refused(&result, BAD_TOKEN), "{path}: {result:?}");
        let result = call(&grpc, Some(&bob), path, &message);
        match as_bob {
            None => assert!(result.is_ok(), "{path}: {result:?}"),
            Some(text) => assert!(refused(&result, text), "{path}: {result:?}"),
        }
    }
    // One that goes on ends with the right.
    let message = frame(0, &election("in").encode_to_vec());
    let mut observed = grpc.stream_with(&[("token", &bob)], "/v3electionpb.Election/Observe");
    observed.send_bytes(message, true);
    let lead = put("in/k").encode_to_vec();
    let lead = || call(&grpc, Some(&root), "/etcdserverpb.KV/Put", &lead).unwrap();
    lead();
    assert!(observed.recv_bytes().unwrap().is_some());
    let revoke = pb::AuthUserRevokeRoleRequest { name: "bob".into(), role: "r".into() };
    auth(&grpc, &root, "UserRevokeRole", &revoke).unwrap();
    assert_eq!(observed.end().message, DENIED);
}

#[test]
fn users_outlive_a_restart_and_nothing_secret_is_written() {
    let mut server = Server::start(&[CHEAP, "--log-level=debug"]);
    let grpc = Grpc::connect(server.client_addr());
    enable(&grpc);
    let bob = login(&grpc, "bob", "pw-bob").unwrap();
    let mut client = Client::new(server.client_addr());
    let v2 = r#"{"user":"carl","password":"pw-over-v2"}"#;
    let put = Request::new("PUT", "/v2/auth/users/carl").body(v2);
    let put = put.header("Authorization", "Basic cm9vdDpwdy1yb290");
    assert_eq!(client.send(&put).unwrap().status(), 201);
    for wrong in ["Basic Y2FybDpwdy1ndWVzc2Vk", "Basic bm9ib2R5OnB3LWd1ZXNzZWQ="] {
        let get = Request::new("GET", "/kv/in/k").header("Authorization", wrong);
        assert_eq!(client.send(&get).unwrap().status(), 401);
    }
    let log = server.log();
    server.terminate();
    let token = bob.split_once('.').unwrap().0;
    for secret in ["pw-bob", "pw-root", "pw-over-v2", "pw-guessed", "cm9vdDpwdy1yb290", token] {
        assert!(!holds(server.data_dir().as_path(), secret.as_bytes()), "{secret} is in a file");
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(!log.contains("$2b$"), "not even a hash is in the log");
    server.spawn();
    server.wait_ready();
    let grpc = Grpc::connect(server.client_addr());
    let read = pb::RangeRequest { key: "in/k".into(), ..pb::RangeRequest::default() };
    let result = call(&grpc, None, "/etcdserverpb.KV/Range", &read.encode_to_vec());
    assert!(refused(&result, NOBODY), "{result:?}");
    let bob = login(&grpc, "bob", "pw-bob").unwrap();
    call(&grpc, Some(&bob), "/etcdserverpb.KV/Range", &read.encode_to_vec()).unwrap();
}

/// Whether a file below `dir` holds these bytes.
fn holds(dir: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        let content = std::fs::read(path).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn a_token_of_one_member_is_good_for_all() {
    let cluster = Cluster::start(3, &[CHEAP]);
    let clients: Vec<Grpc> = (0..3).map(|n| Grpc::connect(cluster.client(n).addr())).collect();
    enable(&clients[0]);
    let put = put("in/k").encode_to_vec();
    for (at, grpc) in clients.iter().enumerate() {
        let bob = login(grpc, "bob", "pw-bob").unwrap();
        for (elsewhere, grpc) in clients.iter().enumerate() {
            call(grpc, Some(&bob), "/etcdserverpb.KV/Put", &put)
                .unwrap_or_else(|status| panic!("{at} to {elsewhere}: {status:?}"));
        }
    }
}

#[test]
fn v2_knows_the_same_users() {
    let server = Server::start(&[CHEAP, "--enable-v2"]);
    let grpc = Grpc::connect(server.client_addr());
    let root = {
        enable(&grpc);
        login(&grpc, "root", "pw-root").unwrap()
    };
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: "/in/".into(),
        range_end: "/in0".into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
    auth(&grpc, &root, "RoleGrantPermission", &grant).unwrap();
    let mut client = Client::new(server.client_addr());
    let none = None;
    let (bob, eve, wrong) =
        (Some("Basic Ym9iOnB3LWJvYg=="), Some("Basic ZXZlOnB3LWV2ZQ=="), Some("Basic Ym9iOng="));
    let root = Some("Basic cm9vdDpwdy1yb290");
    for (method, target, as_whom, status) in [
        ("PUT", "/config/local/log", none, 401),
        ("PUT", "/config/local/log", bob, 401),
        ("PUT", "/config/local/log", root, 400), // let in, and told that there is no level
        ("PUT", "/v2/keys/in/a", bob, 201),
        ("PUT", "/v2/keys/in/a", none, 401),
        ("PUT", "/v2/keys/in/a", eve, 401),
        ("PUT", "/v2/keys/in/a", wrong, 401),
        ("PUT", "/v2/keys/in/a", Some("Bearer x"), 401),
        ("PUT", "/v2/keys/out", bob, 401),
        ("PUT", "/v2/keys/out", root, 201),
        ("GET", "/v2/keys/in/a", bob, 200),
        ("GET", "/v2/keys/in/a?quorum=true", bob, 200),
        ("GET", "/v2/keys/in/", bob, 200),
        ("GET", "/v2/keys/in", bob, 401),
        ("GET", "/v2/keys/out", bob, 401),
        ("GET", "/v2/keys/out?quorum=true", bob, 401),
        ("GET", "/v2/keys/out?wait=true", bob, 401),
        ("GET", "/v2/keys/?wait=true&recursive=true", bob, 401),
        ("GET", "/v2/keys/?recursive=true", bob, 401),
        ("GET", "/v2/keys/?recursive=true", root, 200),
        ("DELETE", "/v2/keys/in/a", none, 401),
        ("DELETE", "/v2/keys/in/a", bob, 200),
        ("POST", "/v2/keys/out", bob, 401),
        ("GET", "/v2/members", none, 200),
        ("DELETE", "/v2/members/1", none, 401),
        ("DELETE", "/v2/members/1", bob, 401),
        ("DELETE", "/v2/members/1", root, 404),
        ("POST", "/v2/members", eve, 401),
    ] {
        let mut request = Request::new(method, target);
        if let Some(value) = as_whom {
            request = request.header("Authorization", value);
        }
        if method == "PUT" {
            request = request.form(&[("value", "v")]);
        }
        let answer = client.send(&request).unwrap();
        assert_eq!(answer.status(), status, "{method} {target} {as_whom:?}: {}", answer.text());
        if status == 401 && target.starts_with("/v2/keys") {
            let expected = "{\"errorCode\":110,\"message\":\"The request requires user authentication\",\"cause\":\"Insufficient credentials\",\"index\":0}\n";
            assert_eq!(answer.text(), expected);
        } else if status == 401 {
            assert_eq!(answer.text(), "{\"message\":\"Insufficient credentials\"}");
        }
    }
}
