//! Reads a WAL from a snapshot on, and recovers it.
//!
//! Reading changes nothing on disk: `check-data-dir` uses it too. [`WalReplay::finish`] makes what
//! was read durable (it may have come from the page cache of a process that was killed before its
//! sync), clears a torn tail, and hands over a [`Wal`] that can be appended to.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log::settle_hard_state;
use super::metadata::{WalMeta, segment_salt};
use super::record::{self, Record};
use super::scan::{Found, SegmentReader, Verdict};
use super::segment::{self, Segment, SegmentName, TEMPORARY};
use super::segment_end::SegmentEnd;
use super::stats::ByteMarks;
use super::writer::{Opened, Wal};
use super::{DamageKind, HardState, RecoveredLog, SnapshotMark, WalBatch, WalError, WalOptions};
use crate::storage::disk::Disk;
use crate::storage::frame::FrameError;
use crate::types::{Index, Term};

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the segments that have been read.
    pub bytes_done: u64,
    /// Bytes of all segments that will be read, preallocated ones included.
    pub bytes_total: u64,
}

/// The end of a log that a crash cut short. Nothing in it was ever acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The last segment.
    pub path: PathBuf,
    /// Where the batch starts that is not whole.
    pub offset: u64,
    /// Bytes from there to the last one that was written.
    pub len: u64,
    /// What is wrong with the first bad frame.
    pub error: FrameError,
}

/// What a recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The torn tail, if there was one; `finish` clears it.
    pub torn: Option<TornTail>,
    /// The last entry's index, or that of the snapshot that was given.
    pub last_index: Index,
    /// The hard state, no lower than the snapshot that was given.
    pub hard_state: HardState,
    /// Batches read.
    pub batches: u64,
    /// Segments read.
    pub segments: usize,
}

/// A WAL that is being read.
pub struct WalReplay {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    /// Segments that end before the snapshot; [`Wal::release`] removes them.
    older: Vec<SegmentName>,
    segments: Vec<Segment>,
    current: usize,
    reader: SegmentReader,
    done: bool,
    queue: VecDeque<Record>,
    from: Index,
    from_term: Term,
    term_at_from: Option<Term>,
    /// The newest snapshot that the log continues.
    base: Index,
    synced: u64,
    marks: ByteMarks,
    bytes_before: u64,
    report: RecoveryReport,
}

impl WalReplay {
    /// Opens the WAL in `dir` for reading what follows the snapshot at `from` (0: from the start).
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
        from: Index,
        from_term: Term,
    ) -> Result<WalReplay, WalError> {
        let mut names = segment::list(&*disk, dir)?;
        let Some(first) = names.first() else { return Err(WalError::Empty(dir.to_owned())) };
        // The entry at `from` itself, if it is there, tells whether log and snapshot agree.
        let start = (names.iter().rposition(|name| name.first_index <= from))
            .or_else(|| names.iter().rposition(|name| name.first_index == from.next()))
            .ok_or(WalError::StartsTooLate {
                dir: dir.to_owned(),
                needed: from.next(),
                first: first.first_index,
            })?;
        let read = names.split_off(start);
        if let Some(gap) = read.windows(2).find(|pair| pair[1].sequence != pair[0].sequence + 1) {
            return Err(WalError::MissingSegment {
                dir: dir.to_owned(),
                sequence: gap[0].sequence + 1,
            });
        }
        let segments = read
            .into_iter()
            .map(|name| Segment::open(&*disk, dir, name))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(other) =
            segments.iter().find(|segment| segment.metadata.meta != segments[0].metadata.meta)
        {
            let path = other.name.path(dir);
            return Err(WalError::damaged(&path, 0, DamageKind::Foreign("the segment before")));
        }
        let reader = segments[0].reader(&*disk, dir)?;
        let metadata = &segments[0].metadata;
        let report = RecoveryReport {
            last_index: Index(metadata.first_index.0 - 1),
            hard_state: metadata.hard_state,
            segments: segments.len(),
            ..RecoveryReport::default()
        };
        Ok(WalReplay {
            dir: dir.to_owned(),
            options,
            older: names,
            current: 0,
            reader,
            done: false,
            queue: VecDeque::new(),
            from,
            from_term,
            term_at_from: None,
            base: from,
            synced: segments[0].header_end,
            marks: ByteMarks::default(),
            bytes_before: 0,
            report,
            segments,
            disk,
        })
    }

    /// What the WAL belongs to.
    pub fn meta(&self) -> &WalMeta {
        &self.segments[0].metadata.meta
    }

    /// How far the reading is.
    pub fn progress(&self) -> Progress {
        let bytes_total = self.segments.iter().map(|segment| segment.file_len).sum();
        let bytes_done = self.bytes_before + self.reader.offset;
        Progress { bytes_done: if self.done { bytes_total } else { bytes_done }, bytes_total }
    }

    /// What was found so far.
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The next record, or `None` at the end. Entries at and before the snapshot are yielded too:
    /// each says that everything after it is replaced. [`WalReplay::read_to_end`] knows this.
    #[expect(clippy::should_implement_trait, reason = "fallible, and finish() follows")]
    pub fn next(&mut self) -> Result<Option<Record>, WalError> {
        loop {
            if let Some(record) = self.queue.pop_front() {
                return Ok(Some(record));
            }
            if self.done {
                return Ok(None);
            }
            self.step()?;
        }
    }

    /// Reads all that is left into a log, telling `on_progress` about each record.
    pub fn read_to_end(
        &mut self,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<RecoveredLog, WalError> {
        let hard_state = self.report.hard_state;
        let mut log = RecoveredLog::new(self.from, self.from_term, hard_state);
        while let Some(record) = self.next()? {
            log.apply(record);
            on_progress(self.progress());
        }
        self.check_base()?;
        log.settle();
        Ok(log)
    }

    fn step(&mut self) -> Result<(), WalError> {
        let next = self.segments.get(self.current + 1);
        let limit = next.map(|next| next.metadata.previous_end);
        if let Some(limit) = limit
            && self.reader.offset >= limit
        {
            return self.next_segment(limit);
        }
        let path = self.reader.path.clone();
        let at = self.reader.offset;
        match self.reader.next()? {
            Found::Batch { synced, len, records } => {
                self.synced = self.synced.max(synced);
                self.report.batches += 1;
                self.take(len, records).map_err(|kind| WalError::damaged(&path, at, kind))
            }
            Found::SegmentEnd { next_sequence } => {
                let dir = self.dir.clone();
                Err(WalError::MissingSegment { dir, sequence: next_sequence })
            }
            Found::Bad { at, error } if limit.is_some() => {
                Err(WalError::damaged(&path, at, error.into()))
            }
            Found::Bad { at, error } => {
                match self.reader.judge(at, error)? {
                    Verdict::CleanEnd => {}
                    Verdict::Torn { len } => {
                        let offset = self.reader.offset;
                        self.report.torn = Some(TornTail { path, offset, len, error });
                    }
                    Verdict::Damaged(kind) => return Err(WalError::damaged(&path, at, kind)),
                }
                self.done = true;
                Ok(())
            }
        }
    }

    /// Goes on behind the end of a segment that is not the last.
    fn next_segment(&mut self, limit: u64) -> Result<(), WalError> {
        let path = self.reader.path.clone();
        if self.reader.offset != limit {
            return Err(WalError::damaged(&path, limit, DamageKind::Length(limit)));
        }
        let ended = match self.reader.next() {
            Err(WalError::Disk(error)) => return Err(error.into()),
            found => matches!(found, Ok(Found::SegmentEnd { .. })),
        };
        let next = &self.segments[self.current + 1];
        // A crash may have come between the making of the last segment and this record.
        if !ended && self.current + 2 < self.segments.len() {
            let kind = DamageKind::Frame(FrameError::End);
            return Err(WalError::damaged(&path, limit, kind));
        }
        if next.metadata.first_index != self.report.last_index.next() {
            let kind = DamageKind::Foreign("where the segment before ends");
            return Err(WalError::damaged(&next.name.path(&self.dir), 0, kind));
        }
        self.bytes_before += self.segments[self.current].file_len;
        self.current += 1;
        let segment = &self.segments[self.current];
        self.reader = segment.reader(&*self.disk, &self.dir)?;
        self.synced = segment.header_end;
        Ok(())
    }

    /// Takes a batch's records, after looking that entries leave no gap.
    fn take(&mut self, len: u64, records: Vec<Record>) -> Result<(), DamageKind> {
        let mut first = None;
        for record in &records {
            match record {
                Record::Entry(entry) => {
                    let last = self.report.last_index;
                    if entry.index.0 == 0 || entry.index > last.next() || entry.index <= self.base()
                    {
                        return Err(DamageKind::OutOfOrder { found: entry.index, last });
                    }
                    if entry.index <= self.from {
                        let at_from = entry.index == self.from;
                        self.term_at_from = at_from.then_some(entry.term);
                    }
                    first = first.or(Some(entry.index));
                    self.report.last_index = entry.index;
                }
                Record::HardState(hard_state) => self.report.hard_state = *hard_state,
                Record::SnapshotMark(mark) if mark.installed => {
                    self.base = self.base.max(mark.index);
                    self.report.last_index = mark.index;
                    self.term_at_from = (mark.index == self.from).then_some(mark.term);
                }
                Record::SnapshotMark(_) => {}
            }
        }
        self.marks.note(first, len);
        self.queue.extend(records);
        Ok(())
    }

    /// Below this, entries were replaced by an installed snapshot and cannot come again.
    fn base(&self) -> Index {
        if self.base > self.from { self.base } else { Index(0) }
    }

    /// Once all is read: whether the snapshot is there that the log continues.
    pub(in crate::storage) fn check_base(&self) -> Result<(), WalError> {
        if self.base > self.from {
            let (dir, index) = (self.dir.clone(), self.base);
            return Err(WalError::NeedsSnapshot { dir, index });
        }
        Ok(())
    }

    /// Reads what is left, then makes the log durable and ready to be appended to.
    pub fn finish(mut self) -> Result<(Wal, RecoveryReport), WalError> {
        while self.next()?.is_some() {}
        self.check_base()?;
        let segment = &self.segments[self.segments.len() - 1];
        let end = self.reader.offset;
        let mut file = self.disk.open(&segment.name.path(&self.dir))?;

        // What was read may never have reached the disk: its process was killed before the sync, or
        // the sync failed and the kernel took the pages for clean. Written again, it is dirty again.
        let mut buffer = vec![0; 1 << 20];
        let mut at = self.synced;
        while at < end {
            let len = (end - at).min(buffer.len() as u64) as usize;
            let read = file.read_at(&mut buffer[..len], at)?;
            file.write_at(&buffer[..read], at)?;
            at += read.max(1) as u64;
        }
        // The torn bytes must never come back as a later batch.
        if let Some(torn) = &self.report.torn {
            buffer.fill(0);
            let mut at = torn.offset;
            let torn_end = torn.offset + torn.len;
            while at < torn_end {
                let len = (torn_end - at).min(buffer.len() as u64) as usize;
                file.write_at(&buffer[..len], at)?;
                at += len as u64;
            }
        }
        file.sync_data()?;
        let temporary = self.dir.join(TEMPORARY);
        if self.disk.exists(&temporary)? {
            self.disk.remove(&temporary)?;
        }
        self.disk.sync_dir(&self.dir)?;
        self.write_segment_end()?;

        let last_index = self.report.last_index;
        let disagrees = self.term_at_from.is_some_and(|term| term != self.from_term);
        let read = self.segments.iter().map(|segment| segment.name);
        let mut wal = Wal::opened(Opened {
            disk: self.disk,
            dir: self.dir,
            options: self.options,
            meta: segment.metadata.meta.clone(),
            segments: self.older.iter().copied().chain(read).collect(),
            older_bytes: self.bytes_before,
            size: file.len()?,
            file,
            end,
            salt: segment.salt,
            last_index,
            hard_state: self.report.hard_state,
            marks: self.marks,
        });
        settle_hard_state(&mut self.report.hard_state, self.from, self.from_term);
        if last_index < self.from || disagrees {
            let mark = SnapshotMark { index: self.from, term: self.from_term, installed: true };
            wal.append(&WalBatch {
                snapshot_mark: Some(mark),
                entries: &[],
                hard_state: Some(self.report.hard_state),
            })?;
            wal.sync()?;
            self.report.last_index = self.from;
        }
        Ok((wal, self.report))
    }

    /// Writes the end record of the segment before the last, be it there or not: a process that was killed
    /// before its sync leaves one that can be read and that the next power cut takes. By then there may be
    /// a segment more, and a missing end would pass for damage.
    fn write_segment_end(&self) -> Result<(), WalError> {
        let last = &self.segments[self.segments.len() - 1];
        let read = self.segments.iter().map(|segment| segment.name);
        let before = self.older.iter().copied().chain(read).rev().nth(1);
        let follows = |before: &SegmentName| before.sequence + 1 == last.name.sequence;
        let Some(before) = before.filter(follows) else { return Ok(()) };
        let (at, salt) =
            (last.metadata.previous_end, segment_salt(&last.metadata.meta, before.sequence));
        let mut bytes = Vec::new();
        record::encode(&SegmentEnd { next_sequence: last.name.sequence }, &mut bytes, salt, at);
        let mut file = self.disk.open(&before.path(&self.dir))?;
        file.write_at(&bytes, at)?;
        file.sync_data()?;
        Ok(())
    }
}
