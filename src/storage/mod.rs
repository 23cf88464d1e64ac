//! What is kept: the keyspace in memory (`mvcc`, its v2 view `v2_tree`, the operations of `v3`, the `tree` that both are made
//! of) and everything on disk (files, frames, the write-ahead log, snapshots, the data directory).
//!
//! What always holds: what `sync` reported as done survives a power cut; what cannot be read back
//! exactly as it was written is reported, never guessed. Knows no actor, runtime, socket or clock;
//! only `disk.rs` touches the operating system. The formats are in `docs/on-disk-format.md`.

pub mod check;
pub mod data_dir;
pub mod disk;
pub mod founding;
pub mod frame;
pub mod mvcc;
pub mod recovery;
pub mod sim_disk;
pub mod snapshot;
pub mod state_file;
pub mod tree;
pub mod v2_tree;
pub mod v3;
pub mod wal;
