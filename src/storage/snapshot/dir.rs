//! The folder of snapshots: which there are, which is the newest good one, which may go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{SnapshotError, SnapshotMeta, SnapshotReader};
use crate::storage::disk::{Disk, DiskError, DiskFile};
use crate::types::{Index, Term};

const SUFFIX: &str = ".snap";
const TEMPORARY_SUFFIX: &str = ".snap.tmp";
const BROKEN_SUFFIX: &str = ".broken";

/// What a snapshot file's name says; a later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The index of the last entry in it.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
}

impl SnapshotName {
    /// Reads a file name; `None` if it is not a snapshot's.
    pub fn parse(name: &str) -> Option<SnapshotName> {
        let (term, index) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let parsed = SnapshotName {
            index: Index(u64::from_str_radix(index, 16).ok()?),
            term: Term(u64::from_str_radix(term, 16).ok()?),
        };
        (parsed.file_name() == name).then_some(parsed)
    }

    /// The file name.
    pub fn file_name(self) -> String {
        format!("{:016x}-{:016x}{SUFFIX}", self.term.0, self.index.0)
    }

    /// The file's path in the folder `dir`.
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.file_name())
    }

    pub(super) fn temporary(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:016x}-{:016x}{TEMPORARY_SUFFIX}", self.term.0, self.index.0))
    }

    /// Another name than that of a writer: a member may receive the snapshot that it just takes itself.
    pub(super) fn received(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:016x}-{:016x}.received{TEMPORARY_SUFFIX}", self.term.0, self.index.0))
    }
}

/// A snapshot that does not check.
#[derive(Debug)]
pub struct InvalidSnapshot {
    /// Which.
    pub name: SnapshotName,
    /// What is wrong with it.
    pub error: SnapshotError,
}

/// The newest good snapshot, and the newer ones that are not good.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest that checks from its first byte to its last; `None` if there is none.
    pub snapshot: Option<SnapshotMeta>,
    /// Those that are newer and do not check. [`SnapshotDir::set_aside`] renames them.
    pub invalid: Vec<InvalidSnapshot>,
}

/// The folder of snapshots.
#[derive(Clone)]
pub struct SnapshotDir {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl SnapshotDir {
    /// Opens the folder, which must exist. Changes nothing.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path) -> SnapshotDir {
        SnapshotDir { disk, dir: dir.to_owned() }
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// To be called once at a start: removes what interrupted writers left, and makes the names
    /// durable that are there (a process may have been killed between renaming and syncing).
    pub fn prepare(&self) -> Result<(), SnapshotError> {
        for name in self.disk.list(&self.dir)? {
            if name.ends_with(TEMPORARY_SUFFIX) {
                self.disk.remove(&self.dir.join(name))?;
            }
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(())
    }

    /// The snapshots that are there, newest first; none was checked.
    pub fn list(&self) -> Result<Vec<SnapshotName>, DiskError> {
        let names = self.disk.list(&self.dir)?;
        let mut names: Vec<_> = names.iter().filter_map(|name| SnapshotName::parse(name)).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// Finds the newest snapshot that checks. Changes nothing; an error of the disk is an error, not
    /// a reason to take an older one.
    pub fn newest_valid(&self) -> Result<Newest, DiskError> {
        let mut newest = Newest::default();
        for name in self.list()? {
            match SnapshotReader::verify(&*self.disk, &name.path(&self.dir)) {
                Ok((meta, _)) => {
                    newest.snapshot = Some(meta);
                    break;
                }
                Err(SnapshotError::Disk(error)) => return Err(error),
                Err(error) => newest.invalid.push(InvalidSnapshot { name, error }),
            }
        }
        Ok(newest)
    }

    /// Opens a snapshot.
    pub fn open(&self, name: SnapshotName) -> Result<SnapshotReader, SnapshotError> {
        SnapshotReader::open(&*self.disk, &name.path(&self.dir))
    }

    /// Whether there is such a snapshot; it was not checked.
    pub fn has(&self, name: SnapshotName) -> Result<bool, DiskError> {
        self.disk.exists(&name.path(&self.dir))
    }

    /// Opens a snapshot's file, to be sent as it is. An open file stays readable when
    /// [`SnapshotDir::retain`] removes its name.
    pub fn open_file(&self, name: SnapshotName) -> Result<Box<dyn DiskFile>, DiskError> {
        self.disk.open_read_only(&name.path(&self.dir))
    }

    /// Renames a snapshot that does not check, so that it is out of the way and can be looked at.
    pub fn set_aside(&self, name: SnapshotName) -> Result<PathBuf, DiskError> {
        let path = name.path(&self.dir);
        let aside = self.dir.join(format!("{}{BROKEN_SUFFIX}", name.file_name()));
        self.disk.rename(&path, &aside)?;
        self.disk.sync_dir(&self.dir)?;
        Ok(aside)
    }

    /// Removes the oldest snapshots until `keep` are left, which is at least one. Answers the oldest
    /// that is left: the WAL may be released up to it.
    pub fn retain(&self, keep: usize) -> Result<Option<SnapshotName>, DiskError> {
        let mut names = self.list()?;
        let keep = keep.max(1);
        if names.len() > keep {
            for name in names.drain(keep..) {
                self.disk.remove(&name.path(&self.dir))?;
            }
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(names.last().copied())
    }
}
