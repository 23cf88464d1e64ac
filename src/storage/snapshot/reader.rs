//! Reads a snapshot file, checking every chunk before its first record is yielded.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::export;
use super::footer::{self, SnapshotFooter};
use super::meta::{self, SnapshotMeta, name_salt};
use super::{SnapshotDamage, SnapshotError, SnapshotName};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::frame::{self, FrameError, HEADER_LEN, Header, Salt};

/// Frame kind 2 of a snapshot file: records, each with its length in 4 bytes little-endian before it.
pub(super) const CHUNK_KIND: u8 = 2;

/// A snapshot file that is being read; holds one chunk in memory.
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    /// Where in the file the snapshot begins; offsets count from there.
    base: u64,
    path: PathBuf,
    file_len: u64,
    meta: SnapshotMeta,
    salt: Salt,
    offset: u64,
    chunk: Vec<u8>,
    /// Where the records are in `chunk` that are not yet read.
    rest: Range<usize>,
    counted: SnapshotFooter,
    done: bool,
}

impl SnapshotReader {
    /// Opens a snapshot file, or an exported one whatever it is called, and reads its header.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<SnapshotReader, SnapshotError> {
        let file = disk.open_read_only(path)?;
        if let Some((name, base, len)) = export::find(&*file, path)? {
            return SnapshotReader::read(file, path, name, base..base + len);
        }
        let file_name = path.file_name().and_then(|name| name.to_str());
        let name = file_name.and_then(SnapshotName::parse).ok_or(SnapshotError::Damaged {
            path: path.to_owned(),
            offset: 0,
            kind: SnapshotDamage::Name,
        })?;
        let len = file.len()?;
        SnapshotReader::read(file, path, name, 0..len)
    }

    /// Opens the snapshot `name`, which stands in the file `path`.
    pub(super) fn open_as(
        disk: &dyn Disk,
        path: &Path,
        name: SnapshotName,
    ) -> Result<SnapshotReader, SnapshotError> {
        let file = disk.open_read_only(path)?;
        let len = file.len()?;
        SnapshotReader::read(file, path, name, 0..len)
    }

    /// Reads the snapshot that stands at `place` in a file.
    fn read(
        file: Box<dyn DiskFile>,
        path: &Path,
        name: SnapshotName,
        place: Range<u64>,
    ) -> Result<SnapshotReader, SnapshotError> {
        let mut reader = SnapshotReader {
            file_len: place.end - place.start,
            file,
            base: place.start,
            path: path.to_owned(),
            meta: SnapshotMeta::default(),
            salt: name_salt(name),
            offset: 0,
            chunk: Vec::new(),
            rest: 0..0,
            counted: SnapshotFooter::default(),
            done: false,
        };
        let (kind, version) = reader.read_frame()?;
        if (kind, version) != (meta::KIND, meta::VERSION) {
            return Err(reader.damaged(0, SnapshotDamage::Kind { kind, version }));
        }
        reader.meta = rmp_serde::from_slice(&reader.chunk[reader.rest.clone()])
            .map_err(|source| reader.damaged(0, SnapshotDamage::Malformed { kind, source }))?;
        if reader.meta.name() != name {
            return Err(reader.damaged(0, SnapshotDamage::Name));
        }
        reader.salt = reader.meta.salt();
        reader.rest = 0..0;
        Ok(reader)
    }

    /// Reads a whole file; answers what it holds.
    pub fn verify(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<(SnapshotMeta, SnapshotFooter), SnapshotError> {
        SnapshotReader::open(disk, path)?.verify_rest()
    }

    pub(super) fn verify_rest(mut self) -> Result<(SnapshotMeta, SnapshotFooter), SnapshotError> {
        while self.next()?.is_some() {}
        Ok((self.meta, self.counted))
    }

    /// What state the snapshot holds.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Bytes read so far, of how many.
    pub fn progress(&self) -> (u64, u64) {
        (self.offset, self.file_len)
    }

    /// The next record; `None` after the last one, once the footer was checked. Until then a caller
    /// must not take the state for whole.
    #[expect(clippy::should_implement_trait, reason = "lends the record, and is fallible")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        if self.rest.is_empty() && (self.done || !self.next_chunk()?) {
            return Ok(None);
        }
        // The chunk was checked when it was read.
        let (start, len) = record_at(&self.chunk[self.rest.clone()]).unwrap_or_default();
        let record = self.rest.start + start..self.rest.start + start + len;
        self.rest.start = record.end;
        Ok(Some(&self.chunk[record]))
    }

    /// Reads the next chunk that has records; answers false at the end.
    fn next_chunk(&mut self) -> Result<bool, SnapshotError> {
        let at = self.offset;
        let (kind, version) = self.read_frame()?;
        let payload = &self.chunk[self.rest.clone()];
        match (kind, version) {
            (CHUNK_KIND, 1) => {
                let mut records = 0;
                let mut rest = payload;
                while !rest.is_empty() {
                    let Some((start, len)) = record_at(rest) else {
                        return Err(self.damaged(at, SnapshotDamage::Records));
                    };
                    rest = &rest[start + len..];
                    records += 1;
                }
                if records == 0 {
                    return Err(self.damaged(at, SnapshotDamage::Records));
                }
                self.counted.add(payload, records);
                Ok(true)
            }
            (footer::KIND, footer::VERSION) => {
                let footer: SnapshotFooter = rmp_serde::from_slice(payload).map_err(|source| {
                    self.damaged(at, SnapshotDamage::Malformed { kind, source })
                })?;
                if footer != self.counted {
                    return Err(self.damaged(at, SnapshotDamage::Footer));
                }
                if self.offset != self.file_len {
                    let trailing = self.file_len - self.offset;
                    return Err(self.damaged(self.offset, SnapshotDamage::Trailing(trailing)));
                }
                self.rest = 0..0;
                self.done = true;
                Ok(false)
            }
            _ => Err(self.damaged(at, SnapshotDamage::Kind { kind, version })),
        }
    }

    /// Reads the frame at the offset: its payload is then the `rest` of `chunk`.
    fn read_frame(&mut self) -> Result<(u8, u8), SnapshotError> {
        let at = self.offset;
        let left = self.file_len - at;
        self.chunk.resize(HEADER_LEN.min(left as usize), 0);
        let read = self.file.read_at(&mut self.chunk, self.base + at)?;
        let header = Header::decode(&self.chunk[..read], self.salt, at)
            .map_err(|error| self.damaged(at, error.into()))?;
        let len = header.frame_len();
        if len as u64 > left {
            return Err(self.damaged(at, FrameError::Cut { needed: len }.into()));
        }
        self.chunk.resize(len, 0);
        let read = self.file.read_at(&mut self.chunk, self.base + at)?;
        let frame = frame::decode(&self.chunk[..read], self.salt, at)
            .map_err(|error| self.damaged(at, error.into()))?;
        let (kind, version) = (frame.kind, frame.version);
        if let std::borrow::Cow::Owned(unmasked) = frame.payload {
            self.rest = 0..unmasked.len();
            self.chunk = unmasked;
        } else {
            self.rest = HEADER_LEN..len - 1;
        }
        self.offset += len as u64;
        Ok((kind, version))
    }

    fn damaged(&self, offset: u64, kind: SnapshotDamage) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), offset, kind }
    }
}

/// Where the first record in `bytes` starts, and its length.
fn record_at(bytes: &[u8]) -> Option<(usize, usize)> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    (len <= rest.len()).then_some((4, len))
}
