//! Transactions: compares, the branch that they choose, and its operations, those inside it included.
//!
//! All compares of a transaction, those of inner ones too, are judged on the state before it; its
//! operations see what those before them did, and share one revision.

use std::cmp::Ordering;

use super::{
    RangeAnswer, V3Error,
    apply::Writer,
    past::{View, revision_of},
    range::{self, range},
};
use crate::{
    command::{
        CompareResult, CompareTarget, V3Compare, V3DeleteRange, V3Put, V3Range, V3RequestOp, V3Txn,
    },
    storage::mvcc::{State, record::KeyRecord},
    types::Revision,
};

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnAnswer {
    /// Whether the compares held.
    pub succeeded: bool,
    /// One for each operation of the branch that was taken.
    pub responses: Vec<OpAnswer>,
}

/// What came of one of its operations, with the revision that its header tells.
#[derive(Clone, Debug, PartialEq)]
pub enum OpAnswer {
    /// What was there.
    Range(RangeAnswer),
    /// What was there before, if that was asked.
    Put(Revision, Option<KeyRecord>),
    /// How many went, and which, if that was asked.
    DeleteRange(Revision, u64, Vec<KeyRecord>),
    /// An inner transaction.
    Txn(TxnAnswer),
}

/// Whether a transaction may change something: one of either branch puts or deletes.
pub fn writes(txn: &V3Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        V3RequestOp::Range(_) => false,
        V3RequestOp::Put(_) | V3RequestOp::DeleteRange(_) => true,
        V3RequestOp::Txn(inner) => writes(inner),
    })
}

/// Whether a transaction has a put in either branch.
pub(super) fn puts(txn: &V3Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        V3RequestOp::Range(_) | V3RequestOp::DeleteRange(_) => false,
        V3RequestOp::Put(_) => true,
        V3RequestOp::Txn(inner) => puts(inner),
    })
}

/// The branch that a transaction takes, and those that the transactions in it take.
struct Branch<'a> {
    succeeded: bool,
    ops: Vec<Step<'a>>,
}

enum Step<'a> {
    Range(&'a V3Range),
    Put(&'a V3Put),
    DeleteRange(&'a V3DeleteRange),
    Txn(Branch<'a>),
}

impl<'a> Branch<'a> {
    fn taken(state: &State, txn: &'a V3Txn) -> Branch<'a> {
        let succeeded = txn.compare.iter().all(|compare| holds(state, compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let ops = ops.iter().map(|op| match op {
            V3RequestOp::Range(query) => Step::Range(query),
            V3RequestOp::Put(put) => Step::Put(put),
            V3RequestOp::DeleteRange(delete) => Step::DeleteRange(delete),
            V3RequestOp::Txn(inner) => Step::Txn(Branch::taken(state, inner)),
        });
        Branch { succeeded, ops: ops.collect() }
    }

    /// Whether it can be carried out whole: looked at before anything is changed.
    fn check(&self, state: &State) -> Result<(), V3Error> {
        self.ops.iter().try_for_each(|step| match step {
            Step::Range(query) => check_range(state, query),
            Step::Put(put) => super::apply::check_put(state, put),
            Step::DeleteRange(_) => Ok(()),
            Step::Txn(inner) => inner.check(state),
        })
    }

    /// Whether one of its ranges names a revision: then the state before it is needed.
    fn looks_back(&self) -> bool {
        self.ops.iter().any(|step| match step {
            Step::Range(query) => query.revision > 0,
            Step::Txn(inner) => inner.looks_back(),
            Step::Put(_) | Step::DeleteRange(_) => false,
        })
    }
}

/// A transaction that only reads.
pub fn read_txn(state: &State, txn: &V3Txn) -> Result<TxnAnswer, V3Error> {
    let branch = Branch::taken(state, txn);
    branch.check(state)?;
    read(state, &branch)
}

fn read(state: &State, branch: &Branch<'_>) -> Result<TxnAnswer, V3Error> {
    let responses = branch.ops.iter().filter_map(|step| match step {
        Step::Range(query) => Some(range(state, query).map(OpAnswer::Range)),
        Step::Txn(inner) => Some(read(state, inner).map(OpAnswer::Txn)),
        Step::Put(_) | Step::DeleteRange(_) => None, // there is none in a transaction that only reads
    });
    Ok(TxnAnswer { succeeded: branch.succeeded, responses: responses.collect::<Result<_, _>>()? })
}

/// A transaction that may write.
pub(super) fn write_txn(writer: &mut Writer<'_>, txn: &V3Txn) -> Result<TxnAnswer, V3Error> {
    let branch = Branch::taken(writer.state(), txn);
    branch.check(writer.state())?;
    let before = branch.looks_back().then(|| writer.state().clone());
    write(writer, &branch, before.as_ref())
}

fn write(
    writer: &mut Writer<'_>,
    branch: &Branch<'_>,
    before: Option<&State>,
) -> Result<TxnAnswer, V3Error> {
    let mut responses = Vec::with_capacity(branch.ops.len());
    for step in &branch.ops {
        responses.push(match step {
            Step::Range(query) => {
                let named = query.revision > 0;
                let state = before.filter(|_| named).unwrap_or(writer.state());
                let mut answer = range(state, query)?;
                answer.revision = writer.revision();
                OpAnswer::Range(answer)
            }
            Step::Put(put) => {
                let prev = writer.put(put);
                OpAnswer::Put(writer.revision(), prev)
            }
            Step::DeleteRange(delete) => {
                let (deleted, prev) = writer.delete_range(delete);
                OpAnswer::DeleteRange(writer.revision(), deleted, prev)
            }
            Step::Txn(inner) => OpAnswer::Txn(write(writer, inner, before)?),
        });
    }
    Ok(TxnAnswer { succeeded: branch.succeeded, responses })
}

/// Whether a range can be answered. Here, other than in a range by itself, etcd compares also a negative
/// revision with the compacted one.
fn check_range(state: &State, query: &V3Range) -> Result<(), V3Error> {
    let first = if state.compacted == Revision(0) { -1 } else { state.compacted.0 as i64 };
    if query.revision < 0 && query.revision < first {
        return Err(V3Error::Compacted);
    }
    revision_of(state, query.revision).map(drop)
}

/// How much work a transaction that only reads is, roughly: keys and revisions to look at.
pub fn read_work(state: &State, txn: &V3Txn) -> usize {
    let compares = txn.compare.iter().map(|compare| match compare.keys.bounds() {
        Some((from, to)) if !compare.keys.is_one() => state.keys.count(from, to),
        _ => 1,
    });
    let ops = txn.success.iter().chain(&txn.failure).map(|op| match op {
        V3RequestOp::Range(query) => range::work(state, query),
        V3RequestOp::Txn(inner) => read_work(state, inner),
        V3RequestOp::Put(_) | V3RequestOp::DeleteRange(_) => 1,
    });
    compares.chain(ops).fold(0, usize::saturating_add)
}

/// Whether all keys of the range compare. A range without keys is like one key that does not exist:
/// its numbers are 0, and no value compares with it, not even as unequal.
fn holds(state: &State, compare: &V3Compare) -> bool {
    let view = View::new(state, &compare.keys, state.revision);
    let mut keys = view.iter(state, None).peekable();
    if keys.peek().is_none() {
        return compares(None, compare);
    }
    keys.all(|record| compares(Some(record), compare))
}

fn compares(record: Option<&KeyRecord>, compare: &V3Compare) -> bool {
    let number = |of: fn(&KeyRecord) -> i64, with: i64| record.map_or(0, of).cmp(&with);
    let ordering = match &compare.target {
        CompareTarget::Version(with) => number(|r| r.version as i64, *with),
        CompareTarget::Create(with) => number(|r| r.create_revision.0 as i64, *with),
        CompareTarget::Mod(with) => number(|r| r.mod_revision.0 as i64, *with),
        CompareTarget::Lease(with) => number(|r| r.lease.0, *with),
        CompareTarget::Value(with) => match record {
            Some(record) => record.value().cmp(with),
            None => return false,
        },
    };
    match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
    }
}

#[cfg(test)]
#[path = "txn_tests.rs"]
mod tests;
