//! What an entry does to the state.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{membership::MemberError, record::RevisionRecord, state::State};
use crate::{
    command::{Command, MemberChange, Proposal},
    storage::{
        v2_tree::{self, V2StoreError},
        v3::{self, V3Applied},
    },
    types::{Index, LeaseId, Revision, Term},
};

/// What became of a command; the answer to its proposer.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// A v2 write: its revision, or why it was refused.
    V2(Result<Arc<RevisionRecord>, V2StoreError>),
    /// Leases ended; how many of them still lived.
    Expired(usize),
    /// History was compacted up to here.
    Compacted(Result<Revision, CompactError>),
    /// A member published itself.
    Published,
    /// The membership was changed, or why not.
    Members(Result<(), MemberError>),
    /// An alarm was to be raised or cleared.
    Alarm {
        /// It is raised now, or it was raised and is cleared.
        told: bool,
    },
    /// The state is to be digested as it is now.
    Checkpoint,
    /// A v3 write: what it gives, or why it was refused.
    V3(V3Applied),
}

/// Why a compaction was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// Compacted that far already.
    #[error("required revision has been compacted")]
    AlreadyCompacted,
    /// The revision does not exist yet.
    #[error("required revision is a future revision")]
    Future,
}

/// A lease that came or went, for the leader's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It runs from now on, for so many seconds; a v3 lease's first, or anew.
    Granted(LeaseId, u64),
    /// It is gone.
    Revoked(LeaseId),
}

/// All effects of one entry.
#[derive(Debug)]
pub struct Outcome {
    /// For the proposer.
    pub applied: Applied,
    /// The revisions made, for the watchers: none or one, but several when several leases ended.
    pub records: SmallVec<[Arc<RevisionRecord>; 1]>,
    /// For the leader's clock.
    pub leases: SmallVec<[LeaseChange; 2]>,
}

impl State {
    /// Applies the entry at `index`; `proposal` is none for entries without one (a new leader's first).
    pub fn apply(&mut self, index: Index, term: Term, proposal: Option<&Proposal>) -> Outcome {
        assert!(index == self.applied_index.next(), "entry {index} after {}", self.applied_index);
        self.applied_index = index;
        self.applied_term = term;
        let mut outcome = Outcome {
            applied: Applied::Published,
            records: SmallVec::new(),
            leases: SmallVec::new(),
        };
        let Some(Proposal { time, command, .. }) = proposal else { return outcome };
        outcome.applied = match command {
            Command::V2(command) => {
                let mut writer = v2_tree::write::Writer::new(self, *time);
                let result = writer.apply(command);
                outcome.leases = writer.leases;
                outcome.records.extend(result.iter().cloned());
                Applied::V2(result)
            }
            Command::Expire { leases } => {
                let mut writer = v2_tree::write::Writer::new(self, *time);
                outcome.records.extend(leases.iter().filter_map(|&id| writer.expire(id)));
                outcome.leases = writer.leases;
                Applied::Expired(outcome.records.len())
            }
            Command::Compact { revision } => Applied::Compacted(self.compact(*revision)),
            Command::PublishMember { id, name, client_urls } => {
                Arc::make_mut(&mut self.membership).publish(*id, name, client_urls);
                Applied::Published
            }
            Command::Members(change) => {
                let applied = Arc::make_mut(&mut self.membership).apply(change);
                if let (Ok(()), MemberChange::Remove { id }) = (applied, change) {
                    Arc::make_mut(&mut self.alarms).retain(|(member, _)| member != id);
                }
                Applied::Members(applied)
            }
            Command::Checkpoint => Applied::Checkpoint,
            Command::Alarm { member, kind, raised } => {
                let alarms = Arc::make_mut(&mut self.alarms);
                let may_raise = *raised && !self.membership.removed().contains(member);
                let told = if may_raise {
                    alarms.insert((*member, *kind));
                    true
                } else {
                    alarms.remove(&(*member, *kind))
                };
                Applied::Alarm { told }
            }
            Command::V3(command) => {
                let changed = v3::apply(self, term, *time, command);
                outcome.records = changed.records;
                outcome.leases = changed.leases;
                Applied::V3(changed.applied)
            }
        };
        outcome
    }

    /// Forgets history up to `revision`. What it held is freed later, bit by bit, by
    /// [`State::free_compacted`].
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<Revision, CompactError> {
        if revision <= self.compacted {
            return Err(CompactError::AlreadyCompacted);
        }
        if revision > self.revision {
            return Err(CompactError::Future);
        }
        self.compacted_record = self.history.get(&revision).cloned();
        self.compacted = revision;
        Ok(revision)
    }
}
