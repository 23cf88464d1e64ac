//! Follows the framing of HTTP/1.1 in what a client sends, to find the targets of its requests and to
//! escape in them what must be escaped but often is not: `curl http://…/v2/keys/ä` sends the bytes of
//! `ä` as they are. etcd takes them; actix-http's parser would refuse the request.
//!
//! Whatever is doubtful ends the following: from then on the connection's bytes pass untouched, and the
//! parser behind judges them alone. So a wrong guess here can at worst leave a target unescaped, and
//! never touches a body.

use std::borrow::Cow;

/// The longest line of a head that is looked at; those that matter are short.
const LINE_BYTES_MAX: usize = 64;

/// Where in the conversation the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a method, or before it.
    Method,
    /// In a target.
    Target,
    /// Behind a target, up to the end of its line.
    Version,
    /// In a line of a head.
    Header,
    /// In a body, so many bytes before its end.
    Body(u64),
    /// In the line that tells a chunk's length.
    ChunkSize,
    /// In a chunk, so many bytes before the end of the line break behind it.
    Chunk(u64),
    /// In a line behind the last chunk.
    Trailer,
    /// No longer followed.
    Lost,
}

/// What the head says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Untold,
    Bytes(u64),
    Chunked,
}

/// See the head of the module.
#[derive(Debug)]
pub struct Framing {
    place: Place,
    length: Length,
    /// The beginning of the current line, if it was cut by the end of what was read.
    line: Vec<u8>,
}

impl Default for Framing {
    fn default() -> Self {
        Framing { place: Place::Method, length: Length::Untold, line: Vec::new() }
    }
}

impl Framing {
    /// Looks at the next bytes of the connection. None: they pass as they are.
    pub fn pass(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut escaped: Option<Vec<u8>> = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (taken, is_target) = self.take(rest);
            let (piece, tail) = rest.split_at(taken);
            if is_target && escaped.is_none() && piece.iter().any(|&b| is_refused(b)) {
                let before = bytes.len() - rest.len();
                escaped = Some(bytes[..before].to_vec());
            }
            match &mut escaped {
                Some(out) if is_target => push_escaped(out, piece),
                Some(out) => out.extend_from_slice(piece),
                None => {}
            }
            rest = tail;
        }
        escaped
    }

    /// How many bytes belong together, and whether they are (part of) a target. Steps behind them.
    fn take(&mut self, rest: &[u8]) -> (usize, bool) {
        match self.place {
            Place::Method => (self.method(rest), false),
            Place::Target => {
                let end = rest.iter().position(|b| matches!(b, b' ' | b'\r' | b'\n'));
                if end.is_some() {
                    self.place = Place::Version;
                }
                (end.unwrap_or(rest.len()), true)
            }
            Place::Version => {
                let Some(end) = rest.iter().position(|&b| b == b'\n') else {
                    return (rest.len(), false);
                };
                self.place = Place::Header;
                self.length = Length::Untold;
                (end + 1, false)
            }
            Place::Header => (self.whole_line(rest, Framing::header), false),
            Place::ChunkSize => (self.whole_line(rest, |_, line| chunk_size(line)), false),
            Place::Trailer => (self.whole_line(rest, |_, line| trailer(line)), false),
            Place::Body(left) => {
                let taken = left.min(rest.len() as u64);
                self.place = if taken == left { Place::Method } else { Place::Body(left - taken) };
                (taken as usize, false)
            }
            Place::Chunk(left) => {
                let taken = left.min(rest.len() as u64);
                self.place =
                    if taken == left { Place::ChunkSize } else { Place::Chunk(left - taken) };
                (taken as usize, false)
            }
            Place::Lost => (rest.len(), false),
        }
    }

    fn method(&mut self, rest: &[u8]) -> usize {
        let Some(end) = rest.iter().position(|&b| b == b' ') else {
            self.keep(rest);
            return rest.len();
        };
        self.keep(&rest[..end]);
        let is_method = |b: &u8| b.is_ascii_alphanumeric() || b"\r\n-_".contains(b);
        let odd = self.line.len() >= LINE_BYTES_MAX
            || !self.line.iter().all(is_method)
            || self.line.trim_ascii() == b"CONNECT"; // what follows its head is no request
        self.line.clear();
        self.place = if odd { Place::Lost } else { Place::Target };
        end + 1
    }

    /// Takes a line to its end and gives it to `judge`, without its break.
    fn whole_line(&mut self, rest: &[u8], judge: fn(&mut Framing, &[u8]) -> Place) -> usize {
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            self.keep(rest);
            return rest.len();
        };
        self.place = if self.line.is_empty() {
            judge(self, without_return(&rest[..end.min(LINE_BYTES_MAX)])) // as much as is kept of it
        } else {
            self.keep(&rest[..end]);
            let line = std::mem::take(&mut self.line);
            judge(self, without_return(&line))
        };
        end + 1
    }

    /// Keeps the beginning of a line that is not yet complete.
    fn keep(&mut self, part: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn header(&mut self, line: &[u8]) -> Place {
        if line.is_empty() {
            return match self.length {
                Length::Untold | Length::Bytes(0) => Place::Method,
                Length::Bytes(bytes) => Place::Body(bytes),
                Length::Chunked => Place::ChunkSize,
            };
        }
        if matches!(line[0], b' ' | b'\t') {
            return Place::Lost; // folded lines are no longer HTTP
        }
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            // A long line was cut here; what matters has its colon early.
            return if line.len() >= LINE_BYTES_MAX { Place::Header } else { Place::Lost };
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let told = if name.eq_ignore_ascii_case(b"content-length") {
            parse_number(value, 10).map(Length::Bytes)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            value.eq_ignore_ascii_case(b"chunked").then_some(Length::Chunked)
        } else if name.eq_ignore_ascii_case(b"upgrade") || name.trim_ascii().len() != name.len() {
            None
        } else {
            return Place::Header;
        };
        match told {
            Some(length) if self.length == Length::Untold && line.len() < LINE_BYTES_MAX => {
                self.length = length;
                Place::Header
            }
            _ => Place::Lost,
        }
    }
}

fn chunk_size(line: &[u8]) -> Place {
    let size = line.split(|&b| b == b';').next().unwrap_or_default();
    match parse_number(size.trim_ascii(), 16) {
        Some(0) => Place::Trailer,
        Some(size) => size.checked_add(2).map_or(Place::Lost, Place::Chunk),
        None => Place::Lost,
    }
}

fn trailer(line: &[u8]) -> Place {
    if line.is_empty() { Place::Method } else { Place::Trailer }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Digits and nothing else.
fn parse_number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    u64::from_str_radix(text, radix).ok()
}

/// What the parser refuses in a target, and `#`, which it would take for the end of it: a client that
/// sends one means it.
fn is_refused(byte: u8) -> bool {
    byte >= 0x7f || b"\"<>`#".contains(&byte)
}

/// A target with what the parser would refuse escaped.
pub fn escape(target: &[u8]) -> Cow<'_, [u8]> {
    if !target.iter().any(|&b| is_refused(b)) {
        return Cow::Borrowed(target);
    }
    let mut out = Vec::with_capacity(target.len() + 16);
    push_escaped(&mut out, target);
    Cow::Owned(out)
}

fn push_escaped(out: &mut Vec<u8>, target: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in target {
        if is_refused(byte) {
            out.push(b'%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when it comes in in pieces of `size` bytes.
    fn passed(input: &[u8], size: usize) -> Vec<u8> {
        let mut framing = Framing::default();
        let mut out = Vec::new();
        for piece in input.chunks(size) {
            out.extend(framing.pass(piece).unwrap_or_else(|| piece.to_vec()));
        }
        out
    }

    #[test]
    fn a_long_line_is_judged_alike_however_it_is_cut() {
        for len in LINE_BYTES_MAX - 3..LINE_BYTES_MAX + 3 {
            for (before, after) in [("\r", ": x"), (" ", ": x"), ("", " : x"), ("", "\r: x")] {
                let name = "x".repeat(len);
                let next = "GET /é HTTP/1.1\r\n\r\n";
                let text = format!("GET / HTTP/1.1\r\n{before}{name}{after}\r\n\r\n{next}");
                let whole = passed(text.as_bytes(), text.len());
                for size in [1, 7, 64] {
                    assert_eq!(passed(text.as_bytes(), size), whole, "{text:?} by {size}");
                }
            }
        }
    }

    const PUT: &str = "PUT /é HTTP/1.1\r\nHost: é\r\nContent-Length: 14\r\n\r\nGET /é <>`#\r\n\n";
    const CHUNKED: &str = "POST /<a> HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n\
                           7;x=é\r\nGET /é\r\n1\r\n<\r\n0\r\nTrailer: é\r\n\r\n";
    const GET: &str = "GET /a#b?c=\"é\" HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn targets_are_escaped_and_nothing_else_however_it_is_cut() {
        let input = [PUT, CHUNKED, GET, GET].concat();
        let put = PUT.replacen("/é", "/%C3%A9", 1);
        let chunked = CHUNKED.replacen("/<a>", "/%3Ca%3E", 1);
        let get = GET.replacen("/a#b?c=\"é\"", "/a%23b?c=%22%C3%A9%22", 1);
        let expected = [&put[..], &chunked, &get, &get].concat();
        for size in 1..=input.len() {
            let out = passed(input.as_bytes(), size);
            assert_eq!(String::from_utf8_lossy(&out), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn plain_requests_are_not_copied() {
        let mut framing = Framing::default();
        assert_eq!(framing.pass(b"GET /a%20b HTTP/1.1\r\nHost: x\r\n\r\n"), None);
        assert_eq!(framing.place, Place::Method);
    }

    #[test]
    fn what_is_doubtful_passes_untouched() {
        for head in [
            "CONNECT x HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length : 1\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "\u{16}\u{3}\u{1} /é ",
        ] {
            let input = format!("{head}{GET}");
            assert_eq!(passed(input.as_bytes(), 7), input.as_bytes(), "{head}");
        }
    }
}
