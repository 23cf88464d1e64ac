//! Clients that run until they are told to stop, and the figures of a stretch of time in between.
//!
//! All of it is one thread: clients are local tasks of a current-thread runtime, so the counters need
//! no lock, and reading `/metrics` holds the clients still.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::{JoinHandle, spawn_local};

use super::{
    Random,
    http::Connection,
    now,
    process::{cpu, own_cpu},
    server::Server,
    stats::percentile,
    v2::{Op, Requests},
};

/// The columns of [`Tally::measure`]'s figures.
pub const COLUMNS: [&str; 9] = [
    "ops/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "max µs",
    "CPU µs/op",
    "RSS MiB",
    "fsync/set",
    "client µs",
];
/// Not measured: connections, the first growth of everything.
const WARM_UP: Duration = Duration::from_millis(500);

/// What the clients count.
#[derive(Default)]
pub struct Tally {
    stop: Cell<bool>,
    since: Cell<Option<Instant>>,
    counted: Cell<u64>,
    writes: Cell<u64>,
    times: RefCell<Vec<u32>>,
    wrong: RefCell<Vec<String>>,
}

impl Tally {
    /// Whether clients are to end.
    pub fn is_over(&self) -> bool {
        self.stop.get()
    }

    /// Counts an operation that is done.
    pub fn done(&self, started: Instant, outcome: Result<(), String>) {
        if let Err(wrong) = outcome {
            self.wrong.borrow_mut().push(wrong);
        }
        let Some(since) = self.since.get() else { return };
        self.counted.set(self.counted.get() + 1);
        if started >= since {
            let time = u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX);
            self.times.borrow_mut().push(time);
        }
    }

    /// Counts a write, for what it costs the disk.
    pub fn wrote(&self) {
        self.writes.set(self.writes.get() + 1);
    }

    /// The figures of `time`, in the order of [`COLUMNS`], after a while of warming up.
    pub async fn measure(&self, server: &Server, time: Duration) -> Vec<f64> {
        tokio::time::sleep(WARM_UP).await;
        let syncs = fsyncs(server);
        self.writes.set(0);
        let (used, ours, started) = (cpu(server.pid()), own_cpu(), now());
        self.since.set(Some(started));
        tokio::time::sleep(time).await;
        self.since.set(None);
        let (used, ours) = (cpu(server.pid()) - used, own_cpu() - ours);
        let took = started.elapsed();
        let (syncs, writes) = (fsyncs(server) - syncs, self.writes.get() as f64);
        let counted = self.counted.get() as f64;
        let mut times = self.times.borrow_mut();
        times.sort_unstable();
        let micros = |permille| f64::from(percentile(&times, permille)) / 1e3;
        vec![
            counted / took.as_secs_f64(),
            micros(500),
            micros(990),
            micros(999),
            micros(1000),
            used * 1e6 / counted,
            server.resident() as f64 / f64::from(1 << 20),
            if writes == 0.0 { f64::NAN } else { syncs / writes },
            ours * 1e6 / counted,
        ]
    }

    /// Ends the clients, and says what was wrong.
    pub async fn finish(&self, clients: Vec<JoinHandle<()>>) {
        self.stop.set(true);
        for client in clients {
            client.await.expect("a client does not panic");
        }
        let wrong = self.wrong.borrow();
        if let Some(first) = wrong.first() {
            println!("ERRORS: {} wrong answers, the first: {first}", wrong.len());
        }
    }
}

fn fsyncs(server: &Server) -> f64 {
    server.metric("etcd_disk_wal_fsync_duration_seconds_count")
}

/// Starts `count` closed-loop clients; `choose` tells what each does next. With `pace`, a client does
/// one operation in so much time at most.
pub fn clients(
    server: &Server,
    requests: &Rc<Requests>,
    tally: &Rc<Tally>,
    count: usize,
    pace: Option<Duration>,
    choose: impl Fn(&mut Random) -> Op + Copy + 'static,
) -> Vec<JoinHandle<()>> {
    let address = server.address();
    let client = |number: usize| {
        let (requests, tally) = (Rc::clone(requests), Rc::clone(tally));
        spawn_local(async move {
            let mut random = Random::new(number as u64 + 1);
            let mut connection = match Connection::open(address).await {
                Ok(connection) => connection,
                Err(error) => return tally.done(now(), Err(error.to_string())),
            };
            let mut beat = pace.map(|pace| {
                let first = tokio::time::Instant::now() + pace * number as u32 / count as u32;
                let mut beat = tokio::time::interval_at(first, pace);
                beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                beat
            });
            while !tally.is_over() {
                if let Some(beat) = &mut beat {
                    beat.tick().await;
                }
                let op = choose(&mut random);
                let started = now();
                let outcome = match connection.call(requests.bytes(op)).await {
                    Ok(answer) => requests.check(op, answer.status, connection.body_of(&answer)),
                    Err(error) => return tally.done(started, Err(error.to_string())),
                };
                if op.is_write() {
                    tally.wrote();
                }
                tally.done(started, outcome);
            }
        })
    };
    (0..count).map(client).collect()
}

/// Sets every key once, out of order, with 64 clients; keys a second and the server's CPU µs for each.
pub async fn fill(server: &Server, keys: usize) -> (f64, f64) {
    const STRIDE: usize = 1_000_003; // a prime: it meets every key once
    let tally = Rc::new(Tally::default());
    let next = Rc::new(Cell::new(0));
    let (started, used) = (now(), cpu(server.pid()));
    let client = |_| {
        let (tally, next, address) = (Rc::clone(&tally), Rc::clone(&next), server.address());
        spawn_local(async move {
            let mut connection = Connection::open(address).await.expect("it serves");
            let mut request = super::v2::set(0);
            while next.get() < keys {
                let key = next.replace(next.get() + 1) * STRIDE % keys;
                let path = super::v2::path(key);
                let at = b"PUT /v2/keys".len();
                request[at..at + path.len()].copy_from_slice(path.as_bytes());
                let outcome = match connection.call(&request).await {
                    Ok(answer) => {
                        let body = connection.body_of(&answer);
                        super::v2::check(true, &path, answer.status, body)
                    }
                    Err(error) => return tally.done(started, Err(error.to_string())),
                };
                tally.done(started, outcome);
            }
        })
    };
    let all = (0..64).map(client).collect();
    tally.finish(all).await;
    let took = started.elapsed().as_secs_f64();
    let used = cpu(server.pid()) - used;
    (keys as f64 / took, used * 1e6 / keys as f64)
}
