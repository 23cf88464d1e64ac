//! Every RPC through gRPC and the gateway, and every route of HTTP, for everyone: without credentials, with
//! wrong ones, for a user without the right, one with it, root, and for those who show a certificate alone.
//! What is not in a table is refused by the compiler (RPCs), or has its row here (routes).

mod support;

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use callboard::http::v3::{
    methods::{Streaming, Unary},
    pb::{authpb, etcdserverpb as pb},
};
use prost::Message;
use support::{
    grpc::{Grpc, frame},
    http::{Client, Incoming, Request},
    rights::{May, Row, row, streaming_row},
    server::{Server, free_addrs},
    tunnel::{make_certificates, tunnel},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What every refusal for want of rights says, at one door or another.
const REFUSALS: [&str; 5] = [
    "etcdserver: user name is empty",
    "etcdserver: invalid auth token",
    "etcdserver: permission denied",
    "Insufficient credentials",
    "invalid user ID or password",
];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Wrong,
    Eve,
    Bob,
    Root,
    /// By certificate alone, with this common name.
    Shows(&'static str),
}

const EVERYONE: [Who; 9] = [
    Who::Nobody,
    Who::Wrong,
    Who::Eve,
    Who::Bob,
    Who::Root,
    Who::Shows("eve"),
    Who::Shows("bob"),
    Who::Shows("root"),
    Who::Shows("stranger"),
];

impl Who {
    fn may(self, what: May) -> bool {
        match self {
            Who::Nobody | Who::Wrong | Who::Shows("stranger" | "nameless") => what == May::Anyone,
            Who::Eve | Who::Shows("eve") => what <= May::Users,
            Who::Bob | Who::Shows("bob") => what <= May::Bob,
            Who::Root | Who::Shows(_) => true,
        }
    }
}

/// A server that speaks TLS and plain text, and its users: root, bob, who may read and write below `in/`
/// and `/in/`, and eve. A certificate for each, one for a stranger, and one without a name.
struct Scene {
    server: Server,
    plain: SocketAddr,
    tunnels: Vec<(&'static str, SocketAddr)>,
    tokens: Vec<(Who, String)>,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let names = ["server", "root", "bob", "eve", "stranger", "nameless"];
        let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
        make_certificates(dir.path(), &names);
        let [tls, plain, peer] = free_addrs();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut server = Server::of_flags(plain, peer, |data_dir| {
            vec![
                "serve".to_owned(),
                format!("--data-dir={}", data_dir.display()),
                format!("--listen-client-urls=http://{plain},https://{tls}"),
                format!("--advertise-client-urls=https://{tls}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster=default=http://{peer}"),
                format!("--cert-file={}", path("server.crt")),
                format!("--key-file={}", path("server.key")),
                format!("--trusted-ca-file={}", path("ca.crt")),
                "--client-cert-auth".to_owned(),
                "--metrics-auth".to_owned(),
                "--bcrypt-cost=4".to_owned(),
            ]
        });
        server.spawn();
        server.wait_ready();
        let tunnels = names[1..].iter().map(|&name| (name, tunnel(tls, dir.path(), name)));
        let tunnels = tunnels.collect();
        let grpc = Grpc::connect(plain);
        make_users(&grpc);
        let tokens = [(Who::Eve, "eve"), (Who::Bob, "bob"), (Who::Root, "root")];
        let tokens = tokens.map(|(who, name)| (who, token(&grpc, name)));
        Scene { server, plain, tunnels, tokens: tokens.to_vec(), _dir: dir }
    }

    /// Where to call.
    fn addr(&self, who: Who) -> SocketAddr {
        let Who::Shows(name) = who else { return self.plain };
        self.tunnels.iter().find(|tunnel| tunnel.0 == name).expect("there is a tunnel").1
    }

    /// What is shown beside a certificate where tokens are taken.
    fn token(&self, who: Who) -> Option<String> {
        match who {
            Who::Nobody | Who::Shows(_) => None,
            Who::Wrong => Some(format!("{:032x}.1", 1)),
            _ => self.tokens.iter().find(|token| token.0 == who).map(|token| token.1.clone()),
        }
    }
}

fn make_users(grpc: &Grpc) {
    let call = |method: &str, message: Vec<u8>| {
        let mut call = grpc.stream(&format!("/etcdserverpb.Auth/{method}"));
        call.send_bytes(frame(0, &message), true);
        call.recv_bytes().unwrap();
    };
    for name in ["root", "bob", "eve"] {
        let (name, password) = (name.to_owned(), format!("pw-{name}"));
        let user = pb::AuthUserAddRequest { name, password, ..Default::default() };
        call("UserAdd", user.encode_to_vec());
    }
    call("RoleAdd", pb::AuthRoleAddRequest { name: "r".into() }.encode_to_vec());
    for (key, end) in [("in/", "in0"), ("/in/", "/in0")] {
        let perm = authpb::Permission {
            perm_type: authpb::permission::Type::Readwrite.into(),
            key: key.into(),
            range_end: end.into(),
        };
        let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
        call("RoleGrantPermission", grant.encode_to_vec());
    }
    for (user, role) in [("root", "root"), ("bob", "r")] {
        let grant = pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        call("UserGrantRole", grant.encode_to_vec());
    }
    call("AuthEnable", Vec::new());
}

fn token(grpc: &Grpc, name: &str) -> String {
    let request = pb::AuthenticateRequest { name: name.into(), password: format!("pw-{name}") };
    let answer: pb::AuthenticateResponse =
        grpc.unary("/etcdserverpb.Auth/Authenticate", &request).unwrap();
    answer.token
}

fn is_refusal(text: &str) -> bool {
    REFUSALS.iter().any(|refusal| text.contains(refusal))
}

/// All RPCs: the gRPC path, that at the gateway, and whether there are many answers.
fn all_rpcs() -> Vec<(&'static str, Option<&'static str>, bool)> {
    let unary = Unary::ALL.iter().map(|row| (row.1, row.2.first().copied(), false));
    let streaming = Streaming::ALL.iter().map(|row| (row.1, row.2, true));
    unary.chain(streaming).collect()
}

/// The request for one of them.
fn request(of: usize, name: &str) -> Row {
    match Unary::ALL.get(of) {
        Some(unary) => row(unary.0, name),
        None => streaming_row(Streaming::ALL[of - Unary::ALL.len()].0),
    }
}

/// Whether this call would end what the others are for.
fn ends_it_all(path: &str, who: Who) -> bool {
    who.may(May::Root) && path.ends_with("Auth/AuthDisable")
}

#[test]
fn every_rpc_over_grpc() {
    let scene = Scene::new();
    let clients: Vec<Grpc> =
        EVERYONE.into_iter().map(|who| Grpc::connect(scene.addr(who))).collect();
    for (of, &(path, ..)) in all_rpcs().iter().enumerate() {
        for (at, who) in EVERYONE.into_iter().enumerate() {
            if ends_it_all(path, who) {
                continue;
            }
            let (grpc, token) = (&clients[at], scene.token(who));
            let metadata: Vec<_> = token.iter().map(|token| ("token", token.as_str())).collect();
            let row = request(of, &at.to_string());
            let mut call = grpc.stream_with(&metadata, path);
            call.send_bytes(frame(0, &row.message), true);
            let said = match call.recv_bytes() {
                Ok(first) => String::from_utf8_lossy(&first.unwrap_or_default()).into_owned(),
                Err(status) => status.message,
            };
            call.cancel();
            assert_eq!(is_refusal(&said), !who.may(row.may), "{path} by {who:?}: {said}");
        }
    }
}

#[test]
fn every_rpc_at_the_gateway() {
    let scene = Scene::new();
    for (of, &(grpc_path, path, is_stream)) in all_rpcs().iter().enumerate() {
        for (at, who) in EVERYONE.into_iter().enumerate() {
            let Some(path) = path.filter(|_| !ends_it_all(grpc_path, who)) else { continue };
            let (token, row) = (scene.token(who), request(of, &at.to_string()));
            let mut request = Request::new("POST", path).body(row.json.to_vec());
            if let Some(token) = &token {
                request = request.header("Authorization", token);
            }
            let said = if is_stream {
                let mut open = Incoming::open(scene.addr(who), &request, PATIENCE).unwrap();
                let said = match open.head.status {
                    200 => open.next_line(PATIENCE).unwrap().unwrap_or_default(),
                    _ => open.rest(PATIENCE).unwrap(),
                };
                String::from_utf8_lossy(&said).into_owned()
            } else {
                Client::new(scene.addr(who)).send(&request).unwrap().text()
            };
            assert_eq!(is_refusal(&said), !who.may(row.may), "{path} by {who:?}: {said}");
        }
    }
}

/// Every route that is no RPC: method, target, body, and who may.
const ROUTES: [(&str, &str, &str, May); 58] = [
    ("GET", "/version", "", May::Anyone),
    ("GET", "/health", "", May::Anyone),
    ("GET", "/livez", "", May::Anyone),
    ("GET", "/readyz", "", May::Anyone),
    ("GET", "/metrics", "", May::Root),
    ("HEAD", "/metrics", "", May::Root),
    ("PUT", "/config/local/log", "{}", May::Root),
    ("OPTIONS", "/v2/keys/in/a", "", May::Anyone),
    ("GET", "/v2/machines", "", May::Anyone),
    ("HEAD", "/v2/machines", "", May::Anyone),
    ("GET", "/v2/stats/self", "", May::Anyone),
    ("GET", "/v2/stats/leader", "", May::Anyone),
    ("GET", "/v2/stats/store", "", May::Anyone),
    ("GET", "/v2/members", "", May::Anyone),
    ("GET", "/v2/members/leader", "", May::Anyone),
    ("POST", "/v2/members", "{}", May::Root),
    ("PUT", "/v2/members/1", "{}", May::Root),
    ("DELETE", "/v2/members/1", "", May::Root),
    ("GET", "/v2/auth/enable", "", May::Anyone),
    ("PUT", "/v2/auth/enable", "", May::Root),
    ("GET", "/v2/auth/users", "", May::Root),
    ("GET", "/v2/auth/users/bob", "", May::Root),
    ("PUT", "/v2/auth/users/bob", "{}", May::Root),
    ("DELETE", "/v2/auth/users/absent", "", May::Root),
    ("GET", "/v2/auth/roles", "", May::Root),
    ("GET", "/v2/auth/roles/r", "", May::Root),
    ("PUT", "/v2/auth/roles/r", "{}", May::Root),
    ("DELETE", "/v2/auth/roles/absent", "", May::Root),
    ("PUT", "/v2/keys/in/a", "value=v", May::Bob),
    ("PUT", "/v2/keys/in/a?prevValue=x", "value=v", May::Bob),
    ("PUT", "/v2/keys/in/d?dir=true&prevExist=false", "", May::Bob),
    ("POST", "/v2/keys/in/d/", "value=v", May::Bob),
    ("GET", "/v2/keys/in/a", "", May::Bob),
    ("HEAD", "/v2/keys/in/a", "", May::Bob),
    ("GET", "/v2/keys/in/a?quorum=true", "", May::Bob),
    ("GET", "/v2/keys/in/?recursive=true", "", May::Bob),
    ("DELETE", "/v2/keys/in/absent", "", May::Bob),
    ("DELETE", "/v2/keys/in/d?recursive=true", "", May::Bob),
    ("PUT", "/v2/keys/out", "value=v", May::Root),
    ("PUT", "/v2/keys/out?prevValue=x", "value=v", May::Root),
    ("POST", "/v2/keys/out/", "value=v", May::Root),
    ("GET", "/v2/keys/out", "", May::Root),
    ("GET", "/v2/keys/", "", May::Root),
    ("GET", "/v2/keys/?recursive=true", "", May::Root),
    ("GET", "/v2/keys/out?quorum=true", "", May::Root),
    ("DELETE", "/v2/keys/out?recursive=true", "", May::Root),
    ("PUT", "/kv/in/a", "v", May::Bob),
    ("GET", "/kv/in/a", "", May::Bob),
    ("HEAD", "/kv/in/a", "", May::Bob),
    ("GET", "/kv/in/?prefix", "", May::Bob),
    ("GET", "/kv/in/?prefix&wait&since=1", "", May::Bob),
    ("DELETE", "/kv/in/absent", "", May::Bob),
    ("PUT", "/kv/out", "v", May::Root),
    ("GET", "/kv/out", "", May::Root),
    ("GET", "/kv?prefix", "", May::Root),
    ("GET", "/kv?prefix&wait&since=1", "", May::Root),
    ("DELETE", "/kv/out", "", May::Root),
    ("DELETE", "/kv?prefix", "", May::Root),
];

/// Those that go on: the head of the answer tells.
const STREAMS: [(&str, bool, May); 6] = [
    ("/v2/keys/in/a?wait=true", false, May::Bob),
    ("/v2/keys/in/?wait=true&recursive=true&stream=true", false, May::Bob),
    ("/v2/keys/?wait=true&recursive=true", false, May::Root),
    ("/kv/in/?prefix", true, May::Bob),
    ("/kv/in/a", true, May::Bob),
    ("/kv?prefix", true, May::Root),
];

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Name and password. Guessing has to wait soon, so it is someone else who is guessed each time.
fn password(who: Who, at: usize) -> Option<String> {
    Some(match who {
        Who::Nobody | Who::Shows(_) => return None,
        Who::Wrong if at < 8 => basic("bob", "guessed"),
        Who::Wrong => basic(&format!("bob{at}"), "pw-bob"),
        Who::Eve => basic("eve", "pw-eve"),
        Who::Bob => basic("bob", "pw-bob"),
        Who::Root => basic("root", "pw-root"),
    })
}

fn typed(request: Request, target: &str, body: &str) -> Request {
    if body.is_empty() {
        return request;
    }
    let is_form = target.starts_with("/v2/keys");
    let form = if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
    request.header("Content-Type", form).body(body)
}

#[test]
fn every_route_of_http() {
    let scene = Scene::new();
    for who in EVERYONE {
        for (at, (method, target, body, may)) in ROUTES.into_iter().enumerate() {
            let mut request = typed(Request::new(method, target), target, body);
            if let Some(value) = password(who, at) {
                request = request.header("Authorization", &value);
            }
            let answer = Client::new(scene.addr(who)).send(&request).unwrap();
            let (status, text) = (answer.status(), answer.text());
            let refused = matches!(status, 401 | 403) || is_refusal(&text);
            assert_eq!(refused, !who.may(may), "{method} {target} by {who:?}: {status} {text}");
        }
        for (at, (target, events, may)) in STREAMS.into_iter().enumerate() {
            let mut request = Request::new("GET", target);
            if events {
                request = request.header("Accept", "text/event-stream");
            }
            if let Some(value) = password(who, ROUTES.len() + at) {
                request = request.header("Authorization", &value);
            }
            let open = Incoming::open(scene.addr(who), &request, PATIENCE).unwrap();
            let status = open.head.status;
            assert_eq!(status == 200, who.may(may), "{target} by {who:?}: {status}");
            open.hangup();
        }
    }
}

#[test]
fn tokens_are_good_where_v2_has_no_say() {
    let scene = Scene::new();
    for (target, method, body, may) in [
        ("/kv/in/a", "PUT", "v", May::Bob),
        ("/kv/in/a", "GET", "", May::Bob),
        ("/kv/out", "GET", "", May::Root),
        ("/metrics", "GET", "", May::Root),
        ("/config/local/log", "PUT", "{}", May::Root),
    ] {
        for who in [Who::Wrong, Who::Eve, Who::Bob, Who::Root] {
            for scheme in ["", "Bearer "] {
                let value = format!("{scheme}{}", scene.token(who).unwrap());
                let request = typed(Request::new(method, target), target, body);
                let request = request.header("Authorization", &value);
                let status = Client::new(scene.plain).send(&request).unwrap().status();
                let refused = matches!(status, 401 | 403);
                assert_eq!(refused, !who.may(may), "{target} by {who:?}: {status}");
            }
        }
    }
}

/// A certificate says who is at the other end of the connection, and no more.
#[test]
fn a_certificate_yields_to_what_a_request_says_itself() {
    let scene = Scene::new();
    let root = scene.addr(Who::Shows("root"));
    let status = |addr: SocketAddr, target: &str, headers: &[(&str, &str)]| {
        let mut request = Request::new("GET", target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Client::new(addr).send(&request).unwrap().status()
    };
    let (eve, wrong) = (basic("eve", "pw-eve"), basic("eve", "guessed"));
    for target in ["/v2/keys/", "/kv?prefix", "/metrics", "/v2/auth/users"] {
        assert_eq!(status(root, target, &[]), 200, "{target}");
        for value in [eve.as_str(), wrong.as_str(), "Bearer x", ""] {
            let status = status(root, target, &[("Authorization", value)]);
            assert!(matches!(status, 401 | 403), "{target} {value}: {status}");
        }
        // Somebody else's request that is passed on is not that of whoever passes it on.
        for (name, value) in [
            ("X-Forwarded-For", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.1"),
            ("Via", "1.1 proxy"),
            ("Grpcgateway-Accept", "*/*"),
        ] {
            let status = status(root, target, &[(name, value)]);
            assert!(matches!(status, 401 | 403), "{target} {name}: {status}");
        }
        let nameless = status(scene.addr(Who::Shows("nameless")), target, &[]);
        assert!(matches!(nameless, 401 | 403), "{target}: {nameless}");
    }
    let range = pb::RangeRequest { key: "out".into(), ..Default::default() };
    let grpc = Grpc::connect(root);
    let ask = |metadata: &[(&str, &str)]| {
        let path = "/etcdserverpb.KV/Range";
        let mut call = grpc.stream_with(metadata, path);
        call.send_bytes(frame(0, &range.encode_to_vec()), true);
        call.recv_bytes().map(drop).map_err(|status| status.message)
    };
    assert_eq!(ask(&[]), Ok(()));
    let bob = scene.token(Who::Bob).unwrap();
    assert_eq!(ask(&[("token", &bob)]), Err("etcdserver: permission denied".to_owned()));
    let forged = scene.token(Who::Wrong).unwrap();
    assert_eq!(ask(&[("token", &forged)]), Err("etcdserver: invalid auth token".to_owned()));
    let gateway = ask(&[("grpcgateway-accept", "*/*")]);
    assert_eq!(gateway, Err("etcdserver: user name is empty".to_owned()));
    // Over HTTP/2 it is the same.
    for (who, expected) in [("bob", 403), ("root", 200), ("nameless", 401)] {
        let grpc = Grpc::connect(scene.addr(Who::Shows(who)));
        let headers = [("content-type", "text/plain")];
        let call = grpc.request(http::Method::GET, &headers, "/kv?prefix", true).unwrap();
        assert_eq!(call.whole().0, expected, "{who}");
    }
    assert!(scene.server.is_running());
}
