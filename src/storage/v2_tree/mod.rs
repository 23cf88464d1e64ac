//! The v2 tree: a view of the MVCC keyspace as files and directories, with the semantics of etcd's v2
//! store. `read` looks at a state, `write` changes one, `node` tells how v2 sees records.

pub mod error;
pub mod node;
pub mod read;
pub mod stats;
pub mod write;

pub use error::{V2Code, V2StoreError};
pub use node::{V2Event, V2Kind, V2Node};
