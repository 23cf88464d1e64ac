//! A connection's life: what a client says is watched for pings that come too often, and a client that
//! says nothing for long is pinged.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::pings::{Frame, Frames, Pings};
use crate::http::Http2Settings;

/// The bytes before a client's first frame.
const PREFACE_BYTES: usize = 24;
/// GOAWAY with `ENHANCE_YOUR_CALM` and the reason that makes Go's clients ping less.
const TOO_MANY_PINGS: &[u8] = b"\0\0\x16\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0btoo_many_pings";

/// What a connection and its stream of bytes know of each other.
#[derive(Debug, Default)]
pub struct Signs {
    /// How often something was read.
    pub reads: Cell<u64>,
    /// Calls that are open.
    pub calls: Cell<usize>,
    /// h2 has its side of the connection ready.
    pub framing: Cell<bool>,
}

/// A call that is open, until dropped.
#[derive(Debug)]
pub struct OpenCall(Rc<Signs>);

impl OpenCall {
    /// One more.
    pub fn new(signs: &Rc<Signs>) -> OpenCall {
        signs.calls.set(signs.calls.get() + 1);
        OpenCall(Rc::clone(signs))
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
    }
}

/// A connection's bytes, watched.
#[derive(Debug)]
pub struct Watched<S> {
    io: S,
    signs: Rc<Signs>,
    pings: Pings,
    opened: Instant,
    incoming: Frames,
    outgoing: Frames,
    /// What is still to be said before the connection is cut, once it is to be.
    last_words: Option<&'static [u8]>,
}

impl<S> Watched<S> {
    /// From the connection's first byte on.
    pub fn new(io: S, signs: Rc<Signs>, settings: &Http2Settings) -> Watched<S> {
        Watched {
            io,
            signs,
            pings: Pings::new(settings.keepalive_min_time),
            opened: Instant::now(),
            incoming: Frames::after(PREFACE_BYTES),
            outgoing: Frames::after(0),
            last_words: None,
        }
    }

    /// Notes what was written, the first `written` bytes of these pieces.
    fn wrote<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>, mut written: usize) {
        for piece in pieces {
            let taken = written.min(piece.len());
            written -= taken;
            let pings = &mut self.pings;
            self.outgoing.pass(&piece[..taken], |frame| {
                if frame == Frame::Content {
                    pings.sent();
                }
            });
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Says the last words, and ends.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while let Some(rest) = self.last_words.filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest)) {
                Ok(written) if written > 0 => self.last_words = Some(&rest[written..]),
                _ => break,
            }
        }
        Poll::Ready(io::Error::other("too many pings"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.last_words.is_some() {
            return this.poll_end(cx).map(Err);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.signs.reads.set(this.signs.reads.get() + 1);
        let (pings, opened, has_calls) = (&mut this.pings, this.opened, this.signs.calls.get() > 0);
        let mut too_many = false;
        this.incoming.pass(&buf.filled()[before..], |frame| {
            if frame == Frame::Ping {
                too_many |= pings.received(opened.elapsed(), has_calls);
            }
        });
        if !too_many {
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(before);
        // In the middle of another frame there is no way to say why.
        let words = if this.outgoing.is_between() { TOO_MANY_PINGS } else { &[] };
        this.last_words = Some(words);
        this.poll_end(cx).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.last_words.is_some() {
            return self.poll_end(cx).map(Err);
        }
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.wrote([bytes].into_iter(), written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.last_words.is_some() {
            return self.poll_end(cx).map(Err);
        }
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, pieces))?;
        self.wrote(pieces.iter().map(|piece| &**piece), written);
        Poll::Ready(Ok(written))
    }

    /// h2 asks once at first, and then before each write. Of who can take several pieces at once it
    /// gathers only pieces below 256 bytes, and makes a system call for each longer one; of who cannot, it
    /// gathers those below 1024: most keys with their values, many of which go out in one turn.
    fn is_write_vectored(&self) -> bool {
        self.signs.framing.get() && self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Pings a client that is silent for `--grpc-keepalive-interval`, and gives up on one that does not
/// answer for `--grpc-keepalive-timeout`.
pub struct Keepalive {
    pings: Option<PingPong>,
    signs: Rc<Signs>,
    interval: Duration,
    timeout: Duration,
    wait: Option<Pin<Box<Sleep>>>,
    reads: u64,
    pinged: bool,
}

impl Keepalive {
    /// On a new connection; an interval of 0 never pings, a timeout of 0 waits for ever.
    pub fn new(pings: Option<PingPong>, signs: Rc<Signs>, settings: &Http2Settings) -> Keepalive {
        let interval = settings.keepalive_interval;
        let wait = (!interval.is_zero() && pings.is_some()).then(|| Box::pin(sleep(interval)));
        let timeout = settings.keepalive_timeout;
        Keepalive { pings, reads: signs.reads.get(), signs, interval, timeout, wait, pinged: false }
    }

    /// Ready when the client has not answered.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(wait), Some(pings)) = (&mut self.wait, &mut self.pings) else {
            return Poll::Pending;
        };
        _ = pings.poll_pong(cx); // takes the answer, so that the next ping may go; all reads count
        while wait.as_mut().poll(cx).is_ready() {
            let reads = self.signs.reads.get();
            let silent = reads == self.reads;
            self.reads = reads;
            let next = if !silent {
                self.pinged = false;
                self.interval
            } else if !self.pinged {
                self.pinged = pings.send_ping(Ping::opaque()).is_ok();
                if self.timeout.is_zero() { self.interval } else { self.timeout }
            } else if self.timeout.is_zero() {
                self.interval
            } else {
                return Poll::Ready(());
            };
            wait.as_mut().reset(Instant::now() + next);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_a_frame() {
        let mut heads = Vec::new();
        let mut frames = Frames::after(0);
        frames.pass(TOO_MANY_PINGS, |frame| heads.push(frame));
        assert_eq!((heads, frames.is_between()), (vec![Frame::Other], true));
    }
}
