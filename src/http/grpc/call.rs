//! One request on an HTTP/2 connection: which RPC it calls, and for one with one answer, its way from the
//! message to the trailers.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::Request;
use tokio::time::{Sleep, sleep};

use super::{
    GrpcDoor,
    codec::{self, Proto},
    incoming::Incoming,
    metadata::Metadata,
    reply::{Gone, Reply},
    streaming,
};
use crate::http::{
    route::Offer,
    v3::{
        error::{Code, NO_LEADER, RpcError},
        methods::{Streaming, Unary},
    },
};

/// The client's time is over.
pub(super) const DEADLINE_EXCEEDED: RpcError =
    RpcError::new(Code::DeadlineExceeded, "context deadline exceeded");

/// Answers a request that means gRPC.
pub async fn answer(
    door: Rc<GrpcDoor>,
    remote: Option<SocketAddr>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let reply = Reply::new(respond);
    let metadata = match Metadata::read(&head, remote) {
        Ok(metadata) => metadata,
        Err(no_call) => {
            _ = reply.refuse_call(&no_call); // a client that is gone need not know
            return;
        }
    };
    let path = head.uri.path();
    let (unary, streaming) = match door.offer {
        Offer::Everything => (Unary::of_grpc(path), Streaming::of_grpc(path)),
        Offer::Probes => (None, None),
    };
    let unknown = unary.is_none() && streaming.is_none();
    let refusal = unknown.then(|| unknown_method(path));
    drop(head); // a long call keeps what it needs
    let incoming = Incoming::new(body, metadata.encoding, door.message_bytes_max);
    _ = if let Some(rpc) = unary {
        answer_unary(&door, rpc, &metadata, incoming, reply).await
    } else if let Some(rpc) = streaming {
        streaming::answer(&door, rpc, metadata, incoming, reply).await
    } else {
        refusal.map_or(Ok(()), |error| reply.refuse(&error))
    };
}

async fn answer_unary(
    door: &GrpcDoor,
    rpc: Unary,
    metadata: &Metadata,
    mut incoming: Incoming,
    mut reply: Reply,
) -> Result<(), Gone> {
    let mut deadline = pin!(metadata.timeout.map(sleep));
    let answered = {
        let mut work = pin!(async {
            let request = poll_fn(|cx| incoming.poll_only(cx)).await?;
            if metadata.caller.has_leader && door.has_no_leader() {
                return Err(NO_LEADER);
            }
            rpc.call(&door.services, &metadata.caller, Proto { streamed: false }, request).await
        });
        poll_fn(|cx| {
            if let Poll::Ready(answered) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(answered));
            }
            if let Poll::Ready(gone) = reply.poll_gone(cx) {
                return Poll::Ready(Err(gone));
            }
            poll_deadline(deadline.as_mut(), cx).map(|()| Ok(Err(DEADLINE_EXCEEDED)))
        })
        .await?
    };
    match answered {
        Ok(frame) if frame.is_empty() => reply.refuse(&codec::too_long()),
        Ok(frame) => {
            // A client whose time is over does not read the rest.
            let late = |cx: &mut Context<'_>| poll_deadline(deadline.as_mut(), cx).map(|()| Gone);
            reply.send(frame, late).await?;
            reply.finish()
        }
        Err(error) => reply.refuse(&error),
    }
}

/// Ready when the client's time is over.
pub(super) fn poll_deadline(deadline: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    deadline.as_pin_mut().map_or(Poll::Pending, |sleep| sleep.poll(cx))
}

/// grpc-go's texts.
fn unknown_method(path: &str) -> RpcError {
    let text = match path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if is_service(service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    };
    RpcError::with_text(Code::Unimplemented, text)
}

fn is_service(name: &str) -> bool {
    let unary = Unary::ALL.iter().map(|(_, path, _)| *path);
    let streaming = Streaming::ALL.iter().map(|(_, path, _)| *path);
    unary.chain(streaming).any(|path| service_of(path) == name)
}

/// The service in a gRPC path.
pub(super) fn service_of(path: &str) -> &str {
    path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).map_or("", |(service, _)| service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_are_told_as_grpc_go_does() {
        for (path, text) in [
            ("/etcdserverpb.KV/Rang", "unknown method Rang for service etcdserverpb.KV"),
            ("/etcdserverpb.KW/Range", "unknown service etcdserverpb.KW"),
            ("/a/b/c", "unknown service a/b"),
            ("/", "malformed method name: \"/\""),
            ("/x", "malformed method name: \"/x\""),
        ] {
            assert_eq!(unknown_method(path).message, text, "{path}");
        }
    }
}
