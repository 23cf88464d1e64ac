//! The JSON gateway through a real socket to the real server. What is expected of `/v3/kv` is what etcd
//! answered to the same requests, but for the words about JSON that cannot be read.

mod support;

use std::fmt::Write as _;

use support::http::{Client, Incoming, PATIENCE, Request};
use support::server::Server;

/// A gateway, and what the header of its answers holds beside the revision.
struct Gateway {
    server: Server,
    /// Up to the revision, and behind it.
    header: (String, String),
}

impl Gateway {
    fn start(flags: &[&str]) -> Gateway {
        let server = Server::start(flags);
        let mut gateway = Gateway { server, header: (String::new(), String::new()) };
        let (_, answer) = gateway.post("/v3/kv/range", r#"{"key":"YQ=="}"#);
        let (before, rest) = answer.split_once("\"revision\":\"").expect("a header");
        let before = before.strip_prefix("{\"header\":").expect("the header comes first");
        let (_, behind) = rest.split_once('"').expect("a revision");
        let behind = behind.strip_suffix('}').expect("and nothing else");
        for name in ["\"cluster_id\":\"", "\"member_id\":\""] {
            assert!(before.contains(name), "{answer}");
        }
        assert!(behind.contains("\"raft_term\":\""), "{answer}");
        gateway.header = (format!("{before}\"revision\":\""), format!("\"{behind}"));
        gateway
    }

    fn send(&self, request: &Request) -> support::http::Response {
        Client::new(self.server.client_addr()).send(request).expect("it answers")
    }

    fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
        let answer = self.send(&Request::new("POST", path).body(body));
        assert_eq!(answer.header("Content-Type"), Some("application/json"), "{path}");
        (answer.status(), answer.text())
    }

    /// `<N>` is the header at revision N, `<?TEXT>` a refusal with code 3, `<N?TEXT>` one with another.
    fn expected(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, marked)) = rest.split_once('<') {
            let (mark, behind) = marked.split_once('>').expect("a closed mark");
            out.push_str(before);
            match mark.split_once('?') {
                None => _ = write!(out, "\"header\":{}{mark}{}", self.header.0, self.header.1),
                Some((code, text)) => {
                    let code = if code.is_empty() { "3" } else { code };
                    _ = write!(out, r#"{{"error":"{text}","code":{code},"message":"{text}"}}"#);
                }
            }
            rest = behind;
        }
        out + rest
    }
}

#[test]
fn keys_are_written_and_read_as_in_etcd() {
    let gateway = Gateway::start(&[]);
    for (path, body, status, expected) in [
        ("kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#, 200, "{<2>}"),
        (
            "kv/range",
            r#"{"key":"Zm9v"}"#,
            200,
            r#"{<2>,"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"}"#,
        ),
        ("kv/range", r#"{"key":"bm8="}"#, 200, "{<2>}"),
        ("kv/range", r#"{"key":"Zm9v","count_only":true}"#, 200, r#"{<2>,"count":"1"}"#),
        (
            "kv/range",
            r#"{"key":"AA==","rangeEnd":"AA==","keysOnly":true,"limit":"5","sort_order":"DESCEND","sortTarget":1}"#,
            200,
            r#"{<2>,"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1"}],"count":"1"}"#,
        ),
        (
            "kv/txn",
            r#"{"compare":[{"target":"CREATE","key":"Zm9v","createRevision":"2"}],
                "success":[{"requestPut":{"key":"Zm9v","value":"eA==","prevKv":true}},
                    {"request_range":{"key":"Zm9v"}},{"request_delete_range":{"key":"Zn9v","prev_kv":true}},
                    {"request_txn":{}}]}"#,
            200,
            r#"{<3>,"succeeded":true,"responses":[{"response_put":{"header":{"revision":"3"},"prev_kv":{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}}},{"response_range":{"header":{"revision":"3"},"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"3","version":"2","value":"eA=="}],"count":"1"}},{"response_delete_range":{"header":{"revision":"3"}}},{"response_txn":{"header":{},"succeeded":true}}]}"#,
        ),
        (
            "kv/txn",
            r#"{"compare":[{"target":3,"result":"EQUAL","key":"Zm9v","value":"bm8="}],
                "failure":[{"requestRange":{"key":"Zm9v","keys_only":true}}]}"#,
            200,
            r#"{<3>,"responses":[{"response_range":{"header":{"revision":"3"},"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"3","version":"2"}],"count":"1"}}]}"#,
        ),
        (
            "kv/deleterange",
            r#"{"key":"Zm9v","prev_kv":true}"#,
            200,
            r#"{<4>,"deleted":"1","prev_kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"3","version":"2","value":"eA=="}]}"#,
        ),
        ("kv/deleterange", r#"{"key":"Zm9v"}"#, 200, "{<4>}"),
        ("kv/compaction", r#"{"revision":"3"}"#, 200, "{<4>}"),
        ("kv/txn", "{}", 200, r#"{<4>,"succeeded":true}"#),
        ("kv/txn", "", 200, r#"{<4>,"succeeded":true}"#),
        ("kv/range", "", 400, "<?etcdserver: key is not provided>"),
        ("kv/range", "null", 400, "<?etcdserver: key is not provided>"),
        ("kv/range", r#"{"key":null,"limit":null}"#, 400, "<?etcdserver: key is not provided>"),
        (
            "kv/range",
            r#"{"key":"Zm9v","revision":2}"#,
            400,
            "<11?etcdserver: mvcc: required revision has been compacted>",
        ),
        (
            "kv/range",
            r#"{"key":"Zm9v","revision":"99"}"#,
            400,
            "<11?etcdserver: mvcc: required revision is a future revision>",
        ),
        (
            "kv/put",
            r#"{"key":"YQ==","lease":"7"}"#,
            404,
            "<5?etcdserver: requested lease not found>",
        ),
        ("kv/put", r#"{"key":"YQ==","ignore_value":true}"#, 400, "<?etcdserver: key not found>"),
        ("kv/txn", r#"{"success":[{}]}"#, 400, "<?etcdserver: key not found>"),
    ] {
        for prefix in ["v3", "v3beta"] {
            if prefix == "v3beta" && status == 200 && !path.contains("range") {
                continue; // what writes is sent once
            }
            if prefix == "v3beta" && path == "kv/deleterange" {
                continue;
            }
            let answered = gateway.post(&format!("/{prefix}/{path}"), body);
            assert_eq!(answered, (status, gateway.expected(expected)), "{prefix}/{path} {body}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_nothing_is_written() {
    let gateway = Gateway::start(&["--max-request-bytes=100000"]);
    let deep = format!(r#"{{"key":"YQ==","x":{}"#, "[".repeat(100_000));
    let nested = r#"{"success":[{"request_txn":"#.repeat(5000);
    let closed = format!(
        "{}{}",
        r#"{"success":[{"request_txn":"#.repeat(60),
        "{}".to_owned() + &"}]}".repeat(60)
    );
    let rows: [(&[u8], u64); 25] = [
        (b"[]", 3),
        (b"7", 3),
        (b"\"\"", 3),
        (b"tru", 3),
        (b"{", 3),
        (b"{\"key\":\"YQ==\"", 3),
        (b"{\"key\":\"YQ==\",}", 3),
        (b"{\"key\":\"!\"}", 3),
        (b"{\"key\":\"Y\"}", 3),
        (b"{\"key\":7}", 3),
        (b"{\"key\":[\"YQ==\"]}", 3),
        (b"{\"key\":\"\xff\"}", 3),
        (b"\xff\xfe{}", 3),
        (b"\0", 3),
        (b"{\"key\":\"YQ==\",\"lease\":\"x\"}", 3),
        (b"{\"key\":\"YQ==\",\"lease\":1.5}", 3),
        (b"{\"key\":\"YQ==\",\"lease\":1e400}", 3),
        (b"{\"key\":\"YQ==\",\"lease\":9223372036854775808}", 3),
        (b"{\"key\":\"YQ==\",\"lease\":\"-9223372036854775809\"}", 3),
        (b"{\"key\":\"YQ==\",\"lease\":{}}", 3),
        (b"{\"key\":\"YQ==\",\"prev_kv\":\"true\"}", 3),
        (b"{\"success\":{},\"key\":7}", 3),
        (deep.as_bytes(), 3),
        (nested.as_bytes(), 3),
        (closed.as_bytes(), 3),
    ];
    for (body, code) in rows {
        for path in ["/v3/kv/put", "/v3/kv/txn"] {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            // Fields of the other message are unknown, and ignored: then the key is what is missing.
            let is_other = (path.ends_with("txn") && shown.starts_with("{\"key\""))
                || (path.ends_with("put") && shown.starts_with("{\"success"));
            let (status, text) = gateway.post(path, body);
            if is_other && status == 200 {
                assert!(path.ends_with("txn"), "{shown}");
                continue;
            }
            assert_eq!(status, 400, "{path} {shown}: {text}");
            assert!(text.contains(&format!(r#","code":{code},"message":""#)), "{shown}: {text}");
        }
    }
    for body in [r#"{"key":"YQ==","sort_order":"FOO"}"#, r#"{"key":"YQ==","sort_order":77}"#] {
        assert_eq!(gateway.post("/v3/kv/range", body).0, 400, "{body}");
    }
    let large = format!(r#"{{"key":"YQ==","value":"{}"}}"#, "A".repeat(140_000));
    let expected = "<?etcdserver: request is too large>";
    assert_eq!(gateway.post("/v3/kv/put", large), (400, gateway.expected(expected)));
    let huge = Request::new("POST", "/v3/kv/put").header("Content-Length", "99999999999").body("{");
    assert_eq!(gateway.send(&huge).status(), 429);
    let all = r#"{"key":"AA==","range_end":"AA=="}"#;
    assert_eq!(gateway.post("/v3/kv/range", all), (200, gateway.expected("{<1>}")));
}

#[test]
fn paths_and_methods() {
    let gateway = Gateway::start(&[]);
    for (method, target, status, allow) in [
        ("GET", "/v3/kv/range", 405, Some("POST")),
        ("HEAD", "/v3/kv/range", 405, Some("POST")),
        ("PUT", "/v3beta/watch", 405, Some("POST")),
        ("DELETE", "/v3/kv/deleterange", 405, Some("POST")),
        ("OPTIONS", "/v3/kv/range", 200, None),
        ("POST", "/v3/kv/nope", 404, None),
        ("POST", "/v3/kv/range/", 404, None),
        ("POST", "/v3/", 404, None),
        ("GET", "/v3", 301, None),
        ("POST", "/v3//kv/range", 301, None),
        ("POST", "/v3/%", 400, None),
        ("POST", "/v3/%ff", 404, None),
    ] {
        let answer = gateway.send(&Request::new(method, target).header("Origin", "http://a"));
        assert_eq!(answer.status(), status, "{method} {target}");
        assert_eq!(answer.header("Allow"), allow, "{method} {target}");
        let origin = answer.header("Access-Control-Allow-Origin");
        assert!(origin == Some("*") || status == 400, "{method} {target}");
    }
    let off = Server::start(&["--enable-grpc-gateway=false"]);
    for path in ["/v3/kv/range", "/v3beta/watch", "/v3/", "/v3"] {
        let answer = Client::new(off.client_addr()).send(&Request::new("POST", path).body("{}"));
        assert_eq!(answer.expect("it answers").status(), 404, "{path}");
    }
}

#[test]
fn a_connection_goes_on_after_a_refusal() {
    let server = Server::start(&[]);
    let mut client = Client::new(server.client_addr());
    for (body, status) in [("{", 400), (r#"{"key":"YQ=="}"#, 200), ("[]", 400), ("{}", 400)] {
        let answer = client.send(&Request::new("POST", "/v3/kv/range").body(body));
        assert_eq!(answer.expect("it answers").status(), status, "{body}");
    }
}

#[test]
fn a_stream_whose_request_cannot_be_read_is_refused() {
    let server = Server::start(&[]);
    for path in
        ["/v3/watch", "/v3/lease/keepalive", "/v3/maintenance/snapshot", "/v3/election/observe"]
    {
        for body in ["[]", "{\"create_request\":7,\"ID\":[],\"name\":7}"] {
            if path.ends_with("snapshot") && body != "[]" {
                continue; // its request has no fields: those are ignored
            }
            let request = Request::new("POST", path).body(body);
            let opened = Incoming::open(server.client_addr(), &request, PATIENCE);
            let mut answer = opened.expect("a head comes");
            let text = if answer.head.status == 200 {
                let line = answer.next_line(PATIENCE).expect("it ends").expect("a line");
                String::from_utf8_lossy(&line).into_owned()
            } else {
                String::from_utf8_lossy(&answer.rest(PATIENCE).expect("a body")).into_owned()
            };
            assert!(text.starts_with("{\"error\":"), "{path} {body}: {text}");
        }
    }
}

#[test]
fn calls_end_when_the_client_gives_up_and_are_counted() {
    let gateway = Gateway::start(&["--metrics=extensive"]);
    let late =
        r#"{"error":"context deadline exceeded","code":4,"message":"context deadline exceeded"}"#;
    let invalid =
        r#"{"error":"invalid grpc-timeout: soon","code":3,"message":"invalid grpc-timeout: soon"}"#;
    // Somebody holds the lock: the next one waits, as long as it says.
    let (status, held) = gateway.post("/v3/lock/lock", r#"{"name":"bA=="}"#);
    assert_eq!(status, 200, "{held}");
    for (path, timeout, body, expected) in [
        ("/v3/lock/lock", "30m", r#"{"name":"bA=="}"#, (504, late)),
        ("/v3/kv/range", "soon", r#"{"key":"YQ=="}"#, (400, invalid)),
        ("/v3/watch", "soon", r#"{"create_request":{"key":"YQ=="}}"#, (400, invalid)),
    ] {
        let request = Request::new("POST", path).header("Grpc-Timeout", timeout).body(body);
        let answer = gateway.send(&request);
        assert_eq!((answer.status(), answer.text().as_str()), expected, "{path}");
    }
    let request = Request::new("POST", "/v3/watch")
        .header("Grpc-Timeout", "300m")
        .body(r#"{"create_request":{"key":"YQ=="}}"#);
    let mut watch = Incoming::open(gateway.server.client_addr(), &request, PATIENCE).unwrap();
    let created = watch.next_line(PATIENCE).unwrap().expect("it is made");
    assert!(created.starts_with(b"{\"result\":"), "{}", String::from_utf8_lossy(&created));
    let last = String::from_utf8(watch.next_line(PATIENCE).unwrap().expect("a last line")).unwrap();
    assert!(last.contains("\"grpc_code\":4") && last.contains("\"http_code\":504"), "{last}");
    assert_eq!(watch.next_line(PATIENCE).unwrap(), None, "it has ended");

    let metrics = gateway.send(&Request::new("GET", "/metrics")).text();
    let lock = r#"grpc_method="Lock",grpc_service="v3lockpb.Lock",grpc_type="unary""#;
    let watch = r#"grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream""#;
    for line in [
        format!("grpc_server_started_total{{{lock}}} 2"),
        format!("grpc_server_handled_total{{grpc_code=\"OK\",{lock}}} 1"),
        format!("grpc_server_handled_total{{grpc_code=\"DeadlineExceeded\",{lock}}} 1"),
        format!("grpc_server_msg_received_total{{{lock}}} 2"),
        format!("grpc_server_msg_sent_total{{{lock}}} 1"),
        format!("grpc_server_handled_total{{grpc_code=\"DeadlineExceeded\",{watch}}} 1"),
        format!("grpc_server_msg_received_total{{{watch}}} 1"),
        format!("grpc_server_msg_sent_total{{{watch}}} 1"),
        format!("grpc_server_handling_seconds_count{{{lock}}} 2"),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing");
    }
}

#[test]
fn leases() {
    let gateway = Gateway::start(&[]);
    for (path, body, expected) in [
        ("lease/grant", r#"{"TTL":60,"ID":"7"}"#, r#"{<1>,"ID":"7","TTL":"60"}"#),
        ("lease/grant", r#"{"TTL":60,"ID":7}"#, "<9?etcdserver: lease already exists>"),
        ("lease/leases", "", r#"{<1>,"leases":[{"ID":"7"}]}"#),
        ("kv/lease/leases", "{}", r#"{<1>,"leases":[{"ID":"7"}]}"#),
        ("kv/put", r#"{"key":"YQ==","lease":7}"#, "{<2>}"),
        ("lease/revoke", r#"{"ID":8}"#, "<5?etcdserver: requested lease not found>"),
    ] {
        let (_, answer) = gateway.post(&format!("/v3/{path}"), body);
        assert_eq!(answer, gateway.expected(expected), "{path} {body}");
    }
    // A stream of requests in one body, each answered with a line.
    let body = r#"{"ID":"7"}{"ID":8}"#;
    let request = Request::new("POST", "/v3/lease/keepalive").body(body);
    let opened = Incoming::open(gateway.server.client_addr(), &request, PATIENCE);
    let mut answers = opened.expect("it is answered");
    for expected in [r#"{"result":{<2>,"ID":"7","TTL":"60"}}"#, r#"{"result":{<2>,"ID":"8"}}"#] {
        let line = answers.next_line(PATIENCE).unwrap().expect("a line");
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line.trim_end(), gateway.expected(expected));
    }
    assert_eq!(answers.next_line(PATIENCE).unwrap(), None, "it ends with its requests");
}
