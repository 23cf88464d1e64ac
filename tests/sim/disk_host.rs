//! What the threads of WalWriter and Snapshotter do, and what becomes of a process whose disk fails.

use std::mem;
use std::sync::Arc;

use callboard::actors::raft_node::role::Input;
use callboard::storage::disk::Disk;
use callboard::storage::snapshot::SnapshotMeta;
use callboard::storage::state_file;
use callboard::storage::wal::SnapshotMark;
use callboard::types::{ClusterId, Index};
use raft::eraftpb::{ConfState, SnapshotMetadata};

use super::invariants::Invariant;
use super::member::{RaftIn, Running};
use super::plan::Stop;
use super::settings::{MS, SECOND};
use super::world::{Event, World, id_of};

pub const CLUSTER: ClusterId = ClusterId(77);
/// Batches that are joined into one group.
const GROUP: usize = 256;

impl World {
    /// The WAL's thread takes what waits, soon.
    pub fn wal_soon(&mut self, m: usize, run: &mut Running) {
        if !mem::replace(&mut run.wal_due, true) {
            let latency = self.members[m].latency;
            let delay = latency / 2 + self.members[m].random.below(latency);
            let life = self.members[m].life;
            self.after(delay, Event::Wal { m, life });
        }
    }

    pub fn write_wal(&mut self, m: usize) {
        let Some(mut run) = self.members[m].run.take() else { return };
        run.wal_due = false;
        run.wal_quiet_since = Some(self.now);
        let many = if self.members[m].random.per_mille(300) { 1 } else { GROUP };
        for append in run.wal_queue.drain(..many.min(run.wal_queue.len())) {
            run.wal.add(append);
        }
        let result = run.wal.write();
        match result {
            Ok(written) => {
                run.no_space = written.no_space;
                if let Some(number) = written.persisted {
                    self.put_raft(m, &mut run, RaftIn::Input(Input::Persisted { number }));
                }
                if written.no_space {
                    run.wal_due = true;
                    let life = self.members[m].life;
                    self.after(200 * MS, Event::Wal { m, life });
                } else if !run.wal_queue.is_empty() {
                    self.wal_soon(m, &mut run);
                }
                self.members[m].run = Some(run);
            }
            Err(error) => {
                self.members[m].run = Some(run);
                self.disk_failed(m, &error.to_string());
            }
        }
    }

    /// A failed disk ends the process; it may be that it was to stop there.
    pub fn disk_failed(&mut self, m: usize, error: &str) {
        let member = &mut self.members[m];
        let planned = member.stop_at.take().filter(|(step, ..)| member.disk.steps() >= *step);
        let (stop, down) = match planned {
            Some((_, stop, down)) => (stop, down),
            None if member.down_after_error > 0 => (Stop::Process, member.down_after_error),
            None => {
                let what = format!("the disk of {} fails without a fault: {error}", m + 1);
                return self.check(Err(Invariant::Recovery.broken(what)));
            }
        };
        self.trace.line(self.now, || format!("{} ends: {error}", m + 1));
        self.stop(m, stop);
        self.after(down, Event::Boot { m });
    }

    /// Quiet moments of the WAL, and the look whether a snapshot is due.
    pub fn chores(&mut self, m: usize) {
        let Some(mut run) = self.members[m].run.take() else { return };
        let quiet = run.wal_queue.is_empty() && !run.wal.is_waiting();
        let mut failed = None;
        if quiet && run.wal_quiet_since.is_some_and(|since| self.now - since > SECOND) {
            run.wal_quiet_since = None;
            failed = run.wal.idle().err();
        }
        let grown = run.published.applied_index.0.saturating_sub(run.last_snapshot.0);
        if failed.is_none() && grown >= self.settings.snapshot_entries {
            self.order_snapshot(m, &mut run);
        }
        self.members[m].run = Some(run);
        if let Some(error) = failed {
            self.disk_failed(m, &error.to_string());
        }
    }

    fn order_snapshot(&mut self, m: usize, run: &mut Running) {
        if run.saving.is_some() || run.saved.is_some() {
            return;
        }
        run.saving = Some(run.published.clone());
        let life = self.members[m].life;
        let latency = self.members[m].latency;
        let delay = MS + self.members[m].random.below(4 * latency);
        self.after(delay, Event::SaveSnapshot { m, life });
    }

    /// A peer needs a snapshot.
    pub fn want_snapshot(&mut self, m: usize, run: &mut Running, index: Index) {
        if run.last_snapshot >= index && run.last_snapshot >= run.published.applied_index {
            let newest = run.snapshots.list().ok().and_then(|names| names.first().copied());
            if let Some(name) = newest.filter(|name| name.index == run.last_snapshot)
                && let Ok(reader) = run.snapshots.open(name)
            {
                let taken = Input::SnapshotTaken(to_raft(reader.meta()));
                self.put_raft(m, run, RaftIn::Input(taken));
                return;
            }
        }
        self.order_snapshot(m, run);
    }

    pub fn save_snapshot(&mut self, m: usize) {
        let Some(mut run) = self.members[m].run.take() else { return };
        let Some(state) = run.saving.take() else {
            self.members[m].run = Some(run);
            return;
        };
        let meta = state_file::meta_of(&state, CLUSTER, id_of(m));
        let disk: Arc<dyn Disk> = Arc::new(self.members[m].disk.clone());
        let saved = state_file::save(&disk, run.snapshots.path(), &meta, &state);
        let failed = match saved {
            Ok(_) => {
                self.stats.snapshots += 1;
                run.last_snapshot = meta.index;
                run.saved =
                    Some(SnapshotMark { index: meta.index, term: meta.term, installed: false });
                let life = self.members[m].life;
                let delay = self.members[m].random.below(20 * MS);
                self.after(delay, Event::NoteSnapshot { m, life });
                let taken = Input::SnapshotTaken(to_raft(&meta));
                let event = Event::ToRaft { m, life, input: Box::new(taken) };
                self.after(self.settings.turn_delay, event);
                None
            }
            Err(error) => Some(error.to_string()), // tried again: the log is kept until one succeeds
        };
        self.members[m].run = Some(run);
        self.stopped_by_disk(m, failed);
    }

    /// WalWriter hears of the snapshot, once old ones are removed.
    pub fn note_snapshot(&mut self, m: usize) {
        let Some(mut run) = self.members[m].run.take() else { return };
        let mut failed = None;
        if let Some(mark) = run.saved.take() {
            let release = match run.snapshots.retain(self.settings.snapshots_kept) {
                Ok(oldest) => oldest.map_or(mark.index, |name| name.index),
                Err(error) => {
                    failed = Some(error.to_string());
                    Index(0)
                }
            };
            if let Err(error) = run.wal.snapshotted(mark, release) {
                self.members[m].run = Some(run);
                return self.disk_failed(m, &error.to_string());
            }
        }
        self.members[m].run = Some(run);
        self.stopped_by_disk(m, failed);
    }

    /// An error that the process survives, unless the machine stopped there.
    pub fn stopped_by_disk(&mut self, m: usize, failed: Option<String>) {
        let member = &self.members[m];
        let stopped = member.stop_at.is_some_and(|(step, ..)| member.disk.steps() >= step);
        if let Some(error) = failed.filter(|_| stopped) {
            self.disk_failed(m, &error);
        }
    }
}

/// What the crate is told of a snapshot.
pub fn to_raft(meta: &SnapshotMeta) -> SnapshotMetadata {
    let ids = |ids: &[callboard::types::MemberId]| ids.iter().map(|id| id.0).collect::<Vec<u64>>();
    let conf = &meta.conf_state;
    let mut snapshot =
        SnapshotMetadata { index: meta.index.0, term: meta.term.0, ..SnapshotMetadata::default() };
    snapshot.set_conf_state(ConfState::from((ids(&conf.voters), ids(&conf.learners))));
    snapshot
}
