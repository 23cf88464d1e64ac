//! Who is in the cluster, and which changes of that are valid. RaftNode decides by it whether a
//! committed change takes effect; the state keeps it and shows it. Both apply the same entries, so both
//! come to the same answer.
//!
//! Pure; depends on `command` and `types`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{command::MemberChange, types::MemberId};

/// A member of the cluster, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Its name; empty until it has published itself.
    pub name: String,
    /// Where its peers find it, sorted.
    pub peer_urls: Vec<String>,
    /// Where clients find it; empty until it has published itself.
    pub client_urls: Vec<String>,
    /// Without a vote.
    #[serde(default)]
    pub learner: bool,
}

/// The members of a cluster and the ids that can never be members again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    members: Vec<Member>,
    removed: BTreeSet<MemberId>,
}

/// Why a change of the membership is refused; the texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The id was used before, and its member removed.
    #[error("membership: ID removed")]
    IdRemoved,
    /// The id is a member's.
    #[error("membership: ID exists")]
    IdExists,
    /// There is no such member.
    #[error("membership: ID not found")]
    IdNotFound,
    /// Another member has one of the peer URLs.
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    /// Only a learner can be promoted.
    #[error("membership: can only promote a learner member")]
    NotLearner,
    /// One learner too many.
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
    /// The cluster would be left without a voter.
    #[error("membership: the last voting member cannot be removed")]
    LastVoter,
}

impl Membership {
    /// Of these members, of whom none was ever removed.
    pub fn new(members: Vec<Member>) -> Membership {
        Membership::restore(members, BTreeSet::new())
    }

    /// As it was saved.
    pub fn restore(mut members: Vec<Member>, removed: BTreeSet<MemberId>) -> Membership {
        members.sort_by_key(|member| member.id);
        Membership { members, removed }
    }

    /// The members, by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One of them.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The ids that can never return.
    pub fn removed(&self) -> &BTreeSet<MemberId> {
        &self.removed
    }

    /// Those who vote, by id.
    pub fn voters(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().filter(|member| !member.learner).map(|member| member.id)
    }

    /// Those who do not, by id.
    pub fn learners(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().filter(|member| member.learner).map(|member| member.id)
    }

    /// A member tells its name and client URLs; one that is not a member (any more) is passed over.
    pub fn publish(&mut self, id: MemberId, name: &str, client_urls: &[String]) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            name.clone_into(&mut member.name);
            client_urls.clone_into(&mut member.client_urls);
        }
    }

    /// Whether a change may take effect now.
    pub fn check(&self, change: &MemberChange) -> Result<(), MemberError> {
        let (MemberChange::Add { id, .. }
        | MemberChange::Promote { id }
        | MemberChange::Remove { id }
        | MemberChange::Update { id, .. }) = change;
        if self.removed.contains(id) {
            return Err(MemberError::IdRemoved);
        }
        match (change, self.member(*id)) {
            (MemberChange::Add { .. }, Some(_)) => Err(MemberError::IdExists),
            (MemberChange::Add { peer_urls, learner, learners_max, .. }, None) => {
                self.check_urls(*id, peer_urls)?;
                let full = |max: &u64| *learner && self.learners().count() as u64 >= *max;
                let too_many = learners_max.as_ref().is_some_and(full);
                if too_many { Err(MemberError::TooManyLearners) } else { Ok(()) }
            }
            (MemberChange::Update { peer_urls, .. }, Some(_)) => self.check_urls(*id, peer_urls),
            (_, None) => Err(MemberError::IdNotFound),
            (MemberChange::Promote { .. }, Some(member)) if !member.learner => {
                Err(MemberError::NotLearner)
            }
            (MemberChange::Promote { .. }, Some(_)) => Ok(()),
            (MemberChange::Remove { .. }, Some(_)) => {
                let others = self.voters().any(|voter| voter != *id);
                if others { Ok(()) } else { Err(MemberError::LastVoter) }
            }
        }
    }

    fn check_urls(&self, id: MemberId, urls: &[String]) -> Result<(), MemberError> {
        let taken = self
            .members
            .iter()
            .filter(|member| member.id != id)
            .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
        if taken { Err(MemberError::PeerUrlExists) } else { Ok(()) }
    }

    /// Applies a change, or leaves everything as it is and says why.
    pub fn apply(&mut self, change: &MemberChange) -> Result<(), MemberError> {
        self.check(change)?;
        match change {
            MemberChange::Add { id, peer_urls, learner, .. } => {
                let at = self.members.partition_point(|member| member.id < *id);
                let member = Member {
                    id: *id,
                    name: String::new(),
                    peer_urls: peer_urls.clone(),
                    client_urls: Vec::new(),
                    learner: *learner,
                };
                self.members.insert(at, member);
            }
            MemberChange::Remove { id } => {
                self.members.retain(|member| member.id != *id);
                self.removed.insert(*id);
            }
            MemberChange::Promote { id } => {
                for member in self.members.iter_mut().filter(|member| member.id == *id) {
                    member.learner = false;
                }
            }
            MemberChange::Update { id, peer_urls } => {
                for member in self.members.iter_mut().filter(|member| member.id == *id) {
                    member.peer_urls.clone_from(peer_urls);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, url: &str) -> Member {
        Member {
            id: MemberId(id),
            name: String::new(),
            peer_urls: vec![url.to_owned()],
            client_urls: Vec::new(),
            learner: false,
        }
    }

    fn add(id: u64, url: &str, learner: bool) -> MemberChange {
        let (id, peer_urls) = (MemberId(id), vec![url.to_owned()]);
        MemberChange::Add { id, peer_urls, learner, learners_max: None }
    }

    /// The limit travels with the change, so it holds for whatever became true on its way.
    #[test]
    fn a_learner_too_many_is_refused_when_it_is_applied() {
        let mut membership = Membership::new(vec![member(1, "http://a:1")]);
        for (change, expected) in [
            (add(2, "http://b:1", true).limited(0), Err(MemberError::TooManyLearners)),
            (add(2, "http://b:1", true).limited(1), Ok(())),
            (add(3, "http://c:1", true).limited(1), Err(MemberError::TooManyLearners)),
            (add(3, "http://b:1", true).limited(1), Err(MemberError::PeerUrlExists)),
            (add(3, "http://c:1", true).limited(2), Ok(())),
            (add(4, "http://d:1", false).limited(1), Ok(())),
            (add(5, "http://e:1", true), Ok(())), // from the log of an earlier version
            (MemberChange::Promote { id: MemberId(2) }, Ok(())),
            (add(6, "http://f:1", true).limited(2), Err(MemberError::TooManyLearners)),
            (add(6, "http://f:1", true).limited(3), Ok(())),
        ] {
            assert_eq!(membership.apply(&change), expected, "{change:?}");
        }
    }

    #[test]
    fn changes_are_judged_in_etcds_words() {
        let mut membership =
            Membership::new(vec![member(2, "http://b:1"), member(1, "http://a:1")]);
        let update = |id, url: &str| MemberChange::Update {
            id: MemberId(id),
            peer_urls: vec![url.to_owned()],
        };
        let promote = |id| MemberChange::Promote { id: MemberId(id) };
        let remove = |id| MemberChange::Remove { id: MemberId(id) };
        for (change, expected) in [
            (add(1, "http://c:1", false), Err(MemberError::IdExists)),
            (add(3, "http://a:1", false), Err(MemberError::PeerUrlExists)),
            (add(3, "http://c:1", true), Ok(())),
            (promote(1), Err(MemberError::NotLearner)),
            (promote(4), Err(MemberError::IdNotFound)),
            (update(1, "http://c:1"), Err(MemberError::PeerUrlExists)),
            (update(1, "http://a:2"), Ok(())),
            (remove(1), Ok(())),
            (remove(1), Err(MemberError::IdRemoved)),
            (add(1, "http://d:1", false), Err(MemberError::IdRemoved)),
            (remove(2), Err(MemberError::LastVoter)),
            (promote(3), Ok(())),
            (remove(2), Ok(())),
        ] {
            assert_eq!(membership.apply(&change), expected, "{change:?}");
        }
        assert_eq!(membership.voters().collect::<Vec<_>>(), [MemberId(3)]);
        assert_eq!(membership.removed().len(), 2);
    }
}
