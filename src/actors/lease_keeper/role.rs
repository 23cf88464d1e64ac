//! What LeaseKeeper thinks: which questions go together, and where to.
//!
//! No clock: what gets no answer is forgotten when too much of it has gathered.

use std::{collections::BTreeMap, mem};

use super::InquiryError;
use crate::{
    types::MemberId,
    wire::{LeaseAnswers, LeaseQuestion, LeaseQuestions, LeaseStanding, lease::QUESTIONS_MAX},
};

/// Questions that wait, at most.
const WAITING_MAX: usize = 1 << 16;
/// Batches that Store is asked about at a time, at most; what comes meanwhile waits.
const SERVED_MAX: usize = 16;
/// Batches that wait for the leader's answer, at most; when there are more, the oldest is given up.
const FORWARDED_MAX: usize = 1024;

/// Names a question of this member until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InquiryId(pub u64);

/// What it can learn.
#[derive(Debug)]
pub enum Input {
    /// Somebody asks here.
    Ask {
        /// A fresh id.
        id: InquiryId,
        /// What.
        questions: Vec<LeaseQuestion>,
    },
    /// A peer asks.
    Asked {
        /// Who.
        from: MemberId,
        /// What.
        questions: LeaseQuestions,
    },
    /// The leader answers.
    Answers {
        /// Who.
        from: MemberId,
        /// What.
        answers: LeaseAnswers,
    },
    /// What came of an [`Effect::Serve`]; nothing if this member does not lead.
    Served {
        /// Which.
        batch: u64,
        /// One for each question.
        answers: Option<Vec<LeaseStanding>>,
    },
    /// All that came together is here.
    EndTurn {
        /// This member.
        own: MemberId,
        /// Who leads, if that is known.
        leader: Option<MemberId>,
    },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer these as the leader; then say [`Input::Served`].
    Serve {
        /// Under this name.
        batch: u64,
        /// What.
        questions: Vec<LeaseQuestion>,
    },
    /// Send these to the leader.
    Forward {
        /// Who.
        to: MemberId,
        /// What.
        questions: LeaseQuestions,
    },
    /// Send these to a peer that asked.
    AnswerPeer {
        /// Who.
        to: MemberId,
        /// What.
        answers: LeaseAnswers,
    },
    /// Answer somebody here.
    Answer(InquiryId, Result<Vec<LeaseStanding>, InquiryError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Own(InquiryId),
    Peer { member: MemberId, number: u64 },
}

/// Who asked for which part of a batch: so many answers for each, one after the other.
type Askers = Vec<(Asker, usize)>;

/// See the head of the module.
#[derive(Debug, Default)]
pub struct Role {
    waiting: Vec<(Asker, Vec<LeaseQuestion>)>,
    waiting_questions: usize,
    /// Batches of both kinds are numbered by this.
    next_batch: u64,
    served: BTreeMap<u64, Askers>,
    forwarded: BTreeMap<u64, (MemberId, Askers)>,
}

impl Role {
    /// One whose batches are numbered from `first` on: never as in an earlier start of this member, whose
    /// answers may still be on their way.
    pub fn new(first: u64) -> Role {
        Role { next_batch: first, ..Role::default() }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Ask { id, questions } => self.ask(Asker::Own(id), questions),
            Input::Asked { from, questions: LeaseQuestions { number, questions } } => {
                self.ask(Asker::Peer { member: from, number }, questions)
            }
            Input::Answers { from, answers: LeaseAnswers { number, answers } } => {
                match self.forwarded.get(&number) {
                    Some((leader, _)) if *leader == from => {}
                    _ => return Vec::new(), // given up already, or made up
                }
                let askers = self.forwarded.remove(&number).map_or(Vec::new(), |row| row.1);
                answer(askers, Some(answers))
            }
            Input::Served { batch, answers } => {
                answer(self.served.remove(&batch).unwrap_or_default(), answers)
            }
            Input::EndTurn { own, leader } => self.end_turn(own, leader),
        }
    }

    fn ask(&mut self, asker: Asker, questions: Vec<LeaseQuestion>) -> Vec<Effect> {
        if questions.len() > QUESTIONS_MAX || self.waiting_questions > WAITING_MAX {
            return match asker {
                Asker::Own(id) => vec![Effect::Answer(id, Err(InquiryError::TooMany))],
                Asker::Peer { .. } => Vec::new(), // it asks again
            };
        }
        self.waiting_questions += questions.len();
        self.waiting.push((asker, questions));
        Vec::new()
    }

    fn end_turn(&mut self, own: MemberId, leader: Option<MemberId>) -> Vec<Effect> {
        let mut effects = Vec::new();
        if leader == Some(own) {
            while self.served.len() < SERVED_MAX
                && let Some((batch, askers, questions)) = self.next_batch(|_| true)
            {
                self.served.insert(batch, askers);
                effects.push(Effect::Serve { batch, questions });
            }
            return effects;
        }
        let is_own = |asker: &Asker| matches!(asker, Asker::Own(_));
        if let Some(to) = leader {
            while let Some((number, askers, questions)) = self.next_batch(is_own) {
                self.forwarded.insert(number, (to, askers));
                let questions = LeaseQuestions { number, questions };
                effects.push(Effect::Forward { to, questions });
            }
        }
        while self.forwarded.len() > FORWARDED_MAX
            && let Some((_, (_, askers))) = self.forwarded.pop_first()
        {
            effects.extend(answer(askers, None));
        }
        // Peers that take this member for the leader; without a leader its own askers, too.
        self.waiting_questions = 0;
        let left = mem::take(&mut self.waiting);
        effects.extend(answer(left.into_iter().map(|(asker, _)| (asker, 0)).collect(), None));
        effects
    }

    /// As many questions of such askers as fit into one batch, in their order.
    fn next_batch(
        &mut self,
        of: impl Fn(&Asker) -> bool,
    ) -> Option<(u64, Askers, Vec<LeaseQuestion>)> {
        let (mut askers, mut batch) = (Askers::new(), Vec::new());
        let mut is_full = false;
        let taken = self.waiting.extract_if(.., |(asker, questions)| {
            if is_full || !of(asker) {
                return false;
            }
            if batch.len() + questions.len() > QUESTIONS_MAX {
                is_full = true; // nor do those behind it go ahead of it
                return false;
            }
            askers.push((*asker, questions.len()));
            batch.append(questions);
            true
        });
        taken.for_each(drop);
        if askers.is_empty() {
            return None;
        }
        self.waiting_questions -= batch.len();
        self.next_batch += 1;
        Some((self.next_batch, askers, batch))
    }
}

/// Gives all who asked their part of the answers, or the news that there are none.
fn answer(askers: Askers, answers: Option<Vec<LeaseStanding>>) -> Vec<Effect> {
    let asked: usize = askers.iter().map(|(_, count)| count).sum();
    let answers = answers.filter(|answers| answers.len() == asked);
    let is_answered = answers.is_some();
    let mut answers = answers.unwrap_or_default().into_iter();
    let effects = askers.into_iter().map(|(asker, count)| {
        let part: Vec<LeaseStanding> = answers.by_ref().take(count).collect();
        match asker {
            Asker::Own(id) if is_answered => Effect::Answer(id, Ok(part)),
            Asker::Own(id) => Effect::Answer(id, Err(InquiryError::NoLeader)),
            Asker::Peer { member, number } => {
                let answers = LeaseAnswers { number, answers: part };
                Effect::AnswerPeer { to: member, answers }
            }
        }
    });
    effects.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LeaseId;

    const OWN: MemberId = MemberId(1);
    const OTHER: MemberId = MemberId(2);
    const THIRD: MemberId = MemberId(3);
    const LIVES: LeaseStanding = LeaseStanding::Lives { granted: 5, left: 4 };

    fn renew(ids: impl IntoIterator<Item = i64>) -> Vec<LeaseQuestion> {
        ids.into_iter().map(|id| LeaseQuestion::Renew(LeaseId(id))).collect()
    }

    fn ask(role: &mut Role, id: u64, leases: &[i64]) {
        let questions = renew(leases.iter().copied());
        assert_eq!(role.handle(Input::Ask { id: InquiryId(id), questions }), []);
    }

    fn asked(role: &mut Role, from: MemberId, number: u64, leases: &[i64]) {
        let questions = LeaseQuestions { number, questions: renew(leases.iter().copied()) };
        assert_eq!(role.handle(Input::Asked { from, questions }), []);
    }

    fn end_turn(role: &mut Role, leader: Option<MemberId>) -> Vec<Effect> {
        role.handle(Input::EndTurn { own: OWN, leader })
    }

    #[test]
    fn a_leader_serves_all_of_a_turn_together() {
        let mut role = Role::new(7);
        ask(&mut role, 1, &[10, 11]);
        asked(&mut role, OTHER, 99, &[12]);
        let questions = renew([10, 11, 12]);
        assert_eq!(end_turn(&mut role, Some(OWN)), [Effect::Serve { batch: 8, questions }]);
        assert_eq!(end_turn(&mut role, Some(OWN)), []);
        let answers = Some(vec![LIVES, LeaseStanding::Gone, LIVES]);
        assert_eq!(
            role.handle(Input::Served { batch: 8, answers }),
            [
                Effect::Answer(InquiryId(1), Ok(vec![LIVES, LeaseStanding::Gone])),
                Effect::AnswerPeer {
                    to: OTHER,
                    answers: LeaseAnswers { number: 99, answers: vec![LIVES] }
                },
            ]
        );
    }

    #[test]
    fn who_turns_out_not_to_lead_says_so() {
        let mut role = Role::new(0);
        ask(&mut role, 1, &[10]);
        asked(&mut role, OTHER, 99, &[12]);
        end_turn(&mut role, Some(OWN));
        let nothing = LeaseAnswers { number: 99, answers: Vec::new() };
        let told = [
            Effect::Answer(InquiryId(1), Err(InquiryError::NoLeader)),
            Effect::AnswerPeer { to: OTHER, answers: nothing },
        ];
        assert_eq!(role.handle(Input::Served { batch: 1, answers: None }), told);
        ask(&mut role, 1, &[10]);
        asked(&mut role, OTHER, 99, &[12]);
        assert_eq!(end_turn(&mut role, None), told);
        asked(&mut role, OTHER, 99, &[12]);
        assert_eq!(end_turn(&mut role, Some(OTHER)), told[1..], "its own word is not sent back");
    }

    #[test]
    fn a_follower_asks_the_leader_and_believes_nobody_else() {
        let mut role = Role::new(0);
        ask(&mut role, 1, &[10]);
        ask(&mut role, 2, &[11, 12]);
        let forwarded = LeaseQuestions { number: 1, questions: renew([10, 11, 12]) };
        let effects = end_turn(&mut role, Some(OTHER));
        assert_eq!(effects, [Effect::Forward { to: OTHER, questions: forwarded }]);
        let answers = LeaseAnswers { number: 1, answers: vec![LIVES; 3] };
        for (from, number) in [(THIRD, 1), (OTHER, 2)] {
            let answers = LeaseAnswers { number, ..answers.clone() };
            assert_eq!(role.handle(Input::Answers { from, answers }), []);
        }
        let told = [
            Effect::Answer(InquiryId(1), Ok(vec![LIVES])),
            Effect::Answer(InquiryId(2), Ok(vec![LIVES; 2])),
        ];
        let answers = Input::Answers { from: OTHER, answers };
        assert_eq!(role.handle(answers), told);
    }

    #[test]
    fn answers_to_other_questions_are_none() {
        for count in [0, 1, 3] {
            let mut role = Role::new(0);
            ask(&mut role, 1, &[10, 11]);
            end_turn(&mut role, Some(OTHER));
            let answers = LeaseAnswers { number: 1, answers: vec![LIVES; count] };
            assert_eq!(
                role.handle(Input::Answers { from: OTHER, answers }),
                [Effect::Answer(InquiryId(1), Err(InquiryError::NoLeader))],
                "{count} answers"
            );
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut role = Role::new(0);
        let questions = renew(0..QUESTIONS_MAX as i64);
        let mut refused = 0;
        for id in 0..40 {
            let questions = questions.clone();
            refused += role.handle(Input::Ask { id: InquiryId(id), questions }).len();
        }
        assert_eq!(refused, 40 - WAITING_MAX / QUESTIONS_MAX - 1);
        let served = end_turn(&mut role, Some(OWN));
        assert_eq!(served.len(), SERVED_MAX, "the rest waits");
        let answers = Some(vec![LIVES; QUESTIONS_MAX]);
        assert_eq!(role.handle(Input::Served { batch: 1, answers }).len(), 1);
        assert_eq!(end_turn(&mut role, Some(OWN)).len(), 1);
        let mut given_up = 0;
        for id in 100..100 + FORWARDED_MAX as u64 + 5 {
            ask(&mut role, id, &[1]);
            let effects = end_turn(&mut role, Some(OTHER));
            let error = |effect: &&Effect| matches!(effect, Effect::Answer(_, Err(_)));
            given_up += effects.iter().filter(error).count();
        }
        assert_eq!(given_up, 5);
    }
}
