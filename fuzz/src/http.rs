//! The first bytes of a connection, the request targets in what follows, heads of gRPC, and the query and
//! headers of `/kv`.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use callboard::http::{
    auth::certificate::Client,
    framing::{Framing, escape},
    grpc::metadata::Metadata,
    opening::{self, Protocol},
    plain::{self, conditions::Conditions, params::Params},
    stream::ClientStream,
};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::{Input, piece, pieces};

/// Bytes that come so many at a time.
struct Pieces<'a>(&'a [u8], usize);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.0.len().min(self.1).min(buf.remaining());
        let (now, later) = self.0.split_at(len);
        buf.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

fn opened(bytes: &[u8], at_once: usize) -> Option<(Protocol, Vec<u8>)> {
    let reading = async {
        let (protocol, mut opened) = opening::read(Pieces(bytes, at_once)).await.ok()?;
        let mut all = Vec::new();
        opened.read_to_end(&mut all).await.ok()?;
        Some((protocol, all))
    };
    reading.now_or_never().flatten()
}

fn passed(bytes: &[u8], at_once: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut stream = ClientStream::new(Pieces(bytes, at_once), Duration::ZERO);
    stream.read_to_end(&mut all).now_or_never().expect("it never waits").expect("nor fails");
    all
}

/// However the bytes are cut, the protocol is the same, no byte is lost, and targets are escaped alike.
pub fn opening(data: &[u8]) {
    let whole = opened(data, usize::MAX);
    assert_eq!(whole, opened(data, 1), "cuts change nothing");
    assert_eq!(whole.is_none(), data.is_empty());
    if let Some((_, all)) = whole {
        assert_eq!(all, data, "no byte is lost");
    }
    let whole = passed(data, usize::MAX);
    for at_once in [1, 7] {
        assert_eq!(whole, passed(data, at_once), "cuts change nothing");
    }
    _ = Framing::default().pass(data);
    let escaped = escape(data).into_owned();
    assert_eq!(escape(&escaped), &escaped[..], "what is escaped stays");
}

pub fn opening_seeds() -> Vec<Vec<u8>> {
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
        b"GET /v2/keys/\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\nGET /\"x HTTP/1.1\r\n\r\n",
        b"PUT /v2/keys/a HTTP/1.1\r\nContent-Length: 7\r\n\r\nvalue=1GET / HTTP/1.1\r\n\r\n",
        b"POST /a|b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\nGET /^ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\rxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: x\r\n\r\nGET /\xff H\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// A query, and headers by pairs.
pub fn plain(data: &[u8]) {
    let mut input = Input(data);
    if let Ok(params) = Params::parse(&input.text()) {
        _ = params.only(&["prefix", "limit"]);
    }
    _ = plain::is_key(input.piece());
    let mut headers = HeaderMap::new();
    let mut request = http::Request::builder().method("POST");
    while !input.is_empty() {
        let (name, value) = (input.byte(), input.piece());
        let Ok(kept) = HeaderValue::from_bytes(value) else { continue };
        let name = NAMES[usize::from(name) % NAMES.len()];
        headers.append(HeaderName::from_static(name), kept);
        request = request.header(name, value);
    }
    if let Ok(conditions) = Conditions::parse(&headers) {
        _ = conditions.compares(b"k");
        _ = (conditions.matches(Some(7)), conditions.matches(None), conditions.is_known(7));
    }
    if let Ok(request) = request.body(()) {
        _ = Metadata::read(&request.into_parts().0, Client::default());
    }
}

const NAMES: [&str; 8] = [
    "if-match",
    "if-none-match",
    "content-type",
    "grpc-timeout",
    "grpc-encoding",
    "token",
    "authorization",
    "hasleader",
];

pub fn plain_seeds() -> Vec<Vec<u8>> {
    let head = |query: &str, path: &str| pieces(&[], [query.as_bytes(), path.as_bytes()]);
    let header = |name: u8, value: &str| [&[name][..], &piece(value)].concat();
    let grpc = [header(2, "application/grpc+proto; a=b"), header(3, "5000m"), header(4, "gzip")];
    vec![
        [head("prefix&limit=10&after=a%20b&rev=3", "/kv/a"), header(0, "\"7\", \"8\"")].concat(),
        [head("wait=true&since=3&list", "/kv"), header(1, "W/\"7\""), header(0, "*")].concat(),
        [head("", "/kv/%"), grpc.concat(), header(6, "Bearer x.y.z")].concat(),
    ]
}
