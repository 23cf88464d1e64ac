//! Record kind 5: the start of a batch, which is all there or not at all.

use serde::{Deserialize, Serialize};

use super::record::RecordKind;
use crate::storage::frame::{self, OVERHEAD, Salt};

/// Stands before the records of each batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchStart {
    /// Up to here the segment was known to be durable when the batch was written. A bad frame below
    /// it is damage and never the torn end of a crash.
    pub(super) synced: u64,
    /// Length of the frames that follow and belong to the batch.
    pub(super) len: u64,
}

impl RecordKind for BatchStart {
    const KIND: u8 = 5;
}

/// Length of the payload: an array of two 64-bit integers, both written in full.
const PAYLOAD_LEN: usize = 1 + 9 + 9;

impl BatchStart {
    /// Length of its frame, which does not depend on the numbers.
    pub(super) const FRAME_LEN: usize = PAYLOAD_LEN + OVERHEAD;

    /// Writes the frame to the first bytes of `out`, which begins at `base` in the file.
    pub(super) fn encode_first(self, out: &mut [u8], salt: Salt, base: u64) {
        let mut bytes = Vec::with_capacity(BatchStart::FRAME_LEN);
        let start = frame::begin(&mut bytes);
        bytes.extend_from_slice(&[0x92, 0xcf]);
        bytes.extend_from_slice(&self.synced.to_be_bytes());
        bytes.push(0xcf);
        bytes.extend_from_slice(&self.len.to_be_bytes());
        frame::finish(&mut bytes, start, BatchStart::KIND, BatchStart::VERSION, salt, base);
        out[..BatchStart::FRAME_LEN].copy_from_slice(&bytes);
    }
}
