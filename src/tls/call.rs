//! Calling: a connection to where a URL leads, in plain text or in TLS, for all that dials. The caller
//! sets the limits of time.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Look, Reloading, TlsError, TlsSettings};

/// What is spoken inside TLS: members, discovery and proxies call by HTTP/1.1.
const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether TLS is spoken there.
    pub is_secure: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Place {
    /// None unless it is a URL with `http` or `https` and a host.
    pub fn of(uri: &http::Uri) -> Option<Place> {
        let (is_secure, usual) = match uri.scheme_str()? {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Place { is_secure, host, port: uri.port_u16().unwrap_or(usual) })
    }

    /// `host:port`.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// Calls with one set of settings, whichever certificate is the current one.
pub struct Dialer {
    settings: TlsSettings,
    /// The name that certificates must have, if it is not that of the URL.
    server_name: Option<String>,
    /// Made at the first call that needs it where the settings name no files: who speaks no TLS need not
    /// have authorities.
    made: Mutex<Option<Arc<Reloading<ClientConfig>>>>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Dialer {
    /// With these settings. Files that they name are read here: an error ends the start.
    pub fn new(
        settings: TlsSettings,
        server_name: Option<String>,
    ) -> Result<Arc<Dialer>, TlsError> {
        let names_files = settings.cert_file.is_some()
            || settings.ca_file.is_some()
            || settings.crl_file.is_some();
        let dialer = Dialer { settings, server_name, made: Mutex::new(None) };
        if names_files {
            dialer.certificates()?;
        }
        Ok(Arc::new(dialer))
    }

    /// One that believes whom the system believes, and shows no certificate.
    pub fn of_the_system() -> Arc<Dialer> {
        let settings = TlsSettings::default();
        Arc::new(Dialer { settings, server_name: None, made: Mutex::new(None) })
    }

    /// What is shown and believed, if it was needed already.
    pub fn known(&self) -> Option<Arc<Reloading<ClientConfig>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn certificates(&self) -> Result<Arc<Reloading<ClientConfig>>, TlsError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(Arc::clone(made));
        }
        let new = Reloading::new(self.settings.clone(), PROTOCOLS)?;
        *made = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Connects, and shakes hands if TLS is spoken there.
    pub async fn dial(&self, place: &Place) -> io::Result<Called> {
        let tcp = TcpStream::connect(place.address()).await?;
        tcp.set_nodelay(true)?;
        self.shake(place, tcp).await
    }

    /// The same on a connection that is there already.
    pub async fn shake(&self, place: &Place, tcp: TcpStream) -> io::Result<Called> {
        if !place.is_secure {
            return Ok(Called::Plain(tcp));
        }
        let name = self.server_name.as_ref().unwrap_or(&place.host).clone();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let config = self.certificates().map_err(io::Error::other)?.current();
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        Ok(Called::Tls(Box::new(stream)))
    }
}

impl Look for Dialer {
    fn look(&self) {
        if let Some(known) = self.known() {
            known.look();
        }
    }

    fn read_again(&self) {
        if let Some(known) = self.known() {
            known.read_again();
        }
    }
}

/// A connection that this side has opened.
#[derive(Debug)]
pub enum Called {
    /// In plain text.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Called {
    /// Whether it is encrypted.
    pub fn is_secure(&self) -> bool {
        matches!(self, Called::Tls(_))
    }

    /// What is below TLS.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Called::Plain(tcp) => tcp,
            Called::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Called {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Called::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Called::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Called {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Called::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Called::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Called::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Called::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Called::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Called::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_urls_lead() {
        let place =
            |is_secure, host: &str, port| Some(Place { is_secure, host: host.into(), port });
        for (url, expected) in [
            ("http://a:1", place(false, "a", 1)),
            ("http://a/b", place(false, "a", 80)),
            ("https://a.b:2380/c", place(true, "a.b", 2380)),
            ("https://[::1]", place(true, "::1", 443)),
            ("ftp://a:1", None),
            ("/a", None),
        ] {
            assert_eq!(Place::of(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
