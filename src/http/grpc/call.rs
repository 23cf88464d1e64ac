//! One request on an HTTP/2 connection: which RPC it calls, and for one with one answer, its way from the
//! message to the trailers.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::Request;
use tokio::time::{Sleep, sleep};

use super::{
    GrpcDoor,
    codec::{self, Proto},
    figures::ClientFigures,
    health,
    incoming::Incoming,
    metadata::Metadata,
    methods::{Method, is_service, split},
    reply::{Gone, Reply},
    streaming,
};
use crate::http::{
    auth::certificate::Client,
    v3::error::{Code, NO_LEADER, RpcError},
};

/// The client's time is over.
pub(super) const DEADLINE_EXCEEDED: RpcError =
    RpcError::new(Code::DeadlineExceeded, "context deadline exceeded");

/// Answers a request that means gRPC.
pub async fn answer(
    door: Rc<GrpcDoor>,
    from: Client,
    client: Arc<ClientFigures>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let mut reply = Reply::new(respond, door.doors.settings.stalled_timeout);
    // A client that is gone need not know how it ends.
    let metadata = match Metadata::read(&head, from) {
        Ok(metadata) => metadata,
        Err(no_call) => {
            _ = reply.refuse_call(&no_call);
            return;
        }
    };
    let path = head.uri.path();
    let Some(method) = Method::of(path) else {
        _ = reply.refuse(&unknown_method(path));
        return;
    };
    drop(head); // a long call keeps what it needs
    reply.count(&door.doors.grpc, method);
    client.count(method);
    drop(client);
    let incoming = Incoming::new(&door, method, body, metadata.encoding);
    _ = match method {
        Method::Unary(_) | Method::HealthCheck => {
            answer_unary(&door, method, &metadata, incoming, reply).await
        }
        Method::Streaming(_) | Method::HealthWatch | Method::Reflection => {
            streaming::answer(&door, method, &metadata, incoming, reply).await
        }
    };
}

async fn answer_unary(
    door: &GrpcDoor,
    method: Method,
    metadata: &Metadata,
    mut incoming: Incoming,
    mut reply: Reply,
) -> Result<(), Gone> {
    let mut deadline = pin!(metadata.timeout.map(sleep));
    let answered = {
        let mut work = pin!(async {
            let request = poll_fn(|cx| incoming.poll_only(cx)).await?;
            if metadata.caller.has_leader && door.doors.has_no_leader() {
                return Err(NO_LEADER);
            }
            let Method::Unary(rpc) = method else { return health::check(&door.doors, request) };
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
            reply.send(frame, 1, late).await?;
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
    let text = match split(path) {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if is_service(service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    };
    RpcError::with_text(Code::Unimplemented, text)
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
