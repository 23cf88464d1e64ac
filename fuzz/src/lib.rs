//! What is fuzzed: one function for each parser of bytes that come from outside the process, and for each
//! a few inputs to begin with. `fuzz_targets/` hands them to libFuzzer; `tests/fuzz_smoke.rs` plays them
//! with every test run, so that they cannot rot.
//!
//! A target fails by a panic. Where more is true than that, it is asserted: that the answer is the same
//! however the bytes are cut, that what was read can be written and read again.

mod config;
mod discovery;
mod http;
mod peer;
mod raft_messages;
mod storage;
mod tokens;
mod v2;
mod v3;

/// A parser and what to try on it.
pub struct Target {
    /// The name of its file in `fuzz_targets/`.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]),
    /// Inputs that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All.
pub const TARGETS: &[Target] = &[
    Target { name: "wal", run: storage::wal, seeds: storage::wal_seeds },
    Target { name: "snapshot", run: storage::snapshot, seeds: storage::snapshot_seeds },
    Target { name: "entry", run: storage::entry, seeds: storage::entry_seeds },
    Target { name: "peer", run: peer::run, seeds: peer::seeds },
    Target { name: "raft_messages", run: raft_messages::run, seeds: raft_messages::seeds },
    Target { name: "v2", run: v2::run, seeds: v2::seeds },
    Target { name: "v3_protobuf", run: v3::protobuf, seeds: v3::protobuf_seeds },
    Target { name: "v3_json", run: v3::json, seeds: v3::json_seeds },
    Target { name: "grpc_framing", run: v3::framing, seeds: v3::framing_seeds },
    Target { name: "http_opening", run: http::opening, seeds: http::opening_seeds },
    Target { name: "plain", run: http::plain, seeds: http::plain_seeds },
    Target { name: "tokens", run: tokens::run, seeds: tokens::seeds },
    Target { name: "config", run: config::run, seeds: config::seeds },
    Target { name: "discovery", run: discovery::run, seeds: discovery::seeds },
];

/// Tries an input on the target of this name.
///
/// # Panics
/// When the target fails, which is what it is for, or if there is none of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target in the table");
    (target.run)(data);
}

/// Takes an input apart.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// As many bytes as two say, or what is left.
    fn piece(&mut self) -> &'a [u8] {
        let len = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.piece()).into_owned()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A piece as [`Input::piece`] takes it.
fn piece(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn pieces<const N: usize>(head: &[u8], all: [&[u8]; N]) -> Vec<u8> {
    let mut out = head.to_vec();
    out.extend(all.iter().flat_map(piece));
    out
}
