//! Writes a snapshot file, chunk by chunk, under a temporary name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encoder::SnapshotEncoder;
use super::{SnapshotError, SnapshotMeta, SnapshotName};
use crate::storage::disk::{Disk, DiskError, DiskFile};

/// Written bytes are synced in steps of this many, so that the last sync, and the syncs of a WAL on
/// the same disk, never wait for a whole snapshot.
const SYNC_BYTES: u64 = 512 << 10;

/// A snapshot file that is being written. Can be moved to another thread between any two calls; holds
/// one chunk in memory. Dropped before [`SnapshotWriter::finish`], it removes its temporary file.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    name: SnapshotName,
    temporary: PathBuf,
    file: Box<dyn DiskFile>,
    encoder: SnapshotEncoder,
    synced: u64,
    finished: bool,
}

impl SnapshotWriter {
    /// Begins the snapshot file of `meta` in `dir`.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        meta: &SnapshotMeta,
    ) -> Result<SnapshotWriter, SnapshotError> {
        let name = meta.name();
        let temporary = name.temporary(dir);
        let file = create_temporary(&*disk, &temporary)?;
        let mut writer = SnapshotWriter {
            disk,
            dir: dir.to_owned(),
            name,
            temporary,
            file,
            encoder: SnapshotEncoder::begin(meta),
            synced: 0,
            finished: false,
        };
        writer.write_frame()?;
        Ok(writer)
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) -> Result<(), SnapshotError> {
        if self.encoder.push(record) { self.write_chunk() } else { Ok(()) }
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.encoder.len()
    }

    /// Whether no record was pushed.
    pub fn is_empty(&self) -> bool {
        self.encoder.records() == 0
    }

    /// Completes the file and makes it durable under its name; answers its size.
    pub fn finish(mut self) -> Result<u64, SnapshotError> {
        self.encoder.end_chunk();
        self.write_chunk()?;
        self.encoder.end();
        self.write_frame()?;
        self.file.sync_data()?;
        self.disk.rename(&self.temporary, &self.name.path(&self.dir))?;
        self.finished = true;
        self.disk.sync_dir(&self.dir)?;
        Ok(self.encoder.offset())
    }

    fn write_chunk(&mut self) -> Result<(), SnapshotError> {
        self.write_frame()?;
        let written = self.encoder.offset();
        if written - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = written;
        }
        Ok(())
    }

    fn write_frame(&mut self) -> Result<(), DiskError> {
        let (frame, offset) = self.encoder.frame();
        if !frame.is_empty() {
            self.file.write_at(frame, offset)?;
            self.encoder.taken();
        }
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            _ = self.disk.remove(&self.temporary); // the next start removes it otherwise
        }
    }
}

/// Creates a file under a temporary name, in place of what an interrupted attempt left there.
pub(super) fn create_temporary(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Box<dyn DiskFile>, DiskError> {
    if disk.exists(path)? {
        disk.remove(path)?;
    }
    disk.create(path)
}
