//! What locks and elections have in common, after etcd's recipes: who takes part writes a key of its own,
//! on a lease, below the name; whose key was created first holds the lock, or leads; the others wait until
//! all keys before theirs are gone.

use bytes::Bytes;

use super::{
    Caller, Services,
    error::{Code, RpcError},
    pb::etcdserverpb::LeaseGrantRequest,
};
use crate::{
    command::{
        CompareResult, CompareTarget, KeyRange, SortOrder, SortTarget, V3Compare, V3DeleteRange,
        V3Op, V3Put, V3Range, V3RequestOp, V3Txn,
    },
    storage::{
        mvcc::{State, record::KeyRecord},
        v3::{self, OpAnswer, TxnAnswer, V3Answer},
    },
    types::{LeaseId, Revision},
};

/// The TTL of the lease of those who bring none, in seconds.
const SESSION_TTL: i64 = 60;

/// etcd's recipes run in a client of its own, within the server; what they fail with has lost its code.
pub fn unknown(error: RpcError) -> RpcError {
    RpcError { code: Code::Unknown, ..error }
}

/// A key that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key.
    pub key: Bytes,
    /// The revision that made it.
    pub created: Revision,
}

/// All keys below `name`.
pub fn below(name: &[u8]) -> KeyRange {
    let key = [name, b"/"].concat();
    let range_end = [name, b"0"].concat(); // what follows the slash
    KeyRange { key: key.into(), range_end: range_end.into() }
}

/// The key of a lease below `name`: its id in hex, like Go writes it, the sign before the digits.
pub fn key_of(name: &[u8], LeaseId(id): LeaseId) -> Bytes {
    let sign = if id < 0 { "-" } else { "" };
    [name, format!("/{sign}{:x}", id.unsigned_abs()).as_bytes()].concat().into()
}

/// The first key in a range to be created.
pub fn first_created(keys: KeyRange) -> V3Range {
    V3Range {
        keys,
        limit: 1,
        sort_order: SortOrder::Ascend,
        sort_target: SortTarget::Create,
        ..V3Range::default()
    }
}

/// Whether the key was created then; with revision 0, whether it is not there.
pub fn created_at(key: &Bytes, revision: Revision) -> V3Compare {
    V3Compare {
        keys: KeyRange::one(key.clone()),
        result: CompareResult::Equal,
        target: CompareTarget::Create(revision.0 as i64),
    }
}

/// Writes a key on a lease.
pub fn put(key: &Bytes, value: Bytes, lease: LeaseId) -> V3RequestOp {
    V3RequestOp::Put(V3Put { key: key.clone(), value, lease, ..V3Put::default() })
}

/// Looks a key up.
pub fn get(key: &Bytes) -> V3RequestOp {
    V3RequestOp::Range(V3Range { keys: KeyRange::one(key.clone()), ..V3Range::default() })
}

/// Deletes a key.
pub fn delete(key: &Bytes) -> V3RequestOp {
    let keys = KeyRange::one(key.clone());
    V3RequestOp::DeleteRange(V3DeleteRange { keys, prev_kv: false })
}

impl Services {
    /// The lease that the caller brings, or one of its own.
    pub(super) async fn session(&self, caller: &Caller, lease: i64) -> Result<LeaseId, RpcError> {
        if lease != 0 {
            return Ok(LeaseId(lease));
        }
        let request = LeaseGrantRequest { id: 0, ttl: SESSION_TTL };
        Ok(LeaseId(self.lease_grant(caller, request).await?.id))
    }

    /// Carries out a transaction that writes, whichever way it goes.
    pub(super) async fn transact(
        &self,
        caller: &Caller,
        txn: V3Txn,
    ) -> Result<(Revision, TxnAnswer), RpcError> {
        let (revision, answer) = self.change(caller, V3Op::Txn(txn)).await?;
        let V3Answer::Txn(answer) = answer else { unreachable!("the answer to a transaction") };
        Ok((revision, answer))
    }

    /// Waits until no key below `name` is left that was created before this place; gives the revision at
    /// which that was seen. None if the place itself has gone. Whoever loses the right to look at them waits no
    /// longer.
    pub(super) async fn wait_for_turn(
        &self,
        caller: &Caller,
        name: &[u8],
        place: &Place,
    ) -> Result<Option<Revision>, RpcError> {
        // The one right before: only when it goes is it worth while to look who is left.
        let before = V3Range {
            sort_order: SortOrder::Descend,
            max_create_revision: place.created.0 as i64 - 1,
            ..first_created(below(name))
        };
        let is_there = |state: &State, key: &[u8]| state.key(key).is_some();
        let mut rights = self.doors.published.rights.subscribe();
        let watcher = self.watcher(caller);
        loop {
            let state = self.doors.published.state.load_full();
            if !is_there(&state, &place.key) {
                return Ok(None);
            }
            let Some(ahead) = first(&state, &before) else { break };
            let ahead = Bytes::copy_from_slice(ahead.key());
            let both = [&ahead, &place.key];
            tokio::select! {
                changed = self.await_change(&both, state.revision) => changed?,
                _ = rights.changed() => self.still_may_watch(watcher.as_ref(), &before.keys)?,
            }
        }
        // What is published here may lag: the place may have gone as well.
        self.read_index().await?;
        let state = self.doors.published.state.load();
        Ok(is_there(&state, &place.key).then_some(state.revision))
    }
}

/// The first of what a range finds.
pub fn first(state: &State, range: &V3Range) -> Option<KeyRecord> {
    v3::range(state, range).ok()?.keys.into_iter().next()
}

/// The first key of an answer within a transaction.
pub fn found(answer: Option<&OpAnswer>) -> Option<&KeyRecord> {
    match answer {
        Some(OpAnswer::Range(range)) => range.keys.first(),
        _ => None,
    }
}

/// A place among those who wait. Whoever stops waiting gives it up: dropping it deletes the key.
pub struct Waiting {
    /// None once the wait is over.
    place: Option<Place>,
    services: Services,
    caller: Caller,
}

impl Waiting {
    pub fn new(services: &Services, caller: &Caller, place: Place) -> Waiting {
        Waiting { place: Some(place), services: services.clone(), caller: caller.clone() }
    }

    /// The key is not to be deleted any more.
    pub fn over(mut self) {
        self.place = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        // Where no runtime is left the process is ending, and the key goes with its lease.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (services, caller) = (self.services.clone(), self.caller.clone());
        runtime.spawn(async move {
            if let Err(error) = services.give_up(&caller, &place).await {
                tracing::debug!(%error, "a place in a queue is left to its lease");
            }
        });
    }
}

impl Services {
    /// Deletes a place, if it is still the one that was made then.
    pub(super) async fn give_up(
        &self,
        caller: &Caller,
        place: &Place,
    ) -> Result<Revision, RpcError> {
        let txn = V3Txn {
            compare: vec![created_at(&place.key, place.created)],
            success: vec![delete(&place.key)],
            failure: Vec::new(),
        };
        Ok(self.transact(caller, txn).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_by_their_leases_in_hex() {
        for (id, expected) in [(0x2f, "n/2f"), (-0x2f, "n/-2f"), (i64::MIN, "n/-8000000000000000")]
        {
            let key = key_of(b"n", LeaseId(id));
            assert_eq!(key, expected);
            assert!(below(b"n").contains(&key));
        }
        assert!(!below(b"n").contains(b"n0") && !below(b"n").contains(b"n"));
    }
}
