//! What Snapshotter thinks: when a snapshot is due.
//!
//! The rule bounds both the restart (log to be replayed) and the write amplification: a snapshot costs
//! a write of the whole state, so it waits until as much log was written as the state is large.

/// When a snapshot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The log since the last snapshot must be at least this share of the state, in percent.
    pub ratio_percent: u64,
    /// And at least this long, unless `entries` is reached.
    pub bytes_min: u64,
    /// `--snapshot-count`: so many entries make up for a log shorter than `bytes_min`.
    pub entries: u64,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Bytes of log since the last snapshot.
    pub log_bytes: u64,
    /// Entries applied since then.
    pub entries: u64,
    /// Bytes of the state: what a snapshot would write.
    pub state_bytes: u64,
}

impl Policy {
    /// Whether a snapshot is due.
    pub fn is_due(&self, growth: Growth) -> bool {
        let share = u128::from(growth.state_bytes) * u128::from(self.ratio_percent) / 100;
        growth.entries > 0
            && u128::from(growth.log_bytes) >= share
            && (growth.log_bytes >= self.bytes_min || growth.entries >= self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_when_the_log_outgrows_state_and_floor() {
        let policy = Policy { ratio_percent: 50, bytes_min: 1000, entries: 100 };
        for (log_bytes, entries, state_bytes, expected) in [
            (0, 0, 0, false),
            (999, 10, 100, false),   // below the floor
            (1000, 10, 100, true),   // floor and share reached
            (1000, 10, 4000, false), // share not reached
            (2000, 10, 4000, true),  // share reached
            (500, 100, 100, true),   // many small entries
            (500, 100, 2000, false), // many small entries beside a large state
            (5000, 0, 100, false),   // nothing new is applied
        ] {
            let growth = Growth { log_bytes, entries, state_bytes };
            assert_eq!(policy.is_due(growth), expected, "{growth:?}");
        }
    }
}
