//! What a v3 command does to the state: at most one revision, or none and an error.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{TxnAnswer, V3Error, auth, lease, txn};
use crate::{
    command::{AlarmKind, V3Command, V3DeleteRange, V3Op, V3Put},
    storage::mvcc::{
        LeaseChange, State,
        auth::V2AuthAnswer,
        record::{Action, Attached, Change, KeyHead, KeyRecord, RevisionRecord},
    },
    types::{LeaseId, Revision, Term, UnixNanos},
};

/// The answer to a v3 write.
#[derive(Clone, Debug, PartialEq)]
pub struct V3Applied {
    /// The current revision after it, for the header.
    pub revision: Revision,
    /// What it gives, or why it was refused.
    pub result: Result<V3Answer, V3Error>,
}

/// What a v3 write gives.
#[derive(Clone, Debug, PartialEq)]
pub enum V3Answer {
    /// What was there before, if that was asked.
    Put(Option<KeyRecord>),
    /// How many went, and which, if that was asked.
    DeleteRange(u64, Vec<KeyRecord>),
    /// What its operations gave.
    Txn(TxnAnswer),
    /// What v2 tells of a change of users and roles.
    V2Auth(V2AuthAnswer),
    /// Done, and nothing to tell.
    Done,
}

/// All that a v3 command changed.
#[derive(Debug)]
pub struct Changed {
    /// For the proposer.
    pub applied: V3Applied,
    /// The revisions made: none or one, but several when several leases ended.
    pub records: SmallVec<[Arc<RevisionRecord>; 1]>,
    /// Leases that came and went.
    pub leases: SmallVec<[LeaseChange; 2]>,
}

/// Carries out `command`, proposed at `time`, in an entry of `term`.
pub fn apply(state: &mut State, term: Term, time: UnixNanos, command: &V3Command) -> Changed {
    let mut writer = Writer::new(state, time);
    let result = writer.apply(term, command);
    let (records, leases) = (writer.records, writer.leases);
    Changed { applied: V3Applied { revision: state.revision, result }, records, leases }
}

/// A write in progress.
pub(super) struct Writer<'a> {
    state: &'a mut State,
    pub(super) time: UnixNanos,
    changes: SmallVec<[Change; 1]>,
    pub(super) records: SmallVec<[Arc<RevisionRecord>; 1]>,
    pub(super) leases: SmallVec<[LeaseChange; 2]>,
}

impl<'a> Writer<'a> {
    fn new(state: &'a mut State, time: UnixNanos) -> Writer<'a> {
        let (changes, records, leases) = (SmallVec::new(), SmallVec::new(), SmallVec::new());
        Writer { state, time, changes, records, leases }
    }

    /// The state with all that was done so far.
    pub(super) fn state(&self) -> &State {
        self.state
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        self.state
    }

    fn apply(&mut self, term: Term, command: &V3Command) -> Result<V3Answer, V3Error> {
        auth::admit(self.state, command)?;
        self.admit(&command.op)?;
        let answer = match &command.op {
            V3Op::Put(put) => {
                check_put(self.state, put)?;
                V3Answer::Put(self.put(put))
            }
            V3Op::DeleteRange(delete) => {
                let (deleted, prev) = self.delete_range(delete);
                V3Answer::DeleteRange(deleted, prev)
            }
            V3Op::Txn(txn) => V3Answer::Txn(txn::write_txn(self, txn)?),
            V3Op::Compact { revision } => {
                self.compact(*revision)?;
                V3Answer::Done
            }
            V3Op::LeaseGrant { id, ttl } => {
                lease::grant(self, *id, *ttl)?;
                V3Answer::Done
            }
            V3Op::LeaseRevoke { id } => {
                lease::revoke(self, *id)?;
                V3Answer::Done
            }
            V3Op::LeaseExpire { leases, term: found_in } => {
                if *found_in == term {
                    lease::expire(self, leases);
                }
                V3Answer::Done
            }
            V3Op::LeaseCheckpoint { leases, term: found_in } => {
                if *found_in == term {
                    lease::checkpoint(self, leases);
                }
                V3Answer::Done
            }
            V3Op::Auth(change) => auth::change(&mut self.state.auth, change)?,
        };
        self.commit();
        Ok(answer)
    }

    /// Whether alarms let it pass. What gives space back, or takes none, passes a full store.
    fn admit(&self, op: &V3Op) -> Result<(), V3Error> {
        let alarms = self.state.alarms();
        if alarms.is_empty() {
            return Ok(());
        }
        let own = matches!(op, V3Op::LeaseExpire { .. } | V3Op::LeaseCheckpoint { .. });
        if !own && alarms.iter().any(|(_, kind)| *kind == AlarmKind::Corrupt) {
            return Err(V3Error::Corrupt);
        }
        let takes = match op {
            V3Op::Put(_) | V3Op::LeaseGrant { .. } => true,
            V3Op::Txn(txn) => txn::puts(txn),
            _ => false,
        };
        if takes && self.state.is_full() {
            return Err(V3Error::NoSpace);
        }
        Ok(())
    }

    /// The revision that is the current one so far: the new one as soon as something was changed.
    pub(super) fn revision(&self) -> Revision {
        if self.changes.is_empty() { self.state.revision } else { self.state.revision.next() }
    }

    /// Writes a key that [`check_put`] let pass; tells what was there, if that was asked.
    pub(super) fn put(&mut self, put: &V3Put) -> Option<KeyRecord> {
        let before = self.state.key(&put.key).cloned();
        let revision = self.state.revision.next();
        let mut head = KeyHead {
            create_revision: before.as_ref().map_or(revision, |before| before.create_revision),
            mod_revision: revision,
            version: before.as_ref().map_or(1, |before| before.version + 1),
            lease: put.lease,
            expires: UnixNanos(0),
        };
        if put.ignore_lease {
            head.lease = before.as_ref().map_or(LeaseId(0), |before| before.lease);
            head.expires = before.as_ref().map_or(UnixNanos(0), |before| before.expires);
        } else {
            self.detach(before.as_ref());
            if let Some(lease) = self.state.lease(put.lease) {
                head.expires = lease::shown_end(lease, self.time);
                let key = Bytes::copy_from_slice(&put.key); // not a part of a whole request
                self.state.attached.insert(Attached { lease: put.lease, key });
            }
        }
        let value = match &before {
            Some(before) if put.ignore_value => before.value(),
            _ => &put.value,
        };
        let after = KeyRecord::with_sub(&put.key, value, head, self.changes.len() as u32);
        self.state.put_key(after.clone());
        let prev = before.as_ref().filter(|_| put.prev_kv).cloned();
        self.changes.push(Change { before, after: Some(after) });
        prev
    }

    /// Deletes keys; tells how many, and which if that was asked.
    pub(super) fn delete_range(&mut self, delete: &V3DeleteRange) -> (u64, Vec<KeyRecord>) {
        let found: SmallVec<[KeyRecord; 1]> = match delete.keys.bounds() {
            None => return (0, Vec::new()),
            Some(_) if delete.keys.is_one() => {
                self.state.key(&delete.keys.key).into_iter().cloned().collect()
            }
            Some((from, to)) => self.state.keys.range(from, to).cloned().collect(),
        };
        for record in &found {
            self.delete(record);
        }
        let prev = if delete.prev_kv { found.to_vec() } else { Vec::new() };
        (found.len() as u64, prev)
    }

    /// Deletes a key that is there.
    pub(super) fn delete(&mut self, record: &KeyRecord) {
        self.detach(Some(record));
        self.state.take_key(record.key());
        self.changes.push(Change { before: Some(record.clone()), after: None });
    }

    fn detach(&mut self, record: Option<&KeyRecord>) {
        let ended = record.and_then(|record| self.state.detach(record));
        self.leases.extend(ended.map(LeaseChange::Revoked));
    }

    /// Makes a revision of what was changed since the last.
    fn commit(&mut self) {
        let deletes = self.changes.iter().filter(|change| change.after.is_none()).count();
        let action = match deletes {
            0 => Action::Set,
            _ if deletes == self.changes.len() => Action::Delete,
            _ => Action::Txn,
        };
        self.commit_as(action);
    }

    /// The same, for a change of this kind.
    pub(super) fn commit_as(&mut self, action: Action) {
        if self.changes.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        // Only those of a transaction may be in another order than that of their keys.
        let ascending = changes.is_sorted_by(|a, b| a.key() < b.key());
        let record = Arc::new(RevisionRecord {
            revision: self.state.revision.next(),
            time: self.time,
            action: if ascending || action == Action::Expire { action } else { Action::Txn },
            refresh: false,
            changes,
            dir: None,
        });
        self.state.commit(Arc::clone(&record));
        self.records.push(record);
    }

    fn compact(&mut self, revision: i64) -> Result<(), V3Error> {
        // etcd takes 0 on a store that was never compacted, and it changes nothing.
        if revision == 0 && self.state.compacted == Revision(0) {
            return Ok(());
        }
        if revision <= self.state.compacted.0 as i64 {
            return Err(V3Error::Compacted);
        }
        self.state.compact(Revision(revision as u64)).map(drop).map_err(|_| V3Error::FutureRevision)
    }
}

/// Whether a put can be carried out.
pub(super) fn check_put(state: &State, put: &V3Put) -> Result<(), V3Error> {
    if (put.ignore_value || put.ignore_lease) && state.key(&put.key).is_none() {
        return Err(V3Error::KeyNotFound);
    }
    let lease = if put.ignore_lease { LeaseId(0) } else { put.lease };
    if lease.0 != 0 && !state.lease(lease).is_some_and(|lease| lease.is_v3()) {
        return Err(V3Error::LeaseNotFound);
    }
    Ok(())
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
