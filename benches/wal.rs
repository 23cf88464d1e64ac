//! What does a write cost in the log? Batches of 1, 8 and 64 entries of 300 bytes, each with a hard
//! state as RaftNode sends it, appended and synced: on the real disk, and on one that does nothing.
//!
//! `cargo bench --bench wal`. The real disk is that of the target directory, or `BENCH_DIR`.
//!
//! Last numbers (2026-11-25, 2 cores, shared; ext4): what we do ourselves costs a two-hundredth of what
//! the kernel does for `pwrite` and `fdatasync`.
//! ```text
//! real disk                           µs/batch      p99 µs CPU µs/batch CPU µs/entry bytes/entry
//! append and sync, 1 in a batch            125         220        46.2        46.2         387
//! append and sync, 8 in a batch            190         260        60.9        7.62         335
//! append and sync, 64 in a batch           211         277        75.5        1.18         329
//! null disk
//! append and sync, 1 in a batch           0.17        0.19        0.21        0.21         387
//! append and sync, 8 in a batch           0.63        0.68        0.67        0.08         335
//! append and sync, 64 in a batch          4.43        4.54        4.55        0.07         329
//! ```
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use callboard::{
    storage::{
        disk::{Disk, RealDisk},
        wal::{Entry, EntryType, HardState, Wal, WalBatch, WalMeta, WalOptions},
    },
    types::{ClusterId, Index, MemberId, Term},
};

mod support;

use support::{
    now,
    null_disk::NullDisk,
    process::own_cpu,
    stats::{figures, heading, percentile},
};

const ENTRY_BYTES: usize = 300;
const ROUNDS: usize = 5;

fn main() {
    if !support::is_bench() {
        return;
    }
    let parent = std::env::var("BENCH_DIR");
    let parent = parent.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR"));
    for (name, real) in [("real disk", true), ("null disk", false)] {
        heading(name, &["µs/batch", "p99 µs", "CPU µs/batch", "CPU µs/entry", "bytes/entry"]);
        for (entries, batches) in [(1, 2000), (8, 1000), (64, 500)] {
            let mut rounds: Vec<Vec<f64>> = Vec::new();
            for _ in 0..ROUNDS {
                let dir = tempfile::tempdir_in(parent).expect("a place to write to");
                let disk: Arc<dyn Disk> =
                    if real { Arc::new(RealDisk) } else { Arc::new(NullDisk) };
                rounds.push(measure(disk, dir.path(), entries, batches));
            }
            let medians: Vec<f64> = (0..rounds[0].len())
                .map(|at| support::stats::median(&rounds.iter().map(|r| r[at]).collect::<Vec<_>>()))
                .collect();
            figures(&format!("append and sync, {entries} in a batch"), &medians);
        }
    }
}

fn measure(disk: Arc<dyn Disk>, dir: &Path, entries: usize, batches: usize) -> Vec<f64> {
    let meta = WalMeta {
        cluster_id: ClusterId(1),
        member_id: MemberId(2),
        voters: vec![MemberId(2)],
        learners: Vec::new(),
    };
    let mut wal = Wal::create(disk, dir, meta, WalOptions::default()).expect("a new log");
    let data = Bytes::from(vec![b'v'; ENTRY_BYTES]);
    let mut batch: Vec<Entry> = (0..entries)
        .map(|_| Entry {
            term: Term(2),
            index: Index(0),
            entry_type: EntryType::Normal,
            data: data.clone(),
            context: Bytes::new(),
        })
        .collect();
    let mut times = Vec::with_capacity(batches);
    let mut cpu = 0.0;
    let warm_up = batches / 10;
    let mut bytes_before = 0;
    for round in 0..batches + warm_up {
        if round == warm_up {
            times.clear();
            bytes_before = wal.stats().bytes_appended;
            cpu = own_cpu();
        }
        for (at, entry) in batch.iter_mut().enumerate() {
            entry.index = Index((round * entries + at + 1) as u64);
        }
        let commit = Index((round * entries) as u64);
        let hard_state = HardState { term: Term(2), vote: MemberId(2), commit };
        let started = now();
        wal.append(&WalBatch {
            entries: &batch,
            hard_state: Some(hard_state),
            ..WalBatch::default()
        })
        .expect("it is written");
        wal.sync().expect("it is synced");
        times.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    let cpu = (own_cpu() - cpu) * 1e6;
    let bytes = wal.stats().bytes_appended - bytes_before;
    times.sort_unstable();
    let count = batches as f64;
    vec![
        f64::from(percentile(&times, 500)) / 1e3,
        f64::from(percentile(&times, 990)) / 1e3,
        cpu / count,
        cpu / count / entries as f64,
        bytes as f64 / count / entries as f64,
    ]
}
