//! The v3 operations on the MVCC keyspace, with the semantics of etcd's v3 store: [`range`] looks at a
//! state as it is or as it was, [`apply`] changes one. Pure: depends on `command`, `types` and the
//! keyspace.

mod apply;
mod error;
mod lease;
mod past;
mod range;
mod revisions;
#[cfg(test)]
mod scene;
mod txn;

pub use apply::{Changed, V3Answer, V3Applied, apply};
pub use error::{AuthError, V3Error};
pub use past::{View, revision_of};
pub use range::{RangeAnswer, filters, in_key_order, limit_of, range, work};
pub use revisions::{Revised, revisions};
pub use txn::{OpAnswer, TxnAnswer, read_txn, read_work, writes};
