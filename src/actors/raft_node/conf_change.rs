//! Changes of the membership as the `raft` crate wants them, made from our own commands: no bytes of a
//! peer reach the crate's protobuf parser.
//!
//! Pure: part of RaftNode's role.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType};

use crate::{
    command::{Command, MemberChange, Proposal},
    storage::mvcc::Membership,
};

/// Who votes and who does not.
pub fn conf_state(membership: &Membership) -> ConfState {
    let voters: Vec<u64> = membership.voters().map(|id| id.0).collect();
    let learners: Vec<u64> = membership.learners().map(|id| id.0).collect();
    ConfState::from((voters, learners))
}

/// The change that an encoded proposal carries, if it carries one.
pub(super) fn membership_change(encoded: &[u8]) -> Option<MemberChange> {
    match rmp_serde::from_slice::<Proposal>(encoded).ok()?.command {
        Command::Members(change) => Some(change),
        _ => None,
    }
}

/// What changes in who votes; none for a member that only moves.
pub(super) fn conf_change(change: &MemberChange) -> Option<ConfChangeV2> {
    let (kind, id) = match change {
        MemberChange::Add { id, learner: true, .. } => (ConfChangeType::AddLearnerNode, id),
        MemberChange::Add { id, .. } | MemberChange::Promote { id } => {
            (ConfChangeType::AddNode, id)
        }
        MemberChange::Remove { id } => (ConfChangeType::RemoveNode, id),
        MemberChange::Update { .. } => return None,
    };
    let mut single = ConfChangeSingle { node_id: id.0, ..ConfChangeSingle::default() };
    single.set_change_type(kind);
    let mut conf_change = ConfChangeV2::default();
    conf_change.mut_changes().push(single);
    Some(conf_change)
}

/// An entry for a proposal. A change of the membership is one that the crate looks at when it is
/// proposed (one at a time) and passes over when it appends; what it changes is told when it is applied.
pub fn entry_of(proposal: Bytes, members: bool) -> Entry {
    if !members {
        return Entry { data: proposal, ..Entry::default() };
    }
    // Where nothing changes in who votes, a change of nobody: the crate wants one.
    let conf_change = membership_change(&proposal).as_ref().and_then(conf_change);
    let conf_change = conf_change.unwrap_or_else(|| {
        let mut nobody = ConfChangeV2::default();
        nobody.mut_changes().push(ConfChangeSingle::default());
        nobody
    });
    let data = conf_change.write_to_bytes().expect("plain data into memory");
    let mut entry = Entry { data: data.into(), context: proposal, ..Entry::default() };
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    entry
}
