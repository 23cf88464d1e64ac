//! How does a single member do beside etcd, through the v2 door? Both run in turn on the same disk,
//! with one another's load; every answer is checked.
//!
//! `cargo bench --bench v2_beside_etcd`, with in the environment:
//! - `ETCD`: the etcd (3.4 or 3.5) to measure beside, if not the one on `PATH`; none is fine, too
//! - `BENCH_SECONDS`: of each workload in each round (3)
//! - `BENCH_ROUNDS`: fresh starts of each server for the small workloads (3); medians are shown
//! - `BENCH_KEYS`: keys of the large workloads, once for each server (500000; 0 leaves them out)
//! - `BENCH_ONLY`: parts of names of workloads, with commas: only these are run
//! - `BENCH_DIR`: where the data lies, if not in the target directory
//!
//! Keys 10,000, values 256 bytes. "CPU" is the server's, all threads, user and system: the least noisy
//! figure; what counts is its ratio to etcd in the same run. "client" is the CPU time of the load.
//!
//! Last numbers (2026-11-25, 2 cores, shared with other work all the time):
//! ```text
//!                                                        ops/s     p50 µs     p99 µs     max µs  CPU µs/op    RSS MiB  fsync/set
//! set, 64 clients                       etcd 3.5.1       17066       3275      13712      29421       52.9        101       0.06
//! set, 64 clients                       callboard        35048       1442       8076      14011       18.5       84.8       0.03
//!                                       ratio             2.05       0.44       0.59       0.48       0.35       0.84       0.48
//! set, 1 client                         etcd 3.5.1        4047        207        723      12386        149        107       1.00
//! set, 1 client                         callboard         3112        259       2500       7527        156       85.1       1.00
//!                                       ratio             0.77       1.25       3.46       0.61       1.04       0.79       1.00
//! get, 64 clients                       etcd 3.5.1       42841       1076       9087      29404       22.5        116          -
//! get, 64 clients                       callboard       122661        482       2620      21198       6.09       85.1          -
//!                                       ratio             2.86       0.45       0.29       0.72       0.27       0.73          -
//! quorum get, 64 clients                etcd 3.5.1       18511       2790      13077      45155       47.9        133          -
//! quorum get, 64 clients                callboard        94494        604       2987      11116       10.8       84.9          -
//!                                       ratio             5.10       0.22       0.23       0.25       0.23       0.64          -
//! 80 % get, 20 % set, 64 clients        etcd 3.5.1       27160       1524      13457      29550       36.0        114       0.13
//! 80 % get, 20 % set, 64 clients        callboard        61102        486       7391      24056       11.6       86.6       0.06
//!                                       ratio             2.25       0.32       0.55       0.81       0.32       0.76       0.50
//! 1,000 long-polls woken by a set: poll etcd 3.5.1       17996      16349      54400      69706       50.1        137       1.00
//! 1,000 long-polls woken by a set: poll callboard        57484       6859      18376      26751       14.3        104       1.00
//!                                       ratio             3.19       0.42       0.34       0.38       0.28       0.76       1.00
//! 1,000 long-polls, own keys: set       etcd 3.5.1        7197       4274      21234      38342        126        157       0.08
//! 1,000 long-polls, own keys: set       callboard        16402       1884       8183      16445       42.3        106       0.05
//!                                       ratio             2.28       0.44       0.39       0.43       0.34       0.67       0.62
//!                                                   conn bytes poll bytes    RSS MiB
//! 10,000 long-polls parked              etcd 3.5.1       19935       8102        379
//! 10,000 long-polls parked              callboard        18254        476        267
//!                                       ratio             0.92       0.06       0.70
//!                                                        ops/s     p50 µs     p99 µs     max µs  CPU µs/op    RSS MiB  fsync/set
//! set, 64 clients, before parking       etcd 3.5.1       21626       2631       9867      17450       62.7        112       0.09
//! set, 64 clients, before parking       callboard        50079       1175       6153       9961       21.0       88.1       0.04
//!                                       ratio             2.32       0.45       0.62       0.57       0.34       0.79       0.44
//! set, 64 clients, beside 10,000 parked etcd 3.5.1       20102       2690      14692      35554       68.1        608       0.09
//! set, 64 clients, beside 10,000 parked callboard        54513       1106       3107      12989       20.1        273       0.04
//!                                       ratio             2.71       0.41       0.21       0.37       0.30       0.45       0.50
//!                                                       sets/s CPU µs/set    RSS MiB
//! large: fill, 64 clients               etcd 3.5.1       20068       70.7       1707
//! large: fill, 64 clients               callboard        62342       17.0        249
//!                                       ratio             3.11       0.24       0.15
//! large: overwrite all, 64 clients      etcd 3.5.1       17573       82.3       3360
//! large: overwrite all, 64 clients      callboard        61833       18.1        298
//!                                       ratio             3.52       0.22       0.09
//!                                                        ops/s     p50 µs     p99 µs     max µs  CPU µs/op    RSS MiB  fsync/set
//! large: set, 2,000 a second            etcd 3.5.1        1723        475      45501     204924        617       3772       0.82
//! large: set, 2,000 a second            callboard         2001        434       1633       5856        135        299       0.57
//!                                       ratio             1.16       0.91       0.04       0.03       0.22       0.08       0.70
//!                                                      seconds    RSS MiB     2 s on
//! large: restart after kill -9          etcd 3.5.1        2.65        857       1782
//! large: restart after kill -9          callboard         0.86        303        303
//!                                       ratio             0.32       0.35       0.17
//!                                                        ops/s     p50 µs     p99 µs     max µs  CPU µs/op    RSS MiB  fsync/set
//! large: the same, with a snapshot      etcd 3.5.1        1808        410      31117     119613        367       2202       0.79
//! large: the same, with a snapshot      callboard         2001        440       5951      14463        157        311       0.56
//!                                       ratio             1.11       1.07       0.19       0.12       0.43       0.14       0.72
//! ```
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{cell::Cell, path::Path, rc::Rc, time::Duration};

use tokio::{
    sync::Barrier,
    task::{JoinHandle, LocalSet, spawn_local},
};

mod support;

use support::{
    http::Connection,
    is_wanted,
    load::{COLUMNS, Tally, clients, fill},
    now,
    server::{Program, Server},
    setting,
    stats::{figure, heading, median, row},
    v2::{self, Op, Requests},
};

const KEYS: usize = 10_000;
const POLLS: usize = 1000;
const PARKED: usize = 10_000;
/// Clients that set the keys of the long-polls; each has its share of these.
const SETTERS: usize = 50;

fn main() {
    if !support::is_bench() {
        return;
    }
    let mut programs: Vec<Program> = Program::etcd().into_iter().collect();
    programs.push(Program::callboard());
    let parent = std::env::var("BENCH_DIR");
    let parent = Path::new(parent.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR")));
    let time = Duration::from_secs(setting("BENCH_SECONDS", 3));
    let rounds = setting("BENCH_ROUNDS", 3) as usize;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut table = Table::default();

    for round in 0..rounds {
        for program in in_turn(&programs, round) {
            let server = Server::start(program, parent);
            let small = small(&server, &program.name, time, &mut table);
            runtime.block_on(LocalSet::new().run_until(small));
        }
    }
    for program in in_turn(&programs, 0).filter(|_| is_wanted("parked")) {
        let server = Server::start(program, parent);
        let parked = parked(&server, &program.name, time, &mut table);
        runtime.block_on(LocalSet::new().run_until(parked));
    }
    let keys = setting("BENCH_KEYS", 500_000) as usize;
    for program in in_turn(&programs, 0).filter(|_| keys > 0 && is_wanted("large")) {
        let server = Server::start(program, parent);
        let large = large(server, program, keys, time, &mut table);
        runtime.block_on(LocalSet::new().run_until(large));
    }
    table.print(&programs);
}

/// The order of a round: forth, back, back, forth …, so that drift hits all alike.
fn in_turn(programs: &[Program], round: usize) -> impl Iterator<Item = &Program> {
    let count = programs.len();
    let forth = round.div_ceil(2).is_multiple_of(2);
    (0..count).map(move |at| &programs[if forth { at } else { count - 1 - at }])
}

/// Figures by workload and program; several rounds of each.
#[derive(Default)]
struct Table {
    /// Workload, its columns.
    workloads: Vec<(String, Vec<&'static str>)>,
    /// Workload, program, figures.
    rounds: Vec<(String, String, Vec<f64>)>,
}

impl Table {
    fn add(&mut self, workload: &str, program: &str, columns: &[&'static str], values: Vec<f64>) {
        if self.workloads.iter().all(|(name, _)| name != workload) {
            self.workloads.push((workload.to_owned(), columns.to_vec()));
        }
        eprintln!(
            "{workload}, {program}: {}",
            values.iter().map(|v| figure(*v) + " ").collect::<String>()
        );
        self.rounds.push((workload.to_owned(), program.to_owned(), values));
    }

    fn medians(&self, workload: &str, program: &str) -> Option<Vec<f64>> {
        let of_both =
            |round: &&(String, String, Vec<f64>)| round.0 == workload && round.1 == program;
        let rounds: Vec<_> = self.rounds.iter().filter(of_both).map(|round| &round.2).collect();
        let columns = rounds.first()?.len();
        let median_of = |at: usize| median(&rounds.iter().map(|v| v[at]).collect::<Vec<_>>());
        Some((0..columns).map(median_of).collect())
    }

    /// Each workload: a row for each program, and the ratio of the last (ours) to the first (etcd).
    fn print(&self, programs: &[Program]) {
        let mut columns_before: &[&str] = &[];
        for (workload, columns) in &self.workloads {
            if columns != columns_before {
                heading("", columns);
                columns_before = columns;
            }
            let medians: Vec<_> = programs
                .iter()
                .filter_map(|program| Some((&program.name, self.medians(workload, &program.name)?)))
                .collect();
            for (name, values) in &medians {
                let cells: Vec<_> = values.iter().copied().map(figure).collect();
                row(&format!("{workload:<39}{name}"), &cells);
            }
            if let [(_, etcd), .., (_, ours)] = &medians[..] {
                let ratio = ours.iter().zip(etcd).map(|(ours, etcd)| figure(ours / etcd));
                row(&format!("{:<39}ratio", ""), &ratio.collect::<Vec<_>>());
            }
        }
    }
}

async fn small(server: &Server, name: &str, time: Duration, table: &mut Table) {
    type Choose = fn(&mut support::Random) -> Op;
    let requests = Rc::new(Requests::new(KEYS));
    fill(server, KEYS).await;
    let workloads: [(&str, usize, Choose); 5] = [
        ("set, 64 clients", 64, |random| Op::Set(random.below(KEYS))),
        ("set, 1 client", 1, |random| Op::Set(random.below(KEYS))),
        ("get, 64 clients", 64, |random| Op::Get(random.below(KEYS))),
        ("quorum get, 64 clients", 64, |random| Op::QuorumGet(random.below(KEYS))),
        ("80 % get, 20 % set, 64 clients", 64, |random| {
            let key = random.below(KEYS);
            if random.below(5) == 0 { Op::Set(key) } else { Op::Get(key) }
        }),
    ];
    for (workload, count, choose) in workloads.into_iter().filter(|w| is_wanted(w.0)) {
        let values = closed_loop(server, &requests, count, None, time, choose).await;
        table.add(workload, name, &COLUMNS, values);
    }
    if is_wanted("long-polls woken") {
        let tally = Rc::new(Tally::default());
        let tasks = woken(server, &tally);
        let values = tally.measure(server, time).await;
        tally.finish(tasks).await;
        table.add("1,000 long-polls woken by a set: poll", name, &COLUMNS, values);
    }
    if is_wanted("long-polls own") {
        let tally = Rc::new(Tally::default());
        let tasks = own_keys(server, &tally);
        let values = tally.measure(server, time).await;
        tally.finish(tasks).await;
        table.add("1,000 long-polls, own keys: set", name, &COLUMNS, values);
    }
}

async fn closed_loop(
    server: &Server,
    requests: &Rc<Requests>,
    count: usize,
    pace: Option<Duration>,
    time: Duration,
    choose: impl Fn(&mut support::Random) -> Op + Copy + 'static,
) -> Vec<f64> {
    let tally = Rc::new(Tally::default());
    let tasks = clients(server, requests, &tally, count, pace, choose);
    let values = tally.measure(server, time).await;
    tally.finish(tasks).await;
    values
}

/// Long-polls that all wait for one key. When all are armed (their heads have come) it is set; each
/// that wakes is counted, and armed again.
fn woken(server: &Server, tally: &Rc<Tally>) -> Vec<JoinHandle<()>> {
    const PATH: &str = "/bench/woken";
    let address = server.address();
    let armed = Rc::new(Barrier::new(POLLS + 1));
    let (set_at, last) = (Rc::new(Cell::new(now())), Rc::new(Cell::new(false)));
    let mut tasks = Vec::new();
    for _ in 0..POLLS {
        let (tally, armed) = (Rc::clone(tally), Rc::clone(&armed));
        let (set_at, last) = (Rc::clone(&set_at), Rc::clone(&last));
        tasks.push(spawn_local(async move {
            let mut connection = Connection::open(address).await.expect("it serves");
            let mut since = 0;
            while !last.get() {
                connection.send(&v2::poll(PATH, since)).await.expect("a connection that stays");
                connection.head().await.expect("a head at once");
                armed.wait().await;
                let answer = connection.answer().await.expect("an event");
                let body = connection.body_of(&answer);
                since = v2::modified(body).map_or(0, |revision| revision + 1);
                tally.done(set_at.get(), v2::check(true, PATH, answer.status, body));
            }
        }));
    }
    let tally = Rc::clone(tally);
    tasks.push(spawn_local(async move {
        let mut connection = Connection::open(address).await.expect("it serves");
        let request = v2::set_at(PATH);
        while !last.get() {
            armed.wait().await;
            last.set(tally.is_over());
            set_at.set(now());
            let answer = connection.call(&request).await.expect("a connection that stays");
            tally.wrote();
            let body = connection.body_of(&answer);
            v2::check(true, PATH, answer.status, body).expect("the key is set");
        }
    }));
    tasks
}

/// Long-polls on keys of their own. Each setter sets one of its keys, awaits answer and event, and
/// arms the long-poll again.
fn own_keys(server: &Server, tally: &Rc<Tally>) -> Vec<JoinHandle<()>> {
    let address = server.address();
    let setter = |number: usize| {
        let tally = Rc::clone(tally);
        spawn_local(async move {
            let mut setter = Connection::open(address).await.expect("it serves");
            let mut polls = Vec::new();
            for key in 0..POLLS / SETTERS {
                let path = format!("/bench/own/{number:03}-{key:03}");
                let mut poll = Connection::open(address).await.expect("it serves");
                poll.send(&v2::poll(&path, 0)).await.expect("a connection that stays");
                poll.head().await.expect("a head at once");
                polls.push((v2::set_at(&path), path, poll));
            }
            let mut random = support::Random::new(number as u64 + 1);
            while !tally.is_over() {
                let at = random.below(polls.len());
                let (set, path, poll) = &mut polls[at];
                let started = now();
                let answer = setter.call(set).await.expect("a connection that stays");
                tally.wrote();
                let outcome = v2::check(true, path, answer.status, setter.body_of(&answer));
                let event = poll.answer().await.expect("an event");
                let body = poll.body_of(&event);
                let since = v2::modified(body).map_or(0, |revision| revision + 1);
                let outcome = outcome.and(v2::check(true, path, event.status, body));
                tally.done(started, outcome);
                poll.send(&v2::poll(path, since)).await.expect("a connection that stays");
                poll.head().await.expect("a head at once");
            }
        })
    };
    (0..SETTERS).map(setter).collect()
}

/// What an idle connection takes, what a long-poll takes on top, and whether sets notice them.
async fn parked(server: &Server, name: &str, time: Duration, table: &mut Table) {
    let requests = Rc::new(Requests::new(KEYS));
    fill(server, KEYS).await;
    let set = |random: &mut support::Random| Op::Set(random.below(KEYS));
    let before = closed_loop(server, &requests, 64, None, time, set).await;
    let idle = server.resident();
    let mut connections = Vec::new();
    for key in 0..PARKED {
        let mut connection = Connection::open(server.address()).await.expect("it serves");
        let op = Op::Get(key % KEYS);
        let answer = connection.call(requests.bytes(op)).await.expect("an answer");
        requests.check(op, answer.status, connection.body_of(&answer)).expect("the key is there");
        connections.push(connection);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let connected = server.resident();
    let path = |number: usize| format!("/bench/parked/{number:05}");
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&v2::poll(&path(number), 0)).await.expect("a connection that stays");
        connection.head().await.expect("a head at once");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let armed = server.resident();
    let each = |more: u64, less: u64| more.saturating_sub(less) as f64 / PARKED as f64;
    table.add(
        "10,000 long-polls parked",
        name,
        &["conn bytes", "poll bytes", "RSS MiB"],
        vec![each(connected, idle), each(armed, connected), armed as f64 / f64::from(1 << 20)],
    );
    table.add("set, 64 clients, before parking", name, &COLUMNS, before);
    let beside = closed_loop(server, &requests, 64, None, time, set).await;
    table.add("set, 64 clients, beside 10,000 parked", name, &COLUMNS, beside);
    // They still listen.
    let mut setter = Connection::open(server.address()).await.expect("it serves");
    for number in (0..PARKED).step_by(PARKED / 100) {
        setter.call(&v2::set_at(&path(number))).await.expect("an answer");
        let event = connections[number].answer().await.expect("an event");
        let body = connections[number].body_of(&event);
        v2::check(true, &path(number), event.status, body).expect("the event of this set");
    }
}

/// Many keys: filling, load on them, memory, restart, and what a snapshot does to a steady trickle.
async fn large(
    mut server: Server,
    program: &Program,
    keys: usize,
    time: Duration,
    table: &mut Table,
) {
    const TRICKLE: usize = 16;
    const BEAT: Duration = Duration::from_millis(8); // 2,000 a second in all
    let name = &program.name[..];
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let requests = Rc::new(Requests::new(KEYS));
    let (rate, cpu) = fill(&server, keys).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let columns = ["sets/s", "CPU µs/set", "RSS MiB"];
    let values = vec![rate, cpu, mebibytes(server.resident())];
    table.add("large: fill, 64 clients", name, &columns, values);
    let (rate, cpu) = fill(&server, keys).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let values = vec![rate, cpu, mebibytes(server.resident())];
    table.add("large: overwrite all, 64 clients", name, &columns, values);

    let set = |random: &mut support::Random| Op::Set(random.below(KEYS));
    let quiet = closed_loop(&server, &requests, TRICKLE, Some(BEAT), time, set).await;
    table.add("large: set, 2,000 a second", name, &COLUMNS, quiet);

    server.kill();
    // etcd takes no orders: it is made to take a snapshot after every 5,000 sets.
    let often: &[&str] = if program.is_etcd() { &["--snapshot-count=5000"] } else { &[] };
    let took = server.start_again(often);
    let restarted = server.resident();
    let mut connection = Connection::open(server.address()).await.expect("it serves");
    for key in (0..keys).step_by((keys / 100).max(1)) {
        let answer = connection.call(&v2::get(&v2::path(key), "")).await.expect("an answer");
        let body = connection.body_of(&answer);
        v2::check(false, &v2::path(key), answer.status, body).expect("nothing was lost");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let columns = ["seconds", "RSS MiB", "2 s on"];
    let memory = [mebibytes(restarted), mebibytes(server.resident())];
    let values = vec![took.as_secs_f64(), memory[0], memory[1]];
    table.add("large: restart after kill -9", name, &columns, values);

    let tally = Rc::new(Tally::default());
    let tasks = clients(&server, &requests, &tally, TRICKLE, Some(BEAT), set);
    let measure = tally.measure(&server, time.max(Duration::from_secs(5)));
    let order = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        if !program.is_etcd() {
            server.order_snapshot();
        }
    };
    let (values, ()) = tokio::join!(measure, order);
    tally.finish(tasks).await;
    table.add("large: the same, with a snapshot", name, &COLUMNS, values);
}
