//! A flood through mailboxes with a single place each: who finds no place is told so at once and has
//! changed nothing, who is let in is served, the clocks keep their beat, and afterwards all is as before.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::clock::Deadline;
use support::http::{Client, Incoming, PATIENCE, Request, Response};
use support::json::Json;
use support::server::Server;

const WRITERS: usize = 24;
const WATCHERS: usize = 6;

/// What became of a flood's writes.
#[derive(Debug, Default)]
struct Tally {
    written: BTreeSet<String>,
    refused: u64,
    read: u64,
    told: u64,
}

/// A refusal for want of a place: v2's error, and when to come again.
fn assert_busy(answer: &Response) {
    let text = answer.text();
    assert_eq!(answer.status(), 503, "{text}");
    assert_eq!(answer.header("Retry-After"), Some("1"), "{text}");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let expected = concat!(
        r#"{"errorCode":300,"message":"Raft Internal Error","#,
        r#""cause":"etcdserver: too many requests","index":0}"#,
        "\n"
    );
    assert_eq!(text, expected);
}

/// Writes keys of its own, each once, and reads what it wrote.
fn write(addr: SocketAddr, writer: usize, stop: &AtomicBool) -> Tally {
    let mut client = Client::new(addr);
    let mut tally = Tally::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("/flood/{writer}-{n}");
        let answer = client.put(&key, &[("value", &n.to_string())]).unwrap();
        if answer.status() != 201 {
            assert_busy(&answer);
            tally.refused += 1;
            continue;
        }
        let answer = client.get(&format!("/v2/keys{key}?quorum=true")).unwrap();
        if answer.status() == 200 {
            assert!(answer.text().contains(&format!(r#""value":"{n}""#)), "{}", answer.text());
            tally.read += 1;
        } else {
            assert_busy(&answer);
            tally.refused += 1;
        }
        tally.written.insert(key);
    }
    tally
}

/// Parks a watch, writes what it waits for, and is told.
fn watch(addr: SocketAddr, watcher: usize, stop: &AtomicBool) -> Tally {
    let mut client = Client::new(addr);
    let mut tally = Tally::default();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("/flood/watched-{watcher}-{n}");
        let request = Request::new("GET", &format!("/v2/keys{key}?wait=true"));
        let mut parked = Incoming::open(addr, &request, PATIENCE).unwrap();
        if parked.head.status != 200 {
            let (head, body) = (parked.head.clone(), parked.rest(PATIENCE).unwrap());
            assert_busy(&Response { head, body });
            tally.refused += 1;
            continue;
        }
        let deadline = Deadline::after(PATIENCE);
        loop {
            let answer = client.put(&key, &[("value", "v")]).unwrap();
            if answer.status() == 201 {
                break;
            }
            assert_busy(&answer);
            tally.refused += 1;
            assert!(deadline.left().is_some(), "not let in for {PATIENCE:?}");
        }
        let event = parked.rest(PATIENCE).unwrap();
        let event = String::from_utf8(event).unwrap();
        assert!(event.contains(&format!(r#""key":"{key}","value":"v""#)), "told: {event}");
        tally.written.insert(key);
        tally.told += 1;
    }
    tally
}

/// A metric of each mailbox.
fn mailbox_metric(page: &str, name: &str) -> Vec<(String, u64)> {
    let prefix = format!("{name}{{mailbox=\"");
    let lines = page.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "));
    lines.map(|(mailbox, value)| (mailbox.to_owned(), value.parse().unwrap())).collect()
}

fn keys_below(answer: &Response) -> BTreeSet<String> {
    let json = Json::parse(answer.text().trim_end()).unwrap();
    let Some(Json::Array(nodes)) = json.get("node").and_then(|node| node.get("nodes")) else {
        return BTreeSet::new();
    };
    nodes.iter().map(|node| node.get("key").and_then(Json::as_str).unwrap().to_owned()).collect()
}

#[test]
fn a_flood_through_one_place_loses_nothing() {
    let one = ["raft-node", "wal-writer", "store", "snapshotter", "watch"];
    let one = one.map(|name| format!("--mailbox-{name}=1"));
    let mut server = Server::start(&one.each_ref().map(String::as_str));
    let addr = server.client_addr();
    let mut client = Client::new(addr);
    let put = client.put("/ends", &[("value", "1"), ("ttl", "2")]).unwrap();
    let term = put.header("X-Raft-Term").expect("a term").to_owned();
    let index: u64 = put.header("X-Etcd-Index").and_then(|index| index.parse().ok()).unwrap();
    let ends = format!("/v2/keys/ends?wait=true&waitIndex={}", index + 1);
    let ends = Request::new("GET", &ends);
    let mut ends = Incoming::open(addr, &ends, PATIENCE).unwrap();
    assert_eq!(ends.head.status, 200);

    let stop = AtomicBool::new(false);
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let stop = &stop;
        let writers = (0..WRITERS).map(|n| scope.spawn(move || write(addr, n, stop)));
        let watchers = (0..WATCHERS).map(|n| scope.spawn(move || watch(addr, n, stop)));
        let players: Vec<_> = writers.collect::<Vec<_>>().into_iter().chain(watchers).collect();
        // The flood goes on until the key has ended: the Store's clock ticks, and its proposal gets
        // through, while every place is fought for. Meanwhile nobody waits beyond the bound.
        let depths = scope.spawn(move || {
            let mut client = Client::new(addr);
            while !stop.load(Ordering::Relaxed) {
                let page = client.get("/metrics").unwrap().text();
                let depths = mailbox_metric(&page, "callboard_mailbox_depth");
                assert!(depths.len() >= 4 && depths.iter().all(|(_, n)| *n <= 1), "{depths:?}");
            }
        });
        let event = ends.rest(PATIENCE);
        stop.store(true, Ordering::Relaxed);
        let event = String::from_utf8(event.expect("it ends in time")).unwrap();
        assert!(event.starts_with(r#"{"action":"expire""#), "{event}");
        depths.join().unwrap();
        players.into_iter().map(|player| player.join().unwrap()).collect()
    });

    let page = client.get("/metrics").unwrap().text();
    let rejected = mailbox_metric(&page, "callboard_mailbox_rejected_total");
    let refused: u64 = tallies.iter().map(|tally| tally.refused).sum();
    let counted: u64 = rejected
        .iter()
        .filter(|(mailbox, _)| ["raft-node", "store"].contains(&mailbox.as_str()))
        .map(|(_, count)| count)
        .sum();
    assert!(refused > 0, "nobody was refused: no flood");
    assert_eq!(counted, refused, "each refusal is counted: {rejected:?}");
    let answer = client.get("/v2/keys/flood").unwrap();
    let written: BTreeSet<String> = tallies.iter().flat_map(|t| t.written.clone()).collect();
    assert_eq!(keys_below(&answer), written, "what was acknowledged, and nothing else");
    assert_eq!(answer.header("X-Raft-Term"), Some(&*term), "the leader was not disturbed");
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>();
    let (read, told) = (sum(|t| t.read), sum(|t| t.told));
    eprintln!("{} written, {refused} refused, {read} read, {told} watches", written.len());
    assert!(read > 0 && told > 0);

    for n in 0..50 {
        let answer = client.put("/calm", &[("value", &n.to_string())]).unwrap();
        assert!(matches!(answer.status(), 200 | 201), "service as usual: {}", answer.text());
    }
    server.restart();
    let answer = Client::new(addr).get("/v2/keys/flood").unwrap();
    assert_eq!(keys_below(&answer), written, "after a restart too");
}
