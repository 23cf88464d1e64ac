//! What a client says to the v3 API: requests through the table of RPCs, as Protobuf and as JSON, the
//! frames of gRPC, and the checks before any state is looked at.

use std::fmt::Debug;

use actix_http::Payload;
use bytes::Bytes;
use callboard::http::{
    gateway::{codec::Json, objects::Objects},
    grpc::{codec::Proto, framing::Framing},
    v3::{
        is_sound,
        methods::{Codec, Unary},
        pb::etcdserverpb::{
            Compare, LeaseKeepAliveRequest, PutRequest, RangeRequest, RequestOp, SnapshotRequest,
            TxnRequest, WatchCreateRequest, WatchRequest, compare::TargetUnion,
            request_op::Request, watch_request::RequestUnion,
        },
    },
};
use futures_util::{FutureExt as _, StreamExt as _};

use super::{Input, pieces};

/// As in `--max-txn-ops`.
const OPS_MAX: usize = 128;

/// The first byte is the RPC, by its place in the table; all beyond it are messages of streams.
fn read<C: Codec>(codec: C, number: u8, request: &[u8]) {
    let request = Bytes::copy_from_slice(request);
    if let Some((rpc, ..)) = Unary::ALL.get(usize::from(number)) {
        _ = rpc.read(codec, request.clone());
    }
    _ = codec.decode::<WatchRequest>(request.clone()).map(|read| is_json(&read));
    _ = codec.decode::<LeaseKeepAliveRequest>(request.clone());
    _ = codec.decode::<SnapshotRequest>(request.clone());
    if let Ok(txn) = codec.decode::<TxnRequest>(request) {
        _ = is_sound(&txn, OPS_MAX);
        is_json(&txn);
    }
}

/// What has a form as JSON is the same when it comes back from there. Numbers of enums without a name
/// have none.
fn is_json<M>(message: &M)
where
    M: prost::Message
        + Default
        + PartialEq
        + Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let text = Json::Unary.encode(message);
    if !text.is_empty() && depth(&text) < 120 {
        let again = Json::Unary.decode::<M>(text.clone());
        assert_eq!(again.as_ref(), Ok(message), "{}", String::from_utf8_lossy(&text));
    }
}

/// JSON is read to a depth of 128, Protobuf to 100, and one level of it may be three of JSON.
fn depth(text: &[u8]) -> usize {
    let (mut deepest, mut depth) = (0usize, 0usize);
    for byte in text {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

pub fn protobuf(data: &[u8]) {
    let mut input = Input(data);
    let number = input.byte();
    read(Proto { streamed: number % 2 == 0 }, number, input.0);
}

fn requests() -> (TxnRequest, WatchRequest) {
    let put = PutRequest {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        lease: 7,
        prev_kv: true,
        ..PutRequest::default()
    };
    let range = RangeRequest {
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"b"),
        limit: 3,
        sort_order: 1,
        ..RangeRequest::default()
    };
    let op = |request| RequestOp { request: Some(request) };
    let compare = Compare {
        key: Bytes::from_static(b"k"),
        target: 1,
        target_union: Some(TargetUnion::CreateRevision(0)),
        ..Compare::default()
    };
    let inner = TxnRequest {
        success: vec![op(Request::RequestRange(range.clone()))],
        ..TxnRequest::default()
    };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestPut(put)), op(Request::RequestRange(range))],
        failure: vec![op(Request::RequestTxn(inner))],
    };
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"k"),
        start_revision: 3,
        filters: vec![0, 1],
        ..WatchCreateRequest::default()
    };
    (txn, WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
}

pub fn protobuf_seeds() -> Vec<Vec<u8>> {
    let (txn, watch) = requests();
    let encoded = |number: u8, message: Vec<u8>| [&[number], &message[..]].concat();
    let mut seeds = vec![
        encoded(3, prost::Message::encode_to_vec(&txn)),
        encoded(200, prost::Message::encode_to_vec(&watch)),
    ];
    seeds.extend(
        (0..Unary::ALL.len() as u8).map(|rpc| vec![rpc, 0x0a, 1, b'k', 0x12, 1, b'v', 0x18, 7]),
    );
    seeds
}

/// A body of the gateway: objects one after the other, each of which is read.
pub fn json(data: &[u8]) {
    let mut input = Input(data);
    let number = input.byte();
    read(Json::Unary, number, input.0);
    let payload = Payload::from(Bytes::copy_from_slice(input.0));
    let mut objects = Objects::new(payload, 1 << 20);
    let mut left = input.0.len() + 2;
    while let Some(Some(Ok(object))) = objects.next().now_or_never() {
        left = left.checked_sub(1).expect("no object is empty");
        read(Json::Lines, number, &object);
    }
}

pub fn json_seeds() -> Vec<Vec<u8>> {
    let (txn, watch) = requests();
    let (txn, watch) = (Json::Unary.encode(&txn), Json::Unary.encode(&watch));
    let odd = br#"{"lease":7.0,"key":"-_8","nope":{"a":[1,null,"\ud83d\ude00"]}} {"ID":"-1"}"#;
    [(3, &txn[..]), (200, &watch), (1, odd), (5, br#"{"TTL":1e3,"ID":null}"#)]
        .map(|(number, text)| [&[number], text].concat())
        .to_vec()
}

type Taken = (Vec<(bool, Bytes)>, Option<callboard::http::grpc::framing::FrameError>);

fn taken(bytes: &[u8], at_once: usize) -> Taken {
    let mut framing = Framing::new(4096);
    let mut messages = Vec::new();
    for piece in bytes.chunks(at_once) {
        framing.push(Bytes::copy_from_slice(piece));
        loop {
            match framing.take() {
                Ok(Some(message)) => messages.push((message.compressed, message.bytes)),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

/// The frames of gRPC, however they are cut.
pub fn framing(data: &[u8]) {
    let whole = taken(data, usize::MAX);
    for at_once in [1, 3, 6] {
        assert_eq!(taken(data, at_once), whole, "{at_once} bytes at once");
    }
}

pub fn framing_seeds() -> Vec<Vec<u8>> {
    let (txn, _) = requests();
    let frame = Proto { streamed: false }.encode(&txn);
    vec![
        [&frame[..], &frame].concat(),
        vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 7],
        vec![0, 0xff, 0xff, 0xff, 0xff, 1],
        pieces(&[2], [b"x"]),
    ]
}
