//! The gRPC door: the v3 API over HTTP/2, on the port of the other doors.
//!
//! [`server`] runs a connection and takes its requests; [`call`] is one RPC with one answer, [`streaming`]
//! one with many; [`metadata`] is what a request says beside its message; [`incoming`] reads messages and
//! [`reply`] sends them, in the frames of [`framing`]. What the RPCs do is in [`crate::http::v3`], and is
//! known here by its table of methods alone; [`health`] and [`reflection`] are gRPC's own services.
//! [`keepalive`] and [`pings`] are what both sides' pings mean. Requests that mean no gRPC go to the
//! handlers of HTTP/1.1, by [`bridge`].

use std::{sync::Arc, time::Duration};

use actix_web::dev::ServiceFactory as _;

use crate::audit_log::AuditLog;

use super::{
    Doors,
    route::Offer,
    service::{DoorFactory, DoorService},
    v3::Services,
};

pub mod bridge;
pub mod call;
pub mod codec;
pub mod figures;
pub mod framing;
pub mod health;
pub mod incoming;
pub mod keepalive;
pub mod metadata;
pub mod methods;
pub mod pings;
pub mod reflection;
pub mod reply;
pub mod server;
pub mod streaming;

/// Beside `--max-request-bytes`, for what surrounds a request: as in etcd.
const OVERHEAD_BYTES: usize = 512 * 1024;

/// What all connections of a listener share on one thread.
pub struct GrpcDoor {
    doors: Arc<Doors>,
    services: Services,
    /// For what is not gRPC.
    http: DoorService,
    offer: Offer,
    /// The longest message that is taken.
    message_bytes_max: usize,
}

impl GrpcDoor {
    /// For a listener that offers this.
    pub async fn new(doors: Arc<Doors>, offer: Offer) -> Result<GrpcDoor, ()> {
        let http = DoorFactory::new(Arc::clone(&doors), offer).new_service(()).await?;
        let message_bytes_max = doors.settings.max_request_bytes.saturating_add(OVERHEAD_BYTES);
        let services = Services::new(Arc::clone(&doors));
        Ok(GrpcDoor { doors, services, http, offer, message_bytes_max })
    }

    /// Whether a client's certificate says who it is.
    pub fn takes_certificates(&self) -> bool {
        self.doors.settings.client_cert_auth
    }

    /// Ends when the member shuts down.
    pub async fn drained(&self) {
        self.doors.drain.given().await;
    }

    /// Where changes and refusals are written down, if they are.
    pub fn audit(&self) -> Option<&AuditLog> {
        self.doors.audit.as_ref()
    }

    /// How long a client may take nothing of a long answer.
    pub fn stalled_timeout(&self) -> Duration {
        self.doors.settings.stalled_timeout
    }

    /// Whether connections may speak HTTP/1.1.
    pub fn offers_http(&self) -> bool {
        self.offer.has_http()
    }
}
