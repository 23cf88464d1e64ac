//! The Watch RPC: many watches on one stream.
//!
//! A watch first reads what it missed from the history of published state, a bounded stretch at a time,
//! and then subscribes at Store. All live watches of a stream share one [line], so a client
//! that does not read costs one bounded channel: what does not fit ends the watch at Store, and
//! it reads from history again. Nobody sees a gap, anything twice, or another order.
//!
//! [line]: crate::actors::store::watch_line

mod answers;
mod history;
mod once;
mod queue;
mod stream;
mod subscription;
mod watcher;

use self::stream::WatchStream;
use super::{
    Answers, Caller, Requests, Services,
    error::RpcError,
    pb::etcdserverpb::{WatchRequest, WatchResponse},
};
use crate::http::limits::Class;

impl Services {
    /// Tells what happens to keys.
    pub fn watch(
        &self,
        caller: &Caller,
        requests: Requests<WatchRequest>,
    ) -> Result<Answers<WatchResponse>, RpcError> {
        let place = self.doors.limits.enter(Class::Held)?;
        let (services, caller) = (self.clone(), caller.clone());
        Ok(Box::pin(queue::answers(async move |out| {
            WatchStream::new(services, caller, out).run(requests).await;
            drop(place);
        })))
    }
}
