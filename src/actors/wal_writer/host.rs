//! The thread that hosts the WAL writer: waits for batches, hands them to the role in groups, reports.
//! The one place that waits for the disk.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, TryRecvError};

use super::{
    Append, Control, WalFigures,
    role::{Role, Written},
};
use crate::{
    actors::mailbox::bell::{self, Bell, RingingSender},
    metrics::Metrics,
    storage::wal::WalError,
};

/// After so much quiet, the newest batches are noted as synced.
const IDLE: Duration = Duration::from_secs(1);
/// How often a write is tried again while the disk is full.
const FULL_RETRY: Duration = Duration::from_millis(200);
/// Batches that are joined into one group, at most.
const GROUP: usize = 256;

/// Where the thread's messages come from.
pub struct Inbox {
    /// Batches, from RaftNode alone.
    pub append: Receiver<Append>,
    /// Everything else.
    pub control: Receiver<Control>,
    /// Rung by the senders of both.
    bell: Arc<Bell>,
}

/// What the thread reports to.
pub struct Outbox {
    /// Called after each group with the number of the last batch that is on disk.
    pub persisted: Box<dyn Fn(u64) + Send>,
    /// Called once, when the WAL has failed; the process is expected to end at once.
    pub failed: Box<dyn Fn(&WalError) + Send>,
    /// Shared figures.
    pub figures: Arc<WalFigures>,
    /// Histograms.
    pub metrics: Arc<Metrics>,
}

/// Starts the thread. It ends when told to stop, or when all senders are gone.
pub fn spawn(role: Role, inbox: Inbox, outbox: Outbox) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("wal-writer".to_owned()).spawn(move || {
        let mut thread = WalThread { role, inbox, outbox, quiet: false };
        if let Err(error) = thread.run() {
            (thread.outbox.failed)(&error);
        }
    })
}

/// The channels of a WAL writer whose mailbox has room for `capacity` batches.
pub fn channels(capacity: usize) -> (RingingSender<Append>, RingingSender<Control>, Inbox) {
    const CONTROL_CAPACITY: usize = 16; // Snapshotter, now and then
    let bell = Arc::new(Bell::default());
    let (append_sender, append) = bell::channel(&bell, capacity);
    let (control_sender, control) = bell::channel(&bell, CONTROL_CAPACITY);
    (append_sender, control_sender, Inbox { append, control, bell })
}

struct WalThread {
    role: Role,
    inbox: Inbox,
    outbox: Outbox,
    quiet: bool,
}

impl WalThread {
    fn run(&mut self) -> Result<(), WalError> {
        self.publish();
        loop {
            match self.inbox.append.try_recv() {
                Ok(first) => self.group(first)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return self.stop(),
            }
            match self.inbox.control.try_recv() {
                Ok(Control::Snapshotted { mark, release }) => {
                    self.role.snapshotted(mark, release)?;
                    self.quiet = false;
                    self.publish();
                }
                Err(TryRecvError::Empty) => {}
                Ok(Control::Stop) | Err(TryRecvError::Disconnected) => return self.stop(),
            }
            if self.sleep() {
                continue;
            }
            if self.role.is_waiting() {
                self.write()?;
            } else if !self.quiet {
                self.role.idle()?;
                self.quiet = true;
                self.publish();
            }
        }
    }

    /// Sleeps until there is something to do, and tells whether that is a message: there was none in all
    /// the time otherwise.
    #[allow(clippy::disallowed_methods, reason = "the host keeps the time; the role sees no clock")]
    fn sleep(&self) -> bool {
        let Inbox { append, control, bell } = &self.inbox;
        let is_idle = || append.is_empty() && control.is_empty();
        let timeout = if self.role.is_waiting() { FULL_RETRY } else { IDLE };
        if !is_idle() {
            return true;
        }
        let started = Instant::now();
        while let Some(rest) = timeout.checked_sub(started.elapsed()) {
            bell.wait(rest, is_idle);
            if !is_idle() {
                return true;
            }
        }
        false
    }

    /// Writes `first` and all that waits behind it.
    fn group(&mut self, first: Append) -> Result<(), WalError> {
        let waiting = self.inbox.append.try_iter().take(GROUP - 1);
        for append in std::iter::once(first).chain(waiting) {
            self.role.add(append);
        }
        self.write()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the host measures the disk; the role sees no clock"
    )]
    fn write(&mut self) -> Result<(), WalError> {
        self.quiet = false;
        let started = Instant::now();
        let Written { persisted, entries, synced, no_space } = self.role.write()?;
        let took = started.elapsed();
        self.outbox.metrics.observe_wal_group(took, entries, synced);
        if took > Duration::from_secs(1) {
            tracing::warn!(?took, entries, "slow fdatasync");
        }
        let full_before = self.outbox.figures.no_space.swap(no_space, Ordering::AcqRel);
        if no_space != full_before {
            if no_space {
                tracing::error!("no space left for the WAL: writes are refused until there is");
            } else {
                tracing::warn!("there is space for the WAL again: writes are accepted");
            }
        }
        self.publish();
        if let Some(number) = persisted {
            self.outbox.figures.persisted.store(number, Ordering::Release);
            (self.outbox.persisted)(number);
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), WalError> {
        while let Ok(append) = self.inbox.append.try_recv() {
            self.group(append)?;
        }
        self.role.idle()
    }

    fn publish(&self) {
        let (figures, stats) = (&self.outbox.figures, self.role.wal().stats());
        let since = self.role.bytes_since_snapshot();
        figures.bytes_since_snapshot.store(since, Ordering::Release);
        figures.snapshot_index.store(self.role.snapshot().0, Ordering::Release);
        let before = figures.bytes_appended.swap(stats.bytes_appended, Ordering::Relaxed);
        self.outbox.metrics.wal_write_bytes.inc_by(stats.bytes_appended - before);
        figures.syncs.store(stats.syncs, Ordering::Relaxed);
        figures.segments.store(stats.segments, Ordering::Relaxed);
        figures.segment_bytes.store(stats.segment_bytes, Ordering::Relaxed);
    }
}
