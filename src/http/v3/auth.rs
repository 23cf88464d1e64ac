//! The auth service: users, roles, and the way from a password to a token. Changes go through the log
//! like all others; passwords only as hashes, tokens not at all.

mod admit;

pub(in crate::http::v3) use self::admit::Needs;
use super::{
    Caller, Services,
    error::{self, RpcError},
    pb::{
        authpb,
        etcdserverpb::{
            AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
            AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
            AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
            AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
            AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
            AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse,
            AuthUserChangePasswordRequest, AuthUserChangePasswordResponse, AuthUserDeleteRequest,
            AuthUserDeleteResponse, AuthUserGetRequest, AuthUserGetResponse,
            AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, AuthUserListRequest,
            AuthUserListResponse, AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse,
            AuthenticateRequest, AuthenticateResponse, ResponseHeader,
        },
    },
};
use crate::{
    command::{AuthChange, Command, KeyRange, PasswordHash, Permission, V3Command, V3Op},
    http::auth::{self, HashError, PasswordError, SimpleToken, Tokens},
    storage::{
        mvcc::{
            Applied,
            auth::{AuthState, ROOT},
        },
        v3::{AuthError, V3Applied, V3Error},
    },
};

/// How often a login is tried again when users change while a password is being looked at.
const LOGIN_TRIES: usize = 3;

impl Services {
    /// From now on everyone must say who they are.
    pub async fn auth_enable(
        &self,
        caller: &Caller,
        _request: AuthEnableRequest,
    ) -> Result<AuthEnableResponse, RpcError> {
        Ok(AuthEnableResponse { header: self.change_auth(caller, AuthChange::Enable).await? })
    }

    /// From now on nobody must.
    pub async fn auth_disable(
        &self,
        caller: &Caller,
        _request: AuthDisableRequest,
    ) -> Result<AuthDisableResponse, RpcError> {
        Ok(AuthDisableResponse { header: self.change_auth(caller, AuthChange::Disable).await? })
    }

    /// Whether authentication is on: anyone may know, for they find out anyway.
    pub async fn auth_status(
        &self,
        _caller: &Caller,
        _request: AuthStatusRequest,
    ) -> Result<AuthStatusResponse, RpcError> {
        self.read_index().await?;
        let state = self.doors.published.state.load();
        let (enabled, auth_revision) = (state.auth().enabled(), state.auth().revision());
        Ok(AuthStatusResponse { header: self.header_now(), enabled, auth_revision })
    }

    /// Gives a token for a password.
    pub async fn authenticate(
        &self,
        caller: &Caller,
        request: AuthenticateRequest,
    ) -> Result<AuthenticateResponse, RpcError> {
        let published = &self.doors.published;
        let remote = caller.remote.map(|remote| remote.ip());
        for _ in 0..LOGIN_TRIES {
            if !published.state.load().auth().enabled() {
                return Err(error::AUTH_NOT_ENABLED);
            }
            let (user, password) = (&request.name, &request.password);
            let auth_revision =
                self.doors.gate.check_password(published, remote, user, password).await?;
            let secret = match self.doors.gate.tokens() {
                Tokens::Simple { .. } => SimpleToken::make_secret(),
                Tokens::Jwt(jwt) => {
                    let token = auth::sign(jwt, user, auth_revision).map_err(|error| {
                        RpcError::with_text(error::Code::Unknown, error.to_string())
                    })?;
                    return Ok(AuthenticateResponse { header: self.header_now(), token });
                }
            };
            let token = SimpleToken::hash_of(&secret);
            let change = AuthChange::Login { user: user.clone(), token, auth_revision };
            let command = Command::V3(V3Command { caller: None, op: V3Op::Auth(change) });
            let Applied::V3(V3Applied { result, .. }) = self.propose(command).await? else {
                unreachable!("the answer to a v3 command")
            };
            match result {
                Ok(_) => {
                    self.doors.gate.sweep(published);
                    let token = SimpleToken::dress(&secret, published.state.load().applied_index);
                    return Ok(AuthenticateResponse { header: self.header_now(), token });
                }
                Err(V3Error::AuthOldRevision) => {} // another password meanwhile, maybe
                Err(error) => return Err(error.into()),
            }
        }
        Err(error::AUTH_OLD_REVISION)
    }

    /// A new user.
    pub async fn user_add(
        &self,
        caller: &Caller,
        request: AuthUserAddRequest,
    ) -> Result<AuthUserAddResponse, RpcError> {
        self.admit_root(caller)?;
        if request.name.is_empty() {
            return Err(AuthError::UserEmpty.into());
        }
        let no_password = request.options.is_some_and(|options| options.no_password);
        let password_hash =
            if no_password { None } else { Some(self.hashed(request.password).await?) };
        let change = AuthChange::UserAdd { name: request.name, password_hash };
        Ok(AuthUserAddResponse { header: self.change_auth(caller, change).await? })
    }

    /// The roles of a user: its own, or anyone's for root.
    pub async fn user_get(
        &self,
        caller: &Caller,
        request: AuthUserGetRequest,
    ) -> Result<AuthUserGetResponse, RpcError> {
        self.read_index().await?;
        if self.user_of(caller)?.is_none_or(|user| user != request.name) {
            self.admit_root(caller)?;
        }
        let state = self.doors.published.state.load();
        let user = state.auth().users().get(&request.name).ok_or(AuthError::UserNotFound)?;
        Ok(AuthUserGetResponse {
            header: self.header_now(),
            roles: user.roles.iter().cloned().collect(),
        })
    }

    /// All users.
    pub async fn user_list(
        &self,
        caller: &Caller,
        _request: AuthUserListRequest,
    ) -> Result<AuthUserListResponse, RpcError> {
        self.read_index().await?;
        self.admit_root(caller)?;
        let users = self.doors.published.state.load().auth().users().keys().cloned().collect();
        Ok(AuthUserListResponse { header: self.header_now(), users })
    }

    /// A user goes.
    pub async fn user_delete(
        &self,
        caller: &Caller,
        request: AuthUserDeleteRequest,
    ) -> Result<AuthUserDeleteResponse, RpcError> {
        let change = AuthChange::UserDelete { name: request.name };
        Ok(AuthUserDeleteResponse { header: self.change_auth(caller, change).await? })
    }

    /// A user gets another password.
    pub async fn user_change_password(
        &self,
        caller: &Caller,
        request: AuthUserChangePasswordRequest,
    ) -> Result<AuthUserChangePasswordResponse, RpcError> {
        self.admit_root(caller)?;
        let password_hash = self.hashed(request.password).await?;
        let change = AuthChange::UserChangePassword { name: request.name, password_hash };
        Ok(AuthUserChangePasswordResponse { header: self.change_auth(caller, change).await? })
    }

    /// A user gets a role.
    pub async fn user_grant_role(
        &self,
        caller: &Caller,
        request: AuthUserGrantRoleRequest,
    ) -> Result<AuthUserGrantRoleResponse, RpcError> {
        let change = AuthChange::UserGrantRole { user: request.user, role: request.role };
        Ok(AuthUserGrantRoleResponse { header: self.change_auth(caller, change).await? })
    }

    /// A user loses a role.
    pub async fn user_revoke_role(
        &self,
        caller: &Caller,
        request: AuthUserRevokeRoleRequest,
    ) -> Result<AuthUserRevokeRoleResponse, RpcError> {
        let change = AuthChange::UserRevokeRole { user: request.name, role: request.role };
        Ok(AuthUserRevokeRoleResponse { header: self.change_auth(caller, change).await? })
    }

    /// A new role.
    pub async fn role_add(
        &self,
        caller: &Caller,
        request: AuthRoleAddRequest,
    ) -> Result<AuthRoleAddResponse, RpcError> {
        let change = AuthChange::RoleAdd { name: request.name };
        Ok(AuthRoleAddResponse { header: self.change_auth(caller, change).await? })
    }

    /// What a role may do: one of the caller's own, or any for root.
    pub async fn role_get(
        &self,
        caller: &Caller,
        request: AuthRoleGetRequest,
    ) -> Result<AuthRoleGetResponse, RpcError> {
        self.read_index().await?;
        let user = self.user_of(caller)?;
        let state = self.doors.published.state.load();
        let auth = state.auth();
        let own = user.and_then(|user| auth.users().get(&user));
        if own.is_none_or(|user| !user.roles.contains(&request.role)) {
            self.admit_root(caller)?;
        }
        let perm = permissions(auth, &request.role)?;
        Ok(AuthRoleGetResponse { header: self.header_now(), perm })
    }

    /// All roles.
    pub async fn role_list(
        &self,
        caller: &Caller,
        _request: AuthRoleListRequest,
    ) -> Result<AuthRoleListResponse, RpcError> {
        self.read_index().await?;
        self.admit_root(caller)?;
        let roles = self.doors.published.state.load().auth().roles().keys().cloned().collect();
        Ok(AuthRoleListResponse { header: self.header_now(), roles })
    }

    /// A role goes, from all who had it.
    pub async fn role_delete(
        &self,
        caller: &Caller,
        request: AuthRoleDeleteRequest,
    ) -> Result<AuthRoleDeleteResponse, RpcError> {
        let change = AuthChange::RoleDelete { name: request.role };
        Ok(AuthRoleDeleteResponse { header: self.change_auth(caller, change).await? })
    }

    /// A role may do more.
    pub async fn role_grant_permission(
        &self,
        caller: &Caller,
        request: AuthRoleGrantPermissionRequest,
    ) -> Result<AuthRoleGrantPermissionResponse, RpcError> {
        self.admit_root(caller)?;
        let given = request.perm.ok_or(AuthError::PermissionNotGiven)?;
        let (read, write) = match authpb::permission::Type::try_from(given.perm_type) {
            Ok(authpb::permission::Type::Read) => (true, false),
            Ok(authpb::permission::Type::Write) => (false, true),
            Ok(authpb::permission::Type::Readwrite) => (true, true),
            Err(_) => return Err(AuthError::InvalidManagement.into()),
        };
        let keys = KeyRange { key: given.key, range_end: given.range_end };
        let permission = Permission { keys, read, write };
        let change = AuthChange::RoleGrantPermission { name: request.name, permission };
        Ok(AuthRoleGrantPermissionResponse { header: self.change_auth(caller, change).await? })
    }

    /// A role may do less.
    pub async fn role_revoke_permission(
        &self,
        caller: &Caller,
        request: AuthRoleRevokePermissionRequest,
    ) -> Result<AuthRoleRevokePermissionResponse, RpcError> {
        let keys = KeyRange { key: request.key, range_end: request.range_end };
        let change = AuthChange::RoleRevokePermission { name: request.role, keys };
        Ok(AuthRoleRevokePermissionResponse { header: self.change_auth(caller, change).await? })
    }

    /// Puts a change of users and roles through the log; gives the header of its answer.
    async fn change_auth(
        &self,
        caller: &Caller,
        change: AuthChange,
    ) -> Result<Option<ResponseHeader>, RpcError> {
        let (revision, _) = self.change(caller, V3Op::Auth(change)).await?;
        Ok(self.header(revision))
    }

    async fn hashed(&self, password: String) -> Result<PasswordHash, RpcError> {
        Ok(self.doors.gate.hash(password).await?)
    }
}

/// The permissions of a role, as etcd tells them. That of `root` is one for all keys.
fn permissions(auth: &AuthState, role: &str) -> Result<Vec<authpb::Permission>, AuthError> {
    let found = auth.roles().get(role).ok_or(AuthError::RoleNotFound)?;
    if role == ROOT {
        return Ok(vec![authpb::Permission {
            perm_type: authpb::permission::Type::Readwrite.into(),
            key: bytes::Bytes::new(),
            range_end: bytes::Bytes::from_static(b"\0"),
        }]);
    }
    let told = found.permissions.iter().map(|held| {
        let kind = match (held.read, held.write) {
            (true, true) => authpb::permission::Type::Readwrite,
            (false, true) => authpb::permission::Type::Write,
            _ => authpb::permission::Type::Read,
        };
        authpb::Permission {
            perm_type: kind.into(),
            key: held.keys.key.clone(),
            range_end: held.keys.range_end.clone(),
        }
    });
    Ok(told.collect())
}

impl From<PasswordError> for RpcError {
    fn from(error: PasswordError) -> RpcError {
        match error {
            PasswordError::Wrong => error::AUTH_FAILED,
            PasswordError::NoPassword => error::NO_PASSWORD_USER,
            PasswordError::TooMany => error::TOO_MANY_REQUESTS,
            PasswordError::Stopping => error::STOPPED,
        }
    }
}

impl From<HashError> for RpcError {
    fn from(error: HashError) -> RpcError {
        match error {
            HashError::TooLong => error::PASSWORD_TOO_LONG,
            HashError::TooMany => error::TOO_MANY_REQUESTS,
            HashError::Stopping => error::STOPPED,
        }
    }
}
