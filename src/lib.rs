//! Callboard: a linearizable key-value store for configuration and service discovery, built as actors.
//!
//! The map, one line for each room. Dependencies point one way:
//! `types, command` ← `storage` ← roles ← hosts ← `http` ← `cli`.

pub mod actors;
pub mod audit_log;
pub mod bootstrap;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod http;
pub mod identity;
pub mod metrics;
pub mod node;
pub mod proxy;
pub mod published;
pub mod storage;
pub mod telemetry;
pub mod tls;
pub mod types;
pub mod wire;
