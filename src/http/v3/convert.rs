//! From etcd's messages to commands, and from what came of them to answers.

use super::{
    error::{Code, RpcError},
    pb::{
        KeyValue,
        etcdserverpb::{
            self as pb, RangeResponse, ResponseHeader, ResponseOp, TxnResponse, compare,
            range_request, request_op::Request, response_op::Response,
        },
    },
};
use crate::{
    command::{
        CompareResult, CompareTarget, KeyRange, SortOrder, SortTarget, V3Compare, V3DeleteRange,
        V3Put, V3Range, V3RequestOp, V3Txn,
    },
    storage::{
        mvcc::record::KeyRecord,
        v3::{OpAnswer, RangeAnswer, TxnAnswer},
    },
    types::{LeaseId, Revision},
};

/// A range, checked already.
pub fn range(request: pb::RangeRequest) -> V3Range {
    V3Range {
        sort_order: match request.sort_order() {
            range_request::SortOrder::None => SortOrder::None,
            range_request::SortOrder::Ascend => SortOrder::Ascend,
            range_request::SortOrder::Descend => SortOrder::Descend,
        },
        sort_target: match request.sort_target() {
            range_request::SortTarget::Key => SortTarget::Key,
            range_request::SortTarget::Version => SortTarget::Version,
            range_request::SortTarget::Create => SortTarget::Create,
            range_request::SortTarget::Mod => SortTarget::Mod,
            range_request::SortTarget::Value => SortTarget::Value,
        },
        keys: KeyRange { key: request.key, range_end: request.range_end },
        limit: request.limit,
        revision: request.revision,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

/// A put, checked already.
pub fn put(request: pb::PutRequest) -> V3Put {
    let pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = request;
    V3Put { key, value, lease: LeaseId(lease), prev_kv, ignore_value, ignore_lease }
}

/// A deletion, checked already.
pub fn delete_range(request: pb::DeleteRangeRequest) -> V3DeleteRange {
    let pb::DeleteRangeRequest { key, range_end, prev_kv } = request;
    V3DeleteRange { keys: KeyRange { key, range_end }, prev_kv }
}

/// A transaction, checked already.
pub fn txn(request: pb::TxnRequest) -> Result<V3Txn, RpcError> {
    Ok(V3Txn {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: request.success.into_iter().filter_map(op).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().filter_map(op).collect::<Result<_, _>>()?,
    })
}

fn op(op: pb::RequestOp) -> Option<Result<V3RequestOp, RpcError>> {
    Some(match op.request? {
        Request::RequestRange(request) => Ok(V3RequestOp::Range(range(request))),
        Request::RequestPut(request) => Ok(V3RequestOp::Put(put(request))),
        Request::RequestDeleteRange(request) => Ok(V3RequestOp::DeleteRange(delete_range(request))),
        Request::RequestTxn(request) => txn(request).map(V3RequestOp::Txn),
    })
}

fn compare(compare: pb::Compare) -> Result<V3Compare, RpcError> {
    use compare::{CompareResult as Result_, CompareTarget as Target, TargetUnion as With};
    const UNKNOWN: RpcError = RpcError::new(Code::InvalidArgument, "etcdserver: invalid compare");
    let number = |with: Option<i64>| with.unwrap_or(0);
    let with = compare.target_union;
    let target = match Target::try_from(compare.target).map_err(|_| UNKNOWN)? {
        Target::Version => CompareTarget::Version(number(match with {
            Some(With::Version(with)) => Some(with),
            _ => None,
        })),
        Target::Create => CompareTarget::Create(number(match with {
            Some(With::CreateRevision(with)) => Some(with),
            _ => None,
        })),
        Target::Mod => CompareTarget::Mod(number(match with {
            Some(With::ModRevision(with)) => Some(with),
            _ => None,
        })),
        Target::Lease => CompareTarget::Lease(number(match with {
            Some(With::Lease(with)) => Some(with),
            _ => None,
        })),
        Target::Value => CompareTarget::Value(match with {
            Some(With::Value(with)) => with,
            _ => bytes::Bytes::new(),
        }),
    };
    let result = match Result_::try_from(compare.result).map_err(|_| UNKNOWN)? {
        Result_::Equal => CompareResult::Equal,
        Result_::Greater => CompareResult::Greater,
        Result_::Less => CompareResult::Less,
        Result_::NotEqual => CompareResult::NotEqual,
    };
    let keys = KeyRange { key: compare.key, range_end: compare.range_end };
    Ok(V3Compare { keys, result, target })
}

/// What a range holds; the header is the caller's.
pub fn range_response(header: Option<ResponseHeader>, answer: RangeAnswer) -> RangeResponse {
    let dress: fn(KeyRecord) -> KeyValue =
        if answer.keys_only { KeyValue::KeyOnly } else { KeyValue::Stored };
    RangeResponse {
        header,
        kvs: answer.keys.into_iter().map(dress).collect(),
        more: answer.more,
        count: answer.count as i64,
    }
}

/// What a transaction gave; the header is the caller's.
pub fn txn_response(header: Option<ResponseHeader>, answer: TxnAnswer) -> TxnResponse {
    TxnResponse {
        header,
        succeeded: answer.succeeded,
        responses: answer.responses.into_iter().map(response_op).collect(),
    }
}

/// The headers of inner answers hold a revision alone, that of an inner transaction nothing.
fn response_op(answer: OpAnswer) -> ResponseOp {
    let header = |revision: Revision| {
        Some(ResponseHeader { revision: revision.0 as i64, ..ResponseHeader::default() })
    };
    let response = match answer {
        OpAnswer::Range(answer) => {
            Response::ResponseRange(range_response(header(answer.revision), answer))
        }
        OpAnswer::Put(revision, prev) => Response::ResponsePut(pb::PutResponse {
            header: header(revision),
            prev_kv: prev.map(KeyValue::Stored),
        }),
        OpAnswer::DeleteRange(revision, deleted, prev) => {
            Response::ResponseDeleteRange(pb::DeleteRangeResponse {
                header: header(revision),
                deleted: deleted as i64,
                prev_kvs: prev.into_iter().map(KeyValue::Stored).collect(),
            })
        }
        OpAnswer::Txn(answer) => {
            Response::ResponseTxn(txn_response(Some(ResponseHeader::default()), answer))
        }
    };
    ResponseOp { response: Some(response) }
}
