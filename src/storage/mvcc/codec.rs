//! The state as a sequence of records, for snapshots, and back.
//!
//! Each record is one MessagePack array whose first element is its kind. They come in this order: one
//! head, the leases, the directory markers, the revisions of history, the keys, one tail with counts.
//! A version of a key that history holds is written once, there, and named by its place (revision,
//! number of the change) wherever else it occurs; docs/on-disk-format.md has the layout.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smallvec::SmallVec;

use super::{
    auth::AuthState,
    membership::{Member, Membership},
    record::{
        Action, Attached, Change, DirBefore, DirChange, DirRecord, KeyHead, KeyRecord, LeaseRecord,
        RevisionRecord,
    },
    state::State,
};
use crate::{
    command::AlarmKind,
    storage::tree::{Item, Tree},
    types::{Index, LeaseId, MemberId, Revision, Term, UnixNanos},
};

/// What is wrong with a sequence of records.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A record is not what its kind says.
    #[error("record {number} of the state cannot be read: {source}")]
    Malformed {
        /// Counted from 0.
        number: u64,
        /// What the decoder says.
        source: rmp_serde::decode::Error,
    },
    /// A record is well formed but cannot stand here.
    #[error("record {number} of the state: {what}")]
    Misplaced {
        /// Counted from 0.
        number: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The sequence ends too early.
    #[error("the state ends before its tail")]
    Incomplete,
}

const HEAD: u8 = 1;
const LEASE: u8 = 2;
const DIR: u8 = 3;
const REVISION: u8 = 4;
const KEY: u8 = 5;
const TAIL: u8 = 6;

#[derive(Serialize, Deserialize)]
struct Head {
    kind: u8,
    applied_index: Index,
    applied_term: Term,
    revision: Revision,
    compacted: Revision,
    members: Vec<Member>,
    #[serde(default)]
    removed: BTreeSet<MemberId>,
    #[serde(default)]
    alarms: BTreeSet<(MemberId, AlarmKind)>,
    /// Left out while nobody ever made a user or role: such states look as they did before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<AuthState>,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    kind: u8,
    leases: u64,
    dirs: u64,
    revisions: u64,
    keys: u64,
}

/// A version of a key: written out, or the place in history where it is.
#[derive(Serialize, Deserialize)]
struct KeyWire<'a> {
    at: Option<(Revision, u32)>,
    #[serde(borrow)]
    inline: Option<InlineKey<'a>>,
}

#[derive(Serialize, Deserialize)]
struct InlineKey<'a> {
    #[serde(with = "serde_bytes")]
    key: &'a [u8],
    #[serde(with = "serde_bytes")]
    value: &'a [u8],
    create: Revision,
    modified: Revision,
    version: u64,
    lease: LeaseId,
    expires: UnixNanos,
    /// Of versions that a v3 transaction wrote behind others.
    #[serde(default, skip_serializing_if = "is_first")]
    sub: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_first(sub: &u32) -> bool {
    *sub == 0
}

#[derive(Serialize, Deserialize)]
struct ChangeWire<'a> {
    #[serde(borrow)]
    before: Option<KeyWire<'a>>,
    #[serde(borrow)]
    after: Option<InlineKey<'a>>,
}

#[derive(Serialize, Deserialize)]
struct DirWire<'a> {
    path: Bytes,
    after: Option<DirRecord>,
    before_dir: Option<DirRecord>,
    #[serde(borrow)]
    before_file: Option<KeyWire<'a>>,
    removed_dirs: Vec<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct RevisionWire<'a> {
    kind: u8,
    revision: Revision,
    time: UnixNanos,
    action: u8,
    refresh: bool,
    #[serde(borrow)]
    changes: Vec<ChangeWire<'a>>,
    #[serde(borrow)]
    dir: Option<DirWire<'a>>,
}

impl<'a> InlineKey<'a> {
    fn of(record: &'a KeyRecord) -> Self {
        InlineKey {
            key: record.key(),
            value: record.value(),
            create: record.create_revision,
            modified: record.mod_revision,
            version: record.version,
            lease: record.lease,
            expires: record.expires,
            sub: record.sub(),
        }
    }

    fn record(&self) -> KeyRecord {
        let head = KeyHead {
            create_revision: self.create,
            mod_revision: self.modified,
            version: self.version,
            lease: self.lease,
            expires: self.expires,
        };
        KeyRecord::with_sub(self.key, self.value, head, self.sub)
    }
}

/// Hands every record of `state` to `sink`, in order.
pub fn encode<E>(state: &State, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut buffer = Vec::new();
    let mut put = |record: &dyn ErasedSerialize| {
        buffer.clear();
        record.write(&mut buffer);
        sink(&buffer)
    };
    put(&Head {
        kind: HEAD,
        applied_index: state.applied_index,
        applied_term: state.applied_term,
        revision: state.revision,
        compacted: state.compacted,
        members: state.members().to_vec(),
        removed: state.membership.removed().clone(),
        alarms: (*state.alarms).clone(),
        auth: (*state.auth != AuthState::default()).then(|| (*state.auth).clone()),
    })?;
    for lease in &state.leases {
        put(&(LEASE, &**lease))?;
    }
    for dir in &state.dirs {
        put(&(DIR, &**dir))?;
    }
    let mut revisions = 0;
    for record in state.history_from(Revision(0)) {
        put(&revision_wire(state, record))?;
        revisions += 1;
    }
    for key in &state.keys {
        put(&(KEY, key_wire(state, key)))?;
    }
    put(&Tail {
        kind: TAIL,
        leases: state.leases.len() as u64,
        dirs: state.dirs.len() as u64,
        revisions,
        keys: state.keys.len() as u64,
    })
}

/// Serialisation of records of different types through one closure.
trait ErasedSerialize {
    fn write(&self, out: &mut Vec<u8>);
}

impl<T: Serialize> ErasedSerialize for T {
    fn write(&self, out: &mut Vec<u8>) {
        rmp_serde::encode::write(out, self).expect("plain data into memory");
    }
}

/// A CRC-32C over all records: equal for equal states, on every member.
pub fn digest(state: &State) -> u32 {
    let mut crc = 0;
    let Ok(()) = encode(state, |record| {
        crc = crc32c::crc32c_append(crc, record);
        Ok::<(), std::convert::Infallible>(())
    });
    crc
}

fn key_wire<'a>(state: &State, record: &'a KeyRecord) -> KeyWire<'a> {
    if record.mod_revision > state.compacted {
        let revision = state.history.get(&record.mod_revision).expect("history is whole");
        let at = revision
            .changes
            .iter()
            .rposition(|c| c.after.as_ref().is_some_and(|after| after.key() == record.key()));
        if let Some(at) = at {
            return KeyWire { at: Some((record.mod_revision, at as u32)), inline: None };
        }
    }
    KeyWire { at: None, inline: Some(InlineKey::of(record)) }
}

fn revision_wire<'a>(state: &State, record: &'a RevisionRecord) -> RevisionWire<'a> {
    let changes = record.changes.iter().map(|change| ChangeWire {
        before: change.before.as_ref().map(|before| {
            if before.mod_revision == record.revision {
                // Put and deleted by one transaction: whoever reads does not have this revision yet.
                return KeyWire { at: None, inline: Some(InlineKey::of(before)) };
            }
            key_wire(state, before)
        }),
        after: change.after.as_ref().map(InlineKey::of),
    });
    let dir = record.dir.as_ref().map(|change| {
        let (before_dir, before_file) = match &change.before {
            None => (None, None),
            Some(DirBefore::Dir(dir)) => (Some(DirRecord::clone(dir)), None),
            Some(DirBefore::File(file)) => (None, Some(key_wire(state, file))),
        };
        DirWire {
            path: change.path.clone(),
            after: change.after.as_deref().cloned(),
            before_dir,
            before_file,
            removed_dirs: change.removed_dirs.clone(),
        }
    });
    RevisionWire {
        kind: REVISION,
        revision: record.revision,
        time: record.time,
        action: record.action as u8,
        refresh: record.refresh,
        changes: changes.collect(),
        dir,
    }
}

/// Rebuilds a state, record by record.
#[derive(Default)]
pub struct Loader {
    number: u64,
    head: Option<Head>,
    tail: Option<Tail>,
    leases: Vec<Arc<LeaseRecord>>,
    dirs: Vec<Arc<DirRecord>>,
    history: Vec<Arc<RevisionRecord>>,
    keys: Vec<KeyRecord>,
}

impl Loader {
    /// Takes the next record.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        // A MessagePack array of few elements: its head, then the kind as a small number.
        let &[_, kind, ..] = bytes else { return Err(self.misplaced("is empty")) };
        match (kind, &self.head, &self.tail) {
            (_, _, Some(_)) => return Err(self.misplaced("follows the tail")),
            (HEAD, None, _) => self.head = Some(self.decode(bytes)?),
            (_, None, _) | (HEAD, Some(_), _) => {
                return Err(self.misplaced("the head comes first, and once"));
            }
            (LEASE, ..) => {
                let (_, lease): (u8, LeaseRecord) = self.decode(bytes)?;
                let lease = Arc::new(lease);
                self.ascending(self.leases.last(), &lease)?;
                self.leases.push(lease);
            }
            (DIR, ..) => {
                let (_, dir): (u8, DirRecord) = self.decode(bytes)?;
                let dir = Arc::new(dir);
                self.ascending(self.dirs.last(), &dir)?;
                self.dirs.push(dir);
            }
            (REVISION, ..) => {
                let record = self.revision(bytes)?;
                self.history.push(record);
            }
            (KEY, ..) => {
                let key = self.key(bytes)?;
                self.ascending(self.keys.last(), &key)?;
                self.keys.push(key);
            }
            (TAIL, ..) => self.tail = Some(self.decode(bytes)?),
            _ => return Err(self.misplaced("is of an unknown kind")),
        }
        self.number += 1;
        Ok(())
    }

    /// The state, once all records were taken.
    pub fn finish(self) -> Result<State, CodecError> {
        let (Some(head), Some(tail)) = (&self.head, &self.tail) else {
            return Err(CodecError::Incomplete);
        };
        let found = [self.leases.len(), self.dirs.len(), self.history.len(), self.keys.len()];
        let told = [tail.leases, tail.dirs, tail.revisions, tail.keys];
        if found.map(|count| count as u64) != told {
            return Err(self.misplaced("counts other records than there were"));
        }
        let whole = head.revision.0.checked_sub(head.compacted.0.max(1));
        if Some(self.history.len() as u64) != whole {
            return Err(self.misplaced("history has a gap"));
        }
        let leases = Tree::from_sorted(self.leases);
        let is_v3 = |id| leases.get(&id).is_some_and(|lease: &Arc<LeaseRecord>| lease.is_v3());
        let attached = self.keys.iter().filter(|key| key.lease.0 != 0 && is_v3(key.lease));
        let mut attached: Vec<Attached> = attached
            .map(|key| Attached { lease: key.lease, key: Bytes::copy_from_slice(key.key()) })
            .collect();
        attached.sort_unstable();
        Ok(State {
            attached: Tree::from_sorted(attached),
            applied_index: head.applied_index,
            applied_term: head.applied_term,
            revision: head.revision,
            compacted: head.compacted,
            compacted_record: None,
            live_bytes: self.keys.iter().map(|key| key.len() as u64).sum(),
            history_bytes: self.history.iter().map(|r| r.superseded_bytes() as u64).sum(),
            membership: Arc::new(Membership::restore(head.members.clone(), head.removed.clone())),
            alarms: Arc::new(head.alarms.clone()),
            auth: Arc::new(head.auth.clone().unwrap_or_default().restored()),
            leases,
            dirs: Tree::from_sorted(self.dirs),
            history: Tree::from_sorted(self.history),
            keys: Tree::from_sorted(self.keys),
        })
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        rmp_serde::from_slice(bytes)
            .map_err(|source| CodecError::Malformed { number: self.number, source })
    }

    fn misplaced(&self, what: &'static str) -> CodecError {
        CodecError::Misplaced { number: self.number, what }
    }

    fn ascending<T: Item>(&self, last: Option<&T>, next: &T) -> Result<(), CodecError> {
        match last {
            Some(last) if last.key() >= next.key() => Err(self.misplaced("is out of order")),
            _ => Ok(()),
        }
    }

    fn key(&self, bytes: &[u8]) -> Result<KeyRecord, CodecError> {
        let (_, wire): (u8, KeyWire<'_>) = rmp_serde::from_slice(bytes)
            .map_err(|source| CodecError::Malformed { number: self.number, source })?;
        self.resolve(&wire)
    }

    /// The record that a wire form stands for; a place must lie in the history read so far.
    fn resolve(&self, wire: &KeyWire<'_>) -> Result<KeyRecord, CodecError> {
        if let Some(inline) = &wire.inline {
            return self.inline(inline);
        }
        let found = wire.at.and_then(|(revision, at)| {
            let first = self.history.first()?.revision.0;
            let record = self.history.get(usize::try_from(revision.0.checked_sub(first)?).ok()?)?;
            record.changes.get(at as usize)?.after.clone()
        });
        found.ok_or_else(|| self.misplaced("names a version that history does not hold"))
    }

    /// A version of a key, of a revision that there was: the first change makes the second revision.
    fn inline(&self, wire: &InlineKey<'_>) -> Result<KeyRecord, CodecError> {
        let last = self.head.as_ref().map_or(Revision(0), |head| head.revision);
        if !(Revision(2)..=last).contains(&wire.modified) {
            return Err(self.misplaced("is of a revision that there was not"));
        }
        Ok(wire.record())
    }

    fn revision(&self, bytes: &[u8]) -> Result<Arc<RevisionRecord>, CodecError> {
        let wire: RevisionWire<'_> = rmp_serde::from_slice(bytes)
            .map_err(|source| CodecError::Malformed { number: self.number, source })?;
        let head = self.head.as_ref().ok_or(CodecError::Incomplete)?;
        let expected = self
            .history
            .last()
            .map_or(head.compacted.max(Revision(1)).next(), |r| r.revision.next());
        if wire.revision != expected || wire.revision > head.revision {
            return Err(self.misplaced("is not the revision that follows"));
        }
        let mut changes = SmallVec::with_capacity(wire.changes.len().min(1024));
        for change in &wire.changes {
            let before = change.before.as_ref().map(|wire| self.resolve(wire)).transpose()?;
            let after = change.after.as_ref().map(|wire| self.inline(wire)).transpose()?;
            if before.is_none() && after.is_none() {
                return Err(self.misplaced("has a change without sides"));
            }
            changes.push(Change { before, after });
        }
        let dir = match &wire.dir {
            None => None,
            Some(dir) => {
                let before = match (&dir.before_dir, &dir.before_file) {
                    (Some(dir), _) => Some(DirBefore::Dir(Arc::new(dir.clone()))),
                    (None, Some(file)) => Some(DirBefore::File(self.resolve(file)?)),
                    (None, None) => None,
                };
                Some(Box::new(DirChange {
                    path: dir.path.clone(),
                    after: dir.after.clone().map(Arc::new),
                    before,
                    removed_dirs: dir.removed_dirs.clone(),
                }))
            }
        };
        Ok(Arc::new(RevisionRecord {
            revision: wire.revision,
            time: wire.time,
            action: Action::from_number(wire.action)
                .ok_or_else(|| self.misplaced("has an unknown action"))?,
            refresh: wire.refresh,
            changes,
            dir,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_a_revision_that_there_was_not_is_refused() {
        let mut records = Vec::new();
        let keep = |record: &[u8]| {
            records.push(record.to_vec());
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = encode(&State { revision: Revision(5), ..State::new(Vec::new()) }, keep);
        let key = |modified| KeyWire {
            at: None,
            inline: Some(InlineKey {
                key: b"/a",
                value: b"1",
                create: Revision(2),
                modified: Revision(modified),
                version: 1,
                lease: LeaseId(0),
                expires: UnixNanos(0),
                sub: 0,
            }),
        };
        for (modified, taken) in [(0, false), (1, false), (2, true), (5, true), (6, false)] {
            let mut loader = Loader::default();
            loader.push(&records[0]).expect("the head");
            let record = rmp_serde::to_vec(&(KEY, key(modified))).expect("plain data");
            assert_eq!(loader.push(&record).is_ok(), taken, "revision {modified}");
        }
    }
}
