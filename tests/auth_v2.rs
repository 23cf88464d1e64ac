//! One set of users: what v2 makes is there for v3, and the other way round. The guest of v2 is nobody at
//! every other door.

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use callboard::http::v3::pb::{authpb, etcdserverpb as pb};
use prost::Message;
use support::{
    grpc::{Grpc, Status, frame},
    http::{Client, Request},
    rights::put,
    server::Server,
};

fn basic(name: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:pw-{name}")))
}

struct Scene {
    _server: Server,
    http: Client,
    grpc: Grpc,
}

impl Scene {
    fn new() -> Scene {
        let server = Server::start(&["--bcrypt-cost=4"]);
        let (http, grpc) = (Client::new(server.client_addr()), Grpc::connect(server.client_addr()));
        Scene { _server: server, http, grpc }
    }

    fn ask(&mut self, method: &str, target: &str, body: &str, who: Option<&str>) -> (u16, String) {
        let mut request = Request::new(method, target);
        if !body.is_empty() {
            request = request.body(body);
        }
        if let Some(who) = who {
            request = request.header("Authorization", &basic(who));
        }
        let answer = self.http.send(&request).unwrap();
        (answer.status(), answer.text())
    }

    fn call(&self, token: Option<&str>, path: &str, message: &[u8]) -> Result<(), Status> {
        let metadata: Vec<_> = token.into_iter().map(|token| ("token", token)).collect();
        let mut call = self.grpc.stream_with(&metadata, path);
        call.send_bytes(frame(0, message), true);
        call.recv_bytes().map(drop)
    }

    fn login(&self, name: &str) -> String {
        let request = pb::AuthenticateRequest { name: name.into(), password: format!("pw-{name}") };
        let answer: pb::AuthenticateResponse =
            self.grpc.unary("/etcdserverpb.Auth/Authenticate", &request).unwrap();
        answer.token
    }

    fn put_over_v3(&self, token: Option<&str>, key: &str) -> Result<(), Status> {
        self.call(token, "/etcdserverpb.KV/Put", &put(key).encode_to_vec())
    }
}

const DENIED: &str = "etcdserver: permission denied";

#[test]
fn what_v2_makes_is_good_for_v3() {
    let mut scene = Scene::new();
    for (target, body, status) in [
        ("users/root", r#"{"user":"root","password":"pw-root"}"#, 201),
        ("users/ann", r#"{"user":"ann","password":"pw-ann","roles":["r"]}"#, 200),
        (
            "roles/r",
            r#"{"role":"r","permissions":{"kv":{"read":["/a/*","/one"],"write":["/a/*"]}}}"#,
            201,
        ),
        ("enable", "", 200),
    ] {
        let (found, text) = scene.ask("PUT", &format!("/v2/auth/{target}"), body, None);
        assert_eq!(found, status, "{target}: {text}");
    }
    let ann = scene.login("ann");
    for (key, allowed) in [("/a/k", true), ("/a", false), ("/one", false), ("a", false)] {
        let result = scene.put_over_v3(Some(&ann), key);
        assert_eq!(result.is_ok(), allowed, "{key}: {result:?}");
    }
    let root = scene.login("root");
    let get = pb::AuthRoleGetRequest { role: "r".into() };
    let role: pb::AuthRoleGetResponse =
        scene.grpc.unary_with(&[("token", &root)], "/etcdserverpb.Auth/RoleGet", &get).unwrap();
    let shown: Vec<_> =
        role.perm.iter().map(|perm| (perm.perm_type, &perm.key[..], &perm.range_end[..])).collect();
    assert_eq!(shown, [(2, &b"/a/"[..], &b"/a0"[..]), (0, b"/one", b"")]);
    // The guest may do all over v2, and is nobody elsewhere.
    assert_eq!(scene.ask("PUT", "/v2/keys/g?value=v", "", None).0, 201);
    let nobody = scene.put_over_v3(None, "/g").unwrap_err();
    assert_eq!(nobody.message, "etcdserver: user name is empty");
    for target in ["/kv/g", "/kv?prefix"] {
        assert_eq!(scene.ask("GET", target, "", None).0, 401, "{target}");
    }
    let body = format!(r#"{{"key":"{}"}}"#, STANDARD.encode("/g"));
    assert_eq!(scene.ask("POST", "/v3/kv/range", &body, None).0, 400);
    // A role that is gone is gone from its users, and does not come back with its name.
    assert_eq!(scene.ask("DELETE", "/v2/auth/roles/r", "", Some("root")).0, 200);
    assert_eq!(scene.put_over_v3(Some(&ann), "/a/k").unwrap_err().message, DENIED);
    let body = r#"{"role":"r","permissions":{"kv":{"write":["*"]}}}"#;
    assert_eq!(scene.ask("PUT", "/v2/auth/roles/r", body, Some("root")).0, 201);
    assert_eq!(scene.put_over_v3(Some(&ann), "/a/k").unwrap_err().message, DENIED);
    let body = r#"{"user":"ann","grant":["r"]}"#;
    assert_eq!(scene.ask("PUT", "/v2/auth/users/ann", body, Some("root")).0, 200);
    scene.put_over_v3(Some(&ann), "any key").unwrap();
    // Another password over v2 ends the tokens of v3.
    let body = r#"{"user":"ann","password":"another"}"#;
    assert_eq!(scene.ask("PUT", "/v2/auth/users/ann", body, Some("root")).0, 200);
    let ended = scene.put_over_v3(Some(&ann), "any key").unwrap_err();
    assert_eq!(ended.message, "etcdserver: invalid auth token");
    // So does switching it off, and on again over v3, which makes no guest.
    assert_eq!(scene.ask("DELETE", "/v2/auth/roles/guest", "", Some("root")).0, 200);
    assert_eq!(scene.ask("DELETE", "/v2/auth/enable", "", Some("root")).0, 200);
    scene.put_over_v3(None, "/g").unwrap();
    scene.call(None, "/etcdserverpb.Auth/AuthEnable", &[]).unwrap();
    assert_eq!(scene.put_over_v3(Some(&root), "/g").unwrap_err().message, ended.message);
    assert_eq!(scene.ask("GET", "/v2/keys/g", "", None).0, 401);
    assert_eq!(scene.ask("GET", "/v2/auth/roles/guest", "", Some("root")).0, 404);
}

#[test]
fn what_v3_makes_is_shown_and_changed_by_v2() {
    let mut scene = Scene::new();
    let auth = |method: &str, message: Vec<u8>| {
        scene.call(None, &format!("/etcdserverpb.Auth/{method}"), &message).unwrap();
    };
    for name in ["root", "ann"] {
        let (name, password) = (name.to_owned(), format!("pw-{name}"));
        let user = pb::AuthUserAddRequest { name, password, ..Default::default() };
        auth("UserAdd", user.encode_to_vec());
    }
    let options = authpb::UserAddOptions { no_password: true };
    let user = pb::AuthUserAddRequest {
        name: "by-certificate".into(),
        options: Some(options),
        ..Default::default()
    };
    auth("UserAdd", user.encode_to_vec());
    auth("RoleAdd", pb::AuthRoleAddRequest { name: "r".into() }.encode_to_vec());
    for (perm_type, key, range_end) in [
        (0, "/b/", "/b0"),
        (1, "/one", ""),
        (2, "\0", "\0"),
        (0, "/k", "/z"),   // no pattern of v2
        (0, "/star*", ""), // one key: as a pattern it would be many
    ] {
        let (key, range_end) = (key.into(), range_end.into());
        let perm = Some(authpb::Permission { perm_type, key, range_end });
        let grant = pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm };
        auth("RoleGrantPermission", grant.encode_to_vec());
    }
    let grant = pb::AuthUserGrantRoleRequest { user: "ann".into(), role: "r".into() };
    auth("UserGrantRole", grant.encode_to_vec());
    let role = r#"{"role":"r","permissions":{"kv":{"read":["*","/b/*"],"write":["*","/one"]}}}"#;
    let (_, shown) = scene.ask("GET", "/v2/auth/roles/r", "", None);
    assert_eq!(shown.trim_end(), role);
    let (_, shown) = scene.ask("GET", "/v2/auth/users", "", None);
    let expected = format!(
        r#"{{"users":[{{"user":"ann","roles":[{role}]}},{{"user":"by-certificate"}},{{"user":"root"}}]}}"#
    );
    assert_eq!(shown.trim_end(), expected);
    // `root` gets its role when v2 switches authentication on.
    assert_eq!(scene.ask("PUT", "/v2/auth/enable", "", None).0, 200);
    let body = r#"{"role":"r","revoke":{"kv":{"read":["*","/b/*"],"write":["*"]}}}"#;
    let (status, shown) = scene.ask("PUT", "/v2/auth/roles/r", body, Some("root"));
    let left = r#"{"role":"r","permissions":{"kv":{"read":[],"write":["/one"]}}}"#;
    assert_eq!((status, shown.trim_end()), (200, left));
    let ann = scene.login("ann");
    let range = |key: &str| pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    for (key, allowed) in [("/kept", true), ("/star*", true), ("/star", true), ("/a", false)] {
        let message = range(key).encode_to_vec();
        let result = scene.call(Some(&ann), "/etcdserverpb.KV/Range", &message);
        assert_eq!(result.is_ok(), allowed, "{key}: {result:?}");
    }
    assert_eq!(scene.ask("GET", "/v2/keys/kept", "", Some("ann")).0, 404, "let in");
    assert_eq!(scene.ask("GET", "/v2/keys/a", "", Some("ann")).0, 401);
    // Nobody has a password that fits, until v2 gives one.
    assert_eq!(scene.ask("GET", "/v2/keys/kept", "", Some("by-certificate")).0, 401);
    let body = r#"{"user":"by-certificate","password":"pw-by-certificate","grant":["r"]}"#;
    assert_eq!(scene.ask("PUT", "/v2/auth/users/by-certificate", body, Some("root")).0, 200);
    assert_eq!(scene.ask("GET", "/v2/keys/kept", "", Some("by-certificate")).0, 404);
}

#[test]
fn a_password_that_bcrypt_would_cut_is_refused() {
    let mut scene = Scene::new();
    let long = "x".repeat(73);
    let body = format!(r#"{{"user":"ann","password":"{long}"}}"#);
    let (status, text) = scene.ask("PUT", "/v2/auth/users/ann", &body, None);
    assert_eq!(
        (status, &text[..]),
        (400, r#"{"message":"auth: password length exceeds 72 bytes"}"#)
    );
    let body = r#"{"role":"r","permissions":{"kv":{"read":[""]}}}"#;
    let (status, text) = scene.ask("PUT", "/v2/auth/roles/r", body, None);
    assert_eq!((status, &text[..]), (400, r#"{"message":"auth: Empty key pattern"}"#));
    // And one that is too long to be read at all.
    let body = format!(r#"{{"user":"ann","password":"{}"}}"#, "x".repeat(3 << 20));
    assert_eq!(scene.ask("PUT", "/v2/auth/users/ann", &body, None).0, 400);
}
