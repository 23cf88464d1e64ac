//! The first bytes of a connection tell what it speaks: HTTP/2 begins with its preface, everything else
//! is left to HTTP/1.1. What was read to find out is read again by whoever serves it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What a client sends first on an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is read at first: most requests of HTTP/1.1, whole.
const FIRST_BYTES: usize = 2048;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2, without an upgrade.
    Http2,
    /// HTTP/1.1, or nonsense.
    Http1,
}

/// A connection whose first bytes are known.
#[derive(Debug)]
pub struct Opened<S> {
    io: S,
    /// Read, and not yet read again.
    first: Bytes,
}

impl<S> Opened<S> {
    /// The connection below.
    pub fn get_ref(&self) -> &S {
        &self.io
    }
}

/// Reads as much as tells what the client speaks; fails if it hangs up without a word.
pub async fn read<S: AsyncRead + Unpin>(mut io: S) -> io::Result<(Protocol, Opened<S>)> {
    let mut first = BytesMut::with_capacity(FIRST_BYTES);
    loop {
        let ended = io.read_buf(&mut first).await? == 0;
        if first.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(protocol) = protocol(&first, ended) {
            return Ok((protocol, Opened { io, first: first.freeze() }));
        }
    }
}

/// None: more must come before it can be told.
fn protocol(first: &[u8], ended: bool) -> Option<Protocol> {
    if first.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    (ended || !PREFACE.starts_with(first)).then_some(Protocol::Http1)
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let len = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..len]);
        self.first.advance(len);
        if self.first.is_empty() {
            self.first = Bytes::new(); // what was read is no longer kept
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[actix_rt::test]
    async fn what_it_speaks_and_no_byte_is_lost_however_it_is_cut() {
        let http2 = [PREFACE, b"more"].concat();
        for (bytes, expected) in [
            (&http2[..], Protocol::Http2),
            (PREFACE, Protocol::Http2),
            (&PREFACE[..20], Protocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Protocol::Http1),
            (b"P", Protocol::Http1),
            (b"GET / HTTP/1.1\r\n\r\n", Protocol::Http1),
            (b"\0", Protocol::Http1),
        ] {
            for cut in 0..bytes.len() {
                let (mut client, server) = tokio::io::duplex(64);
                let sending = async {
                    client.write_all(&bytes[..cut]).await.expect("there is room");
                    tokio::task::yield_now().await;
                    client.write_all(&bytes[cut..]).await.expect("there is room");
                    drop(client);
                };
                let reading = async {
                    let (protocol, mut opened) = read(server).await.expect("it said something");
                    let mut all = Vec::new();
                    opened.read_to_end(&mut all).await.expect("it ends");
                    (protocol, all)
                };
                let ((), (protocol, all)) = futures_util::join!(sending, reading);
                assert_eq!(protocol, expected, "{bytes:?} cut at {cut}");
                assert_eq!(all, bytes, "{bytes:?} cut at {cut}");
            }
        }
    }

    #[actix_rt::test]
    async fn silence_is_no_connection() {
        let (client, server) = tokio::io::duplex(64);
        drop(client);
        assert!(read(server).await.is_err());
    }
}
