//! Everything but the keys.

use std::sync::atomic::Ordering;

use super::{
    client::Client,
    member::{Member, Sizes},
};

/// Method, path; status, body, and a header with its value.
type Row = (&'static str, &'static str, u16, &'static str, (&'static str, Option<&'static str>));

const ROWS: &[Row] = &[
    ("GET", "/", 404, "404 page not found\n", ("X-Content-Type-Options", Some("nosniff"))),
    (
        "GET",
        "/v2",
        404,
        "404 page not found\n",
        ("Content-Type", Some("text/plain; charset=utf-8")),
    ),
    ("GET", "/v2/keysx", 404, "404 page not found\n", ("Allow", None)),
    (
        "PATCH",
        "/v2/keys/a",
        405,
        "Method Not Allowed\n",
        ("Allow", Some("HEAD,GET,PUT,POST,DELETE")),
    ),
    ("get", "/v2/keys/a", 405, "Method Not Allowed\n", ("X-Etcd-Cluster-Id", None)),
    ("HEAD", "/version", 405, "", ("Allow", Some("GET"))),
    ("POST", "/v2/machines", 405, "Method Not Allowed\n", ("Allow", Some("GET,HEAD"))),
    ("GET", "/v2/machines", 200, "http://127.0.0.1:2379", ("Allow", None)),
    ("OPTIONS", "/any/thing", 200, "", ("Access-Control-Allow-Origin", Some("*"))),
    (
        "OPTIONS",
        "/v2/keys",
        200,
        "",
        ("Access-Control-Allow-Methods", Some("POST, GET, OPTIONS, PUT, DELETE")),
    ),
    (
        "GET",
        "/v2/keys//a?x=1&y=%20",
        301,
        "<a href=\"/v2/keys/a?x=1&amp;y=%20\">Moved Permanently</a>.\n\n",
        ("Location", Some("/v2/keys/a?x=1&y=%20")),
    ),
    (
        "GET",
        "/v2/keys/<ä>//y",
        301,
        "<a href=\"/v2/keys/%3C%C3%A4%3E/y\">Moved Permanently</a>.\n\n",
        ("Location", Some("/v2/keys/%3C%C3%A4%3E/y")),
    ),
    ("DELETE", "/v2/keys/%2e%2e/a", 301, "", ("Location", Some("/v2/a"))),
    ("GET", "/v2/keys/%zz", 400, "400 Bad Request", ("Connection", Some("close"))),
    (
        "GET",
        "/v2/members",
        200,
        "{\"members\":[{\"id\":\"a\",\"name\":\"one\",\"peerURLs\":[\"http://127.0.0.1:2380\"],\"clientURLs\":[\"http://127.0.0.1:2379\"]}]}\n",
        ("X-Etcd-Cluster-Id", Some("c0ffee")),
    ),
    (
        "GET",
        "/v2/members/leader",
        200,
        "{\"id\":\"a\",\"name\":\"one\",\"peerURLs\":[\"http://127.0.0.1:2380\"],\"clientURLs\":[\"http://127.0.0.1:2379\"]}\n",
        ("X-Etcd-Index", None),
    ),
    ("GET", "/v2/members/x", 404, r#"{"message":"Not found"}"#, ("Allow", None)),
    ("DELETE", "/v2/members", 405, "Method Not Allowed\n", ("Allow", None)),
    ("HEAD", "/v2/members", 405, "", ("Allow", Some("GET,POST,DELETE,PUT"))),
    ("DELETE", "/v2/members/00abc", 404, r#"{"message":"No such member: abc"}"#, ("Allow", None)),
    ("DELETE", "/v2/members/zz", 404, r#"{"message":"No such member: zz"}"#, ("Allow", None)),
    ("DELETE", "/v2/members/a", 500, r#"{"message":"Internal Server Error"}"#, ("Allow", None)),
    (
        "POST",
        "/v2/members",
        415,
        r#"{"message":"Bad Content-Type application/x-www-form-urlencoded, accept application/json"}"#,
        ("Content-Type", Some("application/json")),
    ),
    ("GET", "/v2/stats/leader", 200, r#"{"leader":"a","followers":{}}"#, ("Allow", None)),
    ("GET", "/v2/auth/enable", 200, "{\"enabled\":false}\n", ("Allow", None)),
    ("GET", "/v2/auth/users", 200, "{\"users\":null}\n", ("X-Etcd-Cluster-Id", Some("c0ffee"))),
    ("GET", "/v2/auth/nothing", 404, "404 page not found\n", ("X-Etcd-Cluster-Id", None)),
    ("GET", "/health", 200, r#"{"health":"true","reason":""}"#, ("Allow", None)),
    ("GET", "/livez", 200, "ok\n", ("Allow", None)),
    ("GET", "/livez?verbose", 200, "[+]serializable_read ok\nok\n", ("Allow", None)),
    ("GET", "/readyz", 200, "ok\n", ("Allow", None)),
    (
        "GET",
        "/readyz?verbose&exclude=data_corruption",
        200,
        "[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n",
        ("Allow", None),
    ),
    ("GET", "/readyz/linearizable_read", 200, "ok\n", ("Allow", None)),
    ("POST", "/readyz", 405, "Method Not Allowed\n", ("Allow", Some("GET"))),
];

#[actix_rt::test]
async fn answers_as_etcd_gives_them() {
    let member = Member::start(Sizes::default()).await;
    for &(method, path, status, body, (header, value)) in ROWS {
        let mut client = Client::connect(member.clients).await;
        let answer = client.talk(method, path, "").await;
        assert_eq!((answer.status, &*answer.body), (status, body), "{method} {path}");
        assert_eq!(answer.header(header), value, "{method} {path}");
    }
}

#[actix_rt::test]
async fn without_a_leader_health_says_so() {
    let member = Member::start(Sizes::default()).await;
    member.doors.published.raft.leader.store(0, Ordering::Release);
    let mut client = Client::connect(member.clients).await;
    let answer = client.talk("GET", "/health", "").await;
    let expected = "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n";
    assert_eq!((answer.status, &*answer.body), (503, expected));
    assert_eq!(client.talk("GET", "/health?serializable=true", "").await.status, 200);
    assert_eq!(client.talk("GET", "/v2/members/leader", "").await.status, 503);
    assert_eq!(client.talk("GET", "/v2/stats/leader", "").await.status, 403);
}

#[actix_rt::test]
async fn metrics_are_one_page_that_prometheus_can_read() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    client.talk("PUT", "/v2/keys/a", "value=1").await;
    let page = client.talk("GET", "/metrics", "").await.body;
    for line in [
        "etcd_server_has_leader 1",
        r#"etcd_server_id{server_id="a"} 1"#,
        "etcd_debugging_mvcc_keys_total 1",
        r#"etcd_debugging_store_writes_total{action="set"} 1"#,
        r#"callboard_mailbox_capacity{mailbox="raft-node"} 64"#,
        r#"callboard_mailbox_queue_seconds_count{mailbox="raft-node"} 1"#,
        r#"callboard_http_v2_requests_total{code="201",kind="write"} 1"#,
    ] {
        assert!(page.lines().any(|seen| seen == line), "{line} is missing in\n{page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(value.parse::<f64>().is_ok(), "no number: {line}");
    }
    let mut types: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
    types.sort_unstable();
    let all = types.len();
    types.dedup();
    assert_eq!(types.len(), all, "a family is there twice");
}

#[actix_rt::test]
async fn every_metric_is_documented() {
    let documented = include_str!("../../docs/metrics.md");
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.probes).await;
    let page = client.talk("GET", "/metrics", "").await.body;
    for line in page.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

#[actix_rt::test]
async fn a_listener_for_probes_shows_no_keys() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.probes).await;
    assert_eq!(client.talk("GET", "/v2/keys", "").await.status, 404);
    for path in ["/metrics", "/health", "/livez", "/readyz", "/version"] {
        assert_eq!(client.talk("GET", path, "").await.status, 200, "{path}");
    }
}
