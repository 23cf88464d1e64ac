//! kill -9 under load, again and again: whatever the server acknowledged is there after the restart,
//! once, with its index, its TTL and its place in history; of what was under way when it died, nothing
//! or all of it. Meanwhile segments are cut, snapshots taken and old segments released.
//!
//! `CALLBOARD_KILLS=1000` makes it as long as one likes; `CALLBOARD_SEED` chooses another load.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::{env, fs, thread};

use support::clock::{pause, poll};
use support::http::{Client, PATIENCE, Request, Response};
use support::json::Json;
use support::server::Server;

/// How often, unless the environment says otherwise.
const KILLS: u64 = 40;
const WORKERS: u64 = 4;
/// Keys that each worker writes to, over and over.
const KEYS: u64 = 8;
/// And how many it leaves there, so that a long run does not slow down.
const KEPT_MAX: usize = 60;
/// Answered writes of all workers together between two kills, at most.
const WRITES_MAX: u64 = 240;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

/// A file that is to be there.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    value: String,
    index: u64,
    expiration: Option<String>,
}

/// A write that was sent.
#[derive(Clone, Debug)]
enum Op {
    Put {
        key: String,
        value: String,
        ttl: Option<&'static str>,
    },
    Delete {
        key: String,
    },
    /// In order, below the worker's queue.
    Post {
        value: String,
    },
}

/// A client that writes on one connection, one request after the other, to keys of its own.
struct Worker {
    name: u64,
    random: Random,
    sequence: u64,
    keys: BTreeMap<String, Kept>,
    /// The one write that had no answer when the server died.
    in_flight: Option<Op>,
    /// Indexes of all answered writes, and what the last of them say in history.
    indexes: Vec<u64>,
    replays: Vec<(String, Kept)>,
}

fn file(node: &Json) -> (String, Kept) {
    let text = |name| node.get(name).and_then(Json::as_str).map(str::to_owned);
    let index = node.get("modifiedIndex").and_then(Json::as_i64).expect("an index");
    let key = text("key").expect("a key");
    let value = text("value").unwrap_or_default();
    (key, Kept { value, index: index as u64, expiration: text("expiration") })
}

fn node(response: &Response) -> Json {
    let text = response.text();
    let json = Json::parse(text.trim_end()).unwrap_or_else(|| panic!("no JSON: {text}"));
    json.get("node").unwrap_or_else(|| panic!("no node: {text}")).clone()
}

/// All files below a node.
fn files(node: &Json, found: &mut BTreeMap<String, Kept>) {
    match node.get("nodes") {
        Some(Json::Array(nodes)) => nodes.iter().for_each(|node| files(node, found)),
        _ if node.get("dir").is_some() => {}
        _ => assert!(found.insert(file(node).0, file(node).1).is_none(), "a key listed twice"),
    }
}

impl Worker {
    fn new(name: u64, seed: u64) -> Worker {
        let random = Random(seed.wrapping_mul(1_000_003) + name);
        let (keys, in_flight) = (BTreeMap::new(), None);
        let (indexes, replays) = (Vec::new(), Vec::new());
        Worker { name, random, sequence: 0, keys, in_flight, indexes, replays }
    }

    fn home(&self) -> String {
        format!("/w{}", self.name)
    }

    fn choose(&mut self) -> Op {
        self.sequence += 1;
        let (home, sequence) = (self.home(), self.sequence);
        let queue = format!("{home}/queue/");
        if self.keys.len() > KEPT_MAX
            && let Some(key) = self.keys.keys().find(|key| key.starts_with(&queue))
        {
            return Op::Delete { key: key.clone() }; // the queue is worked off from its head
        }
        let value = format!("{sequence}-{}", "x".repeat(self.random.below(4000) as usize));
        let key = format!("{home}/d{}/k{}", sequence % 3, self.random.below(KEYS));
        match self.random.below(10) {
            0 | 1 => Op::Post { value },
            2 | 3 if self.keys.contains_key(&key) => Op::Delete { key },
            4 => Op::Put { key, value, ttl: Some("5000") },
            _ => Op::Put { key, value, ttl: None },
        }
    }

    fn request(&self, op: &Op) -> Request {
        let request = |method, key: &str| Request::new(method, &format!("/v2/keys{key}"));
        match op {
            Op::Put { key, value, ttl: Some(ttl) } => {
                request("PUT", key).form(&[("value", value), ("ttl", ttl)])
            }
            Op::Put { key, value, ttl: None } => request("PUT", key).form(&[("value", value)]),
            Op::Delete { key } => request("DELETE", key),
            Op::Post { value } => {
                request("POST", &format!("{}/queue", self.home())).form(&[("value", value)])
            }
        }
    }

    /// Writes until the server is gone, telling of each answer.
    fn work(&mut self, server: std::net::SocketAddr, answered: &mpsc::Sender<()>) {
        let mut client = Client::new(server);
        loop {
            let op = self.choose();
            self.in_flight = Some(op.clone());
            let Ok(response) = client.send(&self.request(&op)) else { return };
            self.in_flight = None;
            let status = response.status();
            assert!(matches!(status, 200 | 201), "{op:?}: {status} {}", response.text());
            let (key, kept) = file(&node(&response));
            self.indexes.push(kept.index);
            if let Op::Delete { key } = &op {
                self.keys.remove(key);
            } else {
                self.replays.push((key.clone(), kept.clone()));
                self.keys.insert(key, kept);
            }
            _ = answered.send(()); // nobody counts any more once the server is killed
        }
    }

    /// Holds what is there after a restart against what was acknowledged.
    fn check(&mut self, client: &mut Client) {
        let response = client.get(&format!("/v2/keys{}?recursive=true", self.home())).unwrap();
        let mut found = BTreeMap::new();
        if response.status() == 200 {
            files(&node(&response), &mut found);
        }
        if found != self.keys
            && let Some(op) = self.in_flight.take()
        {
            self.adopt(&op, &found);
        }
        self.in_flight = None;
        let lost: Vec<_> = self.keys.iter().filter(|(k, v)| found.get(*k) != Some(v)).collect();
        let extra: Vec<_> = found.keys().filter(|key| !self.keys.contains_key(*key)).collect();
        assert!(lost.is_empty() && extra.is_empty(), "lost or changed: {lost:?}\nextra: {extra:?}");
        for (key, kept) in self.replays.split_off(self.replays.len().saturating_sub(3)) {
            let target = format!("/v2/keys{key}?wait=true&waitIndex={}", kept.index);
            assert_eq!(file(&node(&client.get(&target).unwrap())), (key, kept), "in history");
        }
        self.replays.clear();
    }

    /// The write without an answer was carried out: from now on it counts as written.
    fn adopt(&mut self, op: &Op, found: &BTreeMap<String, Kept>) {
        let queue = format!("{}/queue/", self.home());
        let new = match op {
            Op::Delete { key } => {
                self.keys.remove(key);
                return;
            }
            Op::Put { key, value, ttl } => found.get_key_value(key).filter(|(_, kept)| {
                kept.value == *value && kept.expiration.is_some() == ttl.is_some()
            }),
            Op::Post { value } => {
                found.iter().find(|(key, kept)| key.starts_with(&queue) && kept.value == *value)
            }
        };
        if let Some((key, kept)) = new {
            let last = self.indexes.last().copied().unwrap_or_default();
            assert!(kept.index > last, "{op:?} came after {last}, but is {}", kept.index);
            self.indexes.push(kept.index);
            self.keys.insert(key.clone(), kept.clone());
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let kills = setting("CALLBOARD_KILLS", KILLS);
    let seed = setting("CALLBOARD_SEED", 1);
    eprintln!("CALLBOARD_SEED={seed} CALLBOARD_KILLS={kills}");
    let mut random = Random(seed);
    let mut server = Server::start(&[
        "--wal-segment-bytes=1048576",
        "--snapshot-wal-bytes-min=200000",
        "--snapshot-wal-ratio-percent=20",
        "--max-snapshots=2",
    ]);
    let addr = server.client_addr();
    let mut workers: Vec<_> = (0..WORKERS).map(|name| Worker::new(name, seed)).collect();
    for kill in 0..kills {
        let writes = 1 + random.below(WRITES_MAX);
        let (answered, answers) = mpsc::channel();
        thread::scope(|scope| {
            for worker in &mut workers {
                let answered = answered.clone();
                scope.spawn(move || worker.work(addr, &answered));
            }
            for _ in 0..writes {
                if answers.recv_timeout(PATIENCE).is_err() {
                    break; // the workers tell why when they are joined
                }
            }
            server.kill();
        });
        for _ in 0..if kill % 3 == 0 { 1 + random.below(2) } else { 0 } {
            server.spawn(); // killed at some moment of its start
            (0..random.below(6)).for_each(|_| pause());
            server.kill();
        }
        server.spawn();
        server.wait_ready();
        let mut client = Client::new(addr);
        for worker in &mut workers {
            worker.check(&mut client);
        }
        let last = workers.iter().filter_map(|worker| worker.indexes.last()).max();
        let index = client.get("/v2/keys/").unwrap();
        let index: Option<u64> = index.header("X-Etcd-Index").and_then(|index| index.parse().ok());
        assert!(index.as_ref() >= last, "the index fell from {last:?} to {index:?}");
    }
    let indexes: Vec<u64> = workers.iter().flat_map(|worker| worker.indexes.clone()).collect();
    let different: BTreeSet<u64> = indexes.iter().copied().collect();
    assert_eq!(different.len(), indexes.len(), "two writes have one index");
    let log = server.log();
    let count = |text: &str| log.matches(text).count();
    let segments = fs::read_dir(server.data_dir().join("member/wal")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let first_segment = segments.filter(|name| name.contains(".wal")).min().unwrap_or_default();
    eprintln!(
        "{kills} kills, {} acknowledged writes, {} snapshots, {} torn tails, log begins with {first_segment}",
        indexes.len(),
        count("saved snapshot"),
        count("cut short"),
    );
    if kills >= KILLS {
        assert!(count("saved snapshot") > 0, "no snapshot was taken");
        assert!(!first_segment.starts_with("0000000000000000-"), "no segment was released");
    }
}

/// A key with a TTL ends when its time has come, however often the server dies in between.
#[test]
fn time_to_live_goes_on_over_restarts() {
    let mut server = Server::start(&[]);
    let mut client = Client::new(server.client_addr());
    let put = client.put("/short/a", &[("value", "1"), ("ttl", "2")]).unwrap();
    let index = file(&node(&put)).1.index;
    client.put("/dir/b", &[("value", "1")]).unwrap();
    let dir_ttl = [("dir", "true"), ("ttl", "2"), ("prevExist", "true")];
    let put = client.put("/dir", &dir_ttl).unwrap();
    let dir_index = node(&put).get("modifiedIndex").and_then(Json::as_i64).expect("an index");
    client.put("/long", &[("value", "1"), ("ttl", "1000")]).unwrap();
    for _ in 0..3 {
        server.restart();
    }
    let mut client = Client::new(server.client_addr());
    for key in ["/short/a", "/dir"] {
        let gone = poll(PATIENCE, || {
            let answer = client.get(&format!("/v2/keys{key}")).unwrap();
            (answer.status() == 404).then_some(())
        });
        assert!(gone.is_some(), "{key} lives on");
    }
    assert_eq!(client.get("/v2/keys/long").unwrap().status(), 200);
    server.restart();
    let mut client = Client::new(server.client_addr());
    for (key, after) in [("/short/a", index), ("/dir/b", dir_index as u64)] {
        let target = format!("/v2/keys{key}?wait=true&waitIndex={}", after + 1);
        let event = client.get(&target).unwrap().text();
        assert!(event.contains(r#""action":"expire""#), "{key}: {event}");
    }
}
