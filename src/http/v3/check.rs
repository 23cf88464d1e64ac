//! What is wrong with a request before any state is looked at: etcd's checks, in its order.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::Bytes;

use super::{
    error::{
        DUPLICATE_KEY, EMPTY_KEY, INVALID_SORT_OPTION, KEY_NOT_FOUND, LEASE_PROVIDED, RpcError,
        TOO_MANY_OPS, VALUE_PROVIDED,
    },
    pb::etcdserverpb::{
        DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        range_request::{SortOrder, SortTarget},
        request_op::Request,
    },
};

/// Of a range.
pub fn range(request: &RangeRequest) -> Result<(), RpcError> {
    if request.key.is_empty() {
        return Err(EMPTY_KEY);
    }
    let known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(INVALID_SORT_OPTION) }
}

/// Of a put.
pub fn put(request: &PutRequest) -> Result<(), RpcError> {
    if request.key.is_empty() {
        return Err(EMPTY_KEY);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(LEASE_PROVIDED);
    }
    Ok(())
}

/// Of a deletion.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), RpcError> {
    if request.key.is_empty() { Err(EMPTY_KEY) } else { Ok(()) }
}

/// Of a transaction with at most so many operations.
pub fn txn(request: &TxnRequest, ops_max: usize) -> Result<(), RpcError> {
    ops(request, ops_max)?;
    intervals(&request.success)?;
    intervals(&request.failure)?;
    Ok(())
}

fn ops(request: &TxnRequest, ops_max: usize) -> Result<(), RpcError> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    if longest > ops_max {
        return Err(TOO_MANY_OPS);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(EMPTY_KEY);
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete_range(request),
        Some(Request::RequestTxn(request)) => ops(request, ops_max - longest),
        None => Err(KEY_NOT_FOUND),
    })
}

/// The keys that a list of operations puts, and those that it deletes. No key may be put twice, nor put
/// and deleted; but in the two branches of one transaction it may.
fn intervals(list: &[RequestOp]) -> Result<(BTreeSet<&Bytes>, Intervals<'_>), RpcError> {
    let mut deleted = Intervals::default();
    for op in list {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            deleted.add_range(&delete.key, &delete.range_end);
        }
    }
    let mut puts: BTreeSet<&Bytes> = BTreeSet::new();
    for op in list {
        let Some(Request::RequestTxn(inner)) = &op.request else { continue };
        let (then_puts, then_deleted) = intervals(&inner.success)?;
        let (else_puts, else_deleted) = intervals(&inner.failure)?;
        if then_puts.iter().chain(&else_puts).any(|key| puts.contains(key) || deleted.holds(key)) {
            return Err(DUPLICATE_KEY);
        }
        puts.extend(then_puts);
        puts.extend(else_puts);
        deleted.join(then_deleted);
        deleted.join(else_deleted);
    }
    for op in list {
        if let Some(Request::RequestPut(put)) = &op.request
            && (deleted.holds(&put.key) || !puts.insert(&put.key))
        {
            return Err(DUPLICATE_KEY);
        }
    }
    Ok((puts, deleted))
}

/// Sets of keys between bounds, apart from each other. A key alone is a bound of its own; an end of one
/// zero byte is no open end here: etcd does not notice that either.
#[derive(Default)]
struct Intervals<'a> {
    /// From here, inclusive, to there, exclusive.
    spans: BTreeMap<&'a [u8], &'a [u8]>,
    keys: BTreeSet<&'a [u8]>,
}

impl<'a> Intervals<'a> {
    fn add_range(&mut self, key: &'a [u8], end: &'a [u8]) {
        if end.is_empty() {
            self.keys.insert(key);
        } else if key < end {
            self.add(key, end);
        }
    }

    fn add(&mut self, mut from: &'a [u8], mut to: &'a [u8]) {
        if let Some((&before, &end)) = self.spans.range(..=from).next_back()
            && end >= from
        {
            (from, to) = (before, to.max(end));
        }
        let touched = (Bound::Included(from), Bound::Included(to));
        let inside: Vec<&[u8]> = self.spans.range::<[u8], _>(touched).map(|(&at, _)| at).collect();
        for at in inside {
            to = to.max(self.spans.remove(at).unwrap_or(to));
        }
        self.spans.insert(from, to);
    }

    fn join(&mut self, other: Intervals<'a>) {
        self.keys.extend(other.keys);
        for (from, to) in other.spans {
            self.add(from, to);
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.keys.contains(key)
            || self.spans.range(..=key).next_back().is_some_and(|(_, &to)| key < to)
    }
}
