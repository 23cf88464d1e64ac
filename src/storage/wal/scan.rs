//! Reads the frames of one segment, and tells a torn end from damage.
//!
//! The rule, for a frame that does not check in the last segment:
//! 1. a later batch that says "synced up to here", with "here" above the bad frame, makes it damage;
//! 2. else it is torn if a part of it was never written: its footer or one of its sectors is zero
//!    (see frame.rs: no whole frame has such a sector), or the file ends;
//! 3. or if it is a header that breaks off and nothing but zeros follow;
//! 4. else it is damage.

use std::path::PathBuf;

use super::batch_start::BatchStart;
use super::record::{self, Record, RecordError, RecordKind};
use super::segment_end::SegmentEnd;
use super::{DamageKind, WalError};
use crate::storage::disk::{DiskError, DiskFile};
use crate::storage::frame::{self, Frame, FrameError, HEADER_LEN, Header, Salt};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// One segment, read from front to back.
pub(super) struct SegmentReader {
    file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) salt: Salt,
    pub(super) file_len: u64,
    /// Where the next frame starts.
    pub(super) offset: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What stands at the reader's offset.
pub(super) enum Found {
    /// A whole batch; the offset has moved behind it.
    Batch { synced: u64, len: u64, records: Vec<Record> },
    /// The segment's last record; the offset has moved behind it.
    SegmentEnd { next_sequence: u64 },
    /// A frame that does not check, at `at`. The offset is still where its batch starts.
    Bad { at: u64, error: FrameError },
}

/// What a bad frame in the last segment means.
pub(super) enum Verdict {
    /// The log ends here, and nothing was written after it.
    CleanEnd,
    /// A crash cut the writing short; so many bytes after the offset are to be cleared.
    Torn {
        len: u64,
    },
    Damaged(DamageKind),
}

impl SegmentReader {
    pub(super) fn new(
        file: Box<dyn DiskFile>,
        path: PathBuf,
        salt: Salt,
    ) -> Result<SegmentReader, DiskError> {
        let file_len = file.len()?;
        Ok(SegmentReader {
            file,
            path,
            salt,
            file_len,
            offset: 0,
            window: Vec::new(),
            window_at: 0,
        })
    }

    /// The bytes from `at` on: `len` of them, or as many as there are.
    fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], DiskError> {
        let len = (self.file_len.saturating_sub(at)).min(len as u64) as usize;
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + len as u64 > window_end {
            let left = self.file_len.saturating_sub(at);
            let want = left.min(len.max(CHUNK) as u64) as usize;
            self.window.resize(want, 0);
            self.window_at = at;
            let read = self.file.read_at(&mut self.window, at)?;
            self.window.truncate(read);
        }
        let start = (at - self.window_at) as usize;
        Ok(&self.window[start..self.window.len().min(start + len)])
    }

    /// The frame at `at`.
    pub(super) fn frame(&mut self, at: u64) -> Result<Result<Frame<'_>, FrameError>, DiskError> {
        let salt = self.salt;
        let len = match Header::decode(self.bytes(at, HEADER_LEN)?, salt, at) {
            Ok(header) => header.frame_len(),
            Err(error) => return Ok(Err(error)),
        };
        Ok(frame::decode(self.bytes(at, len)?, salt, at))
    }

    /// Reads what stands at the offset.
    pub(super) fn next(&mut self) -> Result<Found, WalError> {
        let start = self.offset;
        let path = self.path.clone();
        let damaged = |at, error| WalError::damaged(&path, at, DamageKind::Record(error));
        let first = match self.frame(start)? {
            Ok(frame) => frame,
            Err(error) => return Ok(Found::Bad { at: start, error }),
        };
        let (kind, version, first_len) = (first.kind, first.version, first.len as u64);
        let batch: BatchStart = match kind {
            BatchStart::KIND => record::decode(kind, version, &first.payload),
            SegmentEnd::KIND => {
                let end: SegmentEnd = record::decode(kind, version, &first.payload)
                    .map_err(|error| damaged(start, error))?;
                self.offset += first_len;
                return Ok(Found::SegmentEnd { next_sequence: end.next_sequence });
            }
            1..=6 => Err(RecordError::OutOfPlace { kind }),
            _ => Err(RecordError::Unknown { kind, version }),
        }
        .map_err(|error| damaged(start, error))?;

        let body_at = start + first_len;
        if batch.len > self.file_len - body_at {
            // The file is shorter than it was when this was written.
            let needed = usize::try_from(batch.len).unwrap_or(usize::MAX);
            return Ok(Found::Bad { at: body_at, error: FrameError::Cut { needed } });
        }
        let salt = self.salt;
        let body = self.bytes(body_at, batch.len as usize)?;
        let mut records = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let at = body_at + (body.len() - rest.len()) as u64;
            let frame = match frame::decode(rest, salt, at) {
                Ok(frame) => frame,
                Err(FrameError::Cut { .. }) => {
                    let end = body_at + batch.len;
                    return Err(WalError::damaged(&path, at, DamageKind::Length(end)));
                }
                Err(error) => return Ok(Found::Bad { at, error }),
            };
            let record = record::decode_in_batch(frame.kind, frame.version, &frame.payload)
                .map_err(|error| damaged(at, error))?;
            records.push(record);
            rest = &rest[frame.len..];
        }
        self.offset = body_at + batch.len;
        let len = self.offset - start;
        Ok(Found::Batch { synced: batch.synced, len, records })
    }

    /// Decides what the bad frame at `at` means, in the last segment.
    pub(super) fn judge(&mut self, at: u64, error: FrameError) -> Result<Verdict, WalError> {
        let end = self.written_end()?;
        if end <= self.offset {
            return Ok(Verdict::CleanEnd);
        }
        if let Some((witness, synced)) = self.witness(at, end)? {
            return Ok(Verdict::Damaged(DamageKind::Synced { error, witness, synced }));
        }
        let torn = match error {
            FrameError::Cut { .. } | FrameError::End | FrameError::Footer { found: 0 } => true,
            FrameError::Header { .. } => {
                let header = self.bytes(at, HEADER_LEN)?;
                frame::has_unwritten_sector(header, at) || end < at + HEADER_LEN as u64
            }
            FrameError::Payload { .. } | FrameError::Footer { .. } => {
                let salt = self.salt;
                let len = Header::decode(self.bytes(at, HEADER_LEN)?, salt, at)
                    .map_or(HEADER_LEN, |header| header.frame_len());
                frame::has_unwritten_sector(self.bytes(at, len)?, at)
            }
        };
        Ok(if torn {
            Verdict::Torn { len: end - self.offset }
        } else {
            Verdict::Damaged(error.into())
        })
    }

    /// Behind the last byte that is not zero, or the offset if there is none.
    fn written_end(&mut self) -> Result<u64, DiskError> {
        let (mut at, mut end) = (self.offset, self.offset);
        while at < self.file_len {
            let bytes = self.bytes(at, CHUNK)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        Ok(end)
    }

    /// A whole batch start between `from` and `end` which says that `from` was synced.
    fn witness(&mut self, from: u64, end: u64) -> Result<Option<(u64, u64)>, DiskError> {
        let salt = self.salt;
        let mut at = from;
        while at < end {
            let bytes = self.bytes(at, CHUNK + BatchStart::FRAME_LEN)?;
            let starts = bytes.len().saturating_sub(BatchStart::FRAME_LEN - 1).min(CHUNK);
            for start in 0..starts {
                if bytes[start] != BatchStart::KIND {
                    continue;
                }
                let place = at + start as u64;
                let frame_bytes = &bytes[start..start + BatchStart::FRAME_LEN];
                let Ok(frame) = frame::decode(frame_bytes, salt, place) else { continue };
                let batch = record::decode::<BatchStart>(frame.kind, frame.version, &frame.payload);
                if let Ok(batch) = batch
                    && batch.synced > from
                {
                    return Ok(Some((place, batch.synced)));
                }
            }
            if starts < CHUNK {
                break;
            }
            at += starts as u64;
        }
        Ok(None)
    }
}
