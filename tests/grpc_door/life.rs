//! A connection's life: draining, the bridge to the other doors, health, reflection, listeners of their
//! own, and what is counted.

use callboard::http::v3::pb::{
    etcdserverpb::{PutResponse, RangeResponse},
    grpc::{
        health::v1::{HealthCheckRequest, HealthCheckResponse},
        reflection::v1::{
            ServerReflectionRequest, ServerReflectionResponse,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        },
    },
};
use http::Method;

use crate::calls::{PUT, RANGE, get, put};
use crate::support::{
    grpc::{Grpc, framed},
    http::{Client, Request, exchange_raw},
    server::{Server, free_addrs},
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// On SIGTERM a connection is told that no more calls are taken, streams end, and the process with them.
#[test]
fn draining_ends_streams_and_connections() {
    for workers in ["1", "2"] {
        let mut server = Server::start(&[&format!("--http-workers={workers}")]);
        let mut grpc = Grpc::connect(server.client_addr());
        let idle = Grpc::connect(server.client_addr());
        idle.unary::<_, PutResponse>(PUT, &put("a", b"1")).unwrap();
        let mut watch = grpc.stream(HEALTH_WATCH);
        watch.send_bytes(framed(&HealthCheckRequest::default()), true);
        let first: HealthCheckResponse = watch.recv().unwrap().unwrap();
        assert_eq!(first.status, 1, "serving");
        assert_eq!(server.terminate().code(), Some(0));
        let status = watch.end();
        assert!(status.is(14, "etcdserver: server stopped"), "{status:?}");
        assert!(grpc.wait_closed().is_none(), "it was no error");
    }
}

/// HTTP/2 without gRPC reaches the doors of HTTP/1.1: probes, keys, long polls.
#[test]
fn plain_http_over_http2() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let plain = [("content-type", "text/plain")];
    let request =
        |method: Method, path: &str| grpc.request(method, &plain, path, true).unwrap().whole();
    let mut http1 = Client::new(server.client_addr());
    for path in ["/health", "/version", "/v2/keys/", "/v2/members", "/nothing", "/v2/keys/a b"] {
        let path = path.replace(' ', "%20");
        let (status, headers, body) = request(Method::GET, &path);
        let same = http1.get(&path).unwrap();
        assert_eq!((status, &body), (same.status(), &same.body), "{path}");
        assert_eq!(headers["content-type"], *same.header("Content-Type").unwrap(), "{path}");
        assert_eq!(headers["content-length"], body.len().to_string(), "{path}");
        assert!(headers.contains_key("date") && !headers.contains_key("connection"), "{path}");
    }
    let (status, headers, body) = request(Method::HEAD, "/v2/machines");
    assert_eq!((status, body.len()), (200, 0));
    assert_ne!(headers["content-length"], "0");

    let form = [("content-type", "application/x-www-form-urlencoded")];
    let poll = grpc.request(Method::GET, &plain, "/v2/keys/k?wait=true", true).unwrap();
    let mut put = grpc.request(Method::PUT, &form, "/v2/keys/k", false).unwrap();
    put.send_bytes("value=".into(), false);
    put.send_bytes(vec![b'x'; 300_000].into(), true);
    let (status, _, body) = put.whole();
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    let (status, _, event) = poll.whole();
    assert_eq!(status, 200);
    assert_eq!(
        event.trim_ascii_end(),
        body.trim_ascii_end(),
        "the poll saw what was put: {}",
        String::from_utf8_lossy(&event)
    );
    let long = grpc.request(Method::PUT, &form, "/v2/keys/k", false).unwrap();
    drop(long); // given up in the middle
    assert_eq!(request(Method::GET, "/health").0, 200);
}

#[test]
fn health_and_reflection() {
    let server = Server::start(&[]);
    let grpc = Grpc::connect(server.client_addr());
    let health: HealthCheckResponse = grpc.unary(CHECK, &HealthCheckRequest::default()).unwrap();
    assert_eq!(health.status, 1);
    let named = HealthCheckRequest { service: "etcdserverpb.KV".to_owned() };
    let status = grpc.unary::<_, HealthCheckResponse>(CHECK, &named).unwrap_err();
    assert!(status.is(5, "unknown service"), "{status:?}");
    let mut watch = grpc.stream(HEALTH_WATCH);
    watch.send_bytes(framed(&named), true);
    let first: HealthCheckResponse = watch.recv().unwrap().unwrap();
    assert_eq!(first.status, 3, "it is said to be unknown");

    for path in REFLECTION {
        let mut call = grpc.stream(path);
        for (request, wanted) in [
            (MessageRequest::ListServices(String::new()), "etcdserverpb.KV"),
            (MessageRequest::FileContainingSymbol("etcdserverpb.KV".to_owned()), "RangeRequest"),
            (MessageRequest::FileByFilename("kv.proto".to_owned()), "KeyValue"),
        ] {
            let message_request = Some(request.clone());
            call.send(&ServerReflectionRequest { message_request, ..Default::default() });
            let answer: ServerReflectionResponse = call.recv().unwrap().unwrap();
            let said = match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    list.service.into_iter().map(|s| s.name).collect::<Vec<_>>().join(" ")
                }
                MessageResponse::FileDescriptorResponse(file) => {
                    String::from_utf8_lossy(&file.file_descriptor_proto[0]).into_owned()
                }
                other => panic!("{request:?}: {other:?}"),
            };
            assert!(said.contains(wanted), "{request:?}: {said}");
        }
        call.half_close();
        assert!(call.end().is(0, ""));
    }
}

/// With listeners of its own for HTTP, the client port speaks gRPC alone.
#[test]
fn listeners_of_their_own() {
    let [http, probes] = free_addrs();
    let mut server = Server::prepare(&[
        &format!("--listen-client-http-urls=http://{http}"),
        &format!("--listen-metrics-urls=http://{probes}"),
    ]);
    server.spawn();
    let grpc = loop {
        if std::net::TcpStream::connect(server.client_addr()).is_ok() {
            break Grpc::connect(server.client_addr());
        }
        std::thread::yield_now();
    };
    grpc.unary::<_, RangeResponse>(RANGE, &get("a")).unwrap();
    let plain = [("content-type", "text/plain")];
    let status = grpc.request(Method::POST, &plain, "/health", true).unwrap().end();
    assert_eq!(status.http, 415);
    let request = Request::new("GET", "/health").to_bytes("x");
    let raw = exchange_raw(server.client_addr(), &request, false, std::time::Duration::ZERO);
    assert!(raw.unwrap().bytes.is_empty(), "not a word of HTTP/1.1");
    for addr in [http, probes] {
        assert_eq!(Client::new(addr).get("/health").unwrap().status(), 200);
        let other = Grpc::connect(addr);
        let call = other.stream(RANGE);
        assert_eq!(call.whole().0, 404, "no gRPC at {addr}");
    }
    assert_eq!(Client::new(http).get("/v2/keys/").unwrap().status(), 200);
    assert_eq!(Client::new(probes).get("/v2/keys/").unwrap().status(), 404);
}

#[test]
fn calls_are_counted() {
    let server = Server::start(&["--metrics=extensive"]);
    let grpc = Grpc::connect(server.client_addr());
    let version = [("client-api-version", "3.6")];
    grpc.unary_with::<_, PutResponse>(&version, PUT, &put("a", b"1")).unwrap();
    grpc.unary_with::<_, PutResponse>(&version, PUT, &put("", b"1")).unwrap_err();
    grpc.unary::<_, RangeResponse>(RANGE, &get("a")).unwrap();
    let text = Client::new(server.client_addr()).get("/metrics").unwrap().text();
    let put = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#;
    for line in [
        format!("grpc_server_started_total{{{put}}} 2"),
        format!("grpc_server_msg_received_total{{{put}}} 2"),
        format!("grpc_server_msg_sent_total{{{put}}} 1"),
        format!(r#"grpc_server_handled_total{{grpc_code="OK",{put}}} 1"#),
        format!(r#"grpc_server_handled_total{{grpc_code="InvalidArgument",{put}}} 1"#),
        format!("grpc_server_handling_seconds_count{{{put}}} 2"),
        r#"etcd_server_client_requests_total{client_api_version="3.6",type="unary"} 2"#.to_owned(),
        r#"etcd_server_client_requests_total{client_api_version="unknown",type="unary"} 1"#
            .to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    }
    assert!(!text.contains("etcd_network_client_grpc_received_bytes_total 0\n"));
}
