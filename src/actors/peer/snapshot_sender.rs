//! Sends snapshot files to peers: asks how much is there, streams the rest, then the Raft message, and
//! tells how it ended, once, whatever happens. Holds one piece of the file at a time for each transfer.
//!
//! The file stays open from the first attempt to the last: retention may remove its name meanwhile, an
//! open file stays readable. Reading is done where it may block, never on the arbiter.

use std::{
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use crc32c::crc32c;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Frame, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use raft::eraftpb::Message;
use tokio::{sync::oneshot, task, time};

use crate::{
    storage::{
        disk::{DiskError, DiskFile},
        snapshot::{SnapshotDir, SnapshotName},
    },
    tls::{Dialer, Place},
    types::{Index, MemberId, Term},
    wire::{
        Hello,
        snapshot_chunk::{
            CHUNK_BYTES_MAX, HEAD_BYTES, HEAD_CRC, LEN, OFFSET, PATH, encode_chunk, encode_end,
        },
    },
};

/// How hard it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Attempts in a row that bring nothing forward; then it is given up.
    pub attempts: u32,
    /// Between two attempts.
    pub pause: Duration,
    /// For a connection, for an answer to a question, and for each piece to get on its way.
    pub silence: Duration,
    /// For everything, with what the peer needs to load the state.
    pub deadline: Duration,
    /// A limit, so that others on the same line are not starved; none: as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// Bytes of the file in one piece; at most [`CHUNK_BYTES_MAX`].
    pub chunk_bytes: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            attempts: 5,
            pause: Duration::from_millis(500),
            silence: Duration::from_secs(10),
            deadline: Duration::from_secs(3600),
            bytes_per_second: None,
            chunk_bytes: 256 << 10,
        }
    }
}

/// What a transfer works with.
pub struct Wiring {
    /// Where the files are.
    pub dir: SnapshotDir,
    /// How peers are called.
    pub dialer: Arc<Dialer>,
    /// What this member says of itself to a peer.
    pub hello: Box<dyn Fn(MemberId) -> Hello + Send + Sync>,
    /// Told once for each [`SnapshotSender::send`]: to whom, and whether it arrived.
    pub sent: Box<dyn Fn(MemberId, bool) + Send + Sync>,
    /// How hard it is tried.
    pub pace: Pace,
    /// Bytes of files that were read to be sent.
    pub bytes_read: AtomicU64,
}

/// See the head of the module.
#[derive(Clone)]
pub struct SnapshotSender(Arc<Wiring>);

/// Tells how it ended, even if the task is dropped half-way.
struct Report {
    wiring: Arc<Wiring>,
    to: MemberId,
    arrived: bool,
}

impl Report {
    fn note(&mut self, arrived: bool) {
        self.arrived = arrived;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        (self.wiring.sent)(self.to, self.arrived);
    }
}

/// Why an attempt did not end well.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the file cannot be read: {0}")]
    Read(String),
    #[error("peer URL {0} cannot be used for this")]
    Url(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    #[error("nothing moved for too long")]
    Silence,
    #[error("the peer answers {status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error("the peer has {0} bytes of a file of {1}")]
    Offset(u64, u64),
}

impl SendError {
    /// Whether another attempt can end better.
    fn may_pass(&self) -> bool {
        match self {
            SendError::Io(_) | SendError::Http(_) | SendError::Silence => true,
            SendError::Refused { status, .. } => {
                // What came was damaged on the way, or others are in the way just now.
                *status == StatusCode::BAD_REQUEST
                    || *status == StatusCode::CONFLICT
                    || *status == StatusCode::SERVICE_UNAVAILABLE
            }
            SendError::Disk(_)
            | SendError::Read(_)
            | SendError::Url(_)
            | SendError::Request(_)
            | SendError::Offset(..) => false,
        }
    }
}

impl SnapshotSender {
    /// A sender; one is enough for all peers.
    pub fn new(wiring: Wiring) -> SnapshotSender {
        SnapshotSender(Arc::new(wiring))
    }

    /// What was given to [`SnapshotSender::new`].
    pub fn wiring(&self) -> &Wiring {
        &self.0
    }

    /// Sends the file that `message` speaks of to a peer, then the message. Returns at once; must be
    /// called within a tokio runtime. To be aborted when the peer is removed.
    pub fn send(
        &self,
        to: MemberId,
        peer_urls: Vec<String>,
        message: Message,
    ) -> task::JoinHandle<()> {
        let mut report = Report { wiring: Arc::clone(&self.0), to, arrived: false };
        tokio::spawn(async move {
            let wiring = Arc::clone(&report.wiring);
            let sending = send(&wiring, to, &peer_urls, &message);
            let in_time = time::timeout(wiring.pace.deadline, sending).await;
            report.note(in_time.unwrap_or_else(|_| {
                tracing::warn!(peer = format!("{to:x}"), "sending a snapshot took too long");
                false
            }));
        })
    }
}

impl SnapshotSender {
    /// The same as long as the other end of `wanted` is held; once it is dropped, the rest is not sent.
    pub async fn send_while(
        &self,
        to: MemberId,
        peer_urls: Vec<String>,
        message: Message,
        wanted: oneshot::Receiver<()>,
    ) {
        let mut sending = self.send(to, peer_urls, message);
        tokio::select! {
            _ = &mut sending => {} // it reports by itself, however it ends
            _ = wanted => {
                sending.abort();
                tracing::info!(peer = format!("{to:x}"), "the peer is no member any more: it is sent no snapshot");
            }
        }
    }
}

/// Attempt after attempt; answers whether it arrived.
async fn send(wiring: &Arc<Wiring>, to: MemberId, peer_urls: &[String], message: &Message) -> bool {
    let peer = format!("{to:x}");
    let source = match Source::open(wiring, message).await {
        Ok(source) => source,
        Err(error) => {
            tracing::warn!(%error, peer, "the snapshot for a peer cannot be read");
            return false;
        }
    };
    let index = source.name.index;
    let (mut in_vain, mut furthest) = (0, 0);
    for url in peer_urls.iter().cycle() {
        let attempt = Attempt { wiring, source: &source, url, to, message };
        match attempt.run(&mut furthest).await {
            Ok(()) => {
                tracing::info!(peer, %index, bytes = source.len, "sent snapshot");
                return true;
            }
            Err((error, moved)) => {
                tracing::warn!(%error, peer, %index, "sending a snapshot");
                in_vain = if moved { 1 } else { in_vain + 1 };
                if !error.may_pass() || in_vain >= wiring.pace.attempts {
                    return false;
                }
                time::sleep(wiring.pace.pause).await;
            }
        }
    }
    false // no URL
}

/// The file that is sent.
#[derive(Clone)]
struct Source {
    file: Arc<Mutex<Box<dyn DiskFile>>>,
    name: SnapshotName,
    len: u64,
    head_crc: u32,
}

impl Source {
    async fn open(wiring: &Arc<Wiring>, message: &Message) -> Result<Source, SendError> {
        let metadata = message.get_snapshot().get_metadata();
        let name = SnapshotName { index: Index(metadata.index), term: Term(metadata.term) };
        let dir = wiring.dir.clone();
        blocking(move || {
            let file = dir.open_file(name)?;
            let len = file.len()?;
            let mut head = vec![0; HEAD_BYTES];
            let read = file.read_at(&mut head, 0)?;
            let head_crc = crc32c(&head[..read]);
            Ok(Source { file: Arc::new(Mutex::new(file)), name, len, head_crc })
        })
        .await
    }

    /// The frame of the piece at `offset`.
    async fn piece(self, offset: u64, bytes: usize) -> Result<(Vec<u8>, u64), SendError> {
        blocking(move || {
            let wanted = (self.len - offset).min(bytes.min(CHUNK_BYTES_MAX) as u64) as usize;
            let mut buffer = vec![0; wanted];
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let read = file.read_at(&mut buffer, offset)?;
            if read != wanted {
                return Err(SendError::Read(format!("it ends before byte {}", self.len)));
            }
            Ok((encode_chunk(offset, &buffer), read as u64))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    let done = task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(SendError::Read(error.to_string())))
}

type SentBody = UnsyncBoxBody<Bytes, io::Error>;

/// One connection's worth.
struct Attempt<'a> {
    wiring: &'a Arc<Wiring>,
    source: &'a Source,
    url: &'a str,
    to: MemberId,
    message: &'a Message,
}

impl Attempt<'_> {
    /// An error says whether the peer had more than at the attempt before.
    async fn run(&self, furthest: &mut u64) -> Result<(), (SendError, bool)> {
        let here = self.question().await.map_err(|error| (error, false))?;
        let Some(offset) = here else { return Ok(()) };
        let moved = offset > *furthest;
        *furthest = offset.max(*furthest);
        self.rest(offset).await.map_err(|error| (error, moved))
    }

    /// How many bytes the peer has; none: it needs nothing.
    async fn question(&self) -> Result<Option<u64>, SendError> {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = self.request(Method::GET, None, empty)?;
        let answering = self.exchange(request);
        let answer = time::timeout(self.wiring.pace.silence, answering);
        let answer = answer.await.map_err(|_| SendError::Silence)??;
        let Some(answer) = accepted(answer).await? else { return Ok(None) };
        let offset = answer.headers().get(OFFSET).and_then(|value| value.to_str().ok());
        let offset = offset.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        let len = self.source.len;
        if offset <= len { Ok(Some(offset)) } else { Err(SendError::Offset(offset, len)) }
    }

    async fn rest(&self, offset: u64) -> Result<(), SendError> {
        let polled = Arc::new(AtomicU64::new(0));
        let body = StreamBody::new(self.frames(offset, Arc::clone(&polled))).boxed_unsync();
        let request = self.request(Method::POST, Some(offset), body)?;
        let exchange = self.exchange(request);
        let answer = unless_stuck(exchange, &polled, self.wiring.pace.silence).await?;
        accepted(answer).await.map(|_| ())
    }

    fn request(
        &self,
        method: Method,
        offset: Option<u64>,
        body: SentBody,
    ) -> Result<Request<SentBody>, SendError> {
        let Source { name, len, head_crc, .. } = self.source;
        let file_name = name.file_name();
        let stem = file_name.trim_end_matches(".snap");
        let (_, host) = self.place()?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{PATH}{stem}"))
            .header(header::HOST, host)
            .header(header::CONNECTION, "close")
            .header(LEN, *len)
            .header(HEAD_CRC, *head_crc);
        for (name, value) in (self.wiring.hello)(self.to).headers() {
            request = request.header(name, value);
        }
        if let Some(offset) = offset {
            request = request.header(OFFSET, offset);
        }
        Ok(request.body(body)?)
    }

    /// Where the peer is, and how it is called there.
    fn place(&self) -> Result<(Place, String), SendError> {
        let uri: Option<Uri> = self.url.parse().ok();
        let found = uri.and_then(|uri| {
            let host = uri.authority()?.to_string();
            Some((Place::of(&uri)?, host))
        });
        found.ok_or_else(|| SendError::Url(self.url.to_owned()))
    }

    /// Sends a request on a connection of its own.
    async fn exchange(&self, request: Request<SentBody>) -> Result<Response<Incoming>, SendError> {
        let (place, _) = self.place()?;
        let connecting = self.wiring.dialer.dial(&place);
        let stream = time::timeout(self.wiring.pace.silence, connecting);
        let stream = stream.await.map_err(|_| SendError::Silence)??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut connection = Aborted(Some(tokio::spawn(connection)));
        let answer = sender.send_request(request).await?;
        // Its short text may still be on the way: the connection ends by itself, with the last byte.
        connection.0.take();
        Ok(answer)
    }

    /// The rest of the file in pieces, each read when the one before is on its way, then the message.
    fn frames(
        &self,
        offset: u64,
        polled: Arc<AtomicU64>,
    ) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
        let source = self.source.clone();
        let wiring = Arc::clone(self.wiring);
        let end = encode_end(self.message);
        let started = time::Instant::now();
        let pieces = stream::unfold(offset, move |at| {
            let (source, wiring) = (source.clone(), Arc::clone(&wiring));
            let polled = Arc::clone(&polled);
            async move {
                polled.fetch_add(1, Ordering::Relaxed);
                if at >= source.len {
                    polled.store(DONE, Ordering::Relaxed);
                    return None;
                }
                if let Some(rate) = wiring.pace.bytes_per_second {
                    let due = (at - offset) as f64 / rate.max(1) as f64;
                    time::sleep_until(started + Duration::from_secs_f64(due)).await;
                    polled.fetch_add(1, Ordering::Relaxed);
                }
                match source.piece(at, wiring.pace.chunk_bytes.max(1)).await {
                    Ok((frame, read)) => {
                        wiring.bytes_read.fetch_add(read, Ordering::Relaxed);
                        Some((Ok(Frame::data(Bytes::from(frame))), at + read))
                    }
                    Err(error) => Some((Err(io::Error::other(error)), u64::MAX)),
                }
            }
        });
        pieces.chain(stream::once(async { Ok(Frame::data(Bytes::from(end))) }))
    }
}

/// Polled to its end: now the peer reads, syncs and loads, for as long as it takes.
const DONE: u64 = u64::MAX;

/// Gives up when the body is not asked for its next piece within `silence`.
async fn unless_stuck<T>(
    exchange: impl Future<Output = Result<T, SendError>>,
    polled: &AtomicU64,
    silence: Duration,
) -> Result<T, SendError> {
    let mut exchange = std::pin::pin!(exchange);
    let mut before = 0;
    loop {
        if let Ok(done) = time::timeout(silence, &mut exchange).await {
            return done;
        }
        let now = polled.load(Ordering::Relaxed);
        if now == before && now != DONE {
            return Err(SendError::Silence);
        }
        before = now;
    }
}

/// The answer, if it is a yes; none where the peer needs nothing.
async fn accepted(answer: Response<Incoming>) -> Result<Option<Response<Incoming>>, SendError> {
    const TEXT_MAX: usize = 500;
    match answer.status() {
        StatusCode::OK => Ok(Some(answer)),
        StatusCode::NO_CONTENT => Ok(None),
        status => {
            let mut body = answer.into_body();
            let mut text = Vec::new();
            while text.len() < TEXT_MAX
                && let Some(Ok(frame)) = body.frame().await
            {
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            text.truncate(TEXT_MAX);
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            Err(SendError::Refused { status, text })
        }
    }
}

/// A connection that ends with the attempt that opened it.
struct Aborted(Option<task::JoinHandle<hyper::Result<()>>>);

impl Drop for Aborted {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.abort();
        }
    }
}
