//! The records that the keyspace is made of: versions of keys, directory markers, leases, and the
//! record of each revision, which is at once the history, the watch event and the answer to a write.
//!
//! Records never change once made; they are shared by reference between the current state, history,
//! published views, watchers and snapshots.

use std::{fmt, ops::Deref, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use triomphe::ThinArc;

use crate::{
    storage::tree::Item,
    types::{LeaseId, Revision, UnixNanos},
};

/// One version of a key. Head, key and value share one allocation, so that looking a key up in the tree
/// costs one miss of the cache for each key that it is compared with; clones share it.
#[derive(Clone, PartialEq)]
pub struct KeyRecord(ThinArc<(KeyHead, u32, u32), u8>);

/// What a version of a key is, besides key and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHead {
    /// When the key was created (after its last deletion).
    pub create_revision: Revision,
    /// When this version was written.
    pub mod_revision: Revision,
    /// 1 for a fresh key, one more with each write.
    pub version: u64,
    /// The lease it dies with; 0 is none.
    pub lease: LeaseId,
    /// When the lease ends, as the proposer's wall clock told it when this was written; 0 is never. Of a
    /// v3 lease that is kept alive it is only a guess.
    pub expires: UnixNanos,
}

impl KeyRecord {
    /// A version of `key`, the first or only change of its revision.
    pub fn new(key: &[u8], value: &[u8], head: KeyHead) -> Self {
        KeyRecord::with_sub(key, value, head, 0)
    }

    /// A version of `key` with its place among the changes of its revision.
    pub fn with_sub(key: &[u8], value: &[u8], head: KeyHead, sub: u32) -> Self {
        /// Longer ones are put together on the heap.
        const ON_STACK: usize = 512;
        let mut data = SmallVec::<[u8; ON_STACK]>::with_capacity(key.len() + value.len());
        data.extend_from_slice(key);
        data.extend_from_slice(value);
        KeyRecord(ThinArc::from_header_and_slice((head, key.len() as u32, sub), &data))
    }

    fn key_len(&self) -> usize {
        self.0.header.header.1 as usize
    }

    /// Its place among the changes of its revision, from 0: etcd's sub-revision.
    pub fn sub(&self) -> u32 {
        self.0.header.header.2
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.0.slice[..self.key_len()]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.0.slice[self.key_len()..]
    }

    /// Bytes of key and value together.
    pub fn len(&self) -> usize {
        self.0.slice.len()
    }

    /// Whether key and value are both empty.
    pub fn is_empty(&self) -> bool {
        self.0.slice.is_empty()
    }
}

impl Deref for KeyRecord {
    type Target = KeyHead;

    fn deref(&self) -> &KeyHead {
        &self.0.header.header.0
    }
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = (self.key().escape_ascii(), self.value().escape_ascii());
        write!(f, "{key} = {value} {:?}", **self)
    }
}

/// A directory of the v2 tree that exists by itself, not only through the keys below it: made on
/// purpose, with a TTL, or as the parent of a v2 write. v3 does not see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirRecord {
    /// `/a/b`, without trailing slash.
    pub path: Bytes,
    /// The revision that made it.
    pub create_revision: Revision,
    /// The revision that made it, too: etcd does not move it when a directory's TTL is changed.
    pub mod_revision: Revision,
    /// The lease it dies with; 0 is none.
    pub lease: LeaseId,
    /// When that is, by the proposer's wall clock; 0 is never.
    pub expires: UnixNanos,
}

/// A lease: a time to live that keys or one directory hang on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Its id, never 0.
    pub id: LeaseId,
    /// The granted time to live, in seconds.
    pub ttl: u64,
    /// When it ends by the proposer's wall clock.
    pub expires: UnixNanos,
    /// What ends with it.
    pub holder: LeaseHolder,
    /// Of a v3 lease: seconds that it had left when the leader last told, if it ever did.
    #[serde(default)]
    pub remaining: Option<u64>,
}

impl LeaseRecord {
    /// Whether v3 made it: then it lives by being kept alive, and not by the wall clock.
    pub fn is_v3(&self) -> bool {
        matches!(self.holder, LeaseHolder::Keys)
    }
}

/// A key that hangs on a v3 lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attached {
    /// The lease.
    pub lease: LeaseId,
    /// The key.
    pub key: Bytes,
}

/// What ends with a lease. A lease made by a v2 TTL has exactly one holder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LeaseHolder {
    /// A key.
    Key(Bytes),
    /// A directory and everything below it.
    Dir(Bytes),
    /// Of a v3 lease: the keys that are attached to it, which the state knows.
    Keys,
}

/// What kind of change a revision was, as v2 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// v2 set; a v3 put.
    Set,
    /// v2 create (also POST).
    Create,
    /// v2 update.
    Update,
    /// v2 compare-and-swap.
    CompareAndSwap,
    /// v2 delete; a v3 delete.
    Delete,
    /// v2 compare-and-delete.
    CompareAndDelete,
    /// A lease's end.
    Expire,
    /// A v3 transaction that put and deleted: each change is what its sides say.
    Txn,
}

impl Action {
    /// The action whose number (its place in the list, as snapshots store it) this is.
    pub fn from_number(number: u8) -> Option<Action> {
        const ALL: [Action; 8] = [
            Action::Set,
            Action::Create,
            Action::Update,
            Action::CompareAndSwap,
            Action::Delete,
            Action::CompareAndDelete,
            Action::Expire,
            Action::Txn,
        ];
        ALL.get(usize::from(number)).copied()
    }

    /// The name in v2's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Action::Set => "set",
            Action::Create => "create",
            Action::Update => "update",
            Action::CompareAndSwap => "compareAndSwap",
            Action::Delete => "delete",
            Action::CompareAndDelete => "compareAndDelete",
            Action::Expire => "expire",
            Action::Txn => "txn", // never seen: its events are told by their sides
        }
    }
}

/// One key's change within a revision: at least one side is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The version before; none if the key did not exist.
    pub before: Option<KeyRecord>,
    /// The version after; none if the key was deleted.
    pub after: Option<KeyRecord>,
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &[u8] {
        self.after.as_ref().or(self.before.as_ref()).expect("a change has a side").key()
    }
}

/// The v2 side of a revision that concerns a directory: it stands for all key changes of the revision.
#[derive(Clone, Debug, PartialEq)]
pub struct DirChange {
    /// Which directory.
    pub path: Bytes,
    /// The node after, if it still exists. Its `mod_revision` is the revision's own.
    pub after: Option<Arc<DirRecord>>,
    /// What was there before: the directory itself, or the file that it replaces.
    pub before: Option<DirBefore>,
    /// Paths of the directories that went with it, ascending (recursive delete, expiry).
    pub removed_dirs: Vec<Bytes>,
}

/// What a directory change found in its place.
#[derive(Clone, Debug, PartialEq)]
pub enum DirBefore {
    /// A directory.
    Dir(Arc<DirRecord>),
    /// A file, replaced by the directory.
    File(KeyRecord),
}

/// All that one revision did.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionRecord {
    /// Its number.
    pub revision: Revision,
    /// The proposer's clock when it was proposed.
    pub time: UnixNanos,
    /// The kind of change.
    pub action: Action,
    /// A v2 refresh: wakes no v2 watcher.
    pub refresh: bool,
    /// The keys changed: ascending, but those of a [`Action::Txn`] in the order of its operations,
    /// where a key that was put may be deleted again.
    pub changes: SmallVec<[Change; 1]>,
    /// Present when, seen from v2, the change is that of a directory.
    pub dir: Option<Box<DirChange>>,
}

impl RevisionRecord {
    /// The (first) change of `key`, if this revision changed it.
    pub fn change_of(&self, key: &[u8]) -> Option<&Change> {
        if self.action == Action::Txn {
            return self.changes.iter().find(|change| change.key() == key);
        }
        let at = self.changes.binary_search_by(|change| change.key().cmp(key)).ok()?;
        Some(&self.changes[at])
    }

    /// Bytes of superseded versions that only this record keeps alive, roughly: what compaction frees.
    pub fn superseded_bytes(&self) -> usize {
        const RECORD_BYTES: usize = 240; // of the two records and their places in trees, measured
        let values: usize =
            self.changes.iter().filter_map(|c| c.before.as_ref()).map(KeyRecord::len).sum();
        RECORD_BYTES + values
    }
}

/// A key in an inner node of the tree; short ones are in the node itself.
pub(crate) type KeySeparator = SmallVec<[u8; 32]>;

impl Item for KeyRecord {
    type Key = [u8];
    type Separator = KeySeparator;
    fn key(&self) -> &[u8] {
        KeyRecord::key(self)
    }
    fn separator(&self) -> KeySeparator {
        KeySeparator::from_slice(KeyRecord::key(self))
    }
}

impl Item for Arc<DirRecord> {
    type Key = [u8];
    type Separator = Bytes;
    fn key(&self) -> &[u8] {
        &self.path
    }
    fn separator(&self) -> Bytes {
        self.path.clone()
    }
}

impl Item for Attached {
    type Key = Attached;
    type Separator = Attached;
    fn key(&self) -> &Attached {
        self
    }
    fn separator(&self) -> Attached {
        self.clone()
    }
}

impl Item for Arc<LeaseRecord> {
    type Key = LeaseId;
    type Separator = LeaseId;
    fn key(&self) -> &LeaseId {
        &self.id
    }
    fn separator(&self) -> LeaseId {
        self.id
    }
}

impl Item for Arc<RevisionRecord> {
    type Key = Revision;
    type Separator = Revision;
    fn key(&self) -> &Revision {
        &self.revision
    }
    fn separator(&self) -> Revision {
        self.revision
    }
}
