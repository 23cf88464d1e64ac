//! The maintenance service.

use super::{
    Answers, Caller, Services,
    error::{RpcError, UNIMPLEMENTED},
    pb::etcdserverpb::{
        AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest,
        DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse,
        MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest,
        StatusResponse,
    },
};

impl Services {
    pub async fn alarm(
        &self,
        _caller: &Caller,
        _request: AlarmRequest,
    ) -> Result<AlarmResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn status(
        &self,
        _caller: &Caller,
        _request: StatusRequest,
    ) -> Result<StatusResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn defragment(
        &self,
        _caller: &Caller,
        _request: DefragmentRequest,
    ) -> Result<DefragmentResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn hash(
        &self,
        _caller: &Caller,
        _request: HashRequest,
    ) -> Result<HashResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn hash_kv(
        &self,
        _caller: &Caller,
        _request: HashKvRequest,
    ) -> Result<HashKvResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn move_leader(
        &self,
        _caller: &Caller,
        _request: MoveLeaderRequest,
    ) -> Result<MoveLeaderResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn downgrade(
        &self,
        _caller: &Caller,
        _request: DowngradeRequest,
    ) -> Result<DowngradeResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub fn snapshot(
        &self,
        _caller: &Caller,
        _request: SnapshotRequest,
    ) -> Result<Answers<SnapshotResponse>, RpcError> {
        Err(UNIMPLEMENTED)
    }
}
