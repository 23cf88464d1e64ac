//! When history is compacted without being asked: etcd's `--auto-compaction-mode` and `-retention`, and
//! a bound on what history may hold. Decides on the leader; the compaction itself goes through the log.

use std::collections::VecDeque;

use super::TICKS_PER_SECOND;
use crate::types::Revision;

/// How much history stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Everything, but for the bound on bytes.
    Off,
    /// This many revisions.
    Revisions(u64),
    /// What is younger than this many seconds.
    Seconds(u64),
}

/// See the head of the module.
#[derive(Debug)]
pub struct Compactor {
    retention: Retention,
    bytes_max: u64,
    now: u64,
    samples: VecDeque<(u64, Revision)>,
    proposed: Option<(Revision, u64)>,
}

/// What it looks at.
#[derive(Clone, Copy, Debug)]
pub struct HistorySize {
    /// The current revision.
    pub revision: Revision,
    /// History up to here is compacted.
    pub compacted: Revision,
    /// Bytes that only history holds.
    pub bytes: u64,
}

/// A lost proposal is made again after this long.
const RETRY_TICKS: u64 = 5 * TICKS_PER_SECOND;
/// In periodic mode the revision is noted this many times in a retention period.
const SAMPLES: u64 = 20;

impl Compactor {
    /// One that keeps `retention`, and at most about `bytes_max` (0: no bound).
    pub fn new(retention: Retention, bytes_max: u64) -> Self {
        Compactor { retention, bytes_max, now: 0, samples: VecDeque::new(), proposed: None }
    }

    /// Time passes. The revision to compact to, if it is time for it and this member leads.
    pub fn tick(&mut self, size: HistorySize, leads: bool) -> Option<Revision> {
        self.now += 1;
        let by_mode = self.by_mode(size);
        let target = by_mode.max(self.by_bytes(size)).filter(|&to| to > size.compacted)?;
        let asked =
            self.proposed.is_some_and(|(to, at)| to >= target && self.now - at < RETRY_TICKS);
        if !leads || asked {
            return None;
        }
        self.proposed = Some((target, self.now));
        Some(target)
    }

    fn by_mode(&mut self, size: HistorySize) -> Option<Revision> {
        match self.retention {
            Retention::Off => None,
            Retention::Revisions(keep) => {
                // In steps of a tenth: not an entry in the log for each revision that is written.
                let target = size.revision.0.checked_sub(keep)?;
                (target >= size.compacted.0 + (keep / 10).max(1)).then_some(Revision(target))
            }
            Retention::Seconds(keep) => {
                let keep_ticks = keep.saturating_mul(TICKS_PER_SECOND);
                let step = (keep_ticks / SAMPLES).max(1);
                if self.samples.back().is_none_or(|&(at, _)| self.now - at >= step) {
                    self.samples.push_back((self.now, size.revision));
                }
                let mut target = None;
                while let Some(&(at, revision)) = self.samples.front()
                    && self.now - at >= keep_ticks
                {
                    target = Some(revision);
                    if self.samples.len() == 1 || revision > size.compacted {
                        break; // stays until the compaction is seen to have happened
                    }
                    self.samples.pop_front();
                }
                target
            }
        }
    }

    /// Over the bound: down to three quarters of it, taking all revisions for equally large.
    fn by_bytes(&self, size: HistorySize) -> Option<Revision> {
        if self.bytes_max == 0 || size.bytes <= self.bytes_max {
            return None;
        }
        let revisions = size.revision.0 - size.compacted.0;
        let keep =
            u128::from(revisions) * u128::from(self.bytes_max) * 3 / 4 / u128::from(size.bytes);
        Some(Revision(size.revision.0 - keep as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(revision: u64, compacted: u64, bytes: u64) -> HistorySize {
        HistorySize { revision: Revision(revision), compacted: Revision(compacted), bytes }
    }

    #[test]
    fn revision_mode_keeps_so_many_and_moves_in_steps() {
        let mut compactor = Compactor::new(Retention::Revisions(100), 0);
        for (revision, compacted, expected) in [
            (100, 0, None),
            (105, 0, None),
            (110, 0, Some(10)),
            (115, 10, None),
            (120, 10, Some(20)),
        ] {
            let found = compactor.tick(size(revision, compacted, 0), true);
            assert_eq!(found, expected.map(Revision), "at {revision}, compacted {compacted}");
        }
    }

    #[test]
    fn periodic_mode_keeps_what_is_young() {
        let mut compactor = Compactor::new(Retention::Seconds(10), 0);
        let mut compacted = 0;
        let ticks = 60 * TICKS_PER_SECOND;
        for tick in 1..=ticks {
            let revision = 1 + tick; // one revision a tick
            if let Some(to) = compactor.tick(size(revision, compacted, 0), true) {
                assert!(
                    to.0 <= revision - 10 * TICKS_PER_SECOND,
                    "{to} at {revision} is too young"
                );
                compacted = to.0;
            }
        }
        let kept = 1 + ticks - compacted;
        assert!(kept < 12 * TICKS_PER_SECOND, "{kept} revisions are kept");
    }

    #[test]
    fn the_bound_on_bytes_wins_over_the_mode() {
        let mut compactor = Compactor::new(Retention::Off, 1000);
        assert_eq!(compactor.tick(size(1001, 1, 1000), true), None);
        assert_eq!(compactor.tick(size(1001, 1, 2000), true), Some(Revision(1001 - 375)));
    }

    #[test]
    fn a_lost_proposal_is_made_again_and_followers_stay_silent() {
        let mut compactor = Compactor::new(Retention::Revisions(10), 0);
        assert_eq!(compactor.tick(size(100, 1, 0), false), None);
        assert_eq!(compactor.tick(size(100, 1, 0), true), Some(Revision(90)));
        assert_eq!(compactor.tick(size(100, 1, 0), true), None, "it is under way");
        let again = (0..RETRY_TICKS).find_map(|_| compactor.tick(size(100, 1, 0), true));
        assert_eq!(again, Some(Revision(90)));
    }
}
