//! Users and roles: who may read and write which keys. What each user may do is worked out when
//! something changes, so that asking costs a search in a sorted list.
//!
//! A check of a password, and a token, hold from an auth revision on. They are void once the user was
//! made, given another password, or authentication was switched off at a later one:
//! [`AuthState::rights_of`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    command::{KeyRange, PasswordHash, Permission},
    storage::v3::AuthError,
};

mod v2;

pub use v2::{GUEST, V2AuthAnswer, V2AuthError, keys_of_pattern, patterns};

/// The user, and the role, that may do everything.
pub const ROOT: &str = "root";

/// Users, roles, and whether they matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthState {
    enabled: bool,
    /// Counts the changes; 1 when there were none.
    revision: u64,
    /// The revision of the last disabling.
    disabled_at: u64,
    users: BTreeMap<String, Arc<User>>,
    roles: BTreeMap<String, Arc<Role>>,
    /// Of each user; follows from the rest.
    #[serde(skip)]
    rights: BTreeMap<String, Arc<Rights>>,
}

/// Someone with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// None: no password fits.
    pub password_hash: Option<PasswordHash>,
    /// What it is.
    pub roles: BTreeSet<String>,
    /// The auth revision at which it was made, or got its password.
    pub since: u64,
}

/// What those who have it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// By key and end, each once.
    pub permissions: Vec<Permission>,
}

impl Default for AuthState {
    fn default() -> Self {
        AuthState {
            enabled: false,
            revision: 1,
            disabled_at: 0,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            rights: BTreeMap::new(),
        }
    }
}

impl AuthState {
    /// Whether anything is asked of anyone.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Counts the changes.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Is another one after every change, and after authentication was switched on or off.
    pub fn stamp(&self) -> u64 {
        self.revision << 1 | u64::from(self.enabled)
    }

    /// All users, by name.
    pub fn users(&self) -> &BTreeMap<String, Arc<User>> {
        &self.users
    }

    /// All roles, by name.
    pub fn roles(&self) -> &BTreeMap<String, Arc<Role>> {
        &self.roles
    }

    /// What `user` may do, if it showed who it is at `auth_revision` or later.
    pub fn rights_of(&self, user: &str, auth_revision: u64) -> Option<&Arc<Rights>> {
        let since = self.users.get(user)?.since.max(self.disabled_at);
        self.rights.get(user).filter(|_| auth_revision >= since)
    }

    /// What the holder of a role may do. A role that is not there may do nothing.
    pub fn rights_of_role(&self, role: &str) -> Rights {
        self.rights_from([role].into_iter())
    }

    /// As it is after decoding: with what follows from the rest.
    pub(crate) fn restored(mut self) -> AuthState {
        self.refresh(|_| true);
        self
    }

    pub(crate) fn enable(&mut self) -> Result<(), AuthError> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(AuthError::RootUserNotExist)?;
        if !root.roles.contains(ROOT) {
            return Err(AuthError::RootRoleNotExist);
        }
        self.enabled = true;
        Ok(())
    }

    pub(crate) fn disable(&mut self) {
        if self.enabled {
            self.enabled = false;
            self.revision += 1;
            self.disabled_at = self.revision;
        }
    }

    pub(crate) fn add_user(
        &mut self,
        name: &str,
        password_hash: Option<PasswordHash>,
    ) -> Result<(), AuthError> {
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.users.contains_key(name) {
            return Err(AuthError::UserAlreadyExist);
        }
        self.revision += 1;
        let user = User { password_hash, roles: BTreeSet::new(), since: self.revision };
        self.users.insert(name.to_owned(), Arc::new(user));
        self.rights.insert(name.to_owned(), Arc::default());
        Ok(())
    }

    pub(crate) fn delete_user(&mut self, name: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.users.remove(name).ok_or(AuthError::UserNotFound)?;
        self.rights.remove(name);
        self.revision += 1;
        Ok(())
    }

    /// A user without a password stays so: etcd keeps its option, whatever it is given.
    pub(crate) fn change_password(
        &mut self,
        name: &str,
        password_hash: &PasswordHash,
    ) -> Result<(), AuthError> {
        let user = self.users.get_mut(name).ok_or(AuthError::UserNotFound)?;
        self.revision += 1;
        let user = Arc::make_mut(user);
        user.since = self.revision;
        if let Some(hash) = &mut user.password_hash {
            hash.clone_from(password_hash);
        }
        Ok(())
    }

    /// Granting a role that the user has changes nothing, and is no error.
    pub(crate) fn grant_role(&mut self, user: &str, role: &str) -> Result<(), AuthError> {
        let known = role == ROOT || self.roles.contains_key(role);
        let found = self.users.get_mut(user).ok_or(AuthError::UserNotFound)?;
        if !known {
            return Err(AuthError::RoleNotFound);
        }
        if Arc::make_mut(found).roles.insert(role.to_owned()) {
            self.revision += 1;
            self.refresh(|name| name == user);
        }
        Ok(())
    }

    pub(crate) fn revoke_role(&mut self, user: &str, role: &str) -> Result<(), AuthError> {
        if self.enabled && user == ROOT && role == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        let found = self.users.get_mut(user).ok_or(AuthError::UserNotFound)?;
        if !Arc::make_mut(found).roles.remove(role) {
            return Err(AuthError::RoleNotGranted);
        }
        self.revision += 1;
        self.refresh(|name| name == user);
        Ok(())
    }

    pub(crate) fn add_role(&mut self, name: &str) -> Result<(), AuthError> {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(AuthError::RoleAlreadyExist);
        }
        self.roles.insert(name.to_owned(), Arc::default());
        self.revision += 1;
        Ok(())
    }

    pub(crate) fn delete_role(&mut self, name: &str) -> Result<(), AuthError> {
        if self.enabled && name == ROOT {
            return Err(AuthError::InvalidManagement);
        }
        self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
        self.revision += 1;
        let holders = self.holders(name);
        for user in &holders {
            if let Some(user) = self.users.get_mut(user) {
                Arc::make_mut(user).roles.remove(name);
            }
        }
        self.refresh(|user| holders.contains(user));
        Ok(())
    }

    /// Granting the same keys again replaces what may be done with them.
    pub(crate) fn grant_permission(
        &mut self,
        name: &str,
        permission: &Permission,
    ) -> Result<(), AuthError> {
        let keys = &permission.keys;
        if keys.key.is_empty() || keys.bounds().is_none() {
            return Err(AuthError::InvalidManagement);
        }
        let role = self.roles.get_mut(name).ok_or(AuthError::RoleNotFound)?;
        let role = Arc::make_mut(role);
        match role.permissions.binary_search_by(|held| held.keys.cmp(keys)) {
            Ok(at) => role.permissions[at] = permission.clone(),
            Err(at) => role.permissions.insert(at, permission.clone()),
        }
        self.revision += 1;
        self.refresh_holders(name);
        Ok(())
    }

    pub(crate) fn revoke_permission(
        &mut self,
        name: &str,
        keys: &KeyRange,
    ) -> Result<(), AuthError> {
        let role = self.roles.get_mut(name).ok_or(AuthError::RoleNotFound)?;
        let held = role.permissions.binary_search_by(|held| held.keys.cmp(keys));
        let at = held.map_err(|_| AuthError::PermissionNotGranted)?;
        Arc::make_mut(role).permissions.remove(at);
        self.revision += 1;
        self.refresh_holders(name);
        Ok(())
    }

    fn holders(&self, role: &str) -> BTreeSet<String> {
        let holders = self.users.iter().filter(|(_, user)| user.roles.contains(role));
        holders.map(|(name, _)| name.clone()).collect()
    }

    fn refresh_holders(&mut self, role: &str) {
        let holders = self.holders(role);
        self.refresh(|user| holders.contains(user));
    }

    /// Works out anew what those users may do.
    fn refresh(&mut self, wanted: impl Fn(&str) -> bool) {
        for (name, user) in self.users.iter().filter(|(name, _)| wanted(name)) {
            let rights = self.rights_from(user.roles.iter().map(String::as_str));
            self.rights.insert(name.clone(), Arc::new(rights));
        }
    }

    fn rights_from<'a>(&self, roles: impl Iterator<Item = &'a str> + Clone) -> Rights {
        let held = roles.clone().filter_map(|role| self.roles.get(role));
        let held = held.flat_map(|role| &role.permissions);
        let of = |wanted: fn(&Permission) -> bool| {
            KeySet::of(held.clone().filter(|held| wanted(held)).map(|held| &held.keys))
        };
        Rights {
            root: roles.clone().any(|role| role == ROOT),
            read: of(|permission| permission.read),
            write: of(|permission| permission.write),
        }
    }
}

/// What someone may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    root: bool,
    read: KeySet,
    write: KeySet,
}

impl Rights {
    /// Whether it may do everything.
    pub fn is_root(&self) -> bool {
        self.root
    }

    /// Whether it may look at all these keys.
    pub fn may_read(&self, keys: &KeyRange) -> bool {
        self.root || self.read.covers(&keys.key, &keys.range_end)
    }

    /// Whether it may change all these keys.
    pub fn may_write(&self, keys: &KeyRange) -> bool {
        self.root || self.write.covers(&keys.key, &keys.range_end)
    }

    /// Whether it may change this key.
    pub fn may_write_key(&self, key: &[u8]) -> bool {
        self.root || self.write.covers(key, b"")
    }

    /// Whether it may look at this key.
    pub fn may_read_key(&self, key: &[u8]) -> bool {
        self.root || self.read.covers(key, b"")
    }
}

/// A set of keys: intervals that neither overlap nor touch, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct KeySet(Vec<Span>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    from: Bytes,
    /// Exclusive; none is without end.
    to: Option<Bytes>,
}

impl KeySet {
    fn of<'a>(ranges: impl Iterator<Item = &'a KeyRange>) -> KeySet {
        let spans = ranges.filter_map(|keys| {
            let to = if keys.is_one() {
                Some(Bytes::from([&keys.key[..], b"\0"].concat()))
            } else if keys.is_open() {
                None
            } else {
                Some(keys.range_end.clone()).filter(|end| keys.key < *end)?.into()
            };
            Some(Span { from: keys.key.clone(), to })
        });
        let mut spans: Vec<Span> = spans.collect();
        spans.sort_by(|a, b| a.from.cmp(&b.from));
        let mut joined: Vec<Span> = Vec::new();
        for span in spans {
            match joined.last_mut() {
                Some(last) if last.to.as_ref().is_none_or(|to| *to >= span.from) => {
                    let ends = last.to.take().zip(span.to);
                    last.to = ends.map(|(a, b)| a.max(b));
                }
                _ => joined.push(span),
            }
        }
        KeySet(joined)
    }

    /// Whether all keys from `key` to `end` (as in a [`KeyRange`]) are in it. A range that cannot hold
    /// a key counts as its first key: it must not be a way around.
    fn covers(&self, key: &[u8], end: &[u8]) -> bool {
        let after = self.0.partition_point(|span| span.from <= key);
        let Some(span) = after.checked_sub(1).map(|at| &self.0[at]) else { return false };
        let Some(to) = &span.to else { return true };
        match end {
            b"" => key < &to[..],
            b"\0" => false,
            end => key < &to[..] && end <= &to[..],
        }
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
