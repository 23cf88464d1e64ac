//! Opening a stream to a peer: TCP, TLS where its URL says so, and the handshake as an HTTP/1.1 upgrade.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;

use super::role::Failure;
use crate::{
    tls::{Called, Dialer, Place},
    wire::{
        Hello,
        hello::{PROOF, STREAM_PATH, UPGRADE},
    },
};

/// The longest refusal that is read.
const REFUSAL_BYTES_MAX: usize = 1024;

/// A stream that the peer has taken.
pub(super) struct Connected {
    pub(super) io: Called,
    /// What came behind the head of its answer.
    pub(super) read_already: Bytes,
}

/// Dials one URL and shakes hands.
pub(super) async fn dial(dialer: &Dialer, url: &str, hello: &Hello) -> Result<Connected, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Unreachable(format!("{url}: {error}"));
    let uri: Uri = url.parse().map_err(|error| failed(&error))?;
    let place = Place::of(&uri)
        .ok_or_else(|| failed(&"only http://host:port and https://host:port can be dialled"))?;
    let io = dialer.dial(&place).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(io)).await.map_err(|error| failed(&error))?;
    let driver = tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .uri(STREAM_PATH)
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, UPGRADE);
    for (name, value) in hello.headers() {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let mut status = response.status();
    let proof = response.headers().get(PROOF).and_then(|value| value.to_str().ok());
    if status == StatusCode::GONE && proof != Some(&format!("{:x}", hello.cluster)) {
        status = StatusCode::BAD_GATEWAY; // some other server's word, which is not to end this member
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let text = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        driver.abort();
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        return Err(Failure::Refused { status: status.as_u16(), text });
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| failed(&error))?;
    let parts = upgraded.downcast::<TokioIo<Called>>().map_err(|_| failed(&"no stream"))?;
    Ok(Connected { io: parts.io.into_inner(), read_already: parts.read_buf })
}
