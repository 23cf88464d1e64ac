//! Connections: so many at each listener, and so many from one address. One more is closed as soon as it is
//! accepted, so that those who come later are not kept waiting behind it. Listeners for metrics and probes
//! have places of their own.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// What is counted of them.
#[derive(Debug, Default)]
pub struct ConnectionFigures {
    /// Open now, at all listeners.
    pub open: AtomicUsize,
    /// Closed because their listener had no place.
    pub beyond_listener: AtomicU64,
    /// Closed because their address had none.
    pub beyond_address: AtomicU64,
}

/// The places of one listener.
#[derive(Debug)]
pub struct Admission {
    max: usize,
    /// None: no limit of its own.
    per_address: Option<usize>,
    open: Mutex<Open>,
    figures: Arc<ConnectionFigures>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// A connection that was let in, until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// For at most so many.
    pub fn new(
        max: usize,
        per_address: Option<usize>,
        figures: Arc<ConnectionFigures>,
    ) -> Arc<Admission> {
        Arc::new(Admission { max, per_address, open: Mutex::default(), figures })
    }

    /// Lets a connection from there in, or not.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let address = counted_as(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.max {
            self.figures.beyond_listener.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if let Some(max) = self.per_address {
            let from_there = open.by_address.entry(address).or_default();
            if *from_there >= max {
                self.figures.beyond_address.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            *from_there += 1;
        }
        open.all += 1;
        self.figures.open.fetch_add(1, Ordering::Relaxed);
        Some(Admitted { admission: Arc::clone(self), address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Admission { open, figures, per_address, .. } = &*self.admission;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        figures.open.fetch_sub(1, Ordering::Relaxed);
        if per_address.is_none() {
            return;
        }
        if let Some(from_there) = open.by_address.get_mut(&self.address) {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// One who has an IPv6 address has its /64, too.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The places of each client listener, when so many files are left for connections: each gets the same,
/// and those for metrics and probes get theirs first.
pub fn share(wanted: usize, files: usize, clients: usize, probes: usize) -> usize {
    let left = files.saturating_sub(probes * PROBES_MAX);
    wanted.min(left / clients.max(1)).max(1)
}

/// The places of a listener for metrics and probes.
pub const PROBES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_and_given_back() {
        let figures = Arc::<ConnectionFigures>::default();
        let admission = Admission::new(4, Some(2), Arc::clone(&figures));
        let from = |text: &str| admission.admit(text.parse().unwrap());
        let first = from("192.0.2.1").unwrap();
        let _second = from("::ffff:192.0.2.1").expect("the same address");
        assert!(from("192.0.2.1").is_none());
        let _third = from("2001:db8::1").unwrap();
        let _fourth = from("2001:db8::2:1").expect("the same network");
        assert!(from("192.0.2.2").is_none(), "the listener is full");
        let counted = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        assert_eq!((counted(&figures.beyond_address), counted(&figures.beyond_listener)), (1, 1));
        drop(first);
        assert!(from("2001:db8::3").is_none(), "its network has two");
        assert_eq!(figures.open.load(Ordering::Relaxed), 3);
        let again = from("192.0.2.1").unwrap();
        drop(again);
        assert_eq!(admission.open.lock().unwrap().by_address.len(), 2);
        let free = Admission::new(3, None, Arc::default());
        let all: Vec<_> = (0..4).map(|_| free.admit("::1".parse().unwrap())).collect();
        assert_eq!(all.iter().flatten().count(), 3);
    }

    #[test]
    fn files_are_shared_out() {
        for (wanted, files, clients, probes, expected) in [
            (50_000, 100_000, 1, 0, 50_000),
            (50_000, 768, 1, 0, 768),
            (50_000, 768, 2, 1, 352),
            (50_000, 100_000, 4, 1, 24_984),
            (10, 768, 1, 1, 10),
            (10, 64, 1, 1, 1),
        ] {
            assert_eq!(share(wanted, files, clients, probes), expected);
        }
    }
}
