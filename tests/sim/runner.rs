//! Runs seeds, on several threads, and tells what came of them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::invariants::{Broken, Invariant};
use super::plan::Plan;
use super::settings::Options;
use super::shrink;
use super::world::{Stats, World};

thread_local! {
    /// For those who print a panic in a build that does not survive it.
    pub static SEED: Cell<u64> = const { Cell::new(0) };
}

/// What came of a run.
pub struct Ran {
    pub hash: u64,
    pub broken: Option<Broken>,
    pub stats: Stats,
    pub plan: Plan,
    pub clients: u64,
    pub keys: u64,
    pub lines: Vec<String>,
}

/// One run. A panic in it is an invariant that does not hold.
pub fn run(options: &Options) -> Ran {
    SEED.set(options.seed);
    let mut world = World::new(options.clone());
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| world.run())).err();
    let broken = match panicked {
        None => world.broken,
        Some(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Some(Invariant::NoPanic.broken(text.unwrap_or_else(|| "of unknown kind".to_owned())))
        }
    };
    Ran {
        hash: world.trace.hash,
        broken,
        stats: world.stats,
        plan: world.plan,
        clients: world.settings.clients,
        keys: world.settings.keys,
        lines: world.trace.lines(),
    }
}

/// A seed that failed, and how little of it is needed to fail.
pub struct Failure {
    pub seed: u64,
    pub broken: Broken,
    pub report: String,
}

/// All of them together.
#[derive(Default)]
pub struct Summary {
    pub seeds: u64,
    pub stats: Stats,
    pub failures: Vec<Failure>,
}

/// Runs so many seeds from `first` on, on so many threads; `note` is told of each.
pub fn run_all(
    first: u64,
    many: u64,
    threads: usize,
    shrinks: usize,
    note: impl Fn(u64, bool) + Sync,
) -> Summary {
    let next = AtomicU64::new(first);
    let summary = Mutex::new(Summary::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + many {
                        return;
                    }
                    let options = Options { seed, ..Options::default() };
                    let ran = run(&options);
                    note(seed, ran.broken.is_some());
                    let shrink = {
                        let mut summary = summary.lock().expect("no run panics through");
                        summary.seeds += 1;
                        summary.stats.add(&ran.stats);
                        summary.failures.len() < shrinks
                    };
                    let Some(broken) = ran.broken.clone() else { continue };
                    let report =
                        if shrink { shrink::report(&options, &ran) } else { format!("{broken}\n") };
                    let failure = Failure { seed, broken, report };
                    summary.lock().expect("no run panics through").failures.push(failure);
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("no run panics through");
    summary.failures.sort_by_key(|failure| failure.seed);
    summary
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        for (sum, more) in self.numbers().into_iter().zip(other.clone().numbers()) {
            *sum += *more;
        }
        for (kind, more) in &other.faults {
            *self.faults.entry(kind).or_default() += more;
        }
    }

    fn numbers(&mut self) -> [&mut u64; 19] {
        [
            &mut self.virtual_micros,
            &mut self.events,
            &mut self.operations,
            &mut self.acknowledged,
            &mut self.unknown,
            &mut self.reads,
            &mut self.crashes,
            &mut self.elections,
            &mut self.installs,
            &mut self.snapshots,
            &mut self.membership_changes,
            &mut self.expired,
            &mut self.watched,
            &mut self.entries,
            &mut self.kept_alive,
            &mut self.checkpointed,
            &mut self.reconnects,
            &mut self.watches_compacted,
            &mut self.unproven,
        ]
    }
}

impl Summary {
    /// For people.
    pub fn text(&self) -> String {
        let stats = &self.stats;
        let mut text = format!(
            "{} seeds, {:.1} virtual hours, {} events, {} operations ({} writes and {} reads answered, {} unknown), \
             {} entries\n{} elections, {} crashes, {} snapshots taken, {} installed, {} membership changes, \
             {} leases ran out, {} renewals, {} of them with a checkpoint, {} events watched, {} streams moved, \
             {} watches compacted, {} searches without an end\nfaults:",
            self.seeds,
            stats.virtual_micros as f64 / 3.6e9,
            stats.events,
            stats.operations,
            stats.acknowledged,
            stats.reads,
            stats.unknown,
            stats.entries,
            stats.elections,
            stats.crashes,
            stats.snapshots,
            stats.installs,
            stats.membership_changes,
            stats.expired,
            stats.kept_alive,
            stats.checkpointed,
            stats.watched,
            stats.reconnects,
            stats.watches_compacted,
            stats.unproven,
        );
        for (kind, many) in &stats.faults {
            _ = write!(text, " {kind} {many},");
        }
        text.pop();
        _ = write!(text, "\n{} failures\n", self.failures.len());
        for failure in &self.failures {
            _ = write!(text, "\nseed {}: {}\n", failure.seed, failure.report);
        }
        text
    }
}
