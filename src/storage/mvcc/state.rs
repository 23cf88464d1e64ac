//! The replicated state and how it is read.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use bytes::Bytes;

use super::{
    auth::AuthState,
    membership::{Member, Membership},
    record::{Attached, DirRecord, KeyRecord, LeaseHolder, LeaseRecord, RevisionRecord},
    watch::{Part, Seen, SharedEvent, WatchPattern, bounds_below, is_tree_key},
};
use crate::{
    command::AlarmKind,
    storage::tree::Tree,
    types::{Index, LeaseId, MemberId, Revision, Term},
};

/// Everything that is replicated. Clones share all data.
#[derive(Clone, Debug)]
pub struct State {
    /// The last applied entry.
    pub applied_index: Index,
    /// Its term.
    pub applied_term: Term,
    /// The current revision; 1 when nothing was ever written.
    pub revision: Revision,
    /// History up to and including this revision is forgotten (reads at it still work); 0 if never.
    pub compacted: Revision,
    /// The record of the compacted revision, for a watch that has come just so far. Not kept in snapshots:
    /// after a start from one nobody has come so far.
    pub(crate) compacted_record: Option<Arc<RevisionRecord>>,
    pub(crate) keys: Tree<KeyRecord>,
    pub(crate) dirs: Tree<Arc<DirRecord>>,
    pub(crate) leases: Tree<Arc<LeaseRecord>>,
    /// The keys of v3 leases.
    pub(crate) attached: Tree<Attached>,
    /// Revisions after `compacted`; may still hold some before it that are being freed bit by bit.
    pub(crate) history: Tree<Arc<RevisionRecord>>,
    pub(crate) membership: Arc<Membership>,
    /// Alarms that are raised.
    pub(crate) alarms: Arc<BTreeSet<(MemberId, AlarmKind)>>,
    /// Users and roles.
    pub(crate) auth: Arc<AuthState>,
    /// Bytes that compacting all history would free, roughly.
    pub(crate) history_bytes: u64,
    /// Bytes of keys and values of the current versions.
    pub(crate) live_bytes: u64,
}

impl State {
    /// The state of a new cluster of `members`.
    pub fn new(members: Vec<Member>) -> State {
        State {
            applied_index: Index(0),
            applied_term: Term(0),
            revision: Revision(1),
            compacted: Revision(0),
            compacted_record: None,
            keys: Tree::new(),
            dirs: Tree::new(),
            leases: Tree::new(),
            attached: Tree::new(),
            history: Tree::new(),
            membership: Arc::new(Membership::new(members)),
            alarms: Arc::default(),
            auth: Arc::default(),
            history_bytes: 0,
            live_bytes: 0,
        }
    }

    /// The state with which `members` found a cluster: as if an entry that nobody can be sent had made
    /// them members. A member that joins later, and knows of no entry, is thus always sent a snapshot.
    pub fn founded_by(members: Vec<Member>) -> State {
        State { applied_index: Index(1), applied_term: Term(1), ..State::new(members) }
    }

    /// The members, by id.
    pub fn members(&self) -> &[Member] {
        self.membership.members()
    }

    /// The members and what may become of them.
    pub fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// Alarms that are raised, by member.
    pub fn alarms(&self) -> &BTreeSet<(MemberId, AlarmKind)> {
        &self.alarms
    }

    /// Users, roles, and whether they matter.
    pub fn auth(&self) -> &Arc<AuthState> {
        &self.auth
    }

    /// Whether a member's quota is used up: then nothing is added.
    pub fn is_full(&self) -> bool {
        self.alarms.iter().any(|(_, kind)| *kind == AlarmKind::NoSpace)
    }

    /// The current version of `key`.
    pub fn key(&self, key: &[u8]) -> Option<&KeyRecord> {
        self.keys.get(key)
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// A lease that has not ended.
    pub fn lease(&self, id: LeaseId) -> Option<&Arc<LeaseRecord>> {
        self.leases.get(&id)
    }

    /// All leases, by id.
    pub fn leases(&self) -> impl Iterator<Item = &Arc<LeaseRecord>> {
        self.leases.iter()
    }

    /// The keys that hang on a v3 lease, ascending.
    pub fn keys_of_lease(&self, lease: LeaseId) -> impl Iterator<Item = &Bytes> {
        let from = Attached { lease, key: Bytes::new() };
        let attached = self.attached.range(Bound::Included(&from), Bound::Unbounded);
        attached.take_while(move |attached| attached.lease == lease).map(|attached| &attached.key)
    }

    /// The keys that go when `lease` ends, ascending.
    pub fn keys_that_end_with(&self, lease: &LeaseRecord) -> Vec<Bytes> {
        match &lease.holder {
            LeaseHolder::Keys => self.keys_of_lease(lease.id).cloned().collect(),
            LeaseHolder::Key(key) => vec![key.clone()],
            LeaseHolder::Dir(path) => {
                let (from, to) = bounds_below(path);
                let below = self.keys.range(Bound::Included(&from), Bound::Excluded(&to));
                let in_tree = below.filter(|record| is_tree_key(record.key()));
                in_tree.map(|record| Bytes::copy_from_slice(record.key())).collect()
            }
        }
    }

    /// A record goes, or is replaced: a v2 lease ends with it, a v3 lease only lets it go. Returns the
    /// lease that ended.
    pub(crate) fn detach(&mut self, record: &KeyRecord) -> Option<LeaseId> {
        let lease = self.leases.get(&record.lease)?;
        if lease.is_v3() {
            let key = Bytes::copy_from_slice(record.key());
            self.attached.remove(&Attached { lease: record.lease, key });
            return None;
        }
        self.leases.remove(&record.lease);
        Some(record.lease)
    }

    /// Bytes of keys and values of all current versions.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes that only history holds, roughly.
    pub fn history_bytes(&self) -> u64 {
        self.history_bytes
    }

    /// How many revisions history holds, those included that compaction has forgotten and not freed yet.
    pub fn history_len(&self) -> usize {
        self.history.len()
    }

    /// Bytes that all of it takes, roughly: what a quota is held against.
    pub fn size_bytes(&self) -> u64 {
        /// Of a record and its places in trees, besides key and value.
        const KEY_BYTES: u64 = 128;
        const LEASE_BYTES: u64 = 128;
        let records = KEY_BYTES * (self.keys.len() + self.dirs.len()) as u64
            + LEASE_BYTES * (self.leases.len() + self.attached.len()) as u64;
        self.live_bytes + self.history_bytes + records
    }

    /// The oldest revision that can be replayed.
    pub fn oldest_revision(&self) -> Revision {
        self.compacted.next()
    }

    /// The records of revisions `from` and later, oldest first. History before
    /// [`State::oldest_revision`] is left out.
    pub fn history_from(&self, from: Revision) -> impl Iterator<Item = &Arc<RevisionRecord>> {
        let from = from.max(self.oldest_revision());
        self.history.range(Bound::Included(&from), Bound::Unbounded)
    }

    /// The first event at or after `from` that `pattern` is to see, from history.
    pub fn replay_first(&self, pattern: &WatchPattern, from: Revision) -> Option<Arc<SharedEvent>> {
        self.replay(pattern, from).next()
    }

    /// All events at or after `from` that `pattern` is to see, from history, oldest first.
    pub fn replay<'a>(
        &'a self,
        pattern: &'a WatchPattern,
        from: Revision,
    ) -> impl Iterator<Item = Arc<SharedEvent>> + 'a {
        self.history_from(from).filter(|record| !record.refresh).flat_map(move |record| {
            let parts: smallvec::SmallVec<[Part; 1]> = record
                .v2_parts()
                .filter(|&part| pattern.matches(record, part, Seen::Replay))
                .collect();
            parts.into_iter().map(|part| SharedEvent::new(Arc::clone(record), part))
        })
    }

    /// What the compacted revision did, if that is still known.
    pub fn compacted_record(&self) -> Option<&Arc<RevisionRecord>> {
        self.compacted_record.as_ref()
    }

    /// Frees up to `max` revisions that compaction has forgotten. Keeps the pause of a compaction short however much it forgets.
    pub fn free_compacted(&mut self, max: usize) {
        let oldest = self.oldest_revision();
        for record in self.history.prune_below(&oldest, max) {
            self.history_bytes -= record.superseded_bytes() as u64;
        }
    }

    /// Whether there is something for [`State::free_compacted`] to do.
    pub fn must_free(&self) -> bool {
        self.history.first().is_some_and(|record| record.revision < self.oldest_revision())
    }

    pub(crate) fn put_key(&mut self, record: KeyRecord) {
        self.live_bytes += record.len() as u64;
        if let Some(before) = self.keys.insert(record) {
            self.live_bytes -= before.len() as u64;
        }
    }

    pub(crate) fn take_key(&mut self, key: &[u8]) {
        if let Some(before) = self.keys.remove(key) {
            self.live_bytes -= before.len() as u64;
        }
    }

    /// Makes `record` the newest revision.
    pub(crate) fn commit(&mut self, record: Arc<RevisionRecord>) {
        assert!(record.revision == self.revision.next(), "revisions follow each other");
        self.revision = record.revision;
        self.history_bytes += record.superseded_bytes() as u64;
        self.history.insert(record);
    }
}
