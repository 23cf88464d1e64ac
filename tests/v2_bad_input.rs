//! Bytes that no honest client sends, through a real socket to the real server.
//!
//! Whatever comes in: the answer is the API's own error or a clean 4xx, or the connection is
//! closed; nothing is stored; and the server goes on answering. What exactly is answered follows
//! etcd where the API decides, and is left open where only HTTP does.
//!
//! `GOLDEN_ENDPOINT=http://host:port` asks that server instead of starting `callboard`.

mod support;

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;
use std::{env, io::Write};

use support::http::{Client, Incoming, PATIENCE, Raw, Request, exchange_raw};
use support::server::Server;

/// How long a connection must be silent after an answer before we take it that no other comes.
const QUIET: Duration = Duration::from_millis(300);

/// What a bad request may lead to.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// The API's error with this code, and the status that goes with it.
    Code(u16),
    /// This status, whatever the body.
    Status(u16),
    /// A 4xx or 501, or a closed connection without an answer.
    Refused,
    /// The API's error, or refused because it is long: etcd closes without a word when the first
    /// line is longer than 4 KiB, which is nothing to copy.
    CodeOrRefused(u16),
    /// Refused by us. etcd 3.4, built with the Go of its time, lets it pass.
    RefusedByUs,
}

/// A server under attack, and the index that must not change.
struct Target {
    _server: Option<Server>,
    addr: SocketAddr,
    foreign: bool,
}

impl Target {
    fn start(flags: &[&str]) -> Self {
        let Ok(endpoint) = env::var("GOLDEN_ENDPOINT") else {
            let server = Server::start(flags);
            let addr = server.client_addr();
            return Self { _server: Some(server), addr, foreign: false };
        };
        let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
        let addr = host.to_socket_addrs().unwrap().next().unwrap();
        Self { _server: None, addr, foreign: true }
    }

    /// The store's index. Asking is also the proof that the server still answers.
    fn index(&self) -> u64 {
        let answer = Client::new(self.addr).get("/v2/keys/_nothing").expect("it still answers");
        assert_eq!(answer.status(), 404, "{}", answer.text());
        answer.header("X-Etcd-Index").unwrap().parse().unwrap()
    }

    /// Sends each of the inputs on a connection of its own, and reports all that went wrong.
    fn attack(&self, inputs: &[(&str, Vec<u8>, Expect)]) {
        let mut wrong = Vec::new();
        for (name, bytes, expect) in inputs {
            if self.foreign && matches!(expect, Expect::RefusedByUs) {
                continue;
            }
            let before = self.index();
            let raw = exchange_raw(self.addr, bytes, false, QUIET).unwrap();
            if let Err(why) = check(&raw, *expect) {
                wrong.push(format!("{name}: {why}; expected {expect:?}, got {}", shown(&raw)));
            }
            let after = self.index();
            if after != before {
                wrong.push(format!("{name}: the index went from {before} to {after}"));
            }
        }
        assert!(wrong.is_empty(), "{} inputs:\n{}", wrong.len(), wrong.join("\n"));
    }
}

fn check(raw: &Raw, expect: Expect) -> Result<(), String> {
    let statuses = raw.statuses();
    let expect = match expect {
        Expect::CodeOrRefused(code) if statuses == [400] => Expect::Code(code),
        Expect::CodeOrRefused(_) | Expect::RefusedByUs => Expect::Refused,
        expect => expect,
    };
    match (expect, &statuses[..]) {
        (Expect::Refused, []) if raw.closed => Ok(()),
        (Expect::Refused, []) => Err("no answer, and not closed".into()),
        (Expect::Refused, all) => {
            let clean = all.iter().all(|status| (400..500).contains(status) || *status == 501);
            if clean { Ok(()) } else { Err("not refused".into()) }
        }
        (Expect::Status(wanted), [status]) if *status == wanted => Ok(()),
        (Expect::Code(code), [status])
            if *status == if code == 100 { 404 } else { 400 }
                && raw.text().contains(&format!("\"errorCode\":{code},")) =>
        {
            Ok(())
        }
        (_, []) => Err("no answer".into()),
        (_, [_, _, ..]) => Err("more than one answer".into()),
        _ => Err("another answer".into()),
    }
}

/// The beginning of what came back.
fn shown(raw: &Raw) -> String {
    let text: String = raw.text().chars().take(300).collect();
    format!("{text:?}, {}", if raw.closed { "closed" } else { "open" })
}

/// A GET with this request target.
fn get(target: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET ", target.as_ref(), b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat()
}

/// A PUT of `/v2/keys/k` with this form.
fn put_form(form: impl AsRef<[u8]>) -> Vec<u8> {
    put("Content-Type: application/x-www-form-urlencoded\r\n", form.as_ref())
}

/// A PUT of `/v2/keys/k` with these header lines and this body.
fn put(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A request with these header lines and no body.
fn with_headers(headers: impl AsRef<[u8]>) -> Vec<u8> {
    [b"PUT /v2/keys/k?value=x HTTP/1.1\r\n", headers.as_ref(), b"\r\n"].concat()
}

#[test]
fn malformed_paths() {
    let target = Target::start(&[]);
    let long = |part: &str, len: usize| format!("/v2/keys/{}?prevIndex=x", part.repeat(len));
    target.attack(&[
        ("bad escape", get("/v2/keys/%zz"), Expect::Status(400)),
        ("cut escape", get("/v2/keys/a%4"), Expect::Status(400)),
        ("lone percent", get("/v2/keys/%"), Expect::Status(400)),
        ("bad escape in the prefix", get("/v2/%6/keys"), Expect::Status(400)),
        ("escaped NUL, absent key", get("/v2/keys/a%00b"), Expect::Code(100)),
        ("overlong UTF-8, absent key", get("/v2/keys/%C0%AE%C0%AE"), Expect::Code(100)),
        ("half a surrogate, absent key", get("/v2/keys/%ED%A0%80"), Expect::Code(100)),
        ("raw NUL", get(b"/v2/keys/a\0b"), Expect::Refused),
        ("raw control byte", get(b"/v2/keys/a\x01b"), Expect::Refused),
        ("raw delete byte", get(b"/v2/keys/a\x7fb"), Expect::Refused),
        ("blank in the path", get("/v2/keys/a b"), Expect::Refused),
        ("tab in the path", get("/v2/keys/a\tb"), Expect::Refused),
        ("no leading slash", get("v2/keys/a"), Expect::Refused),
        ("only a query", get("?recursive=true"), Expect::Refused),
        ("empty target", get(""), Expect::Refused),
        ("no target at all", b"GET HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Expect::Refused),
        ("port that is no number", get("http://a:b/v2/keys"), Expect::Refused),
        ("climbing out", get("/v2/keys/../../../../etc/passwd"), Expect::Status(301)),
        ("climbing out, escaped", get("/v2/keys/%2e%2e/%2e%2e/etc/passwd"), Expect::Status(301)),
        ("backslashes, absent key", get("/v2/keys/..\\..\\x"), Expect::Code(100)),
        ("long name", get(long("n", 8 << 10)), Expect::CodeOrRefused(203)),
        ("longer name", get(long("n", 60 << 10)), Expect::Refused),
        ("name of 2 MiB", get(long("n", 2 << 20)), Expect::Refused),
        ("deep path", get(long("d/", 4 << 10)), Expect::CodeOrRefused(203)),
        ("deeper path", get(long("d/", 30 << 10)), Expect::Refused),
        ("climbing for long", get(long("../", 1000)), Expect::Status(301)),
    ]);
}

#[test]
fn malformed_parameters() {
    let target = Target::start(&[]);
    let many = "a=b&".repeat(100_000) + "ttl=x";
    target.attack(&[
        ("bad escape in the query", get("/v2/keys/k?recursive=%zz"), Expect::Code(210)),
        ("cut escape in the query", get("/v2/keys/k?x=%e"), Expect::Code(210)),
        ("semicolon in the query", get("/v2/keys/k?a;b"), Expect::Code(210)),
        ("bad escape in the form", put_form("value=%G1"), Expect::Code(210)),
        ("cut escape in the form", put_form("value=x&%"), Expect::Code(210)),
        ("semicolon in the form", put_form("value=x;ttl=5"), Expect::Code(210)),
        ("boolean that is bytes", get("/v2/keys/k?recursive=%FF%FE"), Expect::Code(209)),
        ("boolean with NUL", get("/v2/keys/k?recursive=true%00"), Expect::Code(209)),
        (
            "long boolean",
            get(format!("/v2/keys/k?dir={}", "1".repeat(20_000))),
            Expect::CodeOrRefused(209),
        ),
        ("number with NUL", put_form("value=x&prevIndex=1%00"), Expect::Code(203)),
        ("number in other digits", put_form("value=x&prevIndex=%D9%A1"), Expect::Code(203)),
        ("number too large", put_form("value=x&prevIndex=18446744073709551616"), Expect::Code(203)),
        ("long number", put_form(format!("prevIndex={}", "9".repeat(100_000))), Expect::Code(203)),
        ("negative wait", get("/v2/keys/k?wait=true&waitIndex=-1"), Expect::Code(203)),
        ("ttl too large", put_form("value=x&ttl=99999999999999999999"), Expect::Code(202)),
        ("ttl that is no number", put_form("value=x&ttl=NaN"), Expect::Code(202)),
        ("ttl in hexadecimal", put_form("value=x&ttl=0x10"), Expect::Code(202)),
        ("negative ttl", put_form("value=x&ttl=-9223372036854775808"), Expect::Code(202)),
        ("many parameters", put_form(&many), Expect::Code(202)),
        ("binary form", put_form([b"ttl=".as_slice(), &[0xff; 64]].concat()), Expect::Code(202)),
        ("nothing but separators", put_form("&".repeat(50_000) + "dir="), Expect::Code(209)),
        ("wait with PUT", put_form("value=x&wait=true"), Expect::Code(209)),
        ("wait with quorum, absent key", get("/v2/keys/k?wait=1&quorum=1"), Expect::Code(100)),
    ]);
}

#[test]
fn wrong_types() {
    let target = Target::start(&[]);
    let typed = |kind: &str| put(&format!("Content-Type: {kind}\r\n"), b"value=x");
    target.attack(&[
        ("type without a slash", typed("a b"), Expect::Code(210)),
        ("type of a slash", typed("/"), Expect::Code(210)),
        ("bad parameter", typed("application/x-www-form-urlencoded; ="), Expect::Code(210)),
    ]);
}

#[test]
fn wrong_types_of_members() {
    let target = Target::start(&[]);
    let members = |kind: &str, body: &str| {
        let head = format!("POST /v2/members HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n");
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let json = |body: &str| members("application/json", body);
    target.attack(&[
        ("form", members("application/x-www-form-urlencoded", "x"), Expect::Status(415)),
        ("no JSON", json("peerURLs"), Expect::Status(400)),
        ("cut JSON", json("{\"peerURLs\":[\"http"), Expect::Status(400)),
        ("array", json("[]"), Expect::Status(400)),
        ("number", json("{\"peerURLs\":7}"), Expect::Status(400)),
        ("list of numbers", json("{\"peerURLs\":[7]}"), Expect::Status(400)),
        ("null", json("{\"peerURLs\":null}"), Expect::Status(400)),
        ("empty", json(""), Expect::Status(400)),
        ("no URL", json("{\"peerURLs\":[\"\\u0000\"]}"), Expect::Status(400)),
        ("deep", json(&"[".repeat(100_000)), Expect::Refused),
        ("deep in it", json(&format!("{{\"x\":{}", "[".repeat(100_000))), Expect::Refused),
    ]);
}

#[test]
fn wrong_methods() {
    let target = Target::start(&[]);
    let method = |name: &str| format!("{name} /v2/keys/k?value=x HTTP/1.1\r\nHost: x\r\n\r\n");
    target.attack(&[
        ("lower case", method("put").into(), Expect::Status(405)),
        ("unknown", method("BREW").into(), Expect::Status(405)),
        ("PATCH", method("PATCH").into(), Expect::Status(405)),
        ("TRACE", method("TRACE").into(), Expect::Status(405)),
        ("no method", method("").into(), Expect::Refused),
        ("no word", method("P()T").into(), Expect::Refused),
        ("bytes", [b"\xff\xfe", method("").as_bytes()].concat(), Expect::Refused),
        ("of 2 MiB", method(&"M".repeat(2 << 20)).into(), Expect::Refused),
    ]);
}

#[test]
fn not_http() {
    let target = Target::start(&[]);
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 600]].concat();
    target.attack(&[
        (
            "garbage",
            [b"\x00\x01\x02\x03".repeat(100), b"\r\n\r\n".to_vec()].concat(),
            Expect::Refused,
        ),
        ("TLS on a plain port", [hello, b"\r\n\r\n".to_vec()].concat(), Expect::Refused),
        ("HTTP/3.0", b"GET /v2/keys HTTP/3.0\r\nHost: x\r\n\r\n".to_vec(), Expect::Refused),
        ("HTTP/1.1x", b"GET /v2/keys HTTP/1.1x\r\nHost: x\r\n\r\n".to_vec(), Expect::Refused),
        ("no version", b"GET /v2/keys\r\nHost: x\r\n\r\n".to_vec(), Expect::Refused),
        ("another protocol", b"GET /v2/keys FTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Expect::Refused),
        ("JSON", b"{\"action\":\"set\"}\r\n\r\n".to_vec(), Expect::Refused),
        ("line without end, 2 MiB", vec![b'A'; 2 << 20], Expect::Refused),
    ]);
    // Where HTTP/2 is spoken, a broken frame ends that connection and nothing else.
    let before = target.index();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for frame in [vec![0xff; 64], vec![0; 64], b"\xff\xff\xff\x00\x00\x00\x00\x00\x01".to_vec()] {
        let bytes = [preface.as_slice(), &frame].concat();
        exchange_raw(target.addr, &bytes, true, QUIET).unwrap();
    }
    assert_eq!(target.index(), before);
}

#[test]
fn bad_headers() {
    let target = Target::start(&[]);
    let host = "Host: x\r\n";
    target.attack(&[
        ("no host", with_headers(""), Expect::Refused),
        ("two hosts", with_headers("Host: x\r\nHost: y\r\n"), Expect::Refused),
        ("no colon", with_headers(format!("{host}Colon\r\n")), Expect::Refused),
        ("blank in a name", with_headers(format!("{host}A B: c\r\n")), Expect::Refused),
        ("blank before the colon", with_headers(format!("{host}A : c\r\n")), Expect::Refused),
        ("no name", with_headers(format!("{host}: c\r\n")), Expect::RefusedByUs),
        ("NUL in a value", with_headers(format!("{host}A: b\0c\r\n")), Expect::Refused),
        ("bytes in a name", with_headers(b"Host: x\r\nA\xff: b\r\n"), Expect::Refused),
        (
            "a header of 2 MiB",
            with_headers(format!("{host}A: {}\r\n", "b".repeat(2 << 20))),
            Expect::Refused,
        ),
        (
            "100,000 headers",
            with_headers(format!("{host}{}", "A: bcdefghijkl\r\n".repeat(100_000))),
            Expect::Refused,
        ),
    ]);
}

/// Where one server might see one request and another server two. The second must never be served.
#[test]
fn smuggled_requests() {
    let target = Target::start(&[]);
    let form = "Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let hidden = "PUT /v2/keys/smuggled?value=x HTTP/1.1\r\nHost: x\r\n\r\n";
    let put = |headers: &str, body: &str| {
        format!("PUT /v2/keys/k?ttl=x HTTP/1.1\r\n{form}{headers}\r\n{body}").into_bytes()
    };
    let sized = hidden.len();
    let chunked = "Transfer-Encoding: chunked\r\n";
    target.attack(&[
        ("two lengths", put("Content-Length: 0\r\nContent-Length: 5\r\n", hidden), Expect::Refused),
        ("list of lengths", put("Content-Length: 0, 5\r\n", hidden), Expect::Refused),
        ("length with a sign", put("Content-Length: +0\r\n", hidden), Expect::Refused),
        ("negative length", put("Content-Length: -1\r\n", hidden), Expect::Refused),
        ("length in hexadecimal", put("Content-Length: 0x0\r\n", hidden), Expect::Refused),
        (
            "length that overflows",
            put("Content-Length: 18446744073709551616\r\n", hidden),
            Expect::Refused,
        ),
        ("no length at all", put("Content-Length: \r\n", hidden), Expect::RefusedByUs),
        ("unknown encoding", put("Transfer-Encoding: xchunked\r\n", hidden), Expect::Refused),
        (
            "encoding twice",
            put("Transfer-Encoding: chunked, chunked\r\n", &format!("0\r\n\r\n{hidden}")),
            Expect::Refused,
        ),
        (
            "chunked is not last",
            put("Transfer-Encoding: chunked, identity\r\n", &format!("0\r\n\r\n{hidden}")),
            Expect::Refused,
        ),
        ("chunk size with a sign", put(chunked, &format!("+0\r\n\r\n{hidden}")), Expect::Refused),
        (
            "chunk size that overflows",
            put(chunked, &format!("fffffffffffffffff\r\n{hidden}")),
            Expect::Refused,
        ),
        ("chunk size that is no number", put(chunked, &format!("zz\r\n{hidden}")), Expect::Refused),
        (
            "chunk without its end",
            put(chunked, &format!("1\r\nab\r\n0\r\n\r\n{hidden}")),
            Expect::Refused,
        ),
        (
            "body of a refused request",
            put(&format!("Content-Length: {sized}\r\n"), hidden),
            Expect::Code(202),
        ),
    ]);
    // Where both are given, etcd lets the encoding win and reads on: what follows is a second
    // request to it. A proxy that lets the length win has sent only one, so no other is served.
    let body = format!("0\r\n\r\n{hidden}");
    let both = format!("Content-Length: {}\r\n{chunked}", body.len());
    target.attack(&[("length and encoding", put(&both, &body), Expect::RefusedByUs)]);
    let answer = Client::new(target.addr).get("/v2/keys/smuggled").unwrap();
    assert_eq!(answer.status(), 404, "{}", answer.text());
}

#[test]
fn huge_bodies() {
    let target = Target::start(&[]);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let large = vec![b'x'; 11 << 20];
    let head =
        format!("PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\n{form}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"100000\r\n".as_slice(), &large[..1 << 20], b"\r\n"].concat();
    let in_chunks = [head.as_bytes(), &chunk.repeat(11), b"0\r\n\r\n"].concat();
    target.attack(&[
        ("form over 10 MiB", put_form([b"value=".as_slice(), &large].concat()), Expect::Code(210)),
        ("form over 10 MiB in chunks", in_chunks, Expect::Code(210)),
        ("name over 10 MiB", put_form(&large), Expect::Code(210)),
        (
            "body of a GET",
            [get("/v2/keys/k?recursive=x\0").as_slice(), b""].concat(),
            Expect::Refused,
        ),
    ]);
    // A length is announced that never comes: nothing is set aside for it, nothing stored.
    let before = target.index();
    let announced = format!(
        "PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\n{form}Content-Length: 109951162777600\r\n\r\nvalue=x"
    );
    let raw = exchange_raw(target.addr, announced.as_bytes(), true, QUIET).unwrap();
    assert!(raw.statuses().iter().all(|status| *status >= 400), "{}", shown(&raw));
    assert_eq!(target.index(), before);
}

/// v2 has no limit below 10 MiB. Whether ours refuses what `--max-request-bytes` forbids or takes
/// it as etcd does, it must say so cleanly and mean it.
#[test]
fn more_than_a_request_may_have() {
    let target = Target::start(&["--max-request-bytes=65536"]);
    let mut client = Client::new(target.addr);
    let before = target.index();
    let value = "x".repeat(200_000);
    let answer = client.put("/large", &[("value", &value)]).unwrap();
    match answer.status() {
        200 | 201 => {
            assert_eq!(target.index(), before + 1);
            assert!(client.get("/v2/keys/large").unwrap().text().contains(&value));
            client.send(&Request::new("DELETE", "/v2/keys/large")).unwrap();
        }
        400 | 413 => {
            assert_eq!(target.index(), before);
            assert_eq!(client.get("/v2/keys/large").unwrap().status(), 404);
        }
        other => panic!("{other}: {}", answer.text()),
    }
    let answer = client.put("/small", &[("value", "x")]).unwrap();
    assert!(answer.status() < 300, "{}", answer.text());
}

/// Requests that stop in the middle: every cut of one, and then the connection is closed.
#[test]
fn half_requests() {
    let target = Target::start(&[]);
    let whole = put_form("value=x");
    let before = target.index();
    for cut in 0..whole.len() {
        let mut stream = TcpStream::connect(target.addr).unwrap();
        stream.write_all(&whole[..cut]).unwrap();
    }
    assert_eq!(target.index(), before, "half a request was carried out");
}

/// Five hundred clients that began a request and then fell silent keep nobody from being served.
#[test]
fn silent_clients() {
    let target = Target::start(&[]);
    let before = target.index();
    let pieces: [&[u8]; 4] =
        [b"", b"PUT", b"PUT /v2/keys/k HTTP/1.1\r\nHost", &put_form("value=x")[..100]];
    let silent: Vec<_> = (0..500)
        .map(|i| {
            let mut stream = TcpStream::connect(target.addr).unwrap();
            stream.write_all(pieces[i % pieces.len()]).unwrap();
            stream
        })
        .collect();
    assert_eq!(target.index(), before);
    let answer = Client::new(target.addr).put("/served", &[("value", "x")]).unwrap();
    assert!(answer.status() < 300, "{}", answer.text());
    drop(silent);
    assert_eq!(target.index(), before + 1);
}

/// Watches whose clients leave, at every stage, leave nothing behind.
#[test]
fn watches_that_are_left() {
    let target = Target::start(&[]);
    let before = target.index();
    let watch = |query: &str| Request::new("GET", &format!("/v2/keys/left?wait=true{query}"));
    for query in ["", "&recursive=true", "&stream=true", "&waitIndex=18446744073709551615"] {
        for _ in 0..50 {
            Incoming::open(target.addr, &watch(query), PATIENCE).unwrap().hangup();
            let bytes = watch(query).to_bytes("x");
            // This one is gone before the head of the answer comes.
            TcpStream::connect(target.addr).unwrap().write_all(&bytes).unwrap();
        }
    }
    assert_eq!(target.index(), before);
    let watchers = || {
        let stats = Client::new(target.addr).get("/v2/stats/store").unwrap().text();
        stats.contains("\"watchers\":0").then_some(())
    };
    assert!(support::clock::poll(PATIENCE, watchers).is_some(), "watchers are still counted");
}

/// A key of very many parts is refused, or taken and then handled like any other: no stack ends.
#[test]
fn deep_keys() {
    let target = Target::start(&[]);
    let mut client = Client::new(target.addr);
    for depth in [200, 255, 256, 300, 1000, 10_000] {
        let key = format!("/deep{}", "/d".repeat(depth));
        let answer = client.put(&key, &[("value", "x")]);
        let status = answer.map_or(431, |answer| answer.status());
        assert!(status < 500, "depth {depth}: {status}");
        if status < 300 {
            let listing = client.get("/v2/keys/deep?recursive=true&sorted=true").unwrap();
            assert_eq!(listing.status(), 200, "depth {depth}");
            assert!(listing.text().contains(&key), "depth {depth}");
        }
        client.send(&Request::new("DELETE", "/v2/keys/deep?recursive=true")).unwrap();
        let answer = Client::new(target.addr).get("/v2/keys/deep").unwrap();
        assert_eq!(answer.status(), 404, "depth {depth}: {}", answer.text());
    }
}

/// Several requests in one packet are answered one after the other, and a bad one ends the row.
#[test]
fn pipelined_requests() {
    let target = Target::start(&[]);
    let before = target.index();
    let bytes = [get("/v2/keys/none"), get("/v2/keys/k?ttl=x"), get("/v2/keys/none")].concat();
    let raw = exchange_raw(target.addr, &bytes, false, QUIET).unwrap();
    assert_eq!(raw.statuses(), [404, 400, 404], "{}", shown(&raw));
    let bytes = [get("/v2/keys/none"), b"GARBAGE\r\n\r\n".to_vec(), put_form("value=x")].concat();
    let raw = exchange_raw(target.addr, &bytes, false, QUIET).unwrap();
    assert_eq!(raw.statuses().first(), Some(&404), "{}", shown(&raw));
    assert!(raw.closed && raw.statuses().len() <= 2, "{}", shown(&raw));
    assert_eq!(target.index(), before, "what followed the garbage was carried out");
}
