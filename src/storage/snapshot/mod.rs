//! Snapshot files: records in checked chunks, whole or not there at all.
//!
//! What always holds: a file with a snapshot's name was complete and durable before it got that name;
//! a reader never yields a byte that does not check; nothing that might still be needed is removed.
//! What the records mean is for the state's own encoding to say. The bytes do not depend on the
//! member that wrote them but for one field, so a file can be sent to another member as it is.
//! Depends on the disk, the frames and the numbers of `types`.

mod dir;
mod encoder;
mod error;
mod export;
mod footer;
mod meta;
mod reader;
mod receiver;
mod writer;

pub use dir::{InvalidSnapshot, Newest, SnapshotDir, SnapshotName};
pub use error::{SnapshotDamage, SnapshotError};
pub use export::SnapshotExport;
pub use footer::SnapshotFooter;
pub use meta::{ConfState, SnapshotMeta};
pub use reader::SnapshotReader;
pub use receiver::SnapshotReceiver;
pub use writer::SnapshotWriter;
