//! What LeaseKeeper's host does: questions about leases go to the leader, who makes sure that it leads,
//! asks its Store, and tells the cluster of what must be told, before it answers.

use std::mem;

use callboard::actors::lease_keeper::role::{Effect, Input, InquiryId};
use callboard::actors::store::role::LeaseAnswer;
use callboard::command::{Command, V3Command, V3Op};
use callboard::types::{LeaseId, MemberId, Term};
use callboard::wire::{LeaseAnswers, LeaseQuestion, LeaseQuestions, LeaseStanding};

use super::clients::{Answer, Asker};
use super::member::{RaftIn, Running};
use super::network::Parcel;
use super::settings::Planted;
use super::store_host::StoreIn;
use super::world::{Event, World, id_of};

/// What LeaseKeeper's mailbox holds, and what its tasks wait for.
#[derive(Debug)]
pub enum KeeperIn {
    Ask {
        op: usize,
        questions: Vec<LeaseQuestion>,
    },
    Asked {
        from: MemberId,
        questions: LeaseQuestions,
    },
    Answers {
        from: MemberId,
        answers: LeaseAnswers,
    },
    /// A read index for a batch is here.
    ReadIndex {
        batch: u64,
        worked: bool,
    },
    /// Store has answered.
    Stood {
        batch: u64,
        answers: Option<Vec<LeaseAnswer>>,
    },
    /// The checkpoint is applied.
    Told {
        batch: u64,
        worked: bool,
    },
    EndTurn,
}

/// A batch that is being answered.
#[derive(Debug)]
pub struct Serving {
    term: Term,
    questions: Vec<LeaseQuestion>,
    standings: Vec<LeaseStanding>,
}

impl World {
    pub fn tell_keeper(&mut self, m: usize, input: KeeperIn) {
        let life = self.members[m].life;
        let delay = self.members[m].random.below(self.settings.turn_delay);
        self.after(delay, Event::Keeper { m, life, input: Box::new(input) });
    }

    pub fn keeper(&mut self, m: usize, input: KeeperIn) {
        let Some(mut run) = self.members[m].run.take() else { return };
        match input {
            KeeperIn::Ask { op, questions } => {
                let id = InquiryId(run.next_inquiry);
                run.next_inquiry += 1;
                run.inquiries.insert(id, op);
                self.feed_keeper(m, &mut run, Input::Ask { id, questions });
            }
            KeeperIn::Asked { from, questions } => {
                self.feed_keeper(m, &mut run, Input::Asked { from, questions });
            }
            KeeperIn::Answers { from, answers } => {
                self.feed_keeper(m, &mut run, Input::Answers { from, answers });
            }
            KeeperIn::ReadIndex { batch, worked } => self.may_ask_store(m, &mut run, batch, worked),
            KeeperIn::Stood { batch, answers } => self.stood(m, &mut run, batch, answers),
            KeeperIn::Told { batch, worked } => {
                let still = run.serving.get(&batch).map(|serving| serving.term);
                let worked = worked && led_term(m, &run) == still;
                self.served(m, &mut run, batch, worked);
            }
            KeeperIn::EndTurn => {
                run.keeper_due = false;
                let (own, leader) = (id_of(m), run.leader);
                for effect in run.keeper.handle(Input::EndTurn { own, leader }) {
                    self.keeper_effect(m, &mut run, effect);
                }
            }
        }
        self.members[m].run = Some(run);
    }

    fn feed_keeper(&mut self, m: usize, run: &mut Running, input: Input) {
        for effect in run.keeper.handle(input) {
            self.keeper_effect(m, run, effect);
        }
        if !mem::replace(&mut run.keeper_due, true) {
            self.tell_keeper(m, KeeperIn::EndTurn);
        }
    }

    fn keeper_effect(&mut self, m: usize, run: &mut Running, effect: Effect) {
        match effect {
            Effect::Serve { batch, questions } => {
                let Some(term) = led_term(m, run) else {
                    // It cannot answer; it says so when its turn comes.
                    let serving = Serving { term: Term(0), questions, standings: Vec::new() };
                    run.serving.insert(batch, serving);
                    return self.tell_keeper(m, KeeperIn::ReadIndex { batch, worked: false });
                };
                run.serving.insert(batch, Serving { term, questions, standings: Vec::new() });
                if self.options.planted == Some(Planted::LeasesUnasked) {
                    return self.tell_keeper(m, KeeperIn::ReadIndex { batch, worked: true });
                }
                self.put_raft(m, run, RaftIn::Read(Asker::Keeper(batch)));
            }
            Effect::Forward { to, questions } => {
                self.send(m, to, Parcel::LeaseQuestions(questions));
            }
            Effect::AnswerPeer { to, answers } => self.send(m, to, Parcel::LeaseAnswers(answers)),
            Effect::Answer(id, answer) => {
                if let Some(op) = run.inquiries.remove(&id) {
                    self.reply(op, Answer::Leases(answer));
                }
            }
        }
    }

    fn may_ask_store(&mut self, m: usize, run: &mut Running, batch: u64, worked: bool) {
        let Some(serving) = run.serving.get(&batch) else { return };
        if !worked || led_term(m, run) != Some(serving.term) {
            return self.served(m, run, batch, false);
        }
        let (term, questions) = (serving.term, serving.questions.clone());
        self.put_store(m, run, StoreIn::AskLeases { batch, term, questions });
    }

    fn stood(
        &mut self,
        m: usize,
        run: &mut Running,
        batch: u64,
        answers: Option<Vec<LeaseAnswer>>,
    ) {
        let Some(serving) = run.serving.get_mut(&batch) else { return };
        let Some(answers) = answers else { return self.served(m, run, batch, false) };
        serving.standings = answers.iter().map(|answer| answer.standing).collect();
        let told = serving.questions.iter().zip(&answers).filter(|(_, answer)| answer.must_tell);
        let leases: Vec<(LeaseId, u64)> = told
            .filter_map(|(asked, answer)| match (asked, answer.standing) {
                (LeaseQuestion::Renew(id), LeaseStanding::Lives { granted, .. }) => {
                    Some((*id, granted))
                }
                _ => None,
            })
            .collect();
        if leases.is_empty() {
            return self.served(m, run, batch, true);
        }
        self.stats.checkpointed += leases.len() as u64;
        let op = V3Op::LeaseCheckpoint { leases, term: serving.term };
        let command = Command::V3(V3Command { caller: None, op });
        self.put_raft(m, run, RaftIn::Propose(command, Some(Asker::Keeper(batch))));
    }

    fn served(&mut self, m: usize, run: &mut Running, batch: u64, worked: bool) {
        let serving = run.serving.remove(&batch).filter(|_| worked);
        let answers = serving.map(|serving| serving.standings);
        self.feed_keeper(m, run, Input::Served { batch, answers });
    }
}

/// The term in which a member leads.
fn led_term(m: usize, run: &Running) -> Option<Term> {
    (run.leader == Some(id_of(m))).then(|| run.raft.term())
}
