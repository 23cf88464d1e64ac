//! Bytes that mean no good, sent to a real process on every port: bodies that two readers would end at
//! different places, connections that stall, and bodies that are small until they are unpacked.

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use support::{
    grpc::Grpc,
    http::{Client, Request},
    server::{Server, free_addrs},
};

/// Longer than the longest limit, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(50);

/// Sends bytes and reads until the server hangs up, or is silent for so long.
fn exchange(addr: SocketAddr, bytes: &[u8], silence: Duration) -> (Vec<u8>, bool) {
    let mut tcp = TcpStream::connect(addr).unwrap();
    tcp.set_read_timeout(Some(silence)).unwrap();
    _ = tcp.write_all(bytes); // it may be refused before its end
    let mut all = Vec::new();
    let closed = match tcp.read_to_end(&mut all) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    (all, closed)
}

/// The peer port reads HTTP/1.1 with another parser than the client port: the same shapes. The request
/// that is hidden in the body of another is never answered, whichever of them is.
#[test]
fn nothing_is_smuggled_through_the_peer_port() {
    let server = Server::start(&[]);
    let hidden = "GET /members HTTP/1.1\r\nHost: hidden\r\n\r\n";
    let both = format!("0\r\n\r\n{hidden}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let shapes = [
        ("length and encoding", format!("Content-Length: {}\r\n{chunked}", both.len()), &both[..]),
        ("encoding and length", format!("{chunked}Content-Length: {}\r\n", both.len()), &both),
        ("two lengths", "Content-Length: 0\r\nContent-Length: 5\r\n".into(), hidden),
        ("list of lengths", "Content-Length: 0, 5\r\n".into(), hidden),
        ("length with a sign", "Content-Length: +0\r\n".into(), hidden),
        ("length in hexadecimal", "Content-Length: 0x0\r\n".into(), hidden),
        ("length that overflows", "Content-Length: 18446744073709551616\r\n".into(), hidden),
        ("unknown encoding", "Transfer-Encoding: xchunked\r\n".into(), hidden),
        ("encoding twice", "Transfer-Encoding: chunked, chunked\r\n".into(), &both),
        ("chunked is not last", "Transfer-Encoding: chunked, identity\r\n".into(), &both),
        ("a name with a space", format!("Content-Length : {}\r\n", hidden.len()), hidden),
        ("a folded header", format!("X: a\r\n {chunked}"), hidden),
        ("a bare carriage return", format!("X: a\r{chunked}"), hidden),
    ];
    for path in ["/members", "/raft/snapshot/0000000000000001-0000000000000001", "/nope"] {
        for (what, headers, body) in &shapes {
            let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}");
            let (answer, _) =
                exchange(server.peer_addr(), request.as_bytes(), Duration::from_millis(300));
            let text = String::from_utf8_lossy(&answer);
            let answers = text.matches("HTTP/1.1 ").count();
            assert!(answers <= 1, "{what}, {path}: {text}");
            assert!(!text.contains("HTTP/1.1 200"), "{what}, {path}: {text}");
        }
    }
    let (answer, _) = exchange(server.peer_addr(), hidden.as_bytes(), Duration::from_millis(300));
    assert!(answer.starts_with(b"HTTP/1.1 200"), "by itself it is answered");
}

/// A connection that stalls at any step is closed: handshakes and heads of peers within 10 seconds, heads of clients within 30.
#[test]
fn connections_that_stall_are_closed() {
    let [client, peer, tls] = free_addrs();
    let mut server = Server::of_flags(client, peer, |data_dir| {
        vec![
            "serve".to_owned(),
            format!("--data-dir={}", data_dir.display()),
            format!("--listen-client-urls=http://{client},https://{tls}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster=default=http://{peer}"),
            "--auto-tls".to_owned(),
        ]
    });
    server.spawn();
    server.wait_ready();
    let head = &b"GET /version HTTP/1.1\r\nHost: x\r\nX-Long: "[..];
    // The first bytes of a ClientHello, whose rest never comes.
    let hello = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..];
    let cases = [
        ("silence for a handshake", tls, &b""[..], 10),
        ("half a handshake", tls, hello, 10),
        ("silence", client, b"", 30),
        ("half a head", client, head, 30),
        ("half a preface of HTTP/2", client, b"PRI * HTTP/2.0\r\n", 30),
        ("half a head for a peer", peer, head, 10),
        ("silence for a peer", peer, b"", 10),
    ];
    thread::scope(|scope| {
        for (what, addr, bytes, seconds) in cases {
            scope.spawn(move || {
                #[allow(clippy::disallowed_methods, reason = "how long it takes is the test")]
                let began = Instant::now();
                let (_, closed) = exchange(addr, bytes, PATIENCE);
                let took = began.elapsed();
                assert!(closed, "{what}: still open after {took:?}");
                assert!(took > Duration::from_secs(seconds / 2), "{what}: after {took:?} already");
                assert!(took < Duration::from_secs(seconds + 15), "{what}: only after {took:?}");
            });
        }
    });
    assert_eq!(Client::new(client).get("/readyz").unwrap().status(), 200);
}

/// Zeros, packed by hand as tightly as deflate can: 258 bytes in 13 bits.
fn bomb(runs: usize) -> Vec<u8> {
    let (mut bits, mut count, mut packed) = (0u64, 0, Vec::with_capacity(runs * 13 / 8 + 40));
    packed.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    let mut put = |value: u64, len: u32| {
        bits |= value << count;
        count += len;
        while count >= 8 {
            packed.push(bits as u8);
            bits >>= 8;
            count -= 8;
        }
    };
    put(0b011, 3); // the last block, with the fixed code
    put(0b0000_1100, 8); // a zero; codes stand with their first bit first
    for _ in 0..runs {
        put(0b1010_0011, 8); // 258 times what was
        put(0, 5); // one byte before
    }
    put(0, 7 + 8); // the end, and up to a byte
    let len = 1 + runs * 258;
    packed.extend(crc_of_zeros(len).to_le_bytes());
    packed.extend((len as u32).to_le_bytes());
    packed
}

fn crc_of_zeros(len: usize) -> u32 {
    let mut table = [0u32; 256];
    for (at, slot) in table.iter_mut().enumerate() {
        *slot =
            (0..8).fold(at as u32, |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()));
    }
    !(0..len).fold(u32::MAX, |crc, _| (crc >> 8) ^ table[(crc & 0xff) as usize])
}

/// The most memory that a process has had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

/// A body that would be 200 MiB when it is unpacked. No door unpacks it beyond what a request may have.
#[test]
fn what_is_small_until_it_is_unpacked_stays_small() {
    let server = Server::start(&[]);
    let bomb = bomb((200 << 20) / 258);
    assert!(bomb.len() < 1_500_000, "it passes the limit of a request: {}", bomb.len());
    let before = peak_memory(server.pid());

    let mut client = Client::new(server.client_addr());
    let form = "application/x-www-form-urlencoded";
    for (method, path, kind) in [
        ("PUT", "/v2/keys/a", form),
        ("POST", "/v3/kv/put", "application/json"),
        ("PUT", "/kv/a", "application/octet-stream"),
    ] {
        let request = Request::new(method, path)
            .header("Content-Type", kind)
            .header("Content-Encoding", "gzip")
            .body(&bomb[..]);
        if client.send(&request).is_err() {
            client = Client::new(server.client_addr()); // it hung up on the way
        }
    }
    let grpc = Grpc::connect(server.client_addr());
    let mut call = grpc.stream_with(&[("grpc-encoding", "gzip")], "/etcdserverpb.KV/Put");
    let framed = [&[1][..], &(bomb.len() as u32).to_be_bytes(), &bomb].concat();
    call.send_bytes(framed.into(), true);
    let status = call.end();
    assert!(status.code.is_some_and(|code| code != 0), "{status:?}");

    assert_eq!(Client::new(server.client_addr()).get("/readyz").unwrap().status(), 200);
    let grown = peak_memory(server.pid()) - before;
    assert!(grown < 60 << 20, "{grown} bytes more than before");
}
