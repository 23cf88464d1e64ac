//! A client's connection: plain TCP, or TLS over it; or the same on a Unix socket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

/// See the head of the module.
#[derive(Debug)]
pub enum Wire {
    /// In plain text.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// In plain text on a Unix socket.
    Local(Box<UnixStream>),
    /// Encrypted, on a Unix socket.
    LocalTls(Box<TlsStream<UnixStream>>),
}

impl Wire {
    /// The certificates that the client showed, its own first.
    pub fn shown(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Wire::Tls(tls) => tls.get_ref().1.peer_certificates(),
            Wire::LocalTls(tls) => tls.get_ref().1.peer_certificates(),
            Wire::Plain(_) | Wire::Local(_) => None,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Wire::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Wire::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
            Wire::Local(local) => Pin::new(&mut **local).poll_read(cx, buf),
            Wire::LocalTls(local) => Pin::new(&mut **local).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Wire::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
            Wire::Local(local) => Pin::new(&mut **local).poll_write(cx, bytes),
            Wire::LocalTls(local) => Pin::new(&mut **local).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, pieces),
            Wire::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, pieces),
            Wire::Local(local) => Pin::new(&mut **local).poll_write_vectored(cx, pieces),
            Wire::LocalTls(local) => Pin::new(&mut **local).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(tcp) => tcp.is_write_vectored(),
            Wire::Tls(tls) => tls.is_write_vectored(),
            Wire::Local(local) => local.is_write_vectored(),
            Wire::LocalTls(local) => local.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Wire::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Wire::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Wire::Local(local) => Pin::new(&mut **local).poll_flush(cx),
            Wire::LocalTls(local) => Pin::new(&mut **local).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Wire::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Wire::Local(local) => Pin::new(&mut **local).poll_shutdown(cx),
            Wire::LocalTls(local) => Pin::new(&mut **local).poll_shutdown(cx),
        }
    }
}
