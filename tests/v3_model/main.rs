//! The v3 operations on the keyspace, v2 operations between them, held against a model that is small
//! enough to be seen to be right: it keeps every revision whole.

mod keyspace;
mod model;
mod operations;
