//! The election service.

use super::{
    Answers, Caller, Services,
    error::{RpcError, UNIMPLEMENTED},
    pb::v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest,
        ProclaimResponse, ResignRequest, ResignResponse,
    },
};

impl Services {
    pub async fn campaign(
        &self,
        _caller: &Caller,
        _request: CampaignRequest,
    ) -> Result<CampaignResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn proclaim(
        &self,
        _caller: &Caller,
        _request: ProclaimRequest,
    ) -> Result<ProclaimResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn leader(
        &self,
        _caller: &Caller,
        _request: LeaderRequest,
    ) -> Result<LeaderResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn resign(
        &self,
        _caller: &Caller,
        _request: ResignRequest,
    ) -> Result<ResignResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub fn observe(
        &self,
        _caller: &Caller,
        _request: LeaderRequest,
    ) -> Result<Answers<LeaderResponse>, RpcError> {
        Err(UNIMPLEMENTED)
    }
}
