//! The disk as the rest of storage sees it, and the real one.
//!
//! [`RealDisk`] is the only code in the program that opens files: everything else takes a
//! `dyn Disk`, so that [`super::sim_disk::SimDisk`] can take its place and fail at any step.
//! An operation either did all that it says or returns a [`DiskError`] that names the operation and
//! the path. Nothing here retries: a failed sync in particular is final, because the kernel may have
//! dropped the pages. Depends on std and rustix.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

/// Mode of every directory that is created: the data is for its owner alone.
pub const DIR_MODE: u32 = 0o700;
/// Mode of every file that is created.
pub const FILE_MODE: u32 = 0o600;

/// What failed, on which path, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", .path.display())]
pub struct DiskError {
    /// What was attempted.
    pub operation: Operation,
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// An operation of a [`Disk`] or [`DiskFile`], as it is named in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of the same name")]
pub enum Operation {
    CreateDir,
    List,
    Create,
    Open,
    Rename,
    Remove,
    SyncDir,
    Lock,
    Inspect,
    Read,
    Write,
    Allocate,
    SetLen,
    Sync,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::CreateDir => "create directory",
            Operation::List => "list directory",
            Operation::Create => "create",
            Operation::Open => "open",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SyncDir => "sync directory",
            Operation::Lock => "lock",
            Operation::Inspect => "inspect",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Allocate => "allocate space for",
            Operation::SetLen => "set the length of",
            Operation::Sync => "sync",
        })
    }
}

impl DiskError {
    /// Wraps `source` with what was attempted and where.
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> DiskError {
        DiskError { operation, path: path.to_owned(), source }
    }

    /// Whether the disk is full or the quota used up: what is on it is intact, more does not fit.
    pub fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded)
    }

    /// Whether the path does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process (or another opener in this one) has it.
    #[error("{} is locked by {}", .path.display(), holder_text(*.holder))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote its number into the lock file.
        holder: Option<u32>,
    },
    /// The lock file cannot be opened or locked at all.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Directories and files by path.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory of mode 0700, and its parents; it may exist. The entries are durable only
    /// after [`Disk::sync_dir`] on each parent.
    fn create_dir(&self, path: &Path) -> Result<(), DiskError>;
    /// The names in a directory, sorted; names that are not UTF-8 are shown with U+FFFD.
    fn list(&self, path: &Path) -> Result<Vec<String>, DiskError>;
    /// Whether something has this path.
    fn exists(&self, path: &Path) -> Result<bool, DiskError>;
    /// The permission bits of a file or directory.
    fn mode(&self, path: &Path) -> Result<u32, DiskError>;
    /// Creates a file of mode 0600 for reading and writing; it must not exist.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;
    /// Opens an existing file for reading.
    fn open_read_only(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;
    /// Renames a file, replacing what has the new name. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> Result<(), DiskError>;
    /// Makes a directory's entries durable.
    fn sync_dir(&self, path: &Path) -> Result<(), DiskError>;
    /// Takes an exclusive lock on a file, which is created if need be. Held until the answer is
    /// dropped or the process ends, however it ends.
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockError>;
}

/// An open file. Offsets are absolute; there is no cursor.
pub trait DiskFile: Send {
    /// Reads at most `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError>;
    /// Writes all of `bytes`. Durable after [`DiskFile::sync_data`].
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), DiskError>;
    /// The file's length.
    fn len(&self) -> Result<u64, DiskError>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }
    /// Reserves space so that the file has at least `len` bytes; new ones read as zero.
    fn allocate(&mut self, len: u64) -> Result<(), DiskError>;
    /// Cuts or extends the file to exactly `len` bytes; new ones read as zero.
    fn set_len(&mut self, len: u64) -> Result<(), DiskError>;
    /// Makes everything written, and the length, durable. Never try again after an error.
    fn sync_data(&mut self) -> Result<(), DiskError>;
}

/// A lock that is held; dropping it gives it back.
pub trait DiskLock: Send {}

/// The operating system's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile {
    file: File,
    path: PathBuf,
}

struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

impl RealDisk {
    fn open_file(path: &Path, write: bool) -> Result<Box<dyn DiskFile>, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .open(path)
            .map_err(|e| DiskError::new(Operation::Open, path, e))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(path)
            .map_err(|e| DiskError::new(Operation::CreateDir, path, e))
    }

    fn list(&self, path: &Path) -> Result<Vec<String>, DiskError> {
        let failed = |e| DiskError::new(Operation::List, path, e);
        let mut names = fs::read_dir(path)
            .map_err(failed)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        path.try_exists().map_err(|e| DiskError::new(Operation::Inspect, path, e))
    }

    fn mode(&self, path: &Path) -> Result<u32, DiskError> {
        let metadata =
            fs::metadata(path).map_err(|e| DiskError::new(Operation::Inspect, path, e))?;
        Ok(metadata.permissions().mode() & 0o7777)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)
            .map_err(|e| DiskError::new(Operation::Create, path, e))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        RealDisk::open_file(path, true)
    }

    fn open_read_only(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        RealDisk::open_file(path, false)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|e| DiskError::new(Operation::Rename, from, e))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_file(path).map_err(|e| DiskError::new(Operation::Remove, path, e))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the file that opens files")]
    fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|e| DiskError::new(Operation::SyncDir, path, e))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockError> {
        let failed = |e| DiskError::new(Operation::Lock, path, e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false) // it holds the holder's number until the lock is ours
            .mode(FILE_MODE)
            .open(path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = [0; 16];
                let len = file.read_at(&mut text, 0).unwrap_or(0);
                let holder = std::str::from_utf8(&text[..len]).ok();
                let holder = holder.and_then(|pid| pid.trim().parse().ok());
                return Err(LockError::Held { path: path.to_owned(), holder });
            }
            Err(errno) => return Err(failed(errno.into()).into()),
        }
        file.set_len(0).map_err(failed)?;
        file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0).map_err(failed)?;
        Ok(Box::new(RealLock { _file: file }))
    }
}

impl RealFile {
    fn failed(&self, operation: Operation) -> impl FnOnce(io::Error) -> DiskError {
        move |e| DiskError::new(operation, &self.path, e)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(Operation::Read)(e)),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(self.failed(Operation::Write))
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(self.failed(Operation::Inspect))?.len())
    }

    fn allocate(&mut self, len: u64) -> Result<(), DiskError> {
        use rustix::io::Errno;
        let result = match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            // A file system without preallocation: the length alone will do, a full disk then shows
            // at the write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.len()? < len => self.file.set_len(len),
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        };
        result.map_err(self.failed(Operation::Allocate))
    }

    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.file.set_len(len).map_err(self.failed(Operation::SetLen))
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(self.failed(Operation::Sync))
    }
}
