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
        let temporary = name.received(dir.path());
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

    /// Makes what was received durable, and opens it, to be checked and loaded in one reading: only a
    /// reader that came to its end has seen that the file is whole.
    pub fn reader(&mut self) -> Result<SnapshotReader, SnapshotError> {
        self.file.sync_data()?;
        SnapshotReader::open_as(&*self.disk, &self.temporary, self.name)
    }

    /// Gives the file its name, durably. To be called only after [`SnapshotReceiver::reader`]'s answer
    /// was read to its end, with nothing written since: what has a snapshot's name is whole.
    pub fn commit(mut self) -> Result<(), SnapshotError> {
        let path = self.name.path(&self.dir);
        self.disk.rename(&self.temporary, &path)?;
        self.finished = true;
        if let Err(error) = self.disk.sync_dir(&self.dir) {
            _ = self.disk.remove(&path); // nobody may take it for durable
            return Err(error.into());
        }
        Ok(())
    }

    /// Checks the whole file, then makes it durable under its name.
    pub fn finish(mut self) -> Result<SnapshotMeta, SnapshotError> {
        let (meta, _) = self.reader()?.verify_rest()?;
        self.commit()?;
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
