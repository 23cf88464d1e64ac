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
mod stream;
mod watcher;

use futures_util::stream::unfold;
use tokio::sync::mpsc;

use self::stream::WatchStream;
use super::{
    Answers, Caller, Requests, Services,
    error::RpcError,
    pb::etcdserverpb::{WatchRequest, WatchResponse},
};
use crate::http::limits::Class;

/// Answers that wait for the connection.
const ANSWERS_MAX: usize = 16;

impl Services {
    /// Tells what happens to keys.
    pub fn watch(
        &self,
        caller: &Caller,
        requests: Requests<WatchRequest>,
    ) -> Result<Answers<WatchResponse>, RpcError> {
        let place = self.doors.limits.enter(Class::Held)?;
        let (out, answers) = mpsc::channel(ANSWERS_MAX);
        // A task of its own: a stream that is dropped must still give its subscriptions back.
        let serving = WatchStream::new(self.clone(), caller.clone(), out).run(requests);
        actix::spawn(async move {
            serving.await;
            drop(place);
        });
        Ok(Box::pin(unfold(answers, async |mut answers| Some((answers.recv().await?, answers)))))
    }
}
