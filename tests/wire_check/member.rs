//! A member as RaftNode drives it: asynchronous Readies, a disk that is slow, a state machine that lags,
//! and a checker in front.

use std::collections::VecDeque;

use callboard::wire::check::{self, CheckError, DropReason, Verdict};
use raft::{
    Config, Error, GetEntriesContext, RaftState, RawNode, Result, StateRole, Storage, StorageError,
    eraftpb::{
        ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, HardState,
        Message, Snapshot,
    },
};

use super::random::Random;

/// The log in memory.
pub struct Store {
    offset: u64,
    offset_term: u64,
    entries: VecDeque<Entry>,
    hard_state: HardState,
    conf_state: ConfState,
    /// What a snapshot would be of.
    applied: (u64, u64),
}

impl Store {
    fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let last = self.offset + self.entries.len() as u64;
        assert!(first.index > self.offset && first.index <= last + 1, "a gap in the log");
        self.entries.truncate((first.index - self.offset - 1) as usize);
        self.entries.extend(entries.iter().cloned());
    }

    fn compact(&mut self, index: u64) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.index <= index) {
            (self.offset, self.offset_term) = (entry.index, entry.term);
            self.entries.pop_front();
        }
    }
}

impl Storage for Store {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState { hard_state: self.hard_state.clone(), conf_state: self.conf_state.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.offset {
            return Err(Error::Store(StorageError::Compacted));
        }
        let range = (low - self.offset - 1) as usize..(high - self.offset - 1) as usize;
        let most = if max_size.into().is_some_and(|size| size < 1 << 20) { 2 } else { usize::MAX };
        Ok(self.entries.range(range).take(most).cloned().collect())
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.offset {
            return Ok(self.offset_term);
        }
        if index < self.offset {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.offset - 1) as usize);
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.offset + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.offset + self.entries.len() as u64)
    }

    fn snapshot(&self, request_index: u64, _: u64) -> Result<Snapshot> {
        if self.applied.0 == 0 || self.applied.0 < request_index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = self.applied;
        metadata.set_conf_state(self.conf_state.clone());
        Ok(snapshot)
    }
}

/// What the checker said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Refused(CheckError),
    Dropped(DropReason),
    LostTail,
    Passed,
}

pub struct Member {
    pub node: RawNode<Store>,
    /// Batches on their way to the disk, with the messages that wait for them.
    batches: VecDeque<(u64, Vec<Message>)>,
    to_apply: VecDeque<Entry>,
    /// The snapshot that is being installed: its batch, its index and term.
    installing: Option<(u64, u64, u64)>,
    persisted: u64,
    pub outbox: Vec<Message>,
    /// Whether it proposes changes of the membership.
    pub changes: bool,
}

impl Member {
    pub fn new(id: u64, voters: Vec<u64>, learners: Vec<u64>, log: &[u64], commit: u64) -> Member {
        let term = log.last().copied().unwrap_or(0);
        let entry = |(at, term): (usize, &u64)| Entry {
            index: at as u64 + 1,
            term: *term,
            ..<_>::default()
        };
        let store = Store {
            offset: 0,
            offset_term: 0,
            entries: log.iter().enumerate().map(entry).collect(),
            hard_state: HardState { term, commit, ..HardState::default() },
            conf_state: ConfState::from((voters, learners)),
            applied: (0, 0),
        };
        let config = Config {
            id,
            election_tick: 10,
            heartbeat_tick: 1,
            max_size_per_msg: 1000,
            max_inflight_msgs: 3,
            check_quorum: true,
            pre_vote: !term.is_multiple_of(2),
            max_uncommitted_size: 1 << 20,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        Member {
            node: RawNode::new(&config, store, &logger).unwrap(),
            batches: VecDeque::new(),
            to_apply: VecDeque::new(),
            installing: None,
            persisted: 0,
            outbox: Vec::new(),
            changes: true,
        }
    }

    pub fn receive(&mut self, mut message: Message) -> Said {
        if let Err(error) = check::form(&message) {
            return Said::Refused(error);
        }
        match check::against(&self.node.raft, &message, !self.batches.is_empty()) {
            Verdict::Drop(reason) => Said::Dropped(reason),
            Verdict::Pass => {
                let _ = self.node.step(message);
                Said::Passed
            }
            Verdict::LostTail { .. } => {
                message.commit = self.node.raft.raft_log.last_index();
                let _ = self.node.step(message);
                let _ = self.node.request_snapshot();
                Said::LostTail
            }
        }
    }

    /// What happens to a member by itself.
    pub fn live(&mut self, random: &mut Random, counter: u64) {
        let leads = self.node.raft.state == StateRole::Leader;
        match random.below(100) {
            0..20 => self.tick(),
            20..27 | 30 if !leads => {} // the crate's own forwarding stays off
            20..25 => _ = self.node.propose(vec![], counter.to_be_bytes().to_vec()),
            25..27 if self.changes => self.propose_change(random),
            25..27 => {}
            27..30 => self.node.read_index(counter.to_be_bytes().to_vec()),
            30 => self.node.transfer_leader(1 + random.below(4)),
            31 => self.node.report_unreachable(1 + random.below(4)),
            32 => {
                let status =
                    random.pick(&[raft::SnapshotStatus::Finish, raft::SnapshotStatus::Failure]);
                self.node.report_snapshot(1 + random.below(4), status);
            }
            33..36 => {
                let keep = random.below(5);
                let applied = self.node.raft.raft_log.applied;
                self.node.mut_store().compact(applied.saturating_sub(keep));
            }
            36..65 => self.take_ready(),
            65..85 => {
                let some = 1 + random.below(3) as usize;
                self.persist(some);
            }
            _ => {
                let some = 1 + random.below(4) as usize;
                self.apply(some);
            }
        }
    }

    pub fn tick(&mut self) {
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        let wins_alone = raft.prs().is_singleton() && raft.promotable();
        let unsafe_alone =
            wins_alone && raft.state != StateRole::Leader && log.persisted < log.last_index();
        if !check::is_installing(log) && !unsafe_alone {
            self.node.tick();
        }
    }

    fn propose_change(&mut self, random: &mut Random) {
        let context = vec![random.below(3) as u8, 1 + random.below(5) as u8];
        let change = change(&context).unwrap();
        let _ = self.node.propose_conf_change(context, change);
    }

    pub fn take_ready(&mut self) {
        if !self.node.has_ready() {
            return;
        }
        let mut ready = self.node.ready();
        self.outbox.extend(ready.take_messages());
        let held = ready.take_persisted_messages();
        let entries = ready.take_entries();
        let committed = ready.take_committed_entries();
        let store = self.node.mut_store();
        if !ready.snapshot().is_empty() {
            let metadata = ready.snapshot().get_metadata();
            (store.offset, store.offset_term) = (metadata.index, metadata.term);
            store.entries.clear();
            store.conf_state = metadata.get_conf_state().clone();
            self.to_apply.clear();
            self.installing = Some((ready.number(), metadata.index, metadata.term));
        }
        store.append(&entries);
        if let Some(hard_state) = ready.hs() {
            store.hard_state = hard_state.clone();
        }
        self.batches.push_back((ready.number(), held));
        self.node.advance_append_async(ready);
        self.to_apply.extend(committed);
    }

    pub fn persist(&mut self, some: usize) {
        let some = some.min(self.batches.len());
        let done: Vec<_> = self.batches.drain(..some).collect();
        let Some(&(number, _)) = done.last() else { return };
        self.persisted = number;
        self.node.on_persist_ready(number);
        self.outbox.extend(done.into_iter().flat_map(|(_, held)| held));
    }

    pub fn apply(&mut self, some: usize) {
        if let Some((number, index, term)) = self.installing {
            if number <= self.persisted {
                self.installing = None;
                self.node.advance_apply_to(index);
                self.node.mut_store().applied = (index, term);
            }
            return;
        }
        for entry in self.to_apply.drain(..some.min(self.to_apply.len())).collect::<Vec<_>>() {
            let is_change = entry.get_entry_type() == EntryType::EntryConfChangeV2;
            let change = is_change.then(|| change(&entry.context)).flatten();
            if let Some(change) = change
                && let Ok(state) = self.node.apply_conf_change(&change)
            {
                self.node.mut_store().conf_state = state;
                let raft = &mut self.node.raft;
                if raft.state != StateRole::Follower && !raft.promotable() {
                    raft.become_follower(raft.term, 0);
                }
            }
            self.node.advance_apply_to(entry.index);
            self.node.mut_store().applied = (entry.index, entry.term);
        }
    }
}

/// A change of the membership, from what stands for a proposal.
fn change(context: &[u8]) -> Option<ConfChangeV2> {
    let &[kind, id] = context else { return None };
    let kinds =
        [ConfChangeType::AddNode, ConfChangeType::AddLearnerNode, ConfChangeType::RemoveNode];
    let single = ConfChangeSingle {
        change_type: *kinds.get(usize::from(kind))?,
        node_id: u64::from(id).max(1),
        ..ConfChangeSingle::default()
    };
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    Some(change)
}
