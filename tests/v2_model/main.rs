//! The v2 tree over the MVCC keyspace, and its watchers, held against a model that is small enough to
//! be seen to be right: after every random operation both must tell the same.

mod model;
mod operations;
mod tree;
mod watch;
