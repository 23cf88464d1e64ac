//! What a v3 operation is refused for. The door gives each etcd's code and text.

use crate::storage::mvcc::auth::V2AuthError;

/// A refusal. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum V3Error {
    /// `ignore_value` or `ignore_lease` with a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// The lease is not there (any more).
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A lease of this id is there.
    #[error("lease already exists")]
    LeaseExists,
    /// History up to there is gone.
    #[error("required revision has been compacted")]
    Compacted,
    /// There is no such revision yet.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The quota is used up, and the alarm raised.
    #[error("database space exceeded")]
    NoSpace,
    /// A member's data differs from the others'.
    #[error("corrupt cluster")]
    Corrupt,
    /// Users and roles have changed since the door let the request pass.
    #[error("revision of auth store is old")]
    AuthOldRevision,
    /// The user may not.
    #[error("permission denied")]
    PermissionDenied,
    /// Users and roles: what was asked makes no sense.
    #[error(transparent)]
    Auth(AuthError),
}

/// Why users and roles were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Enabling: there is no user `root`.
    #[error("root user does not exist")]
    RootUserNotExist,
    /// Enabling: `root` has no role `root`.
    #[error("root user does not have root role")]
    RootRoleNotExist,
    /// A user of that name is there.
    #[error("user name already exists")]
    UserAlreadyExist,
    /// A user needs a name.
    #[error("user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("user name not found")]
    UserNotFound,
    /// A role of that name is there.
    #[error("role name already exists")]
    RoleAlreadyExist,
    /// There is no such role.
    #[error("role name not found")]
    RoleNotFound,
    /// A role needs a name.
    #[error("role name is empty")]
    RoleEmpty,
    /// The user does not have that role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role has no such permission.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// A permission needs a key, and its range must not be reversed.
    #[error("permission not given")]
    PermissionNotGiven,
    /// Authentication is off.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// Removing `root`, its role, or its role from it while authentication is on.
    #[error("invalid auth management")]
    InvalidManagement,
    /// By v2's rules.
    #[error(transparent)]
    V2(V2AuthError),
}
