//! An endpoint that does nothing by itself: the test takes each request and says what comes back, and
//! when. Each connection carries one request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use super::http::PATIENCE;

/// A listener whose requests are handed to the test.
#[derive(Debug)]
pub struct Fake {
    addr: SocketAddr,
    requests: mpsc::Receiver<Taken>,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// Listens from now on, until the test program ends.
    pub fn new() -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || {
                    if let Ok(taken) = Taken::read(stream) {
                        _ = sender.send(taken); // or the test is over
                    }
                });
            }
        });
        Fake { addr, requests }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next request.
    pub fn next(&self) -> Taken {
        self.requests.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// A request, if one has come.
    pub fn try_next(&self) -> Option<Taken> {
        self.requests.try_recv().ok()
    }

    /// Whether a request has come that nobody took.
    pub fn has_more(&self) -> bool {
        self.try_next().is_some()
    }
}

/// A request that waits for its answer. Dropped, its connection is closed.
#[derive(Debug)]
pub struct Taken {
    /// The request line and the header lines.
    pub head: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
    stream: TcpStream,
}

impl Taken {
    fn read(stream: TcpStream) -> io::Result<Taken> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let len = head
            .iter()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; len.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        Ok(Taken { head, body, stream })
    }

    /// Method and target.
    pub fn line(&self) -> &str {
        self.head[0].trim_end_matches(" HTTP/1.1")
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Sends any bytes.
    pub fn say(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).unwrap();
    }

    /// A whole answer.
    pub fn answer(mut self, status: &str, body: &str) {
        let len = body.len();
        self.say(&format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}"
        ));
    }

    /// The head of a watch's answer.
    pub fn park(&mut self, index: u64) {
        self.say(&format!(
            "HTTP/1.1 200 OK\r\nX-Etcd-Index: {index}\r\nX-Etcd-Cluster-Id: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
    }

    /// The event of a watch, and its end.
    pub fn event(mut self, index: u64) {
        let event = format!(r#"{{"action":"set","node":{{"key":"/k","modifiedIndex":{index}}}}}"#);
        self.say(&format!("{:x}\r\n{event}\n\r\n0\r\n\r\n", event.len() + 1));
    }

    /// Waits until the other side closes.
    pub fn wait_closed(mut self) {
        let mut rest = [0; 16];
        match self.stream.read(&mut rest) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("it is not closed: {other:?}"),
        }
    }
}
