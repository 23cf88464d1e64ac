//! Newtypes for the numbers that the field keeps apart: an index counts log entries, a revision counts
//! changes of the keyspace, a term counts elections. Depends on nothing but serde.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The number of an election; 0 before the first.
    Term(u64)
);
number!(
    /// The position of an entry in the Raft log; the first is 1, 0 means "none".
    Index(u64)
);
number!(
    /// The number of a change of the keyspace. A fresh store is at revision 1, its first change makes 2
    /// (as etcd's v3 store). Shown as `X-Etcd-Index` by v2.
    Revision(u64)
);
number!(
    /// Names a member for ever; shown in lower-case hex without padding.
    MemberId(u64)
);
number!(
    /// Names a cluster; shown in lower-case hex without padding.
    ClusterId(u64)
);
number!(
    /// Names a lease; 0 means "none".
    LeaseId(i64)
);
number!(
    /// Nanoseconds since the Unix epoch, by the clock of the member that proposed; travels in entries.
    UnixNanos(u64)
);

impl Revision {
    /// The revision that follows.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl Index {
    /// The index that follows.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
}

impl fmt::LowerHex for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::LowerHex for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}
