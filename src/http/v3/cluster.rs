//! The cluster service.

use super::{
    Caller, Services,
    error::{RpcError, UNIMPLEMENTED},
    pb::etcdserverpb::{
        MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse,
    },
};

impl Services {
    pub async fn member_add(
        &self,
        _caller: &Caller,
        _request: MemberAddRequest,
    ) -> Result<MemberAddResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn member_remove(
        &self,
        _caller: &Caller,
        _request: MemberRemoveRequest,
    ) -> Result<MemberRemoveResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn member_update(
        &self,
        _caller: &Caller,
        _request: MemberUpdateRequest,
    ) -> Result<MemberUpdateResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn member_list(
        &self,
        _caller: &Caller,
        _request: MemberListRequest,
    ) -> Result<MemberListResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn member_promote(
        &self,
        _caller: &Caller,
        _request: MemberPromoteRequest,
    ) -> Result<MemberPromoteResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }
}
