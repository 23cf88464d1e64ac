//! Durability: what a member said to have on disk is there after any crash; what it answered is what
//! became of the proposal.

use callboard::command::ProposalId;
use callboard::storage::mvcc::Applied;

use super::{Broken, Invariant};
use crate::sim::member::Durable;
use crate::sim::world::{World, id_of};

impl World {
    /// What recovery found is at least what RaftNode was told to be on disk.
    pub fn persisted_stays(&self, m: usize, found: Durable) -> Result<(), Broken> {
        let told = self.members[m].durable;
        let vote_stays = found.term > told.term || found.vote == told.vote || told.vote == 0;
        if self.members[m].damaged
            || (found.last >= told.last && found.term >= told.term && vote_stays)
        {
            return Ok(());
        }
        Err(Invariant::PersistedStays.broken(format!(
            "member {} starts with {found:?}, but had {told:?} on disk ((term, index) of the last entry)",
            m + 1
        )))
    }

    /// The answer to a proposal is the truth's.
    pub fn answer_is_true(&self, m: usize, id: ProposalId, answer: &Applied) -> Result<(), Broken> {
        match self.ledger.outcomes.get(&(id_of(m), id)) {
            None => Err(Invariant::AnswersAreTrue.broken(format!(
                "member {} answers proposal {:x}, which is not committed",
                m + 1,
                id.0
            ))),
            Some((index, truth)) if truth != answer => {
                Err(Invariant::AnswersAreTrue.broken(format!(
                    "member {} answers entry {index} with {answer:?}, but {truth:?} is true",
                    m + 1
                )))
            }
            Some(_) => Ok(()),
        }
    }
}
