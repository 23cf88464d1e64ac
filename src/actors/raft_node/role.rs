//! What RaftNode thinks: the `raft` crate's RawNode, driven one input at a time.
//!
//! A turn is any number of inputs followed by [`Role::end_turn`], which takes one Ready, so that
//! everything that came in since the last turn shares one batch to the disk and one message to each
//! peer. Persisting is asynchronous: later turns go on while earlier batches are being synced.
//!
//! No clock, no I/O, no randomness: time is [`Input::Tick`], and the crate's own random election
//! timeout is overwritten after every call by a pure function of (seed, id, term).

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use raft::{
    Config, Error, RawNode, ReadOnlyOption, StateRole,
    eraftpb::{ConfState, Entry, EntryType, HardState, Message},
};

use super::{ProposeError, ReadError, log::Log};
use crate::{
    command::ProposalId,
    types::{Index, MemberId, Term},
};

/// What it can learn.
#[derive(Debug)]
pub enum Input {
    /// Put this encoded proposal into the log.
    Propose {
        /// Under this name it is refused, should it be.
        id: ProposalId,
        /// MessagePack.
        data: Vec<u8>,
    },
    /// Find a read index.
    Read {
        /// Under this name it is answered.
        id: ReadId,
    },
    /// One heartbeat interval has passed.
    Tick,
    /// The batch of this number, and all before it, are on disk.
    Persisted {
        /// As in [`Effect::Append`].
        number: u64,
    },
    /// All entries up to this one are applied and published.
    Applied {
        /// The last of them.
        index: Index,
    },
}

/// Names a read until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Send to peers.
    Send(Vec<Message>),
    /// Write to the WAL as one batch, sync if told to, then say [`Input::Persisted`].
    Append {
        /// Ascending without gaps.
        number: u64,
        /// May be empty, when only the hard state changes.
        entries: Vec<Entry>,
        /// New hard state, if it changed.
        hard_state: Option<HardState>,
        /// Whether it must survive a crash.
        must_sync: bool,
    },
    /// Apply these, then say [`Input::Applied`].
    Apply(Vec<Entry>),
    /// A proposal did not enter the log.
    Refuse(ProposalId, ProposeError),
    /// Every proposal that still waits may or may not be applied: this member lost its lead.
    LostLead,
    /// What is published now is fresh enough for these.
    ReadReady(Vec<ReadId>, Index),
    /// No read index could be had for these.
    ReadFailed(Vec<ReadId>, ReadError),
}

/// What it starts from.
#[derive(Debug)]
pub struct Boot {
    /// This member.
    pub id: MemberId,
    /// `--election-timeout` in ticks of `--heartbeat-interval`.
    pub election_ticks: usize,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// Bytes of proposals that may be in the log but not committed yet.
    pub uncommitted_bytes_max: u64,
    /// Applied entries that stay in memory for peers that lag.
    pub catch_up_entries: u64,
    /// Draws the election timeouts.
    pub seed: u64,
    /// Everything up to here is applied.
    pub applied: Index,
    /// Its term.
    pub applied_term: Term,
    /// As on disk.
    pub hard_state: HardState,
    /// As of `applied`.
    pub conf_state: ConfState,
    /// The log after `applied`.
    pub entries: Vec<Entry>,
}

/// See the head of the module.
pub struct Role {
    node: RawNode<Log>,
    id: MemberId,
    seed: u64,
    election_ticks: usize,
    catch_up_entries: u64,
    now: u64,
    applied: Index,
    effects: Vec<Effect>,
    /// Batches that are not known to be on disk, and whether anything of them is written at all.
    under_way: VecDeque<(u64, bool)>,
    /// The hard state of a batch that was not written; goes with the next one.
    hard_state: Option<HardState>,
    /// Messages that may leave once the batch of this number is on disk.
    held: VecDeque<(u64, Vec<Message>)>,
    was_leader: bool,
    reads: Reads,
}

/// Reads on their way: waiting for a round, in a round, waiting to be applied.
#[derive(Default)]
struct Reads {
    /// With the tick of their asking.
    waiting: Vec<(ReadId, u64)>,
    rounds: BTreeMap<u64, (u64, Vec<(ReadId, u64)>)>,
    next_round: u64,
    to_apply: BTreeMap<Index, Vec<ReadId>>,
}

impl Role {
    /// Starts, or starts again. A member that is the only voter leads at once.
    pub fn new(boot: Boot, logger: &slog::Logger) -> Result<Role, Error> {
        let config = Config {
            id: boot.id.0,
            election_tick: boot.election_ticks,
            heartbeat_tick: 1,
            applied: boot.applied.0,
            max_size_per_msg: 1024 * 1024,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: boot.pre_vote,
            read_only_option: ReadOnlyOption::Safe,
            max_uncommitted_size: boot.uncommitted_bytes_max,
            max_committed_size_per_ready: 4 * 1024 * 1024,
            ..Config::default()
        };
        let alone = boot.conf_state.voters == [boot.id.0];
        let mut log = Log::new(boot.applied, boot.applied_term, boot.hard_state, boot.conf_state);
        log.append(&boot.entries);
        let mut role = Role {
            node: RawNode::new(&config, log, logger)?,
            id: boot.id,
            seed: boot.seed,
            election_ticks: boot.election_ticks,
            catch_up_entries: boot.catch_up_entries,
            now: 0,
            applied: boot.applied,
            effects: Vec::new(),
            under_way: VecDeque::new(),
            hard_state: None,
            held: VecDeque::new(),
            was_leader: false,
            reads: Reads::default(),
        };
        role.set_election_timeout();
        if alone {
            role.node.campaign()?;
            role.set_election_timeout();
        }
        Ok(role)
    }

    /// Takes one input. What comes of it is in the effects of the turn's end.
    pub fn handle(&mut self, input: Input) {
        match input {
            Input::Propose { id, data } => {
                if let Err(error) = self.propose(data) {
                    self.effects.push(Effect::Refuse(id, error));
                }
            }
            Input::Read { id } => {
                self.reads.waiting.push((id, self.now));
            }
            Input::Tick => {
                self.now += 1;
                self.node.tick();
                self.age_reads();
            }
            Input::Persisted { number } => self.persisted(number),
            Input::Applied { index } => self.applied(index),
        }
        self.set_election_timeout();
    }

    /// Ends the turn: starts a round for the reads that wait, and takes one Ready. With `may_append`
    /// false (WalWriter has no room) no Ready is taken, and the turn goes on for all but reads. To be
    /// called again until nothing comes of it.
    pub fn end_turn(&mut self, may_append: bool) -> Vec<Effect> {
        self.start_read_round();
        self.end_read_rounds();
        while may_append && self.node.has_ready() {
            if self.take_ready() {
                break; // a batch went to the disk: whether there is room for another, the host knows
            }
        }
        self.set_election_timeout();
        mem::take(&mut self.effects)
    }

    /// The current term.
    pub fn term(&self) -> Term {
        Term(self.node.raft.term)
    }

    /// The highest index known to be committed.
    pub fn commit(&self) -> Index {
        Index(self.node.raft.raft_log.committed)
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<MemberId> {
        Some(self.node.raft.leader_id).filter(|&id| id != 0).map(MemberId)
    }

    /// Whether everything in the log is applied.
    pub fn is_settled(&self) -> bool {
        self.node.raft.raft_log.last_index() == self.applied.0
    }

    /// Bytes of log held in memory.
    pub fn log_bytes(&self) -> usize {
        self.node.store().bytes()
    }

    fn propose(&mut self, data: Vec<u8>) -> Result<(), ProposeError> {
        let Some(leader) = self.leader() else { return Err(ProposeError::NoLeader) };
        if leader != self.id {
            return Err(ProposeError::NoLeader); // the crate's own forwarding stays off
        }
        match self.node.propose(Vec::new(), data) {
            Ok(()) => Ok(()),
            Err(Error::ProposalDropped) => Err(ProposeError::TooManyRequests),
            Err(error) => unreachable!("a leader takes or drops a proposal: {error}"),
        }
    }

    fn applied(&mut self, index: Index) {
        assert!(index >= self.applied, "applied falls from {} to {index}", self.applied);
        self.applied = index;
        self.node.advance_apply_to(index.0);
        let keep = if self.has_peers() { self.catch_up_entries } else { 0 };
        self.node.mut_store().compact(Index(index.0.saturating_sub(keep)));
        let later = self.reads.to_apply.split_off(&index.next());
        for (index, ids) in mem::replace(&mut self.reads.to_apply, later) {
            self.effects.push(Effect::ReadReady(ids, index));
        }
    }

    fn has_peers(&self) -> bool {
        self.node.raft.prs().iter().any(|(&id, _)| id != self.id.0)
    }

    /// One round for all reads that wait. The crate drops in silence what a leader cannot serve yet,
    /// and keeps the first index of a context that comes twice: so a round is only started when it can
    /// be served, and each has a number of its own.
    fn start_read_round(&mut self) {
        let leads = self.node.raft.state == StateRole::Leader;
        if self.reads.waiting.is_empty() || !leads || !self.node.raft.commit_to_current_term() {
            return;
        }
        let round = self.reads.next_round;
        self.reads.next_round += 1;
        let reads = mem::take(&mut self.reads.waiting);
        self.reads.rounds.insert(round, (self.now, reads));
        self.node.read_index(round.to_be_bytes().to_vec());
    }

    /// Takes up the rounds that have their index. Not by way of a Ready: reads do not wait for a disk
    /// that has no room for another batch.
    fn end_read_rounds(&mut self) {
        for state in mem::take(&mut self.node.raft.read_states) {
            let round = state.request_ctx.try_into().map(u64::from_be_bytes);
            let round = round.ok().and_then(|round| self.reads.rounds.remove(&round));
            let Some((_, reads)) = round else { continue };
            let ids: Vec<_> = reads.into_iter().map(|(id, _)| id).collect();
            let index = Index(state.index);
            if index <= self.applied {
                self.effects.push(Effect::ReadReady(ids, index));
            } else {
                self.reads.to_apply.entry(index).or_default().extend(ids);
            }
        }
    }

    /// Rounds that got no answer within an election timeout are asked anew; reads that found no leader
    /// for two of them fail.
    fn age_reads(&mut self) {
        let patience = self.election_ticks as u64;
        let now = self.now;
        for (_, (_, reads)) in
            self.reads.rounds.extract_if(.., |_, round| now - round.0 >= patience)
        {
            self.reads.waiting.extend(reads);
        }
        let late = |&mut (_, since): &mut (ReadId, u64)| now - since >= 2 * patience;
        let ids: Vec<_> = self.reads.waiting.extract_if(.., late).map(|(id, _)| id).collect();
        if !ids.is_empty() {
            let error =
                if self.leader().is_some() { ReadError::TimedOut } else { ReadError::NoLeader };
            self.effects.push(Effect::ReadFailed(ids, error));
        }
    }

    /// What is on disk: this batch, all before it, and those after it of which nothing was written.
    fn persisted(&mut self, mut number: u64) {
        while let Some(&(next, written)) = self.under_way.front()
            && (next <= number || !written)
        {
            self.under_way.pop_front();
            number = number.max(next);
        }
        self.node.on_persist_ready(number);
        while self.held.front().is_some_and(|(held, _)| *held <= number) {
            let (_, messages) = self.held.pop_front().expect("there is a front");
            self.effects.push(Effect::Send(messages));
        }
    }

    /// Takes one Ready; whether it made a batch for the disk.
    fn take_ready(&mut self) -> bool {
        let mut ready = self.node.ready();
        let leads = self.node.raft.state == StateRole::Leader;
        if mem::replace(&mut self.was_leader, leads) && !leads {
            self.effects.push(Effect::LostLead);
        }
        let messages = ready.take_messages();
        if !messages.is_empty() {
            self.effects.push(Effect::Send(messages)); // a leader's: they need not wait for its own disk
        }
        assert!(ready.snapshot().is_empty(), "nobody can send this member a snapshot yet");
        let entries = ready.take_entries();
        self.hard_state = ready.hs().cloned().or(self.hard_state.take());
        let held = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let (number, must_sync) = (ready.number(), ready.must_sync());
        self.node.mut_store().append(&entries);
        if let Some(hard_state) = &self.hard_state {
            self.node.mut_store().set_hard_state(hard_state.clone());
        }
        self.node.advance_append_async(ready);
        if !held.is_empty() {
            self.held.push_back((number, held));
        }
        if !committed.is_empty() {
            let normal = committed.iter().all(|e| e.get_entry_type() == EntryType::EntryNormal);
            assert!(normal, "nobody can propose a configuration change yet");
            self.effects.push(Effect::Apply(committed));
        }
        // A commit index that moved may be lost, so it waits for the next entries: half the batches.
        let written = must_sync || !entries.is_empty();
        self.under_way.push_back((number, written));
        if written {
            let hard_state = self.hard_state.take();
            self.effects.push(Effect::Append { number, entries, hard_state, must_sync });
        } else if self.under_way.len() == 1 {
            self.persisted(number); // nothing is before it
        }
        written
    }

    /// Takes the crate's random election timeout out of its hands, so that a run can be replayed.
    fn set_election_timeout(&mut self) {
        let raft = &mut self.node.raft;
        let (min, max) = (self.election_ticks, 2 * self.election_ticks);
        let drawn = mix(self.seed ^ mix(self.id.0) ^ mix(raft.term.rotate_left(32)));
        raft.set_randomized_election_timeout(min + (drawn % (max - min) as u64) as usize);
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
