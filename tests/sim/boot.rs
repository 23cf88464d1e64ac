//! How a member starts and stops: as in production, by real recovery from its disk.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use callboard::actors::lease_keeper::role::Role as KeeperRole;
use callboard::actors::mailbox::Gauge;
use callboard::actors::raft_node::host::to_raft as entry_to_raft;
use callboard::actors::raft_node::role::{Boot, Role as RaftRole};
use callboard::actors::store::compactor::{Compactor, Retention};
use callboard::actors::store::role::Role as StoreRole;
use callboard::actors::wal_writer::role::Role as WalRole;
use callboard::command::{Command, ProposalId};
use callboard::storage::data_dir::DataDir;
use callboard::storage::disk::Disk;
use callboard::storage::founding;
use callboard::storage::mvcc::State;
use callboard::storage::recovery::{self, Recovered};
use callboard::storage::sim_disk::Crash;
use callboard::storage::snapshot::SnapshotDir;
use callboard::storage::wal::{Wal, WalMeta, WalOptions};
use callboard::types::{Index, MemberId};
use raft::eraftpb::HardState;

use super::clients::{Answer, Asker};
use super::disk_host::{CLUSTER, to_raft};
use super::invariants::Invariant;
use super::ledger::founding_state;
use super::member::{Durable, RaftIn, Running};
use super::plan::Stop;
use super::random::Random;
use super::settings::{HEARTBEAT, MS, SECOND};
use super::store_host::StoreIn;
use super::world::{Event, World, founder, id_of};

const ROOT: &str = "/data";

/// What a disk gives a start.
struct Opened {
    data_dir: DataDir,
    snapshots: SnapshotDir,
    recovered: Recovered,
    wal: Wal,
}

impl World {
    /// Ends a process; its disk keeps what it keeps.
    pub fn stop(&mut self, m: usize, stop: Stop) {
        let seed = self.members[m].random.next();
        let crash = match stop {
            Stop::Process => Crash::Process,
            Stop::Lose => Crash::LoseAll,
            Stop::Some => Crash::Random { seed },
            Stop::Torn => Crash::Torn { seed },
        };
        let member = &mut self.members[m];
        member.paused_until = 0;
        member.stop_at = None;
        let run = member.run.take();
        member.disk.crash(crash);
        let Some(run) = run else { return };
        self.stats.crashes += 1;
        self.trace.note(&[100, m as u64, stop as u64]);
        let askers = run.raft_waiting.into_values().chain(run.store_waiting.into_values());
        let in_mailbox = run.raft_in.iter().filter_map(|input| match input {
            RaftIn::Propose(_, asker) => *asker,
            RaftIn::Read(asker) => Some(*asker),
            _ => None,
        });
        let failed = run.store_in.iter().filter_map(|input| match input {
            StoreIn::Apply(_, waiting) => Some(waiting.values().copied()),
            _ => None,
        });
        let reads = run.reads.into_values();
        let askers = askers.chain(in_mailbox).chain(failed.flatten()).chain(reads);
        let ops = askers.filter_map(|asker| match asker {
            Asker::Op(op) => Some(op),
            Asker::Keeper(_) => None,
        });
        let all: Vec<usize> = ops.chain(run.inquiries.into_values()).collect();
        for op in all {
            self.reply(op, Answer::Gone);
        }
        let asked = run.store_in.iter().filter_map(|input| match input {
            StoreIn::Subscribe { w, turn, .. } => Some((*w, *turn)),
            _ => None,
        });
        let watched: Vec<(usize, u64)> = asked.chain(run.sinks.into_values()).collect();
        for (w, turn) in watched {
            self.watch_ended(w, turn);
        }
    }

    /// Starts a member, unless it runs or is gone.
    pub fn boot(&mut self, m: usize) {
        if self.members[m].run.is_some() || self.members[m].gone {
            return;
        }
        if self.members[m].down_until > self.now {
            let wait = self.members[m].down_until - self.now;
            return self.after(wait, Event::Boot { m });
        }
        match self.open(m) {
            Ok(opened) => self.start(m, opened),
            Err(error) => self.boot_failed(m, error),
        }
    }

    fn boot_failed(&mut self, m: usize, error: String) {
        let member = &mut self.members[m];
        member.boots_failed += 1;
        let stopped = member.stop_at.take().filter(|(step, ..)| member.disk.steps() >= *step);
        let full = error.contains("no storage space");
        let faulty = error.contains("simulated");
        self.trace.line(self.now, || format!("{} cannot start: {error}", m + 1));
        if let Some((_, stop, down)) = stopped {
            self.stop(m, stop);
            self.after(down, Event::Boot { m });
        } else if full || faulty {
            self.members[m].disk.crash(Crash::Process);
            self.after(500 * MS, Event::Boot { m });
        } else if self.members[m].damaged {
            self.members[m].gone = true; // it says so, and its operator replaces it
        } else {
            let what = format!("member {} does not start: {error}", m + 1);
            self.check(Err(Invariant::Recovery.broken(what)));
        }
    }

    fn open(&self, m: usize) -> Result<Opened, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let member = &self.members[m];
        let disk: Arc<dyn Disk> = Arc::new(member.disk.clone());
        let options = WalOptions { segment_bytes: self.settings.segment_bytes, fsync: true };
        let data_dir = DataDir::open(&*disk, Path::new(ROOT), None).map_err(|e| text(&e))?;
        if !Wal::exists(&*disk, data_dir.wal()).map_err(|e| text(&e))? {
            let founders: Vec<_> = (0..self.settings.members as usize).map(founder).collect();
            let voters: Vec<MemberId> = founders.iter().map(|member| member.id).collect();
            let (state, voters) = if member.founder {
                (founding_state(founders), voters)
            } else {
                (State::new(Vec::new()), Vec::new())
            };
            let (cluster_id, member_id) = (CLUSTER, id_of(m));
            let meta = WalMeta { cluster_id, member_id, voters, learners: Vec::new() };
            founding::found(&disk, &data_dir, meta, &state, options).map_err(|e| text(&e))?;
        }
        let _ = data_dir.note_founded(&*disk); // on a full disk it waits
        let snapshots = SnapshotDir::new(Arc::clone(&disk), data_dir.snap());
        let genesis = |_: &WalMeta| State::new(Vec::new());
        let found = recovery::recover(&disk, data_dir.wal(), &snapshots, options, genesis, |_| {});
        let (recovered, wal) = found.map_err(|e| text(&e))?;
        Ok(Opened { data_dir, snapshots, recovered, wal })
    }

    fn start(&mut self, m: usize, opened: Opened) {
        let Opened { data_dir, snapshots, recovered, wal } = opened;
        let (state, snapshot) = (recovered.state.clone(), recovered.snapshot.clone());
        let entries: Vec<_> = recovered.entries.into_iter().map(entry_to_raft).collect();
        let last = entries.last().map_or((state.applied_term.0, state.applied_index.0), |entry| {
            (entry.term, entry.index)
        });
        let result = self.ledger.write(Some(state.applied_term.0), &entries);
        self.check(result);
        let recent = recovered.recent.last(self.settings.catch_up_entries as usize);
        let hard = recovered.hard_state;
        let durable = Durable { last, term: hard.term.0, vote: hard.vote.0 };
        let result = self.persisted_stays(m, durable);
        self.check(result);
        let who = format!("member {} at its start", m + 1);
        let (index, term) = (state.applied_index.0, state.applied_term.0);
        if self.members[m].founder || index > 0 {
            let result = self.ledger.commit(&who, index, term, hard.term.0, self.now);
            self.check(result);
            self.compare_state(m, &state);
        }
        let member = &mut self.members[m];
        member.life += 1;
        (member.durable, member.boots_failed) = (durable, 0);
        let life = member.life;
        let seed = Random::of(self.options.seed, "boot", m as u64 * 1000 + life).next();
        let mut hard_state = HardState::default();
        (hard_state.term, hard_state.vote) = (hard.term.0, hard.vote.0);
        hard_state.commit = hard.commit.0;
        let boot = Boot {
            promote_learners: self.settings.promote_learners,
            id: member.id,
            election_ticks: self.settings.election_ticks,
            pre_vote: self.settings.pre_vote,
            proposal_ticks: self.settings.proposal_ticks,
            uncommitted_bytes_max: self.settings.uncommitted_bytes_max,
            catch_up_entries: self.settings.catch_up_entries,
            seed,
            applied: state.applied_index,
            before: recent.after,
            hard_state,
            membership: Arc::clone(state.membership()),
            entries: recent.entries.into_iter().map(entry_to_raft).chain(entries).collect(),
        };
        let raft = RaftRole::new(boot, &self.logger).expect("what recovery finds is sound");
        let compactor = Compactor::new(Retention::Revisions(self.settings.history_kept), 0);
        let store = StoreRole::new(member.id, state.clone(), compactor, member.wall(self.now))
            .with_checkpoints(self.settings.checkpoint_ticks);
        let last_snapshot = snapshot.as_ref().map_or(Index(0), |meta| meta.index);
        let last_applied = state.applied_index;
        let run = Running {
            raft,
            store,
            wal: WalRole::new(wal, last_snapshot),
            published: state,
            leader: None,
            raft_in: VecDeque::new(),
            turn_due: false,
            store_in: VecDeque::new(),
            store_due: false,
            wal_queue: VecDeque::new(),
            wal_due: false,
            wal_quiet_since: Some(self.now),
            handed: last_applied,
            gauge: Gauge::new("wal", self.settings.wal_slots),
            no_space: false,
            raft_waiting: BTreeMap::new(),
            store_waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
            keeper: KeeperRole::new(ProposalId::first_of(life).0),
            keeper_due: false,
            inquiries: BTreeMap::new(),
            next_inquiry: 0,
            serving: BTreeMap::new(),
            next_proposal: ProposalId::first_of(life).0,
            next_read: 0,
            arrived: None,
            batches: VecDeque::new(),
            unseen: Vec::new(),
            snapshots,
            last_snapshot,
            saving: None,
            saved: None,
            sinks: BTreeMap::new(),
            lines: BTreeMap::new(),
            next_subscription: 0,
            removed: false,
            _data_dir: data_dir,
        };
        let first = last_snapshot;
        self.trace.line(self.now, || {
            format!(
                "{} starts (life {life}): snapshot {first}, applied {index}/{term}, last {}/{}, term {}",
                m + 1,
                last.1,
                last.0,
                hard.term
            )
        });
        member.run = Some(Box::new(run));
        self.begin(m, snapshot.filter(|_| self.settings.offer_at_boot));
    }

    /// The clocks of a process, and its first words.
    fn begin(&mut self, m: usize, offer: Option<callboard::storage::snapshot::SnapshotMeta>) {
        let life = self.members[m].life;
        let mut run = self.members[m].run.take().expect("it was just started");
        self.end_turn(m, &mut run);
        self.members[m].run = Some(run);
        let phase = self.members[m].random.below(HEARTBEAT);
        self.after(phase, Event::Tick { m, life });
        self.after(self.members[m].beat(100 * MS), Event::StoreTick { m, life });
        self.after(SECOND / 10 + phase, Event::Chores { m, life });
        if let Some(meta) = offer.filter(|meta| meta.index > Index(0)) {
            let taken = callboard::actors::raft_node::role::Input::SnapshotTaken(to_raft(&meta));
            self.tell_raft(m, RaftIn::Input(taken));
        }
        let publish = Command::PublishMember {
            id: id_of(m),
            name: format!("m{}", m + 1),
            client_urls: vec![format!("http://m{}:2379", m + 1)],
        };
        self.tell_raft(m, RaftIn::Propose(publish, None));
    }
}
