//! What a Raft entry carries: a proposal, that is a command with the id and the clock reading of its
//! proposer. Whatever the state machine must not decide by itself (time, ids) is decided here, by the
//! one who proposes, so that every member applies the same bytes to the same effect.
//!
//! Depends on `types` alone. Encoded as MessagePack (see docs/on-disk-format.md).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{LeaseId, MemberId, Revision, UnixNanos};

/// Names a proposal among those of its proposer; the answer finds its caller by it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ProposalId(pub u64);

/// A command on its way through the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Unique for the proposer's lifetime.
    pub id: ProposalId,
    /// The member that proposed: only it has a caller who waits.
    pub member: MemberId,
    /// The proposer's wall clock; expirations are counted from it.
    pub time: UnixNanos,
    /// What is to be done.
    pub command: Command,
}

/// A change of the replicated state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A write through the v2 door.
    V2(V2Command),
    /// These leases have run out by the leader's clock; those that are gone already are skipped.
    Expire {
        /// In the order in which they ran out.
        leases: Vec<LeaseId>,
    },
    /// Forget history up to and including this revision (the revision itself stays readable).
    Compact {
        /// At most the current revision.
        revision: Revision,
    },
    /// A member tells its name and the URLs on which clients find it.
    PublishMember {
        /// Which member.
        id: MemberId,
        /// Its `--name`.
        name: String,
        /// Its `--advertise-client-urls`.
        client_urls: Vec<String>,
    },
    /// Changes who is in the cluster. Travels in a configuration-change entry: the encoded proposal is
    /// that entry's context, and its data is what [`crate::storage::mvcc::Membership`] makes of it.
    Members(MemberChange),
    /// Raises or clears an alarm of a member.
    Alarm {
        /// Whose.
        member: MemberId,
        /// Which.
        kind: AlarmKind,
        /// Raised, or cleared.
        raised: bool,
    },
}

/// One change of the membership. At most one is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A new member; its id is made by the proposer from the URLs, the cluster's name and the time.
    Add {
        /// Never used before.
        id: MemberId,
        /// Where its peers will find it, sorted.
        peer_urls: Vec<String>,
        /// Without a vote until it is promoted.
        learner: bool,
    },
    /// A learner gets its vote.
    Promote {
        /// Which.
        id: MemberId,
    },
    /// A member leaves, and its id can never return.
    Remove {
        /// Which.
        id: MemberId,
    },
    /// A member moves.
    Update {
        /// Which.
        id: MemberId,
        /// Its new peer URLs, sorted.
        peer_urls: Vec<String>,
    },
}

/// etcd's alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AlarmKind {
    /// The quota of the keyspace is used up.
    NoSpace,
    /// The member's state differs from the others'.
    Corrupt,
}

/// A write through the v2 door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct V2Command {
    /// The normalised path: `/` or `/a/b`, without trailing slash, without empty, `.` or `..` parts.
    #[serde(with = "serde_bytes")]
    pub path: Vec<u8>,
    /// What to do there.
    pub op: V2Op,
}

/// The writes of etcd's v2 store, one for each method of its `Store` interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum V2Op {
    /// Makes or replaces a file, or makes a directory.
    Set(V2Write),
    /// Makes what must not exist yet.
    Create(V2Write),
    /// Makes a child whose name is the revision, 20 digits (POST).
    CreateInOrder(V2Write),
    /// Changes what must exist (`prevExist=true`).
    Update(V2Write),
    /// Changes a file if it compares.
    CompareAndSwap {
        /// What must hold.
        compare: V2Compare,
        /// The new content.
        write: V2Write,
    },
    /// Deletes a file or directory.
    Delete {
        /// An (empty) directory may be deleted too.
        dir: bool,
        /// All below it too; implies `dir`.
        recursive: bool,
    },
    /// Deletes a file if it compares.
    CompareAndDelete(V2Compare),
}

/// The new content of a v2 node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V2Write {
    /// A directory instead of a file (ignored by update and compare-and-swap, as etcd does).
    pub dir: bool,
    /// The value; empty for a directory.
    pub value: Bytes,
    /// Seconds from the proposal's time; none makes the node permanent.
    pub ttl: Option<u64>,
    /// Keep the value, change only the TTL, and wake no watcher.
    pub refresh: bool,
}

/// The conditions of compare-and-swap and compare-and-delete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V2Compare {
    /// Empty: not compared (v2 cannot compare with an empty value).
    #[serde(with = "serde_bytes")]
    pub prev_value: Vec<u8>,
    /// 0: not compared.
    pub prev_index: u64,
}
