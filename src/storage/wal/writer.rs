//! Appends to a WAL.
//!
//! [`Wal::append`] encodes a batch into one reusable buffer and writes it at once; [`Wal::sync`]
//! makes everything appended before durable. Several appends and one sync are a group commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch_start::BatchStart;
use super::metadata::{Metadata, WalMeta, segment_salt};
use super::record;
use super::segment::{self, NewSegment, SegmentName};
use super::segment_end::SegmentEnd;
use super::stats::{ByteMarks, WalStats};
use super::{Entry, HardState, SnapshotMark, WalError, WalOptions};
use crate::storage::disk::{Disk, DiskError, DiskFile};
use crate::storage::frame::Salt;
use crate::types::Index;

/// What is appended as a whole: after a crash all of it is there, or none.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalBatch<'a> {
    /// A snapshot that is durable. It comes before the entries: those that follow an installed
    /// snapshot may be in the same batch.
    pub snapshot_mark: Option<SnapshotMark>,
    /// Entries with rising indices, the first no higher than the one after the last entry.
    pub entries: &'a [Entry],
    /// The hard state after these entries.
    pub hard_state: Option<HardState>,
}

/// More than any record but an entry's data takes with its frame.
const RECORD_LEN_MAX: usize = 96;
/// A buffer larger than this is given back after its batch.
const BUFFER_KEPT: usize = 4 << 20;
/// Kept free in each segment for its end record.
const END_LEN_MAX: u64 = 32;

/// A WAL that is open for appending. Not shared: one thread owns it.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    meta: WalMeta,
    /// All segments on disk, oldest first; the last one is open.
    segments: Vec<SegmentName>,
    file: Box<dyn DiskFile>,
    salt: Salt,
    /// Length of the open segment, preallocated.
    size: u64,
    /// Where the next batch goes.
    end: u64,
    /// Up to here the open segment is durable.
    synced: u64,
    /// Whether a batch was appended that no later batch vouches for.
    unmarked: bool,
    last_index: Index,
    hard_state: HardState,
    buffer: Vec<u8>,
    poisoned: bool,
    marks: ByteMarks,
    stats: WalStats,
}

/// What recovery hands over.
pub(super) struct Opened {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: WalOptions,
    pub(super) meta: WalMeta,
    pub(super) segments: Vec<SegmentName>,
    pub(super) older_bytes: u64,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) salt: Salt,
    pub(super) size: u64,
    pub(super) end: u64,
    pub(super) last_index: Index,
    pub(super) hard_state: HardState,
    pub(super) marks: ByteMarks,
}

impl Wal {
    /// Whether `dir` holds a WAL. A directory in which the making of one was interrupted holds none.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> Result<bool, DiskError> {
        Ok(disk.exists(dir)? && !segment::list(disk, dir)?.is_empty())
    }

    /// Makes an empty WAL in `dir`, which must exist and hold none.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        meta: WalMeta,
        options: WalOptions,
    ) -> Result<Wal, WalError> {
        if Wal::exists(&*disk, dir)? {
            return Err(WalError::AlreadyExists(dir.to_owned()));
        }
        let metadata = Metadata {
            meta,
            sequence: 0,
            first_index: Index(1),
            hard_state: HardState::default(),
            previous_end: 0,
        };
        let segment = segment::create(&*disk, dir, &metadata, options, 0)?;
        let mut wal = Wal::opened(Opened {
            disk,
            dir: dir.to_owned(),
            options,
            salt: segment_salt(&metadata.meta, 0),
            meta: metadata.meta,
            segments: vec![segment.name],
            older_bytes: 0,
            file: segment.file,
            size: segment.size,
            end: segment.end,
            last_index: Index(0),
            hard_state: HardState::default(),
            marks: ByteMarks::default(),
        });
        wal.stats.cuts = 1;
        Ok(wal)
    }

    pub(super) fn opened(opened: Opened) -> Wal {
        let Opened { disk, dir, options, meta, segments, older_bytes, file, salt, size, .. } =
            opened;
        let stats = WalStats { segment_bytes: older_bytes + size, ..WalStats::default() };
        Wal {
            disk,
            dir,
            options,
            meta,
            segments,
            file,
            salt,
            size,
            end: opened.end,
            synced: opened.end,
            unmarked: true,
            last_index: opened.last_index,
            hard_state: opened.hard_state,
            buffer: Vec::new(),
            poisoned: false,
            marks: opened.marks,
            stats,
        }
    }

    /// Appends a batch. It is durable after the next [`Wal::sync`].
    pub fn append(&mut self, batch: &WalBatch<'_>) -> Result<(), WalError> {
        self.check_poison()?;
        if batch.entries.is_empty() && batch.hard_state.is_none() && batch.snapshot_mark.is_none() {
            return Ok(());
        }
        let last_index = self.last_after(batch);
        let data: usize =
            batch.entries.iter().map(|entry| entry.data.len() + entry.context.len()).sum();
        self.reserve((data + (batch.entries.len() + 3) * RECORD_LEN_MAX) as u64)?;

        self.start_batch();
        let (salt, base) = (self.salt, self.end);
        if let Some(mark) = &batch.snapshot_mark {
            record::encode(mark, &mut self.buffer, salt, base);
        }
        for entry in batch.entries {
            record::encode(entry, &mut self.buffer, salt, base);
        }
        if let Some(hard_state) = &batch.hard_state {
            record::encode(hard_state, &mut self.buffer, salt, base);
            self.hard_state = *hard_state;
        }
        self.write_batch()?;
        self.last_index = last_index;
        self.unmarked = true;
        self.marks.note(batch.entries.first().map(|entry| entry.index), self.buffer.len() as u64);
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new(); // one large batch does not keep its memory for ever
        }
        Ok(())
    }

    /// The last index after a batch, which must fit the log as it is.
    fn last_after(&self, batch: &WalBatch<'_>) -> Index {
        let mut last = self.last_index;
        if let Some(mark) = &batch.snapshot_mark {
            assert!(mark.installed || mark.index <= last, "snapshot of entries not in the log");
            last = if mark.installed { mark.index } else { last };
        }
        for (position, entry) in batch.entries.iter().enumerate() {
            let follows = entry.index == last.next();
            let replaces = position == 0 && entry.index.0 > 0 && entry.index <= last;
            assert!(follows || replaces, "entry {} does not follow entry {last}", entry.index);
            last = entry.index;
        }
        if let Some(hard_state) = &batch.hard_state {
            assert!(hard_state.commit <= last, "commit index lies behind the log's end");
            assert!(hard_state.term >= self.hard_state.term, "the term goes back");
        }
        last
    }

    /// Makes everything appended before durable. After an error the WAL takes no more work.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check_poison()?;
        if self.options.fsync && self.end != self.synced { self.sync_segment() } else { Ok(()) }
    }

    /// Writes down that everything so far is durable, so that bad bytes in it can never pass for a
    /// torn tail. Syncs. Costs nothing if nothing was appended since; meant for quiet moments and
    /// for a clean stop.
    pub fn mark_synced(&mut self) -> Result<(), WalError> {
        self.check_poison()?;
        if !self.unmarked || !self.options.fsync {
            return Ok(());
        }
        self.sync()?;
        self.reserve(0)?;
        self.start_batch();
        self.write_batch()?;
        self.unmarked = false;
        self.sync()
    }

    /// Makes sure that batches of `len` bytes in all, frames included, fit into the open segment,
    /// by starting another if need be. So a full disk can be found out ahead of time.
    pub fn reserve(&mut self, len: u64) -> Result<(), WalError> {
        self.check_poison()?;
        let needed = len + BatchStart::FRAME_LEN as u64 + END_LEN_MAX;
        if self.end + needed <= self.size {
            return Ok(());
        }
        match self.cut(needed) {
            Err(error) if !matches!(error, WalError::NoSpace(_)) => {
                self.poisoned = true;
                Err(error)
            }
            result => result,
        }
    }

    /// Removes the segments whose entries are all at or below `up_to`. A snapshot at `up_to` or
    /// later must be durable, and every older one that might be needed.
    pub fn release(&mut self, up_to: Index) -> Result<(), WalError> {
        self.check_poison()?;
        let mut removed = false;
        while let [oldest, second, ..] = self.segments[..]
            && second.first_index <= up_to.next()
        {
            let path = oldest.path(&self.dir);
            let len = self.disk.open_read_only(&path)?.len()?;
            self.disk.remove(&path)?;
            self.stats.segment_bytes = self.stats.segment_bytes.saturating_sub(len);
            self.segments.remove(0);
            removed = true;
        }
        self.marks.release(up_to);
        if removed {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// What the WAL belongs to.
    pub fn meta(&self) -> &WalMeta {
        &self.meta
    }

    /// The last entry's index, or that of a snapshot installed after it.
    pub fn last_index(&self) -> Index {
        self.last_index
    }

    /// The hard state appended last.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Whether everything appended is durable.
    pub fn is_synced(&self) -> bool {
        self.end == self.synced
    }

    /// About how many bytes of log follow `index`; never too few.
    pub fn bytes_since(&self, index: Index) -> u64 {
        self.marks.since(index)
    }

    /// Figures for metrics.
    pub fn stats(&self) -> WalStats {
        WalStats {
            segments: self.segments.len() as u64,
            room: (self.size - self.end).saturating_sub(END_LEN_MAX),
            last_index: self.last_index,
            ..self.stats
        }
    }

    fn check_poison(&self) -> Result<(), WalError> {
        if self.poisoned { Err(WalError::Poisoned) } else { Ok(()) }
    }

    fn start_batch(&mut self) {
        self.buffer.clear();
        self.buffer.resize(BatchStart::FRAME_LEN, 0);
    }

    /// Completes the batch in the buffer and writes it.
    fn write_batch(&mut self) -> Result<(), WalError> {
        let len = (self.buffer.len() - BatchStart::FRAME_LEN) as u64;
        let start = BatchStart { synced: self.synced, len };
        start.encode_first(&mut self.buffer, self.salt, self.end);
        let after = self.end + self.buffer.len() as u64;
        assert!(after + END_LEN_MAX <= self.size, "room was reserved");
        if let Err(error) = self.file.write_at(&self.buffer, self.end) {
            self.poisoned = true;
            return Err(error.into());
        }
        self.end = after;
        self.stats.bytes_appended += self.buffer.len() as u64;
        self.stats.batches += 1;
        Ok(())
    }

    fn sync_segment(&mut self) -> Result<(), WalError> {
        if let Err(error) = self.file.sync_data() {
            self.poisoned = true;
            return Err(error.into());
        }
        self.synced = self.end;
        self.stats.syncs += 1;
        Ok(())
    }

    /// Goes on in a new segment, with room for `room` bytes.
    ///
    /// The order matters: this segment is whole before the next one can be seen, so that bad bytes in
    /// it are damage; and the next one is durable before this one says that it exists, so that its
    /// loss is noticed.
    fn cut(&mut self, room: u64) -> Result<(), WalError> {
        self.sync_segment()?;
        let sequence = self.segments[self.segments.len() - 1].sequence + 1;
        let metadata = Metadata {
            meta: self.meta.clone(),
            sequence,
            first_index: self.last_index.next(),
            hard_state: self.hard_state,
            previous_end: self.end,
        };
        let next = segment::create(&*self.disk, &self.dir, &metadata, self.options, room)?;

        let mut bytes = Vec::new();
        let end = SegmentEnd { next_sequence: sequence };
        record::encode(&end, &mut bytes, self.salt, self.end);
        self.file.write_at(&bytes, self.end)?;
        self.file.sync_data()?;

        let NewSegment { file, name, size, end } = next;
        self.segments.push(name);
        (self.file, self.size, self.end, self.synced) = (file, size, end, end);
        self.salt = segment_salt(&self.meta, sequence);
        self.unmarked = false;
        self.stats.cuts += 1;
        self.stats.segment_bytes += size;
        Ok(())
    }
}
