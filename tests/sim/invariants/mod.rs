//! What must always hold. One file for each; here are their names.

pub mod durability;
pub mod elections;
pub mod lease_terms;
pub mod leases;
pub mod membership;
pub mod range_watches;
pub mod reads;
pub mod states;
pub mod votes;
pub mod watches;

use std::fmt;

/// The names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    ElectionSafety,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    OneVoteATerm,
    PersistedStays,
    AppliedOnce,
    AnswersAreTrue,
    ReadsAreFresh,
    WatchOrder,
    RangeWatches,
    Leases,
    LeaseTerms,
    Membership,
    MemoryBounds,
    Recovery,
    Liveness,
    Linearizability,
    Wire,
    NoPanic,
}

/// One that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub invariant: Invariant,
    pub what: String,
}

impl Invariant {
    pub fn broken(self, what: impl Into<String>) -> Broken {
        Broken { invariant: self, what: what.into() }
    }
}

impl Broken {
    /// Whether another run broke in the same way; a panic must be the same one, but for its numbers.
    pub fn is_like(&self, other: &Broken) -> bool {
        let words = |broken: &Broken| -> String {
            broken.what.chars().filter(|c| !c.is_ascii_digit()).take(24).collect()
        };
        self.invariant == other.invariant
            && (self.invariant != Invariant::NoPanic || words(self) == words(other))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}
