//! `/v2/keys` as a conversation.

use std::sync::atomic::Ordering;

use super::{
    client::Client,
    member::{Member, Sizes},
};

/// Method, path and form; status, `X-Etcd-Index` and body.
type Row = (&'static str, &'static str, &'static str, u16, &'static str, &'static str);

const CONVERSATION: &[Row] = &[
    ("GET", "/v2/keys", "", 200, "1", r#"{"action":"get","node":{"dir":true}}"#),
    ("GET", "/v2/keys/", "", 200, "1", r#"{"action":"get","node":{"dir":true}}"#),
    (
        "PUT",
        "/v2/keys/a",
        "value=v1",
        201,
        "2",
        r#"{"action":"set","node":{"key":"/a","value":"v1","modifiedIndex":2,"createdIndex":2}}"#,
    ),
    (
        "GET",
        "/v2/keys/a/",
        "",
        200,
        "2",
        r#"{"action":"get","node":{"key":"/a","value":"v1","modifiedIndex":2,"createdIndex":2}}"#,
    ),
    (
        "GET",
        "/v2/keys/a?quorum=true&wait=true",
        "",
        200,
        "2",
        r#"{"action":"get","node":{"key":"/a","value":"v1","modifiedIndex":2,"createdIndex":2}}"#,
    ),
    (
        "PUT",
        "/v2/keys/a?value=query&ttl=3",
        "value=b1&value=b2&ttl=&prevExist=true",
        200,
        "3",
        r#"{"action":"update","node":{"key":"/a","value":"b1","modifiedIndex":3,"createdIndex":2},"prevNode":{"key":"/a","value":"v1","modifiedIndex":2,"createdIndex":2}}"#,
    ),
    (
        "PUT",
        "/v2/keys/a",
        "value=x&prevValue=no&prevIndex=7",
        412,
        "3",
        r#"{"errorCode":101,"message":"Compare failed","cause":"[no != b1] [7 != 3]","index":3}"#,
    ),
    (
        "PUT",
        "/v2/keys/a",
        "value=c&prevIndex=3&noValueOnSuccess=true",
        200,
        "4",
        r#"{"action":"compareAndSwap"}"#,
    ),
    (
        "PUT",
        "/v2/keys/a",
        "value=c&prevExist=false&prevValue=c",
        412,
        "4",
        r#"{"errorCode":105,"message":"Key already exists","cause":"/a","index":4}"#,
    ),
    (
        "POST",
        "/v2/keys/q",
        "value=1",
        201,
        "5",
        r#"{"action":"create","node":{"key":"/q/00000000000000000005","value":"1","modifiedIndex":5,"createdIndex":5}}"#,
    ),
    (
        "GET",
        "/v2/keys/q/none/below",
        "",
        404,
        "5",
        r#"{"errorCode":100,"message":"Key not found","cause":"/q/none","index":5}"#,
    ),
    (
        "PUT",
        "/v2/keys/a/b",
        "value=1",
        400,
        "5",
        r#"{"errorCode":104,"message":"Not a directory","cause":"/a","index":5}"#,
    ),
    (
        "DELETE",
        "/v2/keys/q",
        "",
        403,
        "5",
        r#"{"errorCode":102,"message":"Not a file","cause":"/q","index":5}"#,
    ),
    (
        "DELETE",
        "/v2/keys/q?dir=true",
        "",
        403,
        "5",
        r#"{"errorCode":108,"message":"Directory not empty","cause":"/q","index":5}"#,
    ),
    (
        "DELETE",
        "/v2/keys/",
        "",
        400,
        "5",
        r#"{"errorCode":107,"message":"Root is read only","cause":"/","index":5}"#,
    ),
    (
        "DELETE",
        "/v2/keys/a?prevValue=c",
        "prevValue=ignored",
        200,
        "6",
        r#"{"action":"compareAndDelete","node":{"key":"/a","modifiedIndex":6,"createdIndex":2},"prevNode":{"key":"/a","value":"c","modifiedIndex":4,"createdIndex":2}}"#,
    ),
    (
        "PUT",
        "/v2/keys/b",
        "value=a%00b%ff<>%26%22%5c%0a",
        201,
        "7",
        r#"{"action":"set","node":{"key":"/b","value":"a\u0000b\ufffd\u003c\u003e\u0026\"\\\n","modifiedIndex":7,"createdIndex":7}}"#,
    ),
    (
        "PUT",
        "/v2/keys/t",
        "value=x&ttl=100",
        201,
        "8",
        r#"{"action":"set","node":{"key":"/t","value":"x","expiration":"2026-01-01T00:01:40Z","ttl":100,"modifiedIndex":8,"createdIndex":8}}"#,
    ),
    (
        "DELETE",
        "/v2/keys/q?recursive=true&noValueOnSuccess=true",
        "",
        200,
        "9",
        r#"{"action":"delete","node":{"key":"/q","dir":true,"modifiedIndex":9,"createdIndex":5},"prevNode":{"key":"/q","dir":true,"modifiedIndex":5,"createdIndex":5}}"#,
    ),
    (
        "PUT",
        "/v2/keys/b",
        "value=%zz",
        400,
        "0",
        r#"{"errorCode":210,"message":"Invalid POST form","cause":"invalid URL escape \"%zz\"","index":0}"#,
    ),
    (
        "GET",
        "/v2/keys/%ff%00?recursive=x",
        "",
        400,
        "0",
        r#"{"errorCode":209,"message":"Invalid field","cause":"invalid value for \"recursive\"","index":0}"#,
    ),
    (
        "GET",
        "/v2/keys/%ff%00",
        "",
        404,
        "9",
        r#"{"errorCode":100,"message":"Key not found","cause":"/\ufffd\u0000","index":9}"#,
    ),
    (
        "PUT",
        "/v2/keys/ä<b>#`",
        "value=ä\u{7f}",
        201,
        "10",
        "{\"action\":\"set\",\"node\":{\"key\":\"/ä\\u003cb\\u003e#`\",\"value\":\"ä\u{7f}\",\"modifiedIndex\":10,\"createdIndex\":10}}",
    ),
];

#[actix_rt::test]
async fn a_conversation_as_with_etcd() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    for &(method, path, form, status, index, body) in CONVERSATION {
        let answer = client.talk(method, path, form).await;
        let of = format!("{method} {path} {form}");
        assert_eq!(answer.body, format!("{body}\n"), "{of}");
        assert_eq!(answer.status, status, "{of}");
        assert_eq!(answer.header("X-Etcd-Index"), Some(index), "{of}");
        assert_eq!(answer.header("X-Etcd-Cluster-Id"), Some("c0ffee"), "{of}");
        assert_eq!(answer.header("Content-Type"), Some("application/json"), "{of}");
        let term = (status < 300).then_some("2");
        assert_eq!(answer.header("X-Raft-Term"), term, "{of}");
    }
}

#[actix_rt::test]
async fn head_is_get_without_its_body() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    client.talk("PUT", "/v2/keys/a", "value=1").await;
    let get = client.talk("GET", "/v2/keys/a", "").await;
    let head = client.talk("HEAD", "/v2/keys/a?quorum=true", "").await;
    assert_eq!(head.header("Content-Length"), get.header("Content-Length"));
    assert_eq!(client.talk("HEAD", "/v2/keys/none", "").await.status, 404);
    assert_eq!(client.talk("HEAD", "/v2/keys/a?wait=true", "").await.status, 400);
}

#[actix_rt::test]
async fn bodies_of_other_types_are_no_parameters() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    for (head, expected) in [
        ("Content-Type: application/json\r\n", r#""value":"""#),
        ("", r#""value":"""#),
        ("Content-Type: application/x-www-form-urlencoded; a=b\r\n", r#""value":"1""#),
        ("Content-Type: a b\r\n", r#""cause":"mime: expected slash after first token""#),
    ] {
        let request =
            format!("PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 7\r\n\r\nvalue=1");
        client.say(request.as_bytes()).await;
        let answer = client.answer("PUT").await;
        assert!(answer.body.contains(expected), "{head}: {}", answer.body);
    }
}

#[actix_rt::test]
async fn a_body_beyond_the_limit_is_refused_before_or_while_it_is_read() {
    let sizes = Sizes { request_bytes: 100, ..Sizes::default() };
    let member = Member::start(sizes).await;
    let form = "Content-Type: application/x-www-form-urlencoded";
    let announced =
        format!("PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\n{form}\r\nContent-Length: 101\r\n\r\n");
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    let chunked = format!(
        "PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\n{form}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}"
    );
    for request in [announced, chunked] {
        let mut client = Client::connect(member.clients).await;
        client.say(request.as_bytes()).await;
        let answer = client.answer("PUT").await;
        let expected = r#"{"errorCode":210,"message":"Invalid POST form","cause":"http: POST too large","index":0}"#;
        assert_eq!((answer.status, answer.body.trim()), (400, expected));
    }
    let mut client = Client::connect(member.clients).await;
    let value = format!("value={}", "x".repeat(94));
    assert_eq!(client.talk("PUT", "/v2/keys/k", &value).await.status, 201);
}

#[actix_rt::test]
async fn a_full_mailbox_is_an_answer_and_loses_nothing() {
    let sizes = Sizes { propose_capacity: 1, ..Sizes::default() };
    let member = Member::start(sizes).await;
    member.hold.store(true, Ordering::Release);
    let mut waiting = Client::connect(member.clients).await;
    waiting.ask("PUT", "/v2/keys/k", "value=1").await;
    while member.doors.propose.gauge().depth() == 0 {
        tokio::task::yield_now().await;
    }
    let mut refused = Client::connect(member.clients).await;
    let answer = refused.talk("PUT", "/v2/keys/k", "value=2").await;
    let expected = r#"{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: too many requests","index":0}"#;
    assert_eq!((answer.status, answer.body.trim()), (503, expected));
    assert_eq!(answer.header("Retry-After"), Some("1"));
    // A read passes no mailbox.
    assert_eq!(refused.talk("GET", "/v2/keys", "").await.status, 200);
    // The first write is never answered: it times out, in etcd's words.
    let answer = waiting.answer("PUT").await;
    let expected = r#"{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: request timed out","index":0}"#;
    assert_eq!((answer.status, answer.body.trim()), (500, expected));
}

#[actix_rt::test]
async fn a_path_too_deep_to_answer_is_refused() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    let deep = format!("/v2/keys{}", "/d".repeat(257));
    let answer = client.talk("PUT", &deep, "value=1").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("at most 256 components"), "{}", answer.body);
    let deep = format!("/v2/keys{}", "/d".repeat(256));
    assert_eq!(client.talk("PUT", &deep, "value=1").await.status, 201);
    let answer = client.talk("GET", "/v2/keys/?recursive=true", "").await;
    assert_eq!(answer.body.matches("\"dir\":true").count(), 256);
}
