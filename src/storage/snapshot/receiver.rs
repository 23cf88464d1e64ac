//! Takes the bytes of a snapshot file from another member.

use std::path::PathBuf;
use std::sync::Arc;

use super::writer::create_temporary;
use super::{SnapshotDir, SnapshotError, SnapshotMeta, SnapshotName, SnapshotReader};
use crate::storage::disk::{Disk, DiskFile};

/// A snapshot that is being received. Dropped before [`SnapshotReceiver::finish`], it removes its
/// temporary file.
pub struct SnapshotReceiver {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    name: SnapshotName,
    temporary: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
    finished: bool,
}

impl SnapshotReceiver {
    /// Begins to receive the snapshot `name`.
    pub fn create(
        dir: &SnapshotDir,
        name: SnapshotName,
    ) -> Result<SnapshotReceiver, SnapshotError> {
        let temporary = name.temporary(dir.path());
        let file = create_temporary(&**dir.disk(), &temporary)?;
        Ok(SnapshotReceiver {
            disk: Arc::clone(dir.disk()),
            dir: dir.path().to_owned(),
            name,
            temporary,
            file,
            len: 0,
            finished: false,
        })
    }

    /// Bytes received so far: where a transfer that broke goes on.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was received.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends the file's next bytes, cut anywhere.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.file.write_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Checks the whole file, then makes it durable under its name.
    pub fn finish(mut self) -> Result<SnapshotMeta, SnapshotError> {
        self.file.sync_data()?;
        let reader = SnapshotReader::open_as(&*self.disk, &self.temporary, self.name)?;
        let (meta, _) = reader.verify_rest()?;
        self.disk.rename(&self.temporary, &self.name.path(&self.dir))?;
        self.finished = true;
        self.disk.sync_dir(&self.dir)?;
        Ok(meta)
    }
}

impl Drop for SnapshotReceiver {
    fn drop(&mut self) {
        if !self.finished {
            _ = self.disk.remove(&self.temporary); // the next start removes it otherwise
        }
    }
}
