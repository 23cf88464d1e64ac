//! A small gRPC client, for tests of the v3 API: h2 and Protobuf, nothing in between. It can also say
//! what no proper client says, and shows exactly what came back.
//!
//! - [`Grpc`]: one connection. Calls may be made from any thread; each blocks its caller, and no longer
//!   than [`PATIENCE`].
//! - [`Call`]: one RPC under way, with messages to and fro.
//! - [`Status`]: how an RPC ended.

use std::future::Future;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use prost::Message;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::http::PATIENCE;

/// How an RPC ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// gRPC's code; none if the answer has none.
    pub code: Option<u32>,
    /// Its text, unescaped.
    pub message: String,
    /// The HTTP status.
    pub http: u16,
}

impl Status {
    /// Whether it is this code and text.
    pub fn is(&self, code: u32, message: &str) -> bool {
        self.code == Some(code) && self.message == message
    }

    fn of(http: u16, headers: &HeaderMap) -> Status {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let message = text("grpc-message").unwrap_or_default();
        let message = percent_encoding::percent_decode_str(message).decode_utf8_lossy();
        let code = text("grpc-status").and_then(|code| code.parse().ok());
        Status { code, message: message.into_owned(), http }
    }

    /// The stream was reset, or the connection lost: there is no status, and the text says why.
    fn lost(error: &h2::Error) -> Status {
        Status { code: None, message: error.to_string(), http: 0 }
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// How much it lets the server send ahead on each stream.
    pub window_bytes: u32,
    /// And on all together.
    pub connection_window_bytes: u32,
}

impl Default for Manners {
    fn default() -> Self {
        Manners { window_bytes: 4 << 20, connection_window_bytes: 64 << 20 }
    }
}

/// One connection to a server.
pub struct Grpc {
    addr: SocketAddr,
    requests: SendRequest<Bytes>,
    runtime: Handle,
    pings: Option<PingPong>,
    closed: Option<oneshot::Receiver<Option<h2::Error>>>,
    /// Ends the connection's thread when dropped.
    _hangup: mpsc::Sender<()>,
}

impl Grpc {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Grpc {
        Grpc::connect_as(addr, Manners::default())
    }

    /// Connects with manners of its own.
    pub fn connect_as(addr: SocketAddr, manners: Manners) -> Grpc {
        let (hangup, mut hung_up) = mpsc::channel::<()>(1);
        let (ready, opened) = std::sync::mpsc::channel();
        let (say_closed, closed) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            runtime.block_on(async {
                let tcp = TcpStream::connect(addr).await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let mut builder = Builder::new();
                builder
                    .initial_window_size(manners.window_bytes)
                    .initial_connection_window_size(manners.connection_window_bytes)
                    .max_concurrent_reset_streams(100_000)
                    .enable_push(false);
                let (requests, mut connection) = builder.handshake(tcp).await.unwrap();
                let pings = connection.ping_pong();
                ready.send((requests, pings, Handle::current())).unwrap();
                let ended = tokio::select! {
                    ended = connection => ended.err(),
                    _ = hung_up.recv() => None,
                };
                _ = say_closed.send(ended);
            });
        });
        let (requests, pings, runtime) = opened.recv_timeout(PATIENCE).expect("it connects");
        Grpc { addr, requests, runtime, pings, closed: Some(closed), _hangup: hangup }
    }

    /// One message there, one back.
    pub fn unary<Req: Message, Res: Message + Default>(
        &self,
        path: &str,
        request: &Req,
    ) -> Result<Res, Status> {
        self.unary_with(&[], path, request)
    }

    /// The same, with metadata.
    pub fn unary_with<Req: Message, Res: Message + Default>(
        &self,
        metadata: &[(&str, &str)],
        path: &str,
        request: &Req,
    ) -> Result<Res, Status> {
        let mut call = self.stream_with(metadata, path);
        call.send_bytes(framed(request), true);
        let answer = call.recv()?.expect("an answer, or an error");
        assert!(call.recv::<Res>()?.is_none(), "two answers to {path}");
        Ok(answer)
    }

    /// Begins an RPC.
    pub fn stream(&self, path: &str) -> Call {
        self.stream_with(&[], path)
    }

    /// The same, with metadata.
    pub fn stream_with(&self, metadata: &[(&str, &str)], path: &str) -> Call {
        self.request(Method::POST, metadata, path, false).expect("the connection is open")
    }

    /// Begins any request at all. Metadata replaces the headers that a proper client sends.
    pub fn request(
        &self,
        method: Method,
        metadata: &[(&str, &str)],
        path: &str,
        end: bool,
    ) -> Result<Call, h2::Error> {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.addr));
        let proper = [("content-type", "application/grpc"), ("te", "trailers")];
        for (name, value) in proper {
            if !metadata.iter().any(|(other, _)| *other == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let mut requests = self.wait("a place for the stream", self.requests.clone().ready())?;
        let (response, sending) = requests.send_request(request, end)?;
        let runtime = self.runtime.clone();
        Ok(Call {
            runtime,
            sending,
            coming: Coming::Head(response),
            buffer: BytesMut::new(),
            ended: None,
        })
    }

    /// Pings, and waits for the answer.
    pub fn ping(&mut self) -> Result<(), h2::Error> {
        let mut pings = self.pings.take().expect("one ping at a time");
        let answered = self.wait("the answer to a ping", pings.ping(Ping::opaque()));
        self.pings = Some(pings);
        answered.map(drop)
    }

    /// Waits until the server has closed the connection; an error says why, if the server did.
    pub fn wait_closed(&mut self) -> Option<h2::Error> {
        let closed = self.closed.take().expect("it closes once");
        self.wait("the end of the connection", closed).expect("its thread says")
    }

    fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        wait(&self.runtime, what, future)
    }
}

fn wait<T>(runtime: &Handle, what: &str, future: impl Future<Output = T>) -> T {
    let waited = runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
    waited.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

/// The answer to a request, as far as it came.
enum Coming {
    Head(ResponseFuture),
    Body(u16, RecvStream),
}

/// An RPC under way. Dropped, it is cancelled.
pub struct Call {
    runtime: Handle,
    sending: SendStream<Bytes>,
    coming: Coming,
    buffer: BytesMut,
    ended: Option<Status>,
}

impl Call {
    /// Sends a message.
    pub fn send<M: Message>(&mut self, message: &M) {
        self.send_bytes(framed(message), false);
    }

    /// Sends any bytes, framed or not.
    pub fn send_bytes(&mut self, bytes: Bytes, end: bool) {
        _ = self.sending.send_data(bytes, end); // fails when the server has ended the call, as the answer says
    }

    /// Ends the sending side.
    pub fn half_close(&mut self) {
        self.send_bytes(Bytes::new(), true);
    }

    /// Gives the call up.
    pub fn cancel(mut self) {
        self.sending.send_reset(h2::Reason::CANCEL);
    }

    /// Waits for the next message; none when the call ended well.
    pub fn recv<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        let message = self.recv_bytes()?;
        Ok(message.map(|bytes| M::decode(bytes).expect("a message of this kind")))
    }

    /// Whether a message comes within this time; used where none may come.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        let runtime = self.runtime.clone();
        runtime.block_on(async { tokio::time::timeout(time, self.next()).await }).is_err()
    }

    /// How the call ended: waits for the end, and wants no more messages.
    pub fn end(&mut self) -> Status {
        match self.recv_bytes() {
            Ok(None) => self.ended.clone().expect("it ended"),
            Ok(Some(message)) => panic!("a message in place of the end: {message:?}"),
            Err(status) => status,
        }
    }

    /// The next message as it came, without its frame.
    pub fn recv_bytes(&mut self) -> Result<Option<Bytes>, Status> {
        let runtime = self.runtime.clone();
        wait(&runtime, "a message or the end of the call", self.next())
    }

    /// The HTTP status, headers and the whole body, for what is not gRPC.
    pub fn whole(self) -> (u16, HeaderMap, Vec<u8>) {
        let Coming::Head(response) = self.coming else { panic!("the head was taken already") };
        wait(&self.runtime, "the answer", async {
            let (head, mut body) = response.await.unwrap().into_parts();
            let mut whole = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                whole.extend_from_slice(&piece);
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            (head.status.as_u16(), head.headers, whole)
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(status) = &self.ended {
                return if status.code == Some(0) { Ok(None) } else { Err(status.clone()) };
            }
            if let Some(message) = take_message(&mut self.buffer) {
                return Ok(Some(message));
            }
            if let Err(status) = self.read().await {
                assert!(self.buffer.is_empty(), "the end came inside a message: {status:?}");
                self.ended = Some(status);
            }
        }
    }

    /// Reads a piece; the end is an error.
    async fn read(&mut self) -> Result<(), Status> {
        match &mut self.coming {
            Coming::Head(response) => {
                let (head, body) =
                    response.await.map_err(|error| Status::lost(&error))?.into_parts();
                let http = head.status.as_u16();
                self.coming = Coming::Body(http, body);
                if head.headers.contains_key("grpc-status") {
                    return Err(Status::of(http, &head.headers));
                }
            }
            Coming::Body(http, body) => {
                let Some(piece) = body.data().await else {
                    let trailers = body.trailers().await.map_err(|error| Status::lost(&error))?;
                    return Err(Status::of(*http, &trailers.unwrap_or_default()));
                };
                let piece = piece.map_err(|error| Status::lost(&error))?;
                self.buffer.extend_from_slice(&piece);
                _ = body.flow_control().release_capacity(piece.len());
            }
        }
        Ok(())
    }
}

/// A message in gRPC's frame.
pub fn framed<M: Message>(message: &M) -> Bytes {
    frame(0, &message.encode_to_vec())
}

/// Any bytes in gRPC's frame.
pub fn frame(compressed: u8, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(compressed);
    out.put_u32(u32::try_from(bytes.len()).unwrap());
    out.put_slice(bytes);
    out.freeze()
}

fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let head: [u8; 5] = buffer.get(..5)?.try_into().unwrap();
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if buffer.len() < 5 + len {
        return None;
    }
    assert_eq!(head[0], 0, "a compressed message");
    buffer.advance(5);
    Some(buffer.split_to(len).freeze())
}
