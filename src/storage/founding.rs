//! The first files of a member: for a new one, and for one that is restored from a snapshot.
//!
//! A member's log begins with a snapshot, so that what the cluster was founded with is on disk and not
//! only in settings that may have changed by the next start. The snapshot comes first, then the log:
//! a crash between the two leaves a directory that is founded anew. Once the log is there, that is noted
//! beside the snapshots: a log elsewhere that is then missing was lost, or its disk is not mounted.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    data_dir::{DataDir, DataDirError},
    disk::{Disk, DiskError},
    mvcc::State,
    snapshot::{SnapshotDir, SnapshotError, SnapshotMeta, SnapshotReader},
    state_file::{self, StateFileError},
    wal::{Wal, WalError, WalMeta, WalOptions},
};

/// Why a member's first files were not made.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The snapshot cannot be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The snapshot to restore from is no good.
    #[error(transparent)]
    Source(#[from] StateFileError),
    /// The log cannot be made.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// There are snapshots of a member whose log is gone.
    #[error(
        "{} holds snapshots, but {} holds no log: what was written after the newest snapshot would be \
         lost; look whether wal-dir is right and mounted, or restore the snapshot with `callboard restore` \
         into an empty directory",
        .snapshots.display(), .wal.display()
    )]
    LogMissing {
        /// The snapshot folder.
        snapshots: PathBuf,
        /// Where the log should be.
        wal: PathBuf,
    },
    /// The directory to restore into is in use.
    #[error("{} holds a member's data already; restore into an empty directory", .0.display())]
    NotEmpty(PathBuf),
}

/// Makes the first files of a new member in an opened data directory that has no log.
pub fn found(
    disk: &Arc<dyn Disk>,
    data_dir: &DataDir,
    meta: WalMeta,
    state: &State,
    options: WalOptions,
) -> Result<(), FoundingError> {
    let snapshots = SnapshotDir::new(Arc::clone(disk), data_dir.snap());
    // A start that was cut short may have left the first snapshot.
    let newer = snapshots.list()?.iter().any(|name| name.index > state.applied_index);
    if newer || data_dir.is_founded(&**disk)? {
        return Err(FoundingError::LogMissing {
            snapshots: data_dir.snap().to_owned(),
            wal: data_dir.wal().to_owned(),
        });
    }
    let first = state_file::meta_of(state, meta.cluster_id, meta.member_id);
    state_file::save(disk, data_dir.snap(), &first, state)?;
    Wal::create(Arc::clone(disk), data_dir.wal(), meta, options)?;
    data_dir.note_founded(&**disk)?;
    Ok(())
}

/// Makes the files of a member that goes on from the snapshot file `source`, in a directory that holds
/// no member yet. Every byte of the snapshot is verified on the way.
pub fn restore(
    disk: &Arc<dyn Disk>,
    source: &Path,
    root: &Path,
    wal_dir: Option<&Path>,
) -> Result<SnapshotMeta, FoundingError> {
    let mut reader = SnapshotReader::open(&**disk, source)?;
    let meta = reader.meta().clone();
    let state = state_file::load(&mut reader, |_, _| {})?;
    let data_dir = DataDir::open(&**disk, root, wal_dir)?;
    let snapshots = SnapshotDir::new(Arc::clone(disk), data_dir.snap());
    if Wal::exists(&**disk, data_dir.wal())? || !snapshots.list()?.is_empty() {
        return Err(FoundingError::NotEmpty(root.to_owned()));
    }
    let wal_meta = WalMeta {
        cluster_id: meta.cluster_id,
        member_id: meta.member_id,
        voters: meta.conf_state.voters.clone(),
        learners: meta.conf_state.learners.clone(),
    };
    // The snapshot first: until the log is there too, the directory is one that does not start.
    state_file::save(disk, data_dir.snap(), &meta, &state)?;
    Wal::create(Arc::clone(disk), data_dir.wal(), wal_meta, WalOptions::default())?;
    data_dir.note_founded(&**disk)?;
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim_disk::SimDisk;

    #[test]
    fn a_log_that_is_missing_before_the_first_snapshot_is_missed() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let founded = |wal: &str| {
            let data_dir = DataDir::open(&*disk, Path::new("/data"), Some(Path::new(wal))).unwrap();
            let (meta, state) = (WalMeta::default(), State::new(Vec::new()));
            found(&disk, &data_dir, meta, &state, WalOptions::default())
        };
        founded("/mounted").unwrap();
        let again = founded("/not-mounted");
        assert!(matches!(again, Err(FoundingError::LogMissing { .. })), "{again:?}");
    }
}
