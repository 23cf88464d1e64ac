//! Who may do what: the questions that every RPC asks before anything else. While authentication is off
//! all may do all; else nobody may do anything without a good token, or what a door takes in its place: a
//! certificate, or a password that it has looked at. There is no guest here.
//!
//! A change is judged again when it is applied ([`crate::storage::v3`]), a linearizable read after it
//! has waited, a watch whenever users or roles change: [`Services::auth_revision`].

use std::sync::Arc;

use crate::{
    command::{self, KeyRange, V3Op, V3Range, V3Txn},
    http::{
        auth::{Identity, certificate::CommonName},
        v3::{
            Caller, Services,
            error::{self, RpcError},
        },
    },
    storage::{
        mvcc::{State, auth::Rights},
        v3,
    },
};

/// A caller, as the users are now.
struct Standing {
    state: Arc<State>,
    user: String,
    rights: Arc<Rights>,
    /// Its token speaks for users and roles as they were before.
    outdated: bool,
}

/// One who was let begin something long, and is asked again before each piece of it.
pub(in crate::http::v3) struct Begun {
    services: Services,
    who: Option<Identity>,
    needs: Needs,
}

/// What a long answer needs.
pub(in crate::http::v3) enum Needs {
    /// To look at these keys.
    Read(KeyRange),
    /// To do everything.
    Root,
}

impl Begun {
    /// Whether it may go on, as users and roles are now.
    pub(in crate::http::v3) fn may_go_on(&self) -> Result<(), RpcError> {
        match &self.needs {
            Needs::Read(keys) => self.services.still_may_watch(self.who.as_ref(), keys),
            Needs::Root => {
                let rights = self.services.still(self.who.as_ref())?;
                let may = rights.is_none_or(|rights| rights.is_root());
                if may { Ok(()) } else { Err(error::PERMISSION_DENIED) }
            }
        }
    }
}

impl Standing {
    /// For whatever depends on keys: a token that was made for other users and roles must be renewed.
    fn for_keys(self) -> Result<Standing, RpcError> {
        if self.outdated { Err(error::AUTH_OLD_REVISION) } else { Ok(self) }
    }
}

impl Services {
    /// Who calls; none while authentication is off.
    fn standing(&self, caller: &Caller) -> Result<Option<Standing>, RpcError> {
        let published = &self.doors.published;
        let state = published.state.load_full();
        let auth = state.auth();
        if !auth.enabled() {
            return Ok(None);
        }
        let by_certificate = caller.certificate.as_ref().and_then(CommonName::user);
        let identity = match (&caller.shown, &caller.token, by_certificate) {
            (Some(shown), ..) => shown.clone(),
            (None, Some(token), _) => {
                let token = token.strip_prefix("Bearer ").unwrap_or(token);
                let identity = self.doors.gate.identify(published, token);
                identity.ok_or(error::INVALID_AUTH_TOKEN)?
            }
            (None, None, Some(name)) => {
                let (user, auth_revision) = (name.to_owned(), auth.revision());
                if !auth.users().contains_key(&user) {
                    return Err(error::PERMISSION_DENIED); // someone, but nobody who may anything
                }
                Identity { user, auth_revision, pinned: false }
            }
            (None, None, None) => return Err(error::USER_EMPTY),
        };
        let rights = auth.rights_of(&identity.user, identity.auth_revision).cloned();
        let outdated = identity.pinned && identity.auth_revision < auth.revision();
        match rights {
            Some(rights) => Ok(Some(Standing { user: identity.user, rights, outdated, state })),
            None if outdated => Err(error::AUTH_OLD_REVISION),
            None => Err(error::INVALID_AUTH_TOKEN),
        }
    }

    /// The caller's name; none while authentication is off.
    pub(in crate::http::v3) fn user_of(&self, caller: &Caller) -> Result<Option<String>, RpcError> {
        Ok(self.standing(caller)?.map(|standing| standing.user))
    }

    /// Waits, if the token may have been made by a change that this member has not applied yet.
    pub(in crate::http) async fn catch_up(&self, caller: &Caller) {
        if let Some(token) = &caller.token
            && self.doors.gate.is_ahead(&self.doors.published, token)
        {
            _ = self.read_index().await; // else it is not known here, and refused
        }
    }

    /// Counts the changes of users and roles. What was admitted before a change must be asked again
    /// after it.
    pub(in crate::http) fn auth_revision(&self) -> u64 {
        self.doors.published.state.load().auth().stamp()
    }

    /// Whether the caller may do this; who it is, for the log.
    pub(in crate::http::v3) fn admit(
        &self,
        caller: &Caller,
        op: &V3Op,
    ) -> Result<Option<command::Caller>, RpcError> {
        let Some(standing) = self.standing(caller)? else { return Ok(None) };
        let standing = if matches!(op, V3Op::Auth(_)) { standing } else { standing.for_keys()? };
        v3::permits(&standing.state, &standing.rights, op)?;
        let auth_revision = standing.state.auth().revision();
        Ok(Some(command::Caller { user: standing.user, auth_revision }))
    }

    /// Whether the caller may look at these keys.
    pub(in crate::http::v3) fn admit_range(
        &self,
        caller: &Caller,
        query: &V3Range,
    ) -> Result<(), RpcError> {
        self.admit_read(caller, &query.keys)
    }

    /// Whether the caller may do all that this transaction may come to. One that does nothing may be
    /// done by anyone, as in etcd.
    pub(in crate::http::v3) fn admit_txn(
        &self,
        caller: &Caller,
        txn: &V3Txn,
    ) -> Result<(), RpcError> {
        if *txn == V3Txn::default() && caller.token.is_none() {
            return Ok(());
        }
        let Some(standing) = self.standing(caller)? else { return Ok(()) };
        let standing = standing.for_keys()?;
        Ok(v3::permits_txn(&standing.state, &standing.rights, txn)?)
    }

    /// Whether the caller may watch these keys: all of them, with what was there before.
    pub(in crate::http::v3) fn admit_watch(
        &self,
        caller: &Caller,
        keys: &KeyRange,
    ) -> Result<(), RpcError> {
        self.admit_read(caller, keys)
    }

    /// Who watches; none while authentication is off. A watch may outlive its token.
    pub(in crate::http::v3) fn watcher(&self, caller: &Caller) -> Option<Identity> {
        let standing = self.standing(caller).ok().flatten()?;
        let auth_revision = standing.state.auth().revision();
        Some(Identity { user: standing.user, auth_revision, pinned: false })
    }

    /// For one who was just let pass.
    pub(in crate::http::v3) fn begun(&self, caller: &Caller, needs: Needs) -> Begun {
        Begun { services: self.clone(), who: self.watcher(caller), needs }
    }

    /// Whether one who was let watch these keys may still: asked when users or roles have changed.
    pub(in crate::http::v3) fn still_may_watch(
        &self,
        watcher: Option<&Identity>,
        keys: &KeyRange,
    ) -> Result<(), RpcError> {
        let Some(rights) = self.still(watcher)? else { return Ok(()) };
        Ok(v3::permits_read(&rights, keys)?)
    }

    /// Whether one who was let renew leases is still someone.
    pub(in crate::http::v3) fn still_is_someone(
        &self,
        user: Option<&Identity>,
    ) -> Result<(), RpcError> {
        self.still(user).map(drop)
    }

    /// What one who was let pass may do now; none while authentication is off.
    fn still(&self, who: Option<&Identity>) -> Result<Option<Arc<Rights>>, RpcError> {
        let state = self.doors.published.state.load();
        if !state.auth().enabled() {
            return Ok(None);
        }
        let Identity { user, auth_revision, .. } = who.ok_or(error::USER_EMPTY)?;
        let rights = state.auth().rights_of(user, *auth_revision).cloned();
        rights.map(Some).ok_or(error::INVALID_AUTH_TOKEN)
    }

    fn admit_read(&self, caller: &Caller, keys: &KeyRange) -> Result<(), RpcError> {
        let Some(standing) = self.standing(caller)? else { return Ok(()) };
        Ok(v3::permits_read(&standing.for_keys()?.rights, keys)?)
    }

    /// Whether the caller is someone.
    pub(in crate::http::v3) fn admit_user(&self, caller: &Caller) -> Result<(), RpcError> {
        self.standing(caller).map(drop)
    }

    /// Whether the caller may do everything.
    pub(in crate::http::v3) fn admit_root(&self, caller: &Caller) -> Result<(), RpcError> {
        match self.standing(caller)? {
            Some(standing) if !standing.rights.is_root() => Err(error::PERMISSION_DENIED),
            _ => Ok(()),
        }
    }

    /// Whether the caller may be told all leases: those whose keys it may not read are some of them.
    pub(in crate::http::v3) fn admit_lease_list(&self, caller: &Caller) -> Result<(), RpcError> {
        let Some(standing) = self.standing(caller)? else { return Ok(()) };
        let Standing { state, rights, .. } = standing.for_keys()?;
        let mut leases = state.leases();
        Ok(leases.try_for_each(|lease| v3::permits_lease_keys(&state, &rights, lease.id))?)
    }
}
