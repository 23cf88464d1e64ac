//! A snapshot as it is handed out: the file, with a head that says its name, for the receiver may call it
//! anything, and at the end what `etcdctl snapshot save` looks for, the SHA-256 of all before it.
//!
//! Head: [`MAGIC`], index, term. Then the snapshot file, zeros, and its length, which end with a sector.
//! Then 32 bytes of SHA-256. Numbers are 8 bytes little-endian.

use std::ops::ControlFlow;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::encoder::SnapshotEncoder;
use super::{SnapshotDamage, SnapshotError, SnapshotMeta, SnapshotName};
use crate::storage::disk::DiskFile;
use crate::types::{Index, Term};

/// The first bytes of an exported snapshot.
pub(super) const MAGIC: &[u8; 16] = b"CALLBOARD SNAP 1";
const HEAD_LEN: u64 = 32;
const SUM_LEN: u64 = 32;
const SECTOR: u64 = 512;

/// Exports a snapshot piece by piece, until `sink` breaks. It holds one chunk in memory.
pub struct SnapshotExport<F> {
    encoder: SnapshotEncoder,
    sum: Sha256,
    sink: F,
}

impl<F: FnMut(&[u8]) -> ControlFlow<()>> SnapshotExport<F> {
    /// Begins the export of `meta`'s snapshot.
    pub fn begin(meta: &SnapshotMeta, sink: F) -> Result<SnapshotExport<F>, ControlFlow<()>> {
        let encoder = SnapshotEncoder::begin(meta);
        let mut export = SnapshotExport { encoder, sum: Sha256::new(), sink };
        let (index, term) = (meta.index.0.to_le_bytes(), meta.term.0.to_le_bytes());
        export.put(&[&MAGIC[..], &index, &term].concat())?;
        export.put_frame()?;
        Ok(export)
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) -> Result<(), ControlFlow<()>> {
        if self.encoder.push(record) { self.put_frame() } else { Ok(()) }
    }

    /// Completes the snapshot; answers the checksum, which is to be handed out last.
    pub fn finish(mut self) -> Result<[u8; 32], ControlFlow<()>> {
        self.encoder.end_chunk();
        self.put_frame()?;
        self.encoder.end();
        self.put_frame()?;
        let len = self.encoder.offset();
        let zeros = SECTOR - (HEAD_LEN + len + 8) % SECTOR;
        let mut end = vec![0; zeros as usize];
        end.extend_from_slice(&len.to_le_bytes());
        self.put(&end)?;
        Ok(self.sum.finalize().into())
    }

    fn put_frame(&mut self) -> Result<(), ControlFlow<()>> {
        let (frame, _) = self.encoder.frame();
        self.sum.update(frame);
        let flow = (self.sink)(frame);
        self.encoder.taken();
        broken(flow)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ControlFlow<()>> {
        self.sum.update(bytes);
        broken((self.sink)(bytes))
    }
}

fn broken(flow: ControlFlow<()>) -> Result<(), ControlFlow<()>> {
    if flow.is_break() { Err(flow) } else { Ok(()) }
}

/// Where the snapshot is in an exported file, and its name; none if it is no exported file. Every byte
/// of it was checked then.
pub(super) fn find(
    file: &dyn DiskFile,
    path: &Path,
) -> Result<Option<(SnapshotName, u64, u64)>, SnapshotError> {
    let mut head = [0; HEAD_LEN as usize];
    let read = file.read_at(&mut head, 0)?;
    if read < head.len() || !head.starts_with(MAGIC) {
        return Ok(None);
    }
    let damaged = |offset, kind| SnapshotError::Damaged { path: path.to_owned(), offset, kind };
    let number = |bytes: &[u8]| {
        bytes.try_into().map(u64::from_le_bytes).expect("eight bytes of a place that has them")
    };
    let name =
        SnapshotName { index: Index(number(&head[16..24])), term: Term(number(&head[24..])) };
    let file_len = file.len()?;
    let summed = file_len.saturating_sub(SUM_LEN);
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while at < summed {
        let wanted = (buffer.len() as u64).min(summed - at) as usize;
        let read = file.read_at(&mut buffer[..wanted], at)?;
        if read == 0 {
            break;
        }
        sum.update(&buffer[..read]);
        at += read as u64;
    }
    let mut stored = [0; SUM_LEN as usize];
    let read = file.read_at(&mut stored, summed)?;
    if summed % SECTOR != 0 || read < stored.len() || sum.finalize()[..] != stored {
        return Err(damaged(summed, SnapshotDamage::Sum));
    }
    let mut len = [0; 8];
    file.read_at(&mut len, summed - 8)?;
    let len = u64::from_le_bytes(len);
    if len > summed - HEAD_LEN - 8 {
        return Err(damaged(summed - 8, SnapshotDamage::Sum));
    }
    Ok(Some((name, HEAD_LEN, len)))
}
