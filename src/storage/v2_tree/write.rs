//! Writing to the tree: etcd's v2 store operations, each of which makes exactly one revision, or none
//! and an error. The order of checks is etcd's (its `store.go`), since it decides which error is seen.

use std::{ops::Bound, sync::Arc};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::{V2Code, V2StoreError, read};
use crate::{
    command::{V2Command, V2Compare, V2Op, V2Write},
    storage::mvcc::{
        LeaseChange, State,
        record::{
            Action, Change, DirBefore, DirChange, DirRecord, KeyHead, KeyRecord, LeaseHolder,
            LeaseRecord, RevisionRecord,
        },
        watch::{bounds_below, is_tree_key},
    },
    types::{LeaseId, Revision, UnixNanos},
};

/// Leases of v2 TTLs are numbered from here by revision; a client's own id may lie in the way.
const FIRST_V2_LEASE: i64 = 1 << 62;

/// Whether a key whose last write made this revision has a lease of v2's: by its number, for the lease
/// may be gone. (An id that a client chose so would be taken for one.)
pub(super) fn is_v2_lease(lease: LeaseId, modified: Revision) -> bool {
    const IN_THE_WAY_MAX: i64 = 1 << 10;
    let last = FIRST_V2_LEASE.saturating_add(modified.0 as i64).saturating_add(IN_THE_WAY_MAX);
    (FIRST_V2_LEASE..=last).contains(&lease.0)
}

/// One write in progress: the state that it changes and what comes of it.
pub struct Writer<'a> {
    state: &'a mut State,
    time: UnixNanos,
    /// Leases that came and went.
    pub leases: SmallVec<[LeaseChange; 2]>,
}

/// What a path leads to.
enum Found {
    File(KeyRecord),
    Dir(Arc<DirRecord>),
}

impl<'a> Writer<'a> {
    /// A writer whose clock stands at the proposer's `time`.
    pub fn new(state: &'a mut State, time: UnixNanos) -> Self {
        Writer { state, time, leases: SmallVec::new() }
    }

    /// Carries out one command.
    pub fn apply(&mut self, command: &V2Command) -> Result<Arc<RevisionRecord>, V2StoreError> {
        let path = &command.path[..];
        let root = path == b"/";
        if command.op.takes_space() && self.state.is_full() {
            return Err(self.refuse(V2Code::NoSpace, b"etcdserver: mvcc: database space exceeded"));
        }
        match &command.op {
            V2Op::CreateInOrder(write) => {
                let stem = if root { &b""[..] } else { path };
                let name = format!("/{:020}", self.state.revision.next().0);
                self.create(&[stem, name.as_bytes()].concat(), write, false)
            }
            V2Op::CompareAndDelete(_) if root => Err(self.refuse(V2Code::NotFile, b"")),
            _ if root => Err(self.refuse(V2Code::RootReadOnly, b"/")),
            V2Op::Set(write) => self.create(path, write, true),
            V2Op::Create(write) => self.create(path, write, false),
            V2Op::Update(write) => self.update(path, write),
            V2Op::CompareAndSwap { compare, write } => self.compare_and_swap(path, compare, write),
            V2Op::Delete { dir, recursive } => self.delete(path, *dir || *recursive, *recursive),
            V2Op::CompareAndDelete(compare) => self.compare_and_delete(path, compare),
        }
    }

    /// Ends a lease: what hangs on it goes, with a revision of its own. None if it ended before, or if
    /// it is not v2's.
    pub fn expire(&mut self, id: LeaseId) -> Option<Arc<RevisionRecord>> {
        let lease = Arc::clone(self.state.leases.get(&id)?);
        match &lease.holder {
            LeaseHolder::Key(key) => {
                let file = self.state.keys.get(key).filter(|file| file.lease == id).cloned();
                assert!(
                    file.is_some(),
                    "a v2 lease lives exactly as long as the key that it holds"
                );
                Some(self.remove_file(Action::Expire, file?))
            }
            LeaseHolder::Dir(path) => {
                let dir = self.state.dirs.get(path).filter(|dir| dir.lease == id).cloned();
                assert!(dir.is_some(), "a v2 lease lives exactly as long as its directory");
                Some(self.remove_dir(Action::Expire, dir?))
            }
            LeaseHolder::Keys => None, // v3 ends its leases itself
        }
    }

    /// Set (`replace`) and create.
    fn create(
        &mut self,
        path: &[u8],
        write: &V2Write,
        replace: bool,
    ) -> Result<Arc<RevisionRecord>, V2StoreError> {
        let refresh = write.refresh && replace; // a create has nothing to keep: etcd ignores it there
        if refresh {
            self.find(path)?; // there must be something to refresh
        }
        let new_parents = self.missing_parents(path)?;
        let before = self.state.key(path).cloned();
        if before.is_none() && read::is_dir(self.state, path) {
            let code = if replace { V2Code::NotFile } else { V2Code::NodeExist };
            return Err(self.refuse(code, path));
        }
        if before.is_some() && !replace {
            return Err(self.refuse(V2Code::NodeExist, path));
        }
        let revision = self.state.revision.next();
        let action = if replace { Action::Set } else { Action::Create };
        self.add_dirs(new_parents);
        if !write.dir {
            let kept = before.clone();
            let value: &[u8] = match &kept {
                Some(file) if refresh => file.value(),
                _ => &write.value,
            };
            let head = KeyHead { create_revision: revision, version: 1, ..KeyHead::default() };
            return Ok(self.put_file(action, before, (path, value), head, (write.ttl, refresh)));
        }
        let mut changes = SmallVec::new();
        if let Some(file) = &before {
            self.take_key(file);
            changes.push(Change { before: Some(file.clone()), after: None });
        }
        let mut dir = DirRecord {
            path: Bytes::copy_from_slice(path),
            create_revision: revision,
            mod_revision: revision,
            lease: LeaseId(0),
            expires: UnixNanos(0),
        };
        (dir.lease, dir.expires) = self.grant(write.ttl, || LeaseHolder::Dir(dir.path.clone()));
        let dir = Arc::new(dir);
        self.state.dirs.insert(Arc::clone(&dir));
        let change = DirChange {
            path: dir.path.clone(),
            after: Some(dir),
            before: before.map(DirBefore::File),
            removed_dirs: Vec::new(),
        };
        Ok(self.commit(action, refresh, changes, Some(change)))
    }

    fn update(
        &mut self,
        path: &[u8],
        write: &V2Write,
    ) -> Result<Arc<RevisionRecord>, V2StoreError> {
        match self.find(path)? {
            Found::Dir(_) if !write.value.is_empty() => Err(self.refuse(V2Code::NotFile, path)),
            Found::Dir(before) => {
                self.revoke(before.lease);
                let (lease, expires) =
                    self.grant(write.ttl, || LeaseHolder::Dir(before.path.clone()));
                // As etcd: the directory itself keeps its old modifiedIndex; the event has the new one.
                let after = Arc::new(DirRecord { lease, expires, ..DirRecord::clone(&before) });
                self.state.dirs.insert(Arc::clone(&after));
                let change = DirChange {
                    path: before.path.clone(),
                    after: Some(after),
                    before: Some(DirBefore::Dir(before)),
                    removed_dirs: Vec::new(),
                };
                Ok(self.commit(Action::Update, write.refresh, SmallVec::new(), Some(change)))
            }
            Found::File(before) => Ok(self.rewrite(Action::Update, before, write)),
        }
    }

    fn compare_and_swap(
        &mut self,
        path: &[u8],
        compare: &V2Compare,
        write: &V2Write,
    ) -> Result<Arc<RevisionRecord>, V2StoreError> {
        let before = self.find_compared(path, compare)?;
        Ok(self.rewrite(Action::CompareAndSwap, before, write))
    }

    fn compare_and_delete(
        &mut self,
        path: &[u8],
        compare: &V2Compare,
    ) -> Result<Arc<RevisionRecord>, V2StoreError> {
        let before = self.find_compared(path, compare)?;
        self.keep_parents(path);
        Ok(self.remove_file(Action::CompareAndDelete, before))
    }

    fn delete(
        &mut self,
        path: &[u8],
        dir: bool,
        recursive: bool,
    ) -> Result<Arc<RevisionRecord>, V2StoreError> {
        match self.find(path)? {
            Found::File(before) => {
                self.keep_parents(path);
                Ok(self.remove_file(Action::Delete, before))
            }
            Found::Dir(_) if !dir => Err(self.refuse(V2Code::NotFile, path)),
            Found::Dir(_) if !recursive && self.has_children(path) => {
                Err(self.refuse(V2Code::DirNotEmpty, path))
            }
            Found::Dir(before) => {
                self.keep_parents(path);
                Ok(self.remove_dir(Action::Delete, before))
            }
        }
    }

    /// The file at `path`, if it compares.
    fn find_compared(&self, path: &[u8], compare: &V2Compare) -> Result<KeyRecord, V2StoreError> {
        let Found::File(file) = self.find(path)? else {
            return Err(self.refuse(V2Code::NotFile, path));
        };
        let V2Compare { prev_value, prev_index } = compare;
        let mut cause = Vec::new();
        if !prev_value.is_empty() && prev_value != file.value() {
            cause.extend([b"[", &prev_value[..], b" != ", file.value(), b"]"].concat());
        }
        if *prev_index != 0 && *prev_index != file.mod_revision.0 {
            let space = if cause.is_empty() { "" } else { " " };
            cause.extend(format!("{space}[{prev_index} != {}]", file.mod_revision).into_bytes());
        }
        if cause.is_empty() { Ok(file) } else { Err(self.refuse(V2Code::TestFailed, &cause)) }
    }

    fn find(&self, path: &[u8]) -> Result<Found, V2StoreError> {
        if let Some(file) = self.state.key(path) {
            return Ok(Found::File(file.clone()));
        }
        match read::dir_record(self.state, path) {
            Some(dir) => Ok(Found::Dir(dir)),
            None => Err(read::missing(self.state, path)),
        }
    }

    fn has_children(&self, path: &[u8]) -> bool {
        let (from, to) = bounds_below(path);
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        self.state.dirs.range(bounds.0, bounds.1).next().is_some()
            || self.state.keys.range(bounds.0, bounds.1).any(|record| is_tree_key(record.key()))
    }

    /// The directories above `path` that have no marker yet, top down. 104 if one of them is a file.
    fn missing_parents(&self, path: &[u8]) -> Result<Vec<Arc<DirRecord>>, V2StoreError> {
        let parent = &path[..path.iter().rposition(|&b| b == b'/').unwrap_or(0)];
        if parent.is_empty() || self.state.dirs.contains(parent) {
            return Ok(Vec::new()); // a marker is only made where all above is a directory
        }
        let revision = self.state.revision.next();
        let mut missing = Vec::new();
        for end in (1..path.len()).filter(|&at| path[at] == b'/') {
            let part = &path[..end];
            if self.state.key(part).is_some() {
                return Err(self.refuse(V2Code::NotDir, part));
            }
            if !self.state.dirs.contains(part) {
                missing.push(read::dir_record(self.state, part).unwrap_or_else(|| {
                    Arc::new(DirRecord {
                        path: Bytes::copy_from_slice(part),
                        create_revision: revision,
                        mod_revision: revision,
                        lease: LeaseId(0),
                        expires: UnixNanos(0),
                    })
                }));
            }
        }
        Ok(missing)
    }

    /// Parents stay when their last child goes. They have markers already unless v3 made the keys.
    fn keep_parents(&mut self, path: &[u8]) {
        if let Ok(parents) = self.missing_parents(path) {
            self.add_dirs(parents);
        }
    }

    fn add_dirs(&mut self, dirs: Vec<Arc<DirRecord>>) {
        for dir in dirs {
            self.state.dirs.insert(dir);
        }
    }

    /// A new version of an existing file: it keeps its creation, and its value on a refresh.
    fn rewrite(
        &mut self,
        action: Action,
        before: KeyRecord,
        write: &V2Write,
    ) -> Arc<RevisionRecord> {
        let kept = before.clone();
        let value = if write.refresh { kept.value() } else { &write.value };
        let head = KeyHead {
            create_revision: before.create_revision,
            version: before.version + 1,
            ..KeyHead::default()
        };
        self.put_file(action, Some(before), (kept.key(), value), head, (write.ttl, write.refresh))
    }

    fn put_file(
        &mut self,
        action: Action,
        before: Option<KeyRecord>,
        (key, value): (&[u8], &[u8]),
        mut head: KeyHead,
        (ttl, refresh): (Option<u64>, bool),
    ) -> Arc<RevisionRecord> {
        if let Some(before) = &before {
            self.detach(before);
        }
        (head.lease, head.expires) =
            self.grant(ttl, || LeaseHolder::Key(Bytes::copy_from_slice(key)));
        head.mod_revision = self.state.revision.next();
        let file = KeyRecord::new(key, value, head);
        self.state.put_key(file.clone());
        let change = Change { before, after: Some(file) };
        self.commit(action, refresh, smallvec![change], None)
    }

    fn remove_file(&mut self, action: Action, before: KeyRecord) -> Arc<RevisionRecord> {
        self.take_key(&before);
        let change = Change { before: Some(before), after: None };
        self.commit(action, false, smallvec![change], None)
    }

    /// Removes a directory with all that the tree shows below it.
    fn remove_dir(&mut self, action: Action, before: Arc<DirRecord>) -> Arc<RevisionRecord> {
        let (from, to) = bounds_below(&before.path);
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let keys: Vec<_> = self
            .state
            .keys
            .range(bounds.0, bounds.1)
            .filter(|record| is_tree_key(record.key()))
            .cloned()
            .collect();
        let dirs: Vec<_> = self.state.dirs.range(bounds.0, bounds.1).cloned().collect();
        let mut changes = SmallVec::with_capacity(keys.len());
        for key in keys {
            self.take_key(&key);
            changes.push(Change { before: Some(key), after: None });
        }
        let mut removed_dirs = Vec::with_capacity(dirs.len());
        for dir in dirs.into_iter().chain([Arc::clone(&before)]) {
            self.revoke(dir.lease);
            self.state.dirs.remove(&dir.path);
            removed_dirs.push(dir.path.clone());
        }
        removed_dirs.sort();
        let change = DirChange {
            path: before.path.clone(),
            after: None,
            before: Some(DirBefore::Dir(before)),
            removed_dirs,
        };
        self.commit(action, false, changes, Some(change))
    }

    fn take_key(&mut self, record: &KeyRecord) {
        self.detach(record);
        self.state.take_key(record.key());
    }

    /// A lease for `ttl` seconds from the proposal on, and its end; zeros without a TTL.
    fn grant(
        &mut self,
        ttl: Option<u64>,
        holder: impl FnOnce() -> LeaseHolder,
    ) -> (LeaseId, UnixNanos) {
        let Some(ttl) = ttl else { return (LeaseId(0), UnixNanos(0)) };
        let mut id = LeaseId(FIRST_V2_LEASE + self.state.revision.next().0 as i64);
        while self.state.leases.contains(&id) {
            id = LeaseId(id.0 + 1);
        }
        let end = self.time.0.saturating_add(ttl.saturating_mul(1_000_000_000));
        let expires = UnixNanos(end.min(i64::MAX as u64)); // the year 2262: for ever
        let lease = LeaseRecord { id, ttl, expires, holder: holder(), remaining: None };
        self.state.leases.insert(Arc::new(lease));
        self.leases.push(LeaseChange::Granted(id, ttl));
        (id, expires)
    }

    /// A record goes or is replaced, and with it its lease, if that is v2's.
    fn detach(&mut self, record: &KeyRecord) {
        self.leases.extend(self.state.detach(record).map(LeaseChange::Revoked));
    }

    /// Ends the lease of a directory that goes or changes.
    fn revoke(&mut self, id: LeaseId) {
        if id.0 != 0 && self.state.leases.remove(&id).is_some() {
            self.leases.push(LeaseChange::Revoked(id));
        }
    }

    fn commit(
        &mut self,
        action: Action,
        refresh: bool,
        changes: SmallVec<[Change; 1]>,
        dir: Option<DirChange>,
    ) -> Arc<RevisionRecord> {
        let revision = self.state.revision.next();
        let (time, dir) = (self.time, dir.map(Box::new));
        let record = Arc::new(RevisionRecord { revision, time, action, refresh, changes, dir });
        self.state.commit(Arc::clone(&record));
        record
    }

    fn refuse(&self, code: V2Code, cause: &[u8]) -> V2StoreError {
        V2StoreError { code, cause: cause.to_vec(), index: self.revision() }
    }

    fn revision(&self) -> Revision {
        self.state.revision
    }
}
