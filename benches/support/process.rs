//! What a process uses, as Linux tells it.

use std::fs;

/// The kernel's unit for CPU time in `stat`; the same on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes of a page on x86-64, and on most 64-bit ARM.
const PAGE_BYTES: u64 = 4096;

/// Bytes of resident memory. `process` is a number or `self`.
pub fn resident(process: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * PAGE_BYTES
}

/// CPU seconds of all threads of a process, ended ones included, user and system.
pub fn cpu(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name
        .split_ascii_whitespace()
        .skip(11)
        .take(2) // utime, stime
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// CPU seconds of the calling thread, user and system, to the nanosecond.
pub fn own_cpu() -> f64 {
    std::thread::yield_now(); // the kernel brings the figure up to date only when it schedules
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// The process that `process` became: its only child's only child … if it is a script that starts
/// the program proper.
pub fn innermost(process: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children: Vec<u32> =
        children.unwrap_or_default().split_whitespace().filter_map(|id| id.parse().ok()).collect();
    if let [child] = children[..] { innermost(child) } else { process }
}
