//! The task that hosts one peer's session: dials, writes what RaftNode has for the peer, reads the answers
//! to its pings. Everything that waits on the network waits here, never in RaftNode; what the network does
//! not take is kept up to a limit and then dropped.
//!
//! It is a task and no actix actor because one loop has to wait for four things at once: errands, room in
//! the socket, bytes from it, and time. Its errands come through the same counted slots as any mailbox.

use std::{
    future::pending,
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    sync::mpsc::UnboundedReceiver,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::{info, warn};

use super::{
    Outgoing,
    dial::{self, Connected},
    role::{Effect, Failure, Input, Session},
};
use crate::{
    actors::mailbox::Slot,
    clock::wall_clock,
    published::PeerFigures,
    tls::Dialer,
    types::MemberId,
    wire::{self, Decoder, Hello, PeerFrame},
};

/// How long dialling and the handshake may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Raft messages are dropped while more than this waits for the socket.
const RAFT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// And proposals, which somebody waits for, while more than this does.
const BYTES_MAX: usize = 2 * RAFT_BYTES_MAX;
/// A write buffer that grew larger than this is given back once it is empty.
const BUFFER_KEPT: usize = 1024 * 1024;
/// Parcels that are taken up at once; all of them share one write.
const ERRANDS_AT_ONCE: usize = 64;
/// The longest frame that comes back on this stream: pongs and hashes.
const ANSWER_BYTES_MAX: usize = 4096;

/// What a peer's task is asked to do. It ends when nobody can ask any more.
pub(super) enum Errand {
    /// Send this. Never a snapshot.
    Send(Outgoing, Slot),
    /// The peer is found there from now on.
    Moved(Vec<String>),
}

/// What a peer's task works with.
pub(super) struct Link {
    pub(super) id: MemberId,
    pub(super) urls: Vec<String>,
    pub(super) hello: Hello,
    pub(super) dialer: Arc<Dialer>,
    pub(super) errands: UnboundedReceiver<Errand>,
    pub(super) figures: Arc<PeerFigures>,
    pub(super) unreachable: Box<dyn Fn(MemberId) + Send>,
    pub(super) refused_as_removed: Box<dyn Fn(MemberId) + Send>,
}

/// Why a session ended.
enum End {
    /// Nobody can ask any more.
    Closed,
    /// The peer has other URLs.
    Moved,
    Failed(String),
}

/// Keeps a stream to the peer until its errands end.
pub(super) async fn run(mut link: Link, mut session: Session) {
    let start = Instant::now();
    loop {
        let due = start + session.dial_at().unwrap_or_default();
        if due > Instant::now() {
            tokio::select! {
                biased;
                () = sleep_until(due) => {}
                errand = link.errands.recv() => match errand {
                    Some(errand) => link.turn_away(errand, &mut session, start),
                    None => break,
                },
            }
            continue;
        }
        let url = link.urls.get(session.next_url(link.urls.len())).cloned().unwrap_or_default();
        let dialled = {
            let (dialer, hello) = (Arc::clone(&link.dialer), link.hello.clone());
            let attempt = async move {
                let attempt = dial::dial(&dialer, &url, &hello);
                let timed_out = |_| Err(Failure::Unreachable(format!("{url}: no answer in time")));
                tokio::time::timeout(DIAL_TIMEOUT, attempt).await.unwrap_or_else(timed_out)
            };
            tokio::pin!(attempt);
            loop {
                tokio::select! {
                    biased;
                    dialled = &mut attempt => break Some(dialled),
                    errand = link.errands.recv() => match errand {
                        Some(errand) => link.turn_away(errand, &mut session, start),
                        None => break None,
                    },
                }
            }
        };
        let failure = match dialled {
            None => break,
            Some(Err(failure)) => failure,
            Some(Ok(connected)) => match link.talk(connected, &mut session, start).await {
                End::Closed => break,
                End::Moved => {
                    let failure = Failure::Unreachable("it has other peer URLs now".to_owned());
                    let effects = session.handle(start.elapsed(), Input::Failed(failure));
                    link.perform(effects, &mut Vec::new());
                    session.moved(start.elapsed());
                    continue;
                }
                End::Failed(reason) => Failure::Unreachable(reason),
            },
        };
        link.figures.sent_failures.fetch_add(1, Ordering::Relaxed);
        let effects = session.handle(start.elapsed(), Input::Failed(failure));
        link.perform(effects, &mut Vec::new());
    }
    link.figures.note_silent();
}

impl Link {
    /// There is no stream.
    fn turn_away(&mut self, errand: Errand, session: &mut Session, start: Instant) {
        match errand {
            Errand::Send(..) => self.dropped(session, start),
            Errand::Moved(urls) => {
                self.urls = urls;
                session.moved(start.elapsed());
            }
        }
    }

    fn dropped(&mut self, session: &mut Session, start: Instant) {
        self.figures.sent_failures.fetch_add(1, Ordering::Relaxed);
        let effects = session.handle(start.elapsed(), Input::Dropped);
        self.perform(effects, &mut Vec::new());
    }

    /// Carries effects out; frames go to `out`. Says whether the stream is to be closed.
    fn perform(&self, effects: Vec<Effect>, out: &mut Vec<u8>) -> bool {
        let peer = || format!("{:x}", self.id);
        let mut close = false;
        for effect in effects {
            match effect {
                Effect::Unreachable => (self.unreachable)(self.id),
                Effect::Ping { nonce } => wire::encode(&PeerFrame::Ping { nonce }, out),
                Effect::Close => close = true,
                Effect::Active(active) => {
                    let was = self.figures.active_since().is_some();
                    if active && !was {
                        self.figures.note_answering(wall_clock());
                        info!(peer = peer(), "peer became active");
                    } else if !active && was {
                        self.figures.note_silent();
                        info!(peer = peer(), "peer became inactive");
                    }
                }
                Effect::RoundTrip(took) => self.figures.note_round_trip(took),
                Effect::Warn(Failure::Unreachable(reason)) => {
                    warn!(peer = peer(), reason, "peer is not reachable");
                }
                Effect::Warn(Failure::Refused { status, text }) => {
                    warn!(peer = peer(), status, reason = text, "peer refuses the stream");
                }
                Effect::RefusedAsRemoved => (self.refused_as_removed)(self.id),
            }
        }
        close
    }

    /// Uses a stream until it ends.
    async fn talk(&mut self, connected: Connected, session: &mut Session, start: Instant) -> End {
        let Connected { io, read_already } = connected;
        let mut out = Outbox { is_held_back: io.is_secure(), ..Outbox::default() };
        let (mut from_peer, mut to_peer) = split(io);
        let mut decoder = Decoder::new(ANSWER_BYTES_MAX);
        decoder.feed(read_already);
        let mut errands = Vec::with_capacity(ERRANDS_AT_ONCE);
        let mut ticks = interval(Duration::from_millis(50));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read = BytesMut::with_capacity(ANSWER_BYTES_MAX);
        let effects = session.handle(start.elapsed(), Input::Connected);
        self.perform(effects, &mut out.bytes);
        loop {
            tokio::select! {
                taken = self.errands.recv_many(&mut errands, ERRANDS_AT_ONCE) => {
                    if taken == 0 {
                        return End::Closed;
                    }
                    for errand in errands.drain(..) {
                        match errand {
                            Errand::Moved(urls) => {
                                self.urls = urls;
                                return End::Moved;
                            }
                            Errand::Send(what, slot) => {
                                drop(slot);
                                if !out.take(what) {
                                    self.dropped(session, start);
                                }
                            }
                        }
                    }
                    // Most often the socket has room, and this is the turn's only write.
                    match out.write_to(&mut to_peer).now_or_never() {
                        Some(Ok(written)) => self.written(&mut out, written, session, start),
                        None => {}
                        Some(Err(error)) => return End::Failed(error.to_string()),
                    }
                }
                written = async {
                    if out.has_work() { out.write_to(&mut to_peer).await } else { pending().await }
                } => match written {
                    Ok(written) => self.written(&mut out, written, session, start),
                    Err(error) => return End::Failed(error.to_string()),
                },
                received = from_peer.read_buf(&mut read) => {
                    match received {
                        Ok(0) => return End::Failed("the peer closed the stream".to_owned()),
                        Ok(_) => decoder.feed(read.split().freeze()),
                        Err(error) => return End::Failed(error.to_string()),
                    }
                    loop {
                        match decoder.next() {
                            Ok(Some(PeerFrame::Pong { nonce })) => {
                                let effects = session.handle(start.elapsed(), Input::Pong { nonce });
                                self.perform(effects, &mut out.bytes);
                            }
                            Ok(Some(_)) => return End::Failed("an answer to nothing".to_owned()),
                            Ok(None) => break,
                            Err(error) => return End::Failed(error.to_string()),
                        }
                    }
                    read.reserve(ANSWER_BYTES_MAX);
                }
                _ = ticks.tick() => {
                    let effects = session.handle(start.elapsed(), Input::Tick);
                    if self.perform(effects, &mut out.bytes) {
                        return End::Failed("the peer does not answer".to_owned());
                    }
                }
            }
        }
    }

    fn written(&self, out: &mut Outbox, written: usize, session: &mut Session, start: Instant) {
        out.unflushed = out.is_held_back && written > 0;
        self.figures.sent_bytes.fetch_add(written as u64, Ordering::Relaxed);
        if out.written(written) && std::mem::take(&mut out.overflowed) {
            let effects = session.handle(start.elapsed(), Input::Drained);
            self.perform(effects, &mut out.bytes);
        }
    }
}

/// Frames that wait for the socket.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    /// So many of them are written.
    done: usize,
    /// Something was dropped since it was last empty.
    overflowed: bool,
    /// What is written may not have left yet, as with TLS.
    is_held_back: bool,
    /// And that is so now.
    unflushed: bool,
}

impl Outbox {
    fn waiting(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    fn has_work(&self) -> bool {
        self.unflushed || !self.waiting().is_empty()
    }

    /// Writes some of what waits and says how much, or sees to it that everything leaves.
    async fn write_to(&self, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
        if self.waiting().is_empty() {
            return io.flush().await.map(|()| 0);
        }
        match io.write(self.waiting()).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    /// Encodes, if there is room.
    fn take(&mut self, what: Outgoing) -> bool {
        let max = if matches!(what, Outgoing::Raft(_)) { RAFT_BYTES_MAX } else { BYTES_MAX };
        if self.waiting().len() > max {
            self.overflowed = true;
            return false;
        }
        if self.done > BUFFER_KEPT && self.done > self.bytes.len() / 2 {
            self.bytes.drain(..self.done);
            self.done = 0;
        }
        match what {
            Outgoing::Raft(messages) => wire::encode_raft(&messages, &mut self.bytes),
            Outgoing::Forward(forward) => {
                wire::encode(&PeerFrame::Forward(forward), &mut self.bytes);
            }
            Outgoing::Refusal(refusal) => {
                wire::encode(&PeerFrame::Refusal(refusal), &mut self.bytes);
            }
            Outgoing::StateHash(hash) => wire::encode(&PeerFrame::StateHash(hash), &mut self.bytes),
            Outgoing::LeaseQuestions(questions) => {
                wire::encode(&PeerFrame::LeaseQuestions(questions), &mut self.bytes);
            }
            Outgoing::LeaseAnswers(answers) => {
                wire::encode(&PeerFrame::LeaseAnswers(answers), &mut self.bytes);
            }
            Outgoing::Snapshot(_) => {} // has a way of its own; see `Peers::send`
        }
        true
    }

    /// Says whether nothing waits any more.
    fn written(&mut self, count: usize) -> bool {
        self.done += count;
        if self.done < self.bytes.len() {
            return false;
        }
        self.done = 0;
        self.bytes.clear();
        if self.bytes.capacity() > BUFFER_KEPT {
            self.bytes = Vec::new();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufWriter;

    use super::*;

    /// TLS may keep what it was given; a stream that is quiet afterwards must not leave it there.
    #[actix_rt::test]
    async fn what_was_written_leaves_though_nothing_follows_it() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut io = BufWriter::new(near); // holds everything back until it is flushed
        let mut out = Outbox { bytes: b"frame".to_vec(), is_held_back: true, ..Outbox::default() };
        let written = out.write_to(&mut io).await.unwrap();
        out.unflushed = written > 0;
        assert!(out.written(written) && out.has_work(), "it may not have left yet");
        assert_eq!(out.write_to(&mut io).await.unwrap(), 0);
        let mut read = [0; 5];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"frame");
    }
}
