//! The watch service.

use super::{
    Answers, Caller, Requests, Services,
    error::{RpcError, UNIMPLEMENTED},
    pb::etcdserverpb::{WatchRequest, WatchResponse},
};

impl Services {
    pub fn watch(
        &self,
        _caller: &Caller,
        _requests: Requests<WatchRequest>,
    ) -> Result<Answers<WatchResponse>, RpcError> {
        Err(UNIMPLEMENTED)
    }
}
