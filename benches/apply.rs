//! What does an operation cost in memory, without disk, network and actors? Applying v2 sets, with a
//! clone published every so many as Store does it; gets; listing; snapshots; compaction; bytes a key.
//!
//! `cargo bench --bench apply`. `BENCH_KEYS` is the number of keys of the large state (1,000,000),
//! values are 256 bytes. Times are medians over chunks of 1,024 operations, and the slowest chunk.
//!
//! Last numbers (2026-11-25, 2 cores, shared), 10,000 keys beside 1,000,000. A large state costs four
//! times a small one, a get twelve times: each comparison on the way down the tree follows pointers to
//! a key that is in no cache.
//! ```text
//! memory, bytes of RSS                                       each
//! a key, history compacted                                    462
//! a revision kept in history (overwrite)                      520
//! a key loaded from a snapshot, 0.5 overwrites each           724
//! compaction, ns                                           median     slowest
//! compact and free, a revision (large)                        183        1014
//! apply a set, ns
//! 10 k keys, published every 1                               3288        5847
//! 10 k keys, published every 8                               2521        4147
//! 10 k keys, published every 64                              2323        3746
//! large, published every 1                                  10538       13048
//! large, published every 8                                   9157       10767
//! large, published every 64                                  8473       11312
//! read, ns
//! get, 10 k keys                                              374        1737
//! get, large                                                 4461        6539
//! recursive listing, 10 k keys: a key                         376         978
//! snapshot in memory, ns a key
//! encode, 10 k keys                                           307         546
//! load, 10 k keys                                             358         504
//! encode, large                                              1214        2091
//! load, large                                                 311         777
//! all at once, ms
//! drop the last clone of a state of 10 k keys                0.38        0.47
//! ```
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{convert::Infallible, hint::black_box, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use callboard::{
    command::{Command, Proposal, ProposalId, V2Command, V2Op, V2Write},
    storage::{
        mvcc::{
            Applied, Member, State,
            codec::{self, Loader},
        },
        v2_tree::{V2Kind, read},
    },
    types::{Index, MemberId, Revision, Term, UnixNanos},
};

mod support;

use support::{
    Random, now,
    process::resident,
    setting,
    stats::{figures, heading, median},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc; // as in the binary

const CHUNK: usize = 1024;
const VALUE_BYTES: usize = 256;
const SMALL: usize = 10_000;
/// Operations of each measurement.
const OPERATIONS: usize = 200 * CHUNK;

fn main() {
    if !support::is_bench() {
        return;
    }
    let large = setting("BENCH_KEYS", 1_000_000) as usize;
    println!("{SMALL} and {large} keys, values of {VALUE_BYTES} bytes");

    // First, while the heap is fresh: the large state, and what it takes.
    heading("memory, bytes of RSS", &["each"]);
    let before = resident("self");
    let mut big = Store::new();
    big.fill(large, true);
    let compact = resident("self") - before;
    figures("a key, history compacted", &[compact as f64 / large as f64]);
    let mut chunk = Chunk::default();
    let before = resident("self");
    let overwrites = (large / CHUNK / 2).max(1) * CHUNK;
    for _ in 0..overwrites / CHUNK {
        big.sets(&mut chunk, large, 64);
    }
    let history = resident("self").saturating_sub(before);
    figures("a revision kept in history (overwrite)", &[history as f64 / overwrites as f64]);
    let before = resident("self");
    let mut loader = Loader::default();
    codec::encode(&big.state, |record| loader.push(record)).expect("it is what was encoded");
    let loaded = loader.finish().expect("it is whole");
    let whole = resident("self").saturating_sub(before);
    drop(loaded);
    let part = overwrites as f64 / large as f64;
    figures(
        &format!("a key loaded from a snapshot, {part:.1} overwrites each"),
        &[whole as f64 / large as f64],
    );

    heading("compaction, ns", &["median", "slowest"]);
    figures("compact and free, a revision (large)", &big.compact_all());

    let mut small = Store::new();
    small.fill(SMALL, true);
    heading("apply a set, ns", &["median", "slowest"]);
    for (name, store, keys) in [("10 k keys", &mut small, SMALL), ("large", &mut big, large)] {
        for every in [1, 8, 64] {
            figures(
                &format!("{name}, published every {every}"),
                &summary(&store.measured_sets(keys, every)),
            );
            store.compact_all();
        }
    }

    heading("read, ns", &["median", "slowest"]);
    figures("get, 10 k keys", &gets(&small.state, SMALL));
    figures("get, large", &gets(&big.state, large));
    figures("recursive listing, 10 k keys: a key", &listing(&small.state));

    heading("snapshot in memory, ns a key", &["median", "slowest"]);
    for (name, state, keys) in [("10 k keys", &small.state, SMALL), ("large", &big.state, large)] {
        let (mut encoding, mut loading) = (Vec::new(), Vec::new());
        for _ in 0..if keys > SMALL { 3 } else { 50 } {
            let started = now();
            let records = encode(state);
            encoding.push(started.elapsed().as_nanos() as f64 / keys as f64);
            let started = now();
            let loaded = load(&records);
            loading.push(started.elapsed().as_nanos() as f64 / keys as f64);
            assert_eq!(loaded.key_count(), keys);
        }
        figures(&format!("encode, {name}"), &summary(&encoding));
        figures(&format!("load, {name}"), &summary(&loading));
    }

    heading("all at once, ms", &["median", "slowest"]);
    let mut frees = Vec::new();
    for _ in 0..3 {
        let loaded = load(&encode(&small.state));
        let started = now();
        drop(loaded);
        frees.push(started.elapsed().as_secs_f64() * 1e3);
    }
    figures("drop the last clone of a state of 10 k keys", &summary(&frees));
}

/// The state and the place from which it is read, as Store has them.
struct Store {
    state: State,
    published: ArcSwap<State>,
    random: Random,
}

/// Proposals made ahead, so that only applying them is measured.
#[derive(Default)]
struct Chunk(Vec<Proposal>);

impl Store {
    fn new() -> Store {
        let member = Member {
            id: MemberId(1),
            name: "n1".to_owned(),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            learner: false,
        };
        let state = State::new(vec![member]);
        Store { published: ArcSwap::from_pointee(state.clone()), state, random: Random::new(7) }
    }

    /// Makes `keys` keys in order of their hashes, so that the tree is filled as in life.
    fn fill(&mut self, keys: usize, compact: bool) {
        let mut chunk = Chunk::default();
        let mut order: Vec<u32> = (0..keys as u32).collect();
        for at in (1..keys).rev() {
            order.swap(at, self.random.below(at + 1));
        }
        for part in order.chunks(CHUNK) {
            chunk.0.clear();
            chunk.0.extend(part.iter().map(|&number| set(number as usize)));
            self.apply(&chunk, 64);
            if compact {
                self.compact();
                while self.state.must_free() {
                    self.state.free_compacted(CHUNK);
                }
            }
        }
        self.publish();
        assert_eq!(self.state.key_count(), keys);
    }

    fn sets(&mut self, chunk: &mut Chunk, keys: usize, every: usize) -> Duration {
        chunk.0.clear();
        chunk.0.extend((0..CHUNK).map(|_| set(self.random.below(keys))));
        let started = now();
        self.apply(chunk, every);
        started.elapsed()
    }

    fn measured_sets(&mut self, keys: usize, every: usize) -> Vec<f64> {
        let mut chunk = Chunk::default();
        (0..OPERATIONS / CHUNK)
            .map(|_| self.sets(&mut chunk, keys, every).as_nanos() as f64 / CHUNK as f64)
            .collect()
    }

    /// Applies `chunk`, publishing after every so many.
    fn apply(&mut self, chunk: &Chunk, every: usize) {
        for (at, proposal) in chunk.0.iter().enumerate() {
            let index = self.state.applied_index.next();
            let outcome = self.state.apply(index, Term(1), Some(proposal));
            assert!(matches!(outcome.applied, Applied::V2(Ok(_))), "{:?}", outcome.applied);
            if (at + 1).is_multiple_of(every) {
                self.publish();
            }
        }
    }

    fn publish(&self) {
        self.published.store(Arc::new(self.state.clone()));
    }

    fn compact(&mut self) {
        let command = Command::Compact { revision: self.state.revision };
        let proposal = proposal(command);
        let index: Index = self.state.applied_index.next();
        self.state.apply(index, Term(1), Some(&proposal));
    }

    /// Compacts everything and frees it in steps of [`CHUNK`], publishing after each; nanoseconds a
    /// revision.
    fn compact_all(&mut self) -> [f64; 2] {
        self.compact();
        let mut times = Vec::new();
        while self.state.must_free() {
            let started = now();
            self.state.free_compacted(CHUNK);
            self.publish();
            times.push(started.elapsed().as_nanos() as f64 / CHUNK as f64);
        }
        summary(&times)
    }
}

fn path(number: usize) -> Vec<u8> {
    format!("/bench/{:03}/key-{number:08}", number % 1000).into_bytes()
}

fn set(number: usize) -> Proposal {
    let write = V2Write { value: Bytes::from(vec![b'v'; VALUE_BYTES]), ..V2Write::default() };
    proposal(Command::V2(V2Command { path: path(number), op: V2Op::Set(write) }))
}

fn proposal(command: Command) -> Proposal {
    let time = UnixNanos(1_700_000_000_000_000_000);
    Proposal { id: ProposalId(1), member: MemberId(1), time, command }
}

fn gets(state: &State, keys: usize) -> [f64; 2] {
    let mut random = Random::new(11);
    let times: Vec<f64> = (0..OPERATIONS / CHUNK)
        .map(|_| {
            let paths: Vec<_> = (0..CHUNK).map(|_| path(random.below(keys))).collect();
            let started = now();
            for path in &paths {
                let node = read::get(state, path, false).expect("it is there");
                assert!(matches!(black_box(node).kind, V2Kind::File(_)));
            }
            started.elapsed().as_nanos() as f64 / CHUNK as f64
        })
        .collect();
    summary(&times)
}

fn listing(state: &State) -> [f64; 2] {
    let times: Vec<f64> = (0..50)
        .map(|_| {
            let started = now();
            black_box(read::get(state, b"/bench", true).expect("it is there"));
            started.elapsed().as_nanos() as f64 / SMALL as f64
        })
        .collect();
    summary(&times)
}

/// All records, each after its length.
fn encode(state: &State) -> Vec<u8> {
    let mut records = Vec::new();
    let Ok(()) = codec::encode(state, |record| {
        records.extend((record.len() as u32).to_le_bytes());
        records.extend(record);
        Ok::<(), Infallible>(())
    });
    records
}

fn load(mut records: &[u8]) -> State {
    let mut loader = Loader::default();
    while let Some((len, rest)) = records.split_first_chunk() {
        let (record, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        loader.push(record).expect("it was just encoded");
        records = rest;
    }
    let state = loader.finish().expect("it is whole");
    assert!(state.revision > Revision(1));
    state
}

fn summary(times: &[f64]) -> [f64; 2] {
    [median(times), times.iter().copied().fold(0.0, f64::max)]
}
