//! Whoever loses a right, or is gone, loses at once what it had open: watches of every door, observers,
//! those who wait for their turn. Nothing is written after the right has gone, so that no event can be
//! what ends them.

mod support;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use callboard::http::v3::pb::{authpb, etcdserverpb as pb, v3electionpb, v3lockpb};
use prost::Message;
use support::{
    clock::poll,
    cluster::Cluster,
    grpc::{Call, Grpc, Status, frame},
    http::{Client, Incoming, Request},
    rights::put,
    server::Server,
};

const PATIENCE: Duration = Duration::from_secs(20);
const DENIED: &str = "etcdserver: permission denied";
const BOB: &str = "Basic Ym9iOnB3LWJvYg==";

fn auth<M: Message>(grpc: &Grpc, token: &str, method: &str, request: &M) -> Result<(), Status> {
    let path = format!("/etcdserverpb.Auth/{method}");
    let mut call = grpc.stream_with(&[("token", token)], &path);
    call.send_bytes(frame(0, &request.encode_to_vec()), true);
    call.recv_bytes().map(drop)
}

fn login(grpc: &Grpc, name: &str) -> String {
    let request = pb::AuthenticateRequest { name: name.into(), password: format!("pw-{name}") };
    let answer: pb::AuthenticateResponse =
        grpc.unary("/etcdserverpb.Auth/Authenticate", &request).unwrap();
    answer.token
}

/// Users root, bob and ann; the latter two may read and write `/in/`. Authentication is on.
fn enable(grpc: &Grpc) {
    for user in ["root", "bob", "ann"] {
        let (name, password) = (user.to_owned(), format!("pw-{user}"));
        let request = pb::AuthUserAddRequest { name, password, ..Default::default() };
        auth(grpc, "", "UserAdd", &request).unwrap();
    }
    auth(grpc, "", "RoleAdd", &pb::AuthRoleAddRequest { name: "r".into() }).unwrap();
    auth(grpc, "", "RoleGrantPermission", &permission()).unwrap();
    for (user, role) in [("root", "root"), ("bob", "r"), ("ann", "r")] {
        grant(grpc, "", user, role);
    }
    auth(grpc, "", "AuthEnable", &pb::AuthEnableRequest {}).unwrap();
}

fn permission() -> pb::AuthRoleGrantPermissionRequest {
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: "/in/".into(),
        range_end: "/in0".into(),
    };
    pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) }
}

fn grant(grpc: &Grpc, token: &str, user: &str, role: &str) {
    let request = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
    auth(grpc, token, "UserGrantRole", &request).unwrap();
}

/// What bob has open.
struct Open {
    v3: Call,
    observed: Call,
    locking: Call,
    gateway: Incoming,
    poll: Incoming,
    stream: Incoming,
    events: Incoming,
    /// A wait at `/kv` answers when it is over, not before.
    wait: std::thread::JoinHandle<(u16, String)>,
}

impl Open {
    fn new(server: &Server, grpc: &Grpc, token: &str) -> Open {
        let create = pb::WatchCreateRequest {
            key: "/in/w/".into(),
            range_end: "/in/w0".into(),
            ..pb::WatchCreateRequest::default()
        };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        let mut v3 = grpc.stream_with(&[("token", token)], "/etcdserverpb.Watch/Watch");
        v3.send(&pb::WatchRequest { request_union: Some(union) });
        assert!(v3.recv::<pb::WatchResponse>().unwrap().unwrap().created);

        let mut observed = grpc.stream_with(&[("token", token)], "/v3electionpb.Election/Observe");
        let leader = v3electionpb::LeaderRequest { name: "/in/e".into() };
        observed.send_bytes(frame(0, &leader.encode_to_vec()), true);
        assert!(observed.recv_bytes().unwrap().is_some(), "somebody leads");

        let mut locking = grpc.stream_with(&[("token", token)], "/v3lockpb.Lock/Lock");
        let lock = v3lockpb::LockRequest { name: "/in/lock".into(), lease: 0 };
        locking.send_bytes(frame(0, &lock.encode_to_vec()), true);

        let open = |request: Request| {
            let opened = Incoming::open(server.client_addr(), &request, PATIENCE).unwrap();
            assert_eq!(opened.head.status, 200);
            opened
        };
        let key = STANDARD.encode("/in/k");
        let body = format!(r#"{{"create_request":{{"key":"{key}"}}}}"#);
        let request = Request::new("POST", "/v3/watch").header("Authorization", token).body(body);
        let mut gateway = open(request);
        gateway.next_line(PATIENCE).unwrap().expect("it is created");
        let get = |target: &str| Request::new("GET", target).header("Authorization", BOB);
        let mut events = open(get("/kv/in/w/?prefix").header("Accept", "text/event-stream"));
        events.next_line(PATIENCE).unwrap().expect("a comment");
        let (addr, request) = (server.client_addr(), get("/kv/in/k?wait"));
        let wait = std::thread::spawn(move || {
            let answer = Client::new(addr).send(&request).unwrap();
            (answer.status(), answer.text())
        });
        Open {
            v3,
            observed,
            locking,
            gateway,
            poll: open(get("/v2/keys/in/k?wait=true")),
            stream: open(get("/v2/keys/in/w/?wait=true&stream=true&recursive=true")),
            events,
            wait,
        }
    }

    fn ends(mut self, reason: &str) {
        let last: pb::WatchResponse = self.v3.recv().unwrap().unwrap();
        assert!(last.canceled && last.events.is_empty(), "{last:?}");
        assert!(last.cancel_reason.ends_with(reason), "{last:?}");
        assert_eq!(self.observed.end().message, reason);
        assert_eq!(self.locking.end().message, reason);
        let line = self.gateway.next_line(PATIENCE).unwrap().expect("it is told");
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains(r#""canceled":true"#) && line.contains(reason), "{line}");
        // The head of these has gone long ago: they end without a word.
        assert_eq!(self.poll.rest(PATIENCE).unwrap(), b"");
        assert_eq!(self.stream.rest(PATIENCE).unwrap(), b"");
        let rest = String::from_utf8(self.events.rest(PATIENCE).unwrap()).unwrap();
        assert!(rest.contains("event: error") && rest.contains(reason), "{rest}");
        let (status, text) = self.wait.join().unwrap();
        assert!(matches!(status, 401 | 403) && text.contains(reason), "{status} {text}");
    }
}

/// Waits until the server has so many watches, and bob waits for the lock behind root.
fn wait_until_open(server: &Server, grpc: &Grpc, root: &str) {
    let mut client = Client::new(server.client_addr());
    poll(PATIENCE, || {
        let text = client.get("/metrics").unwrap().text();
        let watchers =
            text.lines().find(|line| line.starts_with("etcd_debugging_mvcc_watcher_total"));
        let range = pb::RangeRequest {
            key: "/in/lock/".into(),
            range_end: "/in/lock0".into(),
            ..pb::RangeRequest::default()
        };
        let path = "/etcdserverpb.KV/Range";
        let locks: pb::RangeResponse = grpc.unary_with(&[("token", root)], path, &range).unwrap();
        let enough = watchers.is_some_and(|line| line.ends_with(" 6")) && locks.count == 2;
        enough.then_some(())
    })
    .expect("all is open");
}

#[test]
fn what_is_open_ends_with_the_right_or_the_user() {
    let server = Server::start(&["--bcrypt-cost=4"]);
    let grpc = Grpc::connect(server.client_addr());
    enable(&grpc);
    let root = login(&grpc, "root");
    let as_root = |path: &str, message: Vec<u8>| {
        let mut call = grpc.stream_with(&[("token", &root)], path);
        call.send_bytes(frame(0, &message), true);
        call.recv_bytes().unwrap();
    };
    as_root("/etcdserverpb.KV/Put", put("/in/e/1").encode_to_vec());
    let lock = v3lockpb::LockRequest { name: "/in/lock".into(), lease: 0 };
    as_root("/v3lockpb.Lock/Lock", lock.encode_to_vec());
    let forget_places = || {
        let first = pb::RangeRequest {
            key: "/in/lock/".into(),
            range_end: "/in/lock0".into(),
            sort_target: 2,
            sort_order: 1,
            ..pb::RangeRequest::default()
        };
        let places: pb::RangeResponse =
            grpc.unary_with(&[("token", &root)], "/etcdserverpb.KV/Range", &first).unwrap();
        for place in places.kvs.iter().skip(1) {
            let key = place.to_loose().key;
            let delete = pb::DeleteRangeRequest { key, ..Default::default() };
            as_root("/etcdserverpb.KV/DeleteRange", delete.encode_to_vec());
        }
    };

    let revoke_role = pb::AuthUserRevokeRoleRequest { name: "bob".into(), role: "r".into() };
    let revoke_permission = pb::AuthRoleRevokePermissionRequest {
        role: "r".into(),
        key: "/in/".into(),
        range_end: "/in0".into(),
    };
    let change_password = pb::AuthUserChangePasswordRequest {
        name: "bob".into(),
        password: "pw-bob".into(),
        ..Default::default()
    };
    let delete = pb::AuthUserDeleteRequest { name: "bob".into() };
    let changes: [(&str, Vec<u8>, &str); 4] = [
        ("UserRevokeRole", revoke_role.encode_to_vec(), DENIED),
        ("RoleRevokePermission", revoke_permission.encode_to_vec(), DENIED),
        ("UserChangePassword", change_password.encode_to_vec(), "etcdserver: invalid auth token"),
        ("UserDelete", delete.encode_to_vec(), "etcdserver: invalid auth token"),
    ];
    for (method, message, reason) in changes {
        let bob = login(&grpc, "bob");
        let open = Open::new(&server, &grpc, &bob);
        wait_until_open(&server, &grpc, &root);
        // What is none of bob's business leaves all as it is.
        grant(&grpc, &root, "ann", "root");
        let take = pb::AuthUserRevokeRoleRequest { name: "ann".into(), role: "root".into() };
        auth(&grpc, &root, "UserRevokeRole", &take).unwrap();
        as_root(&format!("/etcdserverpb.Auth/{method}"), message);
        open.ends(reason);
        forget_places();
        if method != "UserDelete" {
            auth(&grpc, &root, "RoleGrantPermission", &permission()).unwrap();
            grant(&grpc, &root, "bob", "r");
        }
    }
}

#[test]
fn leases_are_kept_alive_for_those_who_are_someone() {
    let server = Server::start(&["--bcrypt-cost=4"]);
    let grpc = Grpc::connect(server.client_addr());
    enable(&grpc);
    let (root, bob) = (login(&grpc, "root"), login(&grpc, "bob"));
    let mut renewing = grpc.stream_with(&[("token", &bob)], "/etcdserverpb.Lease/LeaseKeepAlive");
    renewing.send(&pb::LeaseKeepAliveRequest { id: 1 });
    assert!(renewing.recv_bytes().unwrap().is_some());
    let delete = pb::AuthUserDeleteRequest { name: "bob".into() };
    auth(&grpc, &root, "UserDelete", &delete).unwrap();
    renewing.send(&pb::LeaseKeepAliveRequest { id: 1 });
    assert_eq!(renewing.end().message, "etcdserver: invalid auth token");
}

/// An answer that is still being read ends where the right does.
#[test]
fn a_long_answer_ends_with_the_right() {
    const VALUE_BYTES: usize = 256 << 10;
    const KEYS: usize = 64;

    let server = Server::start(&["--bcrypt-cost=4"]);
    let grpc = Grpc::connect(server.client_addr());
    for number in 0..KEYS {
        let request = pb::PutRequest {
            value: vec![b'v'; VALUE_BYTES].into(),
            ..put(&format!("/in/{number}"))
        };
        let put: Result<pb::PutResponse, _> = grpc.unary("/etcdserverpb.KV/Put", &request);
        put.unwrap();
    }
    enable(&grpc);
    let root = login(&grpc, "root");
    grant(&grpc, &root, "ann", "root");
    let range = pb::RangeRequest {
        key: "/in/".into(),
        range_end: "/in0".into(),
        ..pb::RangeRequest::default()
    };
    for (user, role, path, message) in [
        ("bob", "r", "/etcdserverpb.KV/RangeStream", range.encode_to_vec()),
        ("ann", "root", "/etcdserverpb.Maintenance/Snapshot", Vec::new()),
    ] {
        let token = login(&grpc, user);
        let mut reading = grpc.stream_with(&[("token", &token)], path);
        reading.send_bytes(frame(0, &message), true);
        assert!(reading.recv_bytes().unwrap().is_some());
        let revoke = pb::AuthUserRevokeRoleRequest { name: user.into(), role: role.into() };
        auth(&grpc, &root, "UserRevokeRole", &revoke).unwrap();
        // The client has not read on: little more than a piece can be on its way.
        let mut bytes = 0;
        let ended = loop {
            match reading.recv_bytes() {
                Ok(Some(piece)) => bytes += piece.len(),
                Ok(None) => panic!("{path} came to its end"),
                Err(status) => break status,
            }
        };
        assert_eq!(ended.message, DENIED, "{path}");
        assert!(bytes < KEYS * VALUE_BYTES / 2, "{path}: {bytes}");
    }
}

/// Also at a member that does not lead, which learns of it from the log.
#[test]
fn a_watch_at_a_follower_ends_too_and_v2_manages_users_there() {
    let cluster = Cluster::start(3, &["--bcrypt-cost=4"]);
    let follower = (0..3).find(|&n| n != cluster.leader()).unwrap();
    let mut v2 = cluster.client(follower);
    let mut ask = |method: &str, target: &str, body: &str, who: Option<&str>| {
        let mut request = Request::new(method, target).body(body);
        if let Some(who) = who {
            request = request.header("Authorization", who);
        }
        let answer = v2.send(&request).unwrap();
        (answer.status(), answer.text())
    };
    let as_root = format!("Basic {}", STANDARD.encode("root:pw"));
    let root = Some(as_root.as_str());
    let put = |name: &str| format!("/v2/auth/{name}");
    for (target, body, status) in [
        ("users/root", r#"{"user":"root","password":"pw"}"#, 201),
        ("users/bob", r#"{"user":"bob","password":"pw-bob"}"#, 201),
        ("roles/r", r#"{"role":"r","permissions":{"kv":{"read":["/in/*"]}}}"#, 201),
        ("users/bob", r#"{"user":"bob","grant":["r"]}"#, 200),
        ("enable", "", 200),
    ] {
        let (found, text) = ask("PUT", &put(target), body, None);
        assert_eq!(found, status, "{target}: {text}");
    }
    let addr = cluster.client(follower).addr();
    let request = Request::new("GET", "/v2/keys/in/a?wait=true").header("Authorization", BOB);
    let mut watch = Incoming::open(addr, &request, PATIENCE).unwrap();
    assert_eq!(watch.head.status, 200);
    let body = r#"{"role":"r","revoke":{"kv":{"read":["/in/*"]}}}"#;
    assert_eq!(ask("PUT", &put("roles/r"), body, root).0, 200);
    assert_eq!(watch.rest(PATIENCE).unwrap(), b"");
    // All members have the same users.
    for n in 0..3 {
        let shown = cluster.eventually(n, |client| {
            let request = Request::new("GET", "/v2/auth/users");
            let answer = client.send(&request.header("Authorization", &as_root)).ok()?;
            (answer.status() == 200).then(|| answer.text())
        });
        assert!(shown.contains(r#"{"user":"bob","roles":[{"role":"r""#), "{shown}");
    }
}
