//! The one who changes the membership: one change at a time, each made until its outcome is known.

use std::collections::VecDeque;

use callboard::command::MemberChange;
use callboard::types::MemberId;

use super::clients::{Ended, Kind};
use super::member::Member;
use super::plan::Change;
use super::random::Random;
use super::settings::{MS, SECOND};
use super::world::{Event, World, founder, id_of, place_of};

/// More are not added.
const MEMBERS_MAX: usize = 9;

/// See the head of the module.
pub struct Operator {
    random: Random,
    queue: VecDeque<Change>,
    /// The change under way, and how often it was tried.
    doing: Option<(MemberChange, u64)>,
    waiting: bool,
}

impl Operator {
    pub fn new(seed: u64) -> Operator {
        let random = Random::of(seed, "operator", 0);
        Operator { random, queue: VecDeque::new(), doing: None, waiting: false }
    }
}

impl World {
    pub fn order_change(&mut self, change: Change) {
        self.operator.queue.push_back(change);
        self.operate();
    }

    /// The next step, if none is under way.
    pub fn operate(&mut self) {
        if self.operator.waiting || self.ending {
            return;
        }
        if self.operator.doing.is_none() {
            let Some(change) = self.operator.queue.pop_front() else { return };
            if self.healed_at.is_some() {
                return; // from here on the cluster is left alone
            }
            let Some(change) = self.choose(change) else { return self.operate_later(MS) };
            self.operator.doing = Some((change, 0));
        }
        self.start_joiners();
        let up = self.up();
        let Some((change, tries)) = &mut self.operator.doing else { return };
        *tries += 1;
        let change = change.clone();
        if up.is_empty() {
            return self.operate_later(SECOND);
        }
        let m = self.operator.random.pick(&up);
        self.operator.waiting = true;
        self.begin_op(None, m, String::new(), Kind::Members(change));
    }

    /// Whoever is a member and was never started, starts: its addition may have come through although
    /// nobody was told.
    pub fn start_joiners(&mut self) {
        for m in 0..self.members.len() {
            let joined = self.ledger.state.membership().member(id_of(m)).is_some();
            if joined && self.members[m].life == 0 {
                self.after(MS, Event::Boot { m });
            }
        }
    }

    fn operate_later(&mut self, wait: u64) {
        self.after(wait, Event::Operator);
    }

    /// An attempt has ended.
    pub fn operated(&mut self, op: usize) {
        self.operator.waiting = false;
        let Some((_, Ended::Applied(_))) = &self.ops[op].ended else {
            // Refused, or unknown: looks whether it took effect, and tries again a few times.
            let tries = self.operator.doing.as_ref().map_or(0, |(_, tries)| *tries);
            if tries >= 20 || self.healed_at.is_some() {
                self.operator.doing = None;
            }
            return self.operate_later(300 * MS);
        };
        self.stats.membership_changes += 1;
        if let Some((MemberChange::Add { id, .. }, _)) = self.operator.doing.take() {
            self.after(MS, Event::Boot { m: place_of(id) });
        }
        self.operate_later(MS);
    }

    fn choose(&mut self, change: Change) -> Option<MemberChange> {
        let membership = self.ledger.state.membership();
        let voters: Vec<MemberId> = membership.voters().collect();
        let learners: Vec<MemberId> = membership.learners().collect();
        let random = &mut self.operator.random;
        match change {
            Change::AddLearner | Change::AddVoter => {
                let m = self.members.len();
                if m >= MEMBERS_MAX {
                    return None;
                }
                let member = Member::new(&self.options, &self.settings, m, false);
                self.members.push(member);
                let (id, learner) = (id_of(m), change == Change::AddLearner);
                let peer_urls = founder(m).peer_urls;
                Some(MemberChange::Add { id, peer_urls, learner, learners_max: None })
            }
            Change::Promote if learners.is_empty() => None,
            Change::Promote => Some(MemberChange::Promote { id: random.pick(&learners) }),
            Change::Remove => {
                let mut from = learners;
                if voters.len() > 2 {
                    from.extend(voters);
                }
                (!from.is_empty()).then(|| MemberChange::Remove { id: random.pick(&from) })
            }
            Change::RemoveLost => {
                let id = id_of(self.lost?);
                membership.member(id).is_some().then_some(MemberChange::Remove { id })
            }
            Change::Update => {
                let id = random.pick(&voters);
                let url = format!("http://moved{}:2380", random.below(1_000_000));
                Some(MemberChange::Update { id, peer_urls: vec![url] })
            }
        }
    }
}
