//! Taking in a snapshot that a peer sends: which bytes are here already, which may come next, and when
//! the file is whole. Works on any [`Disk`](crate::storage::disk::Disk); time is told with each call, and
//! the thread around it is [`super::receiver`].
//!
//! What always holds: RaftNode hears of a snapshot only after its file has its name, durably, and was read
//! from its first byte to its last. Before that the folder has a temporary file that a start removes.

use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Message};

use super::host::metadata_of;
use crate::{
    actors::raft_node::conf_change::conf_state,
    storage::{
        disk::DiskError,
        mvcc::State,
        snapshot::{SnapshotDir, SnapshotError, SnapshotMeta, SnapshotName, SnapshotReceiver},
        state_file::{self, StateFileError},
    },
    types::{ClusterId, Index, Term},
};

/// A transfer of which nothing was heard for so long gives its room back.
pub const ABANDONED: Duration = Duration::from_secs(300);

/// Which file is being sent. The files of two members differ in who took them, though they hold the same:
/// a transfer that broke goes on only with the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The snapshot.
    pub name: SnapshotName,
    /// The file's length.
    pub len: u64,
    /// CRC-32C of the file's first bytes, which say who took it.
    pub head_crc: u32,
}

/// How much of a file is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What it holds is applied here: nothing is to be sent.
    Have,
    /// Its first bytes, so many.
    Bytes(u64),
}

/// One body of one transfer: a later one takes the transfer over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session(u64);

/// Why something was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A newer snapshot is under way.
    #[error("a newer snapshot is being received")]
    Busy,
    /// This body's transfer was taken over by another one, or given up.
    #[error("the transfer was taken over or given up")]
    Superseded,
    /// Not the bytes that come next.
    #[error("bytes from {found} on were sent, those from {expected} on come next")]
    Offset {
        /// What is here.
        expected: u64,
        /// What was sent.
        found: u64,
    },
    /// All came, and it is not what it should be; nothing of it is kept.
    #[error("{0}")]
    Wrong(String),
    /// The disk failed; nothing is kept.
    #[error(transparent)]
    Disk(DiskError),
    /// Too many ask at once.
    #[error("the receiver of snapshots is busy")]
    Full,
    /// The member is stopping.
    #[error("the member is stopping")]
    Stopping,
}

impl From<SnapshotError> for Refused {
    fn from(error: SnapshotError) -> Refused {
        match error {
            SnapshotError::Disk(error) => Refused::Disk(error),
            damaged @ SnapshotError::Damaged { .. } => Refused::Wrong(damaged.to_string()),
        }
    }
}

impl From<StateFileError> for Refused {
    fn from(error: StateFileError) -> Refused {
        match error {
            StateFileError::Snapshot(error) => error.into(),
            error => Refused::Wrong(error.to_string()),
        }
    }
}

/// What is under way.
struct Partial {
    transfer: Transfer,
    session: Session,
    heard: Duration,
    file: File,
}

enum File {
    /// Being written.
    Growing(SnapshotReceiver),
    /// There under its name: it came before, and RaftNode had no use for it then.
    Whole,
}

impl Partial {
    fn bytes(&self) -> u64 {
        match &self.file {
            File::Growing(receiver) => receiver.len(),
            File::Whole => self.transfer.len,
        }
    }
}

/// See the head of the module.
pub struct Reception {
    dir: SnapshotDir,
    cluster: ClusterId,
    sessions: u64,
    partial: Option<Partial>,
}

impl Reception {
    /// For a member of `cluster` whose snapshots are in `dir`.
    pub fn new(dir: SnapshotDir, cluster: ClusterId) -> Reception {
        Reception { dir, cluster, sessions: 0, partial: None }
    }

    /// How much of a file is here, when everything up to `applied` is applied.
    pub fn progress(&self, transfer: Transfer, applied: Index) -> Result<Progress, Refused> {
        if transfer.name.index <= applied {
            return Ok(Progress::Have);
        }
        if self.dir.has(transfer.name).map_err(Refused::Disk)? {
            return Ok(Progress::Bytes(transfer.len));
        }
        let same = self.partial.as_ref().filter(|partial| partial.transfer == transfer);
        Ok(Progress::Bytes(same.map_or(0, Partial::bytes)))
    }

    /// A body begins whose first bytes are those from `offset` on. What was under way before ends: the
    /// same transfer goes on here, an older snapshot is given up.
    pub fn begin(
        &mut self,
        transfer: Transfer,
        offset: u64,
        applied: Index,
        now: Duration,
    ) -> Result<Option<Session>, Refused> {
        if self.partial.as_ref().is_some_and(|under_way| {
            under_way.transfer.name > transfer.name && under_way.transfer.name.index > applied
        }) {
            return Err(Refused::Busy);
        }
        let Progress::Bytes(expected) = self.progress(transfer, applied)? else {
            self.partial = None;
            return Ok(None);
        };
        if offset != expected {
            return Err(Refused::Offset { expected, found: offset });
        }
        let before = self.partial.take().filter(|partial| partial.transfer == transfer);
        let file = match before {
            _ if self.dir.has(transfer.name).map_err(Refused::Disk)? => File::Whole,
            Some(Partial { file: file @ File::Growing(_), .. }) => file,
            // Removes the temporary file of the same name, should a transfer of another file have been
            // under way: it was dropped above.
            _ => File::Growing(SnapshotReceiver::create(&self.dir, transfer.name)?),
        };
        self.sessions += 1;
        let session = Session(self.sessions);
        self.partial = Some(Partial { transfer, session, heard: now, file });
        Ok(Some(session))
    }

    /// The next piece of the file.
    pub fn chunk(
        &mut self,
        session: Session,
        offset: u64,
        bytes: &Bytes,
        now: Duration,
    ) -> Result<(), Refused> {
        let partial = self.of(session)?;
        partial.heard = now;
        let expected = partial.bytes();
        if offset != expected {
            return Err(Refused::Offset { expected, found: offset });
        }
        let File::Growing(receiver) = &mut partial.file else {
            return Err(Refused::Offset { expected, found: offset });
        };
        if expected + bytes.len() as u64 > partial.transfer.len {
            self.partial = None;
            return Err(Refused::Wrong("more bytes than the file has".to_owned()));
        }
        let written = receiver.write(bytes);
        if written.is_err() {
            self.partial = None; // who knows what is in it
        }
        Ok(written?)
    }

    /// All bytes came, and this message with them, whose form was checked. Makes the file durable and
    /// answers the state in it; none: it is applied here already.
    pub fn end(
        &mut self,
        session: Session,
        message: &Message,
        applied: Index,
    ) -> Result<Option<State>, Refused> {
        let partial = self.of(session)?;
        let (expected, found) = (partial.bytes(), partial.transfer.len);
        if expected != found {
            return Err(Refused::Offset { expected, found });
        }
        let Some(Partial { transfer, file, .. }) = self.partial.take() else {
            return Err(Refused::Superseded);
        };
        if transfer.name.index <= applied {
            return Ok(None);
        }
        let state = match file {
            File::Growing(mut receiver) => {
                let mut reader = receiver.reader()?;
                self.check_meta(reader.meta(), message)?;
                let state = state_file::load(&mut reader, |_, _| {})?;
                check_state(&state, message)?;
                receiver.commit()?;
                state
            }
            File::Whole => self.load_again(transfer.name, message)?,
        };
        Ok(Some(state))
    }

    /// Loads a file that came before. It was good then; if it is not now it is set aside, and the next
    /// attempt sends it anew.
    fn load_again(&self, name: SnapshotName, message: &Message) -> Result<State, Refused> {
        let load = || {
            let mut reader = self.dir.open(name)?;
            self.check_meta(reader.meta(), message)?;
            let state = state_file::load(&mut reader, |_, _| {})?;
            check_state(&state, message)?;
            Ok(state)
        };
        let loaded = load();
        if let Err(Refused::Wrong(_)) = loaded {
            self.dir.set_aside(name).map_err(Refused::Disk)?;
        }
        loaded
    }

    /// Gives up a transfer of which nothing was heard for long.
    pub fn forget_abandoned(&mut self, now: Duration) {
        let abandoned = |partial: &mut Partial| now.saturating_sub(partial.heard) >= ABANDONED;
        if self.partial.take_if(abandoned).is_some() {
            tracing::info!("a snapshot that a peer began to send was given up");
        }
    }

    fn of(&mut self, session: Session) -> Result<&mut Partial, Refused> {
        let partial = self.partial.as_mut().filter(|partial| partial.session == session);
        partial.ok_or(Refused::Superseded)
    }

    /// What the file says of itself must be what the message says of it.
    fn check_meta(&self, meta: &SnapshotMeta, message: &Message) -> Result<(), Refused> {
        if meta.cluster_id != self.cluster {
            return Err(Refused::Wrong(format!("a snapshot of cluster {:x}", meta.cluster_id)));
        }
        let (said, found) = (message.get_snapshot().get_metadata(), metadata_of(meta));
        if (said.index, said.term) != (found.index, found.term)
            || !are_same_members(said.get_conf_state(), found.get_conf_state())
        {
            return Err(Refused::Wrong("the message speaks of another snapshot".to_owned()));
        }
        Ok(())
    }
}

fn check_state(state: &State, message: &Message) -> Result<(), Refused> {
    let metadata = message.get_snapshot().get_metadata();
    let at = (state.applied_index, state.applied_term);
    let members = conf_state(state.membership());
    if at == (Index(metadata.index), Term(metadata.term))
        && are_same_members(metadata.get_conf_state(), &members)
    {
        return Ok(());
    }
    Err(Refused::Wrong("the state is not that of the snapshot's head".to_owned()))
}

/// Whether the same members vote and listen, in whatever order they are named.
fn are_same_members(a: &ConfState, b: &ConfState) -> bool {
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    let lists = |state: &ConfState| {
        [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next]
            .map(|ids| sorted(ids))
    };
    a.auto_leave == b.auto_leave && lists(a) == lists(b)
}

#[cfg(test)]
#[path = "receive_tests.rs"]
mod tests;
