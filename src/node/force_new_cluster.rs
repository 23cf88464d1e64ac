//! `--force-new-cluster`: a member goes on alone with its data, after the others are lost for good.
//!
//! What it does is what etcd does: entries that are not known to be committed are dropped, and entries
//! that remove every other member are put into the log as committed. They are on disk before anything
//! else happens, so a start that is cut short can be made again, with or without the flag.

use raft::eraftpb;

use crate::{
    actors::raft_node::conf_change::entry_of,
    clock::wall_clock,
    command::{Command, MemberChange, Proposal, ProposalId},
    storage::{
        recovery::{Recent, Recovered},
        wal::{Entry, EntryType, Wal, WalBatch, WalError},
    },
    types::{Index, MemberId},
};

/// Makes `own` the only member of what was recovered.
pub fn force(recovered: &mut Recovered, wal: &mut Wal, own: MemberId) -> Result<(), WalError> {
    let dropped = recovered.entries.len();
    recovered.entries.clear();
    let changes = changes(recovered, own);
    tracing::warn!(
        member = format!("{own:x}"),
        removed = changes.iter().filter(|c| matches!(c, MemberChange::Remove { .. })).count(),
        uncommitted_entries_dropped = dropped,
        "force-new-cluster: this member goes on alone"
    );
    let mut entries = Vec::with_capacity(changes.len());
    for (at, change) in changes.into_iter().enumerate() {
        let proposal = Proposal {
            id: ProposalId(at as u64),
            member: MemberId(0), // nobody waits for it
            time: wall_clock(),
            command: Command::Members(change),
        };
        let index = recovered.state.applied_index.next();
        recovered.state.apply(index, recovered.hard_state.term, Some(&proposal));
        let encoded = rmp_serde::to_vec(&proposal).expect("plain data into memory");
        entries.push(to_disk(entry_of(encoded.into(), true), index, recovered));
    }
    // It is alone: nobody can lag behind it.
    let applied = (recovered.state.applied_index, recovered.state.applied_term);
    recovered.recent = Recent { after: applied, entries: Vec::new() };
    if entries.is_empty() && dropped == 0 {
        return Ok(());
    }
    recovered.hard_state.commit = recovered.state.applied_index;
    let hard_state = Some(recovered.hard_state);
    wal.append(&WalBatch { snapshot_mark: None, entries: &entries, hard_state })?;
    wal.sync()
}

/// A learner gets its vote first: somebody must have one.
fn changes(recovered: &Recovered, own: MemberId) -> Vec<MemberChange> {
    let membership = recovered.state.membership();
    let promote = membership.learners().filter(|&id| id == own);
    let others = membership.members().iter().map(|member| member.id).filter(|&id| id != own);
    promote
        .map(|id| MemberChange::Promote { id })
        .chain(others.map(|id| MemberChange::Remove { id }))
        .collect()
}

fn to_disk(entry: eraftpb::Entry, index: Index, recovered: &Recovered) -> Entry {
    Entry {
        term: recovered.hard_state.term,
        index,
        entry_type: EntryType::ConfChangeV2,
        data: entry.data,
        context: entry.context,
    }
}
