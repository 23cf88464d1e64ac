//! The receiving end of a peer's stream. What comes is decoded, checked for its form and for its sender,
//! and given to RaftNode; anything wrong ends the stream, for what follows it cannot be trusted either.

use std::{
    io::ErrorKind,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use raft::eraftpb::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{info, warn};

use super::PeerDoors;
use crate::{
    actors::{
        lease_keeper::{self, Said},
        mailbox::Slot,
        peer::Incoming,
        raft_node::FromPeer,
    },
    http::wire::Wire,
    published::PeerFigures,
    types::MemberId,
    wire::{self, Decoder, PeerFrame, Standing, check},
};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long proposals wait for a place in RaftNode's mailbox. Their sender tries again.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two looks: a slot that gets free wakes nobody.
const PLACE_PAUSE: Duration = Duration::from_millis(2);
/// How long a peer may take to read an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a stream until it ends.
pub(super) async fn read(doors: &PeerDoors, from: MemberId, wire: Wire, already: Bytes) {
    let replaced = doors.streams.replace(from).await;
    let peer = format!("{from:x}");
    info!(peer, "a peer's stream has begun");
    let mut reading = Reading { doors, from, raft: Vec::new(), answers: Vec::new() };
    let reason = tokio::select! {
        reason = reading.run(wire, already) => reason,
        () = replaced.notified() => Ok("a new one has replaced it"),
    };
    doors.streams.ended(from, &replaced).await;
    match reason {
        Ok(reason) => info!(peer, reason, "a peer's stream has ended"),
        Err(reason) => {
            if let Some(figures) = reading.figures() {
                figures.received_failures.fetch_add(1, Ordering::Relaxed);
            }
            warn!(peer, reason, "a peer's stream was closed");
        }
    }
}

struct Reading<'a> {
    doors: &'a PeerDoors,
    from: MemberId,
    /// Messages of the frames that came together: one parcel for RaftNode.
    raft: Vec<Message>,
    /// Frames that go back.
    answers: Vec<u8>,
}

impl Reading<'_> {
    fn figures(&self) -> Option<Arc<PeerFigures>> {
        self.doors.published.peers.load().get(&self.from).cloned()
    }

    /// Gives the reason of the end: a plain one, or something that was wrong.
    async fn run(&mut self, mut io: Wire, already: Bytes) -> Result<&'static str, String> {
        let mut decoder = Decoder::new(self.doors.payload_max);
        decoder.feed(already);
        let mut figures = self.figures();
        let mut looks = interval(self.doors.idle_timeout / 2);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await; // the first comes at once
        let mut heard = true;
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            self.take_frames(&mut decoder).await?;
            if !self.answers.is_empty() {
                let writing = async {
                    io.write_all(&self.answers).await?;
                    io.flush().await // TLS may hold back the last of it
                };
                timeout(ANSWER_TIMEOUT, writing)
                    .await
                    .map_err(|_| "it does not read its answers".to_owned())?
                    .map_err(|error| error.to_string())?;
                self.answers.clear();
            }
            buffer.reserve(READ_BYTES);
            let received = loop {
                tokio::select! {
                    received = io.read_buf(&mut buffer) => break received,
                    _ = looks.tick() => {
                        if !std::mem::take(&mut heard) {
                            return Err("nothing came for too long".to_owned());
                        }
                        if self.doors.standing(self.from) == Standing::Removed {
                            return Ok("its member was removed");
                        }
                        figures = self.figures(); // it may have become known here
                    }
                }
            };
            match received {
                Ok(0) => return Ok("the peer has closed it"),
                Ok(count) => {
                    heard = true;
                    if let Some(figures) = &figures {
                        figures.received_bytes.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
                // Without the last word that TLS has: its process has ended.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok("the peer is gone");
                }
                Err(error) => return Err(error.to_string()),
            }
            decoder.feed(buffer.split().freeze());
        }
    }

    /// Takes all frames that are whole.
    async fn take_frames(&mut self, decoder: &mut Decoder) -> Result<(), String> {
        while let Some(frame) = decoder.next().map_err(|error| error.to_string())? {
            match frame {
                PeerFrame::Raft(messages) => {
                    for message in &messages {
                        self.check(message)?;
                    }
                    if self.raft.is_empty() {
                        self.raft = messages;
                    } else {
                        self.raft.extend(messages);
                    }
                }
                PeerFrame::Forward(forward) => {
                    self.hand_over_raft();
                    self.hand_over_when_possible(Incoming::Forward(forward)).await;
                }
                PeerFrame::Refusal(refusal) => {
                    self.hand_over_raft();
                    self.hand_over_when_possible(Incoming::Refusal(refusal)).await;
                }
                PeerFrame::Ping { nonce } => {
                    wire::encode(&PeerFrame::Pong { nonce }, &mut self.answers);
                }
                PeerFrame::StateHash(hash) => {
                    self.hand_over_when_possible(Incoming::StateHash(hash)).await;
                }
                PeerFrame::LeaseQuestions(questions) => {
                    self.hand_to_leases(Said::Questions(questions)).await;
                }
                PeerFrame::LeaseAnswers(answers) => {
                    self.hand_to_leases(Said::Answers(answers)).await;
                }
                PeerFrame::Pong { .. } => {
                    return Err("an answer to nothing".to_owned());
                }
            }
        }
        self.hand_over_raft();
        Ok(())
    }

    fn check(&self, message: &Message) -> Result<(), String> {
        check::form(message).map_err(|error| error.to_string())?;
        if message.from != self.from.0 {
            return Err(format!("a message from member {:x}", message.from));
        }
        if message.to != self.doors.published.identity.member_id.0 {
            return Err(format!("a message to member {:x}", message.to));
        }
        Ok(())
    }

    /// Raft repeats what is dropped here.
    fn hand_over_raft(&mut self) {
        if self.raft.is_empty() {
            return;
        }
        let parcel = Incoming::Raft(std::mem::take(&mut self.raft));
        if let Ok(slot) = self.doors.gauge.take_slot_for(parcel.bytes()) {
            self.hand_over(parcel, slot);
        }
    }

    async fn hand_over_when_possible(&self, what: Incoming) {
        if let Some(slot) = self.place(what.bytes()).await {
            self.hand_over(what, slot);
        }
    }

    /// Whoever asked asks again, should there be no place.
    async fn hand_to_leases(&self, what: Said) {
        if let Some(slot) = self.place(what.bytes()).await {
            self.doors.leases.do_send(lease_keeper::FromPeer { from: self.from, what, slot });
        }
    }

    async fn place(&self, bytes: usize) -> Option<Slot> {
        let place = async {
            loop {
                match self.doors.gauge.take_slot_for(bytes) {
                    Ok(slot) => return slot,
                    Err(_) => sleep(PLACE_PAUSE).await,
                }
            }
        };
        timeout(PLACE_PATIENCE, place).await.ok()
    }

    fn hand_over(&self, what: Incoming, slot: Slot) {
        self.doors.inbox.do_send(FromPeer { from: self.from, what, slot });
    }
}
