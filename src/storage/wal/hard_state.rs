//! Record kind 3: what Raft must remember besides the log.

use serde::{Deserialize, Serialize};

use super::record::RecordKind;
use crate::types::{Index, MemberId, Term};

/// Term, vote and commit index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Whom this member voted for in it; 0 for none.
    pub vote: MemberId,
    /// Up to here the log is known to be committed.
    pub commit: Index,
}

impl RecordKind for HardState {
    const KIND: u8 = 3;
}
