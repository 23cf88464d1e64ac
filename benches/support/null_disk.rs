//! A disk that forgets what is written and syncs in no time: what remains is our own work.

use std::path::Path;

use callboard::storage::disk::{DIR_MODE, Disk, DiskError, DiskFile, DiskLock, LockError};

/// See the head of the module. Only for writing: everything read is zero.
pub struct NullDisk;

struct NullFile(u64);

struct NullLock;

impl DiskLock for NullLock {}

impl Disk for NullDisk {
    fn create_dir(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn list(&self, _: &Path) -> Result<Vec<String>, DiskError> {
        Ok(Vec::new())
    }
    fn exists(&self, _: &Path) -> Result<bool, DiskError> {
        Ok(false)
    }
    fn mode(&self, _: &Path) -> Result<u32, DiskError> {
        Ok(DIR_MODE)
    }
    fn create(&self, _: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(NullFile(0)))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.create(path)
    }
    fn open_read_only(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.create(path)
    }
    fn rename(&self, _: &Path, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn remove(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> Result<Box<dyn DiskLock>, LockError> {
        Ok(Box::new(NullLock))
    }
}

impl DiskFile for NullFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let len = buffer.len().min(self.0.saturating_sub(offset) as usize);
        buffer[..len].fill(0);
        Ok(len)
    }
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.0 = self.0.max(offset + bytes.len() as u64);
        Ok(())
    }
    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.0)
    }
    fn allocate(&mut self, len: u64) -> Result<(), DiskError> {
        self.0 = self.0.max(len);
        Ok(())
    }
    fn set_len(&mut self, len: u64) -> Result<(), DiskError> {
        self.0 = len;
        Ok(())
    }
    fn sync_data(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}
