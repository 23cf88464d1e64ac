//! Record kind 1: what a segment is, and where the log stood when it began.

use serde::{Deserialize, Serialize};

use super::HardState;
use super::record::RecordKind;
use crate::storage::frame::Salt;
use crate::types::{ClusterId, Index, MemberId};

/// What a WAL belongs to; the same in each of its segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalMeta {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member.
    pub member_id: MemberId,
    /// The voters with which the log began, before its first entry.
    pub voters: Vec<MemberId>,
    /// The learners with which the log began.
    pub learners: Vec<MemberId>,
}

/// The first record of each segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Metadata {
    pub(super) meta: WalMeta,
    /// The segment's number; the first is 0.
    pub(super) sequence: u64,
    /// The index that follows the log's last entry when the segment begins.
    pub(super) first_index: Index,
    /// The hard state when the segment begins.
    pub(super) hard_state: HardState,
    /// Where the segment before ends: up to here it was synced before this one was made.
    pub(super) previous_end: u64,
}

impl RecordKind for Metadata {
    const KIND: u8 = 1;
}

/// The salt of a segment's first frame: what the file's name says.
pub(super) fn name_salt(sequence: u64, first_index: Index) -> Salt {
    Salt::new(&[sequence, first_index.0])
}

/// The salt of a segment's other frames.
pub(super) fn segment_salt(meta: &WalMeta, sequence: u64) -> Salt {
    Salt::new(&[meta.cluster_id.0, meta.member_id.0, sequence])
}
