//! The proxy as a process: listeners, workers, and what is done with each request; ends on SIGTERM or
//! SIGINT once those under way are answered and parked watches have ended.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use actix_http::{
    HttpMessage as _, HttpService, Method, Payload, Request, Response, StatusCode, body::BodySize,
    error::DispatchError,
};
use actix_service::ServiceFactoryExt as _;
use actix_web::dev::{Server, fn_service};
use bytes::Bytes;
use hyper::{Method as AskedMethod, Uri};
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::OwnedSemaphorePermit,
};
use tracing::{debug, info, warn};

use super::{
    Proxy,
    body::{Drained, ProxyBody},
    director::client_number,
    forward::{Unanswered, forward},
    headers,
    local::{self, Answer},
    refresh::{self, Source},
    share::{self, Waiting, WatchTarget},
    upstream::{Ask, Reply},
};
use crate::{
    clock::wall_clock,
    config::{Config, ProxyMode},
    http::{
        accept::{Origin, Tls, accept},
        body::{self, BodyError},
        server::{files_max, fitting},
        stream::ClientStream,
    },
    tls::{Dialer, Look, TlsError, look_after, serving},
};

/// What is spoken inside TLS.
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// How long a client may take to send the head of its first request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection that ends may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may idle between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// How long requests may go on once the proxy drains.
const DRAIN_SECONDS_MAX: u64 = 10;
/// Client connections in all; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 50_000;

/// Why a proxy ended, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener could not be opened.
    #[error("setting listen-client-urls: value {url:?}: {error}")]
    Listen {
        /// The URL.
        url: String,
        /// Why.
        error: io::Error,
    },
    /// A certificate, a key or a list of authorities is missing, or not what it should be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something else that the system refused.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::System { what, error }
}

/// Runs a proxy until it is told to stop.
pub fn run(config: &Config, source: Source) -> Result<(), RunError> {
    let system = actix::System::new();
    let result = system.block_on(serve(config, source));
    actix::System::current().stop();
    result
}

async fn serve(config: &Config, source: Source) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(system("listening for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listening for signals"))?;
    let proxy = Proxy::new(config)?;
    let tls = certificates(config)?;
    let mut looked_after: Vec<Arc<dyn Look>> =
        vec![Arc::<Dialer>::clone(&proxy.endpoints_tls), Arc::<Dialer>::clone(&proxy.peers_tls)];
    looked_after.extend(tls.clone().map(|tls| tls as Arc<dyn Look>));
    actix::spawn(look_after(looked_after).map_err(system("listening for signals"))?);
    if let Source::Endpoints(urls) = &source {
        proxy.director.replace(urls); // known before the first request can come
    }
    let workers = config.http_workers.max(1);
    // A request may need a file for the client and one for the endpoint.
    let connections_max = fitting(CONNECTIONS_MAX, files_max() / 2);
    let mut server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections_max.div_ceil(workers))
        .shutdown_timeout(DRAIN_SECONDS_MAX)
        .disable_signals();
    for url in &config.listen_client_urls {
        let refused = |error| RunError::Listen { url: url.as_str().to_owned(), error };
        let listener = listen(url).map_err(refused)?;
        info!(address = %listener.local_addr().map_err(refused)?, "serving HTTP as a proxy");
        let (proxy, tls) = (Arc::clone(&proxy), tls.clone().filter(|_| url.scheme().is_tls()));
        let serving = move || connections(&proxy, tls.as_ref());
        server = server.listen(url.as_str(), listener, serving).map_err(refused)?;
    }
    let server = server.run();
    let handle = server.handle();
    let serving = actix::spawn(server);
    let refreshing = actix::spawn(refresh::keep(Arc::clone(&proxy), source));
    info!(readonly = config.proxy.mode == ProxyMode::ReadOnly, "ready to serve client requests");
    // Outside systemd there is no socket to notify, and that is no error.
    _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(signal, "stopping: no new requests, parked watches end");
    _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    proxy.drain.give();
    refreshing.abort();
    handle.stop(true).await;
    if let Ok(Err(error)) = serving.await {
        warn!(%error, "HTTP server has ended");
    }
    info!("stopped");
    Ok(())
}

/// The certificates of the listeners, if one of them is to speak TLS.
fn certificates(config: &Config) -> Result<Option<Tls>, RunError> {
    let urls: Vec<_> = config.listen_client_urls.iter().collect();
    if !urls.iter().any(|url| url.scheme().is_tls()) {
        return Ok(None);
    }
    let dir = config.data_dir.join("fixtures").join("client");
    let now = (wall_clock().0 / 1_000_000_000) as i64;
    let own = config.client_tls.own("auto-tls", dir, &urls, now);
    Ok(Some(serving(config.client_tls.serving.clone(), own, PROTOCOLS)?))
}

/// IPv4 first, as a member listens.
fn listen(url: &crate::config::Url) -> io::Result<TcpListener> {
    use std::net::ToSocketAddrs as _;
    if url.scheme().is_unix() {
        return Err(io::Error::other("a proxy listens at http://host:port alone"));
    }
    let mut addresses: Vec<SocketAddr> = url.address().to_socket_addrs()?.collect();
    addresses.sort_unstable();
    TcpListener::bind(&addresses[..])
}

/// What is done with each connection.
fn connections(
    proxy: &Arc<Proxy>,
    tls: Option<&Tls>,
) -> impl actix_web::dev::ServiceFactory<TcpStream, Config = (), Response = (), InitError = ()> + use<>
{
    let (drained, shaken, proxy) = (Arc::clone(proxy), Arc::clone(proxy), Arc::clone(proxy));
    let requests = fn_service(move |request: Request| {
        let answering = handle(Arc::clone(&proxy), request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let http = HttpService::build()
        .keep_alive(IDLE_TIMEOUT)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(CLOSE_TIMEOUT)
        .h1_allow_half_closed(false) // or a parked watch would not notice that its client left
        .graceful_shutdown_signal(move || {
            let proxy = Arc::clone(&drained);
            async move { proxy.drain.given().await }
        })
        .h1(requests);
    let tls = tls.cloned();
    fn_service(move |tcp: TcpStream| {
        let (tls, shaken) = (tls.clone(), Arc::clone(&shaken));
        async move {
            _ = tcp.set_nodelay(true); // a connection without it works too
            let peer = tcp.peer_addr().ok();
            let wire = tokio::select! {
                wire = accept(tcp, tls.as_ref(), Origin::Any) => wire,
                () = shaken.drain.given() => return Err(DispatchError::DisconnectTimeout),
            };
            match wire {
                Ok(wire) => Ok((ClientStream::new(wire, Duration::ZERO), peer)),
                Err(error) => {
                    debug!(?peer, %error, "a TLS handshake came to nothing");
                    Err(DispatchError::Io(io::Error::other(error)))
                }
            }
        }
    })
    .and_then(http)
}

async fn handle(proxy: Arc<Proxy>, mut request: Request) -> Answer {
    let method = request.method().clone();
    proxy.figures.request(&method);
    let payload = request.take_payload();
    let by_itself = if proxy.settings.mode == ProxyMode::ReadOnly && method != Method::GET {
        proxy.figures.dropped(&method, "readonly");
        Some(local::empty(StatusCode::NOT_IMPLEMENTED))
    } else {
        local::answer(&proxy, &method, request.path())
    };
    if let Some(answer) = by_itself {
        // Nobody wanted the body: it is read, or its connection could not be used again.
        body::discard(payload, body::declared_len(request.head())).await;
        return answer;
    }
    match ask_of(&proxy, &request, payload).await {
        Ok((ask, _room)) => answer(&proxy, &request, ask).await,
        Err((answer, why)) => {
            proxy.figures.dropped(&method, why);
            answer
        }
    }
}

/// The request as it goes on, and the room that its body takes.
async fn ask_of(
    proxy: &Arc<Proxy>,
    request: &Request,
    payload: Payload,
) -> Result<(Ask, Option<OwnedSemaphorePermit>), (Answer, &'static str)> {
    let bad = || (local::message(StatusCode::BAD_REQUEST, "malformed request"), "bad_request");
    let method =
        AskedMethod::from_bytes(request.method().as_str().as_bytes()).map_err(|_| bad())?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target: Uri = target.parse().map_err(|_| bad())?;
    if method == AskedMethod::CONNECT || !target.path().starts_with('/') {
        return Err(bad());
    }
    let headers = headers::to_endpoint(request.headers(), request.peer_addr().map(|it| it.ip()));
    let (mut held, mut room) = (Bytes::new(), None);
    if !matches!(payload, Payload::None) {
        let declared = body::declared_len(request.head());
        let most = declared.map_or(proxy.body_bytes_max, |len| len as usize);
        let kib = u32::try_from(most.min(proxy.body_bytes_max).div_ceil(1024)).unwrap_or(u32::MAX);
        let busy = "the proxy holds as many request bodies as it can";
        room = Some(
            Arc::clone(&proxy.room)
                .try_acquire_many_owned(kib)
                .map_err(|_| (local::message(StatusCode::SERVICE_UNAVAILABLE, busy), "busy"))?,
        );
        held = body::read(payload, declared, proxy.body_bytes_max).await.map_err(|error| {
            let status = match error {
                BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                BodyError::Broken => StatusCode::BAD_REQUEST,
                BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
            };
            (local::message(status, &error.to_string()), "body")
        })?;
    }
    Ok((Ask { method, target, headers, body: held }, room))
}

async fn answer(proxy: &Arc<Proxy>, request: &Request, ask: Ask) -> Answer {
    let method = request.method();
    let watch = WatchTarget::read(&ask.target);
    if let Some(target) = watch
        && *method == Method::GET
        && ask.body.is_empty()
        && let Some(Waiting { headers, parked }) = share::join(proxy, target, &ask).await
    {
        proxy.figures.handled(method, StatusCode::OK);
        let body = ProxyBody::Shared { parked, drained: drained(proxy) };
        return with_headers(Response::with_body(StatusCode::OK, body), &headers);
    }
    let client = request.peer_addr().map_or(0, |peer| client_number(&peer));
    match forward(proxy, &ask, client).await {
        Ok(reply) => passing(proxy, &ask, method, reply),
        Err(unanswered) => {
            let (status, why) = match unanswered {
                Unanswered::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, "zero_endpoints"),
                Unanswered::All(_) => (StatusCode::BAD_GATEWAY, "failed_getting_response"),
                Unanswered::Unknown => (StatusCode::BAD_GATEWAY, "unknown_outcome"),
            };
            proxy.figures.dropped(method, why);
            if ask.target.path() == "/health" {
                let body = r#"{"health":"false","reason":"NO ENDPOINT"}"#;
                return local::whole(StatusCode::SERVICE_UNAVAILABLE, "application/json", body);
            }
            local::message(status, &unanswered.to_string())
        }
    }
}

/// An endpoint's answer, handed on as it comes.
fn passing(proxy: &Arc<Proxy>, ask: &Ask, method: &Method, reply: Reply) -> Answer {
    let Reply { head, body } = reply;
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    proxy.figures.handled(method, status);
    let size = match headers::number(&head.headers, "content-length") {
        _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => BodySize::None,
        Some(len) => BodySize::Sized(len),
        None => BodySize::Stream,
    };
    let waits = ask.target.query().is_some_and(|query| query.contains("wait="));
    let drained = waits.then(|| drained(proxy));
    let body = ProxyBody::Passing { reply: body, size, drained };
    with_headers(Response::with_body(status, body), &head.headers)
}

fn with_headers(mut answer: Answer, headers: &hyper::HeaderMap) -> Answer {
    answer.head_mut().set_camel_case_headers(true);
    for (name, value) in headers::to_client(headers) {
        answer.headers_mut().append(name, value);
    }
    answer
}

fn drained(proxy: &Arc<Proxy>) -> Drained {
    let proxy = Arc::clone(proxy);
    Pin::from(Box::new(async move { proxy.drain.given().await }))
}
