//! Watching: one event (a long poll) or a stream of them. History first, then a subscription; a
//! stream that falls behind goes back to history, so that it sees every event once and in order.
//!
//! Nothing here outlives its client: a body that is dropped cancels its subscription.

use std::{collections::VecDeque, sync::Arc};

use actix_http::StatusCode;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{mpsc, oneshot};

use super::{
    access::Pass,
    error::{V2Error, set_indexes},
    event,
    keys::is_corrupt,
};
use crate::{
    actors::{
        mailbox::Answering,
        store::{Cancel, Sink, Subscribe, SubscribeError, SubscriptionId},
    },
    http::{
        Doors,
        answer::{self, Answer, DoorBody},
        limits::{Class, Place},
    },
    storage::{
        mvcc::{
            State,
            watch::{Seen, SharedEvent, WatchPattern},
        },
        v2_tree::{V2Code, V2StoreError},
    },
    types::Revision,
};

/// Records of history that are looked at before other work of the thread gets its turn.
const SCAN_RECORDS_MAX: usize = 2048;
/// Events that are held for one stream while it catches up.
const SCAN_EVENTS_MAX: usize = 64;

/// What a watcher asks for.
#[derive(Debug)]
pub struct Asked {
    /// The path of the key or directory.
    pub key: Bytes,
    /// All below it too.
    pub recursive: bool,
    /// Begin at this revision; 0 is now.
    pub wait_index: u64,
    /// Event after event instead of one.
    pub stream: bool,
    /// Whether its client may see it: asked again before each event, and when rights change.
    pub pass: Pass,
}

/// Answers a watch: its head at once, its body when there is something to tell.
pub async fn watch(doors: &Arc<Doors>, asked: Asked) -> Result<Answer, V2Error> {
    let place = doors.limits.enter(Class::Held)?;
    let state = doors.published.state.load_full();
    let pattern = WatchPattern { path: asked.key, recursive: asked.recursive };
    let index = state.revision;
    // Revisions before `next` are none of this watcher's business.
    let next = match asked.wait_index {
        0 => index.next(),
        wait_index => Revision(wait_index),
    };
    if next <= index && next < state.oldest_revision() {
        return Err(cleared(&state, next));
    }
    drop(state);
    let body = if asked.stream {
        let mut streaming = Streaming {
            doors: Arc::clone(doors),
            pattern,
            next,
            seen: (Revision(0), 0),
            ahead: VecDeque::new(),
            live: None,
            rights: doors.published.rights.subscribe(),
            pass: asked.pass,
            _place: place,
        };
        streaming.catch_up().await?; // refusals are told before the head leaves
        let events = stream::unfold(streaming, async |mut streaming| {
            let chunk = streaming.event().await?;
            let state = streaming.doors.published.state.load_full();
            streaming.pass.holds(&state).then_some(())?;
            Some((chunk, streaming))
        });
        DoorBody::Stream(Box::pin(events))
    } else {
        park(doors, pattern, next, asked.pass, place).await?
    };
    let mut answer = answer::with_body(StatusCode::OK, "application/json", body);
    set_indexes(&mut answer, doors, index.0);
    Ok(answer)
}

fn cleared(state: &State, asked: Revision) -> V2Error {
    let cause =
        format!("the requested history has been cleared [{}/{asked}]", state.oldest_revision());
    let code = V2Code::EventIndexCleared;
    V2Error::Store(V2StoreError { code, cause: cause.into_bytes(), index: state.revision })
}

/// A long poll: what happened already, or what happens first.
async fn park(
    doors: &Arc<Doors>,
    pattern: WatchPattern,
    mut next: Revision,
    pass: Pass,
    place: Place,
) -> Result<DoorBody, V2Error> {
    let mut found = VecDeque::new();
    loop {
        let state = doors.published.state.load_full();
        if next > state.revision {
            break;
        }
        next = scan(&state, &pattern, next, 1, &mut found)?;
        if let Some(event) = found.pop_front() {
            return Ok(DoorBody::Whole(event::shared(&event)));
        }
        drop(state);
        tokio::task::yield_now().await;
    }
    let (sender, receiver) = oneshot::channel();
    let after = Revision(next.0 - 1);
    let subscribe = Subscribe { pattern, after, sink: Sink::Once(sender) };
    let subscription = subscribe_to(doors, subscribe).await?;
    Ok(DoorBody::Once(Some(Box::pin(async move {
        let _place = place;
        let doors = Arc::clone(&subscription.doors);
        tokio::select! {
            biased;
            event = receiver => {
                subscription.ended();
                let event = event.ok().filter(|_| pass.holds(&doors.published.state.load()));
                event.map(|event| event::shared(&event))
            }
            () = pass.revoked(&doors.published) => None,
            () = doors.drain.given() => None,
        }
    }))))
}

/// Looks for events in history, from `next` on: at most so many, and a bounded stretch. Returns the
/// first revision that was not looked at.
fn scan(
    state: &State,
    pattern: &WatchPattern,
    mut next: Revision,
    events_max: usize,
    found: &mut VecDeque<Arc<SharedEvent>>,
) -> Result<Revision, V2Error> {
    if next < state.oldest_revision() {
        return Err(cleared(state, next));
    }
    let mut looked_at = 0;
    for record in state.history_from(next).take(SCAN_RECORDS_MAX) {
        looked_at += 1;
        next = record.revision.next();
        if record.refresh {
            continue;
        }
        let parts = record.v2_parts().filter(|&part| pattern.matches(record, part, Seen::Replay));
        found.extend(parts.map(|part| SharedEvent::new(Arc::clone(record), part)));
        if found.len() >= events_max {
            return Ok(next);
        }
    }
    if looked_at < SCAN_RECORDS_MAX {
        next = next.max(state.revision.next());
    }
    Ok(next)
}

/// A subscription whose watcher still listens; dropping it cancels it.
struct Subscription {
    doors: Arc<Doors>,
    id: Option<SubscriptionId>,
}

impl Subscription {
    /// The Store has ended it: there is nothing to cancel.
    fn ended(mut self) {
        self.id = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.doors.cancel.do_send(Cancel(id));
        }
    }
}

/// A subscription that was asked for. Its client may go away before the answer is taken, even when the
/// Store has given it already: then it is cancelled once the answer is there.
struct Asking {
    doors: Arc<Doors>,
    answering: Option<Answering<Result<SubscriptionId, SubscribeError>>>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(answering) = self.answering.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let cancel = self.doors.cancel.clone();
        runtime.spawn(async move {
            if let Ok(Ok(id)) = answering.await {
                cancel.do_send(Cancel(id));
            }
        });
    }
}

async fn subscribe_to(doors: &Arc<Doors>, subscribe: Subscribe) -> Result<Subscription, V2Error> {
    let after = subscribe.after;
    let answering = doors.subscribe.ask(subscribe)?;
    let mut asking = Asking { doors: Arc::clone(doors), answering: Some(answering) };
    let answer = asking.answering.as_mut().expect("it was just put there").await;
    asking.answering = None;
    match answer? {
        Ok(id) => Ok(Subscription { doors: Arc::clone(doors), id: Some(id) }),
        // History was compacted since it was looked at.
        Err(SubscribeError::Compacted { .. }) => {
            Err(cleared(&doors.published.state.load(), after.next()))
        }
        Err(SubscribeError::Corrupt) => Err(V2Error::Corrupt),
    }
}

/// A stream's place.
struct Streaming {
    doors: Arc<Doors>,
    pattern: WatchPattern,
    /// The first revision that was not looked at.
    next: Revision,
    /// How many events of which live revision were delivered, should the channel end within it.
    seen: (Revision, usize),
    /// Found in history, not yet delivered.
    ahead: VecDeque<Arc<SharedEvent>>,
    /// Events as they happen; none while catching up.
    live: Option<Live>,
    /// Whether they have changed, and the pass must be looked at again.
    rights: tokio::sync::watch::Receiver<u64>,
    pass: Pass,
    _place: Place,
}

struct Live {
    events: mpsc::Receiver<Arc<SharedEvent>>,
    subscription: Subscription,
}

impl Streaming {
    /// Looks through history until an event is found or the present is reached, then subscribes.
    async fn catch_up(&mut self) -> Result<(), V2Error> {
        while self.ahead.is_empty() && self.live.is_none() {
            let state = self.doors.published.state.load_full();
            if is_corrupt(&self.doors, &state) {
                return Err(V2Error::Corrupt);
            }
            if self.next > state.revision {
                drop(state);
                self.live = Some(self.subscribe().await?);
                return Ok(());
            }
            if self.next == self.seen.0 && self.next <= state.compacted {
                // Compacted since it was delivered: its one event was all that it had for v2.
                (self.next, self.seen) = (self.next.next(), (Revision(0), 0));
            }
            self.next = scan(&state, &self.pattern, self.next, SCAN_EVENTS_MAX, &mut self.ahead)?;
            // A live channel may have ended within a revision: its first events were delivered.
            let (revision, delivered) = std::mem::take(&mut self.seen);
            for _ in 0..delivered {
                if self.ahead.front().is_some_and(|event| event.revision() == revision) {
                    self.ahead.pop_front();
                }
            }
            drop(state); // a slow client must not keep old versions alive
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn subscribe(&self) -> Result<Live, V2Error> {
        let (sender, events) = mpsc::channel(self.doors.settings.watch_capacity.max(1));
        let after = Revision(self.next.0 - 1);
        let sink = Sink::Stream(sender);
        let subscribe = Subscribe { pattern: self.pattern.clone(), after, sink };
        let subscription = subscribe_to(&self.doors, subscribe).await?;
        Ok(Live { events, subscription })
    }

    /// The next event; none ends the stream: shutdown, or history that is no longer there.
    async fn event(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                return Some(event::shared(&event));
            }
            let Some(live) = &mut self.live else {
                let doors = Arc::clone(&self.doors);
                tokio::select! {
                    biased;
                    caught_up = self.catch_up() => caught_up.ok()?,
                    () = doors.drain.given() => return None,
                }
                continue;
            };
            let event = tokio::select! {
                biased;
                event = live.events.recv() => event,
                Ok(()) = self.rights.changed() => {
                    self.pass.holds(&self.doors.published.state.load()).then_some(())?;
                    continue;
                }
                () = self.doors.drain.given() => return None,
            };
            if let Some(event) = event {
                let revision = event.revision();
                let delivered = if self.seen.0 == revision { self.seen.1 } else { 0 };
                self.seen = (revision, delivered + 1);
                self.next = revision; // to be looked at again if the channel ends here
                return Some(event::shared(&event));
            }
            // The channel was full and has ended: what it held is delivered, the rest is in history.
            if let Some(live) = self.live.take() {
                live.subscription.ended();
            }
        }
    }
}
