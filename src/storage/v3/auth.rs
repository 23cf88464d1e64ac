//! Rights: what a user needs for an operation, and how users and roles are changed. One function says
//! what each operation needs, [`permits`]; the door asks it, and the state machine asks it again.

use std::sync::Arc;

use super::{AuthError, V3Answer, V3Error};
use crate::{
    command::{
        AuthChange, KeyRange, V3Command, V3DeleteRange, V3Op, V3Put, V3Range, V3RequestOp, V3Txn,
    },
    storage::mvcc::{
        State,
        auth::{AuthState, Rights},
    },
    types::LeaseId,
};

/// Whether a command may be carried out. A member's own clocks ask nobody; whoever shows a password
/// cannot be someone yet.
pub(super) fn admit(state: &State, command: &V3Command) -> Result<(), V3Error> {
    let auth = state.auth();
    let own = matches!(
        command.op,
        V3Op::LeaseExpire { .. }
            | V3Op::LeaseCheckpoint { .. }
            | V3Op::Auth(AuthChange::Login { .. })
    );
    if !auth.enabled() || own {
        return Ok(());
    }
    let caller = command.caller.as_ref().ok_or(V3Error::Auth(AuthError::UserEmpty))?;
    let rights = auth.rights_of(&caller.user, caller.auth_revision);
    permits(state, rights.ok_or(V3Error::AuthOldRevision)?, &command.op)
}

/// Whether `rights` are enough for `op`.
pub fn permits(state: &State, rights: &Rights, op: &V3Op) -> Result<(), V3Error> {
    match op {
        V3Op::Put(put) => permits_put(state, rights, put),
        V3Op::DeleteRange(delete) => permits_delete(rights, delete),
        V3Op::Txn(txn) => permits_txn(state, rights, txn),
        V3Op::LeaseGrant { .. } => Ok(()),
        V3Op::LeaseRevoke { id } => permits_lease(state, rights, *id),
        V3Op::Compact { .. }
        | V3Op::LeaseExpire { .. }
        | V3Op::LeaseCheckpoint { .. }
        | V3Op::Auth(_) => demand(rights.is_root()),
    }
}

/// Whether `rights` are enough for looking at a range.
pub fn permits_range(rights: &Rights, query: &V3Range) -> Result<(), V3Error> {
    permits_read(rights, &query.keys)
}

/// Whether `rights` are enough for looking at these keys.
pub fn permits_read(rights: &Rights, keys: &KeyRange) -> Result<(), V3Error> {
    demand(rights.may_read(keys))
}

/// Whether `rights` are enough for all that a transaction may come to: both branches, and those inside.
pub fn permits_txn(state: &State, rights: &Rights, txn: &V3Txn) -> Result<(), V3Error> {
    for compare in &txn.compare {
        demand(rights.may_read(&compare.keys))?;
    }
    txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
        V3RequestOp::Range(query) => permits_range(rights, query),
        V3RequestOp::Put(put) => permits_put(state, rights, put),
        V3RequestOp::DeleteRange(delete) => permits_delete(rights, delete),
        V3RequestOp::Txn(inner) => permits_txn(state, rights, inner),
    })
}

/// Whether `rights` are enough for ending a lease, or hanging a key on it: that decides over all its keys.
pub fn permits_lease(state: &State, rights: &Rights, lease: LeaseId) -> Result<(), V3Error> {
    demand(rights.is_root() || state.keys_of_lease(lease).all(|key| rights.may_write_key(key)))
}

/// Whether `rights` are enough for being told the keys of a lease.
pub fn permits_lease_keys(state: &State, rights: &Rights, lease: LeaseId) -> Result<(), V3Error> {
    demand(rights.is_root() || state.keys_of_lease(lease).all(|key| rights.may_read_key(key)))
}

fn permits_put(state: &State, rights: &Rights, put: &V3Put) -> Result<(), V3Error> {
    demand(rights.may_write_key(&put.key))?;
    demand(!put.prev_kv || rights.may_read_key(&put.key))?;
    if put.lease.0 == 0 { Ok(()) } else { permits_lease(state, rights, put.lease) }
}

fn permits_delete(rights: &Rights, delete: &V3DeleteRange) -> Result<(), V3Error> {
    demand(rights.may_write(&delete.keys))?;
    demand(!delete.prev_kv || rights.may_read(&delete.keys))
}

fn demand(allowed: bool) -> Result<(), V3Error> {
    if allowed { Ok(()) } else { Err(V3Error::PermissionDenied) }
}

/// Changes users and roles.
pub(super) fn change(auth: &mut Arc<AuthState>, change: &AuthChange) -> Result<V3Answer, V3Error> {
    // The table of tokens is each member's own; here one is only judged, alike on all members.
    if let AuthChange::Login { user, auth_revision, .. } = change {
        return match auth.rights_of(user, *auth_revision) {
            _ if !auth.enabled() => Err(V3Error::Auth(AuthError::NotEnabled)),
            Some(_) => Ok(V3Answer::Done),
            None => Err(V3Error::AuthOldRevision),
        };
    }
    let auth = Arc::make_mut(auth);
    if let AuthChange::V2(change) = change {
        let refused = |error| V3Error::Auth(AuthError::V2(error));
        return auth.change_v2(change).map(V3Answer::V2Auth).map_err(refused);
    }
    let result = match change {
        AuthChange::Enable => auth.enable(),
        AuthChange::Disable => {
            auth.disable();
            Ok(())
        }
        AuthChange::UserAdd { name, password_hash } => auth.add_user(name, password_hash.clone()),
        AuthChange::UserDelete { name } => auth.delete_user(name),
        AuthChange::UserChangePassword { name, password_hash } => {
            auth.change_password(name, password_hash)
        }
        AuthChange::UserGrantRole { user, role } => auth.grant_role(user, role),
        AuthChange::UserRevokeRole { user, role } => auth.revoke_role(user, role),
        AuthChange::RoleAdd { name } => auth.add_role(name),
        AuthChange::RoleDelete { name } => auth.delete_role(name),
        AuthChange::RoleGrantPermission { name, permission } => {
            auth.grant_permission(name, permission)
        }
        AuthChange::RoleRevokePermission { name, keys } => auth.revoke_permission(name, keys),
        AuthChange::Login { .. } | AuthChange::V2(_) => Ok(()), // above
    };
    result.map(|()| V3Answer::Done).map_err(V3Error::Auth)
}
