//! What the benches share: a clock, medians, `/proc`, tables; for some a disk, a client, a server.
//!
//! Each bench is a program of its own and uses its own part of this. Figures are printed, never
//! asserted: the machine decides them. Wrong answers are errors everywhere.
#![allow(dead_code, reason = "each bench uses a part of the support")]

pub mod http;
pub mod load;
pub mod null_disk;
pub mod process;
pub mod server;
pub mod stats;
pub mod v2;

use std::time::{Duration, Instant};

/// Whether this is `cargo bench`, which says so. Anything else, such as `cargo test --all-targets`,
/// builds the benches and runs them to no effect.
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The time, for measuring.
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits.
#[allow(clippy::disallowed_methods, reason = "a bench waits for other processes")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A number from the environment, or `default`.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// Whether `BENCH_ONLY` is not set, or one of its comma-separated parts is in `name`.
pub fn is_wanted(name: &str) -> bool {
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    only.is_empty() || only.split(',').any(|part| name.contains(part.trim()))
}

/// xorshift64*: spread well enough for picking keys, and the same in each run.
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let spread = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        ((spread * bound as u64) >> 32) as usize
    }
}
