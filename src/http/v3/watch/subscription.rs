//! What Store holds for a watch while it is live. Whoever stops caring leaves nothing there.

use std::time::Duration;

use actix::Recipient;
use tokio::time::sleep;

use crate::{
    actors::{
        mailbox::{Answering, AskError},
        store::{
            Cancel, SubscriptionId,
            watch_line::{RangeRefused, SubscribeRange},
        },
    },
    http::v3::{
        Services,
        error::{CORRUPT, RpcError, STOPPED},
    },
};

/// How long a full mailbox is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(10);

impl Services {
    /// Subscribes at Store. None if that is not possible now: too much has happened since, or Store has
    /// too much to do, which was waited for a little.
    pub(super) async fn subscribe(
        &self,
        subscribe: SubscribeRange,
    ) -> Result<Option<Subscription>, RpcError> {
        let answering = match self.doors.subscribe_range.ask(subscribe) {
            Ok(answering) => answering,
            Err(AskError::Full) => {
                sleep(RETRY_AFTER).await;
                return Ok(None);
            }
            Err(AskError::Stopped) => return Err(STOPPED),
        };
        let mut asking = Subscribing { cancel: self.doors.cancel.clone(), answering };
        match (&mut asking.answering).await.map_err(|_| STOPPED)? {
            Ok(id) => Ok(Some(Subscription { cancel: self.doors.cancel.clone(), id: Some(id) })),
            Err(RangeRefused::Behind) => Ok(None),
            Err(RangeRefused::Corrupt) => Err(CORRUPT),
        }
    }
}

/// A subscription that Store is asked for: whenever this is dropped, Store has none of it afterwards.
struct Subscribing {
    cancel: Recipient<Cancel>,
    answering: Answering<Result<SubscriptionId, RangeRefused>>,
}

impl Drop for Subscribing {
    fn drop(&mut self) {
        if let Some(Ok(id)) = self.answering.give_up() {
            self.cancel.do_send(Cancel(id));
        }
    }
}

/// A subscription; dropping it cancels it.
pub struct Subscription {
    cancel: Recipient<Cancel>,
    id: Option<SubscriptionId>,
}

impl Subscription {
    /// Store has ended it: there is nothing to cancel.
    pub fn ended(mut self) {
        self.id = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.cancel.do_send(Cancel(id));
        }
    }
}
