//! A member: its disk, and while it runs its roles with what their hosts keep. Here is what RaftNode's
//! host does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;

use callboard::actors::lease_keeper::role::{InquiryId, Role as KeeperRole};
use callboard::actors::mailbox::Gauge;
use callboard::actors::raft_node::ProposeError;
use callboard::actors::raft_node::role::{Effect, Input, ReadId, Role as RaftRole};
use callboard::actors::store::SubscriptionId;
use callboard::actors::store::role::{Committed, Role as StoreRole};
use callboard::actors::wal_writer::{Append, role::Role as WalRole};
use callboard::command::{
    Command, CompareResult, CompareTarget, KeyRange, MemberChange, Proposal, ProposalId, V3Command,
    V3Compare, V3Op, V3Txn,
};
use callboard::storage::data_dir::DataDir;
use callboard::storage::mvcc::State;
use callboard::storage::sim_disk::SimDisk;
use callboard::storage::snapshot::SnapshotDir;
use callboard::storage::v3;
use callboard::storage::wal;
use callboard::types::{Index, MemberId, Term, UnixNanos};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::clients::{Answer, Asker};
use super::keeper_host::{KeeperIn, Serving};
use super::network::Parcel;
use super::plan::Stop;
use super::random::Random;
use super::settings::{Options, Planted, Settings};
use super::store_host::{OnLine, Sinks, StoreIn};
use super::world::{Event, World, id_of};

/// What RaftNode's mailbox holds.
#[derive(Debug)]
pub enum RaftIn {
    Propose(Command, Option<Asker>),
    Read(Asker),
    Input(Input),
    /// A snapshot's message and the state that came before it.
    Arrived(Box<Message>, Box<State>),
}

/// What a member said to have on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable {
    pub last: (u64, u64),
    pub term: u64,
    pub vote: u64,
}

/// A process.
#[expect(clippy::struct_excessive_bools, reason = "each is one question of a host")]
pub struct Running {
    pub raft: RaftRole,
    pub store: StoreRole,
    pub wal: WalRole,
    pub published: State,
    pub leader: Option<MemberId>,
    pub raft_in: VecDeque<RaftIn>,
    pub turn_due: bool,
    pub store_in: VecDeque<StoreIn>,
    pub store_due: bool,
    pub wal_queue: VecDeque<Append>,
    pub wal_due: bool,
    /// Since when the WAL is quiet; none once that is noted.
    pub wal_quiet_since: Option<u64>,
    /// The last entry that was handed to the Store.
    pub handed: Index,
    pub gauge: Arc<Gauge>,
    pub no_space: bool,
    pub raft_waiting: BTreeMap<ProposalId, Asker>,
    pub store_waiting: BTreeMap<ProposalId, Asker>,
    pub reads: BTreeMap<ReadId, Asker>,
    pub keeper: KeeperRole,
    pub keeper_due: bool,
    pub inquiries: BTreeMap<InquiryId, usize>,
    pub next_inquiry: u64,
    pub serving: BTreeMap<u64, Serving>,
    pub next_proposal: u64,
    pub next_read: u64,
    pub arrived: Option<State>,
    pub batches: VecDeque<(u64, Durable)>,
    pub unseen: Vec<(Option<u64>, Vec<Entry>)>,
    pub snapshots: SnapshotDir,
    pub last_snapshot: Index,
    /// What is to be saved, and whether somebody asked.
    pub saving: Option<State>,
    pub saved: Option<wal::SnapshotMark>,
    pub sinks: Sinks,
    pub lines: BTreeMap<SubscriptionId, OnLine>,
    pub next_subscription: u64,
    pub removed: bool,
    pub _data_dir: DataDir,
}

/// See the head of the module.
pub struct Member {
    pub id: MemberId,
    pub disk: SimDisk,
    /// Starts so far.
    pub life: u64,
    pub run: Option<Box<Running>>,
    /// A founder begins with the founding state, others with nothing.
    pub founder: bool,
    /// Lost or removed: never starts again.
    pub gone: bool,
    pub damaged: bool,
    pub down_until: u64,
    pub paused_until: u64,
    pub drift_percent: i64,
    pub wall_offset: i64,
    pub latency: u64,
    /// The disk is to stop the process at this step.
    pub stop_at: Option<(u64, Stop, u64)>,
    /// How long the process is down should the disk fail.
    pub down_after_error: u64,
    pub durable: Durable,
    pub random: Random,
    pub boots_failed: u64,
    /// Snapshots under way to peers, whose sender is to be told how that ended.
    pub reports: BTreeSet<u64>,
    pub next_report: u64,
}

const TURN_INPUTS: usize = 512;

impl Member {
    pub fn new(options: &Options, settings: &Settings, m: usize, founder: bool) -> Member {
        let mut random = Random::of(options.seed, "member", m as u64);
        let drift = settings.drift_percent;
        Member {
            id: id_of(m),
            disk: SimDisk::new(),
            life: 0,
            run: None,
            founder,
            gone: false,
            damaged: false,
            down_until: 0,
            paused_until: 0,
            drift_percent: random.below(2 * drift + 1) as i64 - drift as i64,
            wall_offset: (random.below(1000) * settings.skew * 1000 / 1000) as i64,
            latency: settings.disk_latency,
            stop_at: None,
            down_after_error: 0,
            durable: Durable::default(),
            random,
            boots_failed: 0,
            reports: BTreeSet::new(),
            next_report: 0,
        }
    }

    /// What this member's clock takes for so long.
    pub fn beat(&self, long: u64) -> u64 {
        long * 100 / (100 + self.drift_percent) as u64
    }

    pub fn wall(&self, now: u64) -> UnixNanos {
        const BASE: i64 = 1_700_000_000_000_000_000;
        let own = (now * 1000) as i64 * (100 + self.drift_percent) / 100;
        UnixNanos((BASE + own + self.wall_offset) as u64)
    }
}

impl World {
    /// Puts something into RaftNode's mailbox.
    pub fn tell_raft(&mut self, m: usize, input: RaftIn) {
        let Some(mut run) = self.members[m].run.take() else { return };
        self.put_raft(m, &mut run, input);
        self.members[m].run = Some(run);
    }

    pub fn put_raft(&mut self, m: usize, run: &mut Running, input: RaftIn) {
        run.raft_in.push_back(input);
        if !mem::replace(&mut run.turn_due, true) {
            let delay = self.members[m].random.below(self.settings.turn_delay);
            let life = self.members[m].life;
            self.after(delay, Event::Turn { m, life });
        }
    }

    pub fn turn(&mut self, m: usize) {
        let Some(mut run) = self.members[m].run.take() else { return };
        run.turn_due = false;
        for _ in 0..TURN_INPUTS {
            let Some(input) = run.raft_in.pop_front() else { break };
            self.feed(m, &mut run, input);
        }
        self.end_turn(m, &mut run);
        if !run.raft_in.is_empty() && !mem::replace(&mut run.turn_due, true) {
            let life = self.members[m].life;
            self.after(1, Event::Turn { m, life });
        }
        let removed = run.removed;
        self.members[m].run = Some(run);
        if removed {
            self.trace.line(self.now, || format!("{} is removed and ends", m + 1));
            self.stop(m, Stop::Process);
            self.members[m].gone = true;
        }
    }

    fn feed(&mut self, m: usize, run: &mut Running, input: RaftIn) {
        match input {
            RaftIn::Propose(command, asker) => self.propose(m, run, command, asker),
            RaftIn::Read(asker) => {
                if self.options.planted == Some(Planted::StaleRead)
                    && let Asker::Op(op) = asker
                {
                    let (life, index) = (self.members[m].life, 0);
                    self.after(1, Event::ServeRead { m, life, op, index });
                    return;
                }
                let id = ReadId(run.next_read);
                run.next_read += 1;
                run.reads.insert(id, asker);
                run.raft.handle(Input::Read { id });
            }
            RaftIn::Input(input) => {
                if let Input::Persisted { number } = input {
                    while let Some(&(batch, durable)) = run.batches.front()
                        && batch <= number
                    {
                        run.batches.pop_front();
                        self.members[m].durable = durable;
                        for (before, entries) in mem::take(&mut run.unseen) {
                            let result = self.ledger.write(before, &entries);
                            self.check(result);
                        }
                    }
                }
                run.raft.handle(input);
            }
            RaftIn::Arrived(message, state) => {
                let membership = Arc::clone(state.membership());
                if run.raft.has_snapshot_to_install() {
                    return;
                }
                run.arrived = Some(*state);
                run.raft.handle(Input::Snapshot { message: *message, membership });
                if !run.raft.has_snapshot_to_install() {
                    run.arrived = None;
                }
            }
        }
    }

    fn propose(&mut self, m: usize, run: &mut Running, mut command: Command, asker: Option<Asker>) {
        if self.options.planted == Some(Planted::JudgedAtPropose) {
            judge(&run.published, &mut command);
        }
        let id = ProposalId(run.next_proposal);
        run.next_proposal += 1;
        let members = matches!(command, Command::Members(_));
        let time = self.members[m].wall(self.now);
        let proposal = Proposal { id, member: id_of(m), time, command };
        let data = rmp_serde::to_vec(&proposal).expect("plain data into memory");
        if let Some(Asker::Op(op)) = asker {
            self.named(op, m, id);
        }
        if run.no_space {
            self.refused(m, id, ProposeError::NoSpace, asker);
            return;
        }
        if let Some(asker) = asker {
            run.raft_waiting.insert(id, asker);
        }
        run.raft.handle(Input::Propose { id, data: data.into(), members });
    }

    /// A proposal is given up; tells whoever waits for it.
    pub fn refused(&mut self, m: usize, id: ProposalId, error: ProposeError, asker: Option<Asker>) {
        if error != ProposeError::TimedOut {
            let result = self.ledger.refuse(id_of(m), id);
            self.check(result);
        }
        if let Some(asker) = asker {
            self.reply_to(m, asker, Answer::Refused(error));
        }
    }

    pub fn end_turn(&mut self, m: usize, run: &mut Running) {
        loop {
            let may_append = run.gauge.depth() < run.gauge.capacity();
            let effects = run.raft.end_turn(may_append);
            if effects.is_empty() {
                break;
            }
            let mut outbox: BTreeMap<MemberId, Vec<Message>> = BTreeMap::new();
            for effect in effects {
                self.perform(m, run, effect, &mut outbox);
            }
            self.send_out(m, outbox);
        }
        run.leader = run.raft.leader();
        self.look_at(m, run);
    }

    fn perform(
        &mut self,
        m: usize,
        run: &mut Running,
        effect: Effect,
        outbox: &mut BTreeMap<MemberId, Vec<Message>>,
    ) {
        match effect {
            Effect::Send(messages) => {
                for message in messages {
                    let result = self.votes.sent(&message);
                    self.check(result);
                    outbox.entry(MemberId(message.to)).or_default().push(message);
                }
            }
            Effect::Forward { to, forward } => self.send(m, to, Parcel::Forward(forward)),
            Effect::RefuseForward { to, refusal } => self.send(m, to, Parcel::Refusal(refusal)),
            Effect::Install(snapshot) => {
                let fits = |state: &State| {
                    state.applied_index.0 == snapshot.index && state.applied_term.0 == snapshot.term
                };
                let state = run.arrived.take().filter(fits);
                let state = state.expect("the state came with the message that is installed");
                run.handed = Index(snapshot.index);
                self.stats.installs += 1;
                self.trace.line(self.now, || format!("{} installs {}", m + 1, snapshot.index));
                self.put_store(m, run, StoreIn::Install(Box::new(state)));
            }
            Effect::Append { .. } => self.append(m, run, effect),
            Effect::Apply(entries) => self.apply(m, run, entries),
            Effect::Refuse(id, error) => match run.raft_waiting.remove(&id) {
                Some(asker) => self.refused(m, id, error, Some(asker)),
                None => self.put_store(m, run, StoreIn::Fail(id, error)),
            },
            Effect::ReadReady(ids, index) => {
                for asker in ids.iter().filter_map(|id| run.reads.remove(id)) {
                    let op = match asker {
                        Asker::Op(op) => op,
                        Asker::Keeper(batch) => {
                            self.tell_keeper(m, KeeperIn::ReadIndex { batch, worked: true });
                            continue;
                        }
                    };
                    let life = self.members[m].life;
                    let delay = self.members[m].random.below(self.settings.turn_delay);
                    self.after(delay, Event::ServeRead { m, life, op, index: index.0 });
                }
            }
            Effect::ReadFailed(ids, _) => {
                for asker in ids.iter().filter_map(|id| run.reads.remove(id)) {
                    self.reply_to(m, asker, Answer::ReadFailed);
                }
            }
            Effect::WantSnapshot(index) => self.want_snapshot(m, run, index),
            Effect::Membership(_) => {}
            Effect::Promote(id) => {
                let change = Command::Members(MemberChange::Promote { id });
                self.put_raft(m, run, RaftIn::Propose(change, None));
            }
            Effect::Removed => run.removed = true,
        }
    }

    fn append(&mut self, m: usize, run: &mut Running, effect: Effect) {
        let Effect::Append { number, installed, entries, mut hard_state, must_sync } = effect
        else {
            return;
        };
        let log = &run.raft.node().raft.raft_log;
        if let Some(first) = entries.first() {
            let before = log.term(first.index - 1).ok();
            // What a sole voter appends before its term is on disk nobody sees, and a crash takes both.
            if run.raft.leads() && run.raft.term().0 > self.members[m].durable.term {
                run.unseen.push((before, entries.clone()));
            } else {
                let result = self.ledger.write(before, &entries);
                self.check(result);
            }
        }
        let hard = run.raft.node().raft.hard_state();
        let durable =
            Durable { last: (log.last_term(), log.last_index()), term: hard.term, vote: hard.vote };
        if must_sync {
            run.batches.push_back((number, durable));
        }
        if self.options.planted == Some(Planted::UnsavedVote)
            && let Some(hard_state) = &mut hard_state
        {
            hard_state.vote = 0;
        }
        self.trace.note(&[number, durable.last.0, durable.last.1, hard.term]);
        self.trace.line(self.now, || {
            let ids = entries.iter().map(|entry| {
                let id = callboard::command::proposer(&entry.data).map_or(0, |(id, _)| id.0);
                format!("{}/{} {id:x}", entry.index, entry.term)
            });
            let ids: Vec<String> = ids.collect();
            format!("{} appends #{number}: {} hard {hard_state:?}", m + 1, ids.join(", "))
        });
        let slot = run.gauge.take_slot().expect("looked at before the turn's end");
        run.wal_queue.push_back(Append {
            number,
            installed,
            entries: entries.into_iter().map(to_disk).collect(),
            hard_state: hard_state.map(|hard| wal::HardState {
                term: Term(hard.term),
                vote: MemberId(hard.vote),
                commit: Index(hard.commit),
            }),
            must_sync,
            slot,
        });
        if self.options.planted == Some(Planted::AcknowledgedBeforeSync) {
            self.put_raft(m, run, RaftIn::Input(Input::Persisted { number }));
        }
        self.wal_soon(m, run);
    }

    fn apply(&mut self, m: usize, run: &mut Running, entries: Vec<Entry>) {
        let seen_in = run.raft.term().0;
        let who = format!("member {}", m + 1);
        for entry in &entries {
            let result = self.ledger.commit(&who, entry.index, entry.term, seen_in, self.now);
            self.check(result);
        }
        self.trace.line(self.now, || {
            let (first, last) = (entries.first(), entries.last());
            let [first, last] = [first, last].map(|entry| entry.map_or(0, |entry| entry.index));
            format!("{} commits {first} to {last}", m + 1)
        });
        run.handed = entries.last().map_or(run.handed, |entry| Index(entry.index));
        let lost = self.options.planted == Some(Planted::LostMemberChange);
        let mut committed: Vec<Committed> = entries
            .into_iter()
            .map(|entry| Committed {
                index: Index(entry.index),
                term: Term(entry.term),
                data: match entry.get_entry_type() {
                    EntryType::EntryNormal => entry.data,
                    _ if lost => bytes::Bytes::new(),
                    EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => entry.context,
                },
            })
            .collect();
        if self.options.planted == Some(Planted::SkippedWrite)
            && m == 0
            && let Some(last) = committed.last_mut()
            && last.index.0.is_multiple_of(50)
        {
            last.data = bytes::Bytes::new();
        }
        let waiting = mem::take(&mut run.raft_waiting);
        self.put_store(m, run, StoreIn::Apply(committed, waiting));
    }

    fn send_out(&mut self, m: usize, outbox: BTreeMap<MemberId, Vec<Message>>) {
        for (to, mut messages) in outbox {
            let is_snapshot = |m: &mut Message| m.get_msg_type() == MessageType::MsgSnapshot;
            let snapshots: Vec<Message> = messages.extract_if(.., is_snapshot).collect();
            for snapshot in snapshots {
                self.send_snapshot(m, to, snapshot);
            }
            if !messages.is_empty() {
                self.send(m, to, Parcel::Raft(messages));
            }
        }
    }
}

fn to_disk(entry: Entry) -> wal::Entry {
    wal::Entry {
        term: Term(entry.term),
        index: Index(entry.index),
        entry_type: match entry.get_entry_type() {
            EntryType::EntryNormal => wal::EntryType::Normal,
            EntryType::EntryConfChange => wal::EntryType::ConfChange,
            EntryType::EntryConfChangeV2 => wal::EntryType::ConfChangeV2,
        },
        data: entry.data,
        context: entry.context,
    }
}

/// A bug: the compares of a transaction are judged by who proposes it.
fn judge(state: &State, command: &mut Command) {
    let Command::V3(V3Command { op: V3Op::Txn(txn), .. }) = command else { return };
    let only_compares = V3Txn { compare: mem::take(&mut txn.compare), ..V3Txn::default() };
    if !v3::read_txn(state, &only_compares).is_ok_and(|answer| answer.succeeded) {
        txn.compare.push(V3Compare {
            keys: KeyRange::one("/k/0"),
            result: CompareResult::Less,
            target: CompareTarget::Version(0),
        });
    }
}
