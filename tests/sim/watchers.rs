//! Watchers: they go from member to member and must see every event once, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use callboard::actors::store::SubscribeError;
use callboard::storage::mvcc::watch::{SharedEvent, WatchPattern};
use callboard::types::Revision;

use super::invariants::watches::{self, Place};
use super::random::Random;
use super::settings::MS;
use super::store_host::StoreIn;
use super::world::{Event, World, id_of};

/// Events that are read from history at once.
const CATCH_UP: usize = 1000;

/// See the head of the module.
pub struct Watcher {
    random: Random,
    pub pattern: WatchPattern,
    pub place: Place,
    /// So many events come again of the revision of which it saw some already.
    again: usize,
    /// Which subscription this is, and at which member, while it lives.
    turn: u64,
    at: Option<usize>,
    queue: VecDeque<Arc<SharedEvent>>,
    slots: usize,
    pace: u64,
}

impl Watcher {
    pub fn new(seed: u64, w: usize, slots: usize) -> Watcher {
        let mut random = Random::of(seed, "watcher", w as u64);
        let (path, recursive) =
            random.pick(&[("/", true), ("/k", true), ("/t", true), ("/q", true), ("/k/0", false)]);
        Watcher {
            pattern: WatchPattern { path: Bytes::from_static(path.as_bytes()), recursive },
            place: Place::at(Revision(1)),
            again: 0,
            turn: 0,
            at: None,
            queue: VecDeque::new(),
            slots,
            pace: random.pick(&[5 * MS, 50 * MS, 500 * MS]),
            random,
        }
    }
}

impl World {
    /// A watcher looks at what came; where nothing can come any more it goes to some member.
    pub fn watcher(&mut self, w: usize) {
        while let Some(event) = self.watchers[w].queue.pop_front() {
            let watcher = &mut self.watchers[w];
            if watcher.again > 0 && event.revision() == watcher.place.revision {
                watcher.again -= 1;
                continue;
            }
            let (pattern, place) = (&watcher.pattern, watcher.place);
            let result = watches::is_next(&self.ledger.history, pattern, place, &event);
            self.check(result);
            self.watchers[w].place = place.saw(event.revision());
            self.stats.watched += 1;
        }
        self.watch_on(w);
        let pace = self.watchers[w].pace;
        let wait = pace / 2 + self.watchers[w].random.below(pace);
        self.after(wait, Event::Watcher { w });
    }

    /// One that has no subscription catches up from what some member publishes, then subscribes there. At
    /// the end it goes to those who are members.
    fn watch_on(&mut self, w: usize) {
        let mut up = self.up();
        if self.ending {
            let membership = self.ledger.state.membership();
            up.retain(|&m| membership.member(id_of(m)).is_some());
        }
        let watcher = &mut self.watchers[w];
        let stays = watcher.at.is_some_and(|m| !self.ending || up.contains(&m));
        if stays || up.is_empty() {
            return;
        }
        let m = watcher.random.pick(&up);
        let Some(run) = &self.members[m].run else { return };
        let (pattern, mut place) = (watcher.pattern.clone(), watcher.place);
        if place.revision <= run.published.compacted {
            // The client is told, reads the whole, and watches on from there.
            place = Place::at(run.published.compacted.next());
        }
        let missed = run.published.replay(&pattern, place.revision).skip(place.events);
        let missed: Vec<_> = missed.take(CATCH_UP).collect();
        let present = run.published.revision;
        for event in &missed {
            let result = watches::is_next(&self.ledger.history, &pattern, place, event);
            place = place.saw(event.revision());
            self.stats.watched += 1;
            self.check(result);
        }
        let watcher = &mut self.watchers[w];
        watcher.place = place;
        if missed.len() < CATCH_UP {
            watcher.place = place.max(Place::at(present.next()));
            // A member may be behind what this watcher saw elsewhere.
            watcher.again = watcher.place.events;
            let after = Revision(watcher.place.revision.0 - 1);
            watcher.turn += 1;
            watcher.at = Some(m);
            let turn = watcher.turn;
            self.tell_store(m, StoreIn::Subscribe { w, turn, pattern, after });
        }
    }

    pub fn subscribed(&mut self, w: usize, turn: u64, result: Result<(), SubscribeError>) {
        let watcher = &mut self.watchers[w];
        if let Err(SubscribeError::Compacted { compacted }) = result
            && watcher.turn == turn
        {
            // The client is told, reads the whole, and watches on from there.
            watcher.at = None;
            watcher.place = watcher.place.max(Place::at(compacted.next()));
        }
    }

    pub fn watch_ended(&mut self, w: usize, turn: u64) {
        if self.watchers[w].turn == turn {
            self.watchers[w].at = None;
        }
    }

    /// Whether the watcher takes it.
    pub fn watch_event(&mut self, w: usize, turn: u64, event: &Arc<SharedEvent>) -> bool {
        let watcher = &mut self.watchers[w];
        if watcher.turn != turn || watcher.queue.len() >= watcher.slots {
            return false;
        }
        watcher.queue.push_back(Arc::clone(event));
        true
    }
}
