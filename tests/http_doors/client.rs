//! A client that says exactly the bytes that it is told to say, and reads answers one by one.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, or its head alone.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Client {
        Client { stream: TcpStream::connect(to).await.expect("a listener"), buffer: Vec::new() }
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("a connection that takes bytes");
    }

    /// Sends a request with a form, or with no body if there is none.
    pub async fn ask(&mut self, method: &str, path: &str, form: &str) {
        let body = if form.is_empty() && !matches!(method, "PUT" | "POST") {
            String::new()
        } else {
            let len = form.len();
            let kind = "Content-Type: application/x-www-form-urlencoded";
            format!("{kind}\r\nContent-Length: {len}\r\n\r\n{form}")
        };
        let end = if body.is_empty() { "\r\n" } else { "" };
        self.say(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{body}{end}").as_bytes()).await;
    }

    pub async fn talk(&mut self, method: &str, path: &str, form: &str) -> Answer {
        self.ask(method, path, form).await;
        self.answer(method).await
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        read.expect("bytes in time").is_ok_and(|read| read > 0)
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.buffer.split_off(end + 2);
                let line = std::mem::replace(&mut self.buffer, rest);
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(self.more().await, "the connection ended within a line");
        }
    }

    async fn exactly(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len {
            assert!(self.more().await, "the connection ended within a body");
        }
        let rest = self.buffer.split_off(len);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Status and headers; the body is still to be read.
    pub async fn head(&mut self) -> Answer {
        let line = self.line().await;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {line}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Answer { status, headers, body: String::new() }
    }

    /// The next chunk; none at the end of the body.
    pub async fn chunk(&mut self) -> Option<String> {
        let len = usize::from_str_radix(&self.line().await, 16).expect("a chunk's length");
        let chunk = self.exactly(len).await;
        self.exactly(2).await;
        (len > 0).then(|| String::from_utf8_lossy(&chunk).into_owned())
    }

    /// A whole answer.
    pub async fn answer(&mut self, method: &str) -> Answer {
        let mut answer = self.head().await;
        if method == "HEAD" {
            return answer;
        }
        if answer.header("Transfer-Encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.push_str(&chunk);
            }
        } else {
            let len =
                answer.header("Content-Length").map_or(0, |len| len.parse().expect("a length"));
            answer.body = String::from_utf8_lossy(&self.exactly(len).await).into_owned();
        }
        answer
    }

    /// Whether the server closes the connection now.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more().await
    }
}
