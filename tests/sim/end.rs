//! The end of a run: faults stop, everyone starts who is down, and the cluster must come to rest whole.

use callboard::storage::mvcc::{State, codec};

use super::clients::{Ended, Kind, Op};
use super::invariants::{Invariant, leases, watches};
use super::linearizable::{self, Action, Call, Outcome, Verdict};
use super::settings::SECOND;
use super::world::{Event, World, id_of};
use callboard::storage::mvcc::Applied;
use callboard::storage::v2_tree::V2Code;

/// Steps of the search for an order of one key's operations, at most.
const SEARCH: u64 = 300_000;

impl World {
    /// All faults stop.
    pub fn heal(&mut self) {
        self.healed_at = Some(self.now);
        self.removed_before = self.ledger.state.membership().removed().len();
        self.trace.line(self.now, || "all faults stop".to_owned());
        self.links.cut.clear();
        self.links.clogged_until.clear();
        (self.links.lost, self.links.twice, self.links.late) = (0, 0, 0);
        for m in 0..self.members.len() {
            let member = &mut self.members[m];
            member.disk.heal();
            member.stop_at = None;
            member.paused_until = 0;
            member.down_until = 0;
            member.latency = self.settings.disk_latency;
            let joined = self.ledger.state.membership().member(id_of(m)).is_some();
            if self.members[m].run.is_none() && joined {
                self.after(1, Event::Boot { m });
            }
        }
        // What was clogged or late may still arrive.
        self.after(4 * SECOND + 10 * self.settings.election(), Event::End);
    }

    /// Ten election timeouts later there is a leader; clients begin nothing new. Should the last change of
    /// the membership come through meanwhile, it may have been the leader who was removed.
    pub fn end(&mut self) {
        let removed = self.ledger.state.membership().removed().len();
        if self.leader().is_none() && removed > self.removed_before {
            self.removed_before = removed;
            return self.after(10 * self.settings.election(), Event::End);
        }
        self.ending = true;
        self.start_joiners();
        if self.leader().is_none() {
            let what = "no leader ten election timeouts after the last fault";
            self.check(Err(Invariant::Liveness.broken(what)));
        }
        let patience = self.settings.proposal_ticks * 125_000 + self.settings.client_patience;
        self.after(patience + 15 * SECOND, Event::Settled);
    }

    /// Nothing is under way any more.
    pub fn settled(&mut self) {
        if let Some(op) = self.ops.iter().find(|op| op.ended.is_none()) {
            let what = format!("no answer to {:?} {} of {:?}", op.kind, op.key, op.client);
            return self.check(Err(Invariant::Liveness.broken(what)));
        }
        self.all_agree();
        self.watchers_are_drained();
        if self.options.planted.is_none() || self.broken.is_none() {
            self.is_linearizable();
        }
        self.trace.note(&[300, u64::from(codec::digest(&self.ledger.state))]);
    }

    fn all_agree(&mut self) {
        let truth = encoded(&self.ledger.state);
        let result = leases::none_is_left(&self.ledger.state);
        self.check(result);
        let members: Vec<_> = self.ledger.state.membership().members().to_vec();
        for record in members {
            let m = super::world::place_of(record.id);
            let member = &self.members[m];
            let Some(run) = &member.run else {
                if !member.gone {
                    let what = format!("member {} does not run", m + 1);
                    self.check(Err(Invariant::Liveness.broken(what)));
                }
                continue;
            };
            let (applied, last) = (run.published.applied_index.0, self.ledger.last());
            if applied != last {
                let log = &run.raft.node().raft.raft_log;
                let what = format!(
                    "member {} (learner: {}) has applied {applied} of {last}; its log is {}..={}, committed {}, \
                     term {}, leader {:?}",
                    m + 1,
                    record.learner,
                    log.first_index(),
                    log.last_index(),
                    log.committed,
                    run.raft.term(),
                    run.raft.leader(),
                );
                return self.check(Err(Invariant::Liveness.broken(what)));
            }
            if encoded(&run.published) != truth {
                let what = format!("the state of member {} is another", m + 1);
                return self.check(Err(Invariant::StateMachineSafety.broken(what)));
            }
            if !run.raft.is_settled() {
                let what = format!("member {} has proposals that never end", m + 1);
                return self.check(Err(Invariant::Liveness.broken(what)));
            }
            let entries = self.settings.catch_up_entries + 50;
            let bound = entries * (self.settings.value_bytes + 1000);
            if run.raft.log_bytes() as u64 > bound {
                let what = format!(
                    "member {} holds {} bytes of log at rest, of at most {bound}",
                    m + 1,
                    run.raft.log_bytes()
                );
                return self.check(Err(Invariant::MemoryBounds.broken(what)));
            }
        }
    }

    fn watchers_are_drained(&mut self) {
        for watcher in &self.watchers {
            let next = watches::next(&self.ledger.history, &watcher.pattern, watcher.after);
            if let Some(record) = next {
                let what = format!(
                    "a watcher of {} saw all up to {}, but never {}",
                    watcher.pattern.path.escape_ascii(),
                    watcher.after,
                    record.revision
                );
                let broken = Err(Invariant::WatchOrder.broken(what));
                return self.check(broken);
            }
        }
    }

    /// What the clients saw, by itself, without the truth.
    fn is_linearizable(&mut self) {
        for number in 0..self.settings.keys {
            let key = format!("/k/{number}");
            let ops = self.ops.iter().filter(|op| op.key == key);
            let calls: Vec<Call> = ops.filter_map(call_of).collect();
            match linearizable::check(&calls, SEARCH) {
                Verdict::Linearizable => {}
                Verdict::Unproven => self.stats.unproven_keys += 1,
                Verdict::Not => {
                    let what = format!(
                        "no order of the {} operations on {key} explains them",
                        calls.len()
                    );
                    return self.check(Err(Invariant::Linearizability.broken(what)));
                }
            }
        }
    }
}

fn encoded(state: &State) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let Ok(()) = codec::encode(state, |record| {
        records.push(record.to_vec());
        Ok::<(), std::convert::Infallible>(())
    });
    records
}

/// An operation as the checker sees it; none for one that tells nothing.
fn call_of(op: &Op) -> Option<Call> {
    let action = match &op.kind {
        Kind::Set { value, .. } => Action::Set(value.clone()),
        Kind::Create { value } => Action::Create(value.clone()),
        Kind::Swap { previous, index: 0, value } => Action::Swap(previous.clone(), value.clone()),
        Kind::Swap { value, .. } => Action::SwapAny(value.clone()),
        Kind::DeleteIf { previous } => Action::DeleteIf(previous.clone()),
        Kind::Delete => Action::Delete,
        Kind::Get => Action::Get,
        Kind::SerialGet | Kind::Post { .. } | Kind::Members(_) => return None,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (at, ended) = op.ended.as_ref()?;
    let outcome = match ended {
        Ended::Unknown if action == Action::Get => return None,
        Ended::Unknown => None,
        Ended::Read(seen) => Some(Outcome::Value(seen.as_ref().map(|(value, _)| text(value)))),
        Ended::Applied(Applied::V2(Ok(record))) => {
            let before = record.changes.first().and_then(|change| change.before.as_ref());
            Some(Outcome::Value(before.map(|before| text(before.value()))))
        }
        Ended::Applied(Applied::V2(Err(error))) => Some(match error.code {
            V2Code::KeyNotFound => Outcome::Missing,
            V2Code::NodeExist => Outcome::Exists,
            _ => Outcome::Mismatch,
        }),
        Ended::Failed | Ended::Applied(_) => return None,
    };
    let returned = outcome.is_some().then_some(*at);
    Some(Call { invoked: op.began, returned, action, outcome })
}
