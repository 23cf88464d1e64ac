//! Writes a snapshot file, chunk by chunk, under a temporary name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::footer::{self, SnapshotFooter};
use super::meta::{self, SnapshotMeta, name_salt};
use super::reader::CHUNK_KIND;
use super::{SnapshotError, SnapshotName};
use crate::storage::disk::{Disk, DiskError, DiskFile};
use crate::storage::frame::{self, HEADER_LEN, Salt};

/// A chunk is closed when its records reach this many bytes.
const CHUNK_BYTES: usize = 256 << 10;
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
    salt: Salt,
    buffer: Vec<u8>,
    records: u64,
    offset: u64,
    synced: u64,
    footer: SnapshotFooter,
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
            salt: meta.salt(),
            buffer: Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 3)),
            records: 0,
            offset: 0,
            synced: 0,
            footer: SnapshotFooter::default(),
            finished: false,
        };
        let start = frame::begin(&mut writer.buffer);
        rmp_serde::encode::write(&mut writer.buffer, meta).expect("a Vec takes all bytes");
        frame::finish(&mut writer.buffer, start, meta::KIND, meta::VERSION, name_salt(name), 0);
        writer.write_buffer()?;
        Ok(writer)
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) -> Result<(), SnapshotError> {
        let len = u32::try_from(record.len()).expect("size was limited when it was proposed");
        if self.buffer.is_empty() {
            _ = frame::begin(&mut self.buffer);
        }
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(record);
        self.records += 1;
        if self.buffer.len() - HEADER_LEN >= CHUNK_BYTES { self.close_chunk() } else { Ok(()) }
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Whether no record was pushed.
    pub fn is_empty(&self) -> bool {
        self.footer.records + self.records == 0
    }

    /// Completes the file and makes it durable under its name; answers its size.
    pub fn finish(mut self) -> Result<u64, SnapshotError> {
        if self.records > 0 {
            self.close_chunk()?;
        }
        let start = frame::begin(&mut self.buffer);
        rmp_serde::encode::write(&mut self.buffer, &self.footer).expect("a Vec takes all bytes");
        let (kind, version) = (footer::KIND, footer::VERSION);
        frame::finish(&mut self.buffer, start, kind, version, self.salt, self.offset);
        self.write_buffer()?;
        self.file.sync_data()?;
        self.disk.rename(&self.temporary, &self.name.path(&self.dir))?;
        self.finished = true;
        self.disk.sync_dir(&self.dir)?;
        Ok(self.offset)
    }

    fn close_chunk(&mut self) -> Result<(), SnapshotError> {
        self.footer.add(&self.buffer[HEADER_LEN..], self.records);
        self.records = 0;
        frame::finish(&mut self.buffer, 0, CHUNK_KIND, 1, self.salt, self.offset);
        self.write_buffer()?;
        if self.offset - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), DiskError> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
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
