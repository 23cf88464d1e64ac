//! A small HTTP/1.1 client for what members ask of each other and of discovery: one connection for each
//! request, a time to connect and to shake hands, a time for the whole, a limit on the answer. Depends on
//! `tls`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, Uri, body::Body, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::tls::{Called, Dialer, Place};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none that can be asked.
    #[error("{0}: not an http:// or https:// URL")]
    Url(String),
    /// The request cannot be made.
    #[error("cannot make the request: {0}")]
    Request(#[from] hyper::http::Error),
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// The server did not answer in time.
    #[error("{0} did not answer in time")]
    Slow(String),
    /// The connection broke, or what came is no HTTP.
    #[error("talking to {0}: {1}")]
    Talk(String, hyper::Error),
    /// The answer is longer than it may be, or ended early.
    #[error("the answer of {0} cannot be read: {1}")]
    Body(String, Box<dyn std::error::Error + Send + Sync>),
}

/// How to ask.
#[derive(Clone, Debug)]
pub struct Client {
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for everything, from the connection to the end of the answer.
    pub total_timeout: Duration,
    /// The longest answer that is read.
    pub body_bytes_max: usize,
    /// `host:port` of an HTTP proxy that all requests go through.
    pub proxy: Option<String>,
    /// How servers are called.
    pub dialer: Arc<Dialer>,
}

impl Client {
    /// With these times, for answers of ordinary size, without a proxy; believes whom the system believes.
    pub fn new(connect_timeout: Duration, total_timeout: Duration) -> Client {
        let dialer = Dialer::of_the_system();
        Client { connect_timeout, total_timeout, body_bytes_max: 4 << 20, proxy: None, dialer }
    }

    /// Asks by `GET`.
    pub async fn get(&self, url: &str) -> Result<Response<Bytes>, ClientError> {
        self.send(Request::get(url).body(Full::<Bytes>::default())?).await
    }

    /// Sends `body` of this content type.
    pub async fn send_text(
        &self,
        method: Method,
        url: &str,
        content_type: &str,
        body: String,
    ) -> Result<Response<Bytes>, ClientError> {
        let request = Request::builder().method(method).uri(url);
        let request = request.header(header::CONTENT_TYPE, content_type);
        self.send(request.body(Full::new(Bytes::from(body)))?).await
    }

    /// Sends a request whose URI is whole, and reads the whole answer.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Bytes>, ClientError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let server = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let answer = timeout(self.total_timeout, self.exchange(request)).await;
        answer.unwrap_or(Err(ClientError::Slow(server)))
    }

    /// A connection to the server, by way of the proxy if there is one.
    async fn connect(&self, place: &Place) -> io::Result<Called> {
        let Some(proxy) = &self.proxy else { return self.dialer.dial(place).await };
        let mut tcp = TcpStream::connect(proxy).await?;
        tcp.set_nodelay(true)?;
        if place.is_secure {
            tcp = tunnel(tcp, place).await?;
        }
        self.dialer.shake(place, tcp).await
    }

    async fn exchange<B>(&self, mut request: Request<B>) -> Result<Response<Bytes>, ClientError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let uri = request.uri().clone();
        let place = Place::of(&uri).ok_or_else(|| ClientError::Url(uri.to_string()))?;
        let server = uri.authority().map(ToString::to_string).unwrap_or_default();
        let at = || self.proxy.clone().unwrap_or_else(|| server.clone());
        let stream = timeout(self.connect_timeout, self.connect(&place))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| ClientError::Connect(at(), error))?;
        let broke = |error| ClientError::Talk(server.clone(), error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        // Ends with the request: either side closes when `sender` is gone.
        let connection = tokio::spawn(connection);
        let guard = AbortOnDrop(connection.abort_handle());
        if self.proxy.is_none() || place.is_secure {
            // A server is told the path alone; a proxy that reads the request wants to hear the whole.
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = path.parse::<Uri>().map_err(hyper::http::Error::from)?;
        }
        let host = header::HeaderValue::from_str(&server).map_err(hyper::http::Error::from)?;
        request.headers_mut().insert(header::HOST, host);
        let response = sender.send_request(request).await.map_err(broke)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.body_bytes_max).collect().await;
        let body = body.map_err(|error| ClientError::Body(server.clone(), error))?.to_bytes();
        drop(guard);
        Ok(Response::from_parts(head, body))
    }
}

/// Asks a proxy to join this connection to `place`. What follows is between the two ends.
async fn tunnel(tcp: TcpStream, place: &Place) -> io::Result<TcpStream> {
    let host =
        if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
    let target = format!("{host}:{}", place.port);
    let asking = Request::connect(&target).header(header::HOST, &target);
    let asking = asking.body(Full::<Bytes>::default()).map_err(io::Error::other)?;
    let io = TokioIo::new(tcp);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection.with_upgrades());
    let guard = AbortOnDrop(connection.abort_handle());
    let answer = sender.send_request(asking).await.map_err(io::Error::other)?;
    if !answer.status().is_success() {
        return Err(io::Error::other(format!("the proxy answers {} to CONNECT", answer.status())));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(io::Error::other)?;
    drop(guard); // it has ended by giving the connection back
    let parts = upgraded.downcast::<TokioIo<TcpStream>>();
    let parts = parts.map_err(|_| io::Error::other("the proxy's connection is lost"))?;
    if !parts.read_buf.is_empty() {
        return Err(io::Error::other("the proxy says more than it was asked")); // TLS begins with us
    }
    Ok(parts.io.into_inner())
}

/// A request that is given up takes its connection with it.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
