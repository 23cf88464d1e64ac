//! Users and roles as etcd's v2 sees and changes them. They are the same as v3's: a pattern of v2 is a
//! range of keys, `/a/*` all that begin with `/a/`. What v3 can say and v2 cannot (other ranges, keys
//! that are no text) is not shown, and stays as it is when v2 changes the role.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{AuthState, ROOT, Role, User};
use crate::command::{KeyRange, Permission, V2AuthChange, V2Permissions, V2RolePut, V2UserPut};

/// The role of those who do not say over v2 who they are. Over v3 there are no such.
pub const GUEST: &str = "guest";

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum V2AuthAnswer {
    /// Done, and nothing to tell.
    Done,
    /// There was no such user.
    UserCreated,
    /// The user has these roles now.
    UserUpdated(BTreeSet<String>),
    /// There was no such role.
    RoleCreated,
    /// The role may do this now.
    RoleUpdated(Role),
}

/// Why nothing was changed. A number is a place in the list that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum V2AuthError {
    /// Enabling again.
    #[error("already enabled")]
    AlreadyEnabled,
    /// Disabling again.
    #[error("already disabled")]
    AlreadyDisabled,
    /// Enabling: there is no user `root`.
    #[error("no root user")]
    NoRoot,
    /// A new user needs a password.
    #[error("user without a password")]
    EmptyPassword,
    /// A new user is there already.
    #[error("user exists")]
    UserExists,
    /// There is no such user.
    #[error("no such user")]
    NoSuchUser,
    /// Deleting `root` while authentication is on.
    #[error("the root user stays while authentication is on")]
    RootUser,
    /// The user has that role.
    #[error("duplicate role {0}")]
    DuplicateRole(usize),
    /// The user does not have that role.
    #[error("ungranted role {0}")]
    UngrantedRole(usize),
    /// The user would be the same.
    #[error("user not updated")]
    UserNotUpdated,
    /// The role `root` is as it is.
    #[error("the root role cannot be changed")]
    RootRole,
    /// A new role is there already.
    #[error("role exists")]
    RoleExists,
    /// There is no such role.
    #[error("no such role")]
    NoSuchRole,
    /// The role may read those keys.
    #[error("duplicate read permission {0}")]
    DuplicateRead(usize),
    /// The role may write those keys.
    #[error("duplicate write permission {0}")]
    DuplicateWrite(usize),
    /// The role would be the same.
    #[error("role not updated")]
    RoleNotUpdated,
}

impl AuthState {
    pub(crate) fn change_v2(&mut self, change: &V2AuthChange) -> Result<V2AuthAnswer, V2AuthError> {
        match change {
            V2AuthChange::Enable => self.enable_v2(),
            V2AuthChange::Disable if self.enabled => {
                self.disable();
                Ok(V2AuthAnswer::Done)
            }
            V2AuthChange::Disable => Err(V2AuthError::AlreadyDisabled),
            V2AuthChange::PutUser(put) => self.put_user(put),
            V2AuthChange::DeleteUser { name } => {
                if self.enabled && name == ROOT {
                    return Err(V2AuthError::RootUser);
                }
                self.delete_user(name).map_err(|_| V2AuthError::NoSuchUser)?;
                Ok(V2AuthAnswer::Done)
            }
            V2AuthChange::PutRole(put) => self.put_role(put),
            V2AuthChange::DeleteRole { name } => {
                if name == ROOT {
                    return Err(V2AuthError::RootRole);
                }
                self.delete_role(name).map_err(|_| V2AuthError::NoSuchRole)?;
                Ok(V2AuthAnswer::Done)
            }
        }
    }

    fn enable_v2(&mut self) -> Result<V2AuthAnswer, V2AuthError> {
        if self.enabled {
            return Err(V2AuthError::AlreadyEnabled);
        }
        let root = self.users.get_mut(ROOT).ok_or(V2AuthError::NoRoot)?;
        let mut is_new = Arc::make_mut(root).roles.insert(ROOT.to_owned());
        if !self.roles.contains_key(GUEST) {
            let all = V2Permissions { read: vec![below_root()], write: vec![below_root()] };
            self.roles.insert(GUEST.to_owned(), Arc::new(role_of(&all)));
            is_new = true;
        }
        if is_new {
            self.revision += 1;
            self.refresh(|_| true);
        }
        self.enabled = true;
        Ok(V2AuthAnswer::Done)
    }

    fn put_user(&mut self, put: &V2UserPut) -> Result<V2AuthAnswer, V2AuthError> {
        let updates = !put.grant.is_empty() || !put.revoke.is_empty();
        let exists = self.users.contains_key(&put.name);
        if updates || (put.roles.is_empty() && exists) {
            return self.update_user(put);
        }
        let hash = put.password_hash.clone().ok_or(V2AuthError::EmptyPassword)?;
        if exists {
            return Err(V2AuthError::UserExists);
        }
        let roles = with_own_role(&put.name, put.roles.iter().cloned().collect());
        self.revision += 1;
        let user = User { password_hash: Some(hash), roles, since: self.revision };
        self.users.insert(put.name.clone(), Arc::new(user));
        self.refresh(|name| name == put.name);
        Ok(V2AuthAnswer::UserCreated)
    }

    fn update_user(&mut self, put: &V2UserPut) -> Result<V2AuthAnswer, V2AuthError> {
        let user = self.users.get(&put.name).ok_or(V2AuthError::NoSuchUser)?;
        let before = with_own_role(&put.name, user.roles.clone());
        let mut roles = before.clone();
        for (at, role) in put.grant.iter().enumerate() {
            if !roles.insert(role.clone()) {
                return Err(V2AuthError::DuplicateRole(at));
            }
        }
        for (at, role) in put.revoke.iter().enumerate() {
            if !roles.remove(role) {
                return Err(V2AuthError::UngrantedRole(at));
            }
        }
        if roles == before && put.password_hash.is_none() {
            return Err(V2AuthError::UserNotUpdated);
        }
        self.revision += 1;
        let (revision, told) = (self.revision, roles.clone());
        if let Some(user) = self.users.get_mut(&put.name).map(Arc::make_mut) {
            user.roles = with_own_role(&put.name, roles);
            if put.password_hash.is_some() {
                user.password_hash.clone_from(&put.password_hash);
                user.since = revision;
            }
        }
        self.refresh(|name| name == put.name);
        Ok(V2AuthAnswer::UserUpdated(told))
    }

    fn put_role(&mut self, put: &V2RolePut) -> Result<V2AuthAnswer, V2AuthError> {
        if put.name == ROOT {
            return Err(V2AuthError::RootRole);
        }
        let before = self.roles.get(&put.name);
        if put.grant.is_empty() && put.revoke.is_empty() {
            if before.is_some() {
                return Err(V2AuthError::RoleExists);
            }
            self.roles.insert(put.name.clone(), Arc::new(role_of(&put.permissions)));
            self.revision += 1;
            self.refresh_holders(&put.name); // a user may have been given it before it was there
            return Ok(V2AuthAnswer::RoleCreated);
        }
        let before = before.ok_or(V2AuthError::NoSuchRole)?;
        let after = merged(before, put)?;
        if after == **before {
            return Err(V2AuthError::RoleNotUpdated);
        }
        self.roles.insert(put.name.clone(), Arc::new(after.clone()));
        self.revision += 1;
        self.refresh_holders(&put.name);
        Ok(V2AuthAnswer::RoleUpdated(after))
    }
}

/// The user `root` has the role `root`, whatever is asked.
fn with_own_role(name: &str, mut roles: BTreeSet<String>) -> BTreeSet<String> {
    if name == ROOT {
        roles.insert(ROOT.to_owned());
    }
    roles
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

/// Whether the role may do it with exactly these keys; it may or not from now on.
fn set(role: &mut Role, keys: &KeyRange, kind: Kind, wanted: bool) -> bool {
    let place = role.permissions.binary_search_by(|held| held.keys.cmp(keys));
    let at = match place {
        Ok(at) => at,
        Err(_) if !wanted => return false,
        Err(at) => {
            let none = Permission { keys: keys.clone(), read: false, write: false };
            role.permissions.insert(at, none);
            at
        }
    };
    let permission = &mut role.permissions[at];
    let held = match kind {
        Kind::Read => std::mem::replace(&mut permission.read, wanted),
        Kind::Write => std::mem::replace(&mut permission.write, wanted),
    };
    if !permission.read && !permission.write {
        role.permissions.remove(at);
    }
    held
}

fn role_of(permissions: &V2Permissions) -> Role {
    let mut role = Role::default();
    for keys in &permissions.read {
        set(&mut role, keys, Kind::Read, true);
    }
    for keys in &permissions.write {
        set(&mut role, keys, Kind::Write, true);
    }
    role
}

fn merged(before: &Role, put: &V2RolePut) -> Result<Role, V2AuthError> {
    let mut role = before.clone();
    for (at, keys) in put.grant.read.iter().enumerate() {
        if set(&mut role, keys, Kind::Read, true) {
            return Err(V2AuthError::DuplicateRead(at));
        }
    }
    for (at, keys) in put.grant.write.iter().enumerate() {
        if set(&mut role, keys, Kind::Write, true) {
            return Err(V2AuthError::DuplicateWrite(at));
        }
    }
    for keys in &put.revoke.read {
        set(&mut role, keys, Kind::Read, false);
    }
    for keys in &put.revoke.write {
        set(&mut role, keys, Kind::Write, false);
    }
    Ok(role)
}

/// `/*`
fn below_root() -> KeyRange {
    KeyRange { key: Bytes::from_static(b"/"), range_end: Bytes::from_static(b"0") }
}

/// The keys that a pattern means: those that begin with what is before its `*`, or the one that it is.
/// None for one that says nothing.
pub fn keys_of_pattern(pattern: &str) -> Option<KeyRange> {
    let Some(prefix) = pattern.strip_suffix('*') else {
        return (!pattern.is_empty()).then(|| KeyRange::one(pattern.to_owned()));
    };
    let all = || Bytes::from_static(b"\0");
    if prefix.is_empty() {
        return Some(KeyRange { key: all(), range_end: all() });
    }
    let range_end = end_of_prefix(prefix.as_bytes()).unwrap_or_else(all);
    Some(KeyRange { key: Bytes::from(prefix.to_owned()), range_end })
}

/// The patterns of what a role may read and write, as far as v2 has some for it, each sorted.
pub fn patterns(role: &Role) -> [Vec<String>; 2] {
    let of = |wanted: fn(&Permission) -> bool| {
        let held = role.permissions.iter().filter(|held| wanted(held));
        let mut patterns: Vec<String> = held.filter_map(|held| pattern_of(&held.keys)).collect();
        patterns.sort_unstable();
        patterns
    };
    [of(|held| held.read), of(|held| held.write)]
}

fn pattern_of(keys: &KeyRange) -> Option<String> {
    let text = std::str::from_utf8(&keys.key).ok()?;
    let pattern = match text {
        _ if keys.is_one() => text.to_owned(),
        "\0" if keys.is_open() => "*".to_owned(),
        prefix => format!("{prefix}*"),
    };
    // Not one that would mean other keys: a single key may end in a star.
    (keys_of_pattern(&pattern).as_ref() == Some(keys)).then_some(pattern)
}

/// The first key behind all that begin with this; none if all are that are not before it.
fn end_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}

#[cfg(test)]
#[path = "v2_tests.rs"]
mod tests;
