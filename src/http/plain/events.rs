//! Changes: the next one (a long poll), or one after the other as server-sent events, which browsers read
//! with `EventSource`. Both begin after a revision that the client knows, or now.
//!
//! The id of an event is its revision, and is told with the last event of it: a client that comes again
//! with `Last-Event-ID` sees every change at least once.

use std::{pin::Pin, sync::Arc, time::Duration};

use actix_http::{
    StatusCode,
    header::{self, HeaderValue},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use prost::Message;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Asked, Refused, listing::push_key_value};
use crate::http::{
    answer::{self, Answer, DoorBody},
    json,
    v3::{
        Answers,
        error::{
            AUTH_OLD_REVISION, COMPACTED, Code, INVALID_AUTH_TOKEN, PERMISSION_DENIED, RpcError,
            STOPPED, USER_EMPTY,
        },
        pb::{
            KeyValue,
            etcdserverpb::{
                WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
            },
        },
    },
};

/// A comment that is sent so often keeps proxies patient, and finds clients that are gone.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

impl Asked {
    /// The changes of the next revision that has some, then the end:
    /// `{"revision":…,"events":[{"type":"put",…}]}`.
    pub(super) async fn wait(self) -> Result<Answer, Refused> {
        self.params.only(&["prefix", "wait", "since"])?;
        self.refuse_conditions()?;
        let since = self.params.since;
        let mut answers = self.watch(since, false)?;
        let doors = Arc::clone(&self.doors);
        let events = tokio::select! {
            events = next_events(&mut answers) => events?,
            () = doors.drain.given() => return Err(STOPPED.into()),
        };
        let revision = events.first().map_or(0, Change::revision);
        let mut body = br#"{"revision":"#.to_vec();
        json::push_i64(&mut body, revision);
        body.extend_from_slice(br#","events":["#);
        for (at, event) in events.iter().enumerate() {
            if event.revision() != revision {
                break; // more of history than one revision: asked for next
            }
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(br#"{"type":""#);
            body.extend_from_slice(event.name().as_bytes());
            body.extend_from_slice(b"\",");
            event.push(&mut body);
            body.push(b'}');
        }
        body.extend_from_slice(b"]}\n");
        Ok(answer::json(StatusCode::OK, body))
    }

    /// All changes from there on; with `list` all that is there comes before, then an event `synced`.
    pub(super) async fn events(self) -> Result<Answer, Refused> {
        self.params.only(&["prefix", "wait", "since", "list"])?;
        self.refuse_conditions()?;
        let resumed = match &self.last_event_id {
            None => None,
            Some(id) => {
                let id = std::str::from_utf8(id).ok().and_then(|id| id.trim().parse().ok());
                let id = id.filter(|id: &i64| *id >= 0);
                Some(id.ok_or_else(|| Refused::bad("Last-Event-ID is no revision"))?)
            }
        };
        let since = resumed.or(self.params.since);
        let list = self.params.list && resumed.is_none();
        if list && since.is_some() {
            return Err(Refused::bad("list and since exclude each other"));
        }
        let compacted = self.doors.published.state.load().compacted.0 as i64;
        if since.is_some_and(|since| since.saturating_add(1) < compacted) {
            return Err(COMPACTED.into());
        }
        let mut answers = self.watch(since, list)?;
        let created = tokio::select! {
            created = next(&mut answers) => created?,
            () = self.doors.drain.given() => return Err(STOPPED.into()),
        };
        let mut comments = interval(COMMENT_INTERVAL);
        comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
        comments.reset();
        let doors = Arc::clone(&self.doors);
        let drained = Box::pin(async move { doors.drain.given().await });
        let feed = Feed { answers: Some(answers), first: Some(created), comments, drained, list };
        let body = stream::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
        let body = DoorBody::Stream(Box::pin(body));
        let mut answer = answer::with_body(StatusCode::OK, "text/event-stream", body);
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(answer)
    }

    fn watch(&self, since: Option<i64>, list: bool) -> Result<Answers<WatchResponse>, Refused> {
        let (key, range_end) = self.range();
        let create = WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            start_revision: since.map_or(0, |since| since.saturating_add(1)),
            send_initial: list,
            ..WatchCreateRequest::default()
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = stream::iter([Ok(create)]).chain(stream::pending());
        Ok(self.services.watch(&self.caller, Box::pin(requests))?)
    }
}

/// The next answer of a watch; its end is an error.
async fn next(answers: &mut Answers<WatchResponse>) -> Result<WatchResponse, RpcError> {
    let answer = answers.next().await.ok_or(STOPPED)??;
    if !answer.canceled {
        return Ok(answer);
    }
    if answer.compact_revision > 0 {
        return Err(COMPACTED);
    }
    // A refusal comes as text: "rpc error: code = PermissionDenied desc = …".
    let reason = answer.cancel_reason;
    let known = [PERMISSION_DENIED, USER_EMPTY, INVALID_AUTH_TOKEN, AUTH_OLD_REVISION];
    let known = known.into_iter().find(|error| reason.ends_with(&*error.message));
    Err(known.unwrap_or_else(|| RpcError::with_text(Code::Unknown, reason)))
}

async fn next_events(answers: &mut Answers<WatchResponse>) -> Result<Vec<Change>, RpcError> {
    loop {
        let answer = next(answers).await?;
        if !answer.events.is_empty() {
            return Ok(answer.events.iter().map(Change::of).collect());
        }
    }
}

/// A stream's place.
struct Feed {
    /// None after the end.
    answers: Option<Answers<WatchResponse>>,
    /// The answer that was waited for.
    first: Option<WatchResponse>,
    comments: Interval,
    drained: Pin<Box<dyn Future<Output = ()>>>,
    /// What is there is being listed.
    list: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let answer = if let Some(first) = self.first.take() {
                Ok(first)
            } else {
                let answers = self.answers.as_mut()?;
                tokio::select! {
                    biased;
                    () = &mut self.drained => return None,
                    answer = next(answers) => answer,
                    _ = self.comments.tick() => return Some(Bytes::from_static(b":\n\n")),
                }
            };
            match answer {
                Ok(answer) => {
                    let text = self.text(&answer);
                    if !text.is_empty() {
                        return Some(Bytes::from(text));
                    }
                }
                Err(error) => {
                    self.answers = None;
                    if error == STOPPED {
                        return None; // the client comes again, here or elsewhere
                    }
                    let mut text = b"event: error\ndata: {\"message\":".to_vec();
                    json::push_string(&mut text, error.message.as_bytes());
                    text.extend_from_slice(b"}\n\n");
                    return Some(Bytes::from(text));
                }
            }
        }
    }

    fn text(&mut self, answer: &WatchResponse) -> Vec<u8> {
        let mut text = Vec::new();
        if answer.created {
            text.extend_from_slice(b":\n\n"); // so that the head is on its way
        }
        let events: Vec<Change> = answer.events.iter().map(Change::of).collect();
        for (at, event) in events.iter().enumerate() {
            let revision = event.revision();
            text.extend_from_slice(format!("event: {}\n", event.name()).as_bytes());
            let is_last = events.get(at + 1).is_none_or(|next| next.revision() != revision);
            if is_last && !self.list {
                text.extend_from_slice(format!("id: {revision}\n").as_bytes());
            }
            text.extend_from_slice(b"data: {");
            event.push(&mut text);
            text.extend_from_slice(b"}\n\n");
        }
        if answer.initial_done {
            self.list = false;
            let revision = answer.header.as_ref().map_or(0, |header| header.revision);
            let synced =
                format!("event: synced\nid: {revision}\ndata: {{\"revision\":{revision}}}\n\n");
            text.extend_from_slice(synced.as_bytes());
        }
        text
    }
}

/// What happened to a key: an event of a watch, but for what was there before.
#[derive(Clone, PartialEq, prost::Message)]
struct Change {
    /// 0: it was put; 1: it was deleted.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    kv: Option<KeyValue>,
}

impl Change {
    /// An event may be encoded already, for all who watch the key: it is read again here.
    fn of(event: &impl Message) -> Change {
        Change::decode(&event.encode_to_vec()[..]).unwrap_or_default()
    }

    fn revision(&self) -> i64 {
        self.kv.as_ref().map_or(0, |kv| kv.fields().mod_revision)
    }

    fn name(&self) -> &'static str {
        if self.kind == 0 { "put" } else { "delete" }
    }

    /// The inside of its JSON object.
    fn push(&self, out: &mut Vec<u8>) {
        if let Some(kv) = &self.kv {
            push_key_value(out, &kv.fields(), self.kind == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::v3::pb::{Loose, etcdserverpb::ResponseHeader};

    fn feed(list: bool) -> Feed {
        Feed {
            answers: None,
            first: None,
            comments: interval(COMMENT_INTERVAL),
            drained: Box::pin(std::future::pending()),
            list,
        }
    }

    fn event<M: Message + Default>(kind: i32, key: &'static str, revision: i64) -> M {
        let kv = Loose { key: key.into(), mod_revision: revision, ..Loose::default() };
        let change = Change { kind, kv: Some(KeyValue::Loose(Box::new(kv))) };
        M::decode(&change.encode_to_vec()[..]).expect("the same fields")
    }

    #[actix::test]
    async fn an_id_comes_with_the_last_event_of_its_revision() {
        let answer = WatchResponse {
            events: vec![event(0, "/a", 2), event(1, "/b", 2), event(0, "/c", 3)],
            ..WatchResponse::default()
        };
        let put = "event: put\ndata: {\"key\":\"/a\",\"mod_revision\":2,\"value\":\"\"}\n\n";
        let delete = "event: delete\nid: 2\ndata: {\"key\":\"/b\",\"mod_revision\":2}\n\n";
        let last =
            "event: put\nid: 3\ndata: {\"key\":\"/c\",\"mod_revision\":3,\"value\":\"\"}\n\n";
        let text = feed(false).text(&answer);
        assert_eq!(String::from_utf8_lossy(&text), format!("{put}{delete}{last}"));
    }

    #[actix::test]
    async fn what_is_listed_has_no_id_until_all_of_it_is_there() {
        let mut feed = feed(true);
        let listed = WatchResponse {
            events: vec![event(0, "/a", 9), event(0, "/b", 4)],
            ..WatchResponse::default()
        };
        assert!(!String::from_utf8_lossy(&feed.text(&listed)).contains("id:"));
        let header = ResponseHeader { revision: 9, ..ResponseHeader::default() };
        let done =
            WatchResponse { header: Some(header), initial_done: true, ..WatchResponse::default() };
        let synced = "event: synced\nid: 9\ndata: {\"revision\":9}\n\n";
        assert_eq!(String::from_utf8_lossy(&feed.text(&done)), synced);
        let later = WatchResponse { events: vec![event(0, "/a", 10)], ..WatchResponse::default() };
        assert!(String::from_utf8_lossy(&feed.text(&later)).contains("id: 10\n"));
    }
}
