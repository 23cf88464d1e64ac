//! What the leader thinks of the members' digests: who differs from the majority.
//!
//! Pure: no clock, no I/O; time is ticks.

use std::collections::BTreeMap;

use crate::{
    storage::mvcc::Membership,
    types::{Index, MemberId},
};

/// Checkpoints that are compared at the same time.
const ROUNDS_MAX: usize = 4;

/// See the head of the module.
#[derive(Debug)]
pub struct Role {
    interval: u64,
    patience: u64,
    now: u64,
    /// The tick of the next checkpoint; none where this member does not lead.
    next: Option<u64>,
    rounds: BTreeMap<Index, Round>,
}

/// The digests of the state after one entry.
#[derive(Debug, Default)]
struct Round {
    since: u64,
    hashes: BTreeMap<MemberId, u64>,
}

impl Role {
    /// Compares every `interval` ticks, 0 never; waits `patience` ticks for members that do not answer.
    pub fn new(interval: u64, patience: u64) -> Role {
        Role { interval, patience, now: 0, next: None, rounds: BTreeMap::new() }
    }

    /// A tick has passed. Whether a checkpoint is to be proposed now. The first of a lead comes after a
    /// tenth of the interval.
    pub fn tick(&mut self, leads: bool) -> bool {
        self.now += 1;
        if !leads || self.interval == 0 {
            self.next = None;
            self.rounds.clear();
            return false;
        }
        let next = self.next.get_or_insert(self.now + self.interval / 10);
        let due = self.now >= *next;
        if due {
            *next = self.now + self.interval;
        }
        due
    }

    /// The digest of a member's state after `index`.
    pub fn digested(&mut self, member: MemberId, index: Index, hash: u64) {
        if self.rounds.len() >= ROUNDS_MAX && !self.rounds.contains_key(&index) {
            self.rounds.pop_first();
        }
        let now = self.now;
        let round = self.rounds.entry(index).or_insert(Round { since: now, ..Round::default() });
        round.hashes.insert(member, hash);
    }

    /// Who differs, in the rounds in which all have answered or those who have not will not. Where no
    /// quorum agrees, nobody can be trusted: all that answered are named.
    pub fn differing(&mut self, membership: &Membership) -> Vec<(Index, MemberId)> {
        let (now, patience) = (self.now, self.patience);
        let ripe = self.rounds.extract_if(.., |_, round| {
            let all = membership.members().iter().all(|m| round.hashes.contains_key(&m.id));
            all || now - round.since >= patience
        });
        ripe.flat_map(|(index, round)| {
            let named = round.differing(membership);
            named.into_iter().map(move |member| (index, member))
        })
        .collect()
    }
}

impl Round {
    fn differing(&self, membership: &Membership) -> Vec<MemberId> {
        let quorum = membership.voters().count() / 2 + 1;
        let votes = |hash: u64| {
            membership.voters().filter(|voter| self.hashes.get(voter) == Some(&hash)).count()
        };
        let answered: Vec<_> =
            self.hashes.iter().filter(|(id, _)| membership.member(**id).is_some()).collect();
        let voters = answered.iter().filter(|(id, _)| membership.voters().any(|v| v == **id));
        if voters.count() < quorum {
            return Vec::new();
        }
        let right = answered.iter().map(|&(_, &hash)| hash).find(|&hash| votes(hash) >= quorum);
        let differs = |hash: u64| right != Some(hash);
        answered.into_iter().filter(|&(_, &hash)| differs(hash)).map(|(&id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mvcc::Member;

    fn membership(voters: u64, learners: u64) -> Membership {
        let member = |id| Member {
            id: MemberId(id),
            name: String::new(),
            peer_urls: Vec::new(),
            client_urls: Vec::new(),
            learner: id > voters,
        };
        Membership::new((1..=voters + learners).map(member).collect())
    }

    #[test]
    fn the_majority_is_right() {
        for (voters, learners, hashes, expected) in [
            (3, 0, vec![(1, 7), (2, 7), (3, 7)], vec![]),
            (3, 0, vec![(1, 7), (2, 8), (3, 7)], vec![2]),
            (3, 0, vec![(1, 8), (2, 7), (3, 7)], vec![1]),
            (3, 0, vec![(1, 7), (2, 8)], vec![1, 2]), // no quorum agrees
            (3, 0, vec![(1, 7), (2, 7)], vec![]),
            (3, 0, vec![(1, 7)], vec![]), // no quorum answered
            (3, 0, vec![(1, 7), (2, 8), (3, 9)], vec![1, 2, 3]),
            (2, 0, vec![(1, 7), (2, 8)], vec![1, 2]),
            (3, 1, vec![(1, 7), (2, 7), (3, 7), (4, 8)], vec![4]),
            (3, 1, vec![(1, 7), (4, 7)], vec![]), // learners are no quorum
            (3, 0, vec![(1, 7), (2, 7), (9, 8)], vec![]), // no member
        ] {
            let mut role = Role::new(10, 5);
            for &(member, hash) in &hashes {
                role.digested(MemberId(member), Index(1), hash);
            }
            let membership = membership(voters, learners);
            let all = hashes.len() as u64 >= voters + learners;
            let early = role.differing(&membership);
            assert!(all || early.is_empty(), "{hashes:?}: too early");
            (0..5).for_each(|_| _ = role.tick(true));
            let named = if all { early } else { role.differing(&membership) };
            let named: Vec<u64> = named.into_iter().map(|(_, id)| id.0).collect();
            assert_eq!(named, expected, "{hashes:?}");
        }
    }

    #[test]
    fn a_leader_asks_now_and_then() {
        let mut role = Role::new(100, 5);
        let asked: Vec<u64> = (1..=250).filter(|_| role.tick(true)).collect();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(!(0..300).any(|_| role.tick(false)));
        assert!(!(0..300).any(|_| Role::new(0, 5).tick(true)));
    }
}
