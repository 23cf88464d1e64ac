//! Frame kind 3 of a snapshot file: its end, and what came before it.

use crc32c::{crc32c, crc32c_append};
use serde::{Deserialize, Serialize};

pub(super) const KIND: u8 = 3;
pub(super) const VERSION: u8 = 1;

/// What a snapshot's chunks hold in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFooter {
    /// Records.
    pub records: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of the chunks' payloads.
    pub bytes: u64,
    /// CRC-32C over the CRC-32C of each chunk's payload, in order, each as 4 bytes little-endian.
    pub crc: u32,
}

impl SnapshotFooter {
    /// Counts a chunk.
    pub(super) fn add(&mut self, payload: &[u8], records: u64) {
        self.records += records;
        self.chunks += 1;
        self.bytes += payload.len() as u64;
        self.crc = crc32c_append(self.crc, &crc32c(payload).to_le_bytes());
    }
}
