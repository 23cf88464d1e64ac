//! Changes of users and roles as etcd's v2 API asks for them. One request may change several things, and
//! is judged by v2's rules, so each is one entry of its own kind. The users and roles are those of v3.
//!
//! Depends on `command::v3` alone.

use serde::{Deserialize, Serialize};

use super::v3::{KeyRange, PasswordHash};

/// What `/v2/auth` can change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum V2AuthChange {
    /// From now on everyone must say who they are. The user `root` has its role then, and there is a role
    /// `guest` for those over v2 who do not say.
    Enable,
    /// From now on nobody must.
    Disable,
    /// A new user, or another one than before.
    PutUser(V2UserPut),
    /// A user goes.
    DeleteUser {
        /// Which.
        name: String,
    },
    /// A new role, or another one than before.
    PutRole(V2RolePut),
    /// A role goes, from all who had it.
    DeleteRole {
        /// Which.
        name: String,
    },
}

/// The body of `PUT /v2/auth/users/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V2UserPut {
    /// Who.
    pub name: String,
    /// Of its new password.
    pub password_hash: Option<PasswordHash>,
    /// Of a new user. They need not be there.
    pub roles: Vec<String>,
    /// Of a user that is there.
    pub grant: Vec<String>,
    /// Of a user that is there.
    pub revoke: Vec<String>,
}

/// The body of `PUT /v2/auth/roles/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V2RolePut {
    /// Which.
    pub name: String,
    /// Of a new role.
    pub permissions: V2Permissions,
    /// Of a role that is there.
    pub grant: V2Permissions,
    /// Of a role that is there.
    pub revoke: V2Permissions,
}

/// v2's patterns, as the keys that they mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct V2Permissions {
    /// To look at.
    pub read: Vec<KeyRange>,
    /// To change.
    pub write: Vec<KeyRange>,
}

impl V2Permissions {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }
}
