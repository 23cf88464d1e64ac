//! Watchers: they go from member to member and must see every event once, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use callboard::actors::store::SubscribeError;
use callboard::storage::mvcc::watch::{SharedEvent, WatchPattern};
use callboard::types::Revision;

use super::invariants::watches;
use super::random::Random;
use super::settings::MS;
use super::store_host::StoreIn;
use super::world::{Event, World};

/// See the head of the module.
pub struct Watcher {
    random: Random,
    pub pattern: WatchPattern,
    /// The last revision that it saw.
    pub after: Revision,
    /// Which subscription this is, and whether it lives.
    turn: u64,
    attached: bool,
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
            after: Revision(1),
            turn: 0,
            attached: false,
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
            let watcher = &self.watchers[w];
            let (pattern, after) = (&watcher.pattern, watcher.after);
            let result = watches::is_next(&self.ledger.history, pattern, after, &event);
            self.check(result);
            self.watchers[w].after = event.revision();
            self.stats.watched += 1;
        }
        let up = self.up();
        let watcher = &mut self.watchers[w];
        if !watcher.attached && !up.is_empty() {
            let m = watcher.random.pick(&up);
            watcher.turn += 1;
            watcher.attached = true;
            let (turn, after) = (watcher.turn, watcher.after);
            let pattern = watcher.pattern.clone();
            self.to_store(m, StoreIn::Subscribe { w, turn, pattern, after });
        }
        let pace = self.watchers[w].pace;
        let wait = pace / 2 + self.watchers[w].random.below(pace);
        self.after(wait, Event::Watcher { w });
    }

    pub fn subscribed(&mut self, w: usize, turn: u64, result: Result<(), SubscribeError>) {
        let watcher = &mut self.watchers[w];
        if let Err(SubscribeError::Compacted { compacted }) = result
            && watcher.turn == turn
        {
            // The client is told, reads the whole, and watches on from there.
            watcher.attached = false;
            watcher.after = watcher.after.max(compacted);
        }
    }

    pub fn watch_ended(&mut self, w: usize, turn: u64) {
        if self.watchers[w].turn == turn {
            self.watchers[w].attached = false;
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
