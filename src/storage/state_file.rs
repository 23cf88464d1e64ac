//! A whole state as a snapshot file: the records of `mvcc::codec` in the container of `snapshot`.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use super::{
    disk::Disk,
    mvcc::{
        State,
        codec::{self, CodecError, Loader},
    },
    snapshot::{
        ConfState, SnapshotError, SnapshotExport, SnapshotMeta, SnapshotReader, SnapshotWriter,
    },
};
use crate::types::{ClusterId, MemberId};

/// The version of the records in a snapshot that this program writes and reads.
pub const STATE_VERSION: u32 = 1;

/// Why a snapshot file is no state.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The file cannot be read, or does not check.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// It checks, but its records are not a state.
    #[error("snapshot {name}: {error}")]
    State {
        /// The file.
        name: String,
        /// What is wrong.
        error: CodecError,
    },
    /// It was written by a newer version.
    #[error(
        "snapshot {name} has records of version {found}, this program reads version {STATE_VERSION}"
    )]
    Version {
        /// The file.
        name: String,
        /// Its version.
        found: u32,
    },
}

/// What the head of `state`'s file says.
pub fn meta_of(state: &State, cluster_id: ClusterId, member_id: MemberId) -> SnapshotMeta {
    SnapshotMeta {
        cluster_id,
        member_id,
        term: state.applied_term,
        index: state.applied_index,
        conf_state: ConfState {
            voters: state.membership().voters().collect(),
            learners: state.membership().learners().collect(),
            ..ConfState::default()
        },
        revision: state.revision,
        state_version: STATE_VERSION,
    }
}

/// Writes `state` as the snapshot file of `meta` into `dir`, durably; answers the file's size.
pub fn save(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    meta: &SnapshotMeta,
    state: &State,
) -> Result<u64, SnapshotError> {
    let mut writer = SnapshotWriter::create(Arc::clone(disk), dir, meta)?;
    codec::encode(state, |record| writer.push(record))?;
    writer.finish()
}

/// Exports `state` as the snapshot of `meta`, piece by piece, until `sink` breaks; answers the checksum
/// that belongs at the end. None if it broke.
pub fn export(
    meta: &SnapshotMeta,
    state: &State,
    sink: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Option<[u8; 32]> {
    let mut export = SnapshotExport::begin(meta, sink).ok()?;
    codec::encode(state, |record| export.push(record)).ok()?;
    export.finish().ok()
}

/// Reads the state that is left in `reader`, telling now and then how far it is (bytes done, in all).
pub fn load(
    reader: &mut SnapshotReader,
    mut on_progress: impl FnMut(u64, u64),
) -> Result<State, StateFileError> {
    const PROGRESS_RECORDS: u64 = 16_384;
    let name = reader.meta().name().file_name();
    let found = reader.meta().state_version;
    if found != STATE_VERSION {
        return Err(StateFileError::Version { name, found });
    }
    let mut loader = Loader::default();
    let mut records = 0_u64;
    let malformed = |error| StateFileError::State { name: name.clone(), error };
    while let Some(record) = reader.next()? {
        loader.push(record).map_err(malformed)?;
        records += 1;
        if records.is_multiple_of(PROGRESS_RECORDS) {
            let (done, total) = reader.progress();
            on_progress(done, total);
        }
    }
    loader.finish().map_err(malformed)
}
