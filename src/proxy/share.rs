//! Clients that wait for the same thing share one watch at the endpoint.
//!
//! Shared are plain watches (`wait=true`, one event) with the same path, parameters and authorization.
//! What a client gets is what it could have got by itself:
//!
//! - **Each client has an index of its own**: the `X-Etcd-Index` of an answer that was asked for after
//!   its request came in. A client that comes when a watch is open already is not just added to it:
//!   an event from before its request may be on the way. The watch is asked for once more, for all who
//!   came meanwhile; the head of that answer is theirs, its index says where they begin, and its
//!   connection is given up again.
//! - **An event goes to those who begin before it.** It is the first after any index between the
//!   watch's own and its own, so nobody misses one. Who begins at it or after it waits on, from its own
//!   index on. With `waitIndex` all wait from the same index, and the event is everybody's.
//! - **A watch that breaks off is opened again** from where its clients stand, at whichever endpoint
//!   answers; endpoints keep a history, so nothing is lost. If that fails, or another cluster answers,
//!   the clients' connections are cut.
//!
//! Memory is bounded: a client waits for one event, which all who get it share; who does not read it
//! holds nobody else.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    StatusCode, Uri,
    header::{AUTHORIZATION, HeaderMap},
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    Proxy,
    director::client_number,
    forward::forward,
    headers,
    upstream::{Ask, Broken, Reply},
};

/// No event is longer than this.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// How long an endpoint may take for the head of a watch's answer, which it sends at once.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How often in a row a watch is opened again that ends without an event.
const REOPENED_MAX: u32 = 3;

/// What must be the same for two clients to share a watch.
type Shared = (String, Vec<u8>);

/// The shared watches, each with the way to join it.
#[derive(Default)]
pub struct Hub(Mutex<BTreeMap<Shared, mpsc::UnboundedSender<Arrival>>>);

/// A client that wants to wait; it is told how, or (by a dropped sender) to ask for itself.
type Arrival = oneshot::Sender<Waiting>;

/// A client that waits.
#[derive(Debug)]
pub struct Waiting {
    /// The headers of its answer, whose status is 200.
    pub headers: HeaderMap,
    /// Its event.
    pub parked: Parked,
}

/// A client's place in a shared watch; dropped when the client leaves.
#[derive(Debug)]
pub struct Parked {
    event: oneshot::Receiver<Bytes>,
    _leaving: Leaving,
}

impl Parked {
    /// The event, when it has come.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Broken>> {
        let event = Pin::new(&mut self.event).poll(cx);
        event.map_err(|_| Broken("the shared watch has ended".to_owned()))
    }
}

/// Tells the watch, when dropped, to see who is still there.
#[derive(Debug)]
struct Leaving(Arc<Notify>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// What a watch asks for, read from its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchTarget {
    path: String,
    /// The parameters but `waitIndex`, sorted.
    parameters: Vec<String>,
    wait_index: Option<String>,
}

impl WatchTarget {
    /// Whether this is the target of a watch for one event, said in a way that leaves no doubt.
    pub fn read(target: &Uri) -> Option<WatchTarget> {
        let (path, query) = (target.path(), target.query()?);
        if !path.starts_with("/v2/keys") || query.contains([';', '%', '+']) {
            return None;
        }
        let (mut parameters, mut wait, mut wait_index) = (Vec::new(), false, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "wait" if !wait && matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True") => {
                    wait = true;
                }
                "waitIndex" if wait_index.is_none() => wait_index = Some(value.to_owned()),
                "stream" if matches!(value, "false" | "0") => {}
                "wait" | "waitIndex" | "stream" => return None,
                _ => {}
            }
            if name != "waitIndex" {
                parameters.push(pair.to_owned());
            }
        }
        parameters.sort(); // of two with one name the first counts: they keep their order only if equal
        let names: Vec<&str> =
            parameters.iter().filter_map(|pair| pair.split('=').next()).collect();
        if !wait || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        // 0 is etcd's "from now on".
        let wait_index = wait_index.filter(|index| !index.is_empty() && index != "0");
        Some(WatchTarget { path: path.to_owned(), parameters, wait_index })
    }

    /// The target again, from this index on, or from the one that clients gave.
    fn from(&self, after: Option<u64>) -> Option<Uri> {
        let mut target = format!("{}?{}", self.path, self.parameters.join("&"));
        let begin = after.map(|index| (index + 1).to_string());
        if let Some(index) = self.wait_index.clone().or(begin) {
            target = format!("{target}&waitIndex={index}");
        }
        target.parse().ok()
    }
}

/// Joins a client to a watch. None: the client had better ask for itself.
pub async fn join(proxy: &Arc<Proxy>, target: WatchTarget, ask: &Ask) -> Option<Waiting> {
    let (arrival, waiting) = oneshot::channel();
    let authorization = ask.headers.get(AUTHORIZATION).map(|it| it.as_bytes().to_vec());
    let key = (target.from(None)?.to_string(), authorization.unwrap_or_default());
    {
        let mut watches = proxy.hub.0.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = match watches.get(&key) {
            Some(door) => door.send(arrival).err().map(|refused| refused.0),
            None => Some(arrival),
        };
        if let Some(arrival) = arrival {
            let (door, arrivals) = mpsc::unbounded_channel();
            _ = door.send(arrival); // we hold the other end
            watches.insert(key.clone(), door);
            let mut ask = ask.clone();
            ask.headers.remove("x-forwarded-for"); // it is nobody's in particular
            let watch = Watch {
                proxy: Arc::clone(proxy),
                client: client_number(&key),
                key,
                target,
                ask,
                arrivals,
                arrived: Vec::new(),
                waiters: Vec::new(),
                left: Arc::new(Notify::new()),
                cluster: None,
                opened_at: 0,
                reopened: 0,
            };
            tokio::spawn(watch.run());
        }
    }
    waiting.await.ok()
}

/// Who waits for an event after this index.
struct Waiter {
    since: u64,
    event: oneshot::Sender<Bytes>,
}

/// An event, or an empty text when the endpoint ended the watch, on its way.
type Coming = Pin<Box<dyn Future<Output = Result<Bytes, Broken>> + Send>>;
/// A watch being asked for, for those who came.
type Asking = Pin<Box<dyn Future<Output = (Option<Reply>, Vec<Arrival>)> + Send>>;

/// One shared watch.
struct Watch {
    proxy: Arc<Proxy>,
    key: Shared,
    client: u64,
    target: WatchTarget,
    /// The first client's request; its target is replaced.
    ask: Ask,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// They came when an answer was under way that may be older than they.
    arrived: Vec<Arrival>,
    waiters: Vec<Waiter>,
    left: Arc<Notify>,
    /// The cluster that the indexes are of.
    cluster: Option<Vec<u8>>,
    /// The open watch tells of what came after this index.
    opened_at: u64,
    reopened: u32,
}

impl Watch {
    async fn run(mut self) {
        self.proxy.figures.shared_watches.inc();
        let mut coming: Option<Coming> = None;
        let mut asking: Option<Asking> = None;
        while !self.is_over(coming.is_some() || asking.is_some()) {
            while let Ok(arrival) = self.arrivals.try_recv() {
                self.arrived.push(arrival);
            }
            if asking.is_none() && !self.arrived.is_empty() {
                asking = self.ask_for_arrived();
            }
            let left = Arc::clone(&self.left);
            tokio::select! {
                biased;
                () = left.notified() => {}
                event = ready(&mut coming) => {
                    coming = None;
                    self.deliver(event);
                    if !self.waiters.is_empty() {
                        coming = self.reopen().await;
                    }
                }
                (reply, batch) = ready(&mut asking) => {
                    asking = None;
                    match reply.and_then(|reply| Some((self.seat(&reply, batch)?, reply))) {
                        Some((since, reply)) if coming.is_none() => {
                            self.opened_at = since;
                            coming = Some(Box::pin(reply.body.whole(EVENT_BYTES_MAX)));
                        }
                        // A member that is behind answered: they begin before the open watch does.
                        Some((since, _)) if since < self.opened_at => {
                            drop(coming.take());
                            coming = self.reopen().await;
                        }
                        _ => {} // the open watch is theirs too: this one was for its head
                    }
                }
                Some(arrival) = self.arrivals.recv() => self.arrived.push(arrival),
            }
            self.waiters.retain(|waiter| !waiter.event.is_closed());
            self.arrived.retain(|arrival| !arrival.is_closed());
            if self.waiters.is_empty() {
                coming = None; // the endpoint sees that nobody waits any more
            }
        }
        self.proxy.figures.shared_watches.dec();
    }

    /// Whether nobody is left; from then on this watch cannot be joined.
    fn is_over(&mut self, busy: bool) -> bool {
        if busy || !self.arrived.is_empty() {
            return false;
        }
        let mut watches = self.proxy.hub.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = self.arrivals.is_empty();
        if over {
            watches.remove(&self.key);
        }
        over
    }

    fn ask_from(&self, after: Option<u64>) -> Option<Ask> {
        Some(Ask { target: self.target.from(after)?, ..self.ask.clone() })
    }

    /// Asks the endpoint for the watch, for all who have come until now.
    fn ask_for_arrived(&mut self) -> Option<Asking> {
        let batch = std::mem::take(&mut self.arrived);
        let ask = self.ask_from(None)?;
        let (proxy, client) = (Arc::clone(&self.proxy), self.client);
        Some(Box::pin(async move { (head_in_time(&proxy, &ask, client).await, batch) }))
    }

    /// Gives those who asked their places, if the answer is a watch, and says where they begin; else
    /// each asks for itself.
    fn seat(&mut self, reply: &Reply, batch: Vec<Arrival>) -> Option<u64> {
        let headers = &reply.head.headers;
        let index = headers::number(headers, "x-etcd-index");
        let since = index.filter(|_| reply.head.status == StatusCode::OK)?;
        if self.waiters.is_empty() {
            self.cluster = None;
        }
        if !self.is_same_cluster(headers) {
            return None;
        }
        for arrival in batch {
            let (event, receiver) = oneshot::channel();
            let parked = Parked { event: receiver, _leaving: Leaving(Arc::clone(&self.left)) };
            if arrival.send(Waiting { headers: headers.clone(), parked }).is_ok() {
                self.proxy.figures.shared_clients.inc();
                self.waiters.push(Waiter { since, event });
            }
        }
        Some(since)
    }

    fn is_same_cluster(&mut self, headers: &HeaderMap) -> bool {
        let id = headers.get("x-etcd-cluster-id").map_or(&[][..], |id| id.as_bytes());
        self.cluster.get_or_insert_with(|| id.to_vec()) == id
    }

    /// Gives an event to those whom it concerns. A watch that ended without leaves all waiting.
    fn deliver(&mut self, event: Result<Bytes, Broken>) {
        let Some(event) = event.ok().filter(|event| !event.is_empty()) else {
            self.reopened += 1;
            return;
        };
        self.reopened = 0;
        let Some(index) = index_of(&event) else {
            return self.waiters.clear(); // no event of etcd's: they are cut off
        };
        let all = self.target.wait_index.is_some();
        for waiter in std::mem::take(&mut self.waiters) {
            if all || waiter.since < index {
                _ = waiter.event.send(event.clone()); // or its client has left
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    /// Opens the watch again for those who still wait, from where the first of them stands.
    async fn reopen(&mut self) -> Option<Coming> {
        let after = self.waiters.iter().map(|waiter| waiter.since).min()?;
        let ask = self.ask_from(Some(after)).filter(|_| self.reopened <= REOPENED_MAX);
        let reply = match ask {
            Some(ask) => head_in_time(&self.proxy, &ask, self.client).await,
            None => None,
        };
        let is_watch = |reply: &Reply| reply.head.status == StatusCode::OK;
        match reply.filter(is_watch) {
            Some(reply) if self.is_same_cluster(&reply.head.headers) => {
                self.opened_at = after;
                Some(Box::pin(reply.body.whole(EVENT_BYTES_MAX)))
            }
            _ => {
                self.waiters.clear();
                None
            }
        }
    }
}

/// Asks, unless no head comes: an endpoint that is stuck must not hold all who want the same.
async fn head_in_time(proxy: &Arc<Proxy>, ask: &Ask, client: u64) -> Option<Reply> {
    tokio::time::timeout(HEAD_MAX, forward(proxy, ask, client)).await.ok()?.ok()
}

/// Waits for what is there to be waited for; forgets nothing when it is dropped.
async fn ready<T>(slot: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match slot {
        Some(future) => future.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The index at which an event happened.
fn index_of(event: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Event {
        node: Node,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Node {
        modified_index: u64,
    }
    serde_json::from_slice::<Event>(event).ok().map(|event| event.node.modified_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Option<String> {
        let target = WatchTarget::read(&target.parse().unwrap())?;
        target.from(None).map(|uri| uri.to_string())
    }

    #[test]
    fn only_plain_watches_are_shared() {
        for (target, shared) in [
            ("/v2/keys/a?wait=true", Some("/v2/keys/a?wait=true")),
            ("/v2/keys/a?recursive=true&wait=true", Some("/v2/keys/a?recursive=true&wait=true")),
            ("/v2/keys/a?wait=true&recursive=true", Some("/v2/keys/a?recursive=true&wait=true")),
            ("/v2/keys/a?waitIndex=7&wait=1", Some("/v2/keys/a?wait=1&waitIndex=7")),
            ("/v2/keys/a?waitIndex=0&wait=1", Some("/v2/keys/a?wait=1")),
            ("/v2/keys/a%20b?wait=true", Some("/v2/keys/a%20b?wait=true")),
            ("/v2/keys/a?wait=true&stream=true", None),
            ("/v2/keys/a?wait=false", None),
            ("/v2/keys/a?wait=true&wait=false", None),
            ("/v2/keys/a?wait=true&waitIndex=1&waitIndex=2", None),
            ("/v2/keys/a?wait=true&recursive=true&recursive=false", None),
            ("/v2/keys/a?wait=tr%75e", None),
            ("/v2/keys/a", None),
            ("/v2/stats/self?wait=true", None),
        ] {
            assert_eq!(read(target).as_deref(), shared, "{target}");
        }
    }

    #[test]
    fn a_watch_goes_on_behind_what_was_seen() {
        for (target, after, again) in [
            ("/v2/keys/a?wait=true", 9, "/v2/keys/a?wait=true&waitIndex=10"),
            ("/v2/keys/a?wait=true&waitIndex=3", 9, "/v2/keys/a?wait=true&waitIndex=3"),
        ] {
            let target = WatchTarget::read(&target.parse().unwrap()).unwrap();
            assert_eq!(target.from(Some(after)).unwrap().to_string(), again);
        }
    }

    #[test]
    fn an_event_says_when_it_happened() {
        let event = br#"{"action":"set","node":{"key":"/a","value":"{}","modifiedIndex":12,"createdIndex":12},"prevNode":{"key":"/a","modifiedIndex":3,"createdIndex":3}}"#;
        assert_eq!(index_of(event), Some(12));
        assert_eq!(index_of(b"{}"), None);
        assert_eq!(index_of(b""), None);
    }
}
