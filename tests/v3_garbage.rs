//! Messages of random bytes to every RPC, through gRPC and through the gateway: each is answered, nothing
//! panics, and the next client does not notice. `CALLBOARD_GARBAGE=N` sends N to each; a failure names
//! the seed that makes the same bytes again.

mod support;

use std::{env, time::Duration};

use bytes::Bytes;
use callboard::http::v3::{
    methods::{Streaming, Unary},
    pb::etcdserverpb as pb,
};
use http::Method;
use prost::Message as _;
use support::{
    grpc::{Grpc, frame},
    http::{Client, Incoming, Request},
    random::Random,
    server::Server,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of no meaning, or those of a request with a few of them changed, cut or repeated.
fn message(random: &mut Random, sound: &[Vec<u8>]) -> Vec<u8> {
    if random.below(3) == 0 {
        return (0..random.below(64)).map(|_| random.next() as u8).collect();
    }
    let mut bytes = sound[random.below(sound.len())].clone();
    for _ in 0..random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, random.next() as u8),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

/// Requests that mean something to some RPC.
fn sound_messages() -> Vec<Vec<u8>> {
    let key = Bytes::from_static(b"key");
    let put = pb::PutRequest { key: key.clone(), lease: -1, ..pb::PutRequest::default() };
    let range = pb::RangeRequest { key, limit: -5, revision: i64::MAX, ..Default::default() };
    let op = |request| pb::RequestOp { request: Some(request) };
    let mut txn = pb::TxnRequest {
        success: vec![op(pb::request_op::Request::RequestPut(put.clone()))],
        ..pb::TxnRequest::default()
    };
    for _ in 0..20 {
        let inner = op(pb::request_op::Request::RequestTxn(txn));
        txn = pb::TxnRequest { failure: vec![inner], ..pb::TxnRequest::default() };
    }
    let create =
        pb::WatchCreateRequest { start_revision: -3, fragment: true, ..Default::default() };
    let watch = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
    };
    let messages =
        [put.encode_to_vec(), range.encode_to_vec(), txn.encode_to_vec(), watch.encode_to_vec()];
    messages.into_iter().chain([Vec::new()]).collect()
}

fn per_method() -> usize {
    env::var("CALLBOARD_GARBAGE").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

fn is_well(server: &mut Server) {
    assert!(server.is_running(), "it has ended");
    let mut client = Client::new(server.client_addr());
    assert_eq!(client.get("/version").expect("an answer").status(), 200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn through_grpc() {
    let mut server = Server::start(&[]);
    let sound = sound_messages();
    let unary = Unary::ALL.iter().map(|row| row.1);
    let streaming = Streaming::ALL.iter().map(|row| row.1);
    for (number, path) in unary.chain(streaming).enumerate() {
        let grpc = Grpc::connect(server.client_addr());
        for round in 0..per_method() {
            let seed = (number * 1_000_003 + round) as u64;
            let mut random = Random(seed);
            let message = message(&mut random, &sound);
            let framed = match random.below(8) {
                0 => Bytes::from(message), // no frame at all
                1 => frame(1, &message),   // compressed, it says
                _ => frame(0, &message),
            };
            // Some wait for others, or go on for ever.
            let soon = [("grpc-timeout", "50m")];
            let call = grpc.request(Method::POST, &soon, path, false);
            let mut call = call.unwrap_or_else(|error| panic!("{path} seed {seed}: {error}"));
            call.send_bytes(framed, true);
            while let Ok(Some(_)) = call.recv_bytes() {}
        }
        is_well(&mut server);
    }
}

#[test]
fn through_the_gateway() {
    const SOUND: [&str; 5] = [
        r#"{"key":"YQ==","value":"Yg==","lease":"-1","limit":1e3,"revision":9223372036854775807}"#,
        r#"{"success":[{"requestPut":{"key":"YQ=="}}],"compare":[{"result":"EQUAL","target":3,"key":"YQ=="}]}"#,
        r#"{"create_request":{"key":"YQ==","range_end":"AA==","filters":[0,"NODELETE",9]}}"#,
        r#"{"ID":1,"TTL":"18446744073709551616","name":"\ud800","peerURLs":[{}],"action":"GET"}"#,
        "",
    ];
    let mut server = Server::start(&[]);
    let sound: Vec<Vec<u8>> = SOUND.iter().map(|text| text.as_bytes().to_vec()).collect();
    let unary = Unary::ALL.iter().flat_map(|row| row.2.iter().copied());
    let waits = |path: &str| path.ends_with("/lock") || path.ends_with("/campaign");
    for (number, path) in unary.filter(|path| !waits(path)).enumerate() {
        for round in 0..per_method() {
            let seed = (number * 1_000_003 + round) as u64;
            let body = message(&mut Random(seed), &sound);
            let mut client = Client::new(server.client_addr());
            let answer = client.send(&Request::new("POST", path).body(body));
            let answer = answer.unwrap_or_else(|error| panic!("{path} seed {seed}: {error}"));
            assert!((200..600).contains(&answer.status()), "{path} seed {seed}");
        }
        is_well(&mut server);
    }
    for (number, path) in Streaming::ALL.iter().filter_map(|row| row.2).enumerate() {
        for round in 0..per_method() {
            let seed = (number * 1_000_003 + round) as u64;
            let request = Request::new("POST", path).body(message(&mut Random(seed), &sound));
            let opened = Incoming::open(server.client_addr(), &request, PATIENCE);
            opened.unwrap_or_else(|error| panic!("{path} seed {seed}: {error}")).hangup();
        }
        is_well(&mut server);
    }
}
