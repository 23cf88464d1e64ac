//! Elections: one leader a term, and it holds every entry that was committed before its term.

use std::collections::BTreeMap;

use super::{Broken, Invariant};
use crate::sim::ledger::Ledger;
use crate::sim::member::Running;
use crate::sim::world::World;

/// Who led in which term.
#[derive(Debug, Default)]
pub struct Elections(pub BTreeMap<u64, usize>);

impl World {
    /// After each turn of a member's RaftNode.
    pub fn look_at(&mut self, m: usize, run: &Running) {
        let term = run.raft.term().0;
        self.trace.note(&[term, run.raft.commit().0, run.raft.last_index().0]);
        let result = self.membership_agrees(m, run);
        self.check(result);
        if !run.raft.leads() {
            return;
        }
        match self.elections.0.insert(term, m) {
            Some(before) if before != m => {
                let what = format!("members {} and {} lead in term {term}", before + 1, m + 1);
                self.check(Err(Invariant::ElectionSafety.broken(what)));
            }
            Some(_) => {}
            None => {
                self.stats.elections += 1;
                self.trace.line(self.now, || format!("{} leads in term {term}", m + 1));
                let result = is_complete(&self.ledger, m, run);
                self.check(result);
            }
        }
    }
}

/// Looks at the newest entry that was committed in an earlier term: with it, by log matching, the leader
/// has all before it.
fn is_complete(ledger: &Ledger, m: usize, run: &Running) -> Result<(), Broken> {
    let term = run.raft.term().0;
    let mut index = ledger.last();
    while let Some(fact) = ledger.fact(index) {
        if fact.seen_in < term {
            let log = &run.raft.node().raft.raft_log;
            let held = log.term(index).ok();
            let compacted = index < log.first_index().saturating_sub(1);
            if held != Some(fact.term) && !compacted {
                return Err(Invariant::LeaderCompleteness.broken(format!(
                    "member {} leads in term {term} without entry {index}/{} (index/term), \
                     committed in term {} or before",
                    m + 1,
                    fact.term,
                    fact.seen_in
                )));
            }
            return Ok(());
        }
        index -= 1;
    }
    Ok(())
}
