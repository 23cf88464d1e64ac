//! Many watchers, watchers that hang up, and watchers that do not read.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use support::clock::poll;
use support::http::{Client, Incoming, PATIENCE, Request};
use support::json::Json;
use support::server::Server;

const MANY: usize = 500;

fn open(addr: SocketAddr, target: &str) -> Incoming {
    let incoming = Incoming::open(addr, &Request::new("GET", target), PATIENCE).unwrap();
    assert_eq!(incoming.head.status, 200, "{target}");
    incoming
}

fn watchers(client: &mut Client) -> i64 {
    let stats = client.get("/v2/stats/store").unwrap().text();
    Json::parse(&stats).unwrap().get("watchers").and_then(Json::as_i64).unwrap()
}

/// Waits until the server counts so many watchers.
fn wait_for_watchers(client: &mut Client, expected: i64) {
    let mut last = -1;
    let reached = poll(PATIENCE, || {
        last = watchers(client);
        (last == expected).then_some(())
    });
    assert!(reached.is_some(), "{last} watchers instead of {expected}");
}

/// Open connections and files of a process.
fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

fn resident_bytes(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn index_of(line: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(line);
    let json = Json::parse(&text).unwrap_or_else(|| panic!("no JSON: {text}"));
    json.get("node").and_then(|n| n.get("modifiedIndex")).and_then(Json::as_i64).unwrap() as u64
}

#[test]
fn who_hangs_up_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let addr = server.client_addr();
    let mut client = Client::new(addr);
    assert_eq!(watchers(&mut client), 0);
    let descriptors_before = descriptors(&server);
    let resident_before = resident_bytes(&server);
    let park = |n: usize| match n % 4 {
        0 => open(addr, &format!("/v2/keys/many/{}?wait=true", n % 10)),
        1 => open(addr, "/v2/keys/many?wait=true&recursive=true"),
        2 => open(addr, "/v2/keys/?wait=true&recursive=true&waitIndex=100000"),
        _ => open(addr, "/v2/keys/many?wait=true&recursive=true&stream=true"),
    };
    let mut parked: Vec<Incoming> = (0..MANY).map(park).collect();
    wait_for_watchers(&mut client, MANY as i64);
    let bytes_each = (resident_bytes(&server) - resident_before) / MANY as u64;
    eprintln!("{bytes_each} bytes of resident memory for each parked watch and its connection");

    let stay = parked.split_off(MANY / 2);
    parked.into_iter().for_each(Incoming::hangup);
    wait_for_watchers(&mut client, stay.len() as i64);

    // A write wakes those that are interested and costs the others nothing; streams go on.
    client.put("/many/4", &[("value", "1")]).unwrap();
    let mut left = 0;
    let mut streams = Vec::new();
    for (n, mut watch) in (MANY / 2..MANY).zip(stay) {
        let interested = match n % 4 {
            0 => n % 10 == 4,
            1 => true,
            2 => false,
            _ => {
                let line = watch.next_line(PATIENCE).unwrap().expect("the stream goes on");
                assert!(String::from_utf8_lossy(&line).contains(r#""key":"/many/4""#));
                streams.push(watch);
                continue;
            }
        };
        if interested {
            let event = String::from_utf8(watch.rest(PATIENCE).unwrap()).unwrap();
            assert!(event.contains(r#""key":"/many/4""#), "{event}");
        } else {
            left += 1;
            streams.push(watch); // still parked
        }
    }
    assert!(left > 0);
    wait_for_watchers(&mut client, streams.len() as i64);
    streams.into_iter().for_each(Incoming::hangup);
    wait_for_watchers(&mut client, 0);
    let closed = poll(PATIENCE, || (descriptors(&server) <= descriptors_before + 1).then_some(()));
    assert!(closed.is_some(), "{} descriptors, {descriptors_before} before", descriptors(&server));
}

#[test]
fn a_stream_that_was_not_read_catches_up_without_gap_or_repeat() {
    const WRITES: u64 = 400;
    // More than the sockets' buffers hold by themselves.
    const VALUE_BYTES: usize = 64 << 10;
    let server = Server::start(&["--mailbox-watch=4"]);
    let addr = server.client_addr();
    let mut client = Client::new(addr);
    let mut stalled = open(addr, "/v2/keys/s?wait=true&recursive=true&stream=true");
    let mut late = open(addr, "/v2/keys/s?wait=true&recursive=true&stream=true&waitIndex=100");
    stalled.keep_little();
    late.keep_little();
    wait_for_watchers(&mut client, 2);
    let value = "x".repeat(VALUE_BYTES);
    let write = |client: &mut Client, n: u64| {
        let key = format!("/s/k{n}");
        let answer = client.put(&key, &[("value", &value)]).unwrap();
        answer.header("X-Etcd-Index").and_then(|index| index.parse::<u64>().ok()).unwrap()
    };
    let mut expected: Vec<u64> = (0..WRITES / 2).map(|n| write(&mut client, n)).collect();
    wait_for_watchers(&mut client, 0); // both had to let go: their channels were full

    // Now they read, while writing goes on.
    let (sender, indexes) = mpsc::channel();
    thread::scope(|scope| {
        let write = &write;
        scope.spawn(move || {
            for n in WRITES / 2..WRITES {
                sender.send(write(&mut client, n)).unwrap();
            }
        });
        let next = |watch: &mut Incoming, expected: u64| {
            let line = watch.next_line(PATIENCE).unwrap().expect("the stream goes on");
            assert_eq!(index_of(&line), expected);
        };
        for &index in &expected {
            next(&mut stalled, index);
        }
        for index in indexes {
            expected.push(index);
            next(&mut stalled, index);
        }
        for &index in expected.iter().filter(|index| **index >= 100) {
            next(&mut late, index);
        }
    });
    let mut client = Client::new(addr);
    wait_for_watchers(&mut client, 2); // live again
    let index = write(&mut client, WRITES);
    for mut watch in [stalled, late] {
        assert_eq!(index_of(&watch.next_line(PATIENCE).unwrap().unwrap()), index);
        watch.hangup();
    }
    wait_for_watchers(&mut client, 0);
}

#[test]
fn streams_that_are_never_read_hold_no_history() {
    const WRITES: u64 = 300;
    const VALUE_BYTES: usize = 256 << 10;
    const STREAMS: usize = 8;
    let server = Server::start(&[
        "--mailbox-watch=4",
        "--history-bytes-max=2097152",
        "--auto-compaction-retention=0",
    ]);
    let addr = server.client_addr();
    let mut client = Client::new(addr);
    let target = "/v2/keys/s?wait=true&stream=true&waitIndex=2";
    let value = "x".repeat(VALUE_BYTES);
    client.put("/s", &[("value", &value)]).unwrap();
    let streams: Vec<_> = (0..STREAMS).map(|_| open(addr, target)).collect();
    streams.iter().for_each(Incoming::keep_little);
    let before = resident_bytes(&server);
    for _ in 0..WRITES {
        assert_eq!(client.put("/s", &[("value", &value)]).unwrap().status(), 200);
    }
    let written = WRITES * VALUE_BYTES as u64;
    let grown = resident_bytes(&server).saturating_sub(before);
    eprintln!(
        "{written} bytes written past {STREAMS} stalled streams: {grown} bytes more resident"
    );
    assert!(grown < written / 2, "{grown} of {written} bytes are held");
    // What they still get is the beginning, in order, until the history that they need is gone.
    for mut stream in streams {
        let mut next = 2;
        while let Ok(Some(line)) = stream.next_line(PATIENCE) {
            assert_eq!(index_of(&line), next);
            next += 1;
        }
        assert!(next > 2, "it got something");
    }
    wait_for_watchers(&mut client, 0);
}
