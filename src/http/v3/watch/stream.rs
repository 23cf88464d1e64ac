//! The watches of one stream: takes requests, brings watches up from history, passes on what Store
//! tells. It holds no more than its channel and the queue of its answers do.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    answers,
    history::{self, Initial},
    queue::Out,
    watcher::{Counted, View, Watch, keys_of},
};
use crate::{
    actors::store::watch_line::{Mark, SubscribeRange, Told, WatchLine},
    audit_log::Deed,
    http::{
        Doors,
        limits::Place,
        v2::keys::is_corrupt,
        v3::{
            Caller, Requests, Services,
            audit::Audited as _,
            error::{COMPACTED, CORRUPT, RpcError, STOPPED, TOO_MANY_REQUESTS},
            pb::{
                Event,
                etcdserverpb::{
                    ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
                    watch_request::RequestUnion,
                },
            },
        },
    },
    storage::mvcc::{State, watch::SharedRecord},
    types::Revision,
};

/// Watches of one stream.
const WATCHES_MAX: usize = 100_000;
/// Bytes of the keys that they watch.
const KEY_BYTES_MAX: usize = 64 << 20;
/// What an answer may have beyond `--max-request-bytes`, as with etcd.
const OVERHEAD_BYTES: usize = 512 << 10;
/// What Store told that is passed on at a stretch.
const TOGETHER_MAX: usize = 64;

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";

/// See the head of the module.
pub struct WatchStream {
    services: Services,
    caller: Caller,
    out: Out,
    line: Arc<WatchLine>,
    told: mpsc::Receiver<Told>,
    watches: BTreeMap<u64, Watch>,
    /// The watches by the client's ids.
    tags: BTreeMap<i64, u64>,
    next_tag: u64,
    next_id: i64,
    key_bytes: usize,
    /// Users and roles as they were when the watches were looked at.
    rights_seen: u64,
    /// Watches that are not live: they read from history in turn.
    behind: VecDeque<u64>,
    progress: Progress,
}

/// Telling how far the watches are. That is known when a mark comes back over the line: all up to its
/// revision has been passed on, if no watch has joined since it was asked for.
#[derive(Default)]
struct Progress {
    /// The client asked.
    asked: bool,
    /// The clock says so.
    due: bool,
    /// A mark is on its way, asked for when so many subscriptions had been made.
    mark: Option<u64>,
    subscriptions: u64,
    /// Watches that want to be told now and then.
    wanted: usize,
}

impl WatchStream {
    /// One without watches.
    pub fn new(services: Services, caller: Caller, out: Out) -> WatchStream {
        let doors = &services.doors;
        let pending = doors.metrics.pending_events.clone();
        let (line, told) = WatchLine::new(doors.settings.watch_capacity, pending);
        WatchStream {
            services,
            caller,
            out,
            line,
            told,
            watches: BTreeMap::new(),
            tags: BTreeMap::new(),
            next_tag: 0,
            next_id: 0,
            key_bytes: 0,
            rights_seen: 0,
            behind: VecDeque::new(),
            progress: Progress::default(),
        }
    }

    /// Serves until there is an error, or nobody listens and this is dropped.
    pub async fn run(mut self, requests: Requests<WatchRequest>) {
        let _counted = Counted::new(&self.services.doors.metrics.watch_streams);
        let Err(error) = self.serve(requests).await;
        self.out.send(Err(error)).await;
    }

    async fn serve(
        &mut self,
        mut requests: Requests<WatchRequest>,
    ) -> Result<Infallible, RpcError> {
        let doors = Arc::clone(&self.services.doors);
        let mut drained = pin!(doors.drain.given());
        let mut clock =
            interval(doors.settings.watch_progress_interval.max(Duration::from_millis(1)));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock.reset(); // the first tick would come at once
        let mut open = true;
        loop {
            self.take_missed();
            self.look_at_rights().await?;
            self.ask_for_mark();
            tokio::select! {
                () = &mut drained => return Err(STOPPED),
                request = requests.next(), if open => match request {
                    Some(request) => self.request(request?).await?,
                    None => open = false, // it goes on listening
                },
                Some(told) = self.told.recv() => {
                    self.told(told).await?;
                    // What waits behind it is passed on without another look at all the rest.
                    for _ in 0..TOGETHER_MAX {
                        let Ok(told) = self.told.try_recv() else { break };
                        self.told(told).await?;
                    }
                }
                _ = clock.tick(), if self.progress.wanted > 0 => self.progress.due = true,
                () = tokio::task::yield_now(), if !self.behind.is_empty() => {
                    if let Some(tag) = self.behind.pop_front() {
                        self.catch_up(tag).await?;
                    }
                }
            }
        }
    }

    async fn told(&mut self, told: Told) -> Result<(), RpcError> {
        match told {
            Told::Record { tags, record, pending: _pending } => {
                for tag in tags {
                    self.record(tag, &record).await?;
                }
                Ok(())
            }
            Told::Mark(revision) => self.mark(revision).await,
            Told::Look => Ok(()),
        }
    }

    fn doors(&self) -> &Arc<Doors> {
        &self.services.doors
    }

    fn header(&self, revision: Revision) -> Option<ResponseHeader> {
        self.services.header(revision)
    }

    fn state(&self) -> Arc<State> {
        self.doors().published.state.load_full()
    }

    async fn send(&self, answer: WatchResponse) -> Result<(), RpcError> {
        self.out.send(Ok(answer)).await;
        Ok(())
    }

    async fn request(&mut self, request: WatchRequest) -> Result<(), RpcError> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(&request).await,
            Some(RequestUnion::CancelRequest(request)) => {
                let Some(&tag) = self.tags.get(&request.watch_id) else { return Ok(()) };
                self.remove(tag);
                let header = self.services.header_now();
                self.send(answers::canceled(header, request.watch_id)).await
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress.asked = !self.watches.is_empty();
                Ok(())
            }
            None => Ok(()), // of a newer client
        }
    }

    async fn create(&mut self, request: &WatchCreateRequest) -> Result<(), RpcError> {
        let state = self.state();
        let header = self.header(state.revision);
        let keys = keys_of(request);
        let auth_revision = self.services.auth_revision();
        let watcher = self.services.watcher(&self.caller);
        let (watch_id, place) = match self.admit(request, &keys) {
            Ok(admitted) => admitted,
            Err(reason) => return self.send(answers::refused(header, reason)).await,
        };
        let start = match request.start_revision {
            0 => state.revision.next(),
            start => Revision(start.unsigned_abs()),
        };
        self.send(answers::created(header, watch_id)).await?;
        let (mut next, mut initial) = (start, None);
        if request.send_initial {
            let revision = start.min(state.revision);
            if revision < state.compacted {
                return self.send(self.compacted(watch_id, &state)).await;
            }
            initial = Some(Initial::new(&state, &keys, revision)?);
            next = revision.next();
        }
        let metrics = &self.doors().metrics;
        let watch = Watch {
            watch_id,
            view: View::of(request),
            fragment: request.fragment,
            progress_notify: request.progress_notify,
            quiet: false,
            next,
            initial,
            subscription: None,
            slow: (next <= state.revision).then(|| Counted::new(&metrics.slow_watchers)),
            watcher,
            auth_revision,
            _counted: Counted::new(&metrics.watchers),
            _place: place,
            keys,
        };
        self.key_bytes += key_bytes(&watch);
        self.progress.wanted += usize::from(watch.progress_notify);
        let tag = self.next_tag;
        self.next_tag += 1;
        self.tags.insert(watch_id, tag);
        self.watches.insert(tag, watch);
        self.behind.push_back(tag);
        Ok(())
    }

    /// The id of a watch that may begin, or why it may not.
    fn admit(
        &mut self,
        request: &WatchCreateRequest,
        keys: &crate::command::KeyRange,
    ) -> Result<(i64, Option<Place>), String> {
        let admitted = self.services.admit_watch(&self.caller, keys);
        if let Err(error) = &admitted {
            self.services.audit_refused_watch(&self.caller, error, || request.deed());
        }
        admitted.map_err(|error| answers::reason_of(&error))?;
        if request.start_revision < 0 {
            return Err(COMPACTED.message.into_owned());
        }
        if keys.bounds().is_none() {
            return Err(EMPTY_RANGE.to_owned());
        }
        let bytes = self.key_bytes.saturating_add(keys.key.len() + keys.range_end.len());
        if self.watches.len() >= WATCHES_MAX || bytes > KEY_BYTES_MAX {
            return Err(TOO_MANY_REQUESTS.message.into_owned());
        }
        let place = self.caller.watches.as_ref().map(|watches| watches.take(1)).transpose();
        let place = place.map_err(|_| TOO_MANY_REQUESTS.message.into_owned())?;
        if request.watch_id != 0 {
            let taken = self.tags.contains_key(&request.watch_id);
            return if taken {
                Err(DUPLICATE_ID.to_owned())
            } else {
                Ok((request.watch_id, place))
            };
        }
        while self.tags.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok((self.next_id - 1, place))
    }

    fn remove(&mut self, tag: u64) {
        let Some(watch) = self.watches.remove(&tag) else { return };
        self.tags.remove(&watch.watch_id);
        self.key_bytes -= key_bytes(&watch);
        self.progress.wanted -= usize::from(watch.progress_notify);
    }

    fn compacted(&self, watch_id: i64, state: &State) -> WatchResponse {
        answers::compacted(self.header(Revision(0)), watch_id, state.compacted.0 as i64)
    }

    /// Some watches have ended at Store: they go back to history.
    fn take_missed(&mut self) {
        let missed = self.line.take_missed();
        if missed.mark {
            self.progress.mark = None;
        }
        for tag in missed.watches {
            let Some(watch) = self.watches.get_mut(&tag) else { continue };
            if let Some(subscription) = watch.subscription.take() {
                subscription.ended();
            }
            watch.slow = Some(Counted::new(&self.services.doors.metrics.slow_watchers));
            self.behind.push_back(tag);
        }
    }

    /// Passes on what Store tells. What was already read from history is left out: it can still come
    /// from before a watch fell behind.
    async fn record(&mut self, tag: u64, shared: &SharedRecord) -> Result<(), RpcError> {
        let Some(watch) = self.watches.get_mut(&tag) else { return Ok(()) };
        let revision = shared.record.revision;
        if revision < watch.next {
            return Ok(());
        }
        watch.next = revision.next();
        let events = watch.view.of_shared(&watch.keys, shared);
        self.happened(tag, revision, events).await
    }

    async fn happened(
        &mut self,
        tag: u64,
        revision: Revision,
        events: Vec<Event>,
    ) -> Result<(), RpcError> {
        let header = self.header(revision);
        let max = self.doors().settings.max_request_bytes + OVERHEAD_BYTES;
        let Some(watch) = self.watches.get(&tag) else { return Ok(()) };
        if events.is_empty() {
            return Ok(());
        }
        if watch.auth_revision != self.services.auth_revision() && !self.may_go_on(tag).await? {
            return Ok(());
        }
        let Some(watch) = self.watches.get_mut(&tag) else { return Ok(()) };
        watch.quiet = false;
        let max = watch.fragment.then_some(max);
        for answer in answers::happened(header, watch.watch_id, events, max) {
            self.send(answer).await?;
        }
        Ok(())
    }

    /// Where users or roles have changed, watches that nobody may have any more end.
    async fn look_at_rights(&mut self) -> Result<(), RpcError> {
        let auth_revision = self.services.auth_revision();
        if std::mem::replace(&mut self.rights_seen, auth_revision) == auth_revision {
            return Ok(());
        }
        let asked = self.watches.iter().filter(|(_, watch)| watch.auth_revision != auth_revision);
        let asked: Vec<u64> = asked.map(|(tag, _)| *tag).collect();
        for tag in asked {
            self.may_go_on(tag).await?;
        }
        Ok(())
    }

    /// Whether its client may still have a watch, as users and roles are now; else it ends.
    async fn may_go_on(&mut self, tag: u64) -> Result<bool, RpcError> {
        let auth_revision = self.services.auth_revision();
        let Some(watch) = self.watches.get_mut(&tag) else { return Ok(false) };
        let still = self.services.still_may_watch(watch.watcher.as_ref(), &watch.keys);
        let Err(error) = still else {
            watch.auth_revision = auth_revision;
            return Ok(true);
        };
        let deed = Deed::quiet("watch").range(&watch.keys.key, &watch.keys.range_end);
        self.services.audit_refused_watch(&self.caller, &error, || deed);
        let canceled = answers::canceled(self.services.header_now(), watch.watch_id);
        self.remove(tag);
        let cancel_reason = answers::reason_of(&error);
        self.send(WatchResponse { cancel_reason, ..canceled }).await?;
        Ok(false)
    }

    /// One step of a watch that is not live.
    async fn catch_up(&mut self, tag: u64) -> Result<(), RpcError> {
        let state = self.state();
        let Some(watch) = self.watches.get_mut(&tag) else { return Ok(()) };
        if is_corrupt(&self.services.doors, &state) {
            return Err(CORRUPT);
        }
        let watch_id = watch.watch_id;
        if let Some(initial) = &mut watch.initial {
            let revision = initial.revision;
            let (events, done) =
                if watch.view.no_put { (Vec::new(), true) } else { initial.take(&watch.keys) };
            if done {
                watch.initial = None;
            }
            self.happened(tag, revision, events).await?;
            if done && self.watches.contains_key(&tag) {
                self.send(answers::initial_done(self.header(revision), watch_id)).await?;
            }
            self.behind.push_back(tag);
            return Ok(());
        }
        if watch.next < state.compacted {
            self.remove(tag);
            return self.send(self.compacted(watch_id, &state)).await;
        }
        if watch.next > state.revision {
            return self.subscribe(tag).await;
        }
        let events = if watch.next == state.compacted {
            watch.next = state.compacted.next();
            history::of_compacted(&state, &watch.keys, watch.view)?
        } else {
            let (events, next) = history::stretch(&state, &watch.keys, watch.view, watch.next);
            watch.next = next;
            events
        };
        self.behind.push_back(tag);
        self.happened(tag, state.revision, events).await
    }

    /// A watch that has read all history becomes live.
    async fn subscribe(&mut self, tag: u64) -> Result<(), RpcError> {
        let Some(watch) = self.watches.get(&tag) else { return Ok(()) };
        let subscribe = SubscribeRange {
            keys: watch.keys.clone(),
            after: Revision(watch.next.0 - 1),
            tag,
            line: Arc::clone(&self.line),
        };
        let Some(subscription) = self.services.subscribe(subscribe).await? else {
            self.behind.push_back(tag);
            return Ok(());
        };
        self.progress.subscriptions += 1;
        if let Some(watch) = self.watches.get_mut(&tag) {
            watch.subscription = Some(subscription);
            watch.slow = None;
        }
        Ok(())
    }

    /// Asks Store for a mark if one is wanted and none is on its way.
    fn ask_for_mark(&mut self) {
        let Progress { asked, due, mark, subscriptions, .. } = &mut self.progress;
        // The client's question waits until all watches are live.
        let wanted = *due || (*asked && self.behind.is_empty());
        if wanted && mark.is_none() && self.told.len() < self.told.max_capacity() {
            *mark = Some(*subscriptions);
            self.services.doors.mark.do_send(Mark(Arc::clone(&self.line)));
        }
    }

    /// All up to `revision` has been passed on to the watches that are live.
    async fn mark(&mut self, revision: Revision) -> Result<(), RpcError> {
        self.take_missed();
        if self.progress.mark.take() != Some(self.progress.subscriptions) {
            return Ok(()); // what a new watch is told first may still come: asked again
        }
        if self.progress.asked && self.behind.is_empty() {
            self.progress.asked = false;
            if !self.watches.is_empty() {
                let answer = answers::progress(self.header(revision), answers::NO_WATCH);
                self.send(answer).await?;
            }
        }
        if self.progress.due {
            self.progress.due = false;
            let mut quiet = Vec::new();
            for watch in self.watches.values_mut() {
                if watch.progress_notify && watch.subscription.is_some() && watch.quiet {
                    quiet.push(watch.watch_id);
                }
                watch.quiet = true;
            }
            for watch_id in quiet {
                self.send(answers::progress(self.header(revision), watch_id)).await?;
            }
        }
        Ok(())
    }
}

fn key_bytes(watch: &Watch) -> usize {
    watch.keys.key.len() + watch.keys.range_end.len()
}
