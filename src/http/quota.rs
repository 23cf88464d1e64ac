//! `--quota-backend-bytes`: how much the keyspace and its history may take. A write that would take more
//! is refused at the door, and an alarm raised through the log: under it every member refuses what adds.
//! Whatever gives space back goes on.
//!
//! Each member raises and clears its own alarm. What it takes to clear it is decided by [`Watch`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::Doors;
use crate::{
    actors::raft_node::Propose,
    command::{AlarmKind, Command, V2Command, V2Op, V3Op, V3Put, V3RequestOp, V3Txn},
};

/// What is counted for a key beside its own bytes and those of its value: etcd's figure.
const KEY_BYTES: usize = 256;
/// What is counted for a lease: etcd's figure.
const LEASE_BYTES: u64 = 64;
/// How often usage is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What of the quota is remembered between requests.
#[derive(Debug)]
pub struct Quota {
    /// `--quota-auto-disarm`: clear this member's alarm when there is room again.
    auto_disarm: bool,
    /// An alarm is being raised: once is enough.
    raising: Arc<AtomicBool>,
    /// This member has met its quota since its alarm was last cleared.
    met: Arc<AtomicBool>,
}

impl Quota {
    /// Of a member that clears its own alarm, or does not.
    pub fn new(auto_disarm: bool) -> Quota {
        Quota { auto_disarm, raising: Arc::default(), met: Arc::default() }
    }
}

/// What a v2 write adds at most; none for one that adds nothing.
pub fn v2_cost(command: &V2Command) -> Option<u64> {
    if !command.op.takes_space() {
        return None;
    }
    let value = match &command.op {
        V2Op::Set(write)
        | V2Op::Create(write)
        | V2Op::CreateInOrder(write)
        | V2Op::Update(write)
        | V2Op::CompareAndSwap { write, .. } => write.value.len(),
        V2Op::Delete { .. } | V2Op::CompareAndDelete(_) => 0,
    };
    Some((KEY_BYTES + command.path.len() + value) as u64)
}

/// What a v3 write adds at most; none for one that adds nothing.
pub fn v3_cost(op: &V3Op) -> Option<u64> {
    let bytes = match op {
        V3Op::Put(put) => put_cost(put),
        V3Op::Txn(txn) => txn_cost(txn),
        V3Op::LeaseGrant { .. } => LEASE_BYTES,
        _ => 0,
    };
    Some(bytes).filter(|&bytes| bytes > 0)
}

fn put_cost(put: &V3Put) -> u64 {
    (KEY_BYTES + put.key.len() + put.value.len()) as u64
}

/// Of the branch that costs more. The door has bounded how deep transactions are.
fn txn_cost(txn: &V3Txn) -> u64 {
    let branch = |ops: &[V3RequestOp]| {
        let costs = ops.iter().map(|op| match op {
            V3RequestOp::Put(put) => put_cost(put),
            V3RequestOp::Txn(inner) => txn_cost(inner),
            V3RequestOp::Range(_) | V3RequestOp::DeleteRange(_) => 0,
        });
        costs.sum::<u64>()
    };
    branch(&txn.success).max(branch(&txn.failure))
}

/// Whether so many bytes may be added. If not, the alarm is raised, unless it is raised already.
pub fn has_room(doors: &Doors, bytes: u64) -> bool {
    let Some(limit) = doors.settings.quota_backend_bytes else { return true };
    let state = doors.published.state.load();
    if state.size_bytes() + bytes < limit {
        return true;
    }
    let member = doors.published.identity.member_id;
    let is_raised = state.alarms().contains(&(member, AlarmKind::NoSpace));
    if is_raised || doors.quota.raising.swap(true, Ordering::AcqRel) {
        return false;
    }
    doors.quota.met.store(true, Ordering::Release);
    tracing::warn!(
        used_bytes = state.size_bytes(),
        quota_bytes = limit,
        "the quota is used up: writes are refused, and the alarm NOSPACE is raised"
    );
    let command = Command::Alarm { member, kind: AlarmKind::NoSpace, raised: true };
    let raising = Arc::clone(&doors.quota.raising);
    match doors.propose.ask(Propose(command)) {
        // Should it not get through the log, the next write that is refused tries again.
        Ok(answering) => drop(actix::spawn(async move {
            _ = answering.await;
            raising.store(false, Ordering::Release);
        })),
        Err(_) => raising.store(false, Ordering::Release),
    }
    false
}

/// What usage was when it was last looked at. Pure.
#[derive(Debug, Default, PartialEq)]
struct Watch {
    /// How many of [`LEVELS`] were reached, and told.
    told: usize,
}

/// Hundredths of the quota at which a warning is logged.
const LEVELS: [u64; 2] = [80, 95];
/// Hundredths of the quota below which an alarm that came of it is cleared.
const ROOM: u64 = 90;

/// What is to be done about usage.
#[derive(Debug, Default, PartialEq)]
struct Found {
    /// A level is reached that was not told since usage was well below it.
    warn: Option<u64>,
    /// There is no room, or not enough of it to clear an alarm.
    full: bool,
}

impl Watch {
    fn look(&mut self, used: u64, limit: u64) -> Found {
        let percent = u128::from(used) * 100 / u128::from(limit.max(1));
        let reached = LEVELS.iter().filter(|&&level| percent >= u128::from(level)).count();
        let warn = (reached > self.told).then(|| LEVELS[reached - 1]);
        // Usage that wavers around a level is told once: it must fall a little below it first.
        let left = LEVELS.iter().filter(|&&level| percent + 5 >= u128::from(level)).count();
        self.told = self.told.min(left).max(reached);
        Found { warn, full: percent >= u128::from(ROOM) }
    }
}

/// Looks at usage now and then, for as long as the member runs: warns, and clears the member's own alarm
/// when there is room again. One that somebody raised by hand, while there was room, stays.
pub async fn guard(doors: Arc<Doors>) {
    let Some(limit) = doors.settings.quota_backend_bytes else { return };
    let member = doors.published.identity.member_id;
    let (raising, met) = (&doors.quota.raising, &doors.quota.met);
    let mut watch = Watch::default();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (used, is_raised) = {
            let state = doors.published.state.load();
            let is_raised = state.alarms().contains(&(member, AlarmKind::NoSpace));
            (state.size_bytes(), is_raised)
        };
        let found = watch.look(used, limit);
        if let Some(percent) = found.warn {
            tracing::warn!(
                used_bytes = used,
                quota_bytes = limit,
                "more than {percent} % of the quota are used; delete or compact, or raise quota-backend-bytes"
            );
        }
        if !is_raised {
            if !raising.load(Ordering::Acquire) {
                met.store(false, Ordering::Release);
            }
        } else if found.full {
            met.store(true, Ordering::Release);
        } else if doors.quota.auto_disarm && met.load(Ordering::Acquire) {
            let command = Command::Alarm { member, kind: AlarmKind::NoSpace, raised: false };
            if let Ok(answering) = doors.propose.ask(Propose(command))
                && matches!(answering.await, Ok(Ok(_)))
            {
                tracing::info!(
                    used_bytes = used,
                    quota_bytes = limit,
                    "there is room again: the alarm NOSPACE is cleared"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{V2Write, V3DeleteRange};

    #[test]
    fn a_level_is_told_once_for_each_crossing() {
        let mut watch = Watch::default();
        for (used, warn, full) in [
            (790, None, false),
            (800, Some(80), false),
            (799, None, false),
            (805, None, false),
            (900, None, true),
            (960, Some(95), true),
            (940, None, true),
            (951, None, true),
            (850, None, false),
            (955, Some(95), true),
            (500, None, false),
            (2000, Some(95), true),
        ] {
            assert_eq!(watch.look(used, 1000), Found { warn, full }, "{used}");
        }
    }

    #[test]
    fn what_adds_has_a_price() {
        let put = |value: &str| V3Put { value: value.to_owned().into(), ..V3Put::default() };
        let ops = |ops: Vec<V3RequestOp>| V3Txn { success: ops, ..V3Txn::default() };
        let inner = ops(vec![V3RequestOp::Put(put("12345"))]);
        let two = V3Txn {
            failure: vec![V3RequestOp::Put(put("")), V3RequestOp::Txn(inner.clone())],
            ..inner.clone()
        };
        for (op, cost) in [
            (V3Op::Put(put("12345")), Some(261)),
            (V3Op::Txn(inner), Some(261)),
            (V3Op::Txn(two), Some(517)),
            (V3Op::Txn(ops(vec![V3RequestOp::DeleteRange(V3DeleteRange::default())])), None),
            (V3Op::Compact { revision: 1 }, None),
        ] {
            assert_eq!(v3_cost(&op), cost, "{op:?}");
        }
        let write = V2Write { value: "12345".into(), ..V2Write::default() };
        let kept = V2Write { refresh: true, ..V2Write::default() };
        for (op, cost) in [
            (V2Op::Set(write.clone()), Some(263)),
            (V2Op::Create(kept.clone()), Some(258)),
            (V2Op::Update(kept), None),
            (V2Op::Delete { dir: false, recursive: false }, None),
        ] {
            let command = V2Command { path: b"/a".to_vec(), op };
            assert_eq!(v2_cost(&command), cost, "{command:?}");
        }
    }
}
