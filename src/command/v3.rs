//! What the v3 API puts through the log. These are our own forms, not the wire's: they have the same
//! fields as etcd's messages, but the log must be readable without a Protobuf parser.
//!
//! Depends on `types`, and for v2's changes of users on `command::v2_auth`.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::v2_auth::V2AuthChange;
use crate::types::{LeaseId, Term};

/// A v3 request, and on whose behalf.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct V3Command {
    /// Whose; none while authentication is off, or for the member's own clocks.
    pub caller: Option<Caller>,
    /// What is asked.
    pub op: V3Op,
}

/// Who asks, as the door found out. Rights are looked at again when the entry is applied, for they may
/// have changed on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The user.
    pub user: String,
    /// The auth revision at which the door let it pass.
    pub auth_revision: u64,
}

/// What v3 can change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum V3Op {
    /// Writes a key.
    Put(V3Put),
    /// Deletes keys.
    DeleteRange(V3DeleteRange),
    /// Several of them at once, if something compares.
    Txn(V3Txn),
    /// Forgets history up to and including a revision.
    Compact {
        /// As asked: it may be nonsense.
        revision: i64,
    },
    /// A lease begins.
    LeaseGrant {
        /// Chosen by the client or, where that was 0, by the proposer.
        id: LeaseId,
        /// Seconds, within the bounds already.
        ttl: u64,
    },
    /// A lease ends, and its keys with it.
    LeaseRevoke {
        /// Which.
        id: LeaseId,
    },
    /// These v3 leases have run out by the leader's clock. An entry of a later term does nothing: its
    /// leader has given all leases their time anew.
    LeaseExpire {
        /// In the order in which they ran out.
        leases: Vec<LeaseId>,
        /// The term in which the leader found it.
        term: Term,
    },
    /// How much leases have left by the leader's clock, so that a change of leaders does not give them
    /// all of their time again. An entry of a later term does nothing: a lease may have been kept alive
    /// since.
    LeaseCheckpoint {
        /// Each lease with its remaining seconds.
        leases: Vec<(LeaseId, u64)>,
        /// The term of the leader whose clock that is.
        term: Term,
    },
    /// Changes users, roles and whether they matter.
    Auth(AuthChange),
}

/// `etcdserverpb.PutRequest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V3Put {
    /// Not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// 0 is none.
    pub lease: LeaseId,
    /// Tell what was there.
    pub prev_kv: bool,
    /// Keep the value that is there.
    pub ignore_value: bool,
    /// Keep the lease that is there.
    pub ignore_lease: bool,
}

/// `etcdserverpb.DeleteRangeRequest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V3DeleteRange {
    /// Which keys.
    pub keys: KeyRange,
    /// Tell what was there.
    pub prev_kv: bool,
}

/// Keys as v3 names them: one, or from one (inclusive) to another (exclusive).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// The key, or the first.
    pub key: Bytes,
    /// Empty: `key` alone. A single zero byte: all from `key` on. Else the first that is not meant.
    pub range_end: Bytes,
}

/// `etcdserverpb.RangeRequest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V3Range {
    /// Which keys.
    pub keys: KeyRange,
    /// At most so many; 0 or less: all.
    pub limit: i64,
    /// As of this revision; 0 or less: now.
    pub revision: i64,
    /// The order.
    pub sort_order: SortOrder,
    /// By what.
    pub sort_target: SortTarget,
    /// Without values.
    pub keys_only: bool,
    /// The number alone.
    pub count_only: bool,
    /// 0: no such bound.
    pub min_mod_revision: i64,
    /// 0: no such bound.
    pub max_mod_revision: i64,
    /// 0: no such bound.
    pub min_create_revision: i64,
    /// 0: no such bound.
    pub max_create_revision: i64,
}

/// `RangeRequest.SortOrder`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortOrder {
    /// As the keys are; ascending where the target is not the key.
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
}

/// `RangeRequest.SortTarget`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
}

/// `etcdserverpb.TxnRequest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V3Txn {
    /// All must hold.
    pub compare: Vec<V3Compare>,
    /// Then this is done.
    pub success: Vec<V3RequestOp>,
    /// Else this.
    pub failure: Vec<V3RequestOp>,
}

/// `etcdserverpb.RequestOp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum V3RequestOp {
    /// Reads.
    Range(V3Range),
    /// Writes a key.
    Put(V3Put),
    /// Deletes keys.
    DeleteRange(V3DeleteRange),
    /// A transaction in the transaction.
    Txn(V3Txn),
}

/// `etcdserverpb.Compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct V3Compare {
    /// Which keys; all of them must compare.
    pub keys: KeyRange,
    /// How.
    pub result: CompareResult,
    /// With what.
    pub target: CompareTarget,
}

/// `Compare.CompareResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareResult {
    /// =
    Equal,
    /// >
    Greater,
    /// <
    Less,
    /// ≠
    NotEqual,
}

/// `Compare.CompareTarget` with the number or bytes that the key's is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CompareTarget {
    /// The version.
    Version(i64),
    /// The create revision.
    Create(i64),
    /// The mod revision.
    Mod(i64),
    /// The value.
    Value(Bytes),
    /// The lease.
    Lease(i64),
}

/// A change of users and roles. Passwords come as hashes; the door made them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AuthChange {
    /// From now on everyone must say who they are.
    Enable,
    /// From now on nobody must.
    Disable,
    /// A new user.
    UserAdd {
        /// Its name.
        name: String,
        /// None for a user without a password.
        password_hash: Option<PasswordHash>,
    },
    /// A user goes.
    UserDelete {
        /// Which.
        name: String,
    },
    /// A user gets another password.
    UserChangePassword {
        /// Which.
        name: String,
        /// Of the new one.
        password_hash: PasswordHash,
    },
    /// A user gets a role.
    UserGrantRole {
        /// Which user.
        user: String,
        /// Which role.
        role: String,
    },
    /// A user loses a role.
    UserRevokeRole {
        /// Which user.
        user: String,
        /// Which role.
        role: String,
    },
    /// A new role.
    RoleAdd {
        /// Its name.
        name: String,
    },
    /// A role goes, from all who had it.
    RoleDelete {
        /// Which.
        name: String,
    },
    /// A role may do more.
    RoleGrantPermission {
        /// Which.
        name: String,
        /// What.
        permission: Permission,
    },
    /// A role may do less.
    RoleRevokePermission {
        /// Which.
        name: String,
        /// The keys, exactly as they were granted.
        keys: KeyRange,
    },
    /// A user has shown its password and gets a token, which all members then know. The token itself
    /// is not in the log.
    Login {
        /// Which user.
        user: String,
        /// Of the token.
        token: TokenHash,
        /// The auth revision at which the password was looked at.
        auth_revision: u64,
    },
    /// As v2 asks for it.
    V2(V2AuthChange),
}

/// The bcrypt hash of a password. Not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// The SHA-256 of a token: enough to know the token when it comes, and of no use to who reads the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// What a role may do with keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// With which.
    pub keys: KeyRange,
    /// Look at them.
    pub read: bool,
    /// Change them.
    pub write: bool,
}

/// The bounds of a range of keys.
pub type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl KeyRange {
    /// One key.
    pub fn one(key: impl Into<Bytes>) -> KeyRange {
        KeyRange { key: key.into(), range_end: Bytes::new() }
    }

    /// Whether it is `key` alone.
    pub fn is_one(&self) -> bool {
        self.range_end.is_empty()
    }

    /// Whether it is all from `key` on.
    pub fn is_open(&self) -> bool {
        self.range_end.as_ref() == b"\0"
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_one() {
            return key == self.key.as_ref();
        }
        key >= self.key.as_ref() && (self.is_open() || key < self.range_end.as_ref())
    }

    /// Its bounds, for a map of keys. None: no key can be in it.
    pub fn bounds(&self) -> Option<KeyBounds<'_>> {
        if self.is_one() {
            return Some((Included(&self.key), Included(&self.key)));
        }
        if self.is_open() {
            return Some((Included(&self.key), Unbounded));
        }
        (self.key < self.range_end).then_some((Included(&self.key), Excluded(&self.range_end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_its_bounds_hold() {
        for (key, end, probe, expected) in [
            ("a", "", "a", true),
            ("a", "", "aa", false),
            ("a", "c", "b", true),
            ("a", "c", "c", false),
            ("b", "\0", "z", true),
            ("b", "\0", "a", false),
            ("b", "\0\0", "c", false),
            ("b", "a", "b", false),
        ] {
            let range = KeyRange { key: key.into(), range_end: end.into() };
            assert_eq!(range.contains(probe.as_bytes()), expected, "{probe} in {key:?}..{end:?}");
            let within = range.bounds().is_some_and(|bounds| {
                std::ops::RangeBounds::<[u8]>::contains(&bounds, probe.as_bytes())
            });
            assert_eq!(within, expected, "{probe} in the bounds of {key:?}..{end:?}");
        }
    }
}
