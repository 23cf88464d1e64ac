//! Clients: each has one operation at a time, at any member, waits only so long, and notes what it was
//! told.

use std::collections::BTreeMap;

use bytes::Bytes;
use callboard::actors::raft_node::ProposeError;
use callboard::command::{Command, MemberChange, ProposalId, V2Command, V2Compare, V2Op, V2Write};
use callboard::storage::mvcc::Applied;
use callboard::types::Index;

use super::invariants::reads::{self, Seen};
use super::member::RaftIn;
use super::random::Random;
use super::settings::{MS, SECOND};
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
}

/// What a member answers.
#[derive(Debug)]
pub enum Answer {
    Applied(Applied),
    Read {
        applied: Index,
        at_least: u64,
        seen: Seen,
    },
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
    pub ended: Option<(u64, Ended)>,
}

/// See the head of the module.
pub struct Client {
    random: Random,
    at: usize,
    busy: bool,
    count: u64,
    known: BTreeMap<String, (String, u64)>,
    /// Per start of a member: how far it was seen to be.
    serial: BTreeMap<(usize, u64), Index>,
}

impl Client {
    pub fn new(seed: u64, c: usize) -> Client {
        let mut random = Random::of(seed, "client", c as u64);
        Client {
            at: random.below(5) as usize,
            random,
            busy: false,
            count: 0,
            known: BTreeMap::new(),
            serial: BTreeMap::new(),
        }
    }

    fn next(&mut self, c: usize, settings: &super::settings::Settings) -> (String, Kind) {
        let r = &mut self.random;
        self.count += 1;
        let mut value = format!("c{c}.{}", self.count);
        while (value.len() as u64) < settings.value_bytes {
            value.push('.');
        }
        let number = r.below(settings.keys);
        if r.per_mille(settings.ttl_per_mille) {
            let key = format!("/t/{number}");
            let kind = match r.below(4) {
                0 => Kind::Delete,
                1 => Kind::Set { value, ttl: None },
                _ => Kind::Set { value, ttl: Some(r.between(1, 4)) },
            };
            return (key, kind);
        }
        if r.per_mille(50) {
            return ("/q".to_owned(), Kind::Post { value });
        }
        let key = format!("/k/{number}");
        let known = self.known.get(&key).cloned().unwrap_or_default();
        let kind = match r.below(100) {
            0..25 => Kind::Set { value, ttl: None },
            25..35 => Kind::Create { value },
            35..50 if !known.0.is_empty() => Kind::Swap { previous: known.0, index: 0, value },
            50..52 if known.1 > 0 => Kind::Swap { previous: String::new(), index: known.1, value },
            52..58 if !known.0.is_empty() => Kind::DeleteIf { previous: known.0 },
            58..64 => Kind::Delete,
            64..72 => Kind::SerialGet,
            _ => Kind::Get,
        };
        (key, kind)
    }
}

fn command(key: &str, kind: &Kind) -> Option<Command> {
    let write = |value: &String, ttl| V2Write {
        dir: false,
        value: Bytes::copy_from_slice(value.as_bytes()),
        ttl,
        refresh: false,
    };
    let op = match kind {
        Kind::Set { value, ttl } => V2Op::Set(write(value, *ttl)),
        Kind::Create { value } => V2Op::Create(write(value, None)),
        Kind::Swap { previous, index, value } => V2Op::CompareAndSwap {
            compare: V2Compare { prev_value: previous.clone().into_bytes(), prev_index: *index },
            write: write(value, None),
        },
        Kind::DeleteIf { previous } => V2Op::CompareAndDelete(V2Compare {
            prev_value: previous.clone().into_bytes(),
            prev_index: 0,
        }),
        Kind::Delete => V2Op::Delete { dir: false, recursive: false },
        Kind::Post { value } => V2Op::CreateInOrder(write(value, None)),
        Kind::Members(change) => return Some(Command::Members(change.clone())),
        Kind::Get | Kind::SerialGet => return None,
    };
    Some(Command::V2(V2Command { path: key.as_bytes().to_vec(), op }))
}

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
        let is_serial = kind == Kind::SerialGet;
        self.ops.push(Op { client, m, life, key, kind, began, floor, name: None, ended: None });
        self.trace.note(&[200, op as u64, m as u64]);
        if self.members[m].run.is_none() {
            self.after(MS, Event::Answer { op, answer: Box::new(Answer::NotSent) });
            return op;
        }
        self.after(self.settings.client_patience, Event::GiveUp { op });
        match command {
            Some(command) => self.tell_raft(m, RaftIn::Propose(command, Some(op))),
            None if is_serial => {
                let delay = self.settings.turn_delay;
                self.after(delay, Event::ServeRead { m, life, op, index: 0 });
            }
            None => self.tell_raft(m, RaftIn::Read(op)),
        }
        op
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

    /// What is published now is read.
    pub fn serve_read(&mut self, m: usize, op: usize, at_least: u64) {
        let Some(run) = &self.members[m].run else { return };
        let (applied, key) = (run.published.applied_index, &self.ops[op].key);
        let seen = reads::look(&run.published, key);
        let result = reads::is_past(&self.ledger, key, applied, &seen);
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
                self.stats.acknowledged += 1;
                self.acknowledged = self.acknowledged.max(index);
                if index <= floor {
                    let what = format!(
                        "an operation that began after entry {floor} was acknowledged is entry {index}"
                    );
                    self.check(Err(super::invariants::Invariant::AnswersAreTrue.broken(what)));
                }
                Ended::Applied(applied)
            }
            Answer::Read { applied, at_least, seen } => {
                self.stats.reads += 1;
                if op.kind == Kind::Get {
                    let result = reads::is_fresh(op, applied, at_least);
                    self.check(result);
                    self.acknowledged = self.acknowledged.max(applied.0);
                } else {
                    self.serial_read(number, applied);
                }
                Ended::Read(seen)
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
            self.check(Err(super::invariants::Invariant::ReadsAreFresh.broken(what)));
        }
    }

    fn ended(&mut self, number: usize, ended: Ended) {
        self.trace.note(&[201, number as u64]);
        self.stats.unknown += u64::from(ended == Ended::Unknown);
        let op = &mut self.ops[number];
        let failed = matches!(ended, Ended::Failed | Ended::Unknown);
        if let (Ended::Read(seen), Some(c)) = (&ended, op.client) {
            let known = &mut self.clients[c].known;
            match seen {
                Some((value, index)) => {
                    let value = String::from_utf8_lossy(value).into_owned();
                    known.insert(op.key.clone(), (value, *index));
                }
                None => _ = known.remove(&op.key),
            }
        }
        if let (Ended::Applied(Applied::V2(Ok(_))), Some(c)) = (&ended, op.client)
            && let Kind::Set { value, .. } | Kind::Create { value } | Kind::Swap { value, .. } =
                &op.kind
        {
            self.clients[c].known.insert(op.key.clone(), (value.clone(), 0));
        }
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
}
