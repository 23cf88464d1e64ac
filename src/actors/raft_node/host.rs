//! The actor that hosts RaftNode: owns the mailbox, stamps proposals, carries effects out. Decides
//! nothing.

mod inbox;

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, atomic::Ordering},
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use raft::eraftpb::{
    self,
    EntryType::{EntryConfChange, EntryConfChangeV2, EntryNormal},
    MessageType::{MsgAppend, MsgSnapshot},
};

pub use inbox::{
    Contact, Digested, SendToPeer, SnapshotArrived, SnapshotSent, SnapshotTaken, Unreachable,
};

use super::{
    Propose, ProposeError, ReadError, ReadIndex,
    role::{Effect, Input, ReadId, Role},
};
use crate::{
    actors::{
        audit,
        mailbox::{Ask, Gauge, Reply, bell::RingingSender, courier},
        peer::{Network, Outgoing},
        store::{
            host::{ApplyBatch, FailWaiting, Install, Store},
            role::Committed,
        },
        wal_writer::{self, WalFigures},
    },
    clock::wall_clock,
    command::{AlarmKind, Command, MemberChange, Proposal, ProposalId},
    published::Published,
    storage::{
        mvcc::{Applied, State},
        wal,
    },
    types::{Index, MemberId, Term},
};

/// A turn ends early after so many inputs, so that a flood keeps nobody waiting.
const TURN_INPUTS: usize = 512;
/// And after so many bytes of proposals.
const TURN_BYTES: usize = 1024 * 1024;

/// What the actor works with.
pub struct Wiring {
    /// The Store.
    pub store: Addr<Store>,
    /// The WAL writer's door, which only RaftNode uses.
    pub wal_writer: RingingSender<wal_writer::Append>,
    /// That door's slots.
    pub wal_gauge: Arc<Gauge>,
    /// Whether the disk is full.
    pub wal_figures: Arc<WalFigures>,
    /// Where Raft's figures go.
    pub published: Arc<Published>,
    /// The way to the peers.
    pub network: Box<dyn Network>,
    /// Orders a snapshot after at least this index; [`SnapshotTaken`] answers. Must not wait.
    pub want_snapshot: Box<dyn Fn(Index) + Send>,
    /// This member is no longer one: its process is to end.
    pub removed: Box<dyn Fn() + Send>,
    /// Compares the members' states, where this member leads.
    pub auditor: audit::role::Role,
    /// The largest encoded proposal.
    pub proposal_bytes_max: usize,
    /// The first proposal id: never one that an earlier start of this member used.
    pub first_proposal: ProposalId,
}

/// See the head of the module.
pub struct RaftNode {
    role: Role,
    wiring: Wiring,
    next_proposal: u64,
    next_read: u64,
    /// Callers whose proposals are in the log, not yet handed to the Store with a batch.
    waiting: BTreeMap<ProposalId, Reply<Result<Applied, ProposeError>>>,
    reads: BTreeMap<ReadId, Reply<Result<Index, ReadError>>>,
    turn_inputs: usize,
    turn_bytes: usize,
    turn_open: bool,
    stopping: Option<Reply<()>>,
    taking: bool,
    /// What was said to each peer in this turn.
    outbox: BTreeMap<MemberId, Vec<eraftpb::Message>>,
    auditor: audit::role::Role,
    /// The state of the snapshot that came last, until it is installed.
    arrived: Option<State>,
}

impl RaftNode {
    /// An actor that is yet to be started.
    pub fn new(role: Role, mut wiring: Wiring) -> Self {
        let auditor = mem::replace(&mut wiring.auditor, audit::role::Role::new(0, 0));
        RaftNode {
            role,
            next_proposal: wiring.first_proposal.0,
            wiring,
            next_read: 0,
            waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
            turn_inputs: 0,
            turn_bytes: 0,
            turn_open: false,
            stopping: None,
            taking: true,
            outbox: BTreeMap::new(),
            arrived: None,
            auditor,
        }
    }

    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.role.handle(input);
        self.turn_inputs += 1;
        if self.turn_inputs >= TURN_INPUTS || self.turn_bytes >= TURN_BYTES {
            self.end_turn();
        } else if !mem::replace(&mut self.turn_open, true) {
            ctx.notify(EndTurn); // arrives once the mailbox is empty: a burst shares one batch
        }
    }

    fn end_turn(&mut self) {
        (self.turn_inputs, self.turn_bytes) = (0, 0);
        self.carry_out();
        self.publish();
        if self.stopping.is_some() && self.role.is_settled() {
            self.role.flush();
            self.carry_out();
            _ = self.stopping.take().map(|reply| reply.send(())); // or nobody waits for the end
        }
    }

    fn carry_out(&mut self) {
        loop {
            let may_append = self.wiring.wal_gauge.depth() < self.wiring.wal_gauge.capacity();
            let effects = self.role.end_turn(may_append);
            if effects.is_empty() {
                break;
            }
            courier::together(|| effects.into_iter().for_each(|effect| self.perform(effect)));
            self.send_out();
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(messages) => {
                for message in messages {
                    self.outbox.entry(MemberId(message.to)).or_default().push(message);
                }
            }
            Effect::Forward { to, forward } => {
                self.wiring.network.send(to, Outgoing::Forward(forward));
            }
            Effect::RefuseForward { to, refusal } => {
                self.wiring.network.send(to, Outgoing::Refusal(refusal));
            }
            Effect::Install(snapshot) => {
                let arrived = self.arrived.take().filter(|state| {
                    state.applied_index.0 == snapshot.index && state.applied_term.0 == snapshot.term
                });
                let state = arrived.expect("the state came with the message that is installed");
                self.wiring.store.do_send(Install(state));
            }
            Effect::Append { number, installed, entries, hard_state, must_sync } => {
                let slot =
                    self.wiring.wal_gauge.take_slot().expect("looked at before the turn's end");
                let is_wanted = must_sync || installed.is_some() || !entries.is_empty();
                let append = wal_writer::Append {
                    number,
                    installed,
                    entries: entries.into_iter().map(to_disk).collect(),
                    hard_state: hard_state.as_ref().map(hard_state_to_disk),
                    must_sync,
                    slot,
                };
                // The channel has as many places as there are slots. It is closed only after the WAL
                // has failed, and then the process is ending; or at the end of a stop, when only a commit
                // index may still come, which nobody needs.
                if self.wiring.wal_writer.try_send(append).is_err() && is_wanted {
                    tracing::error!("the WAL writer has gone; nothing more can be acknowledged");
                    std::process::abort();
                }
            }
            Effect::Apply(entries) => {
                let entries = entries.into_iter().map(|entry| Committed {
                    index: Index(entry.index),
                    term: Term(entry.term),
                    data: match entry.get_entry_type() {
                        EntryNormal => entry.data,
                        EntryConfChange | EntryConfChangeV2 => entry.context,
                    },
                });
                let waiting = mem::take(&mut self.waiting);
                self.wiring.store.do_send(ApplyBatch { entries: entries.collect(), waiting });
            }
            Effect::Refuse(id, error) => {
                self.wiring.published.raft.failed.fetch_add(1, Ordering::Relaxed);
                match self.waiting.remove(&id) {
                    Some(reply) => _ = reply.send(Err(error)), // or the caller has gone
                    None => self.wiring.store.do_send(FailWaiting { id, error }),
                }
            }
            Effect::ReadReady(ids, index) => {
                for reply in ids.iter().filter_map(|id| self.reads.remove(id)) {
                    _ = reply.send(Ok(index)); // or the caller has gone
                }
            }
            Effect::ReadFailed(ids, error) => {
                for reply in ids.iter().filter_map(|id| self.reads.remove(id)) {
                    _ = reply.send(Err(error)); // or the caller has gone
                }
            }
            Effect::WantSnapshot(index) => (self.wiring.want_snapshot)(index),
            Effect::Membership(membership) => self.wiring.network.members(&membership),
            Effect::Promote(id) => self.propose_own(Command::Members(MemberChange::Promote { id })),
            Effect::Removed => (self.wiring.removed)(),
        }
    }

    /// Looks whether it is time to compare the members' states, and at what came of it.
    fn audit(&mut self) {
        let alone = self.role.membership().members().len() < 2;
        if self.auditor.tick(self.role.leads() && !alone) {
            self.propose_own(Command::Checkpoint);
        }
        for (index, member) in self.auditor.differing(self.role.membership()) {
            tracing::error!(
                member = format!("{member:x}"), %index,
                "the state of this member differs from the others': it raises an alarm and serves no more"
            );
            let kind = AlarmKind::Corrupt;
            self.propose_own(Command::Alarm { member, kind, raised: true });
            if member == self.wiring.published.identity.member_id {
                self.role.handle(Input::Transfer(None));
            }
        }
    }

    /// Gives what was said in this turn to the peers, one parcel for each.
    fn send_out(&mut self) {
        for (to, mut messages) in mem::take(&mut self.outbox) {
            let is_snapshot = |m: &mut eraftpb::Message| m.get_msg_type() == MsgSnapshot;
            for snapshot in messages.extract_if(.., is_snapshot) {
                self.wiring.network.send(to, Outgoing::Snapshot(snapshot));
            }
            let appends = messages.iter().filter(|m| m.get_msg_type() == MsgAppend).count();
            let figures = &self.wiring.published.raft;
            figures.appends_sent.fetch_add(appends as u64, Ordering::Relaxed);
            if !messages.is_empty() {
                self.wiring.network.send(to, Outgoing::Raft(messages));
            }
        }
    }

    fn publish(&self) {
        let figures = &self.wiring.published.raft;
        figures.term.store(self.role.term().0, Ordering::Release);
        figures.commit.store(self.role.commit().0, Ordering::Release);
        let leader = self.role.leader().map_or(0, |id| id.0);
        let before = figures.leader.swap(leader, Ordering::AcqRel);
        if before != leader {
            if leader != 0 {
                figures.leader_changes.fetch_add(1, Ordering::Relaxed);
                figures.leader_since.store(wall_clock().0, Ordering::Relaxed);
                let leader = MemberId(leader);
                tracing::info!(leader = format!("{leader:x}"), term = %self.role.term(), "elected leader");
            } else {
                tracing::warn!(term = %self.role.term(), "lost leader");
            }
        }
    }

    fn propose(
        &mut self,
        command: Command,
        reply: Option<Reply<Result<Applied, ProposeError>>>,
        ctx: &mut Context<Self>,
    ) {
        match self.stamp(command) {
            Ok(input) => {
                if let Input::Propose { id, data, .. } = &input {
                    self.turn_bytes += data.len();
                    if let Some(reply) = reply {
                        self.waiting.insert(*id, reply);
                    }
                }
                self.feed(input, ctx);
            }
            Err(error) => {
                if let Some(reply) = reply {
                    _ = reply.send(Err(error)); // or the caller has gone
                }
            }
        }
    }

    /// Proposes what the role itself asked for, within the turn.
    fn propose_own(&mut self, command: Command) {
        if let Ok(input) = self.stamp(command) {
            self.role.handle(input);
        }
    }

    /// Makes a proposal of a command, unless it cannot be proposed now.
    fn stamp(&mut self, command: Command) -> Result<Input, ProposeError> {
        let id = ProposalId(self.next_proposal);
        self.next_proposal += 1;
        let member = self.wiring.published.identity.member_id;
        let members = matches!(command, Command::Members(_));
        let proposal = Proposal { id, member, time: wall_clock(), command };
        let data = rmp_serde::to_vec(&proposal).expect("plain data into memory");
        if !self.taking {
            return Err(ProposeError::Stopping);
        }
        if data.len() > self.wiring.proposal_bytes_max {
            return Err(ProposeError::TooLarge);
        }
        if self.wiring.wal_figures.no_space.load(Ordering::Acquire) {
            return Err(ProposeError::NoSpace);
        }
        Ok(Input::Propose { id, data: data.into(), members })
    }
}

fn to_disk(entry: eraftpb::Entry) -> wal::Entry {
    wal::Entry {
        term: Term(entry.term),
        index: Index(entry.index),
        entry_type: match entry.get_entry_type() {
            EntryNormal => wal::EntryType::Normal,
            EntryConfChange => wal::EntryType::ConfChange,
            EntryConfChangeV2 => wal::EntryType::ConfChangeV2,
        },
        data: entry.data,
        context: entry.context,
    }
}

/// An entry as the `raft` crate wants it.
pub fn to_raft(entry: wal::Entry) -> eraftpb::Entry {
    let mut raft = eraftpb::Entry {
        term: entry.term.0,
        index: entry.index.0,
        data: entry.data,
        context: entry.context,
        ..eraftpb::Entry::default()
    };
    raft.set_entry_type(match entry.entry_type {
        wal::EntryType::Normal => eraftpb::EntryType::EntryNormal,
        wal::EntryType::ConfChange => eraftpb::EntryType::EntryConfChange,
        wal::EntryType::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2,
    });
    raft
}

fn hard_state_to_disk(hard_state: &eraftpb::HardState) -> wal::HardState {
    wal::HardState {
        term: Term(hard_state.term),
        vote: MemberId(hard_state.vote),
        commit: Index(hard_state.commit),
    }
}

impl Actor for RaftNode {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        self.wiring.network.members(self.role.membership());
        self.end_turn();
    }
}

/// Ends a turn: arrives once the mailbox is empty.
#[derive(Message)]
#[rtype(result = "()")]
struct EndTurn;

impl Handler<EndTurn> for RaftNode {
    type Result = ();

    fn handle(&mut self, _: EndTurn, _ctx: &mut Self::Context) {
        self.turn_open = false;
        self.end_turn();
    }
}

impl Handler<Ask<Propose>> for RaftNode {
    type Result = ();

    fn handle(&mut self, ask: Ask<Propose>, ctx: &mut Self::Context) {
        let (Propose(command), reply) = ask.take();
        self.propose(command, Some(reply), ctx);
    }
}

impl Handler<Ask<ReadIndex>> for RaftNode {
    type Result = ();

    fn handle(&mut self, ask: Ask<ReadIndex>, ctx: &mut Self::Context) {
        let (ReadIndex, reply) = ask.take();
        if !self.taking {
            _ = reply.send(Err(ReadError::Stopping)); // or the caller has gone
            return;
        }
        let id = ReadId(self.next_read);
        self.next_read += 1;
        self.reads.insert(id, reply);
        self.feed(Input::Read { id }, ctx);
    }
}

/// The Store's own clocks ask for a command. There are at most a few in each tick, so they need no slot.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ProposeOwn(pub Command);

impl Handler<ProposeOwn> for RaftNode {
    type Result = ();

    fn handle(&mut self, ProposeOwn(command): ProposeOwn, ctx: &mut Self::Context) {
        self.propose(command, None, ctx);
    }
}

/// A heartbeat interval has passed. Sent from outside, so that a flood cannot starve it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Tick;

impl Handler<Tick> for RaftNode {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.audit();
        self.feed(Input::Tick, ctx);
    }
}

/// From WalWriter: this batch and all before it are on disk.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Persisted {
    /// The batch.
    pub number: u64,
}

impl Handler<Persisted> for RaftNode {
    type Result = ();

    fn handle(&mut self, Persisted { number }: Persisted, ctx: &mut Self::Context) {
        self.feed(Input::Persisted { number }, ctx);
    }
}

/// From Store: all up to here is applied and published.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AppliedUpTo(pub Index);

impl Handler<AppliedUpTo> for RaftNode {
    type Result = ();

    fn handle(&mut self, AppliedUpTo(index): AppliedUpTo, ctx: &mut Self::Context) {
        self.feed(Input::Applied { index }, ctx);
    }
}

/// No proposals and no reads from now on; those under way are carried through. Answered when all that
/// was accepted is applied.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopTaking(pub Reply<()>);

impl Handler<StopTaking> for RaftNode {
    type Result = ();

    fn handle(&mut self, StopTaking(reply): StopTaking, _ctx: &mut Self::Context) {
        self.taking = false;
        self.stopping = Some(reply);
        self.end_turn();
    }
}
