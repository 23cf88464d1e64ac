//! The messages of the v3 API: Rust made of the files in proto/ by the build, with their Protobuf and
//! JSON forms. [`KeyValue`] and [`Event`] are written by hand.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "made by the build; the documentation is in proto/"
)]

mod event;
mod key_value;

pub use event::{Event, LooseEvent};
pub use key_value::{Fields, KeyValue, Loose};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

mod json {
    mod authpb {
        use super::super::authpb::*;
        include!(concat!(env!("OUT_DIR"), "/authpb.serde.rs"));
    }
    mod etcdserverpb {
        use super::super::etcdserverpb::*;
        include!(concat!(env!("OUT_DIR"), "/etcdserverpb.serde.rs"));
    }
    mod v3lockpb {
        use super::super::v3lockpb::*;
        include!(concat!(env!("OUT_DIR"), "/v3lockpb.serde.rs"));
    }
    mod v3electionpb {
        use super::super::v3electionpb::*;
        include!(concat!(env!("OUT_DIR"), "/v3electionpb.serde.rs"));
    }
}

/// The interface files, for server reflection: name, encoded descriptor, the names that it declares.
pub const FILES: &[(&str, &[u8], &[&str])] = include!(concat!(env!("OUT_DIR"), "/reflection.rs"));
