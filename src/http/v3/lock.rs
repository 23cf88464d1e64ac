//! The lock service.

use super::{
    Caller, Services,
    error::{RpcError, UNIMPLEMENTED},
    pb::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
};

impl Services {
    pub async fn lock(
        &self,
        _caller: &Caller,
        _request: LockRequest,
    ) -> Result<LockResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }

    pub async fn unlock(
        &self,
        _caller: &Caller,
        _request: UnlockRequest,
    ) -> Result<UnlockResponse, RpcError> {
        Err(UNIMPLEMENTED)
    }
}
