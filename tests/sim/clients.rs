//! Clients: each has one operation at a time, at any member, waits only so long, and notes what it was
//! told.

use callboard::actors::lease_keeper::InquiryError;
use callboard::actors::raft_node::ProposeError;
use callboard::command::{KeyRange, MemberChange, ProposalId, V3Op};
use callboard::storage::mvcc::Applied;
use callboard::storage::v3::{V3Applied, V3Error};
use callboard::types::{Index, LeaseId};
use callboard::wire::{LeaseQuestion, LeaseStanding};

use super::invariants::Invariant;
use super::invariants::reads::{self, Seen};
use super::keeper_host::KeeperIn;
use super::member::RaftIn;
use super::settings::{MS, SECOND};
use super::wishes::{Known, command};
use super::world::{Event, World, id_of};

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Set {
        value: String,
        ttl: Option<u64>,
    },
    Create {
        value: String,
    },
    Swap {
        previous: String,
        index: u64,
        value: String,
    },
    DeleteIf {
        previous: String,
    },
    Delete,
    Get,
    /// Whatever that member has.
    SerialGet,
    Post {
        value: String,
    },
    Members(MemberChange),
    /// Through the v3 door.
    V3(V3Op),
    Range {
        keys: KeyRange,
        /// 0: now.
        revision: i64,
        serializable: bool,
    },
    KeepAlive(LeaseId),
    TimeToLive(LeaseId),
}

impl Kind {
    /// A read of whatever that member has.
    fn is_serial(&self) -> bool {
        matches!(self, Kind::SerialGet | Kind::Range { serializable: true, .. })
    }
}

/// Who waits for something at a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// An operation.
    Op(usize),
    /// LeaseKeeper, for a batch of questions.
    Keeper(u64),
}

/// What a member answers.
#[derive(Debug)]
pub enum Answer {
    Applied(Applied),
    Read {
        applied: Index,
        at_least: u64,
        seen: Result<Seen, V3Error>,
    },
    Leases(Result<Vec<LeaseStanding>, InquiryError>),
    /// The connection ends: nobody knows.
    Gone,
    Refused(ProposeError),
    ReadFailed,
    NotSent,
}

/// How an operation ended, for its client.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    Applied(Applied),
    Read(Seen),
    Lease(LeaseStanding),
    /// It has no effect.
    Failed,
    Unknown,
}

/// An operation, from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Op {
    /// None: the operator's.
    pub client: Option<usize>,
    pub m: usize,
    pub life: u64,
    pub key: String,
    pub kind: Kind,
    pub began: u64,
    /// The highest index that was acknowledged to anybody before it began.
    pub floor: u64,
    pub name: Option<(usize, ProposalId)>,
    /// The entry that it was, or after which it looked.
    pub index: Option<Index>,
    /// How often it was asked.
    asks: u64,
    pub ended: Option<(u64, Ended)>,
}

/// The pause before the leader is asked about leases again.
const ASK_AGAIN: u64 = 50 * MS;

impl World {
    /// A client's next step.
    pub fn client(&mut self, c: usize) {
        if self.clients[c].busy || self.ending {
            return;
        }
        let many = self.members.len() as u64;
        let client = &mut self.clients[c];
        if client.random.per_mille(200) {
            client.at = client.random.below(many) as usize;
        }
        let m = client.at % many as usize;
        let (key, kind) = client.next(c, &self.settings);
        client.busy = true;
        self.begin_op(Some(c), m, key, kind);
    }

    /// Begins an operation; its number.
    pub fn begin_op(&mut self, client: Option<usize>, m: usize, key: String, kind: Kind) -> usize {
        let op = self.ops.len();
        self.stats.operations += u64::from(client.is_some());
        let life = self.members[m].life;
        let (began, floor) = (self.now, self.acknowledged);
        let command = command(&key, &kind);
        let is_serial = kind.is_serial();
        let is_of_leases = matches!(kind, Kind::KeepAlive(_) | Kind::TimeToLive(_));
        self.ops.push(Op {
            client,
            m,
            life,
            key,
            kind,
            began,
            floor,
            name: None,
            index: None,
            asks: 0,
            ended: None,
        });
        self.trace.note(&[200, op as u64, m as u64]);
        if self.members[m].run.is_none() {
            self.after(MS, Event::Answer { op, answer: Box::new(Answer::NotSent) });
            return op;
        }
        self.after(self.settings.client_patience, Event::GiveUp { op });
        match command {
            Some(command) => self.tell_raft(m, RaftIn::Propose(command, Some(Asker::Op(op)))),
            None if is_of_leases => self.ask_leader(op, 0),
            None if is_serial => {
                let delay = self.settings.turn_delay;
                self.after(delay, Event::ServeRead { m, life, op, index: 0 });
            }
            None => self.tell_raft(m, RaftIn::Read(Asker::Op(op))),
        }
        op
    }

    /// Asks by way of LeaseKeeper, and again should the question or its answer be lost on the way: that is
    /// told to nobody.
    pub fn ask_leader(&mut self, op: usize, ask: u64) {
        let Op { m, life, ended: None, asks, .. } = self.ops[op] else { return };
        if asks != ask {
            return; // that was done already
        }
        self.ops[op].asks += 1;
        let question = match self.ops[op].kind {
            Kind::KeepAlive(id) => LeaseQuestion::Renew(id),
            Kind::TimeToLive(id) => LeaseQuestion::TimeToLive(id),
            _ => return,
        };
        if self.members[m].life != life || self.members[m].run.is_none() {
            return self.reply(op, Answer::Gone);
        }
        self.tell_keeper(m, KeeperIn::Ask { op, questions: vec![question] });
        self.after(self.settings.election() / 2, Event::AskLeader { op, ask: ask + 1 });
    }

    /// RaftNode has given a proposal its name.
    pub fn named(&mut self, op: usize, m: usize, id: ProposalId) {
        self.ops[op].name = Some((m, id));
    }

    /// A member answers; it takes a moment.
    pub fn reply(&mut self, op: usize, answer: Answer) {
        let delay = 50 + self.ops[op].began % 200;
        self.after(delay, Event::Answer { op, answer: Box::new(answer) });
    }

    /// The same, for whoever asked.
    pub fn reply_to(&mut self, m: usize, asker: Asker, answer: Answer) {
        match (asker, answer) {
            (Asker::Op(op), answer) => self.reply(op, answer),
            (Asker::Keeper(batch), Answer::Applied(applied)) => {
                let worked = matches!(applied, Applied::V3(V3Applied { result: Ok(_), .. }));
                self.tell_keeper(m, KeeperIn::Told { batch, worked });
            }
            (Asker::Keeper(batch), Answer::ReadFailed) => {
                self.tell_keeper(m, KeeperIn::ReadIndex { batch, worked: false });
            }
            (Asker::Keeper(batch), _) => {
                self.tell_keeper(m, KeeperIn::Told { batch, worked: false });
            }
        }
    }

    /// What is published now is read.
    pub fn serve_read(&mut self, m: usize, op: usize, at_least: u64) {
        let Some(run) = &self.members[m].run else { return };
        let applied = run.published.applied_index;
        let Op { key, kind, .. } = &self.ops[op];
        let (keys, revision, seen) = match kind {
            Kind::Range { keys, revision, .. } => {
                (keys.clone(), *revision, reads::range(&run.published, keys, *revision))
            }
            _ => (KeyRange::one(key.clone()), 0, Ok(reads::look(&run.published, key))),
        };
        let result = reads::is_past(&self.ledger, &keys, revision, applied, &seen);
        self.check(result);
        self.reply(op, Answer::Read { applied, at_least, seen });
    }

    pub fn give_up(&mut self, op: usize) {
        if self.ops[op].ended.is_none() {
            self.ended(op, Ended::Unknown);
        }
    }

    pub fn answered(&mut self, number: usize, answer: Answer) {
        if self.ops[number].ended.is_some() {
            return; // too late: its client has gone on
        }
        let op = &self.ops[number];
        let ended = match answer {
            Answer::Applied(applied) => {
                let (m, id) = op.name.expect("it was proposed");
                let index = self.ledger.outcomes.get(&(id_of(m), id)).map_or(0, |found| found.0.0);
                let floor = op.floor;
                self.ops[number].index = Some(Index(index));
                self.stats.acknowledged += 1;
                self.acknowledged = self.acknowledged.max(index);
                if index <= floor {
                    let what = format!(
                        "an operation that began after entry {floor} was acknowledged is entry {index}"
                    );
                    self.check(Err(Invariant::AnswersAreTrue.broken(what)));
                }
                Ended::Applied(applied)
            }
            Answer::Read { applied, at_least, seen } => {
                self.stats.reads += 1;
                if op.kind.is_serial() {
                    self.serial_read(number, applied);
                } else {
                    let result = reads::is_fresh(op, applied, at_least);
                    self.check(result);
                    self.acknowledged = self.acknowledged.max(applied.0);
                }
                self.ops[number].index = Some(applied);
                seen.map_or(Ended::Failed, Ended::Read)
            }
            Answer::Leases(Ok(standings)) => Ended::Lease(standings[0]),
            // No leader, it seems. There may be one soon.
            Answer::Leases(Err(_)) => {
                let ask = op.asks;
                return self.after(ASK_AGAIN, Event::AskLeader { op: number, ask });
            }
            Answer::Refused(ProposeError::TimedOut) | Answer::Gone => Ended::Unknown,
            Answer::Refused(_) | Answer::ReadFailed | Answer::NotSent => Ended::Failed,
        };
        self.ended(number, ended);
    }

    fn serial_read(&mut self, op: usize, applied: Index) {
        let Op { client: Some(c), m, life, .. } = self.ops[op] else { return };
        let before = self.clients[c].serial.insert((m, life), applied);
        if before.is_some_and(|before| before > applied) {
            let what = format!("a client sees member {} go back to entry {applied}", m + 1);
            self.check(Err(Invariant::ReadsAreFresh.broken(what)));
        }
    }

    fn ended(&mut self, number: usize, ended: Ended) {
        self.trace.note(&[201, number as u64]);
        self.stats.unknown += u64::from(ended == Ended::Unknown);
        self.promised(number, &ended);
        self.remember(number, &ended);
        let failed = matches!(ended, Ended::Failed | Ended::Unknown);
        let op = &mut self.ops[number];
        op.ended = Some((self.now, ended));
        let Some(c) = op.client else { return self.operated(number) };
        let client = &mut self.clients[c];
        client.busy = false;
        let mut wait = client.random.below(self.settings.think);
        if failed {
            client.at += 1 + client.random.below(3) as usize;
            wait += client.random.below(SECOND / 5);
        }
        self.after(wait + 1, Event::Client { c });
    }

    /// What a client was told of a lease is held against what becomes of it.
    fn promised(&mut self, number: usize, ended: &Ended) {
        let op = &self.ops[number];
        let (asked, now) = (op.began, self.now);
        let drift = self.settings.drift_percent;
        let until = |seconds: u64| asked + seconds * SECOND * 100 / (100 + drift);
        let terms = &mut self.ledger.lease_terms;
        let result = match (&op.kind, ended) {
            (
                Kind::V3(V3Op::LeaseGrant { id, ttl }),
                Ended::Applied(Applied::V3(V3Applied { result: Ok(_), .. })),
            ) => terms.lives(*id, asked, until(*ttl)),
            (
                Kind::KeepAlive(id) | Kind::TimeToLive(id),
                Ended::Lease(LeaseStanding::Lives { left, .. }),
            ) => {
                self.stats.kept_alive += u64::from(matches!(op.kind, Kind::KeepAlive(_)));
                terms.lives(*id, asked, until(*left))
            }
            (Kind::KeepAlive(id) | Kind::TimeToLive(id), Ended::Lease(LeaseStanding::Gone)) => {
                terms.gone(*id, now)
            }
            _ => Ok(()),
        };
        self.check(result);
    }

    /// What a client knows by its operation.
    fn remember(&mut self, number: usize, ended: &Ended) {
        let op = &self.ops[number];
        let Some(c) = op.client else { return };
        let client = &mut self.clients[c];
        match (&op.kind, ended) {
            (Kind::Get | Kind::SerialGet, Ended::Read(seen)) => {
                client.revision = client.revision.max(seen.revision.0);
                client.learn(&op.key, seen.keys.first());
            }
            (Kind::Range { keys, revision, .. }, Ended::Read(seen)) => {
                client.revision = client.revision.max(seen.revision.0);
                if *revision == 0 {
                    client.known.retain(|key, _| !keys.contains(key.as_bytes()));
                    for record in &seen.keys {
                        let key = String::from_utf8_lossy(record.key()).into_owned();
                        client.learn(&key, Some(record));
                    }
                }
            }
            (
                Kind::Set { value, .. } | Kind::Create { value } | Kind::Swap { value, .. },
                Ended::Applied(Applied::V2(Ok(_))),
            ) => {
                let known = Known { value: value.clone(), ..Known::default() };
                client.known.insert(op.key.clone(), known);
            }
            (Kind::V3(_), Ended::Applied(Applied::V3(applied))) => {
                client.revision = client.revision.max(applied.revision.0);
            }
            (Kind::KeepAlive(id), Ended::Lease(LeaseStanding::Gone)) => {
                client.leases.retain(|known| known != id);
            }
            _ => {}
        }
    }
}
