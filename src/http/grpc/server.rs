//! An HTTP/2 connection: its settings and limits, and a task for each of its requests.
//!
//! All tasks of a connection live on its thread. What they send in one turn is written together, by the
//! task of the connection, which is woken once and runs behind them.

use std::{future::poll_fn, pin::pin, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    GrpcDoor, bridge, call,
    figures::ClientFigures,
    keepalive::{Keepalive, OpenCall, Signs, Watched},
    metadata,
};
use crate::http::{auth::certificate::Client, limits::Places};

/// How long a client may take to send its settings.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client may send ahead on one stream, and on all together: held in memory until it is read.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// What waits to be written, of one stream. A thousand streams that all are told of each write hold so
/// much a thousand times over.
const SEND_BUFFER_BYTES: usize = 32 * 1024;
/// The head of a request; tokens are the longest part of it.
const HEAD_BYTES: u32 = 64 * 1024;
/// Streams of one connection, whatever the settings allow: each costs memory.
const STREAMS_MAX: u32 = 1 << 15;
/// What small pieces may cost beside their bytes while they wait to be read, 256 bytes each: a client that
/// sends a thousand small requests at once is a busy client.
const PIECES_BYTES: usize = 4 * 1024 * 1024;
/// Streams that a client may give up before they were even looked at.
const HASTY_RESETS_MAX: usize = 100;

/// Serves a connection to its end.
pub async fn serve<S>(io: S, from: Client, door: Rc<GrpcDoor>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let signs = Rc::new(Signs::default());
    let io = Watched::new(io, Rc::clone(&signs), &door.doors.settings.http2);
    let handshake = builder(&door).handshake::<_, Bytes>(io);
    signs.framing.set(true);
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => handshake,
        () = door.drained() => return,
    };
    let Ok(Ok(connection)) = handshake else { return }; // it did not mean it
    take(connection, from, door, signs).await;
}

fn builder(door: &GrpcDoor) -> Builder {
    let settings = &door.doors.settings.http2;
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .data_frame_budget(PIECES_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEAD_BYTES)
        .max_concurrent_streams(settings.max_concurrent_streams.min(STREAMS_MAX))
        .max_pending_accept_reset_streams(HASTY_RESETS_MAX);
    builder
}

/// Takes requests until the client hangs up or, once the member drains, all that were taken are answered.
async fn take<S>(
    mut connection: Connection<S, Bytes>,
    from: Client,
    door: Rc<GrpcDoor>,
    signs: Rc<Signs>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let settings = &door.doors.settings.http2;
    let mut keepalive = Keepalive::new(connection.ping_pong(), Rc::clone(&signs), settings);
    let mut drained = pin!(door.drained());
    let mut draining = false;
    let watches = Places::new(door.doors.settings.max_watches);
    // One connection is one client, and has one version, nearly always.
    let mut client: Option<Arc<ClientFigures>> = None;
    loop {
        let next = poll_fn(|cx| {
            if !draining && drained.as_mut().poll(cx).is_ready() {
                draining = true;
                connection.graceful_shutdown();
            }
            if keepalive.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            connection.poll_accept(cx)
        });
        // An error is the client's, and h2 has told it.
        let Some(Ok((mut request, respond))) = next.await else { return };
        request.extensions_mut().insert(Arc::clone(&watches));
        let (open, door) = (OpenCall::new(&signs), Rc::clone(&door));
        if door.offer.has_grpc() && (metadata::is_grpc(request.headers()) || !door.offer.has_http())
        {
            let version = metadata::client_version(request.headers());
            let client = match &client {
                Some(known) if known.is(version) => Arc::clone(known),
                _ => Arc::clone(client.insert(door.doors.grpc.client(version))),
            };
            let answering = call::answer(door, from.clone(), client, request, respond);
            actix::spawn(async move {
                let _open = open;
                answering.await;
            });
        } else {
            let answering = bridge::answer(door, from.clone(), request, respond);
            actix::spawn(async move {
                let _open = open;
                answering.await;
            });
        }
    }
}
