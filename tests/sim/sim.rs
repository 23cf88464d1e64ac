//! The simulator: a whole cluster in one thread, on virtual time, from one seed.
//!
//! `world` holds everything and runs the events; `member`, `store_host`, `disk_host` and `boot` are what
//! the hosts of the actors are in production, `keeper_host` LeaseKeeper's; `network`, `clients`,
//! `watchers`, `streams`, `operator` and `faults` are the outside. `ledger` is the truth that `invariants` compare with. docs/simulation.md tells how
//! to use it.

pub mod boot;
pub mod clients;
pub mod disk_host;
pub mod end;
pub mod faults;
pub mod histories;
pub mod invariants;
pub mod keeper_host;
pub mod ledger;
pub mod linearizable;
pub mod member;
pub mod model;
pub mod network;
pub mod operator;
pub mod plan;
pub mod random;
pub mod runner;
pub mod settings;
pub mod shrink;
pub mod store_host;
pub mod streams;
pub mod trace;
pub mod watchers;
pub mod wishes;
pub mod world;
