//! The data directory: who it belongs to, where things are in it, and one process at a time.
//!
//! ```text
//! <data-dir>/lock         locked while a process uses the directory; holds its number
//! <data-dir>/format       "callboard data directory, format 1"
//! <data-dir>/member/wal   the write-ahead log, unless it is elsewhere
//! <data-dir>/member/snap  the snapshots
//! <data-dir>/member/founded  empty; there since the log was first made
//! ```
//! Nothing is created in a directory that is not ours: one that etcd wrote, or a newer format, is
//! refused as it is. Depends on the disk alone.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{DIR_MODE, Disk, DiskError, DiskLock, LockError};

/// The version of the layout that this program writes.
pub const FORMAT: u32 = 1;
const FORMAT_TEXT: &str = "callboard data directory, format ";
const FORMAT_FILE: &str = "format";
const FORMAT_TEMPORARY: &str = "format.tmp";
const LOCK_FILE: &str = "lock";
const FOUNDED_FILE: &str = "founded";
/// Longer than any format file that was ever written.
const FORMAT_BYTES_MAX: usize = 256;

/// Why a data directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process uses it.
    #[error(
        "the data directory is in use: {0}; stop that process, or give this member a directory of \
         its own"
    )]
    Locked(LockError),
    /// etcd wrote it.
    #[error(
        "{} is a data directory of etcd, which cannot be read: start with an empty directory and \
         bring the data over with a client",
        .0.display()
    )]
    Etcd(PathBuf),
    /// It holds something, but no format file.
    #[error(
        "{} is not empty and has no `format` file, so it is not a data directory of callboard",
        .0.display()
    )]
    Foreign(PathBuf),
    /// A newer version wrote it.
    #[error("{} has format {found}; this version knows formats up to {FORMAT}", .path.display())]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The format file does not say a format.
    #[error("{} is damaged: it should say `{FORMAT_TEXT}{FORMAT}`", .0.display())]
    BadFormat(PathBuf),
    /// The directory does not exist.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
}

/// What is odd about a data directory, though it can be used. Shown to the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataDirWarning {
    /// Others may look into it.
    #[error("{} has mode {mode:04o}, wider than 0700: others may read the data", .path.display())]
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something is there that does not belong to it.
    #[error("{} does not belong to the data directory and is left alone", .0.display())]
    Unknown(PathBuf),
}

/// A data directory that this process has locked.
pub struct DataDir {
    root: PathBuf,
    wal: PathBuf,
    snap: PathBuf,
    warnings: Vec<DataDirWarning>,
    /// Held for as long as this lives.
    locks: Vec<Box<dyn DiskLock>>,
}

impl DataDir {
    /// Locks the data directory at `root`, and makes it if there is none. `wal_dir` is where the WAL
    /// is, if not inside.
    pub fn open(
        disk: &dyn Disk,
        root: &Path,
        wal_dir: Option<&Path>,
    ) -> Result<DataDir, DataDirError> {
        if disk.exists(root)? {
            refuse_foreign(disk, root)?;
        }
        ensure_dir(disk, root)?;
        let lock = disk.lock(&root.join(LOCK_FILE)).map_err(lock_error)?;
        let mut data_dir = DataDir::at(root, wal_dir, lock);
        match read_format(disk, root)? {
            Some(_) => {}
            None => write_format(disk, root)?,
        }
        for dir in [root.join("member"), data_dir.wal.clone(), data_dir.snap.clone()] {
            ensure_dir(disk, &dir)?;
        }
        if wal_dir.is_some() {
            let lock = disk.lock(&data_dir.wal.join(LOCK_FILE)).map_err(lock_error)?;
            data_dir.locks.push(lock);
        }
        data_dir.look_around(disk)?;
        Ok(data_dir)
    }

    /// Locks an existing data directory for looking at; changes nothing but the lock file.
    pub fn inspect(
        disk: &dyn Disk,
        root: &Path,
        wal_dir: Option<&Path>,
    ) -> Result<DataDir, DataDirError> {
        if !disk.exists(root)? {
            return Err(DataDirError::Missing(root.to_owned()));
        }
        refuse_foreign(disk, root)?;
        if read_format(disk, root)?.is_none() {
            return Err(DataDirError::Foreign(root.to_owned()));
        }
        let lock = disk.lock(&root.join(LOCK_FILE)).map_err(lock_error)?;
        let mut data_dir = DataDir::at(root, wal_dir, lock);
        data_dir.look_around(disk)?;
        Ok(data_dir)
    }

    fn at(root: &Path, wal_dir: Option<&Path>, lock: Box<dyn DiskLock>) -> DataDir {
        let member = root.join("member");
        DataDir {
            root: root.to_owned(),
            wal: wal_dir.map_or_else(|| member.join("wal"), Path::to_owned),
            snap: member.join("snap"),
            warnings: Vec::new(),
            locks: vec![lock],
        }
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the WAL is.
    pub fn wal(&self) -> &Path {
        &self.wal
    }

    /// Where the snapshots are.
    pub fn snap(&self) -> &Path {
        &self.snap
    }

    /// Whether a log was ever made for this directory, wherever it was.
    pub fn is_founded(&self, disk: &dyn Disk) -> Result<bool, DiskError> {
        disk.exists(&self.root.join("member").join(FOUNDED_FILE))
    }

    /// Notes, durably, that there is a log now: from here on its absence is a loss.
    pub fn note_founded(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        if self.is_founded(disk)? {
            return Ok(());
        }
        let member = self.root.join("member");
        disk.create(&member.join(FOUNDED_FILE))?.sync_data()?;
        disk.sync_dir(&member)
    }

    /// What the operator should know.
    pub fn warnings(&self) -> &[DataDirWarning] {
        &self.warnings
    }

    /// Collects the warnings.
    fn look_around(&mut self, disk: &dyn Disk) -> Result<(), DiskError> {
        let member = self.root.join("member");
        for path in [&self.root, &member, &self.wal, &self.snap] {
            if !disk.exists(path)? {
                continue;
            }
            let mode = disk.mode(path)?;
            if mode & !DIR_MODE != 0 {
                self.warnings.push(DataDirWarning::Permissions { path: path.clone(), mode });
            }
        }
        let known = ["member", "fixtures", FORMAT_FILE, FORMAT_TEMPORARY, LOCK_FILE, "lost+found"];
        self.warn_unknown(disk, &self.root.clone(), |name| known.contains(&name))?;
        self.warn_unknown(disk, &member, |name| ["wal", "snap", FOUNDED_FILE].contains(&name))?;
        self.warn_unknown(disk, &self.wal.clone(), |name| {
            has_extension(name, &["wal", "tmp"]) || [LOCK_FILE, "lost+found"].contains(&name)
        })?;
        self.warn_unknown(disk, &self.snap.clone(), |name| {
            has_extension(name, &["snap", "tmp", "broken"])
        })
    }

    fn warn_unknown(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        known: impl Fn(&str) -> bool,
    ) -> Result<(), DiskError> {
        if disk.exists(dir)? {
            let names = disk.list(dir)?;
            let unknown = names.iter().filter(|name| !known(name)).map(|name| dir.join(name));
            self.warnings.extend(unknown.map(DataDirWarning::Unknown));
        }
        Ok(())
    }
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| extensions.contains(&extension))
}

fn lock_error(error: LockError) -> DataDirError {
    match error {
        LockError::Disk(error) => DataDirError::Disk(error),
        LockError::Held { .. } => DataDirError::Locked(error),
    }
}

/// Refuses a directory that is in use by something else, before anything in it is touched.
fn refuse_foreign(disk: &dyn Disk, root: &Path) -> Result<(), DataDirError> {
    if disk.exists(&root.join(FORMAT_FILE))? {
        return match read_format(disk, root)? {
            Some(found) if found > FORMAT => {
                Err(DataDirError::Newer { path: root.to_owned(), found })
            }
            _ => Ok(()),
        };
    }
    if disk.exists(&root.join("member/snap/db"))? {
        return Err(DataDirError::Etcd(root.to_owned()));
    }
    // What a first start leaves that was interrupted, and what a mount brings along.
    let harmless = [LOCK_FILE, FORMAT_TEMPORARY, "lost+found"];
    if disk.list(root)?.iter().any(|name| !harmless.contains(&name.as_str())) {
        return Err(DataDirError::Foreign(root.to_owned()));
    }
    Ok(())
}

/// The format that the directory says it has.
fn read_format(disk: &dyn Disk, root: &Path) -> Result<Option<u32>, DataDirError> {
    let path = root.join(FORMAT_FILE);
    if !disk.exists(&path)? {
        return Ok(None);
    }
    let mut bytes = [0; FORMAT_BYTES_MAX];
    let len = disk.open_read_only(&path)?.read_at(&mut bytes, 0)?;
    let text = std::str::from_utf8(&bytes[..len]).ok();
    let number = text.and_then(|text| text.trim_end().strip_prefix(FORMAT_TEXT));
    number.and_then(|number| number.parse().ok()).map(Some).ok_or(DataDirError::BadFormat(path))
}

fn write_format(disk: &dyn Disk, root: &Path) -> Result<(), DataDirError> {
    let temporary = root.join(FORMAT_TEMPORARY);
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let mut file = disk.create(&temporary)?;
    file.write_at(format!("{FORMAT_TEXT}{FORMAT}\n").as_bytes(), 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &root.join(FORMAT_FILE))?;
    disk.sync_dir(root)?;
    Ok(())
}

/// Makes a directory, and its parents, level by level so that each is there after a crash before the
/// next is made. An earlier start may have been killed in between: the last level that is there is
/// synced too.
fn ensure_dir(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    let mut missing = Vec::new();
    for dir in path.ancestors().take_while(|dir| !dir.as_os_str().is_empty()) {
        if disk.exists(dir)? {
            match disk.sync_dir(parent_of(dir)) {
                // Somebody else's directory, in which this one was made for us.
                Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {}
                result => result?,
            }
            break;
        }
        missing.push(dir);
    }
    for dir in missing.into_iter().rev() {
        disk.create_dir(dir)?;
        disk.sync_dir(parent_of(dir))?;
    }
    Ok(())
}

fn parent_of(dir: &Path) -> &Path {
    match dir.parent() {
        None => dir, // the root
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    }
}
