//! The first step of every connection, at whatever port: plain text as it is, TLS behind a handshake that
//! has its time. All listeners accept here, so that none checks less than another.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::wire::Wire;
use crate::tls::{Reloading, identity_of, is_from};

/// How long the other side may take to shake hands, and DNS to say whose its address is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a listener that speaks TLS shows, whichever certificate is the current one.
pub type Tls = Arc<Reloading<ServerConfig>>;

/// Whether it matters from where someone calls who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It does not.
    Any,
    /// The certificate must be for the caller's address, if it says for which it is.
    OfCertificate,
}

/// Why a connection is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No handshake.
    #[error("no TLS handshake: {0}")]
    Handshake(io::Error),
    /// Not in time.
    #[error("no TLS handshake within {HANDSHAKE_TIMEOUT:?}")]
    Slow,
    /// The certificate is good, and someone else's.
    #[error("the certificate is not for {0}, from where the connection comes")]
    Origin(IpAddr),
}

/// Takes a connection of a TCP listener.
pub async fn accept(
    tcp: TcpStream,
    tls: Option<&Tls>,
    origin: Origin,
) -> Result<Wire, AcceptError> {
    let Some(tls) = tls else { return Ok(Wire::Plain(tcp)) };
    let stream = handshake(tcp, tls).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    if let Some(shown) = shown.filter(|_| origin == Origin::OfCertificate) {
        let address = stream.get_ref().0.peer_addr().map_err(AcceptError::Handshake)?.ip();
        let identity = identity_of(shown).unwrap_or_default();
        let is_from = timeout(HANDSHAKE_TIMEOUT, is_from(&identity, address)).await;
        if !is_from.unwrap_or(false) {
            return Err(AcceptError::Origin(address));
        }
    }
    Ok(Wire::Tls(Box::new(stream)))
}

/// Shakes hands, on whatever kind of connection.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    tls: &Tls,
) -> Result<TlsStream<S>, AcceptError> {
    let shaking = TlsAcceptor::from(tls.current()).accept(io);
    let shaken = timeout(HANDSHAKE_TIMEOUT, shaking).await.map_err(|_| AcceptError::Slow)?;
    shaken.map_err(AcceptError::Handshake)
}
