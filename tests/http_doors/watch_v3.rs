//! The v3 watch, as its service has it: what each request is answered, and that no watch ever sees a gap,
//! anything twice, or another order.

use std::{collections::BTreeMap, time::Duration};

use callboard::{
    command::KeyRange,
    http::v3::{
        Answers, Caller, Services,
        error::RpcError,
        pb::etcdserverpb::{
            CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest,
            WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
            WatchResponse, request_op, watch_create_request::FilterType,
            watch_request::RequestUnion,
        },
    },
};
use futures_util::StreamExt as _;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::member::{Member, Sizes};

/// A client with one stream of watches.
struct Client {
    services: Services,
    requests: Option<mpsc::UnboundedSender<WatchRequest>>,
    answers: Answers<WatchResponse>,
}

impl Client {
    fn of(member: &Member) -> Client {
        let services = Services::new(member.doors.clone());
        let (requests, sent) = mpsc::unbounded_channel();
        let sent = futures_util::stream::unfold(sent, async |mut sent| {
            let request: WatchRequest = sent.recv().await?;
            Some((Ok::<_, RpcError>(request), sent))
        });
        let answers = services.watch(&Caller::default(), Box::pin(sent)).unwrap();
        Client { services, requests: Some(requests), answers }
    }

    fn ask(&self, request: RequestUnion) {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.as_ref().unwrap().send(request).unwrap();
    }

    fn watch(&self, request: WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request));
    }

    fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    fn ask_progress(&self) {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    async fn answer(&mut self) -> WatchResponse {
        let answer = tokio::time::timeout(Duration::from_secs(5), self.answers.next()).await;
        answer.expect("an answer in time").expect("the stream goes on").unwrap()
    }

    async fn put(&self, key: &str, value: &str) -> i64 {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = PutRequest { key, value, ..PutRequest::default() };
        self.services.put(&Caller::default(), request).await.unwrap().header.unwrap().revision
    }

    async fn delete(&self, key: &str, range_end: &str) -> i64 {
        let request = deletion(key, range_end);
        let answer = self.services.delete_range(&Caller::default(), request).await.unwrap();
        answer.header.unwrap().revision
    }

    async fn compact(&self, revision: i64) {
        let request = CompactionRequest { revision, ..CompactionRequest::default() };
        self.services.compact(&Caller::default(), request).await.unwrap();
    }
}

fn deletion(key: &str, range_end: &str) -> DeleteRangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() }
}

fn of(key: &str, range_end: &str) -> WatchCreateRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() }
}

fn from(key: &str, range_end: &str, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..of(key, range_end) }
}

/// An answer in short: the id, the header's revision, what it says, and its events.
fn short(answer: &WatchResponse) -> String {
    let header = answer.header.as_ref().expect("each answer has a header");
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (0x00c0_ffee, 0xa, 2));
    let mut text = format!("{} @{}", answer.watch_id, header.revision);
    for (said, what) in [
        (answer.created, "created"),
        (answer.canceled, "canceled"),
        (answer.fragment, "fragment"),
        (answer.initial_done, "initial-done"),
    ] {
        text += &if said { format!(" {what}") } else { String::new() };
    }
    if answer.compact_revision != 0 {
        text += &format!(" compacted {}", answer.compact_revision);
    }
    if !answer.cancel_reason.is_empty() {
        text += &format!(" ({})", answer.cancel_reason);
    }
    for event in &answer.events {
        let event = event.to_loose();
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kv = event.kv.expect("each event has a key").to_loose();
        let what = if event.r#type == 0 { "+" } else { "-" };
        text += &format!(" {what}{}", text_of(&kv.key));
        if event.r#type == 0 {
            text += &format!("={}", text_of(&kv.value));
        } else {
            let rest = (kv.create_revision, kv.version, kv.lease, kv.value.len());
            assert_eq!(rest, (0, 0, 0, 0), "a deletion tells key and revision alone");
        }
        text += &format!("@{}", kv.mod_revision);
        if let Some(prev) = event.prev_kv {
            text += &format!("<{}", text_of(prev.value()));
        }
    }
    text
}

macro_rules! assert_answers {
    ($client:expr, [$($expected:expr),* $(,)?]) => {
        $( assert_eq!(short(&$client.answer().await), $expected); )*
    };
}

#[actix_rt::test]
async fn a_watch_begins_tells_and_ends() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::of(&member);
    client.ask_progress(); // there are no watches: no answer
    client.put("a", "1").await;
    client.watch(of("a", ""));
    client.watch(WatchCreateRequest { prev_kv: true, ..from("a", "c", 2) });
    assert_answers!(client, ["0 @2 created", "1 @2 created", "1 @2 +a=1@2"]);
    client.put("a", "2").await;
    let mut both = [short(&client.answer().await), short(&client.answer().await)];
    both.sort();
    assert_eq!(both, ["0 @3 +a=2@3", "1 @3 +a=2@3<1"]);
    client.cancel(0);
    client.cancel(0);
    client.cancel(77);
    assert_answers!(client, ["0 @3 canceled"]);
    client.put("b", "1").await;
    client.delete("a", "z").await;
    client.ask_progress();
    assert_answers!(client, ["1 @4 +b=1@4", "1 @5 -a@5<2 -b@5<1", "-1 @5"]);
    client.requests = None;
    client.put("a", "after the half-close").await;
    assert_answers!(client, ["1 @6 +a=after the half-close@6"]);
}

#[actix_rt::test]
async fn ids_and_refusals() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::of(&member);
    let id = |watch_id| WatchCreateRequest { watch_id, ..of("k", "") };
    for (request, expected) in [
        (id(1), "1 @1 created"),
        (id(0), "0 @1 created"),
        (id(0), "2 @1 created"),
        (id(-7), "-7 @1 created"),
        (id(1), "-1 @1 created canceled (mvcc: duplicate watch ID provided on the WatchStream)"),
        (of("b", "a"), "-1 @1 created canceled (mvcc: watcher range is empty)"),
        (of("b", "b"), "-1 @1 created canceled (mvcc: watcher range is empty)"),
        (
            from("b", "", -1),
            "-1 @1 created canceled (etcdserver: mvcc: required revision has been compacted)",
        ),
        (id(0), "3 @1 created"),
    ] {
        client.watch(request);
        assert_answers!(client, [expected]);
    }
    client.cancel(1);
    client.cancel(0);
    client.watch(id(1));
    client.watch(id(0));
    assert_answers!(client, ["1 @1 canceled", "0 @1 canceled", "1 @1 created", "4 @1 created"]);
    client.ask_progress();
    client.requests.as_ref().unwrap().send(WatchRequest::default()).unwrap();
    assert_answers!(client, ["-1 @1"]);
}
