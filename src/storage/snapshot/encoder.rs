//! A snapshot's bytes, frame by frame, wherever they go.

use super::SnapshotMeta;
use super::footer::{self, SnapshotFooter};
use super::meta::{self, name_salt};
use super::reader::CHUNK_KIND;
use crate::storage::frame::{self, HEADER_LEN, Salt};

/// A chunk is closed when its records reach this many bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Holds one chunk. Whoever has it takes the bytes of each frame that is whole: after
/// [`SnapshotEncoder::begin`], after a [`SnapshotEncoder::push`] that says so, after
/// [`SnapshotEncoder::end_chunk`] and after [`SnapshotEncoder::end`].
pub(super) struct SnapshotEncoder {
    salt: Salt,
    buffer: Vec<u8>,
    records: u64,
    offset: u64,
    footer: SnapshotFooter,
}

impl SnapshotEncoder {
    /// Begins with the frame of `meta`.
    pub fn begin(meta: &SnapshotMeta) -> SnapshotEncoder {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 3));
        let start = frame::begin(&mut buffer);
        rmp_serde::encode::write(&mut buffer, meta).expect("a Vec takes all bytes");
        let salt = name_salt(meta.name());
        frame::finish(&mut buffer, start, meta::KIND, meta::VERSION, salt, 0);
        let footer = SnapshotFooter::default();
        SnapshotEncoder { salt: meta.salt(), buffer, records: 0, offset: 0, footer }
    }

    /// Appends a record; whether the chunk is whole now.
    pub fn push(&mut self, record: &[u8]) -> bool {
        let len = u32::try_from(record.len()).expect("size was limited when it was proposed");
        if self.buffer.is_empty() {
            _ = frame::begin(&mut self.buffer);
        }
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(record);
        self.records += 1;
        let full = self.buffer.len() - HEADER_LEN >= CHUNK_BYTES;
        if full {
            self.end_chunk();
        }
        full
    }

    /// Closes the chunk that is open, if one is.
    pub fn end_chunk(&mut self) {
        if self.records > 0 {
            self.footer.add(&self.buffer[HEADER_LEN..], self.records);
            self.records = 0;
            frame::finish(&mut self.buffer, 0, CHUNK_KIND, 1, self.salt, self.offset);
        }
    }

    /// Appends the footer; no chunk is open.
    pub fn end(&mut self) {
        let start = frame::begin(&mut self.buffer);
        rmp_serde::encode::write(&mut self.buffer, &self.footer).expect("a Vec takes all bytes");
        let (kind, version) = (footer::KIND, footer::VERSION);
        frame::finish(&mut self.buffer, start, kind, version, self.salt, self.offset);
    }

    /// What is to be taken, and where in the file it stands.
    pub fn frame(&self) -> (&[u8], u64) {
        (&self.buffer, self.offset)
    }

    /// It was taken.
    pub fn taken(&mut self) {
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
    }

    /// Bytes of all that was taken.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.footer.records + self.records
    }
}
