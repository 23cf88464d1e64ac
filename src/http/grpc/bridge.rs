//! Requests over HTTP/2 that are not gRPC: they are answered by the handlers of HTTP/1.1, which do not
//! notice. Bodies flow both ways as the other side reads them; what only HTTP/1.1 knows is left out.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{
    BoxedPayloadStream, HttpMessage as _, Payload, Request as Http1Request,
    body::{BodySize, MessageBody as _},
    error::PayloadError,
    header as http1,
};
use actix_web::dev::Service as _;
use bytes::Bytes;
use futures_util::Stream;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts,
};

use super::{
    GrpcDoor,
    reply::{Gone, send_all},
};
use crate::{
    clock::wall_clock,
    http::{
        answer::{self, Answer},
        auth::certificate::Client,
        framing,
    },
};

/// What is said of a connection, and not of a request or an answer.
const OF_CONNECTIONS: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// Answers a request that is not gRPC.
pub async fn answer(
    door: Rc<GrpcDoor>,
    from: Client,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let answer = match http1_request(&head, body, from) {
        None => answer::error_text(actix_http::StatusCode::BAD_REQUEST, "400 Bad Request\n"),
        Some(request) => {
            drop(head);
            let mut answering = pin!(door.http.call(request));
            let answered = poll_fn(|cx| {
                if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                    return Poll::Ready(Some(answer));
                }
                respond.poll_reset(cx).map(|_| None)
            });
            match answered.await {
                Some(Ok::<_, Infallible>(answer)) => answer,
                None => return, // nobody waits for it
            }
        }
    };
    let patience = door.doors.settings.stalled_timeout;
    _ = send(answer, is_head, patience, &mut respond).await; // a client that is gone need not know
}

/// The same request, as HTTP/1.1's handlers take it; none if it has no target.
fn http1_request(head: &Parts, body: RecvStream, from: Client) -> Option<Http1Request> {
    let target = framing::escape(head.uri.path_and_query()?.as_str().as_bytes());
    let payload = if body.is_end_stream() {
        Payload::None
    } else {
        Payload::Stream { payload: Box::pin(Body(body)) as BoxedPayloadStream }
    };
    let mut request = Http1Request::with_payload(payload);
    if let Some(certificate) = from.certificate {
        request.extensions_mut().insert(certificate);
    }
    let out = request.head_mut();
    out.method = actix_http::Method::from_bytes(head.method.as_str().as_bytes()).ok()?;
    out.uri = actix_http::Uri::try_from(&*target).ok()?;
    out.version = actix_http::Version::HTTP_2;
    out.peer_addr = from.address;
    for (name, value) in &head.headers {
        if let (false, Ok(name), Ok(value)) = (
            OF_CONNECTIONS.contains(&name.as_str()),
            http1::HeaderName::from_bytes(name.as_ref()),
            http1::HeaderValue::from_bytes(value.as_bytes()),
        ) {
            out.headers.append(name, value);
        }
    }
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = http1::HeaderValue::from_str(authority.as_str())
    {
        out.headers.insert(http1::HOST, host); // it stands above the header of that name
    }
    Some(request)
}

/// A body, read as it is asked for.
struct Body(RecvStream);

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_data(cx).map(|piece| {
            let piece = piece?.map_err(|_| PayloadError::Incomplete(None));
            if let Ok(piece) = &piece {
                // Fails when the stream is reset, which the next look tells too.
                _ = self.0.flow_control().release_capacity(piece.len());
            }
            Some(piece)
        })
    }
}

async fn send(
    answer: Answer,
    is_head: bool,
    patience: Duration,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), Gone> {
    let (answer, body) = answer.into_parts();
    let mut body = pin!(body);
    let size = body.size();
    let nothing = is_head || size == BodySize::None || size == BodySize::Sized(0);
    let mut sending = respond.send_response(head(&answer, size), nothing)?;
    if nothing {
        return Ok(());
    }
    loop {
        let piece = poll_fn(|cx| {
            if let Poll::Ready(piece) = body.as_mut().poll_next(cx) {
                return Poll::Ready(Ok(piece));
            }
            sending.poll_reset(cx).map(|_| Err(Gone))
        });
        match piece.await? {
            Some(Ok(bytes)) => {
                send_all(&mut sending, bytes, patience, |_| Poll::<Gone>::Pending).await?;
            }
            Some(Err(_)) => {
                sending.send_reset(Reason::INTERNAL_ERROR);
                return Err(Gone);
            }
            None => return Ok(sending.send_data(Bytes::new(), true)?),
        }
    }
}

fn head(answer: &actix_http::Response<()>, size: BodySize) -> Response<()> {
    let mut head = Response::new(());
    let status = StatusCode::from_u16(answer.status().as_u16());
    *head.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = head.headers_mut();
    for (name, value) in answer.headers() {
        if let (false, Ok(name), Ok(value)) = (
            OF_CONNECTIONS.contains(&name.as_str()),
            HeaderName::from_bytes(name.as_ref()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.append(name, value);
        }
    }
    if let BodySize::Sized(bytes) = size {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    if let Some(date) = date() {
        headers.insert(header::DATE, date);
    }
    head
}

/// Now, as HTTP writes it.
fn date() -> Option<HeaderValue> {
    let now = jiff::Timestamp::from_nanosecond(wall_clock().0.into()).ok()?;
    HeaderValue::from_str(&now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}
