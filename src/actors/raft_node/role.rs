//! What RaftNode thinks: the `raft` crate's RawNode, driven one input at a time.
//!
//! A turn is any number of inputs followed by [`Role::end_turn`], which takes one Ready, so that
//! everything that came in since the last turn shares one batch to the disk and one message to each
//! peer. Persisting is asynchronous: later turns go on while earlier batches are being synced.
//!
//! No clock, no I/O, no randomness: time is [`Input::Tick`], and the crate's own random election
//! timeout is overwritten after every call by a pure function of (seed, id, term).

mod batches;
mod proposing;

use std::{collections::VecDeque, mem, sync::Arc};

use raft::{
    Config, Error, ProgressState, RawNode, ReadOnlyOption, Ready, SnapshotStatus, StateRole,
    eraftpb::{Entry, EntryType, HardState, Message, MessageType},
};

pub use super::contract::{Boot, Effect, Input, ReadId};
use super::{
    ProposeError, ReadError,
    conf_change::{conf_change, conf_state, membership_change},
    log::Log,
    proposals::{Forwarded, GivenUp, Proposals},
    reads::Reads,
};
use crate::{
    command::proposer,
    storage::{mvcc::Membership, wal::SnapshotMark},
    types::{Index, MemberId, Term},
    wire::check::{self, Verdict},
};

/// See the head of the module.
pub struct Role {
    node: RawNode<Log>,
    id: MemberId,
    seed: u64,
    election_ticks: usize,
    promote_learners: bool,
    /// The tick at which a promotion was last asked for.
    promoted_at: Option<u64>,
    proposal_ticks: u64,
    pending_bytes_max: u64,
    catch_up_entries: u64,
    now: u64,
    applied: Index,
    membership: Arc<Membership>,
    effects: Vec<Effect>,
    /// Batches that are not known to be on disk, and whether anything of them is written at all.
    under_way: VecDeque<(u64, bool)>,
    /// The hard state of a batch that was not written; goes with the next one, or when it is quiet.
    hard_state: Option<HardState>,
    /// The tick since which it waits.
    hard_state_since: u64,
    /// It is not to wait any longer.
    hard_state_due: bool,
    /// The number of the last Ready.
    last_ready: u64,
    /// The last batch with a term or a vote that is not on disk.
    voting: Option<u64>,
    /// Messages that may leave once the batch of this number is on disk.
    held: VecDeque<(u64, Vec<Message>)>,
    /// The membership of the last snapshot that came.
    arriving: Option<(Index, Arc<Membership>)>,
    /// The batch with which a peer's snapshot is installed, until it is on disk.
    installing: Option<u64>,
    proposals: Proposals,
    forwarded: Forwarded,
    reads: Reads,
    /// The tick at which a snapshot was last asked for.
    wanted_at: Option<u64>,
    /// This member lost entries that it had acknowledged, up to here at least: it may not vote before
    /// it has them again.
    lost_tail: Option<Index>,
}

/// Bytes of applied entries that stay in memory for peers that lag, and of all entries while one of
/// them loads a snapshot.
const CATCH_UP_BYTES: usize = 64 << 20;

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
            // Not the crate's way of joining messages: it puts entries behind an empty message that is further
            // on, and the follower acknowledges entries that it never got. They share a parcel all the same.
            batch_append: false,
            ..Config::default()
        };
        let conf_state = conf_state(&boot.membership);
        let alone = conf_state.voters == [boot.id.0];
        let (before, before_term) = boot.before;
        let mut log = Log::new(before, before_term, boot.hard_state, conf_state);
        log.append(&boot.entries);
        let mut role = Role {
            node: RawNode::new(&config, log, logger)?,
            id: boot.id,
            seed: boot.seed,
            election_ticks: boot.election_ticks,
            promote_learners: boot.promote_learners,
            promoted_at: None,
            proposal_ticks: boot.proposal_ticks,
            pending_bytes_max: boot.uncommitted_bytes_max,
            catch_up_entries: boot.catch_up_entries,
            now: 0,
            applied: boot.applied,
            membership: boot.membership,
            effects: Vec::new(),
            under_way: VecDeque::new(),
            hard_state: None,
            hard_state_since: 0,
            hard_state_due: false,
            last_ready: 0,
            voting: None,
            held: VecDeque::new(),
            arriving: None,
            installing: None,
            proposals: Proposals::default(),
            forwarded: Forwarded::default(),
            reads: Reads::new(boot.id, boot.seed),
            wanted_at: None,
            lost_tail: None,
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
            Input::Propose { id, data, members } => {
                if !self.proposals.add(id, data, members, self.now, self.pending_bytes_max) {
                    self.effects.push(Effect::Refuse(id, ProposeError::TooManyRequests));
                }
            }
            Input::Read { id } => self.reads.add(id, self.now),
            Input::Step(message) => self.step(message),
            Input::Snapshot { message, membership } => {
                if !self.has_snapshot_to_install() {
                    let index = Index(message.get_snapshot().get_metadata().index);
                    self.arriving = Some((index, membership));
                    self.step(message);
                }
            }
            Input::Forwarded { from, forward } => self.forwarded(from, forward),
            Input::Refused(refusal) => self.refused(&refusal),
            Input::Unreachable(peer) => self.node.report_unreachable(peer.0),
            Input::SnapshotTaken(snapshot) => self.node.mut_store().offer(snapshot),
            Input::SnapshotSent { to, arrived } => {
                let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                self.node.report_snapshot(to.0, status);
            }
            Input::Transfer(to) => self.transfer(to),
            Input::Tick => self.tick(),
            Input::Persisted { number } => self.persisted(number),
            Input::Applied { index } => self.applied(index),
        }
        self.set_election_timeout();
    }

    /// Ends the turn: proposes or forwards what waits, starts a round for the reads that wait, and takes
    /// one Ready. With `may_append` false (WalWriter has no room) no Ready is taken, and the turn goes on
    /// for all but reads. To be called again until nothing comes of it.
    pub fn end_turn(&mut self, may_append: bool) -> Vec<Effect> {
        self.propose_waiting();
        self.start_read_round();
        self.end_read_rounds();
        while may_append && self.node.has_ready() {
            if self.take_ready() {
                break; // a batch went to the disk: whether there is room for another, the host knows
            }
        }
        if may_append && mem::take(&mut self.hard_state_due) {
            self.write_hard_state();
        }
        self.ask_for_snapshot();
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

    /// The last index of the log.
    pub fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }

    /// The leader, if one is known.
    pub fn leader(&self) -> Option<MemberId> {
        Some(self.node.raft.leader_id).filter(|&id| id != 0).map(MemberId)
    }

    /// Whether this member leads.
    pub fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Whether every proposal of this member is settled.
    pub fn is_settled(&self) -> bool {
        self.proposals.is_empty()
    }

    /// Bytes of log held in memory.
    pub fn log_bytes(&self) -> usize {
        self.node.store().bytes()
    }

    /// Whether a peer's snapshot is taken up that no [`Effect::Install`] has told of yet: another one would
    /// be passed over.
    pub fn has_snapshot_to_install(&self) -> bool {
        self.node.snap().is_some()
    }

    /// The membership as of the last committed entry.
    pub fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// How far each other member's log is known to agree with the leader's; nothing where this member
    /// does not lead.
    pub fn matched(&self) -> impl Iterator<Item = (MemberId, Index)> {
        let progress = self.leads().then(|| self.node.raft.prs().iter());
        let others = progress.into_iter().flatten().filter(|&(&id, _)| id != self.id.0);
        others.map(|(&id, progress)| (MemberId(id), Index(progress.matched)))
    }

    /// The node, for those who check invariants.
    pub fn node(&self) -> &RawNode<Log> {
        &self.node
    }

    fn tick(&mut self) {
        self.now += 1;
        if self.may_tick() {
            self.node.tick();
        }
        self.hard_state_due = self.is_quiet();
        for gone in self.proposals.give_up(self.now, self.proposal_ticks) {
            self.effects.push(match gone {
                GivenUp::NeverProposed(id) => Effect::Refuse(id, ProposeError::NoLeader),
                GivenUp::Unknown(id) => Effect::Refuse(id, ProposeError::TimedOut),
            });
        }
        if !self.leads() {
            let patience = (self.election_ticks as u64 / 2).max(2);
            self.proposals.resend(self.term(), self.now, patience);
        }
        self.promote_learner();
        let round_patience = (self.election_ticks as u64 / 4).max(2);
        let late = self.reads.age(self.now, round_patience, self.proposal_ticks);
        if !late.is_empty() {
            let error =
                if self.leader().is_some() { ReadError::TimedOut } else { ReadError::NoLeader };
            self.effects.push(Effect::ReadFailed(late, error));
        }
    }

    /// Whether the crate may count a tick. While a snapshot is being installed an election would read
    /// entries that it replaced; a sole voter would win one before its log is on disk; and one that lost
    /// acknowledged entries may not win.
    fn may_tick(&self) -> bool {
        let raft = &self.node.raft;
        let alone = raft.promotable() && raft.prs().is_singleton();
        let wins_too_early = alone && !self.leads() && self.is_writing();
        self.lost_tail.is_none() && !check::is_installing(&raft.raft_log) && !wins_too_early
    }

    /// Whether anything of the log is on its way to the disk.
    fn is_writing(&self) -> bool {
        self.under_way.iter().any(|&(_, written)| written)
    }

    /// A learner that has nine tenths of the log, as etcd asks of one that is promoted by hand, and follows
    /// it entry by entry.
    fn promote_learner(&mut self) {
        let patience = self.election_ticks as u64;
        let asked = self.promoted_at.is_some_and(|at| self.now - at < patience);
        if !self.promote_learners || !self.leads() || asked {
            return;
        }
        let (prs, last) = (self.node.raft.prs(), self.last_index().0);
        let caught_up = |id: &MemberId| {
            prs.get(id.0).is_some_and(|progress| {
                progress.recent_active
                    && progress.state == ProgressState::Replicate
                    && progress.matched >= last - last / 10
            })
        };
        // Looked at with every tick: once in an election timeout the crate forgets who answered lately.
        if let Some(id) = self.membership.learners().find(caught_up) {
            self.promoted_at = Some(self.now);
            self.effects.push(Effect::Promote(id));
        }
    }

    fn step(&mut self, message: Message) {
        match check::against(&self.node.raft, &message, self.is_writing()) {
            Verdict::Pass => {}
            Verdict::Drop(_) => return,
            Verdict::LostTail { commit } => return self.tail_is_lost(&message, Index(commit)),
        }
        let asks_for_vote = matches!(
            message.get_msg_type(),
            MessageType::MsgRequestVote
                | MessageType::MsgRequestPreVote
                | MessageType::MsgTimeoutNow
        );
        if asks_for_vote && self.lost_tail.is_some() {
            return;
        }
        // What the crate refuses (a message from a member that was removed) is refused without effect.
        _ = self.node.step(message);
    }

    /// The leader counts on entries that this member acknowledged and does not have: its disk lost them.
    /// It takes no part in elections until it has them again, by way of a snapshot.
    fn tail_is_lost(&mut self, message: &Message, commit: Index) {
        self.lost_tail = self.lost_tail.max(Some(commit));
        let raft = &self.node.raft;
        if message.term < raft.term {
            return;
        }
        let last = raft.raft_log.last_index();
        let mut ask = Message {
            to: message.from,
            from: self.id.0,
            term: message.term,
            index: commit.0,
            reject: true,
            reject_hint: last,
            request_snapshot: 1, // any that the leader's log continues
            commit: raft.raft_log.committed,
            ..Message::default()
        };
        ask.set_msg_type(MessageType::MsgAppendResponse);
        self.effects.push(Effect::Send(vec![ask]));
    }

    fn transfer(&mut self, to: Option<MemberId>) {
        if !self.leads() {
            return;
        }
        let voters = &self.membership;
        let others = self.node.raft.prs().iter().filter(|&(&id, _)| {
            id != self.id.0 && voters.member(MemberId(id)).is_some_and(|member| !member.learner)
        });
        // Once in an election timeout nobody has answered lately: then the furthest along will do.
        let furthest =
            others.max_by_key(|&(&id, progress)| (progress.recent_active, progress.matched, id));
        if let Some(to) = to.map(|id| id.0).or(furthest.map(|(&id, _)| id)) {
            self.node.transfer_leader(to);
        }
    }

    fn applied(&mut self, index: Index) {
        assert!(index >= self.applied, "applied falls from {} to {index}", self.applied);
        self.applied = index;
        self.tell_applied();
        let served = self.reads.applied(index);
        self.effects.extend(served.into_iter().map(|(ids, at)| Effect::ReadReady(ids, at)));
        if self.lost_tail.is_some_and(|lost| index >= lost) {
            self.lost_tail = None;
        }
    }

    /// Tells the crate what is applied: an installed snapshot only once it is on disk.
    fn tell_applied(&mut self) {
        if self.installing.is_some() {
            return;
        }
        self.node.advance_apply_to(self.applied.0);
        let progress = self.node.raft.prs().iter().filter(|&(&id, _)| id != self.id.0);
        let (mut peers, mut loading) = (false, u64::MAX);
        for (_, progress) in progress {
            peers = true;
            if progress.state == ProgressState::Snapshot {
                loading = loading.min(progress.pending_snapshot);
            }
        }
        let keep = if peers { self.catch_up_entries } else { 0 };
        let log = self.node.mut_store();
        log.compact(Index(self.applied.0.saturating_sub(keep).min(loading)));
        log.compact_to_bytes(self.applied, CATCH_UP_BYTES);
    }

    /// Whether there are other members.
    fn has_peers(&self) -> bool {
        self.node.raft.prs().iter().any(|(&id, _)| id != self.id.0)
    }

    /// One round for all reads that wait. The crate drops in silence what a leader cannot serve yet, so a
    /// leader only starts one that it can serve; on other members a round may be lost on its way.
    fn start_read_round(&mut self) {
        if !self.reads.wants_round(self.has_peers()) {
            return;
        }
        let can = match self.leader() {
            None => false,
            Some(leader) if leader == self.id => {
                self.leads() && self.node.raft.commit_to_current_term()
            }
            Some(_) => true,
        };
        if can {
            let context = self.reads.start_round(self.now);
            self.node.read_index(context);
        }
    }

    /// Takes up the rounds that have their index. Not by way of a Ready: reads do not wait for a disk
    /// that has no room for another batch.
    fn end_read_rounds(&mut self) {
        for state in mem::take(&mut self.node.raft.read_states) {
            let index = Index(state.index);
            let served = self.reads.round_done(&state.request_ctx, index, self.applied);
            if !served.is_empty() {
                self.effects.push(Effect::ReadReady(served, index));
            }
        }
    }

    /// A snapshot of a peer takes the place of the state and the log.
    fn install(&mut self, ready: &Ready) -> Option<SnapshotMark> {
        if ready.snapshot().is_empty() {
            return None;
        }
        let meta = ready.snapshot().get_metadata().clone();
        self.installing = Some(ready.number());
        self.node.mut_store().reset(&meta);
        for id in self.proposals.skipped() {
            self.effects.push(Effect::Refuse(id, ProposeError::TimedOut));
        }
        let mark =
            SnapshotMark { index: Index(meta.index), term: Term(meta.term), installed: true };
        let arrived = self.arriving.take().filter(|(index, _)| *index == mark.index);
        let (_, membership) = arrived.expect("the crate installs the snapshot that came last");
        self.membership = membership;
        self.effects.push(Effect::Install(meta));
        self.effects.push(Effect::Membership(Arc::clone(&self.membership)));
        self.note_removal();
        Some(mark)
    }

    fn committed(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            let changes_members = entry.get_entry_type() != EntryType::EntryNormal;
            let proposal = if changes_members { &entry.context } else { &entry.data };
            let proposer = proposer(proposal);
            let own = proposer.filter(|&(_, member)| member == self.id).map(|(id, _)| id);
            self.proposals.committed(Term(entry.term), own);
            if changes_members {
                self.change_members(entry);
            }
        }
        self.effects.push(Effect::Apply(entries));
    }

    /// A committed change of the membership takes effect, if it is valid; the state comes to the same
    /// answer by the same rule.
    fn change_members(&mut self, entry: &Entry) {
        let Some(change) = membership_change(&entry.context) else { return };
        if Arc::make_mut(&mut self.membership).apply(&change).is_err() {
            return;
        }
        if let Some(conf_change) = conf_change(&change) {
            match self.node.apply_conf_change(&conf_change) {
                Ok(conf_state) => self.node.mut_store().set_conf_state(conf_state),
                Err(error) => panic!("a valid change of the membership is refused: {error}"),
            }
        }
        self.effects.push(Effect::Membership(Arc::clone(&self.membership)));
        self.note_removal();
    }

    /// One that was removed leads no more: the crate would count a vote that is not there.
    fn note_removal(&mut self) {
        if !self.membership.removed().contains(&self.id) {
            return;
        }
        if self.leads() {
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
        self.effects.push(Effect::Removed);
    }

    /// At most once in a tick.
    fn ask_for_snapshot(&mut self) {
        if let Some(index) = self.node.store().take_wanted()
            && self.wanted_at.replace(self.now) != Some(self.now)
        {
            self.effects.push(Effect::WantSnapshot(index));
        }
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
