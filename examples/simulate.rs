//! Runs the simulator on many seeds, or on one again.
//!
//! `cargo run --release --example simulate -- --seeds 1000`, `… -- --seed 17`.

#[path = "../tests/sim/sim.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod sim;

use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::runner;

/// Simulates whole clusters, each from one seed.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This one alone, with its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Failures that are made small; of the others only the first line is told.
    #[arg(long, default_value_t = 3)]
    shrink: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a finding like others and told with them; a build that aborts says at least which seed.
    std::panic::set_hook(Box::new(|info| {
        if cfg!(panic = "abort") {
            print(&format!("seed {}: {info}", runner::SEED.get()));
        }
    }));
    let (from, seeds) = arguments.seed.map_or((arguments.from, arguments.seeds), |seed| (seed, 1));
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg} {elapsed} ({eta})");
    let bar = ProgressBar::new(seeds).with_style(style.expect("the template is sound"));
    let failed = std::sync::atomic::AtomicU64::new(0);
    let summary =
        runner::run_all(from, seeds, arguments.threads, arguments.shrink, |seed, broken| {
            if broken {
                let failed = 1 + failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                bar.set_message(format!("{failed} failed, the last {seed},"));
            }
            bar.inc(1);
        });
    bar.finish();
    print(&summary.text());
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn print(text: &str) {
    println!("{text}");
}
