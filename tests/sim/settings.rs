//! What a seed draws before anything happens: the shape of the cluster, its limits, and which faults
//! exist in it and how strong they are. So rare combinations come up often.

use super::{plan::Plan, random::Random};

pub const MS: u64 = 1000;
pub const SECOND: u64 = 1000 * MS;

/// A bug that the simulator makes in its own glue, to show that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// RaftNode is told that a batch is on disk before it is written.
    AcknowledgedBeforeSync,
    /// Reads are served at once from what is published.
    StaleRead,
    /// A vote is not written to the disk.
    UnsavedVote,
    /// The Store does not hear of changes of the membership.
    LostMemberChange,
    /// A batch to be applied loses its last entry's effect on one member.
    SkippedWrite,
    /// The compares of a transaction are judged when it is proposed.
    JudgedAtPropose,
    /// Every member ends v3 leases by its own clock, which hears of no renewals.
    EveryoneEndsLeases,
    /// Who takes itself for the leader answers for leases without making sure that it is.
    LeasesUnasked,
}

/// What a run is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub seed: u64,
    /// In place of the plan that the seed draws.
    pub plan: Option<Plan>,
    /// In place of what the seed draws.
    pub clients: Option<u64>,
    pub keys: Option<u64>,
    pub planted: Option<Planted>,
    /// Keep the last events as text.
    pub trace: bool,
}

/// See the head of the module.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
pub struct Settings {
    pub members: u64,
    pub election_ticks: usize,
    pub pre_vote: bool,
    pub proposal_ticks: u64,
    pub catch_up_entries: u64,
    pub uncommitted_bytes_max: u64,
    pub snapshot_entries: u64,
    pub snapshots_kept: usize,
    pub segment_bytes: u64,
    pub wal_slots: usize,
    pub peer_slots: usize,
    pub watch_slots: usize,
    pub history_kept: u64,
    pub offer_at_boot: bool,
    /// How long the faults go on.
    pub duration: u64,
    pub clients: u64,
    pub keys: u64,
    pub watchers: u64,
    pub think: u64,
    pub client_patience: u64,
    pub value_bytes: u64,
    pub ttl_per_mille: u64,
    /// Operations that come through the v3 door.
    pub v3_per_mille: u64,
    /// Those that are about v3 leases.
    pub lease_per_mille: u64,
    /// The time between two checkpoints of a v3 lease.
    pub checkpoint_ticks: u64,
    pub streams: u64,
    pub net_delay: u64,
    pub net_jitter: u64,
    pub net_ordered: bool,
    pub disk_latency: u64,
    pub turn_delay: u64,
    pub apply_delay: u64,
    /// Clocks of members run up to so many percent fast or slow.
    pub drift_percent: u64,
    /// Wall clocks differ by up to so much.
    pub skew: u64,
    /// A leader promotes learners by itself.
    pub promote_learners: bool,
    /// Wall clocks jump.
    pub wall_jumps: bool,
}

/// Ticks of a real member.
pub const HEARTBEAT: u64 = 100 * MS;

impl Settings {
    pub fn draw(options: &Options) -> Settings {
        let mut random = Random::of(options.seed, "settings", 0);
        let r = &mut random;
        let mut settings = Settings {
            members: r.pick(&[1, 3, 3, 3, 3, 5]),
            election_ticks: r.pick(&[5, 10, 10, 10, 20]),
            pre_vote: !r.per_mille(200),
            proposal_ticks: r.pick(&[20, 70, 70, 70]),
            catch_up_entries: r.pick(&[0, 1, 5, 20, 100, 5000]),
            uncommitted_bytes_max: r.pick(&[1 << 20, 64 << 20]),
            snapshot_entries: r.pick(&[1, 7, 30, 100, 300, 1000]),
            snapshots_kept: r.pick(&[1, 1, 2, 5]),
            segment_bytes: r.pick(&[4 << 10, 16 << 10, 64 << 10]),
            wal_slots: r.pick(&[1, 2, 4, 64]),
            peer_slots: r.pick(&[4, 64, 1024]),
            watch_slots: r.pick(&[1, 4, 100]),
            history_kept: r.pick(&[20, 200, 2000]),
            offer_at_boot: r.per_mille(500),
            duration: r.between(15, 40) * SECOND,
            clients: r.between(2, 7),
            keys: r.between(1, 6),
            watchers: r.between(0, 4),
            think: r.pick(&[2 * MS, 20 * MS, 100 * MS, 400 * MS]),
            client_patience: r.pick(&[1500 * MS, 7 * SECOND]),
            value_bytes: r.pick(&[1, 8, 8, 200, 200, 4000]),
            ttl_per_mille: r.pick(&[0, 50, 200]),
            net_delay: r.pick(&[100, MS, 10 * MS, 40 * MS]),
            net_jitter: r.pick(&[50, MS, 20 * MS, 200 * MS]),
            net_ordered: r.per_mille(500),
            disk_latency: r.pick(&[50, MS, 10 * MS, 60 * MS]),
            turn_delay: r.pick(&[10, 200, 5 * MS]),
            apply_delay: r.pick(&[10, MS, 20 * MS, 300 * MS]),
            drift_percent: r.pick(&[0, 2, 20]),
            skew: r.pick(&[0, 0, 2 * SECOND]),
            wall_jumps: r.per_mille(200),
            promote_learners: r.per_mille(300),
            v3_per_mille: r.pick(&[0, 300, 600, 900]),
            lease_per_mille: r.pick(&[0, 100, 300]),
            checkpoint_ticks: r.pick(&[5, 20, 3000]),
            streams: r.between(0, 3),
        };
        // Raft's own condition: messages are much faster than elections. Where the first answer takes as long
        // as a leader waits for it, leaders stand down one after the other, and nothing is wrong with them.
        let one_way = settings.net_delay + settings.net_jitter + 2 * settings.turn_delay;
        let answer = 2 * (one_way + settings.disk_latency);
        let least = (2 * answer).div_ceil(HEARTBEAT) as usize;
        settings.election_ticks = settings.election_ticks.max(least);
        if settings.value_bytes > 1000 {
            settings.think = settings.think.max(100 * MS); // the truth keeps all of it in memory
        }
        if let Some(clients) = options.clients {
            settings.clients = clients;
        }
        if let Some(keys) = options.keys {
            settings.keys = keys;
        }
        settings
    }

    /// The longest time without a tick that makes a follower stand for election.
    pub fn election(&self) -> u64 {
        2 * self.election_ticks as u64 * HEARTBEAT * (100 + self.drift_percent) / 100
    }
}
