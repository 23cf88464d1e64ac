//! The lease service.

use super::{
    Answers, Caller, Requests, Services,
    error::{RpcError, UNIMPLEMENTED},
    pb::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    },
};

impl Services {
    pub async fn lease_grant(
        &self,
        _caller: &Caller,
        _request: LeaseGrantRequest,
    ) -> Result<LeaseGrantResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn lease_revoke(
        &self,
        _caller: &Caller,
        _request: LeaseRevokeRequest,
    ) -> Result<LeaseRevokeResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn lease_time_to_live(
        &self,
        _caller: &Caller,
        _request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn lease_leases(
        &self,
        _caller: &Caller,
        _request: LeaseLeasesRequest,
    ) -> Result<LeaseLeasesResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub fn lease_keep_alive(
        &self,
        _caller: &Caller,
        _requests: Requests<LeaseKeepAliveRequest>,
    ) -> Result<Answers<LeaseKeepAliveResponse>, RpcError> {
        Err(UNIMPLEMENTED)
    }
}
