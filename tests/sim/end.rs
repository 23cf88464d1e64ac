//! The end of a run: faults stop, everyone starts who is down, and the cluster must come to rest whole.

use callboard::storage::mvcc::{State, codec};

use super::invariants::{Invariant, leases, range_watches, watches};
use super::settings::SECOND;
use super::world::{Event, World, id_of};

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
            let bound = entries * (4 * self.settings.value_bytes + 1000); // a transaction has several
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
            let next = watches::next(&self.ledger.history, &watcher.pattern, watcher.place);
            if let Some((record, part)) = next {
                let what = format!(
                    "a watcher of {} is at {:?}, but never saw {part:?} of {}",
                    watcher.pattern.path.escape_ascii(),
                    watcher.place,
                    record.revision
                );
                let broken = Err(Invariant::WatchOrder.broken(what));
                return self.check(broken);
            }
        }
        for watch in self.streams.iter().flat_map(|stream| &stream.watches) {
            let next = range_watches::next(&self.ledger.history, &watch.keys, watch.next);
            if let Some(record) = next {
                let what = format!(
                    "a watcher of {:?} saw all before {}, but never {}",
                    watch.keys, watch.next, record.revision
                );
                let broken = Err(Invariant::RangeWatches.broken(what));
                return self.check(broken);
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
