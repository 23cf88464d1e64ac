//! What takes long is done aside: looks at many keys or far into the past, and long answers to encode.
//! What takes little is done at once, for a change of threads costs more.

use std::any::Any;

use bytes::Bytes;
use serde::Serialize;

use super::{
    error::{RpcError, STOPPED},
    methods::Codec,
    pb::etcdserverpb::{DeleteRangeResponse, RangeResponse, TxnResponse, response_op::Response},
};
use crate::{
    http::{
        aside::aside,
        limits::{Class, Limits},
    },
    storage::v3::V3Error,
};

/// Keys and revisions that a look at may take before it is long.
pub const WORK_MAX: usize = 400;
/// Bytes of an answer that is not long.
const BYTES_MAX: usize = 1 << 18;

/// Does `look`, which is so much work.
pub async fn look<T: Send + 'static>(
    limits: &Limits,
    work: usize,
    look: impl FnOnce() -> Result<T, V3Error> + Send + 'static,
) -> Result<T, RpcError> {
    if work <= WORK_MAX {
        return Ok(look()?);
    }
    let _place = limits.enter(Class::Large)?;
    Ok(aside(look).await.ok_or(STOPPED)??)
}

/// Encodes an answer.
pub async fn encode<C: Codec, M>(limits: &Limits, codec: C, message: M) -> Result<Bytes, RpcError>
where
    M: prost::Message + Serialize + 'static,
{
    if keys_in(&message) <= WORK_MAX && message.encoded_len() <= BYTES_MAX {
        return Ok(limits.hold(codec.encode(&message))?);
    }
    let _place = limits.enter(Class::Large)?;
    let encoded = aside(move || codec.encode(&message)).await.ok_or(STOPPED)?;
    Ok(limits.hold(encoded)?)
}

/// How many keys an answer holds: it may take long to tell how many bytes they are.
fn keys_in(message: &dyn Any) -> usize {
    if let Some(range) = message.downcast_ref::<RangeResponse>() {
        return range.kvs.len();
    }
    if let Some(delete) = message.downcast_ref::<DeleteRangeResponse>() {
        return delete.prev_kvs.len();
    }
    message.downcast_ref().map_or(0, keys_in_txn)
}

fn keys_in_txn(txn: &TxnResponse) -> usize {
    let responses = txn.responses.iter().filter_map(|op| op.response.as_ref());
    let keys = responses.map(|response| match response {
        Response::ResponseRange(range) => range.kvs.len(),
        Response::ResponseDeleteRange(delete) => delete.prev_kvs.len(),
        Response::ResponsePut(_) => 1,
        Response::ResponseTxn(inner) => keys_in_txn(inner),
    });
    keys.sum()
}
