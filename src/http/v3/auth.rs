//! The auth service.

use super::{
    Caller, Services,
    error::{RpcError, UNIMPLEMENTED},
    pb::etcdserverpb::{
        AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
        AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
        AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
        AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
        AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
        AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
        AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
        AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest,
        AuthUserGrantRoleResponse, AuthUserListRequest, AuthUserListResponse,
        AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse, AuthenticateRequest,
        AuthenticateResponse,
    },
};

use crate::command::{self, KeyRange, V3Op, V3Range, V3Txn};

impl Services {
    /// Whether the caller may do this; who it is, for the log.
    pub(super) fn admit(
        &self,
        _caller: &Caller,
        _op: &V3Op,
    ) -> Result<Option<command::Caller>, RpcError> {
        Ok(None)
    }

    /// Whether the caller may look at these keys.
    pub(super) fn admit_range(&self, _caller: &Caller, _query: &V3Range) -> Result<(), RpcError> {
        Ok(())
    }

    /// Whether the caller may watch these keys.
    pub(super) fn admit_watch(&self, _caller: &Caller, _keys: &KeyRange) -> Result<(), RpcError> {
        Ok(())
    }

    /// Whether the caller is anybody at all.
    pub(super) fn admit_user(&self, _caller: &Caller) -> Result<(), RpcError> {
        Ok(())
    }

    /// Whether the caller may do what only root may.
    pub(super) fn admit_root(&self, _caller: &Caller) -> Result<(), RpcError> {
        Ok(())
    }

    /// Whether the caller may do all that this transaction may come to.
    pub(super) fn admit_txn(&self, _caller: &Caller, _txn: &V3Txn) -> Result<(), RpcError> {
        Ok(())
    }

    pub async fn auth_enable(
        &self,
        _caller: &Caller,
        _request: AuthEnableRequest,
    ) -> Result<AuthEnableResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn auth_disable(
        &self,
        _caller: &Caller,
        _request: AuthDisableRequest,
    ) -> Result<AuthDisableResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn auth_status(
        &self,
        _caller: &Caller,
        _request: AuthStatusRequest,
    ) -> Result<AuthStatusResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn authenticate(
        &self,
        _caller: &Caller,
        _request: AuthenticateRequest,
    ) -> Result<AuthenticateResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn user_add(
        &self,
        _caller: &Caller,
        _request: AuthUserAddRequest,
    ) -> Result<AuthUserAddResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn user_get(
        &self,
        _caller: &Caller,
        _request: AuthUserGetRequest,
    ) -> Result<AuthUserGetResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn user_list(
        &self,
        _caller: &Caller,
        _request: AuthUserListRequest,
    ) -> Result<AuthUserListResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn user_delete(
        &self,
        _caller: &Caller,
        _request: AuthUserDeleteRequest,
    ) -> Result<AuthUserDeleteResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn user_change_password(
        &self,
        _caller: &Caller,
        _request: AuthUserChangePasswordRequest,
    ) -> Result<AuthUserChangePasswordResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn user_grant_role(
        &self,
        _caller: &Caller,
        _request: AuthUserGrantRoleRequest,
    ) -> Result<AuthUserGrantRoleResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn user_revoke_role(
        &self,
        _caller: &Caller,
        _request: AuthUserRevokeRoleRequest,
    ) -> Result<AuthUserRevokeRoleResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn role_add(
        &self,
        _caller: &Caller,
        _request: AuthRoleAddRequest,
    ) -> Result<AuthRoleAddResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn role_get(
        &self,
        _caller: &Caller,
        _request: AuthRoleGetRequest,
    ) -> Result<AuthRoleGetResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn role_list(
        &self,
        _caller: &Caller,
        _request: AuthRoleListRequest,
    ) -> Result<AuthRoleListResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn role_delete(
        &self,
        _caller: &Caller,
        _request: AuthRoleDeleteRequest,
    ) -> Result<AuthRoleDeleteResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn role_grant_permission(
        &self,
        _caller: &Caller,
        _request: AuthRoleGrantPermissionRequest,
    ) -> Result<AuthRoleGrantPermissionResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn role_revoke_permission(
        &self,
        _caller: &Caller,
        _request: AuthRoleRevokePermissionRequest,
    ) -> Result<AuthRoleRevokePermissionResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }
}
