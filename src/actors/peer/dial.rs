//! Opening a stream to a peer: TCP, and the handshake as an HTTP/1.1 upgrade.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::role::Failure;
use crate::wire::{
    Hello,
    hello::{PROOF, STREAM_PATH, UPGRADE},
};

/// The longest refusal that is read.
const REFUSAL_BYTES_MAX: usize = 1024;

/// A stream that the peer has taken.
pub(super) struct Connected {
    pub(super) tcp: TcpStream,
    /// What came behind the head of its answer.
    pub(super) read_already: Bytes,
}

/// Dials one URL and shakes hands.
pub(super) async fn dial(url: &str, hello: &Hello) -> Result<Connected, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Unreachable(format!("{url}: {error}"));
    let uri: Uri = url.parse().map_err(|error| failed(&error))?;
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(failed(&"only http://host:port can be dialled"));
    };
    let address =
        (host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(80));
    let tcp = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
    tcp.set_nodelay(true).map_err(|error| failed(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(tcp)).await.map_err(|error| failed(&error))?;
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
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| failed(&"no TCP stream"))?;
    Ok(Connected { tcp: parts.io.into_inner(), read_already: parts.read_buf })
}
