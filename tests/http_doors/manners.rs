//! Bad input: whatever is said, the server answers or hangs up, and goes on.

use super::{
    client::Client,
    member::{Member, Sizes},
};

#[actix_rt::test]
async fn nonsense_harms_nobody() {
    let member = Member::start(Sizes::default()).await;
    let long = "x".repeat(200_000);
    let nonsense: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /v2/keys/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /v2/keys/a b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
            .to_vec(),
        format!("GET /v2/keys/{long} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
        format!("GET /v2/keys HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n").into_bytes(),
        format!("GET /v2/keys HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(500)).into_bytes(),
    ];
    for bytes in nonsense {
        let mut client = Client::connect(member.clients).await;
        client.say(&bytes).await;
        drop(client);
    }
    let mut client = Client::connect(member.clients).await;
    let answer = client.talk("GET", "/v2/keys", "").await;
    assert_eq!(answer.header("X-Etcd-Index"), Some("1"), "nothing was written");
}

#[actix_rt::test]
async fn requests_may_come_in_one_packet() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    let put = "PUT /v2/keys/a?value=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let get = "GET /v2/keys/a HTTP/1.1\r\nHost: x\r\n\r\n";
    client.say(format!("{put}{get}{get}").as_bytes()).await;
    assert_eq!(client.answer("PUT").await.status, 201);
    assert_eq!(client.answer("GET").await.status, 200);
    assert_eq!(client.answer("GET").await.status, 200);
}

#[actix_rt::test]
async fn a_body_that_means_nothing_keeps_its_connection() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    let answer = client.talk("DELETE", "/v2/keys/none", "recursive=nonsense").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("Connection"), None);
    assert_eq!(client.talk("GET", "/v2/keys", "x").await.status, 200);
}
