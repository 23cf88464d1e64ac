//! The plain door through a real socket to the real server: a key is a page.

mod support;

use support::http::{Client, Request, Response};
use support::server::Server;

/// Sends one request after the other, and checks the whole of each answer.
struct Door {
    client: Client,
    _server: Server,
}

/// What is expected: the status, the entity tag, and the body (a value, or the begin of a text).
type Expected<'a> = (u16, Option<&'a str>, &'a str);

impl Door {
    fn start(flags: &[&str]) -> Door {
        let server = Server::start(flags);
        Door { client: Client::new(server.client_addr()), _server: server }
    }

    fn send(&mut self, request: &Request) -> Response {
        self.client.send(request).expect("it answers")
    }

    /// `line` is method and target, then headers and `= body`, each behind ` | `.
    fn play(&mut self, line: &str, expected: Expected<'_>) -> Response {
        let mut parts = line.split(" | ");
        let (method, target) = parts.next().expect("a request").split_once(' ').expect("a target");
        let mut request = Request::new(method, target);
        for part in parts {
            request = if let Some(body) = part.strip_prefix("= ") {
                request.body(body)
            } else {
                let (name, value) = part.split_once(": ").expect("a header");
                request.header(name, value)
            };
        }
        let answer = self.send(&request);
        let (status, tag, body) = expected;
        assert_eq!(answer.status(), status, "{line}: {}", answer.text());
        assert_eq!(answer.header("ETag"), tag, "{line}");
        let text = answer.text();
        assert!(
            if body.is_empty() { text.is_empty() } else { text.starts_with(body) },
            "{line}: {text}"
        );
        answer
    }
}

#[test]
fn a_key_is_written_read_and_deleted() {
    let mut door = Door::start(&[]);
    for (line, expected) in [
        ("GET /kv/a/b", (404, None, "there is no such key\n")),
        ("DELETE /kv/a/b", (404, None, "there is no such key\n")),
        ("PUT /kv/a/b | = one", (201, Some("\"2\""), "")),
        ("PUT /kv/a/b | = two", (200, Some("\"3\""), "")),
        ("GET /kv/a/b", (200, Some("\"3\""), "two")),
        ("GET /kv?key=/a/b", (200, Some("\"3\""), "two")),
        ("GET /kv?key=%2fa%2Fb&serializable", (200, Some("\"3\""), "two")),
        ("GET /kv/%61/b?rev=2", (200, Some("\"2\""), "one")),
        ("GET /kv/a/b?rev=1", (404, None, "there is no such key\n")),
        ("GET /kv/a/b?rev=9", (400, None, "etcdserver: mvcc: required revision is a future")),
        ("HEAD /kv/a/b", (200, Some("\"3\""), "")),
        ("GET /kv/a/b | If-None-Match: \"3\"", (304, Some("\"3\""), "")),
        ("GET /kv/a/b | If-None-Match: W/\"1\", W/\"3\"", (304, Some("\"3\""), "")),
        ("GET /kv/a/b | If-None-Match: *", (304, Some("\"3\""), "")),
        ("GET /kv/a/b | If-None-Match: \"2\"", (200, Some("\"3\""), "two")),
        ("GET /kv/a/b | If-Match: \"2\"", (412, Some("\"3\""), "the key is there")),
        ("GET /kv/no | If-Match: *", (412, None, "there is no such key")),
        // Compare and swap.
        ("PUT /kv/a/b | If-Match: \"2\" | = no", (412, Some("\"3\""), "the key is there")),
        ("PUT /kv/a/b | If-None-Match: * | = no", (412, Some("\"3\""), "the key is there")),
        ("PUT /kv/no | If-Match: * | = no", (412, None, "there is no such key")),
        ("PUT /kv/no | If-Match: \"3\" | = no", (412, None, "there is no such key")),
        ("PUT /kv/a/b | If-None-Match: \"3\" | = no", (412, Some("\"3\""), "the key is there")),
        ("DELETE /kv/a/b | If-Match: \"2\"", (412, Some("\"3\""), "the key is there")),
        ("DELETE /kv/no | If-Match: *", (412, None, "there is no such key")),
        ("GET /kv/a/b", (200, Some("\"3\""), "two")),
        ("PUT /kv/a/b | If-Match: \"3\" | = three", (200, Some("\"4\""), "")),
        ("PUT /kv/c | If-None-Match: * | = new", (201, Some("\"5\""), "")),
        ("PUT /kv/c | If-None-Match: \"4\" | = newer", (200, Some("\"6\""), "")),
        ("DELETE /kv/a/b | If-Match: \"4\"", (204, None, "")),
        ("DELETE /kv/c", (204, None, "")),
        ("GET /kv/c", (404, None, "there is no such key\n")),
        ("GET /kv/c?rev=6", (200, Some("\"6\""), "newer")),
        // Keys of every kind.
        ("PUT /kv?key=plain | = x", (201, Some("\"9\""), "")),
        ("PUT /kv?key=a+b%2B | = x", (201, Some("\"10\""), "")),
        ("PUT /kv//a/../b/ | = dots", (201, Some("\"11\""), "")),
        ("GET /kv?key=//a/../b/", (200, Some("\"11\""), "dots")),
        ("PUT /kv/%ff%00 | = bytes", (201, Some("\"12\""), "")),
        ("PUT /kv/ | = root", (201, Some("\"13\""), "")),
        ("PUT /kv/empty | = ", (201, Some("\"14\""), "")),
        ("GET /kv/empty", (200, Some("\"14\""), "")),
    ] {
        door.play(line, expected);
    }
    let listed =
        door.play("GET /kv?prefix&keys_only", (200, None, r#"{"revision":14,"keys":[{"key":"/","#));
    for key in ["\"//a/../b/\"", "\"/%FF%00\"", "\"plain\"", "\"a%20b%2B\""] {
        assert!(listed.text().contains(key), "{key} in {}", listed.text());
    }
}

#[test]
fn headers_tell_what_is_known_of_a_key() {
    let mut door = Door::start(&[]);
    door.play("PUT /kv/a | = 1", (201, Some("\"2\""), ""));
    door.play("PUT /kv/a | = 2", (200, Some("\"3\""), ""));
    door.play("PUT /kv/b | = 3", (201, Some("\"4\""), ""));
    for (line, status) in
        [("GET /kv/a", 200), ("HEAD /kv/a", 200), ("GET /kv/a | If-None-Match: *", 304)]
    {
        let body = if line == "GET /kv/a" { "2" } else { "" };
        let answer = door.play(line, (status, Some("\"3\""), body));
        for (name, value) in [
            ("Callboard-Revision", Some("4")),
            ("Callboard-Create-Revision", Some("2")),
            ("Callboard-Version", Some("2")),
            ("Callboard-Lease", None),
            ("Cache-Control", Some("no-cache")),
            ("X-Content-Type-Options", Some("nosniff")),
        ] {
            assert_eq!(answer.header(name), value, "{line}: {name}");
        }
        if status == 200 {
            assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
            assert_eq!(answer.header("Content-Length"), Some("1"), "{line}");
        }
    }
    let missing = door.play("GET /kv/no", (404, None, "there is no such key"));
    assert_eq!(missing.header("Callboard-Revision"), Some("4"));
}

#[test]
fn many_keys_are_listed_page_by_page_and_deleted() {
    let mut door = Door::start(&[]);
    for (key, revision) in [("p/1", 2), ("p/2", 3), ("p/3", 4), ("q", 5)] {
        door.play(&format!("PUT /kv/{key} | = v"), (201, Some(&format!("\"{revision}\"")), ""));
    }
    let first = door.play(
        "GET /kv/p/?prefix&limit=2",
        (200, None, concat!(
            r#"{"revision":5,"keys":[{"key":"/p/1","create_revision":2,"mod_revision":2,"version":1,"value":"dg=="},"#,
            r#"{"key":"/p/2","create_revision":3,"mod_revision":3,"version":1,"value":"dg=="}],"#,
            r#""next":"/kv?key=/p/&prefix&after=/p/2&rev=5&limit=2"}"#,
        )),
    );
    assert_eq!(first.header("Content-Type"), Some("application/json"));
    assert_eq!(first.header("Callboard-Revision"), Some("5"));
    // What happens meanwhile is not on the next page: it is of the same revision.
    door.play("PUT /kv/p/4 | = v", (201, Some("\"6\""), ""));
    let text = first.text();
    let next =
        text.split("\"next\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("next");
    let second =
        door.play(&format!("GET {next}"), (200, None, r#"{"revision":5,"keys":[{"key":"/p/3","#));
    assert!(!second.text().contains("next"), "{}", second.text());
    door.play("GET /kv/none?prefix", (200, None, "{\"revision\":6,\"keys\":[]}\n"));
    door.play("DELETE /kv/p/?prefix", (200, None, "{\"revision\":7,\"deleted\":4}\n"));
    door.play("DELETE /kv/p/?prefix", (200, None, "{\"revision\":7,\"deleted\":0}\n"));
    door.play("GET /kv?prefix&keys_only", (200, None,
        "{\"revision\":7,\"keys\":[{\"key\":\"/q\",\"create_revision\":5,\"mod_revision\":5,\"version\":1}]}\n"));
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_written() {
    let mut door = Door::start(&["--max-request-bytes=1000"]);
    let long = "x".repeat(2000);
    let large = format!("PUT /kv/a | = {long}");
    let many_tags = format!("PUT /kv/a | If-None-Match: {} | = x", "\"1\", ".repeat(40));
    for (line, status) in [
        ("GET /kv", 400),
        ("PUT /kv | = x", 400),
        ("DELETE /kv", 400),
        ("PUT /kv?key= | = x", 400),
        ("PUT /kv/a?key=b | = x", 400),
        ("GET /kv/%", 400),
        ("GET /kv/%zz", 400),
        ("GET /kv?key=%", 400),
        ("GET /kv?key=%zz", 400),
        ("PUT /kv/a?ttl=5 | = x", 400),
        ("PUT /kv/a?rev=5 | = x", 400),
        ("PUT /kv/a?prefix | = x", 400),
        ("PUT /kv/a?lease=x | = x", 400),
        ("PUT /kv/a?lease=99999999999999999999 | = x", 400),
        ("PUT /kv/a?lease=7 | = x", 404),
        ("GET /kv/a?lease=7", 400),
        ("GET /kv/a?limit=7", 400),
        ("GET /kv/a?rev=-1", 400),
        ("GET /kv/a?rev=x", 400),
        ("GET /kv/a?prefix=maybe", 400),
        ("GET /kv/a?prefix&limit=0", 400),
        ("GET /kv/a?prefix&prefix", 400),
        ("GET /kv/a?since=1", 400),
        ("GET /kv/a?wait&since=-1", 400),
        ("GET /kv/a?list | Accept: text/event-stream | Last-Event-ID: x", 400),
        ("GET /kv/a?list&since=1 | Accept: text/event-stream", 400),
        ("GET /kv/a?prefix | If-None-Match: *", 400),
        ("DELETE /kv/a?prefix | If-Match: *", 400),
        ("PUT /kv/a | If-Match: 1 | = x", 400),
        ("PUT /kv/a | If-Match: \"1\", \"2\" | = x", 400),
        (many_tags.as_str(), 400),
        (large.as_str(), 413),
        ("PUT /kv/a | Content-Length: 99999999999 | = x", 413),
        ("POST /kv/a | = x", 405),
        ("PATCH /kv/a | = x", 405),
        ("OPTIONS /kv/a", 200),
    ] {
        let mut client = Client::new(door.client.addr());
        std::mem::swap(&mut client, &mut door.client); // some answers close their connection
        let mut parts = line.split(" | ");
        let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
        let request = parts.fold(Request::new(method, target), |request, part| {
            if let Some(body) = part.strip_prefix("= ") {
                request.body(body)
            } else {
                let (name, value) = part.split_once(": ").unwrap();
                request.header(name, value)
            }
        });
        let answer = door.send(&request);
        let text = answer.text();
        assert_eq!(answer.status(), status, "{line}: {text}");
        if status >= 400 && !target.ends_with('%') && !target.ends_with("/%zz") {
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{line}: {text}");
            let content_type = answer.header("Content-Type");
            assert_eq!(content_type, Some("text/plain; charset=utf-8"), "{line}");
        }
        let allow = answer.header("Allow");
        assert_eq!(allow, (status == 405).then_some("GET, HEAD, PUT, DELETE"), "{line}");
    }
    door.play("GET /kv?prefix", (200, None, "{\"revision\":1,\"keys\":[]}\n"));
}

#[test]
fn what_was_compacted_is_gone() {
    let mut door = Door::start(&[]);
    for n in 2..6 {
        let tag = format!("\"{n}\"");
        door.play("PUT /kv/a | = x", (if n == 2 { 201 } else { 200 }, Some(&tag), ""));
    }
    let compact = Request::new("POST", "/v3/kv/compaction").body("{\"revision\":4}");
    assert_eq!(door.send(&compact).status(), 200);
    door.play("GET /kv/a?rev=4", (200, Some("\"4\""), "x"));
    door.play(
        "GET /kv/a?rev=3",
        (410, None, "etcdserver: mvcc: required revision has been compacted\n"),
    );
    let resumed = "GET /kv/a | Accept: text/event-stream | Last-Event-ID: 2";
    door.play(resumed, (410, None, "etcdserver: mvcc: required revision has been compacted\n"));
}

/// `/kv`, v3 and v2 are doors to the same keys.
#[test]
fn the_other_doors_see_the_same_keys() {
    let mut door = Door::start(&["--enable-v2=true"]);
    door.play("PUT /kv/a/b | = x", (201, Some("\"2\""), ""));
    let v2 = door.play("GET /v2/keys/a/b", (200, None, "{\"action\":\"get\""));
    assert!(v2.text().contains("\"value\":\"x\""), "{}", v2.text());
    let v3 = Request::new("POST", "/v3/kv/range").body("{\"key\":\"L2EvYg==\"}");
    assert!(door.send(&v3).text().contains("\"value\":\"eA==\""));
}
