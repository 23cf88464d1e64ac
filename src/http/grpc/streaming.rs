//! An RPC with a stream of answers. It ends when the service ends it, when the client hangs up or its
//! time is over, when the member shuts down, or, where the client asked for it, when the leader is lost.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};

use super::{
    GrpcDoor,
    call::DEADLINE_EXCEEDED,
    codec::{self, Proto},
    health,
    incoming::Incoming,
    metadata::Metadata,
    methods::Method,
    reflection,
    reply::{Gone, Reply},
};
use crate::http::v3::{
    Answers,
    error::{NO_LEADER, RpcError, STOPPED},
};

/// So many election timeouts in a row without a leader are too many.
const LOOKS_MAX: u32 = 3;

/// Why a stream ends before its service ends it.
enum End {
    Gone,
    Error(RpcError),
}

impl From<Gone> for End {
    fn from(_: Gone) -> End {
        End::Gone
    }
}

/// Answers a call.
pub(super) async fn answer(
    door: &GrpcDoor,
    method: Method,
    metadata: &Metadata,
    incoming: Incoming,
    mut reply: Reply<'_>,
) -> Result<(), Gone> {
    if metadata.caller.has_leader && door.has_no_leader() {
        return reply.refuse(&NO_LEADER);
    }
    let mut ends = Ends::new(door, metadata);
    match carry(door, method, metadata, incoming, &mut reply, &mut ends).await {
        Ok(()) => reply.finish(),
        Err(End::Error(error)) => reply.refuse(&error),
        Err(End::Gone) => Err(Gone),
    }
}

async fn carry(
    door: &GrpcDoor,
    method: Method,
    metadata: &Metadata,
    incoming: Incoming,
    reply: &mut Reply<'_>,
    ends: &mut Ends<'_>,
) -> Result<(), End> {
    let mut answers = {
        let mut calling = pin!(call(door, method, metadata, incoming));
        poll_fn(|cx| match calling.as_mut().poll(cx) {
            Poll::Ready(answers) => Poll::Ready(answers.map_err(End::Error)),
            Poll::Pending => poll_end(reply, ends, cx).map(Err),
        })
        .await?
    };
    loop {
        let answer = poll_fn(|cx| {
            // The end first: a service that always has something to say must not outlive it.
            if let Poll::Ready(end) = poll_end(reply, ends, cx) {
                return Poll::Ready(Some(Err(end)));
            }
            let answer = answers.as_mut().poll_next(cx);
            answer.map(|answer| answer.map(|answer| answer.map_err(End::Error)))
        })
        .await;
        match answer {
            None => return Ok(()),
            Some(Err(end)) => return Err(end),
            Some(Ok(frame)) if frame.is_empty() => return Err(End::Error(codec::too_long())),
            Some(Ok(frame)) => reply.send(frame, |cx| ends.poll(cx).map(End::Error)).await?,
        }
    }
}

async fn call(
    door: &GrpcDoor,
    method: Method,
    metadata: &Metadata,
    mut incoming: Incoming,
) -> Result<Answers<Bytes>, RpcError> {
    match method {
        Method::Streaming(rpc) => {
            let codec = Proto { streamed: method.takes_stream() };
            rpc.call(&door.services, &metadata.caller, codec, Box::pin(incoming)).await
        }
        Method::HealthWatch => {
            let request = poll_fn(|cx| incoming.poll_only(cx)).await?;
            health::watch(&door.doors, request)
        }
        Method::Reflection => Ok(reflection::answer(Box::pin(incoming))),
        Method::Unary(_) | Method::HealthCheck => unreachable!("it has one answer"),
    }
}

fn poll_end(reply: &mut Reply<'_>, ends: &mut Ends<'_>, cx: &mut Context<'_>) -> Poll<End> {
    if let Poll::Ready(gone) = reply.poll_gone(cx) {
        return Poll::Ready(gone.into());
    }
    ends.poll(cx).map(End::Error)
}

/// What ends a stream from outside.
pub(super) struct Ends<'a> {
    door: &'a GrpcDoor,
    drained: Pin<Box<dyn Future<Output = ()>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Ticks while the client wants to know of a lost leader, and how many saw none.
    leader: Option<(Interval, u32)>,
}

impl<'a> Ends<'a> {
    pub(super) fn new(door: &'a GrpcDoor, metadata: &Metadata) -> Ends<'a> {
        let doors = Arc::clone(&door.doors);
        let period = door.doors.settings.election_timeout.max(Duration::from_millis(1));
        let leader = metadata.caller.has_leader.then(|| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (ticks, 0)
        });
        Ends {
            door,
            drained: Box::pin(async move { doors.drain.given().await }),
            deadline: metadata.timeout.map(|timeout| Box::pin(sleep(timeout))),
            leader,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RpcError> {
        if self.drained.as_mut().poll(cx).is_ready() {
            return Poll::Ready(STOPPED);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(DEADLINE_EXCEEDED);
        }
        if let Some((ticks, without)) = &mut self.leader {
            while ticks.poll_tick(cx).is_ready() {
                *without = if self.door.has_no_leader() { *without + 1 } else { 0 };
                if *without >= LOOKS_MAX {
                    return Poll::Ready(NO_LEADER);
                }
            }
        }
        Poll::Pending
    }
}
