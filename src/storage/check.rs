//! Verifies a data directory that no process has open: every byte of every snapshot, and every record
//! of the log that a start would read. Changes nothing.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use super::{
    data_dir::{DataDir, DataDirError},
    disk::{Disk, DiskError},
    mvcc::{State, codec},
    recovery::{self, RecoveryError},
    snapshot::{SnapshotDir, SnapshotReader},
    wal::{WalMeta, WalOptions},
};

/// Why a data directory is not good.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be opened.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A member would not start from it.
    #[error("a member would not start from it: {0}")]
    Recovery(#[from] RecoveryError),
    /// A member would start, but from an older snapshot than the newest.
    #[error("{0} of the snapshots do not check")]
    Snapshots(usize),
    /// The report could not be written.
    #[error("writing the report: {0}")]
    Report(#[from] io::Error),
}

/// Verifies the directory and writes what it finds to `out`. An error says why a member would not
/// start from it, or not from its newest snapshot.
pub fn check_data_dir(
    disk: &Arc<dyn Disk>,
    root: &Path,
    wal_dir: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), CheckError> {
    let data_dir = DataDir::inspect(&**disk, root, wal_dir)?;
    for warning in data_dir.warnings() {
        writeln!(out, "warning   {warning}")?;
    }
    let snapshots = SnapshotDir::new(Arc::clone(disk), data_dir.snap());
    let mut bad = 0;
    for name in snapshots.list()? {
        let file = name.file_name();
        match SnapshotReader::verify(&**disk, &name.path(data_dir.snap())) {
            Ok((meta, footer)) => writeln!(
                out,
                "snapshot  {file}: good; index {}, term {}, revision {}, {} records",
                meta.index, meta.term, meta.revision, footer.records
            )?,
            Err(error) => {
                bad += 1;
                writeln!(out, "snapshot  {file}: BAD: {error}")?;
            }
        }
    }
    let found = recovery::read(
        disk,
        data_dir.wal(),
        &snapshots,
        WalOptions::default(),
        |_: &WalMeta| State::new(Vec::new()),
        |_| {},
    )?;
    let report = &found.report;
    writeln!(
        out,
        "log       good; {} segments, {} batches, last index {}, {} entries replayed",
        report.segments, report.batches, report.last_index, found.replayed
    )?;
    if let Some(torn) = &report.torn {
        writeln!(
            out,
            "log       {} ends in a write that was cut short ({} bytes at {}): never acknowledged, \
             a start cuts it off",
            torn.path.display(),
            torn.len,
            torn.offset
        )?;
    }
    let (state, hard_state) = (&found.state, &found.hard_state);
    writeln!(
        out,
        "state     cluster {:x}, member {:x}, term {}, applied index {}, {} entries after it, \
         revision {}, compacted {}, {} keys, digest {:08x}",
        found.meta.cluster_id,
        found.meta.member_id,
        hard_state.term,
        state.applied_index,
        found.entries.len(),
        state.revision,
        state.compacted,
        state.key_count(),
        codec::digest(state)
    )?;
    if bad > 0 { Err(CheckError::Snapshots(bad)) } else { Ok(()) }
}
