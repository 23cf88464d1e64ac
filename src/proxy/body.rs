//! The body of an answer as the client gets it: whole, piece by piece from an endpoint, or the event of
//! a watch that is shared.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::{
    share::Parked,
    upstream::{Broken, ReplyBody},
};

/// Ends when the proxy shuts down.
pub type Drained = Pin<Box<dyn Future<Output = ()>>>;

/// See the head of the module.
pub enum ProxyBody {
    /// All there is.
    Whole(Bytes),
    /// From an endpoint, as it comes. With `drained` it is a watch: its end may be brought forward.
    Passing {
        /// What comes.
        reply: ReplyBody,
        /// How long it is, as far as that is known.
        size: BodySize,
        /// When to end a watch.
        drained: Option<Drained>,
    },
    /// The event of a shared watch, when it has happened.
    Shared {
        /// What comes.
        parked: Parked,
        /// When to end it without.
        drained: Drained,
    },
}

impl MessageBody for ProxyBody {
    type Error = Broken;

    fn size(&self) -> BodySize {
        match self {
            ProxyBody::Whole(bytes) => BodySize::Sized(bytes.len() as u64),
            ProxyBody::Passing { size, .. } => *size,
            ProxyBody::Shared { .. } => BodySize::Stream,
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        match &mut *self {
            ProxyBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            ProxyBody::Whole(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            ProxyBody::Passing { reply, drained, .. } => {
                if let Poll::Ready(piece) = reply.poll_piece(cx) {
                    return Poll::Ready(piece);
                }
                match drained {
                    Some(drained) => drained.as_mut().poll(cx).map(|()| None),
                    None => Poll::Pending,
                }
            }
            ProxyBody::Shared { parked, drained } => {
                if let Poll::Ready(event) = parked.poll_event(cx) {
                    *self = ProxyBody::Whole(Bytes::new()); // one event is all there is
                    return Poll::Ready(Some(event));
                }
                drained.as_mut().poll(cx).map(|()| None)
            }
        }
    }
}
