//! The membership: RaftNode's, the state's and the crate's are one; whoever was removed stays out;
//! learners do not vote.

use callboard::storage::mvcc::Membership;

use super::{Broken, Invariant};
use crate::sim::member::Running;
use crate::sim::world::World;

impl World {
    pub fn membership_agrees(&self, m: usize, run: &Running) -> Result<(), Broken> {
        let own = run.raft.membership();
        let Some(state) = self.ledger.state_at(run.handed) else { return Ok(()) };
        // Names and client URLs are the state's alone.
        let raft = |membership: &Membership| {
            let members = membership.members().iter();
            let members =
                members.map(|member| (member.id, member.learner, member.peer_urls.clone()));
            (members.collect::<Vec<_>>(), membership.removed().clone())
        };
        if run.handed.0 > 0 && raft(own) != raft(state.membership()) {
            return Err(Invariant::Membership.broken(format!(
                "after entry {} member {} knows {own:?}, but it is {:?}",
                run.handed,
                m + 1,
                state.membership()
            )));
        }
        if let Some(back) = own.removed().iter().find(|&&id| own.member(id).is_some()) {
            return Err(Invariant::Membership.broken(format!("removed member {back} is back")));
        }
        let conf = run.raft.node().raft.prs().conf().to_conf_state();
        let sorted = |ids: &[u64]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        let voters: Vec<u64> = own.voters().map(|id| id.0).collect();
        let learners: Vec<u64> = own.learners().map(|id| id.0).collect();
        if sorted(conf.get_voters()) != voters || sorted(conf.get_learners()) != learners {
            return Err(Invariant::Membership.broken(format!(
                "member {} counts the votes of {conf:?}, but the members are {own:?}",
                m + 1
            )));
        }
        Ok(())
    }
}
