//! Calls that go well, and those that are badly put.

use std::io::Write as _;

use bytes::Bytes;
use callboard::http::v3::pb::{
    KeyValue,
    etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse},
    grpc::health::v1::{HealthCheckRequest, HealthCheckResponse},
};
use flate2::{Compression, write::GzEncoder};
use http::Method;
use prost::Message as _;

use crate::support::{
    cluster::{Cluster, FAST},
    grpc::{Grpc, frame, framed},
    http::Client,
    server::Server,
};

pub const RANGE: &str = "/etcdserverpb.KV/Range";
pub const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";

const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

pub fn put(key: &str, value: &[u8]) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_vec().into(), ..PutRequest::default() }
}

pub fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

/// gRPC and HTTP/1.1 on one port, whoever serves the connections.
#[test]
fn both_protocols_on_one_port() {
    for workers in ["1", "2"] {
        let server = Server::start(&[&format!("--http-workers={workers}")]);
        let grpc = Grpc::connect(server.client_addr());
        let answer: PutResponse = grpc.unary(PUT, &put("a", b"1")).unwrap();
        let revision = answer.header.unwrap().revision;
        let found: RangeResponse = grpc.unary(RANGE, &get("a")).unwrap();
        assert_eq!((found.count, found.header.unwrap().revision), (1, revision));
        let done: TxnResponse = grpc.unary(TXN, &TxnRequest::default()).unwrap();
        assert!(done.succeeded);
        let mut http = Client::new(server.client_addr());
        assert_eq!(http.put("/b", &[("value", "2")]).unwrap().status(), 201);
        let later: RangeResponse = grpc.unary(RANGE, &get("a")).unwrap();
        assert_eq!(later.header.unwrap().revision, revision + 1, "one store behind both");
    }
}

/// A message in any number of pieces, with the end of the stream behind it or not yet.
#[test]
fn messages_in_pieces() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let value = vec![7; 300_000];
    let bytes = framed(&put("k", &value));
    for size in [1, 4, 5, 6, 1000, 20_000, bytes.len()] {
        let mut call = grpc.stream(PUT);
        let head = bytes.slice(..bytes.len().min(10));
        head.chunks(size).for_each(|piece| call.send_bytes(Bytes::copy_from_slice(piece), false));
        for piece in bytes[head.len()..].chunks(size.max(1000)) {
            call.send_bytes(Bytes::copy_from_slice(piece), false);
        }
        if size != 1 {
            call.half_close(); // an answer need not wait for it
        }
        let answer: PutResponse = call.recv().unwrap().unwrap();
        assert!(answer.header.is_some(), "in pieces of {size}");
        let status = call.end();
        assert!(status.is(0, ""), "{status:?}");
    }
    let found: RangeResponse = grpc.unary(RANGE, &get("k")).unwrap();
    let KeyValue::Loose(found) = &found.kvs[0] else { panic!("{found:?}") };
    assert_eq!(found.value, value);
}

/// What is wrong, metadata, path, bytes, and the code and text of the refusal.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, Bytes, u32, &'a str);

/// Each of these is refused with grpc-go's status, and the connection goes on.
#[test]
fn badly_put_calls() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let good = framed(&get("a"));
    let over = 1_572_864 + 512 * 1024 + 1_usize;
    let announced = [&[0][..], &u32::try_from(over).unwrap().to_be_bytes()].concat();
    let too_large = format!("grpc: received message larger than max ({over} vs. {})", over - 1);
    let cases: [Case<'_>; 12] = [
        ("too large", &[], PUT, announced.into(), RESOURCE_EXHAUSTED, &too_large),
        ("no service", &[], "/x.Y/Z", good.clone(), UNIMPLEMENTED, "unknown service x.Y"),
        (
            "no method",
            &[],
            "/etcdserverpb.KV/Rang",
            good.clone(),
            UNIMPLEMENTED,
            "unknown method Rang for service etcdserverpb.KV",
        ),
        ("no path", &[], "/", good.clone(), UNIMPLEMENTED, "malformed method name: \"/\""),
        (
            "nonsense",
            &[],
            RANGE,
            frame(0, b"\xff\xff"),
            INTERNAL,
            "grpc: error unmarshalling request: ",
        ),
        ("no message", &[], RANGE, Bytes::new(), INTERNAL, "cardinality violation: "),
        ("half a message", &[], RANGE, good.slice(..good.len() - 1), INTERNAL, "unexpected EOF"),
        (
            "a strange frame",
            &[],
            RANGE,
            frame(2, b""),
            INTERNAL,
            "grpc: received unexpected payload format 2",
        ),
        (
            "compressed without saying how",
            &[],
            RANGE,
            frame(1, b""),
            INTERNAL,
            "grpc: compressed flag set with identity or empty encoding",
        ),
        (
            "compressed in another way",
            &[("grpc-encoding", "snappy")],
            RANGE,
            good.clone(),
            UNIMPLEMENTED,
            "grpc: Decompressor is not installed for grpc-encoding \"snappy\"",
        ),
        (
            "no time at all",
            &[("grpc-timeout", "x")],
            RANGE,
            good.clone(),
            INTERNAL,
            "malformed grpc-timeout",
        ),
        ("no key", &[], RANGE, frame(0, b""), INVALID_ARGUMENT, "etcdserver: key is not provided"),
    ];
    for (what, metadata, path, bytes, code, message) in cases {
        let mut call = grpc.stream_with(metadata, path);
        call.send_bytes(bytes, true);
        let status = call.end();
        assert_eq!(status.code, Some(code), "{what}: {status:?}");
        assert!(status.message.starts_with(message), "{what}: {status:?}");
    }
    for (method, metadata, http) in [
        (Method::GET, &[][..], 405),
        (Method::POST, &[("content-type", "application/grpc+json")], 415),
        (Method::POST, &[("content-type", "application/grpc-web")], 415),
        (Method::POST, &[("grpc-timeout", "1")], 400),
    ] {
        let mut call = grpc.request(method, metadata, RANGE, true).unwrap();
        assert_eq!(call.end().http, http, "{metadata:?}");
    }
    assert_eq!(grpc.unary::<_, RangeResponse>(RANGE, &get("a")).unwrap().count, 0);
}

/// gzip is taken, as by etcd; what unpacks to more than a message may be, or to nothing, is refused.
#[test]
fn compressed_messages() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let gzip = |bytes: &[u8]| {
        let mut packing = GzEncoder::new(Vec::new(), Compression::best());
        packing.write_all(bytes).unwrap();
        packing.finish().unwrap()
    };
    let said = [("grpc-encoding", "gzip")];
    let put =
        PutRequest { key: "z".into(), value: vec![b'v'; 5000].into(), ..PutRequest::default() };
    let packed = gzip(&put.encode_to_vec());
    assert!(packed.len() < 200, "{}", packed.len());
    let mut call = grpc.stream_with(&said, PUT);
    call.send_bytes(frame(1, &packed), true);
    assert_eq!(call.recv::<PutResponse>().unwrap().unwrap().header.unwrap().revision, 2);
    assert_eq!(call.end().code, Some(0));
    let got: RangeResponse = grpc.unary_with(&said, RANGE, &get("z")).unwrap(); // frames may be plain
    assert_eq!(got.kvs[0].value().len(), 5000);
    let bomb = gzip(&vec![0; 100_000_000]);
    for (what, bytes, code, message) in [
        (
            "a bomb",
            &bomb[..],
            RESOURCE_EXHAUSTED,
            "grpc: received message after decompression larger",
        ),
        ("nonsense", b"nonsense", INTERNAL, "grpc: failed to decompress the received message"),
        ("cut", &packed[..packed.len() - 9], INTERNAL, "grpc: failed to decompress the received"),
    ] {
        let mut call = grpc.stream_with(&said, PUT);
        call.send_bytes(frame(1, bytes), true);
        let status = call.end();
        assert_eq!(status.code, Some(code), "{what}: {status:?}");
        assert!(status.message.starts_with(message), "{what}: {status:?}");
    }
}

/// A call whose time is over is told so.
#[test]
fn deadlines() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let status = grpc.stream_with(&[("grpc-timeout", "50m")], PUT).end();
    assert!(status.is(DEADLINE_EXCEEDED, "context deadline exceeded"), "{status:?}");
    let status = grpc.unary_with::<_, RangeResponse>(&[("grpc-timeout", "0n")], RANGE, &get("a"));
    if let Err(status) = status {
        assert!(status.is(DEADLINE_EXCEEDED, "context deadline exceeded"), "{status:?}");
    }
    let in_time = [("grpc-timeout", "10S")];
    assert!(grpc.unary_with::<_, RangeResponse>(&in_time, RANGE, &get("a")).is_ok());
}

/// A client that asked for it is told that the leader is lost; one that did not waits.
#[test]
fn calls_that_need_a_leader() {
    let mut cluster = Cluster::start(3, &FAST);
    let grpc = Grpc::connect(cluster.member(0).client_addr());
    let needs = [("hasleader", "true")];
    let watch = |metadata: &[(&str, &str)]| {
        let mut watch = grpc.stream_with(metadata, "/grpc.health.v1.Health/Watch");
        watch.send_bytes(framed(&HealthCheckRequest::default()), true);
        let first: HealthCheckResponse = watch.recv().unwrap().unwrap();
        assert_eq!(first.status, 1, "serving");
        watch
    };
    let (mut with, mut without) = (watch(&needs), watch(&[]));
    assert!(grpc.unary_with::<_, RangeResponse>(&needs, RANGE, &get("a")).is_ok());
    cluster.member(1).kill();
    cluster.member(2).kill();
    let status = loop {
        match with.recv::<HealthCheckResponse>() {
            Ok(health) => assert_eq!(health.unwrap().status, 2, "not serving any more"),
            Err(status) => break status,
        }
    };
    assert!(status.is(UNAVAILABLE, "etcdserver: no leader"), "{status:?}");
    let changed: HealthCheckResponse = without.recv().unwrap().unwrap();
    assert_eq!(changed.status, 2, "not serving, and told so");
    let status = grpc.unary_with::<_, RangeResponse>(&needs, RANGE, &get("a")).unwrap_err();
    assert!(status.is(UNAVAILABLE, "etcdserver: no leader"), "{status:?}");
    let local = RangeRequest { serializable: true, ..get("a") };
    assert!(grpc.unary::<_, RangeResponse>(RANGE, &local).is_ok(), "needs nobody");
}
