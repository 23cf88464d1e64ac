//! The thread that hosts Snapshotter: writes what the policy, or somebody, asks for.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use raft::eraftpb::{ConfState, SnapshotMetadata};

use super::{
    Order, Ordered,
    role::{Growth, Policy},
};
use crate::{
    actors::{
        mailbox::bell::RingingSender,
        wal_writer::{Control, WalFigures},
    },
    metrics::Metrics,
    published::Published,
    storage::{
        disk::Disk,
        snapshot::{SnapshotDir, SnapshotError, SnapshotMeta},
        state_file,
        wal::SnapshotMark,
    },
    types::{Index, MemberId},
};

/// How far the thread stands back for others (of 19).
const NICENESS: i32 = 10;

/// A snapshot that fails is not tried again before this long.
const RETRY: Duration = Duration::from_secs(10);

/// All that the thread works with.
pub struct Snapshotter {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The folder.
    pub dir: SnapshotDir,
    /// Snapshots to keep; 0 keeps all.
    pub keep: usize,
    /// When one is due.
    pub policy: Policy,
    /// Where the state is.
    pub published: Arc<Published>,
    /// How long the log is.
    pub wal: Arc<WalFigures>,
    /// Who is told of a new snapshot.
    pub wal_writer: RingingSender<Control>,
    /// RaftNode is told here of each that can be sent: the newest at the start, then each new one.
    pub taken: Box<dyn Fn(SnapshotMetadata) + Send>,
    /// Histograms.
    pub metrics: Arc<Metrics>,
}

impl Snapshotter {
    /// Starts the thread. It ends when told to stop, or when all senders are gone.
    pub fn spawn(self, inbox: Receiver<Ordered>) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("snapshotter".to_owned()).spawn(move || {
            // On a busy machine clients come first. Where the system refuses, it works all the same.
            _ = rustix::process::setpriority_process(None, NICENESS);
            self.run(&inbox);
        })
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the host paces its retries; the role sees no clock"
    )]
    fn run(&self, inbox: &Receiver<Ordered>) {
        let mut last = Index(self.wal.snapshot_index.load(Ordering::Acquire));
        let mut failed_at: Option<Instant> = None;
        self.offer_newest(Index(0));
        for Ordered { order, slot } in inbox {
            drop(slot);
            self.adopt(&mut last);
            let reply = match order {
                Order::Stop => return,
                Order::Take(reply) => Some(reply),
                Order::TakeForPeer(index) if self.offer_newest(index) => continue,
                Order::TakeForPeer(_) if failed_at.is_some_and(|at| at.elapsed() < RETRY) => {
                    continue;
                }
                Order::TakeForPeer(_) => None,
                // Until WalWriter has noted the last one, it still counts the log from before.
                Order::Consider if self.wal.snapshot_index.load(Ordering::Acquire) != last.0 => {
                    continue;
                }
                Order::Consider if failed_at.is_some_and(|at| at.elapsed() < RETRY) => continue,
                Order::Consider => {
                    let state = self.published.state.load();
                    let growth = Growth {
                        log_bytes: self.wal.bytes_since_snapshot.load(Ordering::Acquire),
                        entries: state.applied_index.0.saturating_sub(last.0),
                        state_bytes: state.live_bytes() + state.history_bytes(),
                    };
                    if !self.policy.is_due(growth) {
                        continue;
                    }
                    None
                }
            };
            let result = self.take(&mut last);
            failed_at = result.is_err().then(Instant::now);
            if let Err(error) = &result {
                tracing::error!(%error, "snapshot failed; the log is kept until one succeeds");
            }
            if let Some(reply) = reply {
                // Whoever asked may have gone; the snapshot is there all the same.
                _ = reply.send(result.map_err(|error| error.to_string()));
            }
        }
    }

    /// A snapshot that a peer sent is installed: this thread goes on from it as from one of its own.
    /// Until RaftNode had it written to the log nothing is let go, for it may never be used.
    fn adopt(&self, last: &mut Index) {
        let installed = Index(self.wal.snapshot_index.load(Ordering::Acquire));
        if installed <= *last {
            return;
        }
        *last = installed;
        match self.dir.list() {
            Ok(names) => {
                if let Some(name) = names.iter().find(|name| name.index == installed) {
                    let mark =
                        SnapshotMark { index: name.index, term: name.term, installed: false };
                    self.let_go(mark);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "old snapshots were not removed; tried again with the next");
            }
        }
    }

    /// Tells RaftNode of the newest snapshot; false if there is none after `index`.
    fn offer_newest(&self, index: Index) -> bool {
        // One that came from a peer and is not installed is passed over: its entries are not here.
        let applied = self.published.state.load().applied_index;
        let names = self.dir.list().unwrap_or_default();
        let newest = names.into_iter().find(|name| name.index <= applied);
        let Some(name) = newest.filter(|name| name.index >= index) else { return false };
        match self.dir.open(name) {
            Ok(reader) => {
                (self.taken)(metadata_of(reader.meta()));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the newest snapshot cannot be offered to peers");
                false
            }
        }
    }

    /// Removes the snapshots that are too many; then WalWriter lets go of what none of the rest needs.
    fn let_go(&self, mark: SnapshotMark) {
        let keep = if self.keep == 0 { usize::MAX } else { self.keep };
        // The snapshot is there even if an old one could not be removed: WalWriter must hear of it, or
        // no other would ever be considered. It lets go of nothing that the old ones need.
        let release = match self.dir.retain(keep) {
            Ok(oldest) => oldest.map_or(mark.index, |name| name.index.min(mark.index)),
            Err(error) => {
                tracing::warn!(%error, "old snapshots were not removed; tried again with the next");
                Index(0)
            }
        };
        // Fails only when the member is stopping: then the next start finds the snapshot by itself.
        _ = self.wal_writer.send(Control::Snapshotted { mark, release });
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the host measures the disk; the role sees no clock"
    )]
    fn take(&self, last: &mut Index) -> Result<Index, SnapshotError> {
        let state = self.published.state.load_full();
        if state.applied_index == *last {
            return Ok(*last); // nothing has happened since
        }
        let started = Instant::now();
        let identity = &self.published.identity;
        let meta = state_file::meta_of(&state, identity.cluster_id, identity.member_id);
        let bytes = state_file::save(&self.disk, self.dir.path(), &meta, &state)?;
        *last = meta.index;
        let took = started.elapsed();
        self.metrics.observe_snapshot(took, bytes);
        tracing::info!(index = %meta.index, revision = %meta.revision, bytes, ?took, "saved snapshot");
        self.let_go(SnapshotMark { index: meta.index, term: meta.term, installed: false });
        (self.taken)(metadata_of(&meta));
        Ok(meta.index)
    }
}

/// What the `raft` crate wants to know of a snapshot.
pub fn metadata_of(meta: &SnapshotMeta) -> SnapshotMetadata {
    let ids = |members: &[MemberId]| members.iter().map(|id| id.0).collect::<Vec<_>>();
    let conf_state = &meta.conf_state;
    let (index, term) = (meta.index.0, meta.term.0);
    let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(ConfState {
        voters: ids(&conf_state.voters),
        learners: ids(&conf_state.learners),
        voters_outgoing: ids(&conf_state.voters_outgoing),
        learners_next: ids(&conf_state.learners_next),
        auto_leave: conf_state.auto_leave,
        ..ConfState::default()
    });
    metadata
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        actors::mailbox::bell,
        published::Identity,
        storage::{
            mvcc::State,
            sim_disk::{Fault, SimDisk},
        },
        types::{ClusterId, MemberId, Term},
    };

    /// A fault must never leave a snapshot that WalWriter does not hear of: none would follow it.
    #[test]
    fn whatever_fails_a_snapshot_that_counts_is_told() {
        let mut failed = 0;
        for step in 1..40 {
            let sim = SimDisk::new();
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            disk.create_dir(Path::new("/snap")).unwrap();
            let identity =
                Identity { cluster_id: ClusterId(1), member_id: MemberId(1), name: String::new() };
            let (wal_writer, told) = bell::channel(&Arc::default(), 16);
            let snapshotter = Snapshotter {
                dir: SnapshotDir::new(Arc::clone(&disk), Path::new("/snap")),
                disk,
                keep: 1,
                policy: Policy { ratio_percent: 0, bytes_min: 0, entries: 0 },
                published: Published::new(identity, State::new(Vec::new())),
                wal: Arc::new(WalFigures::default()),
                wal_writer,
                taken: Box::new(|_| {}),
                metrics: Metrics::new(),
            };
            let mut last = Index(0);
            for index in 1..=3 {
                let mut applied = State::new(Vec::new());
                for at in 1..=index {
                    applied.apply(Index(at), Term(1), None);
                }
                snapshotter.published.state.store(Arc::new(applied));
                if index == 2 {
                    sim.fail_at(sim.steps() + step, Fault::Eio);
                }
                let before = last;
                failed += usize::from(snapshotter.take(&mut last).is_err());
                sim.heal();
                assert_eq!(last != before, told.try_recv().is_ok(), "{index}, fault at {step}");
            }
        }
        assert!(failed > 0, "no fault was met");
    }
}
