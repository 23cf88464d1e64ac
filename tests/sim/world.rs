//! Everything there is, and what happens next.

use std::collections::BTreeMap;

use callboard::actors::raft_node::role::Input;
use callboard::storage::mvcc::Member as MemberRecord;
use callboard::types::MemberId;

use super::clients::{Answer, Op};
use super::invariants::{Broken, elections::Elections, votes::Votes};
use super::keeper_host::KeeperIn;
use super::ledger::Ledger;
use super::member::{Member, RaftIn};
use super::network::{Links, Parcel};
use super::operator::Operator;
use super::plan::Plan;
use super::random::Random;
use super::settings::{HEARTBEAT, MS, Options, Settings};
use super::streams::Stream;
use super::trace::Trace;
use super::watchers::Watcher;
use super::wishes::Client;

/// What can happen. `m` is the place of a member, `life` the start of it that this is for.
#[derive(Debug)]
pub enum Event {
    Boot { m: usize },
    Tick { m: usize, life: u64 },
    StoreTick { m: usize, life: u64 },
    Turn { m: usize, life: u64 },
    StoreTurn { m: usize, life: u64 },
    Wal { m: usize, life: u64 },
    Chores { m: usize, life: u64 },
    SaveSnapshot { m: usize, life: u64 },
    NoteSnapshot { m: usize, life: u64 },
    ServeRead { m: usize, life: u64, op: usize, index: u64 },
    ToRaft { m: usize, life: u64, input: Box<Input> },
    SnapshotReport { m: usize, life: u64, to: usize, ticket: u64, arrived: bool },
    Deliver { from: usize, to: usize, parcel: Box<Parcel> },
    Client { c: usize },
    GiveUp { op: usize },
    Answer { op: usize, answer: Box<Answer> },
    Watcher { w: usize },
    Stream { s: usize },
    Keeper { m: usize, life: u64, input: Box<KeeperIn> },
    AskLeader { op: usize, ask: u64 },
    Operator,
    Fault { number: usize },
    Undo { number: usize },
    Heal,
    End,
    Settled,
}

/// What was done, for the summary.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub virtual_micros: u64,
    pub events: u64,
    pub operations: u64,
    pub acknowledged: u64,
    pub unknown: u64,
    pub reads: u64,
    pub crashes: u64,
    pub elections: u64,
    pub installs: u64,
    pub snapshots: u64,
    pub membership_changes: u64,
    pub expired: u64,
    pub watched: u64,
    pub entries: u64,
    /// Leases kept alive, and those of them that had to be told.
    pub kept_alive: u64,
    pub checkpointed: u64,
    pub reconnects: u64,
    pub watches_compacted: u64,
    /// Searches for an order that took too long.
    pub unproven: u64,
    pub faults: BTreeMap<&'static str, u64>,
}

/// See the head of the module.
pub struct World {
    pub options: Options,
    pub settings: Settings,
    pub plan: Plan,
    pub now: u64,
    queue: BTreeMap<(u64, u64, u64), Event>,
    sequence: u64,
    order: Random,
    pub members: Vec<Member>,
    pub links: Links,
    pub ledger: Ledger,
    pub clients: Vec<Client>,
    pub ops: Vec<Op>,
    pub watchers: Vec<Watcher>,
    pub streams: Vec<Stream>,
    pub operator: Operator,
    pub elections: Elections,
    pub votes: Votes,
    pub trace: Trace,
    pub stats: Stats,
    pub broken: Option<Broken>,
    pub logger: slog::Logger,
    /// The faults are over.
    pub healed_at: Option<u64>,
    /// Members who had been removed then.
    pub removed_before: usize,
    /// Clients begin nothing new.
    pub ending: bool,
    /// Links that each fault cuts.
    pub cuts: BTreeMap<usize, Vec<(usize, usize)>>,
    /// Lost for good.
    pub lost: Option<usize>,
    /// The highest index that an answer told of: what begins later must see it.
    pub acknowledged: u64,
}

impl World {
    pub fn new(options: Options) -> World {
        let settings = Settings::draw(&options);
        let plan = options.plan.clone().unwrap_or_else(|| Plan::draw(options.seed, &settings));
        let founders: Vec<MemberRecord> = (0..settings.members as usize).map(founder).collect();
        let members =
            (0..founders.len()).map(|m| Member::new(&options, &settings, m, true)).collect();
        let clients =
            (0..settings.clients as usize).map(|c| Client::new(options.seed, c)).collect();
        let watchers = (0..settings.watchers as usize)
            .map(|w| Watcher::new(options.seed, w, settings.watch_slots))
            .collect();
        let streams = (0..settings.streams as usize)
            .map(|s| Stream::new(options.seed, s, settings.watch_slots))
            .collect();
        World {
            plan,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            order: Random::of(options.seed, "order", 0),
            members,
            links: Links::new(options.seed),
            ledger: Ledger::new(
                founders,
                settings.skew == 0 && settings.drift_percent == 0 && !settings.wall_jumps,
            ),
            clients,
            ops: Vec::new(),
            watchers,
            streams,
            operator: Operator::new(options.seed),
            elections: Elections::default(),
            votes: Votes::default(),
            trace: Trace::new(options.trace),
            stats: Stats::default(),
            broken: None,
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            healed_at: None,
            removed_before: 0,
            ending: false,
            cuts: BTreeMap::new(),
            lost: None,
            acknowledged: 0,
            options,
            settings,
        }
    }

    /// From the first start to the last comparison.
    pub fn run(&mut self) {
        for m in 0..self.members.len() {
            self.after(self.settings.turn_delay, Event::Boot { m });
        }
        for c in 0..self.clients.len() {
            self.after(100 * MS, Event::Client { c });
        }
        for w in 0..self.watchers.len() {
            self.after(150 * MS, Event::Watcher { w });
        }
        for s in 0..self.streams.len() {
            self.after(150 * MS, Event::Stream { s });
        }
        for number in 0..self.plan.0.len() {
            self.after(self.plan.0[number].at, Event::Fault { number });
        }
        self.after(self.settings.duration, Event::Heal);
        while self.broken.is_none()
            && let Some(((at, _, _), event)) = self.queue.pop_first()
        {
            self.now = at;
            if matches!(event, Event::Settled) {
                self.settled();
                break;
            }
            self.handle(event);
        }
        self.stats.virtual_micros = self.now;
        self.stats.events = self.trace.events;
        self.stats.entries = self.ledger.last();
        self.stats.expired = self.ledger.expired;
    }

    /// Something happens so many microseconds from now.
    pub fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        let key = (self.now + delay, self.order.next(), self.sequence);
        self.queue.insert(key, event);
    }

    /// The first thing that is broken is what counts.
    pub fn check(&mut self, result: Result<(), Broken>) {
        if let Err(broken) = result
            && self.broken.is_none()
        {
            self.trace.line(self.now, || format!("BROKEN {broken}"));
            self.broken = Some(broken);
        }
    }

    fn handle(&mut self, event: Event) {
        let (kind, m) = of(&event);
        if let Some((m, life)) = m {
            let member = &self.members[m];
            if life.is_some_and(|life| life != member.life || member.run.is_none()) {
                return; // for a process that is gone
            }
            if member.paused_until > self.now {
                let wait = member.paused_until - self.now;
                return self.after(wait, event);
            }
        }
        self.trace.note(&[self.now, kind, m.map_or(99, |(m, _)| m as u64)]);
        match event {
            Event::Boot { m } => self.boot(m),
            Event::Tick { m, life } => {
                self.tell_raft(m, RaftIn::Input(Input::Tick));
                self.after(self.members[m].beat(HEARTBEAT), Event::Tick { m, life });
            }
            Event::StoreTick { m, life } => {
                self.store_tick(m);
                self.after(self.members[m].beat(100 * MS), Event::StoreTick { m, life });
            }
            Event::Turn { m, .. } => self.turn(m),
            Event::StoreTurn { m, .. } => self.store_turn(m),
            Event::Wal { m, .. } => self.write_wal(m),
            Event::Chores { m, life } => {
                self.chores(m);
                self.after(200 * MS, Event::Chores { m, life });
            }
            Event::SaveSnapshot { m, .. } => self.save_snapshot(m),
            Event::NoteSnapshot { m, .. } => self.note_snapshot(m),
            Event::ServeRead { m, op, index, .. } => self.serve_read(m, op, index),
            Event::ToRaft { m, input, .. } => self.tell_raft(m, RaftIn::Input(*input)),
            Event::SnapshotReport { m, to, ticket, arrived, .. } => {
                self.snapshot_report(m, to, ticket, arrived);
            }
            Event::Deliver { from, to, parcel } => self.deliver(from, to, *parcel),
            Event::Client { c } => self.client(c),
            Event::GiveUp { op } => self.give_up(op),
            Event::Answer { op, answer } => self.answered(op, *answer),
            Event::Watcher { w } => self.watcher(w),
            Event::Stream { s } => self.stream(s),
            Event::Keeper { m, input, .. } => self.keeper(m, *input),
            Event::AskLeader { op, ask } => self.ask_leader(op, ask),
            Event::Operator => self.operate(),
            Event::Fault { number } => self.fault(number),
            Event::Undo { number } => self.undo(number),
            Event::Heal => self.heal(),
            Event::End => self.end(),
            Event::Settled => {}
        }
    }

    /// Who leads, if anybody does; of several the one of the highest term.
    pub fn leader(&self) -> Option<usize> {
        let leads = |m: &usize| self.members[*m].run.as_ref().is_some_and(|run| run.raft.leads());
        let term = |m: &usize| self.members[*m].run.as_ref().map(|run| run.raft.term());
        (0..self.members.len()).filter(leads).max_by_key(term)
    }

    /// Members that run.
    pub fn up(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|&m| self.members[m].run.is_some()).collect()
    }
}

/// A number for the kind of an event, and whom it is for.
fn of(event: &Event) -> (u64, Option<(usize, Option<u64>)>) {
    match *event {
        Event::Boot { m } => (1, Some((m, None))),
        Event::Tick { m, life } => (2, Some((m, Some(life)))),
        Event::StoreTick { m, life } => (3, Some((m, Some(life)))),
        Event::Turn { m, life } => (4, Some((m, Some(life)))),
        Event::StoreTurn { m, life } => (5, Some((m, Some(life)))),
        Event::Wal { m, life } => (6, Some((m, Some(life)))),
        Event::Chores { m, life } => (7, Some((m, Some(life)))),
        Event::SaveSnapshot { m, life } => (8, Some((m, Some(life)))),
        Event::NoteSnapshot { m, life } => (9, Some((m, Some(life)))),
        Event::ServeRead { m, life, .. } => (10, Some((m, Some(life)))),
        Event::ToRaft { m, life, .. } => (11, Some((m, Some(life)))),
        Event::SnapshotReport { m, life, .. } => (23, Some((m, Some(life)))),
        Event::Deliver { to, .. } => (12, Some((to, None))),
        Event::Client { .. } => (13, None),
        Event::GiveUp { .. } => (14, None),
        Event::Answer { .. } => (15, None),
        Event::Watcher { .. } => (16, None),
        Event::Stream { .. } => (24, None),
        Event::Keeper { m, life, .. } => (25, Some((m, Some(life)))),
        Event::AskLeader { .. } => (26, None),
        Event::Operator => (17, None),
        Event::Fault { .. } => (18, None),
        Event::Undo { .. } => (19, None),
        Event::Heal => (20, None),
        Event::End => (21, None),
        Event::Settled => (22, None),
    }
}

/// The id of the member at this place.
pub fn id_of(m: usize) -> MemberId {
    MemberId(m as u64 + 1)
}

/// The place of a member.
pub fn place_of(id: MemberId) -> usize {
    id.0 as usize - 1
}

/// A founder, as the cluster knows it.
pub fn founder(m: usize) -> MemberRecord {
    MemberRecord {
        id: id_of(m),
        name: format!("m{}", m + 1),
        peer_urls: vec![format!("http://m{}:2380", m + 1)],
        client_urls: Vec::new(),
        learner: false,
    }
}
