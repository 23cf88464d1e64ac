//! Makes a failure small: leaves out faults, clients and keys for as long as the same invariant breaks.

use super::plan::Plan;
use super::runner::{Ran, run};
use super::settings::Options;
use std::fmt::Write as _;

/// Runs for one failure, at most.
const RUNS: usize = 400;

/// The smallest options found that break the same invariant.
pub fn shrink(options: &Options, ran: &Ran) -> Options {
    let Some(broken) = &ran.broken else { return options.clone() };
    let mut runs = 0;
    let mut fails = |options: &Options| {
        runs += 1;
        runs <= RUNS && run(options).broken.is_some_and(|b| b.is_like(broken))
    };
    let mut best = Options { plan: Some(ran.plan.clone()), ..options.clone() };
    let mut size = ran.plan.0.len().div_ceil(2);
    while size > 0 && !ran.plan.0.is_empty() {
        let plan = best.plan.clone().unwrap_or_default().0;
        let mut smaller = false;
        for from in (0..plan.len()).step_by(size) {
            let current = best.plan.clone().unwrap_or_default().0;
            let cut = &plan[from..(from + size).min(plan.len())];
            let rest: Vec<_> =
                current.iter().filter(|fault| !cut.contains(fault)).cloned().collect();
            let without = Options { plan: Some(Plan(rest)), ..best.clone() };
            if fails(&without) {
                (best, smaller) = (without, true);
            }
        }
        if !smaller {
            size /= 2;
        }
    }
    for clients in 1..ran.clients {
        let fewer = Options { clients: Some(clients), ..best.clone() };
        if fails(&fewer) {
            best = fewer;
            break;
        }
    }
    for keys in 1..ran.keys {
        let fewer = Options { keys: Some(keys), ..best.clone() };
        if fails(&fewer) {
            best = fewer;
            break;
        }
    }
    best
}

/// What is broken, how to see it again, and the smallest plan with its last events.
pub fn report(options: &Options, ran: &Ran) -> String {
    let Some(broken) = &ran.broken else { return String::new() };
    let small = shrink(options, ran);
    let traced = run(&Options { trace: true, ..small.clone() });
    let plan = small.plan.clone().unwrap_or_default();
    let mut text = format!(
        "{broken}\nagain: cargo run --release --example simulate -- --seed {}\n",
        options.seed
    );
    let limits = |what: &str, limit: Option<u64>| limit.map(|n| format!("{n} {what}"));
    let limits: Vec<String> = [limits("clients", small.clients), limits("keys", small.keys)]
        .into_iter()
        .flatten()
        .collect();
    _ = writeln!(
        text,
        "shrunk from {} faults to {} {}:",
        ran.plan.0.len(),
        plan.0.len(),
        limits.join(", ")
    );
    for planned in &plan.0 {
        _ = writeln!(text, "  {planned}");
    }
    if let Some(broken) = traced.broken {
        _ = write!(text, "then: {broken}\nthe last events:\n");
    }
    for line in traced.lines {
        _ = writeln!(text, "  {line}");
    }
    text
}
