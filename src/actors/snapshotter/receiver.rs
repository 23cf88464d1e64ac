//! The thread that takes in snapshots from peers, and the door to it. A body waits at the door until its
//! last piece is written, so no more than one piece of it is ever held here, and a slow disk slows the
//! sender down.

use std::{
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use raft::eraftpb::Message;

use super::receive::{ABANDONED, Progress, Reception, Refused, Session, Transfer};
use crate::{
    actors::mailbox::{Answering, Reply},
    storage::mvcc::State,
    types::Index,
};

/// Bodies at the door at once, each with one request.
const CAPACITY: usize = 16;
/// How often it is looked whether a transfer was abandoned.
const LOOK: Duration = Duration::from_secs(ABANDONED.as_secs() / 10);

/// What is asked of the thread.
enum Request {
    Progress(Transfer, Reply<Result<Progress, Refused>>),
    Begin(Transfer, u64, Reply<Result<Option<Session>, Refused>>),
    Chunk(Session, u64, Bytes, Reply<Result<(), Refused>>),
    End(Session, Box<Message>, Reply<Result<(), Refused>>),
    Stop,
}

/// What the thread works with.
pub struct Wiring {
    /// The rules.
    pub reception: Reception,
    /// Everything up to here is applied.
    pub applied: Box<dyn Fn() -> Index + Send>,
    /// RaftNode is told here: the file is durable, and this is what is in it.
    pub arrived: Box<dyn Fn(Message, State) + Send>,
}

/// The way to the thread.
#[derive(Clone)]
pub struct ReceiverDoor(Sender<Request>);

/// Starts the thread. It ends when told to stop, or when all doors are gone.
pub fn spawn(wiring: Wiring) -> std::io::Result<(ReceiverDoor, thread::JoinHandle<()>)> {
    let (sender, inbox) = crossbeam_channel::bounded(CAPACITY);
    let thread = thread::Builder::new()
        .name("snapshot-receiver".to_owned())
        .spawn(move || run(wiring, &inbox))?;
    Ok((ReceiverDoor(sender), thread))
}

#[allow(
    clippy::disallowed_methods,
    reason = "the host stamps what comes in; the rules see no clock"
)]
fn run(wiring: Wiring, inbox: &Receiver<Request>) {
    let Wiring { mut reception, applied, arrived } = wiring;
    let started = Instant::now();
    loop {
        let request = match inbox.recv_timeout(LOOK) {
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(request) => Some(request),
            Err(RecvTimeoutError::Timeout) => None,
        };
        let now = started.elapsed();
        // Whoever asked may have gone: the connection broke. It comes again, and asks how far it was.
        match request {
            Some(Request::Progress(transfer, reply)) => {
                _ = reply.send(reception.progress(transfer, applied()));
            }
            Some(Request::Begin(transfer, offset, reply)) => {
                _ = reply.send(reception.begin(transfer, offset, applied(), now));
            }
            Some(Request::Chunk(session, offset, bytes, reply)) => {
                _ = reply.send(reception.chunk(session, offset, &bytes, now));
            }
            Some(Request::End(session, message, reply)) => {
                let ended = reception.end(session, &message, applied());
                _ = reply.send(ended.map(|state| {
                    if let Some(state) = state {
                        let index = state.applied_index;
                        tracing::info!(%index, from = message.from, "received snapshot");
                        arrived(*message, state);
                    }
                }));
            }
            Some(Request::Stop) => return,
            None => {}
        }
        reception.forget_abandoned(now);
    }
}

impl ReceiverDoor {
    /// See [`Reception::progress`].
    pub async fn progress(&self, transfer: Transfer) -> Result<Progress, Refused> {
        self.ask(|reply| Request::Progress(transfer, reply)).await
    }

    /// See [`Reception::begin`].
    pub async fn begin(&self, transfer: Transfer, offset: u64) -> Result<Option<Session>, Refused> {
        self.ask(|reply| Request::Begin(transfer, offset, reply)).await
    }

    /// See [`Reception::chunk`]; answered once it is written.
    pub async fn chunk(&self, session: Session, offset: u64, bytes: Bytes) -> Result<(), Refused> {
        self.ask(|reply| Request::Chunk(session, offset, bytes, reply)).await
    }

    /// See [`Reception::end`]; answered once RaftNode was told.
    pub async fn end(&self, session: Session, message: Box<Message>) -> Result<(), Refused> {
        self.ask(|reply| Request::End(session, message, reply)).await
    }

    /// Ends the thread, once it is done with what it does. False: it has too much to do; try again.
    pub fn stop(&self) -> bool {
        !matches!(self.0.try_send(Request::Stop), Err(crossbeam_channel::TrySendError::Full(_)))
    }

    async fn ask<A>(
        &self,
        request: impl FnOnce(Reply<Result<A, Refused>>) -> Request,
    ) -> Result<A, Refused> {
        let (reply, answering): (_, Answering<Result<A, Refused>>) = Reply::channel();
        match self.0.try_send(request(reply)) {
            Ok(()) => {}
            Err(crossbeam_channel::TrySendError::Full(_)) => return Err(Refused::Full),
            Err(crossbeam_channel::TrySendError::Disconnected(_)) => return Err(Refused::Stopping),
        }
        answering.await.unwrap_or(Err(Refused::Stopping))
    }
}
