//! Record kind 4: a snapshot exists.

use serde::{Deserialize, Serialize};

use super::record::RecordKind;
use crate::types::{Index, Term};

/// Says that a snapshot of the state after `index` is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMark {
    /// The last entry in the snapshot.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// Whether the snapshot came from elsewhere and takes the place of the whole log: the next
    /// entry follows `index`. One that was taken here (false) leaves the log as it is.
    pub installed: bool,
}

impl RecordKind for SnapshotMark {
    const KIND: u8 = 4;
}
