//! The truth: which entries were ever written, which are committed, and what a single state makes of
//! these. Members are compared with it; it asks nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use callboard::command::{Command, KeyRange, Proposal, ProposalId, V2Op};
use callboard::storage::mvcc::record::{KeyRecord, RevisionRecord};
use callboard::storage::mvcc::{Applied, Member, State, codec};
use callboard::types::{Index, MemberId, Revision, Term};
use raft::eraftpb::{Entry, EntryType};

use super::invariants::lease_terms::{self, LeaseTerms};
use super::invariants::{Broken, Invariant, leases};
use super::world::id_of;

/// An entry as it was written to some log.
#[derive(Clone, Debug)]
struct Written {
    before: Option<u64>,
    data: Vec<u8>,
    kind: EntryType,
    context: Vec<u8>,
}

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Fact {
    pub term: u64,
    /// The term of whoever was first seen to hold it for committed: it was committed in that or before.
    pub seen_in: u64,
    /// When it was first seen to be committed.
    pub at: u64,
}

/// Earlier states that are kept for comparison.
const STATES: usize = 6000;

/// See the head of the module.
pub struct Ledger {
    written: BTreeMap<(u64, u64), Written>,
    /// From index 2 on: the first entry is what the cluster is founded with.
    facts: Vec<Fact>,
    pub state: State,
    states: VecDeque<State>,
    digests: BTreeMap<u64, u32>,
    pub outcomes: BTreeMap<(MemberId, ProposalId), (Index, Applied)>,
    /// Proposals whose callers were told that they will never be applied.
    refused: BTreeSet<(MemberId, ProposalId)>,
    /// Every revision since the beginning.
    pub history: Vec<Arc<RevisionRecord>>,
    /// What each key was, by the revisions alone; none where it was deleted.
    versions: BTreeMap<Bytes, Vec<(Revision, Option<KeyRecord>)>>,
    /// What became of v3 leases, and what clients were told of them.
    pub lease_terms: LeaseTerms,
    /// All clocks are right: no lease may end early.
    pub strict_leases: bool,
    pub expired: u64,
}

/// The index of the entry that all founders begin with.
pub const FOUNDED: u64 = 1;

impl Ledger {
    pub fn new(founders: Vec<Member>, strict_leases: bool) -> Ledger {
        let state = founding_state(founders);
        Ledger {
            written: BTreeMap::new(),
            facts: Vec::new(),
            states: VecDeque::from([state.clone()]),
            state,
            digests: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            refused: BTreeSet::new(),
            history: Vec::new(),
            versions: BTreeMap::new(),
            lease_terms: LeaseTerms::default(),
            strict_leases,
            expired: 0,
        }
    }

    pub fn last(&self) -> u64 {
        FOUNDED + self.facts.len() as u64
    }

    pub fn fact(&self, index: u64) -> Option<&Fact> {
        self.facts.get(index.checked_sub(FOUNDED + 1)? as usize)
    }

    /// Somebody is about to write `entries` to its log, after an entry of term `before`.
    pub fn write(&mut self, mut before: Option<u64>, entries: &[Entry]) -> Result<(), Broken> {
        for entry in entries {
            let key = (entry.index, entry.term);
            let (data, context) = (entry.data.to_vec(), entry.context.to_vec());
            let kind = entry.get_entry_type();
            match self.written.get(&key) {
                Some(known) => {
                    let same = known.data == data && known.context == context && known.kind == kind;
                    let continues = known.before == before || before.is_none();
                    if !same || !continues {
                        return Err(Invariant::LogMatching.broken(format!(
                            "two entries {}/{} (index/term): after terms {:?} and {before:?}, same bytes: {same}",
                            entry.index, entry.term, known.before
                        )));
                    }
                }
                None => {
                    self.written.insert(key, Written { before, data, kind, context });
                }
            }
            before = Some(entry.term);
        }
        Ok(())
    }

    /// Somebody whose term is `seen_in` holds everything up to this entry for committed.
    pub fn commit(
        &mut self,
        who: &str,
        index: u64,
        term: u64,
        seen_in: u64,
        now: u64,
    ) -> Result<(), Broken> {
        if index <= FOUNDED {
            return Ok(());
        }
        if let Some(fact) = self.fact(index) {
            if fact.term != term {
                return Err(Invariant::StateMachineSafety.broken(format!(
                    "{who} holds entry {index}/{term} (index/term) for committed, but {index}/{} is",
                    fact.term
                )));
            }
            return Ok(());
        }
        // Back along the log to what is known.
        let mut chain = Vec::new();
        let (mut at, mut at_term) = (index, term);
        while at > self.last() {
            let Some(written) = self.written.get(&(at, at_term)) else {
                return Err(Invariant::StateMachineSafety
                    .broken(format!("{who} commits entry {at}/{at_term}, which nobody wrote")));
            };
            chain.push((at, at_term));
            (at, at_term) = (at - 1, written.before.unwrap_or_else(|| self.term_of(at - 1)));
        }
        if at > FOUNDED && self.term_of(at) != at_term {
            return Err(Invariant::StateMachineSafety.broken(format!(
                "{who} commits {index}/{term}, whose log has {at}/{at_term} where {at}/{} is committed",
                self.term_of(at)
            )));
        }
        for (index, term) in chain.into_iter().rev() {
            self.facts.push(Fact { term, seen_in, at: now });
            self.apply(index, term, now)?;
        }
        Ok(())
    }

    fn term_of(&self, index: u64) -> u64 {
        self.fact(index).map_or(u64::from(index == FOUNDED), |fact| fact.term)
    }

    fn apply(&mut self, index: u64, term: u64, now: u64) -> Result<(), Broken> {
        let written = &self.written[&(index, term)];
        let bytes = match written.kind {
            EntryType::EntryNormal => &written.data,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => &written.context,
        };
        let proposal: Option<Proposal> = (!bytes.is_empty())
            .then(|| rmp_serde::from_slice(bytes).expect("members propose what can be read"));
        if let Some(Proposal { command: Command::Expire { leases }, time, .. }) = &proposal {
            let living = leases.iter().filter_map(|&id| self.state.lease(id));
            for lease in living {
                self.expired += 1;
                if self.strict_leases {
                    leases::not_early(lease, *time)?;
                }
            }
        }
        let ending = lease_terms::ending(self, proposal.as_ref(), Term(term));
        let outcome = self.state.apply(Index(index), Term(term), proposal.as_ref());
        for ended in &ending {
            self.expired += u64::from(ended.ran_out);
            self.lease_terms.ended(ended, Index(index), now)?;
        }
        lease_terms::with_their_keys(&ending, &outcome.records)?;
        for record in &outcome.records {
            self.history.push(Arc::clone(record));
            for change in &record.changes {
                let versions = self.versions.entry(Bytes::copy_from_slice(change.key()));
                versions.or_default().push((record.revision, change.after.clone()));
            }
        }
        self.states.push_back(self.state.clone());
        if self.states.len() > STATES {
            self.states.pop_front();
        }
        self.state.free_compacted(64);
        let Some(proposal) = proposal else { return Ok(()) };
        let name = (proposal.member, proposal.id);
        if self.refused.contains(&name) {
            return Err(Invariant::AppliedOnce.broken(format!(
                "entry {index} carries proposal {:x} of member {}, which was refused for good",
                proposal.id.0, proposal.member
            )));
        }
        if let Some((first, _)) = self.outcomes.insert(name, (Index(index), outcome.applied)) {
            return Err(Invariant::AppliedOnce.broken(format!(
                "proposal {:x} of member {} is in entries {first} and {index}: {:?}",
                proposal.id.0,
                proposal.member,
                kind_of(&proposal.command)
            )));
        }
        Ok(())
    }

    /// A caller was told that its proposal will never be applied.
    pub fn refuse(&mut self, member: MemberId, id: ProposalId) -> Result<(), Broken> {
        self.refused.insert((member, id));
        match self.outcomes.get(&(member, id)) {
            Some((index, _)) => Err(Invariant::AppliedOnce.broken(format!(
                "proposal {:x} of member {member} is refused for good, but is entry {index}",
                id.0
            ))),
            None => Ok(()),
        }
    }

    /// The entry that a proposal is, and what came of it.
    pub fn outcome_of(&self, (m, id): (usize, ProposalId)) -> Option<&(Index, Applied)> {
        self.outcomes.get(&(id_of(m), id))
    }

    /// The keys of a range as of a revision.
    pub fn keys_at(&self, keys: &KeyRange, revision: Revision) -> Vec<KeyRecord> {
        let versions = self.versions.iter().filter(|(key, _)| keys.contains(key));
        let at = versions.filter_map(|(_, versions)| {
            let until = versions.partition_point(|(at, _)| *at <= revision);
            versions[..until].last()?.1.clone()
        });
        at.collect()
    }

    /// The state after `index`, if it is kept.
    pub fn state_at(&self, index: Index) -> Option<&State> {
        let first = self.states.front()?.applied_index;
        self.states.get(index.0.checked_sub(first.0)? as usize)
    }

    /// The digest of the state after `index`, if that is kept.
    pub fn digest_at(&mut self, index: Index) -> Option<u32> {
        if let Some(&digest) = self.digests.get(&index.0) {
            return Some(digest);
        }
        let digest = codec::digest(self.state_at(index)?);
        self.digests.insert(index.0, digest);
        Some(digest)
    }
}

fn kind_of(command: &Command) -> String {
    match command {
        Command::V2(command) => {
            let path = String::from_utf8_lossy(&command.path).into_owned();
            let kind = match command.op {
                V2Op::Set(_) => "set",
                V2Op::Create(_) => "create",
                V2Op::CreateInOrder(_) => "create in order",
                V2Op::Update(_) => "update",
                V2Op::CompareAndSwap { .. } => "compare and swap",
                V2Op::Delete { .. } => "delete",
                V2Op::CompareAndDelete(_) => "compare and delete",
            };
            format!("{kind} {path}")
        }
        other => format!("{other:?}"),
    }
}

/// What every founder begins with, whoever they are.
pub fn founding_state(founders: Vec<Member>) -> State {
    let mut state = State::new(founders);
    (state.applied_index, state.applied_term) = (Index(FOUNDED), Term(1));
    state
}
