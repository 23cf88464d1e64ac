//! Frame kind 1 of a snapshot file: what state it holds.

use serde::{Deserialize, Serialize};

use super::SnapshotName;
use crate::storage::frame::Salt;
use crate::types::{ClusterId, Index, MemberId, Revision, Term};

pub(super) const KIND: u8 = 1;
pub(super) const VERSION: u8 = 1;

/// Who votes, after the snapshot's last entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfState {
    /// Members that vote.
    pub voters: Vec<MemberId>,
    /// Members that only listen.
    pub learners: Vec<MemberId>,
    /// In a joint configuration: the voters of the configuration that ends.
    pub voters_outgoing: Vec<MemberId>,
    /// In a joint configuration: voters that become learners when it ends.
    pub learners_next: Vec<MemberId>,
    /// Whether a joint configuration ends by itself.
    pub auto_leave: bool,
}

/// What state a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member that took it.
    pub member_id: MemberId,
    /// The term of the last entry in it.
    pub term: Term,
    /// The index of the last entry in it.
    pub index: Index,
    /// Who votes after that entry.
    pub conf_state: ConfState,
    /// The keyspace's revision after that entry.
    pub revision: Revision,
    /// The version of the records' own encoding.
    pub state_version: u32,
}

impl SnapshotMeta {
    /// The name of its file.
    pub fn name(&self) -> SnapshotName {
        SnapshotName { index: self.index, term: self.term }
    }

    /// The salt of every frame after the first.
    pub(super) fn salt(&self) -> Salt {
        Salt::new(&[self.cluster_id.0, self.term.0, self.index.0])
    }
}

/// The salt of the first frame: what the file's name says.
pub(super) fn name_salt(name: SnapshotName) -> Salt {
    Salt::new(&[name.term.0, name.index.0])
}
