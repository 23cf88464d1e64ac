//! A small HTTP/1.1 client over a plain socket, for tests that care about the bytes.
//!
//! It sends exactly what it is given (also nonsense), shows exactly what came back, and can read a
//! response piece by piece, which is how a watch is followed. Every wait ends: nothing here blocks
//! longer than its timeout.
//!
//! - [`Client`]: one keep-alive connection, for a conversation of requests and whole answers.
//! - [`Incoming`]: a response whose head has arrived and whose body is still coming.
//! - [`exchange_raw`]: any bytes there, whatever comes back here.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::clock::Deadline;

/// How long a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// More than any answer in these tests: a body beyond it is a failure, not a swapping machine.
const BODY_BYTES_MAX: usize = 256 << 20;

/// A request, sent as it stands: nothing is escaped, checked or corrected.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request without body. `target` is what stands in the request line: path and query.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: None }
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Gives it a body; `Content-Length` is added unless a header says how long the body is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Gives it a form as body, with the form's content type.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> =
            fields.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
        self.header("Content-Type", "application/x-www-form-urlencoded").body(pairs.join("&"))
    }

    /// Whether the answer has no body whatever its headers say.
    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("Host") {
            _ = write!(head, "Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(body) = &self.body
            && !has("Content-Length")
            && !has("Transfer-Encoding")
        {
            _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        let mut bytes = head.into_bytes();
        bytes.extend(b"\r\n");
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

/// Escapes a name or a value of a form; a space becomes `+`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

/// Status line and headers of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Header lines as they came, in their order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name, however it is capitalised.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .map(|line| line.split_once(':').map(|(n, v)| (n.into(), v.trim().into())))
            .collect::<Option<_>>()?;
        Some(Self { status, headers })
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status line and headers.
    pub head: Head,
    /// The body, with chunks put together.
    pub body: Vec<u8>,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    /// So many bytes are still to come.
    Length(usize),
    /// Inside a chunk with so many bytes to come; 0 is before a chunk's size line.
    Chunked(usize),
    /// Until the server closes.
    UntilClose,
    /// It has ended.
    Done,
}

/// A response that is being read: the head has arrived, the body comes when it comes.
#[derive(Debug)]
pub struct Incoming {
    /// Status line and headers.
    pub head: Head,
    wire: Wire,
    framing: Framing,
    reusable: bool,
    decoded: Vec<u8>,
}

impl Incoming {
    /// Sends `request` on a connection of its own and waits for the head of the answer.
    pub fn open(addr: SocketAddr, request: &Request, wait: Duration) -> io::Result<Self> {
        let mut wire = Wire::connect(addr)?;
        wire.send(&request.to_bytes(&addr.to_string()))?;
        Self::receive(wire, request.is_head(), wait)
    }

    fn receive(mut wire: Wire, is_head: bool, wait: Duration) -> io::Result<Self> {
        let deadline = Deadline::after(wait);
        let head = loop {
            let text = wire.take_until(b"\r\n\r\n", deadline)?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let head = Head::parse(&text).ok_or_else(|| malformed("head", &text))?;
            if head.status >= 200 {
                break head; // 1xx are remarks on the way
            }
        };
        let is = |name, value: &str| {
            head.header(name).is_some_and(|v| v.to_ascii_lowercase().contains(value))
        };
        let framing = if is_head || matches!(head.status, 204 | 304) {
            Framing::Done
        } else if is("Transfer-Encoding", "chunked") {
            Framing::Chunked(0)
        } else if let Some(length) = head.header("Content-Length") {
            let length = length.parse().map_err(|_| malformed("Content-Length", length))?;
            if length == 0 { Framing::Done } else { Framing::Length(length) }
        } else {
            Framing::UntilClose
        };
        let reusable = framing != Framing::UntilClose && !is("Connection", "close");
        Ok(Self { head, wire, framing, reusable, decoded: Vec::new() })
    }

    /// The next line of the body without its newline, or `None` when the body ended before it.
    pub fn next_line(&mut self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Deadline::after(wait);
        loop {
            if let Some(end) = self.decoded.iter().position(|&b| b == b'\n') {
                let mut line: Vec<u8> = self.decoded.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if !self.read_more(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Everything from here to the end of the body.
    pub fn rest(&mut self, wait: Duration) -> io::Result<Vec<u8>> {
        let deadline = Deadline::after(wait);
        while self.read_more(deadline)? {}
        Ok(std::mem::take(&mut self.decoded))
    }

    /// Reads a piece of the body; false when it has ended.
    fn read_more(&mut self, deadline: Deadline) -> io::Result<bool> {
        if self.decoded.len() > BODY_BYTES_MAX {
            return Err(malformed("body", "longer than any test expects"));
        }
        self.framing = match self.framing {
            Framing::Done => return Ok(false),
            Framing::Length(left) => {
                let took = self.wire.take_some(left, &mut self.decoded, deadline)?;
                match left - took {
                    0 => Framing::Done,
                    left => Framing::Length(left),
                }
            }
            Framing::Chunked(0) => {
                let line = self.wire.take_until(b"\r\n", deadline)?;
                let line = String::from_utf8_lossy(&line).into_owned();
                let digits = line.split(';').next().unwrap_or_default().trim();
                match usize::from_str_radix(digits, 16) {
                    Err(_) => return Err(malformed("chunk size", &line)),
                    Ok(0) => {
                        while !self.wire.take_until(b"\r\n", deadline)?.is_empty() {} // trailers
                        Framing::Done
                    }
                    Ok(size) => Framing::Chunked(size),
                }
            }
            Framing::Chunked(left) => {
                let took = self.wire.take_some(left, &mut self.decoded, deadline)?;
                if left == took {
                    self.wire.take_until(b"\r\n", deadline)?;
                }
                Framing::Chunked(left - took)
            }
            Framing::UntilClose => {
                match self.wire.take_some(usize::MAX, &mut self.decoded, deadline) {
                    Err(e) if e.kind() == ErrorKind::UnexpectedEof => Framing::Done,
                    other => other.map(|_| Framing::UntilClose)?,
                }
            }
        };
        Ok(true)
    }

    /// From now on the kernel keeps no more than this much of what is not read, however it is tuned: a
    /// slow reader holds its server back. (Much less, and loopback's large packets barely fit.)
    pub fn keep_little(&self) {
        let bytes = 512 << 10;
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.wire.stream, bytes).unwrap();
    }

    /// Hangs up, whatever is still to come.
    pub fn hangup(self) {
        _ = self.wire.stream.shutdown(Shutdown::Both);
    }
}

/// A conversation over one connection, which is opened again only after the server closed it.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    wire: Option<Wire>,
}

impl Client {
    /// A client of the server at `addr`. Nothing is sent yet.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, wire: None }
    }

    /// The server's address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends `request` and waits for the whole answer.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(self.addr)?,
        };
        wire.send(&request.to_bytes(&self.addr.to_string()))?;
        let mut incoming = Incoming::receive(wire, request.is_head(), PATIENCE)?;
        let body = incoming.rest(PATIENCE)?;
        if incoming.reusable {
            if let [first, ..] = incoming.wire.unread[..] {
                let what = format!("byte {first:#04x} and more after the end of the body");
                return Err(malformed("response", &what));
            }
            self.wire = Some(incoming.wire);
        }
        Ok(Response { head: incoming.head, body })
    }

    /// `GET target`.
    pub fn get(&mut self, target: &str) -> io::Result<Response> {
        self.send(&Request::new("GET", target))
    }

    /// `PUT /v2/keys{key}` with a form.
    pub fn put(&mut self, key: &str, fields: &[(&str, &str)]) -> io::Result<Response> {
        self.send(&Request::new("PUT", &format!("/v2/keys{key}")).form(fields))
    }
}

/// What came back for raw bytes.
#[derive(Debug)]
pub struct Raw {
    /// Every byte until the server closed, or until nothing more came.
    pub bytes: Vec<u8>,
    /// Whether the server closed the connection.
    pub closed: bool,
}

impl Raw {
    /// The status codes of all the responses in it, in their order.
    ///
    /// Counted by status lines, so a body that quotes one at the start of a line is counted too.
    pub fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.match_indices("HTTP/1.")
            .filter_map(|(at, _)| text[at..].split(' ').nth(1)?.get(..3)?.parse().ok())
            .collect()
    }

    /// Everything as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Sends any bytes on a connection of its own and collects what comes back until the server closes,
/// is silent for `quiet` after something came, or for [`PATIENCE`] before. With `half_close` the
/// sending side is closed after the last byte.
///
/// A server may answer and close before it has read everything: a failed send is not an error.
pub fn exchange_raw(
    addr: SocketAddr,
    bytes: &[u8],
    half_close: bool,
    quiet: Duration,
) -> io::Result<Raw> {
    let mut wire = Wire::connect(addr)?;
    let mut sender = wire.stream.try_clone()?;
    let to_send = bytes.to_vec();
    let sending = std::thread::spawn(move || {
        if sender.write_all(&to_send).is_ok() && half_close {
            _ = sender.shutdown(Shutdown::Write);
        }
    });
    let closed = loop {
        let wait = if wire.unread.is_empty() { PATIENCE } else { quiet };
        match wire.fill(Deadline::after(wait)) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::TimedOut => break false,
            Err(_) => break true, // closed, or reset because it did not want the rest
        }
    };
    _ = wire.stream.shutdown(Shutdown::Both); // a sender that still waits gives up
    _ = sending.join();
    Ok(Raw { bytes: wire.unread, closed })
}

/// A socket, and what was read from it but not yet used.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads once from the socket. The end of the stream is `UnexpectedEof`.
    fn fill(&mut self, deadline: Deadline) -> io::Result<()> {
        let mut piece = vec![0; 64 << 10];
        let late = || io::Error::new(ErrorKind::TimedOut, "nothing came in time");
        loop {
            self.stream.set_read_timeout(Some(deadline.left().ok_or_else(late)?))?;
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.unread.extend(&piece[..n]);
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(late()),
                Err(e) => return Err(e),
            }
        }
    }

    /// The bytes before `end`, which is taken too.
    fn take_until(&mut self, end: &[u8], deadline: Deadline) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|w| w == end) {
                let mut taken: Vec<u8> = self.unread.drain(..at + end.len()).collect();
                taken.truncate(at);
                return Ok(taken);
            }
            self.fill(deadline)?;
        }
    }

    /// Between 1 and `limit` bytes, as soon as there are any.
    fn take_some(
        &mut self,
        limit: usize,
        into: &mut Vec<u8>,
        deadline: Deadline,
    ) -> io::Result<usize> {
        if self.unread.is_empty() {
            self.fill(deadline)?;
        }
        let count = limit.min(self.unread.len());
        into.extend(self.unread.drain(..count));
        Ok(count)
    }
}

fn malformed(what: &str, text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("malformed {what}: {text:?}"))
}
