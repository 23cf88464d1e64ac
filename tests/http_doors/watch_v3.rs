//! The v3 watch, as its service has it: what each request is answered, and that no watch ever sees a gap,
//! anything twice, or another order.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use callboard::http::v3::{
    Caller, Services,
    error::{RpcError, STOPPED},
    pb::etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, PutRequest, WatchCancelRequest, WatchCreateRequest,
        WatchProgressRequest, WatchRequest, WatchResponse, watch_create_request::FilterType,
        watch_request::RequestUnion,
    },
};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::member::{Member, Sizes};

/// A client with one stream of watches, and a connection on which one answer may wait.
pub struct Client {
    pub services: Services,
    requests: Option<mpsc::UnboundedSender<WatchRequest>>,
    pub answers: mpsc::Receiver<Result<WatchResponse, RpcError>>,
}

impl Client {
    pub fn of(member: &Member) -> Client {
        let services = Services::new(member.doors.clone());
        let (requests, sent) = mpsc::unbounded_channel();
        let sent = futures_util::stream::unfold(sent, async |mut sent| {
            let request: WatchRequest = sent.recv().await?;
            Some((Ok::<_, RpcError>(request), sent))
        });
        let mut made = services.watch(&Caller::default(), Box::pin(sent)).unwrap();
        let (connection, answers) = mpsc::channel(1);
        actix_rt::spawn(async move {
            while let Some(answer) = made.next().await {
                if connection.send(answer).await.is_err() {
                    break; // the client has gone
                }
            }
        });
        Client { services, requests: Some(requests), answers }
    }

    fn ask(&self, request: RequestUnion) {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.as_ref().unwrap().send(request).unwrap();
    }

    pub fn watch(&self, request: WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request));
    }

    fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    pub fn ask_progress(&self) {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    pub async fn answer(&mut self) -> WatchResponse {
        let answer = tokio::time::timeout(Duration::from_secs(5), self.answers.recv()).await;
        answer.expect("an answer in time").expect("the stream goes on").unwrap()
    }

    pub async fn put(&self, key: &str, value: &str) -> i64 {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = PutRequest { key, value, ..PutRequest::default() };
        self.services.put(&Caller::default(), request).await.unwrap().header.unwrap().revision
    }

    pub async fn delete(&self, key: &str, range_end: &str) -> i64 {
        let request = deletion(key, range_end);
        let answer = self.services.delete_range(&Caller::default(), request).await.unwrap();
        answer.header.unwrap().revision
    }

    pub async fn compact(&self, revision: i64) {
        let request = CompactionRequest { revision, ..CompactionRequest::default() };
        self.services.compact(&Caller::default(), request).await.unwrap();
    }
}

pub fn deletion(key: &str, range_end: &str) -> DeleteRangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() }
}

pub fn of(key: &str, range_end: &str) -> WatchCreateRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() }
}

pub fn from(key: &str, range_end: &str, start_revision: i64) -> WatchCreateRequest {
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
        if said {
            text.push(' ');
            text.push_str(what);
        }
    }
    if answer.compact_revision != 0 {
        write!(text, " compacted {}", answer.compact_revision).expect("into memory");
    }
    if !answer.cancel_reason.is_empty() {
        write!(text, " ({})", answer.cancel_reason).expect("into memory");
    }
    for event in &answer.events {
        let event = event.to_loose();
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kv = event.kv.expect("each event has a key").to_loose();
        let what = if event.r#type == 0 { "+" } else { "-" };
        write!(text, " {what}{}", text_of(&kv.key)).expect("into memory");
        if event.r#type == 0 {
            write!(text, "={}", text_of(&kv.value)).expect("into memory");
        } else {
            let rest = (kv.create_revision, kv.version, kv.lease, kv.value.len());
            assert_eq!(rest, (0, 0, 0, 0), "a deletion tells key and revision alone");
        }
        write!(text, "@{}", kv.mod_revision).expect("into memory");
        if let Some(prev) = event.prev_kv {
            write!(text, "<{}", text_of(prev.value())).expect("into memory");
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

#[actix_rt::test]
async fn history_and_what_is_left_of_it() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::of(&member);
    for value in ["1", "2", "3"] {
        client.put("a", value).await; // revisions 2, 3, 4
    }
    client.put("b", "1").await;
    client.delete("a", "").await;
    client.watch(from("", "\0", 3));
    assert_answers!(client, ["0 @6 created", "0 @6 +a=2@3 +a=3@4 +b=1@5 -a@6"]);
    let filters = |filter: FilterType| WatchCreateRequest {
        filters: vec![filter.into()],
        prev_kv: true,
        ..from("a", "", 4)
    };
    client.watch(filters(FilterType::Noput));
    assert_answers!(client, ["1 @6 created", "1 @6 -a@6<3"]);
    client.watch(filters(FilterType::Nodelete));
    assert_answers!(client, ["2 @6 created", "2 @6 +a=3@4<2"]);
    client.compact(5).await;
    client.watch(from("a", "z", 4));
    assert_answers!(client, ["3 @6 created", "3 @0 canceled compacted 5"]);
    client.watch(from("a", "z", 5));
    assert_answers!(client, ["4 @6 created", "4 @6 +b=1@5", "4 @6 -a@6"]);
    client.watch(from("a", "z", 9)); // in the future
    assert_answers!(client, ["5 @6 created"]);
    client.ask_progress();
    assert_answers!(client, ["-1 @6"]);
    for id in [0, 1, 2, 4] {
        client.cancel(id);
        client.answer().await;
    }
    for value in ["7", "8", "9"] {
        client.put("b", value).await;
    }
    assert_answers!(client, ["5 @9 +b=9@9"]);
    member.drain().await;
    let end = client.answers.recv().await;
    assert_eq!(end.map(|answer| answer.map(drop)), Some(Err(STOPPED)));
    assert!(client.answers.recv().await.is_none());
}

#[actix_rt::test]
async fn a_large_revision_comes_in_parts_to_who_asked_for_parts() {
    let member = Member::start(Sizes { request_bytes: 1000, ..Sizes::default() }).await;
    let mut client = Client::of(&member);
    for number in 0..1000 {
        client.put(&format!("{number:0600}"), "").await;
    }
    client.watch(WatchCreateRequest { fragment: true, ..of("0", "\0") });
    client.watch(of("0", "\0"));
    assert_answers!(client, ["0 @1001 created", "1 @1001 created"]);
    client.delete("0", "\0").await;
    let mut parts = BTreeMap::from([(0, Vec::new()), (1, Vec::new())]);
    while parts.values().any(|parts| parts.last().is_none_or(|(more, _)| *more)) {
        let answer = client.answer().await;
        assert_eq!(answer.header.as_ref().map(|header| header.revision), Some(1002));
        let part = (answer.fragment, answer.events.len());
        parts.get_mut(&answer.watch_id).unwrap().push(part);
    }
    assert_eq!(parts[&1], [(false, 1000)]);
    assert_eq!(parts[&0].len(), 2, "{parts:?}");
    assert_eq!(parts[&0].iter().map(|(_, events)| events).sum::<usize>(), 1000);
}

#[actix_rt::test]
async fn what_is_there_comes_first_to_who_asks_for_it() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::of(&member);
    client.put("a", "1").await;
    client.put("b", "1").await;
    client.put("a", "2").await;
    client.delete("b", "").await;
    let first = |start| WatchCreateRequest { send_initial: true, ..from("a", "z", start) };
    client.watch(first(0));
    assert_answers!(client, ["0 @5 created"]);
    client.put("c", "1").await;
    assert_answers!(client, ["0 @5 +a=2@4", "0 @5 initial-done", "0 @6 +c=1@6"]);
    client.cancel(0);
    client.watch(first(3));
    assert_answers!(
        client,
        [
            "0 @6 canceled",
            "1 @6 created",
            "1 @3 +a=1@2 +b=1@3",
            "1 @3 initial-done",
            "1 @6 +a=2@4 -b@5 +c=1@6",
        ]
    );
    client.compact(4).await;
    client.watch(first(3));
    assert_answers!(client, ["2 @6 created", "2 @0 canceled compacted 4"]);
    for number in 0..2500 {
        client.put(&format!("many/{number}"), "").await;
        client.answer().await; // of watch 1
    }
    client.cancel(1);
    client.answer().await;
    client.watch(WatchCreateRequest { send_initial: true, ..of("many/", "many0") });
    assert_answers!(client, ["3 @2506 created"]);
    let mut seen = 0;
    loop {
        let answer = client.answer().await;
        assert!(answer.events.len() <= 1024);
        seen += answer.events.len();
        if answer.initial_done {
            break;
        }
    }
    assert_eq!(seen, 2500);
}

#[actix_rt::test]
async fn an_idle_watch_is_told_how_far_it_is() {
    let interval = Duration::from_millis(50);
    let sizes = Sizes { watch_progress_interval: interval, ..Sizes::default() };
    let member = Member::start(sizes).await;
    let mut client = Client::of(&member);
    client.watch(of("a", ""));
    client.watch(WatchCreateRequest { progress_notify: true, ..of("b", "") });
    assert_answers!(client, ["0 @1 created", "1 @1 created", "1 @1"]);
    client.put("elsewhere", "").await;
    assert_answers!(client, ["1 @2"]);
}

/// v2 and v3 watch the same keys.
#[actix_rt::test]
async fn both_interfaces_hear_of_both() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::of(&member);
    client.watch(of("/", "0"));
    assert_answers!(client, ["0 @1 created"]);
    let mut v2 = super::client::Client::connect(member.clients).await;
    assert_eq!(v2.talk("PUT", "/v2/keys/d/k", "value=1").await.status, 201);
    assert_answers!(client, ["0 @2 +/d/k=1@2"]);
    v2.ask("GET", "/v2/keys/d?wait=true&recursive=true", "").await;
    member.watchers(1).await;
    client.put("/d/k", "2").await;
    let answer = v2.answer("GET").await;
    assert!(answer.body.contains(r#""value":"2""#), "{}", answer.body);
    assert_answers!(client, ["0 @3 +/d/k=2@3"]);
    v2.talk("DELETE", "/v2/keys/d?recursive=true", "").await;
    assert_answers!(client, ["0 @4 -/d/k@4"]);
}
