//! Record kind 6: the log goes on in the next segment.

use serde::{Deserialize, Serialize};

use super::record::RecordKind;

/// The last record of every segment but the last. It is written when the next segment is durable: a
/// segment that has it and is the last one tells that one was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentEnd {
    pub(super) next_sequence: u64,
}

impl RecordKind for SegmentEnd {
    const KIND: u8 = 6;
}
