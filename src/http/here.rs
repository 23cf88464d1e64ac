//! Serving connections on the thread of the caller, beside the actors that live there.
//!
//! A request then reaches RaftNode and Store, and its answer the connection, without waking another
//! thread. That is what costs most on a small machine; on a large one the worker pool serves more.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::dev::{Service, ServiceFactory};
use tokio::sync::Semaphore;
use tracing::warn;

use super::{
    Doors,
    server::{Manner, connections},
    unix::Accept,
};

/// The connections that are served here.
pub struct Here {
    slots: Arc<Semaphore>,
    connections_max: u32,
}

impl Here {
    /// For at most so many connections at once; more wait in the listen queue.
    pub fn new(connections_max: usize) -> Here {
        let connections_max = connections_max.clamp(1, 1 << 20) as u32;
        Here { slots: Arc::new(Semaphore::new(connections_max as usize)), connections_max }
    }

    /// Serves a listener from now on, until the doors drain. Must be called inside a local task set.
    pub(super) fn serve<L: Accept + 'static>(
        &self,
        doors: &Arc<Doors>,
        manner: Manner,
        listener: L,
    ) {
        let (doors, slots) = (Arc::clone(doors), Arc::clone(&self.slots));
        actix::spawn(async move {
            let factory = connections(&doors, &manner);
            let Ok(service) = factory.new_service(()).await else {
                return warn!("no service for a listener");
            };
            tokio::select! {
                () = accept(listener, slots, Rc::new(service)) => {}
                () = doors.drain.given() => {}
            }
        });
    }

    /// Waits until all connections have ended, at most so long.
    pub async fn ended(&self, patience: Duration) {
        let all = self.slots.acquire_many(self.connections_max);
        if tokio::time::timeout(patience, all).await.is_err() {
            warn!("connections are cut that did not end in time");
        }
    }
}

async fn accept<L, S>(listener: L, slots: Arc<Semaphore>, service: Rc<S>)
where
    L: Accept,
    S: Service<L::Stream> + 'static,
{
    /// Out of file descriptors, most likely: those that end give some back.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.next().await {
            Ok(connection) => {
                let service = Rc::clone(&service);
                actix::spawn(async move {
                    _ = service.call(connection).await; // how it ended concerns only the client
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "a connection was not accepted; accepting pauses");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
