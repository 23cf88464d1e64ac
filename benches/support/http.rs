//! A lean HTTP/1.1 client connection for load: requests are bytes made ahead, of an answer only the
//! status and the length are looked at. One request at a time, no pipelining.
//!
//! It runs on one thread of tokio (readiness, `try_read`, `try_write`): about two system calls a
//! request, so that on two cores the server is measured and not the client.

use std::{io, net::SocketAddr, ops::Range};

use tokio::net::TcpStream;

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were received.
    filled: usize,
}

/// Where an answer lies in the buffer.
pub struct Answer {
    pub status: u16,
    head: usize,
    body: Range<usize>,
}

enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new(), filled: 0 })
    }

    /// Sends a request and reads its answer.
    pub async fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Sends a request. The answer before it is gone.
    pub async fn send(&mut self, mut request: &[u8]) -> io::Result<()> {
        self.filled = 0;
        while !request.is_empty() {
            match self.stream.try_write(request) {
                Ok(written) => request = &request[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until the head of the answer is there; its length.
    pub async fn head(&mut self) -> io::Result<usize> {
        loop {
            let received = &self.buffer[..self.filled];
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(at + 4);
            }
            self.receive().await?;
        }
    }

    /// Reads the whole answer.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head().await?;
        let (status, length) = parse(&self.buffer[..head])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))?;
        loop {
            let received = &self.buffer[head..self.filled];
            let body = match length {
                Length::Bytes(len) if received.len() >= len => Some(head..head + len),
                // Values here hold no line ends, so nothing else looks like the last chunk.
                Length::Chunked if received.ends_with(b"\r\n0\r\n\r\n") => {
                    let first = received.iter().position(|&b| b == b'\n').unwrap_or(0) + 1;
                    Some(head + first..self.filled - b"\r\n0\r\n\r\n".len())
                }
                _ => None,
            };
            if let Some(body) = body {
                return Ok(Answer { status, head, body });
            }
            self.receive().await?;
        }
    }

    /// The head of `answer`.
    pub fn head_of(&self, answer: &Answer) -> &[u8] {
        &self.buffer[..answer.head]
    }

    /// The body of `answer`; of a chunked one the first chunk.
    pub fn body_of(&self, answer: &Answer) -> &[u8] {
        &self.buffer[answer.body.clone()]
    }

    async fn receive(&mut self) -> io::Result<()> {
        if self.buffer.len() - self.filled < 512 {
            self.buffer.resize(self.buffer.len() + 1024, 0);
        }
        loop {
            match self.stream.try_read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => {
                    self.filled += len;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.readable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Status and length from an answer's head.
fn parse(head: &[u8]) -> Option<(u16, Length)> {
    let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    let length = head.split(|&b| b == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|&b| b == b':')?;
        let value = line[colon + 1..].trim_ascii();
        if line[..colon].eq_ignore_ascii_case(b"content-length") {
            Some(Length::Bytes(std::str::from_utf8(value).ok()?.parse().ok()?))
        } else {
            let chunked = line[..colon].eq_ignore_ascii_case(b"transfer-encoding");
            chunked.then_some(Length::Chunked)
        }
    });
    Some((status, length.unwrap_or(Length::Bytes(0))))
}
