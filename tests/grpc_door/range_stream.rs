//! A range that comes bit by bit.

use callboard::http::v3::pb::etcdserverpb::{
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
};

use crate::calls::{PUT, RANGE, get, put};
use crate::support::{
    grpc::{Call, Grpc},
    server::Server,
};

const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";

fn everything() -> RangeRequest {
    RangeRequest { key: "k".into(), range_end: "l".into(), ..RangeRequest::default() }
}

fn begin(grpc: &Grpc, request: &RangeRequest) -> Call {
    let mut call = grpc.stream(RANGE_STREAM);
    call.send(request);
    call.half_close();
    call
}

fn next(call: &mut Call) -> Option<RangeResponse> {
    let answer: Option<RangeStreamResponse> = call.recv().unwrap();
    answer.map(|answer| answer.range_response.expect("each has a part of the range"))
}

/// Three megabytes come in several answers, which together are the answer of a Range at the revision of
/// its beginning, whatever is written meanwhile.
#[test]
fn parts_are_of_one_revision_and_make_up_the_range() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    for n in 0..300 {
        let _: PutResponse = grpc.unary(PUT, &put(&format!("k{n:03}"), &[b'v'; 10_000])).unwrap();
    }
    let whole: RangeResponse = grpc.unary(RANGE, &everything()).unwrap();
    let mut call = begin(&grpc, &everything());
    let mut parts = vec![next(&mut call).expect("a first part")];
    for n in 0..300 {
        let _: PutResponse = grpc.unary(PUT, &put(&format!("k{n:03}"), b"new")).unwrap();
    }
    while let Some(part) = next(&mut call) {
        parts.push(part);
    }
    assert!(parts.len() > 3, "{} parts", parts.len());
    let last = parts.last().unwrap();
    assert_eq!((last.header, last.count, last.more), (whole.header, 300, false));
    assert!(parts[..parts.len() - 1].iter().all(|part| part.header.is_none() && part.count == 0));
    let kvs: Vec<_> = parts.into_iter().flat_map(|part| part.kvs).collect();
    assert!(kvs == whole.kvs, "the parts are the whole");

    let limited = RangeRequest { limit: 7, ..everything() };
    let part = next(&mut begin(&grpc, &limited)).expect("one part");
    assert_eq!((part.kvs.len(), part.count, part.more), (7, 300, true));
    let at =
        RangeRequest { revision: whole.header.unwrap().revision, keys_only: true, ..everything() };
    let part = next(&mut begin(&grpc, &at)).expect("one part");
    assert_eq!((part.kvs.len(), part.kvs[0].value().len()), (300, 0));
}

/// What a stream cannot do is refused, and nothing is sent before.
#[test]
fn what_is_refused() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    for (what, request, code, message) in [
        ("no key", RangeRequest::default(), 3, "etcdserver: key is not provided"),
        ("in the future", RangeRequest { revision: 99, ..get("k") }, 11, "future revision"),
        (
            "an order",
            RangeRequest { sort_order: 2, sort_target: 4, ..everything() },
            12,
            "sort orders",
        ),
        ("a filter", RangeRequest { min_mod_revision: 2, ..everything() }, 12, "revision filters"),
    ] {
        let status = begin(&grpc, &request).end();
        assert_eq!(status.code, Some(code), "{what}: {status:?}");
        assert!(status.message.contains(message), "{what}: {status:?}");
    }
    assert_eq!(next(&mut begin(&grpc, &everything())).expect("an empty part").count, 0);
}
