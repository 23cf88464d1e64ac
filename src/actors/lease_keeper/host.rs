//! The actor that hosts LeaseKeeper: owns the mailbox and everyone who waits, carries effects out.

use std::{collections::BTreeMap, mem, sync::Arc};

use actix::{Actor, AsyncContext, Context, Handler, Message, Recipient};

use super::{
    FromPeer, InquiryError, LeaseInquiry, Said,
    role::{Effect, Input, InquiryId, Role},
};
use crate::{
    actors::{
        mailbox::{Ask, Mailbox, Reply},
        peer::Outgoing,
        raft_node::{Propose, ReadIndex, host::SendToPeer},
        store::AskLeases,
    },
    command::{Command, V3Command, V3Op},
    published::Published,
    types::{LeaseId, Term},
    wire::{LeaseQuestion, LeaseStanding},
};

/// Leases in one checkpoint, at most.
const CHECKPOINTS_MAX: usize = 1000;

/// What the actor works with.
pub struct Wiring {
    /// Who this member is, and who leads.
    pub published: Arc<Published>,
    /// Tells whether this member still leads.
    pub read_index: Mailbox<ReadIndex>,
    /// Tells the cluster of leases that are kept alive after their checkpoint.
    pub propose: Mailbox<Propose>,
    /// Knows the leases.
    pub store: Mailbox<AskLeases>,
    /// Sends what peers are to hear.
    pub to_peers: Recipient<SendToPeer>,
}

/// See the head of the module.
pub struct LeaseKeeper {
    role: Role,
    wiring: Arc<Wiring>,
    asking: BTreeMap<InquiryId, Reply<Result<Vec<LeaseStanding>, InquiryError>>>,
    next_inquiry: u64,
    turn_open: bool,
}

impl LeaseKeeper {
    /// An actor that is yet to be started.
    pub fn new(role: Role, wiring: Wiring) -> Self {
        LeaseKeeper {
            role,
            wiring: Arc::new(wiring),
            asking: BTreeMap::new(),
            next_inquiry: 0,
            turn_open: false,
        }
    }

    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        for effect in self.role.handle(input) {
            self.perform(effect, ctx);
        }
        if !mem::replace(&mut self.turn_open, true) {
            ctx.notify(EndTurn); // arrives once the mailbox is empty: what came together is asked together
        }
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Serve { batch, questions } => {
                let (wiring, own) = (Arc::clone(&self.wiring), ctx.address());
                actix::spawn(async move {
                    let answers = serve(&wiring, questions).await;
                    own.do_send(Served { batch, answers });
                });
            }
            Effect::Forward { to, questions } => {
                let what = Outgoing::LeaseQuestions(questions);
                self.wiring.to_peers.do_send(SendToPeer { to, what });
            }
            Effect::AnswerPeer { to, answers } => {
                let what = Outgoing::LeaseAnswers(answers);
                self.wiring.to_peers.do_send(SendToPeer { to, what });
            }
            Effect::Answer(id, answer) => {
                if let Some(reply) = self.asking.remove(&id) {
                    _ = reply.send(answer); // or the asker has gone
                }
            }
        }
    }
}

/// Answers as the leader. None if this member does not lead, or cannot be sure that it does.
async fn serve(wiring: &Wiring, questions: Vec<LeaseQuestion>) -> Option<Vec<LeaseStanding>> {
    let term = led_term(wiring)?;
    wiring.read_index.ask(ReadIndex).ok()?.await.ok()?.ok()?;
    // It led in this term before and after the round, and so in between: no member leads twice in one
    // term. Who leads next is elected after the round began, and gives each lease its time anew.
    if led_term(wiring)? != term {
        return None;
    }
    let asked = questions.clone();
    let answers = wiring.store.ask(AskLeases { term, questions }).ok()?.await.ok()??;
    let told = asked.iter().zip(&answers).filter(|(_, answer)| answer.must_tell);
    let told: Vec<(LeaseId, u64)> = told
        .filter_map(|(asked, answer)| match (asked, answer.standing) {
            (LeaseQuestion::Renew(id), LeaseStanding::Lives { granted, .. }) => {
                Some((*id, granted))
            }
            _ => None,
        })
        .collect();
    for leases in told.chunks(CHECKPOINTS_MAX) {
        let op = V3Op::LeaseCheckpoint { leases: leases.to_vec(), term };
        let command = Command::V3(V3Command { caller: None, op });
        wiring.propose.ask(Propose(command)).ok()?.await.ok()?.ok()?;
    }
    // In another term the checkpoint had no effect.
    if !told.is_empty() && led_term(wiring)? != term {
        return None;
    }
    Some(answers.iter().map(|answer| answer.standing).collect())
}

/// The term in which this member leads.
fn led_term(wiring: &Wiring) -> Option<Term> {
    wiring.published.is_leader().then(|| wiring.published.raft.term())
}

impl Actor for LeaseKeeper {
    type Context = Context<Self>;
}

impl Handler<Ask<LeaseInquiry>> for LeaseKeeper {
    type Result = ();

    fn handle(&mut self, ask: Ask<LeaseInquiry>, ctx: &mut Self::Context) {
        let (LeaseInquiry(questions), reply) = ask.take();
        let id = InquiryId(self.next_inquiry);
        self.next_inquiry += 1;
        self.asking.insert(id, reply);
        self.feed(Input::Ask { id, questions }, ctx);
    }
}

impl Handler<FromPeer> for LeaseKeeper {
    type Result = ();

    fn handle(&mut self, FromPeer { from, what, slot }: FromPeer, ctx: &mut Self::Context) {
        drop(slot);
        match what {
            Said::Questions(questions) => self.feed(Input::Asked { from, questions }, ctx),
            Said::Answers(answers) => self.feed(Input::Answers { from, answers }, ctx),
        }
    }
}

/// Ends a turn: arrives once the mailbox is empty.
#[derive(Message)]
#[rtype(result = "()")]
struct EndTurn;

impl Handler<EndTurn> for LeaseKeeper {
    type Result = ();

    fn handle(&mut self, _: EndTurn, ctx: &mut Self::Context) {
        let published = &self.wiring.published;
        let (own, leader) = (published.identity.member_id, published.raft.leader());
        for effect in self.role.handle(Input::EndTurn { own, leader }) {
            self.perform(effect, ctx);
        }
        self.turn_open = false;
    }
}

/// The answers to a batch are here.
#[derive(Message)]
#[rtype(result = "()")]
struct Served {
    batch: u64,
    answers: Option<Vec<LeaseStanding>>,
}

impl Handler<Served> for LeaseKeeper {
    type Result = ();

    fn handle(&mut self, Served { batch, answers }: Served, ctx: &mut Self::Context) {
        self.feed(Input::Served { batch, answers }, ctx);
    }
}
