//! Waiting for one change of a few keys. Who waits is woken by those keys alone, however much is written
//! elsewhere.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    actors::store::watch_line::{SubscribeRange, WatchLine},
    command::KeyRange,
    http::v3::{Services, error::RpcError},
    types::Revision,
};

impl Services {
    /// Waits until one of the keys may have changed after a revision: the caller looks. Mostly one has.
    pub(in crate::http::v3) async fn await_change(
        &self,
        keys: &[&Bytes],
        after: Revision,
    ) -> Result<(), RpcError> {
        let doors = &self.doors;
        let (line, mut told) = WatchLine::new(keys.len(), doors.metrics.pending_events.clone());
        let mut subscriptions = Vec::with_capacity(keys.len());
        for (&key, tag) in keys.iter().zip(0..) {
            let (keys, line) = (KeyRange::one(key.clone()), Arc::clone(&line));
            match self.subscribe(SubscribeRange { keys, after, tag, line }).await? {
                Some(subscription) => subscriptions.push(subscription),
                None => return Ok(()),
            }
        }
        told.recv().await;
        Ok(())
    }
}
