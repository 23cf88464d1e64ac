//! v3 leases: none ends before the time that a client was told it would live, none is kept alive that has
//! ended, and its keys end with it, in one revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use callboard::command::{Command, KeyRange, Proposal, V3Command, V3Op};
use callboard::storage::mvcc::record::RevisionRecord;
use callboard::types::{Index, LeaseId, Term};

use super::{Broken, Invariant};
use crate::sim::ledger::Ledger;

/// A lease that an entry ends, and the keys that are on it then.
#[derive(Debug)]
pub struct Ending {
    id: LeaseId,
    pub ran_out: bool,
    keys: BTreeSet<Bytes>,
}

/// See the head of the module.
#[derive(Debug, Default)]
pub struct LeaseTerms {
    /// Clients were told that it lives until then.
    until: BTreeMap<LeaseId, u64>,
    /// When it ended, whether it ran out, and by which entry.
    ended: BTreeMap<LeaseId, (u64, bool, Index)>,
}

/// The leases that this entry ends.
pub fn ending(ledger: &Ledger, proposal: Option<&Proposal>, term: Term) -> Vec<Ending> {
    let Some(Proposal { command: Command::V3(V3Command { op, .. }), .. }) = proposal else {
        return Vec::new();
    };
    let (ids, ran_out) = match op {
        V3Op::LeaseRevoke { id } => (std::slice::from_ref(id), false),
        V3Op::LeaseExpire { leases, term: found_in } if *found_in == term => (&leases[..], true),
        _ => return Vec::new(),
    };
    let all = KeyRange { key: Bytes::new(), range_end: Bytes::from_static(b"\0") };
    let keys = ledger.keys_at(&all, ledger.state.revision);
    let living = ids.iter().filter(|&&id| ledger.state.lease(id).is_some());
    let ending = living.map(|&id| Ending {
        id,
        ran_out,
        keys: keys
            .iter()
            .filter(|record| record.lease == id)
            .map(|record| Bytes::copy_from_slice(record.key()))
            .collect(),
    });
    ending.collect()
}

/// Each that has keys makes one revision, which deletes these and nothing else.
pub fn with_their_keys(ending: &[Ending], records: &[Arc<RevisionRecord>]) -> Result<(), Broken> {
    if ending.is_empty() {
        return Ok(());
    }
    let expected = ending.iter().filter(|ended| !ended.keys.is_empty());
    let expected: Vec<&BTreeSet<Bytes>> = expected.map(|ended| &ended.keys).collect();
    let deleted = records.iter().map(|record| {
        let gone = record.changes.iter().filter(|change| change.after.is_none());
        let keys: BTreeSet<Bytes> =
            gone.map(|change| Bytes::copy_from_slice(change.key())).collect();
        (record.changes.len(), keys)
    });
    let deleted: Vec<(usize, BTreeSet<Bytes>)> = deleted.collect();
    let same = deleted.len() == expected.len()
        && deleted
            .iter()
            .zip(&expected)
            .all(|((changes, keys), expected)| *changes == expected.len() && keys == *expected);
    if same {
        return Ok(());
    }
    Err(Invariant::LeaseTerms.broken(format!("{ending:?} end with the deletions {deleted:?}")))
}

impl LeaseTerms {
    /// An entry has ended it.
    pub fn ended(&mut self, ended: &Ending, index: Index, now: u64) -> Result<(), Broken> {
        self.ended.insert(ended.id, (now, ended.ran_out, index));
        match self.until.get(&ended.id) {
            Some(&until) if ended.ran_out && now < until => Err(early(ended.id, until - now)),
            _ => Ok(()),
        }
    }

    /// The entry that ended it by its time.
    pub fn ended_by(&self, id: LeaseId) -> Option<Index> {
        self.ended.get(&id).filter(|ended| ended.1).map(|ended| ended.2)
    }

    /// A client was told that it lives until then; it had asked at `asked`.
    pub fn lives(&mut self, id: LeaseId, asked: u64, until: u64) -> Result<(), Broken> {
        match self.ended.get(&id) {
            Some(&(at, true, _)) if at < until => return Err(early(id, until - at)),
            Some(&(at, false, _)) if at < asked => {
                return Err(Invariant::LeaseTerms.broken(format!(
                    "lease {id:?} is said to live by one who was asked after it was revoked"
                )));
            }
            _ => {}
        }
        let known = self.until.entry(id).or_default();
        *known = until.max(*known);
        Ok(())
    }

    /// A client was told that it is gone, or soon will be.
    pub fn gone(&self, id: LeaseId, now: u64) -> Result<(), Broken> {
        match self.until.get(&id) {
            Some(&until) if !self.ended.contains_key(&id) && now < until => {
                Err(early(id, until - now))
            }
            _ => Ok(()),
        }
    }
}

fn early(id: LeaseId, by: u64) -> Broken {
    Invariant::LeaseTerms.broken(format!("lease {id:?} ends {} ms early", by / 1000))
}
