//! The model: all keys of each revision, and operations said as plainly as can be.

use std::collections::{BTreeMap, BTreeSet};

use callboard::command::{
    CompareResult, CompareTarget, KeyRange, SortOrder, SortTarget, V3Compare, V3DeleteRange, V3Op,
    V3Put, V3Range, V3RequestOp, V3Txn,
};
use callboard::storage::v3::V3Error;

/// A key as it is shown.
#[allow(clippy::struct_field_names, reason = "the names are the field's")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub create: u64,
    pub modified: u64,
    pub version: u64,
    pub lease: i64,
}

/// What is there at one revision.
pub type Keys = BTreeMap<Vec<u8>, Version>;

/// An answer; numbers that begin it are revisions.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Range(u64, Vec<Version>, bool, u64),
    Put(u64, Option<Version>),
    Delete(u64, u64, Vec<Version>),
    Txn(bool, Vec<Answer>),
    Done,
}

/// Every revision from the first on: `at[0]` is revision 1.
#[derive(Clone, Debug)]
pub struct Model {
    pub at: Vec<Keys>,
    pub compacted: u64,
    pub leases: BTreeSet<i64>,
}

/// A write in progress.
struct Writing {
    keys: Keys,
    changed: bool,
}

impl Model {
    pub fn new() -> Model {
        Model { at: vec![Keys::new()], compacted: 0, leases: BTreeSet::new() }
    }

    pub fn revision(&self) -> u64 {
        self.at.len() as u64
    }

    pub fn now(&self) -> &Keys {
        self.at.last().expect("there is a first revision")
    }

    /// What another door has made of the keys.
    pub fn adopt(&mut self, keys: Keys) {
        self.at.push(keys);
    }

    pub fn apply(&mut self, op: &V3Op) -> Result<Answer, V3Error> {
        let mut writing = Writing { keys: self.now().clone(), changed: false };
        let answer = match op {
            V3Op::Put(put) => {
                self.check_put(put)?;
                let Answer::Put(_, prev) = self.put(&mut writing, put) else { unreachable!() };
                Answer::Put(0, prev)
            }
            V3Op::DeleteRange(delete) => match self.delete(&mut writing, delete) {
                Answer::Delete(_, count, prev) => Answer::Delete(0, count, prev),
                _ => unreachable!(),
            },
            V3Op::Txn(txn) => {
                self.check_txn(txn)?;
                self.txn(&mut writing, txn)?
            }
            V3Op::Compact { revision } => {
                let revision = *revision;
                if revision != 0 || self.compacted != 0 {
                    if revision <= self.compacted as i64 {
                        return Err(V3Error::Compacted);
                    }
                    if revision > self.revision() as i64 {
                        return Err(V3Error::FutureRevision);
                    }
                    self.compacted = revision as u64;
                }
                Answer::Done
            }
            V3Op::LeaseGrant { id, .. } => {
                if !self.leases.insert(id.0) {
                    return Err(V3Error::LeaseExists);
                }
                Answer::Done
            }
            V3Op::LeaseRevoke { id } => {
                if !self.leases.remove(&id.0) {
                    return Err(V3Error::LeaseNotFound);
                }
                let before = writing.keys.len();
                writing.keys.retain(|_, version| version.lease != id.0);
                writing.changed = writing.keys.len() < before;
                Answer::Done
            }
            other => panic!("the model does not know {other:?}"),
        };
        if writing.changed {
            self.at.push(writing.keys);
        }
        Ok(answer)
    }

    fn so_far(&self, writing: &Writing) -> u64 {
        self.revision() + u64::from(writing.changed)
    }

    fn check_put(&self, put: &V3Put) -> Result<(), V3Error> {
        if (put.ignore_value || put.ignore_lease) && !self.now().contains_key(&put.key[..]) {
            return Err(V3Error::KeyNotFound);
        }
        let lease = put.lease.0;
        if lease != 0 && !put.ignore_lease && !self.leases.contains(&lease) {
            return Err(V3Error::LeaseNotFound);
        }
        Ok(())
    }

    fn put(&self, writing: &mut Writing, put: &V3Put) -> Answer {
        let (modified, before) = (self.revision() + 1, writing.keys.get(&put.key[..]).cloned());
        let old = before.as_ref();
        let version = Version {
            key: put.key.to_vec(),
            value: match old {
                Some(old) if put.ignore_value => old.value.clone(),
                _ => put.value.to_vec(),
            },
            create: old.map_or(modified, |old| old.create),
            modified,
            version: old.map_or(0, |old| old.version) + 1,
            lease: match old {
                Some(old) if put.ignore_lease => old.lease,
                _ if put.ignore_lease => 0,
                _ => put.lease.0,
            },
        };
        writing.keys.insert(put.key.to_vec(), version);
        writing.changed = true;
        Answer::Put(modified, before.filter(|_| put.prev_kv))
    }

    fn delete(&self, writing: &mut Writing, delete: &V3DeleteRange) -> Answer {
        let gone = within(&writing.keys, &delete.keys);
        for version in &gone {
            writing.keys.remove(&version.key);
            writing.changed = true;
        }
        let count = gone.len() as u64;
        Answer::Delete(self.so_far(writing), count, if delete.prev_kv { gone } else { Vec::new() })
    }

    fn takes(&self, txn: &V3Txn) -> bool {
        txn.compare.iter().all(|compare| holds(self.now(), compare))
    }

    fn taken<'a>(&self, txn: &'a V3Txn) -> &'a [V3RequestOp] {
        if self.takes(txn) { &txn.success } else { &txn.failure }
    }

    fn check_txn(&self, txn: &V3Txn) -> Result<(), V3Error> {
        self.taken(txn).iter().try_for_each(|op| match op {
            V3RequestOp::Range(query) => {
                let first = if self.compacted == 0 { -1 } else { self.compacted as i64 };
                if query.revision < 0 && query.revision < first {
                    return Err(V3Error::Compacted);
                }
                self.revision_of(query).map(drop)
            }
            V3RequestOp::Put(put) => self.check_put(put),
            V3RequestOp::DeleteRange(_) => Ok(()),
            V3RequestOp::Txn(inner) => self.check_txn(inner),
        })
    }

    fn txn(&self, writing: &mut Writing, txn: &V3Txn) -> Result<Answer, V3Error> {
        let mut answers = Vec::new();
        for op in self.taken(txn) {
            answers.push(match op {
                V3RequestOp::Range(query) => {
                    let at = self.revision_of(query)?;
                    let keys = if query.revision > 0 { self.keys_at(at) } else { &writing.keys };
                    answer(keys, query, self.so_far(writing))
                }
                V3RequestOp::Put(put) => self.put(writing, put),
                V3RequestOp::DeleteRange(delete) => self.delete(writing, delete),
                V3RequestOp::Txn(inner) => self.txn(writing, inner)?,
            });
        }
        Ok(Answer::Txn(self.takes(txn), answers))
    }

    fn revision_of(&self, query: &V3Range) -> Result<u64, V3Error> {
        if query.revision <= 0 {
            return Ok(self.revision());
        }
        let revision = query.revision as u64;
        if revision > self.revision() {
            return Err(V3Error::FutureRevision);
        }
        if revision < self.compacted { Err(V3Error::Compacted) } else { Ok(revision) }
    }

    fn keys_at(&self, revision: u64) -> &Keys {
        &self.at[revision as usize - 1]
    }

    pub fn range(&self, query: &V3Range) -> Result<Answer, V3Error> {
        let at = self.revision_of(query)?;
        Ok(answer(self.keys_at(at), query, self.revision()))
    }
}

/// The keys of a range.
fn within(keys: &Keys, range: &KeyRange) -> Vec<Version> {
    let (first, end) = (range.key.as_ref(), range.range_end.as_ref());
    let is_in = |key: &[u8]| match end {
        b"" => key == first,
        b"\0" => key >= first,
        end => key >= first && key < end,
    };
    keys.values().filter(|version| is_in(&version.key)).cloned().collect()
}

fn answer(keys: &Keys, query: &V3Range, revision: u64) -> Answer {
    let mut found = within(keys, &query.keys);
    let count = found.len() as u64;
    if query.count_only {
        return Answer::Range(revision, Vec::new(), false, count);
    }
    let limit = usize::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let bounds = [
        query.min_mod_revision,
        query.max_mod_revision,
        query.min_create_revision,
        query.max_create_revision,
    ];
    if query.sort_order == SortOrder::None && bounds == [0; 4] {
        found.truncate(limit.saturating_add(1)); // etcd's walk ends here, whatever is sorted then
    }
    found.retain(|version| {
        let (modified, create) = (version.modified as i64, version.create as i64);
        let [min_mod, max_mod, min_create, max_create] = bounds;
        (min_mod == 0 || modified >= min_mod)
            && (max_mod == 0 || modified <= max_mod)
            && (min_create == 0 || create >= min_create)
            && (max_create == 0 || create <= max_create)
    });
    let descending = query.sort_order == SortOrder::Descend;
    found.sort_by(|one, other| {
        let (one, other) = if descending { (other, one) } else { (one, other) };
        match query.sort_target {
            SortTarget::Key => one.key.cmp(&other.key),
            SortTarget::Version => one.version.cmp(&other.version),
            SortTarget::Create => one.create.cmp(&other.create),
            SortTarget::Mod => one.modified.cmp(&other.modified),
            SortTarget::Value => one.value.cmp(&other.value),
        }
    });
    let more = found.len() > limit;
    found.truncate(limit);
    Answer::Range(revision, found, more, count)
}

fn holds(keys: &Keys, compare: &V3Compare) -> bool {
    let mut found = within(keys, &compare.keys);
    if found.is_empty() {
        if let CompareTarget::Value(_) = compare.target {
            return false;
        }
        let (key, value) = (Vec::new(), Vec::new());
        found.push(Version { key, value, create: 0, modified: 0, version: 0, lease: 0 });
    }
    found.iter().all(|version| {
        let ordering = match &compare.target {
            CompareTarget::Version(with) => (version.version as i64).cmp(with),
            CompareTarget::Create(with) => (version.create as i64).cmp(with),
            CompareTarget::Mod(with) => (version.modified as i64).cmp(with),
            CompareTarget::Lease(with) => version.lease.cmp(with),
            CompareTarget::Value(with) => version.value[..].cmp(with),
        };
        match compare.result {
            CompareResult::Equal => ordering.is_eq(),
            CompareResult::NotEqual => ordering.is_ne(),
            CompareResult::Less => ordering.is_lt(),
            CompareResult::Greater => ordering.is_gt(),
        }
    })
}
