//! What the v2 store refuses, with etcd's error codes. The door adds the message and the HTTP status.

use crate::types::Revision;

/// The codes of etcd's v2 store (its `error/error.go`), those that the store itself raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum V2Code {
    /// 100
    KeyNotFound = 100,
    /// 101: a compare failed
    TestFailed = 101,
    /// 102: the operation is for files, the node is a directory
    NotFile = 102,
    /// 104: a part of the path is a file
    NotDir = 104,
    /// 105
    NodeExist = 105,
    /// 107: the root cannot be changed
    RootReadOnly = 107,
    /// 108
    DirNotEmpty = 108,
    /// 300, as all that is not the request's fault: the quota is used up
    NoSpace = 300,
    /// 401: the asked-for history is compacted
    EventIndexCleared = 401,
}

/// A refusal by the v2 store. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("v2 error {}: {}", *code as u16, String::from_utf8_lossy(cause))]
pub struct V2StoreError {
    /// etcd's code.
    pub code: V2Code,
    /// The path or comparison at fault (bytes: a path may be any bytes); may be empty.
    pub cause: Vec<u8>,
    /// The revision at which it was refused.
    pub index: Revision,
}
