//! The v2 door: plain HTTP and JSON, as etcd 3.4 answers with `--enable-v2`.

pub mod access;
pub mod auth;
pub mod consensus;
pub mod error;
pub mod event;
pub mod form;
pub mod keys;
pub mod media_type;
pub mod members;
pub mod params;
pub mod stats;
pub mod watch;
