//! What callers are told who would rather fail than wait for a leader (metadata `hasleader`). The doors
//! ask, gRPC and the gateway alike; the services behind them need not.

use super::Doors;

/// So many election timeouts in a row without a leader are too many, as with etcd.
const LOOKS_MAX: u32 = 3;

impl Doors {
    /// Whether no leader is known.
    pub fn has_no_leader(&self) -> bool {
        self.published.raft.leader().is_none()
    }

    /// Ends when there was no leader for three election timeouts.
    pub async fn leader_lost(&self) {
        let mut without = 0;
        while without < LOOKS_MAX {
            tokio::time::sleep(self.settings.election_timeout).await;
            without = if self.has_no_leader() { without + 1 } else { 0 };
        }
    }
}
