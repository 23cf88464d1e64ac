//! One endpoint's connections, and one request over one of them. What it promises: when a request
//! failed, it is known whether it can have reached the endpoint, so that a write is never sent twice.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Uri,
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{HOST, HeaderMap, HeaderValue},
    http::response,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle, time::Sleep};

use super::director::Endpoint;
use crate::{config, tls::Dialer};

/// Connections to one endpoint that are kept for the next request.
const IDLE_MAX: usize = 64;
/// An idle connection is looked after this often by the kernel.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long an endpoint may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A request, whole: it can be sent again.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// Its headers, without those of the connection.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Ask {
    /// Whether asking twice is no different from asking once.
    pub fn may_be_repeated(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD || self.method == Method::OPTIONS
    }

    fn to(&self, endpoint: &Endpoint) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        if let Ok(host) = HeaderValue::from_str(endpoint.authority()) {
            request.headers_mut().insert(HOST, host);
        }
        request
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The request has certainly not reached the endpoint.
    #[error("not reached: {0}")]
    NotSent(io::Error),
    /// It may have; no answer came.
    #[error("no answer: {0}")]
    Lost(String),
}

/// An answer whose head has come.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: response::Parts,
    /// What follows.
    pub body: ReplyBody,
}

/// Asks one endpoint, over a connection that is there or a new one.
pub async fn ask(
    endpoint: &Arc<Endpoint>,
    ask: &Ask,
    settings: &config::Proxy,
    dialer: &Dialer,
) -> Result<Reply, AskError> {
    let mut request = ask.to(endpoint);
    // The other side may have closed an idle connection. Usually that is known before the request
    // leaves: then it comes back, and the next connection takes it.
    while let Some(link) = endpoint.pool.take() {
        match link.carry(request, endpoint, settings).await {
            Ok(reply) => return Ok(reply),
            Err((_, Some(unsent))) => request = unsent,
            Err((_, None)) if ask.may_be_repeated() => {
                request = ask.to(endpoint);
                break;
            }
            Err((error, None)) => return Err(error),
        }
    }
    let link = Link::dial(endpoint, settings, dialer).await.map_err(AskError::NotSent)?;
    link.carry(request, endpoint, settings).await.map_err(|(error, unsent)| match (error, unsent) {
        (AskError::Lost(why), Some(_)) => AskError::NotSent(io::Error::other(why)),
        (error, _) => error,
    })
}

/// A limit of zero is none.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    if limit.is_zero() {
        return Some(future.await);
    }
    tokio::time::timeout(limit, future).await.ok()
}

/// A connection to an endpoint; it ends with this.
#[derive(Debug)]
struct Link {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    async fn dial(
        endpoint: &Endpoint,
        settings: &config::Proxy,
        dialer: &Dialer,
    ) -> io::Result<Link> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let connecting = TcpStream::connect(endpoint.url.address());
        let tcp = within(settings.dial_timeout, connecting).await.ok_or_else(late)??;
        tcp.set_nodelay(true)?;
        rustix::net::sockopt::set_socket_keepalive(&tcp, true)?;
        rustix::net::sockopt::set_tcp_keepidle(&tcp, KEEPALIVE)?;
        let unacknowledged = u32::try_from(settings.write_timeout.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(&tcp, unacknowledged)?;
        let place = endpoint.place();
        let shaking = dialer.shake(&place, tcp);
        let io = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await.map_err(|_| late())??;
        let (sender, connection) = http1::Builder::new()
            .title_case_headers(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            _ = connection.await; // whoever waits for an answer is told
        });
        Ok(Link { sender, task })
    }

    /// Sends a request and waits for the head of its answer. A request that never left comes back.
    async fn carry(
        mut self,
        request: Request<Full<Bytes>>,
        endpoint: &Arc<Endpoint>,
        settings: &config::Proxy,
    ) -> Result<Reply, (AskError, Option<Request<Full<Bytes>>>)> {
        let sending = self.sender.try_send_request(request);
        let Some(answer) = within(settings.read_timeout, sending).await else {
            return Err((AskError::Lost("i/o timeout".to_owned()), None));
        };
        let answer = answer.map_err(|mut error| {
            let unsent = error.take_message();
            (AskError::Lost(error.into_error().to_string()), unsent)
        })?;
        let (head, incoming) = answer.into_parts();
        let mut body = ReplyBody {
            incoming,
            link: Some(self),
            home: Arc::clone(endpoint),
            patience: settings.read_timeout,
            late: None,
        };
        if body.incoming.is_end_stream() {
            body.ended();
        }
        Ok(Reply { head, body })
    }
}

/// Connections that wait for a request.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Link>>);

impl Pool {
    fn take(&self) -> Option<Link> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(link) = idle.pop() {
            if link.sender.is_ready() {
                return Some(link);
            }
        }
        None
    }

    fn keep(&self, link: Link) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|link| !link.sender.is_closed());
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
    }

    /// How many wait.
    pub fn idle(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The body of an answer broke off: it must not look as if it had ended.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint's answer broke off: {0}")]
pub struct Broken(pub String);

/// The body of an answer. Dropped before its end it closes its connection, so that the endpoint sees
/// that nobody waits any more; read to its end it gives the connection back.
pub struct ReplyBody {
    incoming: Incoming,
    link: Option<Link>,
    home: Arc<Endpoint>,
    patience: Duration,
    late: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyBody").field("from", &self.home.url).finish_non_exhaustive()
    }
}

impl ReplyBody {
    fn ended(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        let home = Arc::clone(&self.home);
        tokio::spawn(async move {
            if link.sender.ready().await.is_ok() {
                home.pool.keep(link);
            }
        });
    }

    /// The next piece; none at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.late = None;
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    } // trailers end here
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(Broken(error.to_string()))));
                }
                Poll::Ready(None) => {
                    self.ended();
                    return Poll::Ready(None);
                }
                Poll::Pending if self.patience.is_zero() => return Poll::Pending,
                Poll::Pending => {
                    let patience = self.patience;
                    let late =
                        self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                    return late
                        .as_mut()
                        .poll(cx)
                        .map(|()| Some(Err(Broken("i/o timeout".to_owned()))));
                }
            }
        }
    }

    /// All of it, if that is not more than `limit`.
    pub async fn whole(mut self, limit: usize) -> Result<Bytes, Broken> {
        let mut whole = Vec::new();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll_piece(cx)).await {
            let piece = piece?;
            if whole.len() + piece.len() > limit {
                return Err(Broken(format!("longer than {limit} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}
