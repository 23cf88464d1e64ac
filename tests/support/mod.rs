//! What tests of the real process share: starting it, talking HTTP to it, playing conversations.
//!
//! Each file under `tests/` is a program of its own and uses its own part of this.
#![allow(dead_code, reason = "each test program uses a part of the support")]

pub mod certs;
pub mod clock;
pub mod cluster;
pub mod diff;
pub mod fake;
pub mod grpc;
pub mod http;
pub mod json;
pub mod links;
pub mod normal;
pub mod process;
pub mod random;
pub mod rights;
pub mod script;
pub mod server;
pub mod tunnel;
