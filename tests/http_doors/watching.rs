//! Long polls and streams.

use callboard::{command::Command, types::Revision};

use super::{
    client::Client,
    member::{Member, Sizes},
};

const EVENT_2: &str =
    r#"{"action":"set","node":{"key":"/a","value":"1","modifiedIndex":2,"createdIndex":2}}"#;

#[actix_rt::test]
async fn the_head_leaves_at_once_and_one_event_ends_it() {
    let member = Member::start(Sizes::default()).await;
    let mut watcher = Client::connect(member.clients).await;
    watcher.ask("GET", "/v2/keys/a?wait=true", "").await;
    let head = watcher.head().await;
    assert_eq!((head.status, head.header("X-Etcd-Index")), (200, Some("1")));
    assert_eq!(head.header("X-Raft-Term"), Some("2"));
    member.watchers(1).await;
    let mut writer = Client::connect(member.clients).await;
    writer.talk("PUT", "/v2/keys/b", "value=0").await;
    writer.talk("PUT", "/v2/keys/a", "value=1").await;
    let expected = EVENT_2.replace(":2", ":3") + "\n";
    assert_eq!(watcher.chunk().await, Some(expected));
    assert_eq!(watcher.chunk().await, None);
    member.watchers(0).await;
    // The connection goes on.
    assert_eq!(watcher.talk("GET", "/v2/keys/a", "").await.status, 200);
}

#[actix_rt::test]
async fn history_answers_at_once_until_it_is_compacted() {
    let member = Member::start(Sizes::default()).await;
    let mut client = Client::connect(member.clients).await;
    for value in ["1", "2", "3"] {
        client.talk("PUT", "/v2/keys/a", &format!("value={value}")).await;
    }
    let answer = client.talk("GET", "/v2/keys/a?wait=true&waitIndex=1", "").await;
    assert_eq!(answer.body.trim(), EVENT_2);
    assert_eq!(answer.header("X-Etcd-Index"), Some("4"), "the index now, not the event's");
    member.propose(Command::Compact { revision: Revision(2) }).await;
    let answer = client.talk("GET", "/v2/keys/a?wait=true&waitIndex=2", "").await;
    let cleared = r#"{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [3/2]","index":4}"#;
    assert_eq!((answer.status, answer.body.trim()), (400, cleared));
    let answer = client.talk("GET", "/v2/keys/a?wait=true&waitIndex=2&stream=true", "").await;
    assert_eq!(answer.body.trim(), cleared);
    assert!(client.talk("GET", "/v2/keys/a?wait=true&waitIndex=3", "").await.body.contains(":3,"));
}

#[actix_rt::test]
async fn a_future_index_skips_what_comes_before() {
    let member = Member::start(Sizes::default()).await;
    let mut watcher = Client::connect(member.clients).await;
    watcher.ask("GET", "/v2/keys/?wait=true&recursive=true&waitIndex=4", "").await;
    watcher.head().await;
    let mut writer = Client::connect(member.clients).await;
    for value in ["1", "2", "3"] {
        writer.talk("PUT", "/v2/keys/a", &format!("value={value}")).await;
    }
    let event = watcher.chunk().await.expect("an event");
    assert!(event.contains(r#""value":"3","modifiedIndex":4"#), "{event}");
}

#[actix_rt::test]
async fn a_client_that_hangs_up_frees_what_it_held() {
    let member = Member::start(Sizes::default()).await;
    let mut watchers = Vec::new();
    for path in ["/v2/keys/a?wait=true", "/v2/keys/a?wait=true&stream=true"] {
        let mut watcher = Client::connect(member.clients).await;
        watcher.ask("GET", path, "").await;
        watcher.head().await;
        watchers.push(watcher);
    }
    member.watchers(2).await;
    drop(watchers);
    member.watchers(0).await;
}

/// The answer of the Store and the end of the client cross: whoever comes first, nothing stays.
#[actix_rt::test]
async fn a_client_that_is_gone_before_the_head_leaves_nothing() {
    let member = Member::start(Sizes::default()).await;
    for at in 0..200 {
        let path = ["/v2/keys/a?wait=true", "/v2/keys/a?wait=true&stream=true"][at % 2];
        let mut watcher = Client::connect(member.clients).await;
        watcher.ask("GET", path, "").await;
    }
    // All of them were served when one that came later is.
    let mut last = Client::connect(member.clients).await;
    last.talk("GET", "/v2/keys", "").await;
    member.watchers(0).await;
}

#[actix_rt::test]
async fn a_stream_goes_on_from_history_when_its_client_is_slow() {
    const WRITES: usize = 300;
    let sizes = Sizes { watch_capacity: 2, ..Sizes::default() };
    let member = Member::start(sizes).await;
    let mut writer = Client::connect(member.clients).await;
    writer.talk("PUT", "/v2/keys/s", "value=0").await;
    let mut watcher = Client::connect(member.clients).await;
    watcher.ask("GET", "/v2/keys/s?wait=true&stream=true&waitIndex=1", "").await;
    watcher.head().await;
    // More than the sockets between them hold, and than the channel does.
    let filler = "x".repeat(40_000);
    for at in 1..WRITES {
        let form = format!("value={at}.{filler}");
        assert_eq!(writer.talk("PUT", "/v2/keys/s", &form).await.status, 200);
    }
    for at in 0..WRITES {
        let event = watcher.chunk().await.expect("an event");
        let expected = format!(r#"{{"action":"set","node":{{"key":"/s","value":"{at}"#);
        assert!(event.starts_with(&expected), "{at}: {}", &event[..60]);
        assert!(event.ends_with("}\n"));
    }
    writer.talk("PUT", "/v2/keys/s", "value=last").await;
    assert!(watcher.chunk().await.expect("an event").contains(r#""value":"last""#));
}

#[actix_rt::test]
async fn a_drain_ends_parked_watches_with_an_empty_body() {
    let member = Member::start(Sizes::default()).await;
    let mut poll = Client::connect(member.clients).await;
    poll.ask("GET", "/v2/keys/a?wait=true", "").await;
    poll.head().await;
    let mut stream = Client::connect(member.clients).await;
    stream.ask("GET", "/v2/keys/a?wait=true&stream=true", "").await;
    stream.head().await;
    let mut idle = Client::connect(member.clients).await;
    idle.talk("GET", "/v2/keys", "").await;
    member.watchers(2).await;
    member.drain().await;
    assert_eq!(poll.chunk().await, None);
    assert_eq!(stream.chunk().await, None);
    assert!(poll.is_closed().await && stream.is_closed().await && idle.is_closed().await);
    member.watchers(0).await;
}
