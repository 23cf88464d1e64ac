//! The KV service. A read looks at published state; one that must be linearizable first waits for a read
//! index. What writes goes through the log.

use std::sync::Arc;

use prost::Message as _;

use super::{
    Caller, Services, check,
    convert::{self, range_response, txn_response},
    error::{CORRUPT, REQUEST_TOO_LARGE, RpcError},
    long,
    pb::{
        KeyValue,
        etcdserverpb::{
            CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
            PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
            request_op::Request,
        },
    },
};
use crate::{
    command::V3Op,
    http::v2::keys::is_corrupt,
    storage::{
        mvcc::State,
        v3::{self, V3Answer},
    },
};

impl Services {
    /// Looks keys up.
    pub async fn range(
        &self,
        caller: &Caller,
        request: RangeRequest,
    ) -> Result<RangeResponse, RpcError> {
        check::range(&request)?;
        self.doors.metrics.mvcc_ranges.inc();
        let serializable = request.serializable;
        let query = convert::range(request);
        self.admit_range(caller, &query)?;
        if !serializable {
            self.admit_voter()?;
            self.read_index().await?;
            self.admit_range(caller, &query)?; // rights may have changed meanwhile
        }
        let state = self.state()?;
        let (work, header) = (v3::work(&state, &query), self.header(state.revision));
        let look = move || Ok(range_response(header, v3::range(&state, &query)?));
        long::look(&self.doors.limits, work, look).await
    }

    /// Writes a key.
    pub async fn put(&self, caller: &Caller, request: PutRequest) -> Result<PutResponse, RpcError> {
        check::put(&request)?;
        self.check_size(request.encoded_len())?;
        let (revision, answer) = self.change(caller, V3Op::Put(convert::put(request))).await?;
        let V3Answer::Put(prev) = answer else { unreachable!("the answer to a put") };
        Ok(PutResponse { header: self.header(revision), prev_kv: prev.map(KeyValue::Stored) })
    }

    /// Deletes keys.
    pub async fn delete_range(
        &self,
        caller: &Caller,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, RpcError> {
        check::delete_range(&request)?;
        self.check_size(request.encoded_len())?;
        let op = V3Op::DeleteRange(convert::delete_range(request));
        let (revision, answer) = self.change(caller, op).await?;
        let V3Answer::DeleteRange(deleted, prev) = answer else {
            unreachable!("the answer to a deletion")
        };
        Ok(DeleteRangeResponse {
            header: self.header(revision),
            deleted: deleted as i64,
            prev_kvs: prev.into_iter().map(KeyValue::Stored).collect(),
        })
    }

    /// Does several things at once, if something compares.
    pub async fn txn(&self, caller: &Caller, request: TxnRequest) -> Result<TxnResponse, RpcError> {
        check::txn(&request, self.doors.settings.max_txn_ops)?;
        self.doors.metrics.mvcc_txns.inc();
        let size = request.encoded_len();
        let serializable = is_serializable(&request);
        let txn = convert::txn(request)?;
        if v3::writes(&txn) {
            self.check_size(size)?;
            let (revision, answer) = self.change(caller, V3Op::Txn(txn)).await?;
            let V3Answer::Txn(answer) = answer else { unreachable!("the answer to a transaction") };
            return Ok(txn_response(self.header(revision), answer));
        }
        self.admit_txn(caller, &txn)?;
        if !serializable {
            self.read_index().await?;
            self.admit_txn(caller, &txn)?; // rights may have changed meanwhile
        }
        let state = self.state()?;
        let (work, header) = (v3::read_work(&state, &txn), self.header(state.revision));
        let look = move || Ok(txn_response(header, v3::read_txn(&state, &txn)?));
        long::look(&self.doors.limits, work, look).await
    }

    /// Forgets history.
    pub async fn compact(
        &self,
        caller: &Caller,
        request: CompactionRequest,
    ) -> Result<CompactionResponse, RpcError> {
        let op = V3Op::Compact { revision: request.revision };
        let (revision, _) = self.change(caller, op).await?;
        Ok(CompactionResponse { header: self.header(revision) })
    }

    /// The published state, unless this member's data was found to differ from the others'.
    pub(super) fn state(&self) -> Result<Arc<State>, RpcError> {
        let state = self.doors.published.state.load_full();
        if is_corrupt(&self.doors, &state) { Err(CORRUPT) } else { Ok(state) }
    }

    /// `--max-request-bytes`.
    fn check_size(&self, bytes: usize) -> Result<(), RpcError> {
        if bytes > self.doors.settings.max_request_bytes { Err(REQUEST_TOO_LARGE) } else { Ok(()) }
    }
}

/// Whether a transaction that only reads may be answered with what this member knows: if all of its
/// ranges may.
fn is_serializable(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(range)) => range.serializable,
        _ => false,
    })
}
