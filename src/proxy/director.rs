//! Which endpoints there are, in which order a client's requests try them, and which are left alone for
//! a while. Decides only; time is handed in.
//!
//! Each client connection has an order of its own over the endpoints, drawn by rendezvous hashing: the
//! connections are spread, each stays with one endpoint (so that what it reads does not go back in time
//! when members differ by a moment), and when an endpoint fails only its own connections move.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::upstream::Pool;
use crate::{config::Url, tls::Place};

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is.
    pub url: Url,
    /// Connections to it that wait for a request.
    pub pool: Pool,
    /// It failed, and is left alone until then.
    down_until: Mutex<Option<Instant>>,
}

impl Endpoint {
    /// An endpoint that is thought to be up.
    pub fn new(url: Url) -> Arc<Endpoint> {
        Arc::new(Endpoint { url, pool: Pool::default(), down_until: Mutex::new(None) })
    }

    /// `host:port`, as it stands in the URL.
    pub fn authority(&self) -> &str {
        let text = self.url.as_str();
        text.split_once("://").map_or(text, |(_, authority)| authority)
    }

    /// Where it is called.
    pub fn place(&self) -> Place {
        let (host, port) = self.url.address();
        Place { is_secure: self.url.scheme().is_tls(), host: host.to_owned(), port }
    }

    /// Whether requests may go there.
    pub fn is_up(&self, now: Instant) -> bool {
        locked(&self.down_until).is_none_or(|until| until <= now)
    }

    /// It answered.
    pub fn answered(&self) {
        *locked(&self.down_until) = None;
    }
}

/// All endpoints.
#[derive(Debug)]
pub struct Director {
    endpoints: Mutex<Vec<Arc<Endpoint>>>,
    failure_wait: Duration,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Director {
    /// None yet.
    pub fn new(failure_wait: Duration) -> Director {
        Director { endpoints: Mutex::default(), failure_wait }
    }

    /// All endpoints, up or not.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        locked(&self.endpoints).clone()
    }

    /// From now on these are the endpoints; whether that changed anything. One that stays keeps its
    /// connections, and its rest if it has failed.
    pub fn replace(&self, urls: &[Url]) -> bool {
        let mut endpoints = locked(&self.endpoints);
        let known = |url: &Url| endpoints.iter().find(|endpoint| endpoint.url == *url).cloned();
        let next: Vec<_> = urls
            .iter()
            .map(|url| known(url).unwrap_or_else(|| Endpoint::new(url.clone())))
            .collect();
        let changed = next.len() != endpoints.len()
            || next.iter().zip(&*endpoints).any(|(next, before)| next.url != before.url);
        *endpoints = next;
        changed
    }

    /// Whom a client may ask now, the first to be asked first. `client` is the same for all requests of
    /// a connection.
    pub fn candidates(&self, client: u64, now: Instant) -> Vec<Arc<Endpoint>> {
        let mut up: Vec<_> = self.all().into_iter().filter(|e| e.is_up(now)).collect();
        up.sort_by_key(|endpoint| rank(client, &endpoint.url));
        up
    }

    /// An endpoint did not answer: it is left alone for a time. Whether that is news.
    pub fn failed(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let news = endpoint.is_up(now);
        *locked(&endpoint.down_until) = now.checked_add(self.failure_wait);
        news
    }
}

fn rank(client: u64, url: &Url) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    url.as_str().hash(&mut hasher);
    hasher.finish()
}

/// A number for a client's connection, or for anything else that is to keep its endpoint.
pub fn client_number(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn urls(ports: &[u16]) -> Vec<Url> {
        ports.iter().map(|port| Url::parse(&format!("http://a:{port}")).unwrap()).collect()
    }

    fn director(ports: &[u16]) -> Director {
        let director = Director::new(Duration::from_secs(5));
        director.replace(&urls(ports));
        director
    }

    fn first(director: &Director, client: u64, now: Instant) -> u16 {
        director.candidates(client, now)[0].url.port()
    }

    #[test]
    fn clients_are_spread_and_each_stays_where_it_is() {
        let (director, now) = (director(&[1, 2, 3]), Instant::now());
        let mut counts = BTreeMap::new();
        for client in 0..300 {
            let at = first(&director, client, now);
            assert_eq!(first(&director, client, now), at);
            *counts.entry(at).or_insert(0) += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| *count > 50), "{counts:?}");
    }

    #[test]
    fn who_failed_rests_and_only_its_clients_move() {
        let (director, now) = (director(&[1, 2, 3]), Instant::now());
        let before: Vec<u16> = (0..100).map(|client| first(&director, client, now)).collect();
        let failed = director.all().into_iter().find(|e| e.url.port() == 2).unwrap();
        assert!(director.failed(&failed, now));
        assert!(!director.failed(&failed, now), "known already");
        for (client, before) in before.iter().enumerate() {
            let after = first(&director, client as u64, now);
            assert!(after != 2 && (after == *before || *before == 2));
        }
        let later = now + Duration::from_secs(5);
        let again: Vec<u16> = (0..100).map(|client| first(&director, client, later)).collect();
        assert_eq!(again, before);
        failed.answered();
        assert_eq!(director.candidates(0, now).len(), 3);
    }

    #[test]
    fn a_new_list_keeps_what_is_known_of_those_who_stay() {
        let (director, now) = (director(&[1, 2]), Instant::now());
        let two = director.all()[1].clone();
        director.failed(&two, now);
        assert!(!director.replace(&urls(&[1, 2])));
        assert!(director.replace(&urls(&[2, 3])));
        let ports: Vec<u16> = director.candidates(0, now).iter().map(|e| e.url.port()).collect();
        assert_eq!(ports, [3]);
        assert!(Arc::ptr_eq(&two, &director.all()[0]));
    }
}
