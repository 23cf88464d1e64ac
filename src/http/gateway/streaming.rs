//! An RPC with many answers: a line of JSON for each, as a chunk of its own. The body of the request is
//! read meanwhile where the client sends many messages, too.
//!
//! A stream ends when the service ends it, when its client leaves (the body is dropped then, and with it
//! all that the service holds for it), when its time is over, when the member shuts down, or, where the
//! client asked for it, when the leader is lost.

use std::{pin::Pin, sync::Arc, time::Duration};

use actix_http::{Payload, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    LATE,
    codec::{Json, NOT_WRITTEN},
    error, message_bytes_max,
    objects::Objects,
    refuse_without_leader, whole_body,
};
use crate::http::{
    Doors,
    answer::{self, Answer, DoorBody},
    grpc::{figures::CountedCall, methods::Method},
    v3::{
        Answers, Caller, Requests, Services,
        error::{NO_LEADER, RpcError, STOPPED},
        methods::Streaming,
    },
};

/// What is refused so soon is refused by the status; later it is the last line.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// A call, but for its messages.
pub struct Call {
    /// Of what.
    pub rpc: Streaming,
    /// By whom.
    pub caller: Caller,
    /// When the client gives up, if it says so.
    pub deadline: Option<Instant>,
    /// The call as it is counted.
    pub counted: CountedCall,
}

/// Calls it, and answers as its answers come.
pub async fn answer(
    doors: Arc<Doors>,
    mut call: Call,
    payload: Payload,
    declared: Option<u64>,
) -> Result<Answer, RpcError> {
    let begun = begin(&doors, &call, payload, declared);
    let begun = match call.deadline {
        None => begun.await,
        Some(deadline) => tokio::time::timeout_at(deadline, begun).await.unwrap_or(Err(LATE)),
    };
    let (first, answers) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            call.counted.end(Some(error.code));
            return Err(error);
        }
    };
    let ended = Box::pin(ended(doors, call.caller.has_leader, call.deadline));
    let lines = Lines { first, answers: Some(answers), ended, counted: call.counted };
    let body = stream::unfold(lines, async |mut lines| Some((lines.next().await?, lines)));
    let body = DoorBody::Stream(Box::pin(body));
    Ok(answer::with_body(StatusCode::OK, "application/json", body))
}

/// The answers, and the first of them if it came soon: empty, if there is none at all.
async fn begin(
    doors: &Arc<Doors>,
    Call { rpc, caller, .. }: &Call,
    payload: Payload,
    declared: Option<u64>,
) -> Result<(Option<Bytes>, Answers<Bytes>), RpcError> {
    refuse_without_leader(doors, caller)?;
    let requests: Requests<Bytes> = if rpc.takes_stream() {
        Box::pin(Objects::new(payload, message_bytes_max(doors)))
    } else {
        let request = whole_body(doors, payload, declared).await;
        Box::pin(stream::iter([request]))
    };
    let services = Services::new(Arc::clone(doors));
    let figures = Arc::clone(&doors.grpc);
    let method = Method::Streaming(*rpc);
    let requests = requests.inspect(move |_| figures.received(method, 0)); // bytes are gRPC's
    let mut answers = rpc.call(&services, caller, Json::Lines, Box::pin(requests)).await?;
    let first = match tokio::time::timeout(FIRST_WAIT, answers.next()).await {
        Err(_) => None,
        Ok(None) => Some(Bytes::new()),
        Ok(Some(answer)) => Some(written(answer)?),
    };
    Ok((first, answers))
}

struct Lines {
    /// The answer that was waited for; empty: there is none at all.
    first: Option<Bytes>,
    /// None after the last line.
    answers: Option<Answers<Bytes>>,
    ended: Pin<Box<dyn Future<Output = RpcError>>>,
    counted: CountedCall,
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        let line = match self.first.take() {
            Some(line) if line.is_empty() => None,
            Some(line) => Some(Ok(line)),
            None => self.further().await,
        };
        match line {
            Some(Ok(line)) => {
                self.counted.sent(1, 0);
                Some(line)
            }
            Some(Err(error)) => {
                self.answers = None;
                self.counted.end(Some(error.code));
                Some(error::line(&error))
            }
            None => {
                self.counted.end(None); // but not a second time
                None
            }
        }
    }

    async fn further(&mut self) -> Option<Result<Bytes, RpcError>> {
        let answers = self.answers.as_mut()?;
        tokio::select! {
            biased; // a service that always has something to say must not outlive its end
            end = &mut self.ended => Some(Err(end)),
            answer = answers.next() => answer.map(written),
        }
    }
}

fn written(answer: Result<Bytes, RpcError>) -> Result<Bytes, RpcError> {
    answer.and_then(|line| if line.is_empty() { Err(NOT_WRITTEN) } else { Ok(line) })
}

/// What ends a stream from outside.
async fn ended(doors: Arc<Doors>, needs_leader: bool, deadline: Option<Instant>) -> RpcError {
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = doors.drain.given() => STOPPED,
        () = doors.leader_lost(), if needs_leader => NO_LEADER,
        () = late => LATE,
    }
}
