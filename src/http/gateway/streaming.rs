//! An RPC with many answers: a line of JSON for each, as a chunk of its own. The body of the request is
//! read meanwhile where the client sends many messages, too.
//!
//! A stream ends when the service ends it, when its client leaves (the body is dropped then, and with it
//! all that the service holds for it), when the member shuts down, or, where the client asked for it, when
//! the leader is lost.

use std::{pin::Pin, sync::Arc, time::Duration};

use actix_http::{Payload, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::{
    codec::{Json, NOT_WRITTEN},
    error, message_bytes_max,
    objects::Objects,
    refuse_without_leader, whole_body,
};
use crate::http::{
    Doors,
    answer::{self, Answer, DoorBody},
    v3::{
        Answers, Caller, Requests, Services,
        error::{NO_LEADER, RpcError, STOPPED},
        methods::Streaming,
    },
};

/// What is refused so soon is refused by the status; later it is the last line.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Calls it, and answers as its answers come.
pub async fn call(
    doors: Arc<Doors>,
    rpc: Streaming,
    caller: &Caller,
    payload: Payload,
    declared: Option<u64>,
) -> Result<Answer, RpcError> {
    refuse_without_leader(&doors, caller)?;
    let requests: Requests<Bytes> = if rpc.takes_stream() {
        Box::pin(Objects::new(payload, message_bytes_max(&doors)))
    } else {
        let request = whole_body(&doors, payload, declared).await;
        Box::pin(stream::iter([request]))
    };
    let services = Services::new(Arc::clone(&doors));
    let mut answers = rpc.call(&services, caller, Json::Lines, requests).await?;
    let first = match tokio::time::timeout(FIRST_WAIT, answers.next()).await {
        Err(_) => None,
        Ok(None) => Some(Bytes::new()),
        Ok(Some(answer)) => Some(written(answer)?),
    };
    let ended = Box::pin(ended(doors, caller.has_leader));
    let lines = Lines { first, answers: Some(answers), ended };
    let body = stream::unfold(lines, async |mut lines| Some((lines.next().await?, lines)));
    let body = DoorBody::Stream(Box::pin(body));
    Ok(answer::with_body(StatusCode::OK, "application/json", body))
}

struct Lines {
    /// The answer that was waited for; empty: there is none at all.
    first: Option<Bytes>,
    /// None after the last line.
    answers: Option<Answers<Bytes>>,
    ended: Pin<Box<dyn Future<Output = RpcError>>>,
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(line) = self.first.take() {
            return Some(line).filter(|line| !line.is_empty());
        }
        let answers = self.answers.as_mut()?;
        let answer = tokio::select! {
            biased; // a service that always has something to say must not outlive its end
            end = &mut self.ended => Err(end),
            answer = answers.next() => answer?,
        };
        match written(answer) {
            Ok(line) => Some(line),
            Err(error) => {
                self.answers = None;
                Some(error::line(&error))
            }
        }
    }
}

fn written(answer: Result<Bytes, RpcError>) -> Result<Bytes, RpcError> {
    answer.and_then(|line| if line.is_empty() { Err(NOT_WRITTEN) } else { Ok(line) })
}

/// What ends a stream from outside.
async fn ended(doors: Arc<Doors>, needs_leader: bool) -> RpcError {
    tokio::select! {
        () = doors.drain.given() => STOPPED,
        () = doors.leader_lost(), if needs_leader => NO_LEADER,
    }
}
