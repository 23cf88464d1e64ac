//! The faults of a run, as a list that can be printed, cut down and run again.

use std::fmt;

use super::random::Random;
use super::settings::{MS, SECOND, Settings};

/// What is left of what was not synced when a member's process or machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Only the process.
    Process,
    /// Power; nothing that was not synced survives.
    Lose,
    /// Power; some sectors survive.
    Some,
    /// Power; the last operation is cut.
    Torn,
}

/// A shape of a partition. Members are numbered by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One hears and is heard by nobody.
    Isolate(usize),
    /// The same for whoever leads then.
    IsolateLeader,
    /// Whoever leads then is not heard, but hears; or the other way round.
    DeafLeader { hears: bool },
    /// Those whose bit is set, and the others.
    Halves(u64),
    /// Each talks to its neighbours only.
    Ring,
    /// Nothing goes from one to another.
    OneWay(usize, usize),
}

/// A change of the membership that the operator is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    AddLearner,
    AddVoter,
    Promote,
    /// Not the one that was lost for good, if one was.
    Remove,
    RemoveLost,
    Update,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Stops at once; starts again after so long.
    Crash {
        member: usize,
        stop: Stop,
        down: u64,
    },
    /// Stops at one of the next steps of its disk.
    CrashAtStep {
        member: usize,
        steps: u64,
        stop: Stop,
        down: u64,
    },
    /// All at once.
    PowerCut {
        stop: Stop,
        down: u64,
    },
    Pause {
        member: usize,
        long: u64,
    },
    Partition {
        shape: Shape,
        long: u64,
    },
    /// What is sent from one to another stays under way.
    Clog {
        from: usize,
        to: usize,
        long: u64,
    },
    /// So many of a thousand are lost, or come twice, or come late.
    Lossy {
        lost: u64,
        twice: u64,
        late: u64,
        long: u64,
    },
    SlowDisk {
        member: usize,
        latency: u64,
        long: u64,
    },
    FullDisk {
        member: usize,
        long: u64,
    },
    /// A step of the disk fails, and with it the process.
    DiskError {
        member: usize,
        steps: u64,
        down: u64,
    },
    /// A bit flips while the member is down.
    Rot {
        member: usize,
        down: u64,
    },
    /// Lost with its disk, for good.
    Lost {
        member: usize,
    },
    WallJump {
        member: usize,
        seconds: i64,
    },
    Transfer,
    Members(Change),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub at: u64,
    pub fault: Fault,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<Planned>);

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.3} s  {:?}", self.at as f64 / 1e6, self.fault)
    }
}

impl Fault {
    /// For counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Crash { .. } => "crash",
            Fault::CrashAtStep { .. } => "crash at a disk step",
            Fault::PowerCut { .. } => "power cut",
            Fault::Pause { .. } => "pause",
            Fault::Partition { .. } => "partition",
            Fault::Clog { .. } => "clogged link",
            Fault::Lossy { .. } => "lossy network",
            Fault::SlowDisk { .. } => "slow disk",
            Fault::FullDisk { .. } => "full disk",
            Fault::DiskError { .. } => "disk error",
            Fault::Rot { .. } => "bit rot",
            Fault::Lost { .. } => "lost member",
            Fault::WallJump { .. } => "wall clock jump",
            Fault::Transfer => "leader transfer",
            Fault::Members(_) => "membership change",
        }
    }
}

impl Plan {
    /// What this seed's plan is.
    pub fn draw(seed: u64, settings: &Settings) -> Plan {
        let mut random = Random::of(seed, "plan", 0);
        let r = &mut random;
        let weights: Vec<u64> = (0..14).map(|_| r.pick(&[0, 0, 1, 3])).collect();
        let total: u64 = weights.iter().sum();
        let mut plan = Vec::new();
        let pace = r.pick(&[200 * MS, SECOND, 3 * SECOND]);
        let mut at = r.between(0, 3) * SECOND;
        while at < settings.duration && total > 0 {
            let mut ticket = r.below(total);
            let kind = weights.iter().position(|&weight| {
                let hit = ticket < weight;
                ticket = ticket.saturating_sub(weight);
                hit
            });
            let fault = draw(kind.unwrap_or(0), r, settings);
            plan.push(Planned { at, fault });
            at += r.between(1, 2 * pace);
        }
        losses(r, settings, &mut plan);
        plan.sort_by_key(|planned| planned.at);
        Plan(plan)
    }
}

fn draw(kind: usize, r: &mut Random, settings: &Settings) -> Fault {
    let member = r.below(settings.members) as usize;
    let down = r.pick(&[10 * MS, 500 * MS, 3 * SECOND]) + r.below(SECOND);
    let long = r.pick(&[300 * MS, 2 * SECOND, 6 * SECOND]) + r.below(SECOND);
    let stop = r.pick(&[Stop::Process, Stop::Lose, Stop::Some, Stop::Torn]);
    let other = r.below(settings.members) as usize;
    match kind {
        0 => Fault::Crash { member, stop, down },
        1 => Fault::CrashAtStep { member, steps: r.between(1, 30), stop, down },
        2 => Fault::PowerCut { stop, down },
        3 => Fault::Pause { member, long },
        4 | 5 => {
            let shape = match r.below(7) {
                0 => Shape::Isolate(member),
                2 => Shape::DeafLeader { hears: r.per_mille(500) },
                3 => Shape::Halves(r.below(1 << settings.members)),
                4 => Shape::Ring,
                5 => Shape::OneWay(member, other),
                _ => Shape::IsolateLeader,
            };
            Fault::Partition { shape, long }
        }
        6 => Fault::Clog { from: member, to: other, long },
        7 => Fault::Lossy {
            lost: r.pick(&[0, 50, 300]),
            twice: r.pick(&[0, 50, 500]),
            late: r.pick(&[0, 50, 300]),
            long,
        },
        8 => Fault::SlowDisk { member, latency: r.pick(&[100 * MS, 500 * MS, 2 * SECOND]), long },
        9 => Fault::FullDisk { member, long },
        10 => Fault::DiskError { member, steps: r.between(0, 20), down },
        11 if settings.wall_jumps => {
            let seconds = r.pick(&[-315_000_000, -60, -3, 3, 60, 315_000_000]);
            Fault::WallJump { member, seconds }
        }
        11 | 12 => Fault::Transfer,
        _ => Fault::Members(r.pick(&[
            Change::AddLearner,
            Change::AddLearner,
            Change::AddVoter,
            Change::Promote,
            Change::Promote,
            Change::Remove,
            Change::Update,
        ])),
    }
}

/// At most one member is lost for good, and then no other is removed.
fn losses(r: &mut Random, settings: &Settings, plan: &mut Vec<Planned>) {
    if settings.members < 3 || !r.per_mille(250) {
        return;
    }
    plan.retain(|planned| {
        !matches!(planned.fault, Fault::Members(Change::Remove | Change::AddVoter))
    });
    let member = r.below(settings.members) as usize;
    let at = r.below(settings.duration / 2);
    let down = r.between(1, 1000) * MS;
    if r.per_mille(500) {
        plan.push(Planned { at, fault: Fault::Rot { member, down } });
        return;
    }
    plan.push(Planned { at, fault: Fault::Lost { member } });
    for change in [Change::RemoveLost, Change::AddLearner, Change::Promote] {
        let at = at + r.below(settings.duration / 3);
        plan.push(Planned { at, fault: Fault::Members(change) });
    }
}
