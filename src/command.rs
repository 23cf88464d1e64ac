//! What a Raft entry carries: a proposal, that is a command with the id and the clock reading of its
//! proposer. Whatever the state machine must not decide by itself (time, ids) is decided here, by the
//! one who proposes, so that every member applies the same bytes to the same effect.
//!
//! Depends on `types` alone. Encoded as MessagePack (see docs/on-disk-format.md).

mod v2_auth;
mod v3;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{LeaseId, MemberId, Revision, UnixNanos};

pub use v2_auth::{V2AuthChange, V2Permissions, V2RolePut, V2UserPut};
pub use v3::{
    AuthChange, Caller, CompareResult, CompareTarget, KeyRange, PasswordHash, Permission,
    SortOrder, SortTarget, TokenHash, V3Command, V3Compare, V3DeleteRange, V3Op, V3Put, V3Range,
    V3RequestOp, V3Txn,
};

/// Names a proposal among those of its proposer; the answer finds its caller by it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ProposalId(pub u64);

impl ProposalId {
    /// Bits of an id that count the proposals of one start; those above name the start.
    const COUNT_BITS: u32 = 44;

    /// The first id of a start of a member. `boot` tells this start from others of the same member; 20
    /// bits of it are used.
    pub fn first_of(boot: u64) -> ProposalId {
        ProposalId((boot << Self::COUNT_BITS) | 1)
    }

    /// What tells the proposer's starts apart.
    pub fn boot(self) -> u64 {
        self.0 >> Self::COUNT_BITS
    }
}

/// Who proposed what an entry carries, read from the first bytes of an encoded [`Proposal`]. None if it
/// is no such thing, an empty entry for one.
pub fn proposer(encoded: &[u8]) -> Option<(ProposalId, MemberId)> {
    const FOUR_FIELDS: u8 = 0x94;
    let rest = encoded.strip_prefix(&[FOUR_FIELDS])?;
    let (id, rest) = unsigned(rest)?;
    let (member, _) = unsigned(rest)?;
    Some((ProposalId(id), MemberId(member)))
}

/// A MessagePack unsigned integer, and what follows it.
fn unsigned(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&marker, rest) = bytes.split_first()?;
    let len = match marker {
        0..=0x7f => return Some((marker.into(), rest)),
        0xcc..=0xcf => 1 << (marker - 0xcc),
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(len)?;
    Some((number.iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte)), rest))
}

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
    /// These v2 leases have run out by the leader's clock; those that are gone already are skipped.
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
    /// Changes nothing: the state after this entry is compared between the members.
    Checkpoint,
    /// Raises or clears an alarm of a member.
    Alarm {
        /// Whose.
        member: MemberId,
        /// Which.
        kind: AlarmKind,
        /// Raised, or cleared.
        raised: bool,
    },
    /// A write through the v3 door.
    V3(V3Command),
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
        /// The learners that there may be with this one, by the proposer's `--max-learners`: two that are
        /// asked for at the same time at two members must not both come. None, as earlier versions wrote
        /// it: any number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        learners_max: Option<u64>,
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

impl MemberChange {
    /// With `max` learners at most, where it adds one.
    #[must_use]
    pub fn limited(self, max: u64) -> MemberChange {
        match self {
            MemberChange::Add { id, peer_urls, learner: true, .. } => {
                MemberChange::Add { id, peer_urls, learner: true, learners_max: Some(max) }
            }
            other => other,
        }
    }
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

impl V2Op {
    /// Whether it may need more space than there was: all that writes, but for what only keeps a node
    /// alive.
    pub fn takes_space(&self) -> bool {
        match self {
            V2Op::Create(_) | V2Op::CreateInOrder(_) => true,
            V2Op::Set(write) | V2Op::Update(write) | V2Op::CompareAndSwap { write, .. } => {
                !write.refresh
            }
            V2Op::Delete { .. } | V2Op::CompareAndDelete(_) => false,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of an earlier version has additions without a limit.
    #[test]
    fn an_addition_without_a_limit_is_encoded_as_before() {
        #[derive(Serialize)]
        enum Before {
            Add { id: MemberId, peer_urls: Vec<String>, learner: bool },
        }
        let urls = || vec!["http://a:1".to_owned()];
        for learner in [false, true] {
            let add = MemberChange::Add {
                id: MemberId(5),
                peer_urls: urls(),
                learner,
                learners_max: None,
            };
            let before = Before::Add { id: MemberId(5), peer_urls: urls(), learner };
            let before = rmp_serde::to_vec(&before).expect("plain data into memory");
            assert_eq!(rmp_serde::to_vec(&add).expect("plain data into memory"), before);
            assert_eq!(rmp_serde::from_slice::<MemberChange>(&before).expect("as before"), add);
            let limited = add.clone().limited(3);
            assert_eq!(limited != add, learner);
            let encoded = rmp_serde::to_vec(&limited).expect("plain data into memory");
            assert_eq!(rmp_serde::from_slice::<MemberChange>(&encoded).expect("as now"), limited);
        }
    }

    #[test]
    fn the_proposer_is_read_from_the_first_bytes() {
        for number in [0, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::MAX] {
            let proposal = Proposal {
                id: ProposalId(number),
                member: MemberId(number / 3),
                time: UnixNanos(1),
                command: Command::Expire { leases: Vec::new() },
            };
            let encoded = rmp_serde::to_vec(&proposal).expect("plain data into memory");
            assert_eq!(proposer(&encoded), Some((proposal.id, proposal.member)));
            for len in 0..3 {
                assert_eq!(proposer(&encoded[..len]), None, "cut to {len} bytes");
            }
        }
        assert_eq!(ProposalId::first_of(5).boot(), 5);
    }
}
