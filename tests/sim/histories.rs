//! What the clients saw, as the search for an order takes it. Which order is tried first, the truth tells:
//! so the search is short where all is well. What it finds is its own.

use callboard::command::V3Op;
use callboard::storage::mvcc::Applied;
use callboard::storage::v3::{OpAnswer, V3Answer, V3Applied};

use super::clients::{Ended, Kind, Op};
use super::invariants::Invariant;
use super::ledger::Ledger;
use super::linearizable::{self, Call, Verdict};
use super::model::{self, Model, What};
use super::world::World;

/// Steps of the search, at most.
const SEARCH: u64 = 300_000;

impl World {
    /// What the clients saw, by itself, without the truth.
    pub fn is_linearizable(&mut self) {
        let calls = calls(&self.ops, &self.ledger);
        let many = calls.len();
        match linearizable::check(calls, Model::default(), model::step, SEARCH) {
            Verdict::Linearizable => {}
            Verdict::Unproven => self.stats.unproven += 1,
            Verdict::Not => {
                let what = format!("no order of the {many} operations explains them");
                self.check(Err(Invariant::Linearizability.broken(what)));
            }
        }
    }
}

/// The operations that tell something, and the ends that leases may have come to.
pub fn calls<'a>(ops: &'a [Op], ledger: &Ledger) -> Vec<Call<What<'a>>> {
    let calls = ops.iter().filter_map(|op| call_of(op, ledger));
    let mut calls: Vec<Call<What<'_>>> = calls.collect();
    let granted =
        ops.iter().filter(|op| matches!(op.ended, Some((_, Ended::Applied(_) | Ended::Unknown))));
    calls.extend(granted.filter_map(|op| match op.kind {
        Kind::V3(V3Op::LeaseGrant { id, .. }) => {
            let index = ledger.lease_terms.ended_by(id);
            let rank = index.map_or(u64::MAX, |index| 2 * index.0);
            Some(Call { invoked: op.began, returned: None, rank, what: What::Ends(id) })
        }
        _ => None,
    }));
    calls
}

fn call_of<'a>(op: &'a Op, ledger: &Ledger) -> Option<Call<What<'a>>> {
    let of_leases = matches!(op.kind, Kind::V3(V3Op::LeaseGrant { .. } | V3Op::LeaseRevoke { .. }));
    if !of_leases && !op.key.starts_with("/k/") {
        return None;
    }
    let (at, ended) = op.ended.as_ref()?;
    let is_read = match &op.kind {
        Kind::Get => true,
        Kind::Range { revision, serializable, .. } => {
            if *serializable || *revision != 0 {
                return None;
            }
            true
        }
        Kind::Set { .. }
        | Kind::Create { .. }
        | Kind::Swap { .. }
        | Kind::DeleteIf { .. }
        | Kind::Delete
        | Kind::V3(_) => false,
        _ => return None,
    };
    if matches!(op.kind, Kind::V3(V3Op::Compact { .. })) {
        return None;
    }
    let told = match ended {
        Ended::Failed => return None,
        Ended::Unknown if is_read => return None,
        Ended::Unknown => None,
        told => Some(told),
    };
    let returned = told.map(|_| *at);
    let what = What::Op(&op.key, &op.kind, told);
    // What looks at the state after an entry comes after it.
    let index = op.index.or_else(|| {
        let (index, applied) = ledger.outcome_of(op.name?)?;
        had_effect(applied).then_some(*index)
    });
    let rank = index.map_or(u64::MAX, |index| 2 * index.0 + u64::from(is_read));
    Some(Call { invoked: op.began, returned, rank, what })
}

/// Whether it changed something.
fn had_effect(applied: &Applied) -> bool {
    match applied {
        Applied::V2(result) => result.is_ok(),
        Applied::V3(V3Applied { result: Ok(answer), .. }) => match answer {
            V3Answer::Put(_) | V3Answer::Done | V3Answer::V2Auth(_) => true,
            V3Answer::DeleteRange(many, _) => *many > 0,
            V3Answer::Txn(txn) => txn.responses.iter().any(|response| match response {
                OpAnswer::Put(..) | OpAnswer::Txn(_) => true,
                OpAnswer::DeleteRange(_, many, _) => *many > 0,
                OpAnswer::Range(_) => false,
            }),
        },
        _ => false,
    }
}
