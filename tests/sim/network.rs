//! Between members: delay, loss, repetition, other order, links that are down one way or both, and
//! snapshots on a way of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use callboard::actors::raft_node::role::Input;
use callboard::storage::mvcc::State;
use callboard::storage::snapshot::{SnapshotName, SnapshotReceiver};
use callboard::storage::state_file;
use callboard::types::{Index, MemberId, Term};
use callboard::wire::{
    Forward, LeaseAnswers, LeaseQuestions, Refusal, check,
    decoder::Decoder,
    peer_frame::{self, PeerFrame},
};
use raft::eraftpb::Message;

use super::invariants::{Broken, Invariant};
use super::keeper_host::KeeperIn;
use super::member::RaftIn;
use super::random::Random;
use super::settings::{MS, SECOND};
use super::world::{Event, World, id_of, place_of};

/// What travels together.
#[derive(Clone, Debug)]
pub enum Parcel {
    Raft(Vec<Message>),
    Forward(Forward),
    Refusal(Refusal),
    LeaseQuestions(LeaseQuestions),
    LeaseAnswers(LeaseAnswers),
    /// A snapshot's file, and the message that goes with it.
    Snapshot {
        message: Box<Message>,
        file: Vec<u8>,
        life: u64,
        ticket: u64,
    },
    /// How a snapshot arrived, for the process that sent it.
    Report {
        life: u64,
        ticket: u64,
        arrived: bool,
    },
}

/// See the head of the module.
pub struct Links {
    seed: u64,
    streams: BTreeMap<(usize, usize), Random>,
    /// By how many partitions each link is cut now.
    pub cut: BTreeMap<(usize, usize), u64>,
    pub clogged_until: BTreeMap<(usize, usize), u64>,
    last_arrival: BTreeMap<(usize, usize), u64>,
    pub lost: u64,
    pub twice: u64,
    pub late: u64,
    /// Members of whom all know that they were removed.
    pub told: BTreeSet<(usize, usize)>,
}

impl Links {
    pub fn new(seed: u64) -> Links {
        Links {
            seed,
            streams: BTreeMap::new(),
            cut: BTreeMap::new(),
            clogged_until: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            lost: 0,
            twice: 0,
            late: 0,
            told: BTreeSet::new(),
        }
    }

    pub fn stream(&mut self, from: usize, to: usize) -> &mut Random {
        let seed = self.seed;
        let number = (from * 100 + to) as u64;
        self.streams.entry((from, to)).or_insert_with(|| Random::of(seed, "link", number))
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.get(&(from, to)).is_some_and(|&by| by > 0)
    }
}

impl World {
    pub fn send(&mut self, m: usize, to: MemberId, parcel: Parcel) {
        let to = place_of(to);
        if to >= self.members.len() || to == m {
            return;
        }
        let (parcel, result) = through_the_wire(parcel);
        self.check(result);
        let lost = self.links.lost;
        let (drop, twice) = {
            let twice = self.links.twice;
            let stream = self.links.stream(m, to);
            (stream.per_mille(lost), stream.per_mille(twice))
        };
        if drop || self.links.is_cut(m, to) {
            self.unreachable(m, to);
            return;
        }
        if twice {
            let delay = self.delay(m, to);
            self.after(delay, Event::Deliver { from: m, to, parcel: Box::new(parcel.clone()) });
        }
        let delay = self.delay(m, to);
        self.after(delay, Event::Deliver { from: m, to, parcel: Box::new(parcel) });
    }

    fn delay(&mut self, from: usize, to: usize) -> u64 {
        let (base, jitter, late) =
            (self.settings.net_delay, self.settings.net_jitter, self.links.late);
        let stream = self.links.stream(from, to);
        let mut delay = base + stream.below(jitter);
        if stream.per_mille(late) {
            delay += stream.below(4 * SECOND);
        }
        let clogged = self.links.clogged_until.get(&(from, to)).copied().unwrap_or(0);
        let mut at = (self.now + delay).max(clogged);
        if self.settings.net_ordered {
            let last = self.links.last_arrival.entry((from, to)).or_default();
            at = at.max(*last + 1);
            *last = at;
        }
        at - self.now
    }

    /// The sender hears of it, mostly.
    fn unreachable(&mut self, m: usize, to: usize) {
        if self.links.stream(m, to).per_mille(300) {
            let (life, input) = (self.members[m].life, Box::new(Input::Unreachable(id_of(to))));
            self.after(10 * MS, Event::ToRaft { m, life, input });
        }
    }

    pub fn deliver(&mut self, from: usize, to: usize, parcel: Parcel) {
        if self.links.is_cut(from, to) {
            return;
        }
        let Some(run) = &self.members[to].run else { return };
        let removed = run.raft.membership().removed();
        if removed.contains(&id_of(from)) {
            self.tell_removed(from, to);
            return;
        }
        if run.raft_in.len() >= self.settings.peer_slots
            && matches!(parcel, Parcel::Raft(_) | Parcel::Forward(_) | Parcel::Refusal(_))
        {
            return self.unreachable(from, to);
        }
        match parcel {
            Parcel::Raft(messages) => {
                for message in messages {
                    self.trace.line(self.now, || told(&message));
                    self.tell_raft(to, RaftIn::Input(Input::Step(message)));
                }
            }
            Parcel::Forward(forward) => {
                self.trace.line(self.now, || {
                    format!("{} -> {}: {}", from + 1, to + 1, forwarded(&forward))
                });
                let input = Input::Forwarded { from: id_of(from), forward };
                self.tell_raft(to, RaftIn::Input(input));
            }
            Parcel::Refusal(refusal) => self.tell_raft(to, RaftIn::Input(Input::Refused(refusal))),
            Parcel::LeaseQuestions(questions) => {
                self.tell_keeper(to, KeeperIn::Asked { from: id_of(from), questions });
            }
            Parcel::LeaseAnswers(answers) => {
                self.tell_keeper(to, KeeperIn::Answers { from: id_of(from), answers });
            }
            Parcel::Snapshot { message, file, life, ticket } => {
                let arrived = self.receive_snapshot(to, message, &file);
                self.send(to, id_of(from), Parcel::Report { life, ticket, arrived });
            }
            Parcel::Report { life, ticket, arrived } => {
                self.after(0, Event::SnapshotReport { m: to, life, to: from, ticket, arrived });
            }
        }
    }

    /// One who was removed hears of it from those who know, and ends.
    fn tell_removed(&mut self, removed: usize, by: usize) {
        if self.links.is_cut(by, removed) || !self.links.told.insert((removed, by)) {
            return;
        }
        if self.members[removed].run.is_some() {
            self.trace.line(self.now, || format!("{} hears that it is removed", removed + 1));
            self.stop(removed, super::plan::Stop::Process);
            self.members[removed].gone = true;
        }
    }

    /// The file goes first, by its own way.
    pub fn send_snapshot(&mut self, m: usize, to: MemberId, message: Message) {
        let (place, life) = (place_of(to), self.members[m].life);
        let meta = message.get_snapshot().get_metadata();
        let name = SnapshotName { index: Index(meta.index), term: Term(meta.term) };
        let path = name.path(std::path::Path::new("/data/member/snap"));
        let file = self.members[m].disk.contents(&path);
        self.trace.line(self.now, || format!("{} sends snapshot {} to {to}", m + 1, name.index));
        let ticket = self.members[m].next_report;
        self.members[m].next_report += 1;
        self.members[m].reports.insert(ticket);
        let failed = Event::SnapshotReport { m, life, to: place, ticket, arrived: false };
        let Some(file) = file.filter(|_| place < self.members.len()) else {
            return self.after(MS, failed);
        };
        self.after(3 * SECOND, failed);
        if self.links.is_cut(m, place) || self.links.is_cut(place, m) {
            return;
        }
        let lost = self.links.lost / 2;
        let stream = self.links.stream(m, place);
        if stream.per_mille(lost) {
            return;
        }
        let delay = stream.below(300 * MS) + file.len() as u64;
        let parcel = Parcel::Snapshot { message: Box::new(message), file, life, ticket };
        self.after(delay, Event::Deliver { from: m, to: place, parcel: Box::new(parcel) });
    }

    /// Said once for each snapshot that was to be sent.
    pub fn snapshot_report(&mut self, m: usize, to: usize, ticket: u64, arrived: bool) {
        if self.members[m].reports.remove(&ticket) {
            let input = Input::SnapshotSent { to: id_of(to), arrived };
            self.tell_raft(m, RaftIn::Input(input));
        }
    }

    /// Takes the file in pieces, checks it, makes it durable and reads it.
    fn receive_snapshot(&mut self, m: usize, message: Box<Message>, file: &[u8]) -> bool {
        let Some(run) = &self.members[m].run else { return false };
        let meta = message.get_snapshot().get_metadata();
        let name = SnapshotName { index: Index(meta.index), term: Term(meta.term) };
        let received = SnapshotReceiver::create(&run.snapshots, name).and_then(|mut receiver| {
            for piece in file.chunks(4096) {
                receiver.write(piece)?;
            }
            receiver.finish()
        });
        let state: Result<State, String> =
            received.map_err(|error| error.to_string()).and_then(|_| {
                let mut reader = run.snapshots.open(name).map_err(|error| error.to_string())?;
                state_file::load(&mut reader, |_, _| {}).map_err(|error| error.to_string())
            });
        match state {
            Ok(state) => {
                self.tell_raft(m, RaftIn::Arrived(message, Box::new(state)));
                true
            }
            Err(error) => {
                self.stopped_by_disk(m, Some(error));
                false
            }
        }
    }
}

fn told(message: &Message) -> String {
    let kind = format!("{:?}", message.get_msg_type());
    let entries = message.entries.len();
    let mut text = format!(
        "{} -> {}: {} term {} at {}/{} commit {}",
        message.from,
        message.to,
        kind.trim_start_matches("Msg"),
        message.term,
        message.index,
        message.log_term,
        message.commit
    );
    if entries > 0 {
        _ = write!(text, ", {entries} entries");
    }
    if message.reject {
        _ = write!(text, ", rejects, hint {}", message.reject_hint);
    }
    text
}

fn forwarded(forward: &Forward) -> String {
    let ids: Vec<String> =
        forward.proposals.iter().map(|proposal| format!("{:x}", proposal.id.0)).collect();
    format!("forwards {} for term {}, oldest {:x}", ids.join(", "), forward.term, forward.oldest.0)
}

/// As it is after the way: encoded, decoded and checked as in production. What a sound member sends
/// passes.
fn through_the_wire(parcel: Parcel) -> (Parcel, Result<(), Broken>) {
    let frame = match &parcel {
        Parcel::Raft(messages) => PeerFrame::Raft(messages.clone()),
        Parcel::Forward(forward) => PeerFrame::Forward(forward.clone()),
        Parcel::Refusal(refusal) => PeerFrame::Refusal(refusal.clone()),
        Parcel::LeaseQuestions(asked) => PeerFrame::LeaseQuestions(asked.clone()),
        Parcel::LeaseAnswers(answers) => PeerFrame::LeaseAnswers(answers.clone()),
        Parcel::Snapshot { .. } | Parcel::Report { .. } => return (parcel, Ok(())),
    };
    let mut bytes = Vec::new();
    peer_frame::encode(&frame, &mut bytes);
    let mut decoder = Decoder::new(peer_frame::payload_max(4 << 20));
    decoder.feed(bytes.into());
    let broken = |what: String| (parcel.clone(), Err(Invariant::Wire.broken(what)));
    // A long batch makes several frames.
    let mut found = Vec::new();
    loop {
        match decoder.next() {
            Ok(Some(part)) => found.push(part),
            Ok(None) => break,
            Err(error) => return broken(format!("{frame:?} does not arrive: {error}")),
        }
    }
    if joined(found).as_ref() != Some(&frame) {
        return broken(format!("{frame:?} arrives as another"));
    }
    if let PeerFrame::Raft(messages) = &frame {
        for message in messages {
            if let Err(error) = check::form(message) {
                return broken(format!("{} does not pass the checker: {error}", told(message)));
            }
        }
    }
    let arrived = match frame {
        PeerFrame::Raft(messages) => Parcel::Raft(messages),
        PeerFrame::Forward(forward) => Parcel::Forward(forward),
        PeerFrame::Refusal(refusal) => Parcel::Refusal(refusal),
        PeerFrame::LeaseQuestions(asked) => Parcel::LeaseQuestions(asked),
        PeerFrame::LeaseAnswers(answers) => Parcel::LeaseAnswers(answers),
        _ => parcel,
    };
    (arrived, Ok(()))
}

/// The frames of one batch, as one.
fn joined(frames: Vec<PeerFrame>) -> Option<PeerFrame> {
    frames.into_iter().reduce(|mut all, next| {
        match (&mut all, next) {
            (PeerFrame::Raft(all), PeerFrame::Raft(more)) => all.extend(more),
            (PeerFrame::Forward(all), PeerFrame::Forward(more)) => {
                all.proposals.extend(more.proposals);
            }
            (PeerFrame::Refusal(all), PeerFrame::Refusal(more)) => all.ids.extend(more.ids),
            _ => {}
        }
        all
    })
}
