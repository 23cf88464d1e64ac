//! Accepts connections of the peer port and answers their requests. Everything runs on the thread that
//! calls [`serve`]; a connection costs nothing while it waits.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::{info, warn};

use super::{PeerAnswer, PeerDoors, pages, snapshot, stream, text};
use crate::{
    http::{
        accept::{Tls, accept},
        limits::connections::Admission,
        server::Listening,
        wire::Wire,
    },
    wire::{
        Hello, HelloError,
        hello::{PROOF, STREAM_PATH, UPGRADE},
    },
};

/// How long a connection may take for the head of a request, and may idle before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once, and those from one address; more are closed.
const CONNECTIONS_MAX: usize = 1024;
const PER_ADDRESS_MAX: usize = 512;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Serves a listener from now on, until the doors drain. Must be called inside a local task set.
pub fn serve(doors: &Arc<PeerDoors>, listening: Listening) -> io::Result<()> {
    let Listening { socket, tls } = listening;
    socket.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(socket)?;
    info!(address = %listener.local_addr()?, tls = tls.is_some(), "serving peers");
    let doors = Arc::clone(doors);
    actix::spawn(async move {
        tokio::select! {
            () = take_all(&listener, tls.as_ref(), &doors) => {}
            () = doors.drain.given() => {}
        }
    });
    Ok(())
}

async fn take_all(listener: &tokio::net::TcpListener, tls: Option<&Tls>, doors: &Arc<PeerDoors>) {
    /// Out of file descriptors, most likely: connections that end give some back.
    const PAUSE: Duration = Duration::from_millis(100);
    let admission = Admission::new(CONNECTIONS_MAX, Some(PER_ADDRESS_MAX), Arc::default());
    loop {
        match listener.accept().await {
            Ok((tcp, address)) => {
                let Some(admitted) = admission.admit(address.ip()) else { continue };
                let (doors, tls) = (Arc::clone(doors), tls.cloned());
                actix::spawn(async move {
                    _ = tcp.set_nodelay(true); // a connection without it works too
                    tokio::select! {
                        () = taken(tcp, tls, address, &doors) => {}
                        () = doors.drain.given() => {}
                    }
                    drop(admitted);
                });
            }
            Err(error) => {
                warn!(%error, "a peer's connection was not accepted; accepting pauses");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection from its handshake to its end. Nobody comes in who does not pass the first.
async fn taken(tcp: TcpStream, tls: Option<Tls>, address: SocketAddr, doors: &Arc<PeerDoors>) {
    match accept(tcp, tls.as_ref(), doors.origin).await {
        Ok(wire) => connection(wire, address, doors).await,
        Err(error) => doors.refusals.log(address, &error.to_string()),
    }
}

/// A connection from its first byte to its last, as HTTP and then, maybe, as a stream.
async fn connection(wire: Wire, address: SocketAddr, doors: &Arc<PeerDoors>) {
    // The service puts the taken handshake here; the stream goes on below, in this same task.
    let taken = std::cell::RefCell::new(None);
    let answer = async |request| Ok::<_, Infallible>(route(doors, address, request, &taken).await);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(wire), service_fn(&answer))
        .with_upgrades()
        .await;
    let Some((hello, upgrade)) = taken.take() else { return };
    let hello: Hello = hello;
    let upgrade: hyper::upgrade::OnUpgrade = upgrade;
    if served.is_err() {
        return; // it broke before the answer was out
    }
    let Ok(upgraded) = upgrade.await else { return };
    if let Ok(parts) = upgraded.downcast::<TokioIo<Wire>>() {
        stream::read(doors, hello.from, parts.io.into_inner(), parts.read_buf).await;
    }
}

async fn route(
    doors: &PeerDoors,
    address: SocketAddr,
    mut request: Request<Incoming>,
    taken: &std::cell::RefCell<Option<(Hello, hyper::upgrade::OnUpgrade)>>,
) -> PeerAnswer {
    if is_ambiguous(request.headers()) {
        let mut answer = text(StatusCode::BAD_REQUEST, "where does the body end?\n");
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return answer;
    }
    match request.uri().path() {
        STREAM_PATH if request.method() != Method::GET => pages::not_allowed("GET"),
        STREAM_PATH => match accepted(doors, request.headers()) {
            Ok(hello) => {
                *taken.borrow_mut() = Some((hello, hyper::upgrade::on(&mut request)));
                let mut answer = Response::new(http_body_util::Full::default());
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let headers = answer.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static(UPGRADE));
                answer
            }
            Err((status, reason)) => {
                doors.refusals.log(address, &reason);
                let mut answer = text(status, reason + "\n");
                // Proves who refuses: a removed member ends by it.
                let cluster = format!("{:x}", doors.published.identity.cluster_id);
                if let Ok(cluster) = HeaderValue::from_str(&cluster) {
                    answer.headers_mut().insert(PROOF, cluster);
                }
                answer
            }
        },
        path if snapshot::is_here(path) => snapshot::answer(&doors.snapshot, request).await,
        _ => pages::answer(doors, &request),
    }
}

/// Whether something between a peer and this member could see the body end elsewhere, and what follows as
/// a request, or the other way round.
fn is_ambiguous(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(first) = encodings.next() else { return false };
    let chunked = first.as_bytes().eq_ignore_ascii_case(b"chunked");
    !chunked || encodings.next().is_some() || headers.contains_key(header::CONTENT_LENGTH)
}

fn accepted(doors: &PeerDoors, headers: &HeaderMap) -> Result<Hello, (StatusCode, String)> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let refused = |error: HelloError| {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        (status, error.to_string())
    };
    let upgrades = value("connection").is_some_and(|list| {
        list.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
    });
    if !upgrades || value("upgrade") != Some(UPGRADE) {
        let reason = format!("a stream needs Connection: upgrade and Upgrade: {UPGRADE}");
        return Err((StatusCode::UPGRADE_REQUIRED, reason));
    }
    let hello = Hello::parse(value).map_err(refused)?;
    let identity = &doors.published.identity;
    let standing = doors.standing(hello.from);
    hello.accept(identity.cluster_id, identity.member_id, standing).map_err(refused)?;
    if !doors.knows(hello.from) {
        (doors.contact)(hello.from, hello.peer_urls.clone());
    }
    Ok(hello)
}
