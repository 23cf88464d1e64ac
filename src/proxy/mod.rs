//! A proxy of a cluster's members, in two forms: over HTTP ([`server`]), which knows requests, tries the
//! next endpoint and shares watches; and over TCP ([`gateway`]), which only joins two connections. Neither
//! keeps anything but a list of addresses. Depends on the configuration and the doors' ways to read and
//! write HTTP; knows nothing of raft and the keyspace.
//!
//! The way of a request: [`server`] takes it; [`local`] answers what is about the proxy itself;
//! [`share`] joins it to a watch that others wait for; [`forward`] asks one endpoint after the other, in
//! the order that [`director`] gives, over connections of [`upstream`]; [`headers`] says what goes along;
//! [`body`] is what the client reads. [`refresh`] keeps the list of endpoints.

pub mod body;
pub mod cluster_file;
pub mod director;
pub mod figures;
pub mod forward;
pub mod gateway;
pub mod headers;
pub mod local;
pub mod refresh;
pub mod server;
pub mod share;
pub mod upstream;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{
    config::{self, Config},
    http::drain::DrainSignal,
    tls::{Dialer, TlsError},
};

/// Bytes of request bodies that are held at once, over all clients.
const HELD_BODY_BYTES_MAX: usize = 256 << 20;

/// All that a request may reach: shared by all workers.
pub struct Proxy {
    /// Manners and limits.
    pub settings: config::Proxy,
    /// `--max-request-bytes`: the largest body of a request.
    pub body_bytes_max: usize,
    /// The endpoints.
    pub director: director::Director,
    /// The watches that clients share.
    pub hub: share::Hub,
    /// How endpoints are called.
    pub endpoints_tls: Arc<Dialer>,
    /// How members are called at their peer ports.
    pub peers_tls: Arc<Dialer>,
    /// What was counted.
    pub figures: figures::Figures,
    /// Tells parked watches that the proxy shuts down.
    pub drain: DrainSignal,
    /// Room for the bodies of requests, in KiB.
    room: Arc<Semaphore>,
}

impl Proxy {
    /// A proxy without endpoints. As with etcd, endpoints are called with what the client port has, and
    /// with what is for members where it has nothing.
    pub fn new(config: &Config) -> Result<Arc<Proxy>, TlsError> {
        let settings = config.proxy;
        let peers_tls = config.peer_tls.dialer()?;
        Ok(Arc::new(Proxy {
            settings,
            body_bytes_max: usize::try_from(config.max_request_bytes).unwrap_or(usize::MAX),
            director: director::Director::new(settings.failure_wait),
            endpoints_tls: match config.client_tls.calling() {
                Some(calling) => Dialer::new(calling, None)?,
                None => Arc::clone(&peers_tls),
            },
            peers_tls,
            hub: share::Hub::default(),
            figures: figures::Figures::new(),
            drain: DrainSignal::default(),
            room: Arc::new(Semaphore::new(HELD_BODY_BYTES_MAX >> 10)),
        }))
    }
}
