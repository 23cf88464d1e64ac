//! A simulated disk: in memory, with everything that can go wrong on a real one, at a chosen step.
//!
//! It keeps apart what is durable and what is only written: each file has a durable image and the
//! ordered operations since its last sync, each directory its entries and the operations since its
//! last sync. [`SimDisk::crash`] decides what of the rest survives, at sectors of 512 bytes. It is
//! deterministic: randomness is a seed given by the caller. Part of the program, not of the tests,
//! because the simulation of a cluster runs members on it.
//!
//! Every change (create, rename, remove, write, allocate, set length, sync…) is a step, counted from
//! 0; [`SimDisk::stop_at`] makes the disk die at one, [`SimDisk::fail_at`] makes one fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod crash;

pub use crash::Crash;
use crash::{EntryChange, FileChange, write};

use super::disk::{DIR_MODE, Disk, DiskError, DiskFile, DiskLock, LockError, Operation};

/// What an operation does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails. A sync drops what it should have made durable, as kernels do: it can still be read,
    /// no later sync writes it, and a power cut loses it.
    Eio,
    /// It fails because the disk is full.
    NoSpace,
    /// A write writes so many bytes, then fails.
    ShortWrite(usize),
}

/// The simulated disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, SimFileData>,
    /// What has which path now.
    entries: BTreeMap<PathBuf, Node>,
    /// What has which path after a power cut.
    durable: BTreeMap<PathBuf, Node>,
    /// Changes of `entries` since the last sync of the directory.
    pending: Vec<(u64, EntryChange)>,
    locks: BTreeSet<PathBuf>,
    next_file: u64,
    steps: u64,
    stop_at: Option<u64>,
    faults: BTreeMap<u64, Fault>,
    /// Nothing can be made or grow; what has its space can be written.
    full: bool,
    /// Crashes so far; files opened before the last one are dead.
    life: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(u64),
}

#[derive(Clone, Default)]
struct SimFileData {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(u64, FileChange)>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A second disk with the same contents, to try another future on.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Makes this step, and whatever follows, fail without doing anything, until [`SimDisk::crash`].
    pub fn stop_at(&self, step: u64) {
        self.state().stop_at = Some(step);
    }

    /// Makes this step fail, once.
    pub fn fail_at(&self, step: u64, fault: Fault) {
        self.state().faults.insert(step, fault);
    }

    /// Fills the disk, or makes room again. On a full one nothing can be made and no file can grow.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// Makes the faults that were planned and did not happen go away.
    pub fn heal(&self) {
        let mut state = self.state();
        state.full = false;
        state.faults.clear();
        state.stop_at = None;
    }

    /// A file's bytes as they can be read now.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.entries.get(path)?.file()?;
        Some(state.files.get(&id)?.current.clone())
    }

    /// Changes a file's bytes at rest: rot, a stale or a misdirected sector.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut [u8])) {
        let mut state = self.state();
        let id = state.entries.get(path).and_then(|node| node.file());
        let file = id.and_then(|id| state.files.get_mut(&id));
        let file = file.expect("the caller damages a file that is there");
        assert!(file.pending.is_empty(), "only what is at rest can rot");
        change(&mut file.durable);
        file.current.clone_from(&file.durable);
    }

    /// Puts a durable file in place, with its directories.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let state = &mut *state;
        let id = state.next_file;
        state.next_file += 1;
        let file = SimFileData { current: bytes.into(), durable: bytes.into(), pending: vec![] };
        state.files.insert(id, file);
        let dirs = path.ancestors().skip(1).map(|dir| (dir.to_owned(), Node::Dir));
        for (path, node) in dirs.chain([(path.to_owned(), Node::File(id))]) {
            state.entries.insert(path.clone(), node);
            state.durable.insert(path, node);
        }
    }
}

impl Node {
    fn file(self) -> Option<u64> {
        match self {
            Node::Dir => None,
            Node::File(id) => Some(id),
        }
    }
}

fn eio() -> io::Error {
    io::Error::other("simulated input/output error")
}

impl State {
    /// Counts a step; fails it if that was planned.
    fn step(&mut self) -> Result<(u64, Option<Fault>), io::Error> {
        let step = self.steps;
        if self.stop_at.is_some_and(|stop| step >= stop) {
            return Err(io::Error::other("simulated crash"));
        }
        self.steps += 1;
        match self.faults.remove(&step) {
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            fault => Ok((step, fault)),
        }
    }

    /// Counts a step that either works or fails.
    fn plain_step(&mut self) -> Result<u64, io::Error> {
        let (step, fault) = self.step()?;
        if fault.is_some() { Err(eio()) } else { Ok(step) }
    }

    fn check_room(&self, needs_room: bool) -> Result<(), io::Error> {
        if self.full && needs_room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn change_entries(&mut self, change: EntryChange) -> Result<(), io::Error> {
        self.check_room(change.removed.is_none())?;
        let step = self.plain_step()?;
        change.apply(&mut self.entries);
        self.pending.push((step, change));
        Ok(())
    }

    fn node(&self, path: &Path) -> Result<Node, io::Error> {
        self.entries.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    id: u64,
    life: u64,
    writable: bool,
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

impl SimDisk {
    fn open_as(&self, path: &Path, writable: bool) -> Result<Box<dyn DiskFile>, DiskError> {
        let state = self.state();
        let id = state.node(path).and_then(|node| {
            node.file().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))
        });
        let id = id.map_err(|e| DiskError::new(Operation::Open, path, e))?;
        let (disk, path, life) = (self.clone(), path.to_owned(), state.life);
        Ok(Box::new(SimFile { disk, path, id, life, writable }))
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.state();
        let mut missing: Vec<_> =
            path.ancestors().take_while(|dir| !state.entries.contains_key(*dir)).collect();
        while let Some(dir) = missing.pop() {
            if dir.parent().is_none() || dir.as_os_str().is_empty() {
                state.entries.insert(dir.to_owned(), Node::Dir); // the root is always there
                state.durable.insert(dir.to_owned(), Node::Dir);
                continue;
            }
            let change = EntryChange { removed: None, added: Some((dir.to_owned(), Node::Dir)) };
            state
                .change_entries(change)
                .map_err(|e| DiskError::new(Operation::CreateDir, path, e))?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, DiskError> {
        let state = self.state();
        state.node(path).map_err(|e| DiskError::new(Operation::List, path, e))?;
        let names = state.entries.keys().filter(|entry| entry.parent() == Some(path));
        let names = names.filter_map(|entry| entry.file_name());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        Ok(self.state().entries.contains_key(path))
    }

    fn mode(&self, path: &Path) -> Result<u32, DiskError> {
        let node = self.state().node(path);
        node.map(|_| DIR_MODE).map_err(|e| DiskError::new(Operation::Inspect, path, e))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        let failed = |e| DiskError::new(Operation::Create, path, e);
        let mut state = self.state();
        if state.entries.contains_key(path) {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        state.node(path.parent().unwrap_or(path)).map_err(failed)?;
        let id = state.next_file;
        let change = EntryChange { removed: None, added: Some((path.to_owned(), Node::File(id))) };
        state.change_entries(change).map_err(failed)?;
        state.next_file += 1;
        state.files.insert(id, SimFileData::default());
        drop(state);
        self.open_as(path, true)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.open_as(path, true)
    }

    fn open_read_only(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.open_as(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut state = self.state();
        let result = state.node(from).and_then(|node| {
            let removed = Some(from.to_owned());
            state.change_entries(EntryChange { removed, added: Some((to.to_owned(), node)) })
        });
        result.map_err(|e| DiskError::new(Operation::Rename, from, e))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.state();
        let result = state.node(path).and_then(|_| {
            state.change_entries(EntryChange { removed: Some(path.to_owned()), added: None })
        });
        result.map_err(|e| DiskError::new(Operation::Remove, path, e))
    }

    fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.state();
        let state = &mut *state;
        state.plain_step().map_err(|e| DiskError::new(Operation::SyncDir, path, e))?;
        let (synced, rest) =
            std::mem::take(&mut state.pending).into_iter().partition(|(_, c)| c.is_in(path));
        state.pending = rest;
        let synced: Vec<(u64, EntryChange)> = synced;
        for (_, change) in &synced {
            change.apply(&mut state.durable);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockError> {
        if !self.exists(path)? {
            self.create(path)?;
        }
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(LockError::Held { path: path.to_owned(), holder: None });
        }
        let life = state.life;
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned(), life }))
    }
}

impl SimFile {
    /// Runs `work` on the file, as one step. The file is to be at least `len` bytes long after it.
    fn change(
        &self,
        operation: Operation,
        len: u64,
        work: impl FnOnce(&mut SimFileData, u64, Option<Fault>) -> Result<(), io::Error>,
    ) -> Result<(), DiskError> {
        let mut state = self.disk.state();
        let state = &mut *state;
        let result = if state.life == self.life && self.writable {
            let grows = state.files.get(&self.id).is_some_and(|f| (f.current.len() as u64) < len);
            state.check_room(grows).and_then(|()| state.step()).and_then(|(step, fault)| {
                let file = state.files.get_mut(&self.id).ok_or_else(eio)?;
                work(file, step, fault)
            })
        } else {
            Err(io::Error::other("the file was opened before a crash, or for reading"))
        };
        result.map_err(|e| DiskError::new(operation, &self.path, e))
    }

    fn set_len_as(&self, operation: Operation, shrink: bool, len: u64) -> Result<(), DiskError> {
        self.change(operation, len, |file, step, fault| {
            if fault.is_some() {
                return Err(eio());
            }
            if shrink || (file.current.len() as u64) < len {
                file.current.resize(len as usize, 0);
                file.pending.push((step, FileChange::Len(len)));
            }
            Ok(())
        })
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let state = self.disk.state();
        let file = state.files.get(&self.id).filter(|_| state.life == self.life);
        let file = file.ok_or_else(|| DiskError::new(Operation::Read, &self.path, eio()))?;
        let rest = file.current.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let len = offset + bytes.len() as u64;
        self.change(Operation::Write, len, |file, step, fault| {
            let kept = match fault {
                None => bytes,
                Some(Fault::ShortWrite(len)) => &bytes[..len.min(bytes.len())],
                Some(Fault::Eio | Fault::NoSpace) => &[],
            };
            write(&mut file.current, offset as usize, kept);
            file.pending.push((step, FileChange::Write(offset, kept.to_vec())));
            if fault.is_some() { Err(eio()) } else { Ok(()) }
        })
    }

    fn len(&self) -> Result<u64, DiskError> {
        let state = self.disk.state();
        let file = state.files.get(&self.id).filter(|_| state.life == self.life);
        let file = file.ok_or_else(|| DiskError::new(Operation::Inspect, &self.path, eio()))?;
        Ok(file.current.len() as u64)
    }

    fn allocate(&mut self, len: u64) -> Result<(), DiskError> {
        self.set_len_as(Operation::Allocate, false, len)
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.set_len_as(Operation::SetLen, true, len)
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.change(Operation::Sync, 0, |file, _, fault| {
            let pending = std::mem::take(&mut file.pending);
            if fault.is_some() {
                return Err(eio()); // dropped: readable, and never written by a later sync
            }
            for (_, change) in &pending {
                change.apply(&mut file.durable);
            }
            Ok(())
        })
    }
}
