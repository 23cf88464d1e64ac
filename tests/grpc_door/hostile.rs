//! What clients do that mean no good, or know no better: each harms itself alone.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use callboard::http::v3::{
    methods::{Streaming, Unary},
    pb::etcdserverpb::{RangeRequest, RangeResponse},
};

use crate::calls::{PUT, RANGE, get, put};
use crate::support::{
    clock::poll,
    grpc::{Grpc, Manners, framed},
    http::{Client, PATIENCE},
    server::Server,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = len[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// POST to `path` in HPACK, without compression.
fn head(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
    let mut literal = |index: u8, value: &str| {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.bytes());
    };
    literal(0x04, path);
    literal(0x01, "x");
    literal(0x0f, ""); // its index takes one more byte:
    block.truncate(block.len() - 1);
    block.push(0x10); // content-type is the 31st
    block.push(16);
    block.extend(b"application/grpc");
    block
}

/// Sends bytes, and reads until the server hangs up or is silent for a while.
fn exchange(addr: SocketAddr, bytes: &[u8], wait: Duration) -> (Vec<u8>, bool) {
    let mut tcp = TcpStream::connect(addr).unwrap();
    let mut sender = tcp.try_clone().unwrap();
    let to_send = bytes.to_vec();
    let sending = std::thread::spawn(move || _ = sender.write_all(&to_send));
    tcp.set_read_timeout(Some(wait)).unwrap();
    let mut all = Vec::new();
    let closed = match tcp.read_to_end(&mut all) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    _ = tcp.shutdown(Shutdown::Both);
    sending.join().unwrap();
    (all, closed)
}

/// The frames in what a server sent: kind and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while bytes.len() >= 9 {
        let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let end = (9 + len).min(bytes.len());
        found.push((bytes[3], bytes[9..end].to_vec()));
        bytes = &bytes[end..];
    }
    found
}

fn is_well(server: &Server) {
    let grpc = Grpc::connect(server.client_addr());
    grpc.unary::<_, RangeResponse>(RANGE, &get("a")).unwrap();
    assert_eq!(Client::new(server.client_addr()).get("/readyz").unwrap().status(), 200);
}

/// After the preface: nonsense, frames that are too long, heads without end, streams that are given up
/// as fast as they are opened. The server hangs up and says why.
#[test]
fn connections_that_mean_no_good_are_closed() {
    let server = Server::start(&[]);
    let settings = frame(SETTINGS, 0, 0, &[]);
    let begin = [PREFACE, &settings].concat();
    let mut resets = begin.clone();
    for n in 0..20_000_u32 {
        resets.extend(frame(HEADERS, 4, 2 * n + 1, &head(RANGE)));
        resets.extend(frame(RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    let mut endless = begin.clone();
    endless.extend(frame(HEADERS, 0, 1, &head(RANGE)));
    for _ in 0..2000 {
        let mut block = vec![0x00, 1, b'a', 0x7f, 0x80, 0x3e]; // a literal of 8063 bytes
        block.extend(vec![b'b'; 8063]);
        endless.extend(frame(9, 0, 1, &block));
    }
    let cases = [
        ("nonsense", [PREFACE, &[0xff; 400]].concat()),
        ("HTTP/1.1", [PREFACE, b"GET / HTTP/1.1\r\n\r\n........................"].concat()),
        ("a frame too long", [&begin[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat()),
        ("rapid resets", resets),
        ("a head without end", endless),
        ("an even stream", [&begin[..], &frame(HEADERS, 5, 2, &head(RANGE))].concat()),
        ("bad HPACK", [&begin[..], &frame(HEADERS, 5, 1, &[0xff; 20])].concat()),
    ];
    for (what, bytes) in cases {
        let (answer, closed) = exchange(server.client_addr(), &bytes, PATIENCE);
        assert!(closed, "{what}: {:?}", frames(&answer).last());
        is_well(&server);
    }
}

/// A path that begins with no slash is no path: whatever would judge paths by their beginning would let
/// it pass.
#[test]
fn a_path_without_a_slash_is_refused() {
    let server = Server::start(&[]);
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for (path, answered) in
        [(RANGE, true), (&RANGE[1..], false), ("a/b", false), ("", false), ("v2/keys", false)]
    {
        let request =
            [&begin[..], &frame(HEADERS, 4, 1, &head(path)), &frame(0, 1, 1, &framed(&get("a")))];
        let (answer, _) =
            exchange(server.client_addr(), &request.concat(), Duration::from_millis(500));
        let data = frames(&answer).iter().filter(|(kind, _)| *kind == 0).count();
        assert_eq!(data > 0, answered, "{path:?}: {:?}", frames(&answer));
    }
    is_well(&server);
}

/// Twenty bytes that announce a key, a stream or a field of 2^63 bytes and more: nothing is set aside for
/// them.
#[test]
fn announced_lengths_beyond_all_memory_are_refused() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let huge: [&[u8]; 3] = [
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], // 2^63
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // 2^64 - 1
        &[0xff, 0xff, 0xff, 0xff, 0x7f],
    ];
    let paths = Unary::ALL.iter().map(|row| row.1).chain(Streaming::ALL.iter().map(|row| row.1));
    for path in paths {
        for len in huge {
            for tag in [0x0a, 0x12] {
                let message = [&[tag][..], len, b"k"].concat();
                let head = [&[0][..], &(message.len() as u32).to_be_bytes()].concat();
                let mut call = grpc.stream(path);
                call.send_bytes([head, message].concat().into(), true);
                let status = call.end();
                assert!(status.code.is_some_and(|code| code != 0), "{path}, {tag}: {status:?}");
            }
        }
        let mut call = grpc.stream(path);
        call.send_bytes(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1]), true);
        let status = call.end();
        assert!(status.code.is_some_and(|code| code != 0), "{path}: {status:?}");
    }
    is_well(&server);
}

/// A client that pings too often is sent away, with the words that make Go's clients ping less; a polite
/// one is not.
#[test]
fn too_many_pings() {
    let server = Server::start(&["--grpc-keepalive-min-time=5s"]);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for n in 0..10_u64 {
        bytes.extend(frame(PING, 0, 0, &n.to_be_bytes()));
    }
    let (answer, closed) = exchange(server.client_addr(), &bytes, PATIENCE);
    let frames = frames(&answer);
    let away = frames.iter().find(|(kind, _)| *kind == GOAWAY).expect("it is told");
    assert_eq!(away.1[4..], *b"\0\0\0\x0btoo_many_pings");
    assert!(closed);

    let server = Server::start(&["--grpc-keepalive-min-time=0s"]);
    let mut grpc = Grpc::connect(server.client_addr());
    let mut open = grpc.stream(PUT); // without a call, pings are for every two hours
    open.send_bytes(Bytes::from_static(&[0]), false);
    (0..10).for_each(|_| grpc.ping().unwrap());
    assert!(grpc.unary::<_, RangeResponse>(RANGE, &get("a")).is_ok());
}

/// A client that is silent is pinged, and let go when it does not answer.
#[test]
fn a_dead_client_is_noticed() {
    let flags = ["--grpc-keepalive-interval=200ms", "--grpc-keepalive-timeout=300ms"];
    let server = Server::start(&flags);
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let (answer, closed) = exchange(server.client_addr(), &begin, PATIENCE);
    assert!(frames(&answer).iter().any(|(kind, _)| *kind == PING), "it was asked");
    assert!(closed, "and did not answer");

    let mut grpc = Grpc::connect(server.client_addr()); // answers by itself
    let mut idle = grpc.stream(PUT);
    assert!(idle.is_silent_for(Duration::from_millis(1500)));
    assert!(grpc.ping().is_ok());
}

/// A client that does not read its large answers holds nobody else back, on other connections or on its
/// own; and gets all of them once it reads.
#[test]
fn a_slow_reader_holds_itself_back() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let value = vec![b'v'; 1 << 20];
    for n in 0..4 {
        grpc.unary::<_, callboard::http::v3::pb::etcdserverpb::PutResponse>(
            PUT,
            &put(&format!("big{n}"), &value),
        )
        .unwrap();
    }
    let all =
        RangeRequest { key: "big".into(), range_end: "bih".into(), ..RangeRequest::default() };
    let slow = Grpc::connect_as(
        server.client_addr(),
        Manners { window_bytes: 65_535, connection_window_bytes: 8 * 65_535 },
    );
    let mut calls: Vec<_> = (0..8).map(|_| slow.stream(RANGE)).collect();
    for call in &mut calls {
        call.send_bytes(framed(&all), true);
    }
    for _ in 0..20 {
        assert_eq!(grpc.unary::<_, RangeResponse>(RANGE, &get("big1")).unwrap().count, 1);
    }
    for mut call in calls {
        let answer: RangeResponse = call.recv().unwrap().unwrap();
        assert_eq!(answer.kvs.len(), 4);
        assert!(call.end().is(0, ""));
    }
}

/// More streams than are allowed are refused one by one, and the rest goes on.
#[test]
fn streams_are_limited() {
    let server = Server::start(&["--max-concurrent-streams=4"]);
    let grpc = Grpc::connect(server.client_addr());
    grpc.unary::<_, RangeResponse>(RANGE, &get("a")).unwrap(); // the settings are here now
    let open: Vec<_> = (0..4).map(|_| grpc.stream(PUT)).collect();
    let beyond = std::thread::scope(|scope| {
        let asking = scope.spawn(|| grpc.unary::<_, RangeResponse>(RANGE, &get("a")));
        drop(open); // the fifth waits for one of them to end
        asking.join().unwrap()
    });
    assert!(beyond.is_ok());
}

/// What a client gives up is dropped at once.
#[test]
fn cancelled_calls_are_counted_and_gone() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    for _ in 0..50 {
        let mut call = grpc.stream(PUT);
        call.send_bytes(framed(&put("a", b"1")).slice(..6), false);
        call.cancel();
    }
    let line = r#"grpc_server_handled_total{grpc_code="Canceled",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 50"#;
    let mut http = Client::new(server.client_addr());
    let counted = poll(PATIENCE, || {
        http.get("/metrics").unwrap().text().lines().any(|found| found == line).then_some(())
    });
    assert!(counted.is_some(), "{line}");
    is_well(&server);
}
