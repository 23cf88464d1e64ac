//! The lock service: who holds a lock has the oldest key below its name.

use bytes::Bytes;

use super::{
    Caller, Services,
    error::{Code, EMPTY_KEY, RpcError},
    pb::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse},
    session::{Place, Waiting, below, created_at, first_created, found, get, key_of, put, unknown},
};
use crate::{
    command::{KeyRange, V3DeleteRange, V3Op, V3RequestOp, V3Txn},
    http::limits::Class,
    types::Revision,
};

/// The lease of one who waited has gone.
const SESSION_EXPIRED: RpcError = RpcError::new(Code::Unknown, "mutex: session is expired");

impl Services {
    /// Waits for a lock, and takes it. With a lease that holds it already, it holds it again.
    pub async fn lock(
        &self,
        caller: &Caller,
        request: LockRequest,
    ) -> Result<LockResponse, RpcError> {
        let _place = self.doors.limits.enter(Class::Held)?;
        let LockRequest { name, lease } = request;
        let lease = self.session(caller, lease).await.map_err(unknown)?;
        let key = key_of(&name, lease);
        let first = || V3RequestOp::Range(first_created(below(&name)));
        let txn = V3Txn {
            compare: vec![created_at(&key, Revision(0))],
            success: vec![put(&key, Bytes::new(), lease), first()],
            failure: vec![get(&key), first()],
        };
        let (revision, answer) = self.transact(caller, txn).await.map_err(unknown)?;
        let created = found(answer.responses.first()).map_or(revision, |own| own.create_revision);
        let holder = found(answer.responses.get(1));
        if holder.is_none_or(|holder| holder.create_revision == created) {
            return Ok(LockResponse { header: self.header(revision), key });
        }
        let place = Place { key: key.clone(), created };
        let waiting = Waiting::new(self, caller, place.clone());
        let turn = self.wait_for_turn(caller, &name, &place).await.map_err(unknown)?;
        waiting.over();
        let revision = turn.ok_or(SESSION_EXPIRED)?;
        Ok(LockResponse { header: self.header(revision), key })
    }

    /// Gives a lock up; it is no error not to have it.
    pub async fn unlock(
        &self,
        caller: &Caller,
        request: UnlockRequest,
    ) -> Result<UnlockResponse, RpcError> {
        if request.key.is_empty() {
            return Err(unknown(EMPTY_KEY));
        }
        let op =
            V3Op::DeleteRange(V3DeleteRange { keys: KeyRange::one(request.key), prev_kv: false });
        let (revision, _) = self.change(caller, op).await.map_err(unknown)?;
        Ok(UnlockResponse { header: self.header(revision) })
    }
}
