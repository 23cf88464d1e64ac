//! Clients that ask for too much, say too little or never read, against a real process: each is held back
//! or turned away, memory stays bounded, and everybody else is served.
//!
//! What HTTP/2 has of its own kind is in `tests/grpc_door/hostile.rs`.

mod support;

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use callboard::http::v3::pb::etcdserverpb as pb;
use rustix::net::{AddressFamily, SocketType};
use support::{
    clock::{now, poll},
    grpc::{Grpc, Manners, framed},
    http::{Client, PATIENCE, Request, Response},
    server::{Server, free_addrs},
};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const MIB: usize = 1 << 20;

/// Bytes of memory that a process has resident.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// A figure of `/metrics`, labels and all.
fn figure(addr: SocketAddr, name: &str) -> u64 {
    let page = Client::new(addr).get("/metrics").unwrap().text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
}

/// A connection to `to` from an address of loopback.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((from, 0)))?;
    rustix::net::connect(&socket, &to)?;
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(PATIENCE))?;
    Ok(tcp)
}

/// One request on an open connection; whether it was answered well.
fn is_served(tcp: &mut TcpStream) -> bool {
    const ASK: &[u8] = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
    if tcp.write_all(ASK).is_err() {
        return false;
    }
    while !answer.ends_with(b"}") {
        match tcp.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
        }
    }
    answer.starts_with(b"HTTP/1.1 200")
}

/// Writes, reads and keeps a lease alive.
fn is_well(addr: SocketAddr) {
    let mut client = Client::new(addr);
    let answer = client.put("/well", &[("value", "1")]).unwrap();
    assert!(matches!(answer.status(), 200 | 201), "{}", answer.text());
    assert_eq!(client.get("/v2/keys/well?quorum=true").unwrap().status(), 200);
    let grpc = Grpc::connect(addr);
    let lease = pb::LeaseGrantRequest { ttl: 60, id: 0 };
    let lease: pb::LeaseGrantResponse =
        grpc.unary("/etcdserverpb.Lease/LeaseGrant", &lease).unwrap();
    assert_eq!(keep_alive(&grpc, lease.id), 60);
}

fn keep_alive(grpc: &Grpc, id: i64) -> i64 {
    let mut stream = grpc.stream("/etcdserverpb.Lease/LeaseKeepAlive");
    stream.send(&pb::LeaseKeepAliveRequest { id });
    stream.half_close();
    stream.recv::<pb::LeaseKeepAliveResponse>().unwrap().unwrap().ttl
}

fn put(key: &str, len: usize) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), vec![b'v'; len].into());
    pb::PutRequest { key, value, ..pb::PutRequest::default() }
}

fn range(key: &'static str, range_end: &'static str) -> pb::RangeRequest {
    let (key, range_end) = (key.into(), range_end.into());
    pb::RangeRequest { key, range_end, ..pb::RangeRequest::default() }
}

/// Two thousand connections that have asked once and then say nothing; `CALLBOARD_IDLE=10000` takes more.
#[test]
fn idle_connections_cost_little() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let many = std::env::var("CALLBOARD_IDLE").map_or(2000, |text| text.parse().unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let server = Server::start(&["--max-connections-per-address=0"]);
    let addr = server.client_addr();
    is_well(addr);
    let before = resident(&server);
    let idle: Vec<TcpStream> = (0..many)
        .map(|_| {
            let mut tcp = TcpStream::connect(addr).unwrap();
            assert!(is_served(&mut tcp));
            tcp
        })
        .collect();
    let each = resident(&server).saturating_sub(before) / many;
    eprintln!("{each} bytes for each of {many} idle connections");
    assert!(each < 32 * 1024, "{each} bytes for each of {many} idle connections");
    let begun = now();
    for _ in 0..100 {
        assert_eq!(Client::new(addr).get("/v2/keys/well?quorum=true").unwrap().status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    is_well(addr);
    drop(idle);
}

/// Heads and bodies that never end, silence, and half a preface of HTTP/2: all are cut off within half a
/// minute, and nobody waits for them.
#[test]
fn the_slow_are_cut_off() {
    let server = Server::start(&[]);
    let addr = server.client_addr();
    let begins: [&[u8]; 6] = [
        b"",
        b"GET /v2/ke",
        b"GET /v2/keys/a HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nval",
        b"PUT /kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ];
    let open = |begin: &&[u8]| {
        let mut tcp = TcpStream::connect(addr).unwrap();
        tcp.set_nonblocking(true).unwrap();
        tcp.write_all(begin).unwrap();
        tcp
    };
    let mut slow: Vec<_> =
        begins.iter().cycle().take(300).map(|begin| (open(begin), begin.len() > 20)).collect();
    let begun = now();
    let mut dripped = 0;
    let all_cut = poll(Duration::from_secs(45), || {
        let seconds = begun.elapsed().as_secs();
        let drip = seconds > dripped;
        dripped = seconds;
        slow.retain_mut(|(tcp, drips)| {
            if drip && *drips {
                _ = tcp.write(b"x"); // the read below finds out
            }
            let mut answer = [0; 4096];
            match tcp.read(&mut answer) {
                Ok(0) => false,
                Ok(_) => true,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            }
        });
        slow.is_empty().then_some(())
    });
    assert!(all_cut.is_some(), "{} are still connected", slow.len());
    is_well(addr);
}

/// More connections than there are places: closed at once and counted, and the places come back. The
/// listener for metrics has its own.
#[test]
fn connections_are_limited() {
    let [metrics] = free_addrs();
    let server = Server::start(&[
        "--max-connections=8",
        "--max-connections-per-address=5",
        &format!("--listen-metrics-urls=http://{metrics}"),
    ]);
    let addr = server.client_addr();
    let closed = |tcp: &mut TcpStream| !is_served(tcp);
    poll(PATIENCE, || (figure(metrics, "callboard_connections") == 1).then_some(()))
        .expect("those of the start are gone");
    let first = Ipv4Addr::LOCALHOST;
    let second = Ipv4Addr::new(127, 0, 0, 2);
    let mut open: Vec<TcpStream> = (0..5).map(|_| connect_from(first, addr).unwrap()).collect();
    assert!(open.iter_mut().all(is_served));
    assert!(closed(&mut connect_from(first, addr).unwrap()), "its address has no place");
    open.extend((0..3).map(|_| connect_from(second, addr).unwrap()));
    assert!(open.iter_mut().all(is_served));
    assert!(closed(&mut connect_from(second, addr).unwrap()), "the listener has no place");
    let refused = |beyond| {
        figure(metrics, &format!("callboard_connections_refused_total{{beyond=\"{beyond}\"}}"))
    };
    assert_eq!((refused("address"), refused("listener")), (1, 1));
    for path in ["/health", "/readyz"] {
        assert_eq!(Client::new(metrics).get(path).unwrap().status(), 200);
    }
    open.truncate(1);
    let again = poll(PATIENCE, || {
        let mut tcp = connect_from(first, addr).ok()?;
        is_served(&mut tcp).then_some(tcp)
    });
    assert!(again.is_some(), "places come back");
    assert!(is_served(&mut open[0]), "who was in stays in");
}

/// Clients that ask for a lot and do not read it: what waits for them is bounded, others are told to come
/// again, and those who take nothing are cut off.
#[test]
fn readers_that_do_not_read_hold_bounded_memory() {
    let server = Server::start(&["--max-response-bytes=33554432", "--stalled-client-timeout=2s"]);
    let addr = server.client_addr();
    let grpc = Grpc::connect(addr);
    for n in 0..8 {
        grpc.unary::<_, pb::PutResponse>(PUT, &put(&format!("/big/{n}"), MIB)).unwrap();
    }
    let whole: pb::RangeResponse = grpc.unary(RANGE, &range("/big/", "/big0")).unwrap();
    assert_eq!(whole.kvs.len(), 8);
    let before = resident(&server);

    // 40 answers of 8 MiB each over HTTP/2, and 40 over HTTP/1.1 of which the system takes some.
    let manners = Manners { window_bytes: 65_535, connection_window_bytes: 65_535 };
    let idle = Grpc::connect_as(addr, manners);
    let mut calls: Vec<_> = (0..40).map(|_| idle.stream(RANGE)).collect();
    for call in &mut calls {
        call.send_bytes(framed(&range("/big/", "/big0")), true);
    }
    let ask = b"GET /v2/keys/big?recursive=true HTTP/1.1\r\nHost: x\r\n\r\n";
    let unread: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut tcp = TcpStream::connect(addr).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&tcp, 64 << 10).unwrap();
            tcp.write_all(ask).unwrap();
            tcp
        })
        .collect();
    let refused =
        poll(PATIENCE, || (figure(addr, "callboard_responses_refused_total") > 20).then_some(()));
    assert!(refused.is_some(), "most find no room");
    let held = figure(addr, "callboard_response_bytes") as usize;
    assert!(held <= 32 * MIB, "{held}");
    let grown = resident(&server).saturating_sub(before);
    // Four may be put together at once before there is room for them, keys and all.
    assert!(grown < 128 * MIB, "{} MiB more", grown / MIB);
    is_well(addr);

    let freed = poll(PATIENCE, || (figure(addr, "callboard_response_bytes") == 0).then_some(()));
    assert!(freed.is_some(), "who takes nothing is cut off");
    let whole: pb::RangeResponse = grpc.unary(RANGE, &range("/big/", "/big0")).unwrap();
    assert_eq!(whole.kvs.len(), 8);
    let ends = calls.into_iter().map(|mut call| call.recv_bytes().is_err()).filter(|end| *end);
    assert!(ends.count() > 20, "they were refused, or reset");
    drop(unread);
}

/// Watches that are never read hold references to what the store has anyway, and no copies.
#[test]
fn watchers_that_do_not_read_hold_bounded_memory() {
    let server = Server::start(&[]);
    let addr = server.client_addr();
    let manners = Manners { window_bytes: 1024, connection_window_bytes: 65_535 };
    let idle = Grpc::connect_as(addr, manners);
    let streams: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = idle.stream("/etcdserverpb.Watch/Watch");
            let keys = pb::WatchCreateRequest { key: "w".into(), ..Default::default() };
            let union = pb::watch_request::RequestUnion::CreateRequest(keys);
            stream.send(&pb::WatchRequest { request_union: Some(union) });
            assert!(stream.recv::<pb::WatchResponse>().unwrap().unwrap().created);
            stream
        })
        .collect();
    let before = resident(&server);
    let grpc = Grpc::connect(addr);
    let written = 60 * MIB;
    for _ in 0..60 {
        grpc.unary::<_, pb::PutResponse>(PUT, &put("w", MIB)).unwrap();
    }
    // History keeps each value once, the log's memory once more, and each stream has one to send.
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 4 * written, "{} MiB more for {} MiB", grown / MIB, written / MIB);
    is_well(addr);
    drop(streams);
}

fn assert_too_many(answer: &Response) {
    assert_eq!(answer.status(), 429, "{}", answer.text());
    assert_eq!(answer.header("Retry-After"), Some("1"));
    assert!(answer.text().contains("etcdserver: too many requests"), "{}", answer.text());
}

/// With one place for writes, a flood of them is mostly refused, on each door in its own words, and
/// leases and reads go on.
#[test]
fn a_flood_of_writes_is_refused_and_leases_go_on() {
    let server = Server::start(&["--max-requests-writes=1"]);
    let addr = server.client_addr();
    let grpc = Grpc::connect(addr);
    let lease = pb::LeaseGrantRequest { ttl: 60, id: 7 };
    grpc.unary::<_, pb::LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", &lease).unwrap();
    let refusals = std::thread::scope(|scope| {
        let flood = |request: &'static (dyn Fn() -> Request + Sync)| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        let mut client = Client::new(addr);
                        let answers = (0..100).map(|_| client.send(&request()).unwrap());
                        let refused = answers.filter(|answer| answer.status() == 429);
                        let refused: Vec<Response> = refused.collect();
                        refused.iter().for_each(assert_too_many);
                        refused.len()
                    })
                })
                .collect();
            threads
        };
        let doors = [
            flood(&|| Request::new("PUT", "/v2/keys/flood").form(&[("value", "1")])),
            flood(&|| Request::new("PUT", "/kv/flood").body("1")),
            flood(&|| Request::new("POST", "/v3/kv/put").body(r#"{"key":"YQ==","value":"YQ=="}"#)),
        ];
        let over_grpc = scope.spawn(|| {
            let grpc = Grpc::connect(addr);
            let put = put("flood", 1);
            let answers = (0..200).map(|_| grpc.unary::<_, pb::PutResponse>(PUT, &put));
            let refused = answers.filter_map(Result::err);
            let refused = refused.inspect(|status| {
                assert!(status.is(8, "etcdserver: too many requests"), "{status:?}");
            });
            refused.count()
        });
        for _ in 0..50 {
            assert_eq!(keep_alive(&grpc, 7), 60);
            grpc.unary::<_, pb::RangeResponse>(RANGE, &range("flood", "")).unwrap();
        }
        let mut counts: Vec<usize> = doors
            .into_iter()
            .map(|threads| threads.into_iter().map(|thread| thread.join().unwrap()).sum())
            .collect();
        counts.push(over_grpc.join().unwrap());
        counts
    });
    assert!(refusals.iter().all(|count| *count > 0), "{refusals:?}");
    let counted = figure(addr, r#"callboard_requests_refused_total{class="writes"}"#);
    assert_eq!(counted, refusals.iter().sum::<usize>() as u64);
    assert_eq!(figure(addr, r#"callboard_requests_under_way{class="writes"}"#), 0);
    is_well(addr);
}

/// Large ranges have few places; small reads, writes and leases do not wait for them.
#[test]
fn a_flood_of_large_ranges_is_refused_and_writes_go_on() {
    let server = Server::start(&["--max-requests-large=1"]);
    let addr = server.client_addr();
    let grpc = Grpc::connect(addr);
    for block in 0..20 {
        let puts = (0..100).map(|n| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(put(
                &format!("/l/{block}-{n}"),
                200,
            ))),
        });
        let txn = pb::TxnRequest { success: puts.collect(), ..pb::TxnRequest::default() };
        grpc.unary::<_, pb::TxnResponse>("/etcdserverpb.KV/Txn", &txn).unwrap();
    }
    let flood = |ask: Request| {
        std::thread::spawn(move || {
            let mut client = Client::new(addr);
            let answers: Vec<_> = (0..30).map(|_| client.send(&ask).unwrap()).collect();
            let (refused, served): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|answer| answer.status() == 429);
            refused.iter().for_each(assert_too_many);
            assert!(served.iter().all(|answer| answer.status() == 200));
            refused.len()
        })
    };
    let gateway =
        || Request::new("POST", "/v3/kv/range").body(r#"{"key":"L2wv","range_end":"L2ww"}"#);
    let mut threads = Vec::new();
    for _ in 0..3 {
        threads.push(flood(gateway()));
        threads.push(flood(Request::new("GET", "/v2/keys/l?recursive=true")));
        threads.push(flood(Request::new("GET", "/kv/l/?prefix=true&limit=2000")));
    }
    for _ in 0..10 {
        is_well(addr);
    }
    let refused: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(refused > 0, "nine at once, and one place");
    let answer = Client::new(addr).send(&gateway()).unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// Long polls and streams have places, and those that keep leases alive have others.
#[test]
fn what_is_held_open_is_limited() {
    let server = Server::start(&["--max-requests-held=3", "--max-watches-per-connection=5"]);
    let addr = server.client_addr();
    let poll_key = Request::new("GET", "/v2/keys/held?wait=true");
    let held: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut tcp = TcpStream::connect(addr).unwrap();
            tcp.write_all(&poll_key.to_bytes("x")).unwrap();
            tcp
        })
        .collect();
    let name = r#"callboard_requests_under_way{class="held"}"#;
    poll(PATIENCE, || (figure(addr, name) == 3).then_some(())).expect("all are held");
    let mut client = Client::new(addr);
    assert_too_many(&client.send(&poll_key).unwrap());
    assert_too_many(&client.get("/kv/held?wait=true").unwrap());
    let body = r#"{"create_request":{"key":"YQ=="}}"#;
    assert_too_many(&client.send(&Request::new("POST", "/v3/watch").body(body)).unwrap());
    let grpc = Grpc::connect(addr);
    let mut watch = grpc.stream("/etcdserverpb.Watch/Watch");
    assert!(watch.recv::<pb::WatchResponse>().unwrap_err().is(8, "etcdserver: too many requests"));
    is_well(addr);
    drop(held);
    poll(PATIENCE, || (figure(addr, name) == 0).then_some(())).expect("places come back");

    // One connection has five watches, however many streams they are on.
    let create = |grpc: &Grpc, count: usize| {
        let mut stream = grpc.stream("/etcdserverpb.Watch/Watch");
        let mut refused = 0;
        for _ in 0..count {
            let keys = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
            let union = pb::watch_request::RequestUnion::CreateRequest(keys);
            stream.send(&pb::WatchRequest { request_union: Some(union) });
            let answer = stream.recv::<pb::WatchResponse>().unwrap().unwrap();
            if answer.canceled {
                assert_eq!(answer.cancel_reason, "etcdserver: too many requests");
                refused += 1;
            }
        }
        (stream, refused)
    };
    let (first, refused) = create(&grpc, 3);
    assert_eq!(refused, 0);
    let (_second, refused) = create(&grpc, 3);
    assert_eq!(refused, 1);
    let (_other, refused) = create(&Grpc::connect(addr), 2);
    assert_eq!(refused, 0, "another connection has its own");
    drop(first);
}

/// At the peer port: nonsense, HTTP/2, requests without end, Protobuf and MessagePack from nobody.
#[test]
fn nonsense_at_the_peer_port_harms_nobody() {
    let server = Server::start(&[]);
    let addr = server.peer_addr();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |len: usize| -> Vec<u8> {
        (0..len)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed as u8
            })
            .collect()
    };
    let post = |path: &str, body: &[u8]| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let upgrade = |headers: &str, body: &[u8]| {
        let head = format!(
            "GET /raft/stream HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: callboard-peer\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let mut inputs = vec![
        vec![0xff; 1000],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        [&b"GET / HTTP/1.1\r\n"[..], &b"X: yyyyyyyyyyyyyyyy\r\n".repeat(20_000)].concat(),
        post("/raft", &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        post("/raft/snapshot", &random(5000)),
        upgrade("", &random(5000)),
        upgrade(
            "X-Callboard-Cluster-ID: 1\r\nX-Callboard-From: 2\r\nX-Callboard-To: 3\r\nX-Callboard-Protocol: 1\r\n",
            &[0xdd; 5000],
        ),
    ];
    for _ in 0..100 {
        inputs.push(random(2000));
        inputs.push(post("/raft/stream", &random(500)));
        let deep = [0x91; 5000]; // MessagePack: an array in an array in an array
        inputs.push(upgrade("", &deep));
    }
    let before = resident(&server);
    for input in &inputs {
        let mut tcp = TcpStream::connect(addr).unwrap();
        _ = tcp.write_all(input); // it may hang up before
    }
    // Silent ones beyond what is let in from one address do not keep others out for long.
    let silent: Vec<TcpStream> = (0..700).map(|_| TcpStream::connect(addr).unwrap()).collect();
    drop(silent);
    let version = Request::new("GET", "/version");
    let answered = poll(PATIENCE, || Client::new(addr).send(&version).ok());
    assert_eq!(answered.expect("it answers").status(), 200);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
    is_well(server.client_addr());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
