//! The gRPC door: the v3 API over HTTP/2, on the port of the other doors.
//!
//! [`server`] runs a connection and takes its requests; [`call`] is one RPC with one answer, [`streaming`]
//! one with many; [`metadata`] is what a request says beside its message; [`incoming`] reads messages and
//! [`reply`] sends them, in the frames of [`framing`]. What the RPCs do is in [`crate::http::v3`], and is
//! known here by its table of methods alone.

use std::sync::Arc;

use super::{Doors, route::Offer, v3::Services};

pub mod call;
pub mod codec;
pub mod framing;
pub mod incoming;
pub mod metadata;
pub mod reply;
pub mod server;
pub mod streaming;

/// Beside `--max-request-bytes`, for what surrounds a request: as in etcd.
const OVERHEAD_BYTES: usize = 512 * 1024;

/// What all connections of a listener share on one thread.
pub struct GrpcDoor {
    doors: Arc<Doors>,
    services: Services,
    offer: Offer,
    /// The longest message that is taken.
    message_bytes_max: usize,
}

impl GrpcDoor {
    /// For a listener that offers this.
    pub fn new(doors: Arc<Doors>, offer: Offer) -> GrpcDoor {
        let message_bytes_max = doors.settings.max_request_bytes.saturating_add(OVERHEAD_BYTES);
        GrpcDoor { services: Services::new(Arc::clone(&doors)), doors, offer, message_bytes_max }
    }

    /// Ends when the member shuts down.
    pub async fn drained(&self) {
        self.doors.drain.given().await;
    }

    fn has_no_leader(&self) -> bool {
        self.doors.published.raft.leader().is_none()
    }
}
