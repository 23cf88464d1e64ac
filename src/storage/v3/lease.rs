//! v3 leases: many keys may hang on one. When it ends they go, in one revision.

use std::sync::Arc;

use bytes::Bytes;

use super::{V3Error, apply::Writer};
use crate::{
    storage::mvcc::{
        LeaseChange,
        record::{Action, LeaseHolder, LeaseRecord},
    },
    types::{LeaseId, UnixNanos},
};

/// A lease begins.
pub(super) fn grant(writer: &mut Writer<'_>, id: LeaseId, ttl: u64) -> Result<(), V3Error> {
    if writer.state().lease(id).is_some() {
        return Err(V3Error::LeaseExists);
    }
    let lease = LeaseRecord {
        id,
        ttl,
        expires: end_of(writer.time, ttl),
        holder: LeaseHolder::Keys,
        remaining: None,
    };
    writer.state_mut().leases.insert(Arc::new(lease));
    writer.leases.push(LeaseChange::Granted(id, ttl));
    Ok(())
}

/// A lease is given up by its owner.
pub(super) fn revoke(writer: &mut Writer<'_>, id: LeaseId) -> Result<(), V3Error> {
    if !end(writer, id) {
        return Err(V3Error::LeaseNotFound);
    }
    Ok(())
}

/// Leases ran out; those that are gone already are skipped.
pub(super) fn expire(writer: &mut Writer<'_>, leases: &[LeaseId]) {
    for &id in leases {
        end(writer, id);
    }
}

/// Notes how much leases have left. One that has all of its TTL needs no note.
pub(super) fn checkpoint(writer: &mut Writer<'_>, leases: &[(LeaseId, u64)]) {
    let time = writer.time;
    for &(id, remaining) in leases {
        let Some(lease) = writer.state().lease(id).filter(|lease| lease.is_v3()) else { continue };
        let lease = LeaseRecord {
            remaining: Some(remaining).filter(|&remaining| remaining < lease.ttl),
            expires: end_of(time, remaining),
            ..LeaseRecord::clone(lease)
        };
        writer.state_mut().leases.insert(Arc::new(lease));
    }
}

/// Ends a v3 lease, and deletes its keys with a revision of their own. False if there is none.
fn end(writer: &mut Writer<'_>, id: LeaseId) -> bool {
    if !writer.state().lease(id).is_some_and(|lease| lease.is_v3()) {
        return false;
    }
    let keys: Vec<Bytes> = writer.state().keys_of_lease(id).cloned().collect();
    for key in keys {
        let record = writer.state().key(&key).filter(|record| record.lease == id).cloned();
        writer.delete(&record.expect("what is attached to a lease is there, and knows it"));
    }
    writer.state_mut().leases.remove(&id);
    writer.leases.push(LeaseChange::Revoked(id));
    writer.commit_as(Action::Expire);
    true
}

/// When a lease ends, as the v2 view of a key tells it at `time`. Where that lies in the past by the
/// record, the lease was kept alive since, of which only the leader's clock knows how late: then it is
/// told as if that had just been done.
pub(super) fn shown_end(lease: &LeaseRecord, time: UnixNanos) -> UnixNanos {
    if lease.expires > time { lease.expires } else { end_of(time, lease.ttl) }
}

fn end_of(time: UnixNanos, ttl: u64) -> UnixNanos {
    let end = time.0.saturating_add(ttl.saturating_mul(1_000_000_000));
    UnixNanos(end.min(i64::MAX as u64)) // the year 2262: for ever
}
