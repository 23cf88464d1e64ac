//! The actors: who sends what to whom.

pub mod audit;
pub mod lease_keeper;
pub mod mailbox;
pub mod peer;
pub mod raft_node;
pub mod snapshotter;
pub mod store;
pub mod wal_writer;
