//! One watch of a stream: what it is to see, and how far it has seen it.

use std::sync::Arc;

use bytes::Bytes;
use prometheus::IntGauge;

use super::{history::Initial, subscription::Subscription};
use crate::{
    command::KeyRange,
    http::{
        auth::Identity,
        limits::Place,
        v3::pb::{
            Event,
            etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
        },
    },
    storage::mvcc::{record::RevisionRecord, watch::SharedRecord},
    types::Revision,
};

/// See the head of the module.
#[allow(clippy::struct_field_names, reason = "etcd's name")]
pub struct Watch {
    /// The client's name for it.
    pub watch_id: i64,
    /// Which keys.
    pub keys: KeyRange,
    /// What of them.
    pub view: View,
    /// Large answers may come in parts.
    pub fragment: bool,
    /// Wants to be told now and then how far it is.
    pub progress_notify: bool,
    /// Nothing was sent since the last look at the clock.
    pub quiet: bool,
    /// Revisions before it are done.
    pub next: Revision,
    /// What was there when it began, as long as not all of it was sent.
    pub initial: Option<Initial>,
    /// While it is live.
    pub subscription: Option<Subscription>,
    /// While it is not.
    pub slow: Option<Counted>,
    /// Whose it is; none if nobody had to say.
    pub watcher: Option<Identity>,
    /// As of when it may see these keys.
    pub auth_revision: u64,
    /// For the count of all.
    pub _counted: Counted,
    /// Its place on its connection.
    pub _place: Option<Place>,
}

/// What a watch wants to see of the changes of its keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// With what was there before.
    pub prev_kv: bool,
    /// No puts.
    pub no_put: bool,
    /// No deletions.
    pub no_delete: bool,
}

impl View {
    /// Of a request.
    pub fn of(request: &WatchCreateRequest) -> View {
        let has = |filter| request.filters.contains(&i32::from(filter));
        View {
            prev_kv: request.prev_kv,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
        }
    }

    /// The places of the changes of `keys` that are to be seen, in order.
    fn places<'a>(
        self,
        keys: &'a KeyRange,
        record: &'a RevisionRecord,
    ) -> impl Iterator<Item = usize> + 'a {
        let changes = record.changes.iter().enumerate();
        changes
            .filter(move |(_, change)| {
                let unwanted = if change.after.is_some() { self.no_put } else { self.no_delete };
                !unwanted && keys.contains(change.key())
            })
            .map(|(at, _)| at)
    }

    /// What is to be seen of a revision that was read from history.
    pub fn of_history(
        self,
        keys: &KeyRange,
        record: &Arc<RevisionRecord>,
        events: &mut Vec<Event>,
    ) {
        let places = self.places(keys, record);
        events.extend(places.map(|at| Event::of(Arc::clone(record), at, self.prev_kv)));
    }

    /// What is to be seen of a revision that others see as well.
    pub fn of_shared(self, keys: &KeyRange, shared: &SharedRecord) -> Vec<Event> {
        let places = self.places(keys, &shared.record);
        let event = |at| Event::Changed {
            record: Arc::clone(&shared.record),
            at,
            prev_kv: self.prev_kv,
            encoded: Some(Event::encoded_of(shared, self.prev_kv)[at].clone()),
        };
        places.map(event).collect()
    }
}

/// Which keys a request means. They are copied: what was around them in the request is not kept.
pub fn keys_of(request: &WatchCreateRequest) -> KeyRange {
    let key = if request.key.is_empty() { b"\0" } else { &request.key[..] };
    let range_end = Bytes::copy_from_slice(&request.range_end);
    KeyRange { key: Bytes::copy_from_slice(key), range_end }
}

/// Counted while it is there.
pub struct Counted(IntGauge);

impl Counted {
    /// One more.
    pub fn new(gauge: &IntGauge) -> Counted {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
