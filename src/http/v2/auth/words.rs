//! Why users and roles were not changed, in etcd's words.

use actix_http::StatusCode;

use crate::{
    command::{KeyRange, Permission, V2AuthChange, V2RolePut, V2UserPut},
    storage::mvcc::auth::{Role, V2AuthError, patterns},
};

/// Status and text of a refusal.
pub fn row(change: &V2AuthChange, error: V2AuthError) -> (StatusCode, String) {
    let (no_user, no_role) = (V2UserPut::default(), V2RolePut::default());
    let user = if let V2AuthChange::PutUser(user) = change { user } else { &no_user };
    let role = if let V2AuthChange::PutRole(role) = change { role } else { &no_role };
    let deletes =
        matches!(change, V2AuthChange::DeleteUser { .. } | V2AuthChange::DeleteRole { .. });
    let name = match change {
        V2AuthChange::DeleteUser { name } | V2AuthChange::DeleteRole { name } => &name[..],
        _ if user.name.is_empty() => &role.name,
        _ => &user.name,
    };
    let named = |names: &[String], at: usize| names.get(at).cloned().unwrap_or_default();
    let pattern = |keys: &[KeyRange], at: usize| {
        let one = keys.get(at).cloned().unwrap_or_default();
        let permission = Permission { keys: one, read: true, write: false };
        patterns(&Role { permissions: vec![permission] })[0].concat()
    };
    match error {
        V2AuthError::AlreadyEnabled => (StatusCode::CONFLICT, "already enabled".into()),
        V2AuthError::AlreadyDisabled => (StatusCode::CONFLICT, "already disabled".into()),
        V2AuthError::NoRoot => {
            (StatusCode::CONFLICT, "No root user available, please create one".into())
        }
        V2AuthError::EmptyPassword => {
            (StatusCode::BAD_REQUEST, format!("Cannot create user {name} with an empty password"))
        }
        V2AuthError::UserExists => (StatusCode::CONFLICT, format!("User {name} already exists.")),
        V2AuthError::NoSuchUser if deletes => {
            (StatusCode::NOT_FOUND, format!("User {name} does not exist"))
        }
        V2AuthError::NoSuchUser => (StatusCode::NOT_FOUND, format!("User {name} does not exist.")),
        V2AuthError::RootUser => {
            (StatusCode::FORBIDDEN, "Cannot delete root user while auth is enabled.".into())
        }
        V2AuthError::DuplicateRole(at) => (
            StatusCode::CONFLICT,
            format!("Granting duplicate role {} for user {name}", named(&user.grant, at)),
        ),
        V2AuthError::UngrantedRole(at) => (
            StatusCode::CONFLICT,
            format!("Revoking ungranted role {} for user {name}", named(&user.revoke, at)),
        ),
        V2AuthError::UserNotUpdated => (
            StatusCode::BAD_REQUEST,
            "User not updated. Use grant/revoke/password to update the user.".into(),
        ),
        V2AuthError::RootRole => {
            (StatusCode::FORBIDDEN, format!("Cannot modify role {name}: is root role."))
        }
        V2AuthError::RoleExists => (StatusCode::CONFLICT, format!("Role {name} already exists.")),
        V2AuthError::NoSuchRole if deletes => {
            (StatusCode::NOT_FOUND, format!("Role {name} doesn't exist."))
        }
        V2AuthError::NoSuchRole => (StatusCode::NOT_FOUND, format!("Role {name} does not exist.")),
        V2AuthError::DuplicateRead(at) => (
            StatusCode::CONFLICT,
            format!("Granting duplicate read permission {}", pattern(&role.grant.read, at)),
        ),
        V2AuthError::DuplicateWrite(at) => (
            StatusCode::CONFLICT,
            format!("Granting duplicate write permission {}", pattern(&role.grant.write, at)),
        ),
        V2AuthError::RoleNotUpdated => (
            StatusCode::BAD_REQUEST,
            "Role not updated. Use grant/revoke to update the role.".into(),
        ),
    }
}
