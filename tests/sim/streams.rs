//! Watch streams of v3: several watches on one line at some member. When that stops, or now and then, they
//! go on at another, each at the revision that it has not seen yet.

use std::sync::Arc;

use bytes::Bytes;
use callboard::actors::store::SubscriptionId;
use callboard::actors::store::watch_line::{RangeRefused, Told, WatchLine};
use callboard::command::KeyRange;
use callboard::storage::mvcc::record::RevisionRecord;
use callboard::types::Revision;
use prometheus::IntGauge;
use tokio::sync::mpsc;

use super::invariants::range_watches;
use super::random::Random;
use super::settings::MS;
use super::store_host::StoreIn;
use super::world::{Event, World, id_of};

/// A watch.
pub struct Watch {
    pub keys: KeyRange,
    /// Revisions before it are done.
    pub next: Revision,
    subscription: Option<SubscriptionId>,
}

/// See the head of the module.
pub struct Stream {
    random: Random,
    slots: usize,
    pace: u64,
    /// Revisions that are read from history at a time.
    stretch: usize,
    /// The member, and its start.
    at: Option<(usize, u64)>,
    /// Which connection this is.
    turn: u64,
    line: Arc<WatchLine>,
    told: mpsc::Receiver<Told>,
    pub watches: Vec<Watch>,
    /// Store is asked for a subscription.
    waiting: bool,
    /// A mark is on its way, asked for when so many subscriptions had been made.
    mark: Option<u64>,
    subscriptions: u64,
}

impl Stream {
    pub fn new(seed: u64, s: usize, slots: usize) -> Stream {
        let mut random = Random::of(seed, "stream", s as u64);
        let (line, told) = new_line(slots);
        Stream {
            slots,
            pace: random.pick(&[2 * MS, 20 * MS, 300 * MS]),
            stretch: random.pick(&[3, 20, 100]),
            at: None,
            turn: 0,
            line,
            told,
            watches: Vec::new(),
            waiting: false,
            mark: None,
            subscriptions: 0,
            random,
        }
    }

    /// All that the member had for it is lost, or left behind.
    fn disconnect(&mut self) -> Vec<SubscriptionId> {
        (self.line, self.told) = new_line(self.slots);
        (self.at, self.waiting, self.mark) = (None, false, None);
        self.turn += 1;
        self.watches.iter_mut().filter_map(|watch| watch.subscription.take()).collect()
    }

    /// Where a new watch begins: now, at a revision that was, or at one to come.
    fn begins(&mut self, revision: Revision) -> Watch {
        let r = &mut self.random;
        let (key, range_end) = r.pick(&[
            ("/k/", "/k0"),
            ("/k/0", ""),
            ("/k/1", "/k/3"),
            ("/t/", "/t0"),
            ("", "\0"),
            ("/k/2", "\0"),
            ("/q", "/r"),
        ]);
        let next = match r.below(4) {
            0 => revision.0 + r.below(20),
            1 => r.between(1, revision.0 + 1),
            2 => 1,
            _ => revision.0 + 1,
        };
        let keys = KeyRange {
            key: Bytes::from_static(key.as_bytes()),
            range_end: Bytes::from_static(range_end.as_bytes()),
        };
        Watch { keys, next: Revision(next), subscription: None }
    }
}

fn new_line(slots: usize) -> (Arc<WatchLine>, mpsc::Receiver<Told>) {
    let pending = IntGauge::new("pending", "On their way.").expect("a good name");
    WatchLine::new(slots, pending)
}

impl World {
    /// A stream's next step.
    pub fn stream(&mut self, s: usize) {
        self.connect(s);
        if !self.streams[s].waiting && self.streams[s].at.is_some() {
            self.missed(s);
            self.take_told(s);
            self.catch_up(s);
            self.ask_for_mark(s);
        }
        let stream = &mut self.streams[s];
        if self.ending {
            (stream.pace, stream.stretch) = (20 * MS, 1000); // whoever was slow is not any more
        }
        let wait = stream.pace / 2 + stream.random.below(stream.pace);
        self.after(wait, Event::Stream { s });
    }

    /// Leaves a member that has gone, or for no reason; then finds another.
    fn connect(&mut self, s: usize) {
        let mut up = self.up();
        if self.ending {
            let membership = self.ledger.state.membership();
            up.retain(|&m| membership.member(id_of(m)).is_some());
        }
        if let Some((m, life)) = self.streams[s].at {
            let lives = self.members[m].life == life && self.members[m].run.is_some();
            let leaves = self.streams[s].random.per_mille(3);
            if lives && !leaves && up.contains(&m) {
                return;
            }
            let cancelled = self.streams[s].disconnect();
            self.stats.reconnects += 1;
            for id in cancelled.into_iter().filter(|_| lives) {
                self.tell_store(m, StoreIn::Cancel(id));
            }
        }
        if up.is_empty() {
            return;
        }
        let stream = &mut self.streams[s];
        let m = stream.random.pick(&up);
        stream.at = Some((m, self.members[m].life));
        let Some(run) = &self.members[m].run else { return };
        if stream.watches.is_empty() {
            for _ in 0..=stream.random.below(3) {
                let watch = stream.begins(run.published.revision);
                stream.watches.push(watch);
            }
        }
    }

    /// Watches that have ended at Store go back to history.
    fn missed(&mut self, s: usize) {
        let stream = &mut self.streams[s];
        let missed = stream.line.take_missed();
        if missed.mark {
            stream.mark = None;
        }
        for tag in missed.watches {
            stream.watches[tag as usize].subscription = None;
        }
    }

    fn take_told(&mut self, s: usize) {
        let many = 1 + self.streams[s].random.below(8);
        for _ in 0..many {
            let Ok(told) = self.streams[s].told.try_recv() else { break };
            match told {
                Told::Record { tags, record, pending: _ } => {
                    for tag in tags {
                        let watch = &self.streams[s].watches[tag as usize];
                        // What was already read from history can still come from before it fell behind.
                        if record.record.revision >= watch.next {
                            self.saw(s, tag as usize, &record.record);
                        }
                    }
                }
                Told::Mark(revision) => self.marked(s, revision),
                Told::Look => {}
            }
        }
    }

    /// A watch is told of a revision.
    fn saw(&mut self, s: usize, tag: usize, record: &RevisionRecord) {
        let watch = &mut self.streams[s].watches[tag];
        let history = &self.ledger.history;
        let result = range_watches::is_next(history, &watch.keys, watch.next, record);
        watch.next = record.revision.next();
        self.stats.watched += 1;
        self.trace.note(&[400, s as u64, tag as u64, record.revision.0]);
        self.check(result);
    }

    /// All up to `revision` has been passed on to the watches that are live.
    fn marked(&mut self, s: usize, revision: Revision) {
        self.missed(s);
        let stream = &mut self.streams[s];
        if stream.mark.take() != Some(stream.subscriptions) {
            return; // what a new watch is told first may still come
        }
        let live = stream.watches.iter().filter(|watch| watch.subscription.is_some());
        let history = &self.ledger.history;
        let told = live
            .map(|watch| range_watches::is_progress(history, &watch.keys, watch.next, revision));
        let told: Vec<_> = told.collect();
        for result in told {
            self.check(result);
        }
    }

    /// One step for each watch that is not live, until one of them has to wait for Store.
    fn catch_up(&mut self, s: usize) {
        for tag in 0..self.streams[s].watches.len() {
            let Some((m, _)) = self.streams[s].at else { return };
            let Some(run) = &self.members[m].run else { return };
            let watch = &self.streams[s].watches[tag];
            if watch.subscription.is_some() {
                continue;
            }
            let (state, next) = (run.published.clone(), watch.next);
            let (compacted, revision) = (state.compacted, state.revision);
            if next > revision {
                let (turn, line) = (self.streams[s].turn, Arc::clone(&self.streams[s].line));
                let (keys, after) = (watch.keys.clone(), Revision(next.0 - 1));
                self.streams[s].waiting = true;
                let subscribe =
                    StoreIn::SubscribeRange { s, turn, tag: tag as u64, keys, after, line };
                return self.tell_store(m, subscribe);
            }
            let of_compacted = state.compacted_record().filter(|_| next == compacted).cloned();
            if next <= compacted && of_compacted.is_none() {
                let truth = self.ledger.state.compacted;
                let result = range_watches::is_compacted(compacted, truth, next);
                self.check(result);
                self.stats.watches_compacted += 1;
                self.streams[s].watches[tag].next = compacted.next(); // the client begins anew there
                continue;
            }
            let many = self.streams[s].stretch;
            let records = of_compacted.iter().chain(state.history_from(next));
            let mut reached = next;
            for record in records.take(many) {
                reached = record.revision.next();
                let keys = &self.streams[s].watches[tag].keys;
                if record.changes.iter().any(|change| keys.contains(change.key())) {
                    self.saw(s, tag, record);
                }
            }
            self.streams[s].watches[tag].next = reached;
        }
        self.begin_anew(s);
    }

    /// Now and then a client ends a watch and begins another.
    fn begin_anew(&mut self, s: usize) {
        let stream = &mut self.streams[s];
        let Some((m, _)) = stream.at else { return };
        if !stream.random.per_mille(5) || self.ending {
            return;
        }
        let Some(run) = &self.members[m].run else { return };
        let watch = stream.begins(run.published.revision);
        // What is still on the line for the old one must not be taken for the new one's.
        let cancelled = stream.disconnect();
        let at = stream.random.below(stream.watches.len() as u64) as usize;
        stream.watches[at] = watch;
        for id in cancelled {
            self.tell_store(m, StoreIn::Cancel(id));
        }
    }

    fn ask_for_mark(&mut self, s: usize) {
        let stream = &mut self.streams[s];
        let Some((m, _)) = stream.at else { return };
        let room = stream.told.len() < stream.told.max_capacity();
        if stream.waiting || stream.mark.is_some() || !room || !stream.random.per_mille(50) {
            return;
        }
        stream.mark = Some(stream.subscriptions);
        let line = Arc::clone(&stream.line);
        self.tell_store(m, StoreIn::Mark(line));
    }

    /// Store has answered.
    pub fn range_subscribed(
        &mut self,
        s: usize,
        turn: u64,
        tag: u64,
        result: Result<SubscriptionId, RangeRefused>,
    ) {
        let stream = &mut self.streams[s];
        if stream.turn != turn {
            return; // for a connection that is gone
        }
        stream.waiting = false;
        if let Ok(id) = result {
            stream.subscriptions += 1;
            stream.watches[tag as usize].subscription = Some(id);
        }
    }
}
