//! An RPC with a stream of answers. It ends when the service ends it, when the client hangs up or its
//! time is over, when the member shuts down, or, where the client asked for it, when the leader is lost.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use tokio::time::{Sleep, sleep};

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
use crate::http::{
    Doors,
    v3::{
        Answers,
        error::{NO_LEADER, RpcError, STOPPED},
    },
};

/// Parcels that are sent before it is looked whether the stream is to end: a service that always has
/// something to say must not outlive that, and a look costs as much as a small message.
const BETWEEN_LOOKS: u32 = 16;
/// No message is added to a parcel of so many bytes: what a frame of HTTP/2 holds.
const PARCEL_BYTES: usize = 16 * 1024;

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
    mut reply: Reply,
) -> Result<(), Gone> {
    if metadata.caller.has_leader && door.doors.has_no_leader() {
        return reply.refuse(&NO_LEADER);
    }
    let mut ends = Ends::new(&door.doors, metadata);
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
    reply: &mut Reply,
    ends: &mut Ends,
) -> Result<(), End> {
    let mut answers = {
        let mut calling = pin!(call(door, method, metadata, incoming));
        poll_fn(|cx| match calling.as_mut().poll(cx) {
            Poll::Ready(answers) => Poll::Ready(answers.map_err(End::Error)),
            Poll::Pending => poll_end(reply, ends, cx).map(Err),
        })
        .await?
    };
    let mut parcels = 0_u32;
    loop {
        let parcel = poll_fn(|cx| {
            let mut end = Poll::Pending;
            if parcels.is_multiple_of(BETWEEN_LOOKS) {
                end = poll_end(reply, ends, cx);
            }
            if end.is_pending()
                && let Poll::Ready(parcel) = poll_parcel(&mut answers, cx)
            {
                return Poll::Ready(Ok(parcel));
            }
            if end.is_pending() {
                end = poll_end(reply, ends, cx); // there is nothing to send: the end may wake it
            }
            end.map(Err)
        })
        .await?;
        parcels += 1;
        if parcel.messages > 0 {
            let late = |cx: &mut Context<'_>| ends.poll(cx).map(End::Error);
            reply.send(parcel.bytes, parcel.messages, late).await?;
        }
        match parcel.end {
            None => {}
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => return Err(End::Error(error)),
        }
    }
}

/// Messages that are sent together.
struct Parcel {
    /// In their frames.
    bytes: Bytes,
    messages: usize,
    /// How the stream ends after them, if it does.
    end: Option<Result<(), RpcError>>,
}

/// What there is to send now: one message, or several small ones. The layers below have as much work with
/// a parcel as with a message.
fn poll_parcel(answers: &mut Answers<Bytes>, cx: &mut Context<'_>) -> Poll<Parcel> {
    let mut parcel = Parcel { bytes: Bytes::new(), messages: 0, end: None };
    let mut joined = BytesMut::new();
    loop {
        match answers.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(frame))) if frame.is_empty() => {
                parcel.end = Some(Err(codec::too_long()));
            }
            Poll::Ready(Some(Ok(frame))) => {
                parcel.messages += 1;
                let len = parcel.bytes.len() + joined.len() + frame.len();
                if parcel.messages == 1 {
                    parcel.bytes = frame;
                } else {
                    if joined.is_empty() {
                        joined.reserve(PARCEL_BYTES.max(len));
                        joined.extend_from_slice(&std::mem::take(&mut parcel.bytes));
                    }
                    joined.extend_from_slice(&frame);
                }
                if len < PARCEL_BYTES {
                    continue;
                }
            }
            Poll::Ready(Some(Err(error))) => parcel.end = Some(Err(error)),
            Poll::Ready(None) => parcel.end = Some(Ok(())),
            Poll::Pending if parcel.messages == 0 => return Poll::Pending,
            Poll::Pending => {}
        }
        if !joined.is_empty() {
            parcel.bytes = joined.freeze();
        }
        return Poll::Ready(parcel);
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

fn poll_end(reply: &mut Reply, ends: &mut Ends, cx: &mut Context<'_>) -> Poll<End> {
    if let Poll::Ready(gone) = reply.poll_gone(cx) {
        return Poll::Ready(gone.into());
    }
    ends.poll(cx).map(End::Error)
}

/// What ends a stream from outside.
struct Ends {
    drained: Pin<Box<dyn Future<Output = ()>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// For a client that wants to know of a lost leader.
    leader_lost: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Ends {
    fn new(doors: &Arc<Doors>, metadata: &Metadata) -> Ends {
        let (draining, led) = (Arc::clone(doors), Arc::clone(doors));
        let lost = async move { led.leader_lost().await };
        Ends {
            drained: Box::pin(async move { draining.drain.given().await }),
            deadline: metadata.timeout.map(|timeout| Box::pin(sleep(timeout))),
            leader_lost: metadata.caller.has_leader.then(|| Box::pin(lost) as _),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RpcError> {
        if self.drained.as_mut().poll(cx).is_ready() {
            return Poll::Ready(STOPPED);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(DEADLINE_EXCEEDED);
        }
        let lost = self.leader_lost.as_mut();
        lost.map_or(Poll::Pending, |lost| lost.as_mut().poll(cx).map(|()| NO_LEADER))
    }
}
