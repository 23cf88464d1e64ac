//! What the keys under `/k/` are for the clients, as far as their answers show: for the search for an order
//! that explains these. It is written for itself, from what the APIs promise, and shares no code with the
//! state that it judges.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use callboard::command::{
    CompareResult, CompareTarget, KeyRange, V3Compare, V3Op, V3Put, V3RequestOp, V3Txn,
};
use callboard::storage::mvcc::{Applied, record::KeyRecord, record::RevisionRecord};
use callboard::storage::v2_tree::V2Code;
use callboard::storage::v3::{OpAnswer, V3Answer, V3Applied, V3Error};
use callboard::types::LeaseId;

use super::clients::{Ended, Kind};

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    value: Bytes,
    version: u64,
    /// The revision that wrote it, once something told.
    modified: Option<u64>,
    lease: LeaseId,
}

/// See the head of the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    /// It is at least that.
    revision: u64,
    keys: BTreeMap<Bytes, Held>,
    leases: BTreeSet<LeaseId>,
}

/// Something that may have happened.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A client's operation, and what it was told, if it was.
    Op(&'a str, &'a Kind, Option<&'a Ended>),
    /// A lease runs out.
    Ends(LeaseId),
}

/// What the model is after it, if the answer fits; without one, if there was an effect.
pub fn step(model: &Model, what: &What<'_>) -> Option<Model> {
    match *what {
        What::Ends(id) => {
            let mut after = model.clone();
            let (known, deleted) = (after.leases.remove(&id), after.end_lease(id));
            if !known {
                return None;
            }
            if deleted {
                after.revision += 1;
            }
            Some(after)
        }
        What::Op(key, Kind::Get, Some(Ended::Read(seen))) => {
            model.read(&KeyRange::one(key.to_owned()), seen.revision.0, &seen.keys)
        }
        What::Op(_, Kind::Range { keys, .. }, Some(Ended::Read(seen))) => {
            model.read(keys, seen.revision.0, &seen.keys)
        }
        What::Op(_, Kind::V3(op), told) => match told {
            None => model.v3(op, None),
            Some(Ended::Applied(Applied::V3(applied))) => model.v3(op, Some(applied)),
            Some(_) => None,
        },
        What::Op(key, kind, told) => match told {
            None => model.v2(key, kind, None),
            Some(Ended::Applied(Applied::V2(Ok(record)))) => model.v2(key, kind, Some(record)),
            Some(Ended::Applied(Applied::V2(Err(error)))) => {
                let fits = model.v2_refuses(key, kind, false) == Some(error.code);
                fits.then(|| model.settled(false, Some(error.index.0)))?
            }
            Some(_) => None,
        },
    }
}

impl Model {
    fn held(&self, key: &[u8]) -> Option<&Held> {
        self.keys.get(key)
    }

    /// Itself, in the light of the revision that was told. Nothing, if what nobody was told of had no effect.
    fn settled(&self, wrote: bool, told: Option<u64>) -> Option<Model> {
        let revision = match told {
            Some(told) if told > self.revision || !wrote && told == self.revision => told,
            None if wrote => self.revision + 1,
            _ => return None,
        };
        Some(Model { revision, ..self.clone() })
    }

    fn read(&self, keys: &KeyRange, revision: u64, found: &[KeyRecord]) -> Option<Model> {
        let mut after = self.clone();
        after.saw(keys, found).then(|| after.settled(false, Some(revision)))?
    }

    /// Whether these are the keys of the range; learns when they were written.
    fn saw(&mut self, keys: &KeyRange, found: &[KeyRecord]) -> bool {
        let mut found = found.iter();
        for (_, held) in self.keys.iter_mut().filter(|(key, _)| keys.contains(key)) {
            let Some(record) = found.next().filter(|record| held.is(record)) else { return false };
            held.modified = Some(record.mod_revision.0);
        }
        found.next().is_none()
    }

    /// Why v2 would refuse it. What depends on a revision that nobody was told is as `unsure` says.
    fn v2_refuses(&self, key: &str, kind: &Kind, unsure: bool) -> Option<V2Code> {
        let held = self.held(key.as_bytes());
        let compares = |previous: &str, index: u64| {
            let held = held?;
            let value = previous.is_empty() || held.value == previous.as_bytes();
            let index = index == 0 || held.modified.map_or(unsure, |modified| modified == index);
            (!value || !index).then_some(V2Code::TestFailed)
        };
        match kind {
            Kind::Create { .. } => held.map(|_| V2Code::NodeExist),
            Kind::Swap { .. } | Kind::DeleteIf { .. } | Kind::Delete if held.is_none() => {
                Some(V2Code::KeyNotFound)
            }
            Kind::Swap { previous, index, .. } => compares(previous, *index),
            Kind::DeleteIf { previous } => compares(previous, 0),
            _ => None,
        }
    }

    fn v2(&self, key: &str, kind: &Kind, told: Option<&RevisionRecord>) -> Option<Model> {
        if self.v2_refuses(key, kind, true).is_some() {
            return None;
        }
        let held = self.held(key.as_bytes());
        if let Some(record) = told {
            let before = record.changes.first().and_then(|change| change.before.as_ref());
            if !same(held, before) {
                return None;
            }
        }
        let told = told.map(|record| record.revision.0);
        let key = Bytes::copy_from_slice(key.as_bytes());
        let mut after = self.clone();
        let (value, version) = match kind {
            Kind::Set { value, .. } | Kind::Create { value } => (value, 1),
            Kind::Swap { value, .. } => (value, held.map_or(0, |held| held.version) + 1),
            _ => {
                after.keys.remove(&key);
                return after.settled(true, told);
            }
        };
        let value = Bytes::copy_from_slice(value.as_bytes());
        after.keys.insert(key, Held { value, version, modified: told, lease: LeaseId(0) });
        after.settled(true, told)
    }

    fn v3(&self, op: &V3Op, told: Option<&V3Applied>) -> Option<Model> {
        let revision = told.map(|told| told.revision.0);
        let result = told.map(|told| &told.result);
        let refused = |error: V3Error| {
            (result == Some(&Err(error))).then(|| self.settled(false, revision)).flatten()
        };
        let answer = match result {
            Some(Ok(answer)) => Some(answer),
            _ => None,
        };
        let fails = matches!(result, Some(Err(_)));
        let mut after = self.clone();
        let wrote = match op {
            V3Op::Put(put) => {
                if let Some(error) = self.refuses(put) {
                    return refused(error);
                }
                let before = after.put(put, revision);
                match answer {
                    Some(V3Answer::Put(prev))
                        if !put.prev_kv || same(before.as_ref(), prev.as_ref()) => {}
                    None => {}
                    _ => return None,
                }
                true
            }
            V3Op::DeleteRange(delete) => {
                let gone = after.delete(&delete.keys);
                match answer {
                    Some(V3Answer::DeleteRange(many, prev))
                        if is_gone(&gone, *many, prev, delete.prev_kv) => {}
                    None => {}
                    _ => return None,
                }
                !gone.is_empty()
            }
            V3Op::Txn(txn) => match answer {
                Some(V3Answer::Txn(told)) => {
                    if self.holds(txn).is_some_and(|holds| holds != told.succeeded) {
                        return None;
                    }
                    let ops = if told.succeeded { &txn.success } else { &txn.failure };
                    if self.branch_refuses(ops).is_some() {
                        return None;
                    }
                    after.branch(ops, revision, Some(&told.responses))?
                }
                Some(_) => return None,
                None => {
                    let succeeded = self.holds(txn) != Some(false);
                    let ops = if succeeded { &txn.success } else { &txn.failure };
                    if let Some(error) = self.branch_refuses(ops) {
                        return refused(error);
                    }
                    after.branch(ops, None, None)?
                }
            },
            V3Op::LeaseGrant { id, .. } => {
                if !after.leases.insert(*id) {
                    return refused(V3Error::LeaseExists);
                }
                return match revision {
                    Some(_) if fails => None,
                    Some(_) => after.settled(false, revision),
                    None => Some(after), // that it is there is an effect of its own
                };
            }
            V3Op::LeaseRevoke { id } => {
                if !after.leases.remove(id) {
                    return refused(V3Error::LeaseNotFound);
                }
                let deleted = after.end_lease(*id);
                if !fails && revision.is_none() && !deleted {
                    return Some(after);
                }
                deleted
            }
            _ => return None,
        };
        if fails { None } else { after.settled(wrote, revision) }
    }

    fn refuses(&self, put: &V3Put) -> Option<V3Error> {
        if (put.ignore_value || put.ignore_lease) && self.held(&put.key).is_none() {
            return Some(V3Error::KeyNotFound);
        }
        let wants_lease = put.lease != LeaseId(0) && !put.ignore_lease;
        (wants_lease && !self.leases.contains(&put.lease)).then_some(V3Error::LeaseNotFound)
    }

    fn branch_refuses(&self, ops: &[V3RequestOp]) -> Option<V3Error> {
        ops.iter().find_map(|op| match op {
            V3RequestOp::Put(put) => self.refuses(put),
            _ => None,
        })
    }

    fn put(&mut self, put: &V3Put, modified: Option<u64>) -> Option<Held> {
        let before = self.keys.get(&put.key).cloned();
        let (mut value, mut lease) = (put.value.clone(), put.lease);
        let mut version = 1;
        if let Some(before) = &before {
            version = before.version + 1;
            if put.ignore_value {
                value = before.value.clone();
            }
            if put.ignore_lease {
                lease = before.lease;
            }
        }
        self.keys.insert(put.key.clone(), Held { value, version, modified, lease });
        before
    }

    fn delete(&mut self, keys: &KeyRange) -> Vec<Held> {
        let gone = self.keys.extract_if(.., |key, _| keys.contains(key));
        gone.map(|(_, held)| held).collect()
    }

    fn end_lease(&mut self, id: LeaseId) -> bool {
        let before = self.keys.len();
        self.keys.retain(|_, held| held.lease != id);
        self.keys.len() < before
    }

    /// None: that depends on what nobody was told.
    fn holds(&self, txn: &V3Txn) -> Option<bool> {
        let mut all = Some(true);
        for compare in &txn.compare {
            match self.compares(compare) {
                Some(false) => return Some(false),
                None => all = None,
                Some(true) => {}
            }
        }
        all
    }

    fn compares(&self, compare: &V3Compare) -> Option<bool> {
        assert_eq!(compare.result, CompareResult::Equal, "no other is asked here");
        let held = self.held(&compare.keys.key);
        match &compare.target {
            CompareTarget::Value(with) => Some(held.is_some_and(|held| held.value == with)),
            CompareTarget::Version(with) => {
                Some(held.map_or(0, |held| held.version) as i64 == *with)
            }
            CompareTarget::Mod(with) => match held {
                None => Some(*with == 0),
                Some(held) => held.modified.map(|modified| modified as i64 == *with),
            },
            CompareTarget::Lease(with) => Some(held.map_or(0, |held| held.lease.0) == *with),
            CompareTarget::Create(_) => None,
        }
    }

    /// Carries out the operations of a branch; whether it changed something, if the answers fit.
    fn branch(
        &mut self,
        ops: &[V3RequestOp],
        revision: Option<u64>,
        told: Option<&[OpAnswer]>,
    ) -> Option<bool> {
        let mut wrote = false;
        for (at, op) in ops.iter().enumerate() {
            let told = match told {
                Some(told) => Some(told.get(at)?),
                None => None,
            };
            let fits = match (op, told) {
                (V3RequestOp::Put(put), told) => {
                    let before = self.put(put, revision);
                    wrote = true;
                    match told {
                        Some(OpAnswer::Put(_, prev)) => {
                            !put.prev_kv || same(before.as_ref(), prev.as_ref())
                        }
                        told => told.is_none(),
                    }
                }
                (V3RequestOp::DeleteRange(delete), told) => {
                    let gone = self.delete(&delete.keys);
                    wrote |= !gone.is_empty();
                    match told {
                        Some(OpAnswer::DeleteRange(_, many, prev)) => {
                            is_gone(&gone, *many, prev, delete.prev_kv)
                        }
                        told => told.is_none(),
                    }
                }
                (V3RequestOp::Range(query), Some(OpAnswer::Range(answer))) => {
                    self.saw(&query.keys, &answer.keys)
                }
                (V3RequestOp::Range(_), told) => told.is_none(),
                (V3RequestOp::Txn(_), _) => false, // nobody asks this here
            };
            if !fits {
                return None;
            }
        }
        Some(wrote)
    }
}

impl Held {
    fn is(&self, record: &KeyRecord) -> bool {
        self.value == record.value()
            && self.version == record.version
            && self.lease == record.lease
            && self.modified.is_none_or(|modified| modified == record.mod_revision.0)
    }
}

fn same(held: Option<&Held>, record: Option<&KeyRecord>) -> bool {
    match (held, record) {
        (None, None) => true,
        (Some(held), Some(record)) => held.is(record),
        _ => false,
    }
}

fn is_gone(gone: &[Held], many: u64, told: &[KeyRecord], all: bool) -> bool {
    let same = gone.iter().zip(told).all(|(held, record)| held.is(record));
    gone.len() as u64 == many && (!all || gone.len() == told.len() && same)
}
