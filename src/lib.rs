//! Callboard: a linearizable key-value store for configuration and service discovery, built as actors.
//!
//! The map, one line for each room. Dependencies point one way:
//! `types, command` ← `storage` ← roles ← hosts ← `http` ← `cli`.

pub mod storage;
pub mod types;
