//! Whether a client pings too often. Pure: time comes in with each ping.
//!
//! The rule is grpc-go's, which clients know: a ping that comes too soon after the last is a strike, one
//! that follows something that was sent to the client forgives all, and the third strike is out.

use std::time::Duration;

/// Strikes that are forgiven.
const STRIKES_MAX: u32 = 2;
/// How far apart pings must be while no call is open.
const IDLE: Duration = Duration::from_hours(2);

/// See the head of the module.
#[derive(Debug)]
pub struct Pings {
    /// `--grpc-keepalive-min-time`.
    apart_min: Duration,
    last: Option<Duration>,
    strikes: u32,
    forgiven: bool,
}

impl Pings {
    /// On a new connection.
    pub fn new(apart_min: Duration) -> Pings {
        Pings { apart_min, last: None, strikes: 0, forgiven: false }
    }

    /// Something was sent that tells the client more than that the server lives.
    pub fn sent(&mut self) {
        self.forgiven = true;
    }

    /// A ping came, so long after the connection was opened. Whether it is one too many.
    pub fn received(&mut self, at: Duration, has_calls: bool) -> bool {
        let last = self.last.replace(at);
        if std::mem::take(&mut self.forgiven) {
            self.strikes = 0;
            return false;
        }
        let apart_min = if has_calls { self.apart_min } else { IDLE };
        if last.is_some_and(|last| last + apart_min > at) {
            self.strikes += 1;
        }
        self.strikes > STRIKES_MAX
    }
}

/// The head of an HTTP/2 frame, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// DATA or HEADERS.
    Content,
    /// PING that wants an answer.
    Ping,
    /// Any other.
    Other,
}

const HEAD_BYTES: usize = 9;

/// Finds the heads of frames in a direction of a connection.
#[derive(Debug)]
pub struct Frames {
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// Bytes up to the next head.
    skip: usize,
}

impl Frames {
    /// The first head comes after so many bytes.
    pub fn after(skip: usize) -> Frames {
        Frames { head: [0; HEAD_BYTES], head_len: 0, skip }
    }

    /// Whether the next byte begins a frame.
    pub fn is_between(&self) -> bool {
        self.head_len == 0 && self.skip == 0
    }

    /// Passes bytes, and tells each head in them.
    pub fn pass(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD_BYTES - self.head_len).min(bytes.len());
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            bytes = &bytes[taken..];
            if self.head_len == HEAD_BYTES {
                let [a, b, c, kind, flags, ..] = self.head;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.head_len = 0;
                tell(match (kind, flags & 1) {
                    (0 | 1, _) => Frame::Content,
                    (6, 0) => Frame::Ping,
                    _ => Frame::Other,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_strike_is_out() {
        let secs = Duration::from_secs;
        let play = |pings: &[(u64, bool, bool)]| {
            let mut rule = Pings::new(secs(5));
            let out = pings.iter().map(|&(at, has_calls, sent_before)| {
                if sent_before {
                    rule.sent();
                }
                rule.received(secs(at), has_calls)
            });
            out.collect::<Vec<bool>>()
        };
        let busy = |at| (at, true, false);
        assert_eq!(play(&[busy(0), busy(1), busy(2), busy(3)]), [false, false, false, true]);
        assert!(!play(&[0, 5, 10, 15, 20].map(busy)).contains(&true), "polite");
        assert!(!play(&[0, 1, 2, 8, 14].map(busy)).contains(&true), "two strikes");
        let idle = |at| (at, false, false);
        assert!(play(&[0, 60, 120, 180].map(idle))[3], "too often for one that is idle");
        assert!(!play(&[0, 7200, 14_400, 21_600].map(idle)).contains(&true));
        assert!(
            !play(&[busy(0), busy(1), busy(2), (3, true, true), busy(4), busy(5)]).contains(&true),
            "forgiven"
        );
    }

    #[test]
    fn heads_are_found_however_they_are_cut() {
        let frame = |len: usize, kind: u8, flags: u8| {
            let mut bytes = vec![0, 0, len as u8, kind, flags, 0, 0, 0, 1];
            bytes.extend(vec![6; len]);
            bytes
        };
        let input = [
            vec![6; 24],
            frame(0, 4, 0),
            frame(8, 6, 0),
            frame(8, 6, 1),
            frame(30, 0, 1),
            frame(12, 1, 4),
            frame(4, 8, 0),
        ]
        .concat();
        let expected =
            [Frame::Other, Frame::Ping, Frame::Other, Frame::Content, Frame::Content, Frame::Other];
        for size in 1..=input.len() {
            let mut frames = Frames::after(24);
            let mut found = Vec::new();
            for piece in input.chunks(size) {
                frames.pass(piece, |frame| found.push(frame));
            }
            assert_eq!(found, expected, "in pieces of {size}");
            assert!(frames.is_between());
        }
    }
}
