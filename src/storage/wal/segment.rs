//! Segment files: their names, their first record, and how a new one comes to be.

use std::path::{Path, PathBuf};

use super::metadata::{Metadata, name_salt, segment_salt};
use super::record;
use super::scan::SegmentReader;
use super::{DamageKind, WalError, WalOptions};
use crate::storage::disk::{Disk, DiskError, DiskFile};
use crate::storage::frame::Salt;
use crate::types::Index;

/// The name under which a segment is made; a leftover is removed.
pub(super) const TEMPORARY: &str = "next.wal.tmp";

/// What a segment's file name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) sequence: u64,
    pub(super) first_index: Index,
}

impl SegmentName {
    /// Reads a file name; `None` if it is not a segment's.
    pub(super) fn parse(name: &str) -> Option<SegmentName> {
        let (sequence, first_index) = name.strip_suffix(".wal")?.split_once('-')?;
        let name_of = SegmentName {
            sequence: u64::from_str_radix(sequence, 16).ok()?,
            first_index: Index(u64::from_str_radix(first_index, 16).ok()?),
        };
        (name_of.file_name() == name).then_some(name_of)
    }

    pub(super) fn file_name(self) -> String {
        format!("{:016x}-{:016x}.wal", self.sequence, self.first_index.0)
    }

    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.file_name())
    }
}

/// The segments in a directory, oldest first.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentName>, DiskError> {
    let mut names: Vec<_> =
        disk.list(dir)?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    names.sort_unstable();
    Ok(names)
}

/// A segment that is there, and what its first record says.
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) metadata: Metadata,
    pub(super) salt: Salt,
    pub(super) header_end: u64,
    pub(super) file_len: u64,
}

impl Segment {
    /// Reads a segment's first record.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        name: SegmentName,
    ) -> Result<Segment, WalError> {
        let path = name.path(dir);
        let damaged = |kind| WalError::damaged(&path, 0, kind);
        let salt = name_salt(name.sequence, name.first_index);
        let mut reader = SegmentReader::new(disk.open_read_only(&path)?, path.clone(), salt)?;
        let frame = reader.frame(0)?.map_err(|error| damaged(error.into()))?;
        let header_end = frame.len as u64;
        let metadata: Metadata = record::decode(frame.kind, frame.version, &frame.payload)
            .map_err(|error| damaged(error.into()))?;
        if metadata.sequence != name.sequence
            || metadata.first_index != name.first_index
            || name.first_index.0 == 0
        {
            return Err(damaged(DamageKind::Foreign("the file's name")));
        }
        let salt = segment_salt(&metadata.meta, name.sequence);
        Ok(Segment { name, metadata, salt, header_end, file_len: reader.file_len })
    }

    /// A reader that stands before the first batch.
    pub(super) fn reader(&self, disk: &dyn Disk, dir: &Path) -> Result<SegmentReader, DiskError> {
        let path = self.name.path(dir);
        let mut reader = SegmentReader::new(disk.open_read_only(&path)?, path, self.salt)?;
        reader.offset = self.header_end;
        Ok(reader)
    }
}

/// A segment that is open for appending.
pub(super) struct NewSegment {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) name: SegmentName,
    /// Preallocated length.
    pub(super) size: u64,
    /// Where the first batch goes.
    pub(super) end: u64,
}

/// Makes a segment that has room for `room` bytes of batches, and makes it durable.
///
/// [`WalError::NoSpace`] says that nothing has changed.
pub(super) fn create(
    disk: &dyn Disk,
    dir: &Path,
    metadata: &Metadata,
    options: WalOptions,
    room: u64,
) -> Result<NewSegment, WalError> {
    let name = SegmentName { sequence: metadata.sequence, first_index: metadata.first_index };
    let mut header = Vec::new();
    let salt = name_salt(name.sequence, name.first_index);
    record::encode(metadata, &mut header, salt, 0);
    let end = header.len() as u64;
    let size = options.segment_bytes.max(end + room);

    let temporary = dir.join(TEMPORARY);
    let prepare = || -> Result<Box<dyn DiskFile>, DiskError> {
        if disk.exists(&temporary)? {
            disk.remove(&temporary)?;
        }
        let mut file = disk.create(&temporary)?;
        file.allocate(size)?;
        file.write_at(&header, 0)?;
        Ok(file)
    };
    let mut file = prepare().map_err(|error| {
        if error.is_no_space() { WalError::NoSpace(error) } else { error.into() }
    })?;
    file.sync_data()?;
    disk.rename(&temporary, &name.path(dir))?;
    disk.sync_dir(dir)?;
    Ok(NewSegment { file, name, size, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        let name = SegmentName { sequence: 10, first_index: Index(255) };
        let text = "000000000000000a-00000000000000ff.wal";
        assert_eq!(name.file_name(), text);
        assert_eq!(SegmentName::parse(text), Some(name));
        for other in ["", "a-ff.wal", "next.wal.tmp", "000000000000000A-00000000000000ff.wal"] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
