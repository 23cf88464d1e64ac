//! Waiting for one change of a few keys. Who waits is woken by those keys alone, however much is written
//! elsewhere.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;

use super::watcher::Subscribing;
use crate::{
    actors::{
        mailbox::AskError,
        store::watch_line::{RangeRefused, SubscribeRange, WatchLine},
    },
    command::KeyRange,
    http::v3::{
        Services,
        error::{CORRUPT, RpcError, STOPPED},
    },
    types::Revision,
};

/// How long a full mailbox is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(10);

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
            let subscribe = SubscribeRange { keys, after, tag, line };
            let answering = match doors.subscribe_range.ask(subscribe) {
                Ok(answering) => answering,
                Err(AskError::Full) => {
                    sleep(RETRY_AFTER).await;
                    return Ok(());
                }
                Err(AskError::Stopped) => return Err(STOPPED),
            };
            let subscribing = Subscribing::new(doors.cancel.clone(), answering);
            match subscribing.answer().await.map_err(|_| STOPPED)? {
                Ok(subscription) => subscriptions.push(subscription),
                Err(RangeRefused::Behind) => return Ok(()),
                Err(RangeRefused::Corrupt) => return Err(CORRUPT),
            }
        }
        told.recv().await;
        Ok(())
    }
}
