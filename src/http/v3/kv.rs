//! The KV service. A read looks at published state; one that must be linearizable first waits for a read
//! index. What writes goes through the log.

use prost::Message as _;

use super::{
    Answers, Caller, Services, check,
    convert::{self, range_response},
    error::{REQUEST_TOO_LARGE, RpcError, UNIMPLEMENTED},
    pb::{
        KeyValue,
        etcdserverpb::{
            CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
            PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest,
            TxnResponse,
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
            self.read_index().await?;
        }
        let answer = self.look(move |state| v3::range(state, &query)).await?;
        Ok(range_response(self.header(answer.revision), answer))
    }

    /// Looks keys up, and sends them bit by bit.
    pub async fn range_stream(
        &self,
        caller: &Caller,
        request: RangeRequest,
    ) -> Result<Answers<RangeStreamResponse>, RpcError> {
        _ = (caller, request);
        Err(UNIMPLEMENTED)
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
        self.check_size(request.encoded_len())?;
        let txn = convert::txn(request)?;
        if v3::writes(&txn) {
            let (revision, answer) = self.change(caller, V3Op::Txn(txn)).await?;
            let V3Answer::Txn(answer) = answer else { unreachable!("the answer to a transaction") };
            return Ok(self.txn_response(revision, answer));
        }
        self.admit_txn(caller, &txn)?;
        self.read_index().await?;
        let (revision, answer) =
            self.look(move |state| Ok((state.revision, v3::read_txn(state, &txn)?))).await?;
        Ok(self.txn_response(revision, answer))
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

    /// Looks at the published state. What may take long is done on a thread aside.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> Result<T, v3::V3Error> + Send + 'static,
    ) -> Result<T, RpcError> {
        let state = self.doors.published.state.load_full();
        if is_corrupt(&self.doors, &state) {
            return Err(v3::V3Error::Corrupt.into());
        }
        Ok(look(&state)?)
    }

    /// `--max-request-bytes`.
    fn check_size(&self, bytes: usize) -> Result<(), RpcError> {
        if bytes > self.doors.settings.max_request_bytes { Err(REQUEST_TOO_LARGE) } else { Ok(()) }
    }
}
