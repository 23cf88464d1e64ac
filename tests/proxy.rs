//! `callboard proxy` and `callboard serve --proxy`, before real members and before endpoints that do what
//! a test tells them.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use support::clock::poll;
use support::fake::Fake;
use support::http::{Client, Head, Incoming, PATIENCE, Request};
use support::json::Json;
use support::process::{Process, free_addr};
use support::server::Server;

struct Proxy {
    addr: SocketAddr,
    process: Process,
    dir: tempfile::TempDir,
}

impl Proxy {
    fn start(endpoints: &[SocketAddr], flags: &[&str]) -> Proxy {
        let urls: Vec<String> = endpoints.iter().map(|addr| format!("http://{addr}")).collect();
        let endpoints = format!("--endpoints={}", urls.join(","));
        Proxy::run(&[&["proxy", &endpoints][..], flags].concat())
    }

    fn run(args: &[&str]) -> Proxy {
        let (dir, addr) = (tempfile::tempdir().unwrap(), free_addr());
        let process = Process::spawn(dir.path(), &with_listener(args, addr));
        let mut proxy = Proxy { addr, process, dir };
        proxy.process.wait_listening(addr);
        proxy
    }

    /// Over a connection of its own.
    fn send(&self, request: &Request) -> support::http::Response {
        Client::new(self.addr).send(request).unwrap()
    }

    fn get(&self, target: &str) -> support::http::Response {
        self.send(&Request::new("GET", target))
    }

    fn open(&self, target: &str) -> Incoming {
        Incoming::open(self.addr, &Request::new("GET", target), PATIENCE).unwrap()
    }

    fn figure(&self, name: &str) -> Option<String> {
        let page = self.get("/metrics").text();
        let line = page.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next().map(str::to_owned)
    }
}

fn with_listener<'a>(args: &[&'a str], addr: SocketAddr) -> Vec<&'a str> {
    let flag = format!("--listen-client-urls=http://{addr}");
    let mut args = args.to_vec();
    args.push(flag.leak()); // a few bytes in a program that ends soon
    args
}

fn put(value: &str) -> Request {
    Request::new("PUT", "/v2/keys/k").form(&[("value", value)])
}

fn watchers(server: &Server) -> i64 {
    let stats = Client::new(server.client_addr()).get("/v2/stats/store").unwrap().text();
    Json::parse(&stats).unwrap().get("watchers").and_then(Json::as_i64).unwrap()
}

fn wait_for_watchers(server: &Server, expected: i64) {
    let reached = poll(PATIENCE, || (watchers(server) == expected).then_some(()));
    assert!(reached.is_some(), "{} watchers instead of {expected}", watchers(server));
}

#[test]
fn requests_are_spread_and_go_on_when_an_endpoint_is_killed() {
    let mut servers = [Server::start(&[]), Server::start(&[])];
    for (server, value) in servers.iter().zip(["one", "two"]) {
        Client::new(server.client_addr()).send(&put(value)).unwrap();
    }
    let proxy = Proxy::start(&servers.each_ref().map(Server::client_addr), &[]);
    let ask = || {
        let answer = proxy.get("/v2/keys/k");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(answer.header("X-Etcd-Index").is_some());
        answer.text().contains("two")
    };
    let both = |n: usize| (0..n).map(|_| ask()).filter(|two| *two).count();
    let twos = both(60);
    assert!((5..=55).contains(&twos), "connections are spread: {twos} of 60");
    let mut client = Client::new(proxy.addr);
    let mut same = || client.get("/v2/keys/k").unwrap().text();
    let first = same();
    assert!((0..20).all(|_| same() == first), "a connection stays where it is");
    servers[0].kill();
    assert_eq!(both(30), 30, "and nobody sees that one is gone");
    // Also writes go on: it is known that they never arrived.
    let statuses: Vec<u16> = (0..10).map(|_| proxy.send(&put("two")).status()).collect();
    assert_eq!(statuses, [200; 10]);
    let shown = proxy.get("/config/local/proxy").text();
    assert!(shown.contains(r#""available":false"#), "{shown}");
    let up = proxy.get("/v2/config/local/proxy").text();
    assert_eq!(up, format!("{{\"endpoints\":[\"http://{}\"]}}\n", servers[1].client_addr()));
    assert_eq!(proxy.figure("callboard_proxy_endpoints_up").unwrap(), "1");
}

#[test]
fn a_hundred_clients_wait_with_one_watch() {
    const CLIENTS: usize = 100;
    let server = Server::start(&[]);
    let proxy = Proxy::start(&[server.client_addr()], &[]);
    let mut client = Client::new(server.client_addr());
    client.put("/k", &[("value", "0")]).unwrap();
    for round in 1..=3 {
        let mut waiting: Vec<Incoming> =
            (0..CLIENTS).map(|_| proxy.open("/v2/keys/k?wait=true")).collect();
        // Their heads are here, and each says from where on it waits.
        let index = (round + 1).to_string();
        assert!(waiting.iter().all(|it| it.head.header("X-Etcd-Index") == Some(&index)));
        wait_for_watchers(&server, 1);
        assert_eq!(proxy.figure("callboard_proxy_shared_watches").unwrap(), "1");
        client.put("/k", &[("value", &round.to_string())]).unwrap();
        let value = format!(r#""value":"{round}""#);
        for waiting in &mut waiting {
            let event = String::from_utf8(waiting.rest(PATIENCE).unwrap()).unwrap();
            assert!(event.contains(&value), "{event}");
        }
    }
    // Who waits for something else, or begins elsewhere, has a watch of its own.
    let others = [
        "/v2/keys/k?wait=true",
        "/v2/keys/k?wait=true&recursive=true",
        "/v2/keys/l?wait=true",
        "/v2/keys/k?wait=true&waitIndex=100",
        "/v2/keys/k?waitIndex=100&wait=true",
        "/v2/keys/k?wait=true&stream=true",
    ];
    let waiting: Vec<Incoming> = others.iter().map(|target| proxy.open(target)).collect();
    wait_for_watchers(&server, 5);
    waiting.into_iter().for_each(Incoming::hangup);
    wait_for_watchers(&server, 0);
    let over = || (proxy.figure("callboard_proxy_shared_watches")? == "0").then_some(());
    assert!(poll(PATIENCE, over).is_some());
}

#[test]
fn a_stream_passes_event_by_event_and_ends_with_its_client() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(&[server.client_addr()], &[]);
    let mut stream = proxy.open("/v2/keys/k?wait=true&stream=true");
    wait_for_watchers(&server, 1);
    for value in ["1", "2", "3"] {
        proxy.send(&put(value));
        let line = stream.next_line(PATIENCE).unwrap().unwrap();
        assert!(String::from_utf8(line).unwrap().contains(&format!(r#""value":"{value}""#)));
    }
    stream.hangup();
    wait_for_watchers(&server, 0);
}

#[test]
fn who_joins_a_watch_gets_nothing_from_before_and_misses_nothing() {
    let fake = Fake::new();
    let proxy = Proxy::start(&[fake.addr()], &[]);
    let target = "/v2/keys/k?wait=true";
    let opened = |index: u64| {
        let addr = proxy.addr;
        let opening = std::thread::spawn(move || {
            Incoming::open(addr, &Request::new("GET", target), PATIENCE).unwrap()
        });
        let mut asked = fake.next();
        assert_eq!(asked.line(), format!("GET {target}"));
        asked.park(index);
        let client = opening.join().unwrap();
        assert_eq!(client.head.header("X-Etcd-Index"), Some(index.to_string().as_str()));
        (client, asked)
    };
    let (mut early, watch) = opened(5);
    let (mut late, probe) = opened(8);
    probe.wait_closed(); // it was for its head; one watch stays
    // An event from before the second client's request was on its way when that came.
    watch.event(7);
    let event = String::from_utf8(early.rest(PATIENCE).unwrap()).unwrap();
    assert!(event.contains(r#""modifiedIndex":7"#), "{event}");
    let mut again = fake.next();
    assert_eq!(again.line(), format!("GET {target}&waitIndex=9"), "the second waits on");
    again.park(9);
    // The endpoint breaks off: the watch goes on where it was.
    drop(again);
    let mut again = fake.next();
    assert_eq!(again.line(), format!("GET {target}&waitIndex=9"));
    again.park(12);
    again.event(11);
    let event = String::from_utf8(late.rest(PATIENCE).unwrap()).unwrap();
    assert!(event.contains(r#""modifiedIndex":11"#), "{event}");

    // A member that is behind answers who comes second: that one begins earlier than the watch.
    let (mut first, watch) = opened(20);
    let (mut second, _) = opened(15);
    let mut again = fake.next();
    assert_eq!(again.line(), format!("GET {target}&waitIndex=16"));
    watch.wait_closed(); // given up for one that begins earlier
    again.park(20);
    again.event(18);
    let event = String::from_utf8(second.rest(PATIENCE).unwrap()).unwrap();
    assert!(event.contains(r#""modifiedIndex":18"#), "{event}");
    let mut again = fake.next();
    assert_eq!(again.line(), format!("GET {target}&waitIndex=21"));
    again.park(21);
    again.event(21);
    let event = String::from_utf8(first.rest(PATIENCE).unwrap()).unwrap();
    assert!(event.contains(r#""modifiedIndex":21"#), "{event}");
}

/// Every write is to the one key, so each client's event must be the very next index after the one that
/// its answer's head says, and that must be no older than the last write answered before it asked.
#[test]
fn clients_that_come_and_go_while_it_is_written_get_exactly_the_next_event() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 40;
    let server = Server::start(&[]);
    let proxy = Proxy::start(&[server.client_addr()], &["--http-workers=2"]);
    let written = AtomicU64::new(0);
    let waiting = AtomicUsize::new(CLIENTS);
    std::thread::scope(|scope| {
        let (proxy, written, waiting) = (&proxy, &written, &waiting);
        scope.spawn(move || {
            let mut writer = Client::new(proxy.addr);
            while waiting.load(Ordering::Acquire) > 0 {
                let answer = writer.send(&put("x")).unwrap();
                written.store(index_in(&answer.head), Ordering::Release);
            }
        });
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                let _leaves = Leaves(waiting); // also when it fails: the writer must end
                for _ in 0..ROUNDS {
                    let before = written.load(Ordering::Acquire);
                    let mut watch = proxy.open("/v2/keys/k?wait=true");
                    let index = index_in(&watch.head);
                    assert!(index >= before, "{index} is from before {before}");
                    let event = String::from_utf8(watch.rest(PATIENCE).unwrap()).unwrap();
                    let event = Json::parse(event.trim_end()).unwrap();
                    let at = event.get("node").and_then(|node| node.get("modifiedIndex"));
                    assert_eq!(at.and_then(Json::as_i64), Some(index as i64 + 1));
                }
            });
        }
    });
    let shared = proxy.figure("callboard_proxy_shared_watch_clients_total").unwrap();
    assert_eq!(shared, (CLIENTS * ROUNDS).to_string(), "all of them shared");
    wait_for_watchers(&server, 0);
}

struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn index_in(head: &Head) -> u64 {
    head.header("X-Etcd-Index").and_then(|index| index.parse().ok()).expect("an index")
}

#[test]
fn a_watch_that_cannot_go_on_is_cut_not_ended() {
    let fake = Fake::new();
    let proxy = Proxy::start(&[fake.addr()], &[]);
    let addr = proxy.addr;
    let opening = std::thread::spawn(move || {
        Incoming::open(addr, &Request::new("GET", "/v2/keys/k?wait=true"), PATIENCE).unwrap()
    });
    let mut asked = fake.next();
    asked.park(5);
    let mut client = opening.join().unwrap();
    drop(asked);
    fake.next().answer("400 Bad Request", r#"{"errorCode":401}"#);
    assert!(client.rest(PATIENCE).is_err(), "an end would look like the answer");

    // A refusal is each client's own.
    let asking = std::thread::spawn(move || {
        Client::new(addr).get("/v2/keys/k?wait=true&waitIndex=1").unwrap()
    });
    fake.next().answer("400 Bad Request", r#"{"errorCode":401}"#);
    fake.next().answer("400 Bad Request", r#"{"errorCode":401}"#);
    assert_eq!(asking.join().unwrap().status(), 400);
}

#[test]
fn a_write_that_may_have_arrived_is_not_sent_again() {
    let (one, two) = (Fake::new(), Fake::new());
    let proxy = Proxy::start(&[one.addr(), two.addr()], &["--proxy-failure-wait=0"]);
    let take = |one: &Fake, two: &Fake| {
        poll(PATIENCE, || [one, two].into_iter().find_map(Fake::try_next)).expect("a request")
    };
    for method in ["PUT", "POST", "DELETE"] {
        let addr = proxy.addr;
        let asking = std::thread::spawn(move || {
            let request = Request::new(method, "/v2/keys/k").form(&[("value", "1")]);
            Client::new(addr).send(&request).unwrap()
        });
        let taken = take(&one, &two);
        assert_eq!(taken.line(), format!("{method} /v2/keys/k"));
        assert_eq!(taken.body, b"value=1");
        assert_eq!(taken.header("X-Forwarded-For"), Some("127.0.0.1"));
        assert_ne!(taken.header("Host"), Some(addr.to_string().as_str()));
        drop(taken);
        let answer = asking.join().unwrap();
        assert_eq!(answer.status(), 502);
        assert!(answer.text().contains("may or may not"), "{}", answer.text());
        assert!(!one.has_more() && !two.has_more());
    }
    // A read is.
    let addr = proxy.addr;
    let asking = std::thread::spawn(move || Client::new(addr).get("/v2/keys/k").unwrap());
    drop(take(&one, &two));
    take(&one, &two).answer("200 OK", "read");
    assert_eq!(asking.join().unwrap().text(), "read");
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let fake = Fake::new();
    let proxy = Proxy::start(&[fake.addr()], &[]);
    for head in
        ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    {
        let addr = proxy.addr;
        let asking = std::thread::spawn(move || Client::new(addr).get("/v2/keys/k"));
        fake.next().say(&format!("HTTP/1.1 200 OK\r\n{head}"));
        assert!(asking.join().unwrap().is_err());
    }
}

#[test]
fn readonly_lets_only_get_through() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(&[server.client_addr()], &["--readonly"]);
    assert_eq!(proxy.get("/v2/keys/k").status(), 404);
    for method in ["PUT", "POST", "DELETE", "HEAD", "OPTIONS"] {
        let answer = proxy.send(&Request::new(method, "/v2/keys/k?value=1"));
        assert_eq!(answer.status(), 501, "{method}");
    }
    assert_eq!(proxy.send(&put("1")).status(), 501);
    assert_eq!(proxy.get("/v2/keys/k").status(), 404);
    assert_eq!(proxy.get("/health").text(), r#"{"health":"true","reason":""}"#);
}

#[test]
fn without_an_endpoint_it_says_so() {
    let proxy = Proxy::start(&[free_addr(), free_addr()], &[]);
    let tried = proxy.send(&put("1"));
    assert_eq!(tried.status(), 502);
    let message = r#"{"message":"httpproxy: unable to get response from 2 endpoint(s)"}"#;
    assert_eq!(tried.text(), message);
    let resting = proxy.get("/v2/keys/k");
    assert_eq!(resting.status(), 503);
    let message = r#"{"message":"httpproxy: zero endpoints currently available"}"#;
    assert_eq!(resting.text(), message);
    assert_eq!(proxy.get("/v2/keys/k?wait=true").status(), 503);
    assert_eq!(proxy.get("/health").status(), 503);
    assert_eq!(proxy.get("/v2/config/local/proxy").text(), "{\"endpoints\":[]}\n");
    let dropped = "etcd_proxy_dropped_total{method=\"GET\",proxying_error=\"zero_endpoints\"}";
    assert_eq!(proxy.figure(dropped).unwrap(), "3");
}

#[test]
fn a_body_has_a_limit() {
    let fake = Fake::new();
    let proxy = Proxy::start(&[fake.addr()], &["--max-request-bytes=1000"]);
    assert_eq!(proxy.send(&put(&"x".repeat(2000))).status(), 413);
    assert!(!fake.has_more());
}

fn members(client: SocketAddr, peer: SocketAddr) -> String {
    format!(
        r#"[{{"id":12345678901234567890,"name":"a","peerURLs":["http://{peer}"],"clientURLs":["http://{client}"]}}]"#
    )
}

#[test]
fn the_endpoints_follow_the_members() {
    let (one, two) = (Fake::new(), Fake::new());
    let proxy = Proxy::start(&[one.addr()], &["--proxy-refresh-interval=50"]);
    let asked = one.next();
    assert_eq!(asked.line(), "GET /v2/members");
    let list = members(two.addr(), two.addr());
    asked.answer("200 OK", &format!(r#"{{"members":{list}}}"#));
    // From now on the second is asked, for the list too.
    let asked = two.next();
    assert_eq!(asked.line(), "GET /v2/members");
    asked.answer("500 Internal Server Error", "");
    let asked = one.next(); // the first is still known from the flag
    assert_eq!(asked.line(), "GET /v2/members");
    let up = proxy.get("/v2/config/local/proxy").text();
    assert_eq!(up, format!("{{\"endpoints\":[\"http://{}\"]}}\n", two.addr()));
}

#[test]
fn serve_as_a_proxy_asks_the_peers_and_remembers_them() {
    let (peer, moved, server) = (Fake::new(), Fake::new(), Server::start(&[]));
    let cluster = format!("--initial-cluster=a=http://{}", peer.addr());
    let args = ["serve", "--proxy=on", "--data-dir=data", &cluster];
    let mut proxy = Proxy::run(&args);
    let asked = peer.next();
    assert_eq!(asked.line(), "GET /members");
    asked.answer("503 Service Unavailable", "");
    peer.next().answer("200 OK", &members(server.client_addr(), moved.addr())); // asked again
    let found = poll(PATIENCE, || (proxy.get("/v2/keys/k").status() == 404).then_some(()));
    assert!(found.is_some(), "{}", proxy.process.log());
    assert_eq!(proxy.send(&put("1")).status(), 201);
    let kept = fs::read_to_string(proxy.dir.path().join("data/proxy/cluster")).unwrap();
    assert_eq!(kept, format!(r#"{{"PeerURLs":["http://{}"]}}"#, moved.addr()));
    proxy.process.signal_to_end();
    assert!(proxy.process.ended().success(), "{}", proxy.process.log());

    // Where a proxy ran a proxy runs again, also without the flag, and asks those it remembers.
    let args = with_listener(
        &["serve", "--data-dir=data", &cluster, "--advertise-client-urls=http://a:1"],
        proxy.addr,
    );
    let mut again = Process::spawn(proxy.dir.path(), &args);
    moved.next().answer("200 OK", &members(server.client_addr(), moved.addr()));
    again.wait_listening(proxy.addr);
    let found = poll(PATIENCE, || (proxy.get("/v2/keys/k").status() == 200).then_some(()));
    assert!(found.is_some(), "{}", again.log());
    drop(again);

    fs::create_dir(proxy.dir.path().join("data/member")).unwrap();
    let mut both = Process::spawn(proxy.dir.path(), &args);
    assert_eq!(both.ended().code(), Some(1));
    assert!(both.log().contains("holds both member and proxy"), "{}", both.log());
}

#[test]
fn a_proxy_that_ends_lets_its_clients_go() {
    let server = Server::start(&[]);
    let mut proxy = Proxy::start(&[server.client_addr()], &[]);
    let mut shared = proxy.open("/v2/keys/k?wait=true");
    let mut stream = proxy.open("/v2/keys/k?wait=true&stream=true");
    wait_for_watchers(&server, 2);
    proxy.process.signal_to_end();
    assert_eq!(shared.rest(PATIENCE).unwrap(), b"", "it ends as a member's does");
    assert_eq!(stream.rest(PATIENCE).unwrap(), b"");
    assert!(proxy.process.ended().success());
    wait_for_watchers(&server, 0);
}

#[test]
fn endpoints_that_cannot_be_spoken_to_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::spawn(dir.path(), &["proxy", "--endpoints=unix:///x"]);
    assert!(!process.ended().success());
    let said = process.log();
    assert!(said.contains("setting --endpoints") && said.contains("Unix sockets"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
