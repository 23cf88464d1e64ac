//! The doors: what comes in over HTTP. A handler parses, sends one message, dresses the answer. Knows
//! messages and published state, not the actors behind them.
//!
//! The way of a request: [`server`] runs actix's workers; [`stream`] is the connection, escaped where
//! clients do not; [`service`] is what the workers call for each request; [`route`] looks at method and path and picks the handler; [`answer`] is what comes back.

use std::{sync::Arc, time::Duration};

use actix::Recipient;

use crate::{
    actors::{
        lease_keeper::LeaseInquiry,
        mailbox::Mailbox,
        raft_node::{Propose, ReadIndex, Transfer},
        store::{
            Cancel, LeasesByEnd, Subscribe,
            watch_line::{Mark, SubscribeRange},
        },
    },
    audit_log::AuditLog,
    metrics::Metrics,
    published::Published,
    storage::v2_tree::stats::V2Stats,
    telemetry::Telemetry,
    tls::Figures,
};

pub mod accept;
pub mod answer;
mod aside;
pub mod audit;
pub mod auth;
pub mod body;
pub mod cors;
pub mod drain;
pub mod framing;
pub mod gateway;
pub mod grpc;
pub mod here;
pub mod host_names;
pub mod json;
mod leader;
pub mod limits;
pub mod log_level;
pub mod membership;
pub mod opening;
pub mod path;
pub mod peer;
pub mod plain;
pub mod probes;
pub mod quota;
pub mod route;
pub mod scrape;
pub mod server;
pub mod service;
pub mod stream;
pub mod unix;
pub mod v2;
pub mod v3;
pub mod wire;

/// All that a handler may reach: shared by all workers.
pub struct Doors {
    /// Writes.
    pub propose: Mailbox<Propose>,
    /// Linearizable reads.
    pub read_index: Mailbox<ReadIndex>,
    /// Handing on the lead.
    pub transfer: Recipient<Transfer>,
    /// Watches.
    pub subscribe: Mailbox<Subscribe>,
    /// Watches of ranges of keys.
    pub subscribe_range: Mailbox<SubscribeRange>,
    /// How far they have been told.
    pub mark: Recipient<Mark>,
    /// The end of watches.
    pub cancel: Recipient<Cancel>,
    /// What only the leader knows of v3 leases.
    pub leases: Mailbox<LeaseInquiry>,
    /// The v3 leases as this member's clock orders them.
    pub leases_by_end: Mailbox<LeasesByEnd>,
    /// What everyone may read.
    pub published: Arc<Published>,
    /// `/v2/stats/store`.
    pub stats: Arc<V2Stats>,
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Passwords and tokens.
    pub gate: auth::Gate,
    /// Where changes and refusals are written down, if they are.
    pub audit: Option<AuditLog>,
    /// `--quota-backend-bytes` at work.
    pub quota: quota::Quota,
    /// What is let in at once.
    pub limits: limits::Limits,
    /// What is counted of RPCs.
    pub grpc: Arc<grpc::figures::GrpcFigures>,
    /// Limits and manners.
    pub settings: DoorSettings,
    /// Changes the log's level; none where there is no log to change.
    pub telemetry: Option<Telemetry>,
    /// What is counted of certificates, for each place where there are any: the ports, and calls.
    pub certificates: Vec<(&'static str, Arc<Figures>)>,
    /// Tells parked watches that the member shuts down; given by [`server::HttpServer`] on its drain.
    pub drain: drain::DrainSignal,
}

/// What the configuration says about the doors.
#[allow(clippy::struct_excessive_bools, reason = "settings are independent switches")]
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// `--max-request-bytes`: the largest body.
    pub max_request_bytes: usize,
    /// `--mailbox-watch`: events that may wait for one streaming watcher before it falls back to history.
    pub watch_capacity: usize,
    /// `--watch-progress-notify-interval`.
    pub watch_progress_interval: Duration,
    /// `--cors`: allowed origins; `*` allows all, empty none.
    pub cors: Vec<String>,
    /// How long a write or a linearizable read may take before 300 `request timed out`.
    pub request_timeout: Duration,
    /// `--election-timeout`: by it a request that came to nothing is told from one that fell into an
    /// election.
    pub election_timeout: Duration,
    /// `--strict-reconfig-check`: refuse a change of the membership that could cost the quorum.
    pub strict_reconfig_check: bool,
    /// `--stalled-client-timeout`: a client that takes nothing of an answer for so long is cut off; zero
    /// never.
    pub stalled_timeout: Duration,
    /// `--max-watches-per-connection`.
    pub max_watches: usize,
    /// `--max-learners`.
    pub max_learners: usize,
    /// `--max-txn-ops`.
    pub max_txn_ops: usize,
    /// `--quota-backend-bytes`; none: no quota.
    pub quota_backend_bytes: Option<u64>,
    /// `--enable-v2`: whether `/v2` is there.
    pub enable_v2: bool,
    /// `--enable-grpc-gateway`: whether `/v3` is there as JSON.
    pub enable_gateway: bool,
    /// `--client-cert-auth`: the common name of a client's certificate says who it is.
    pub client_cert_auth: bool,
    /// `--metrics-auth`: `/metrics` is for root while authentication is on.
    pub metrics_auth: bool,
    /// `--host-whitelist`: the host names that a client may have used; `*` allows all.
    pub host_whitelist: Vec<String>,
    /// HTTP/2 and gRPC.
    pub http2: Http2Settings,
    /// When the process started, for `/v2/stats/self` (RFC 3339).
    pub start_time: crate::types::UnixNanos,
}

/// What the configuration says about HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub struct Http2Settings {
    /// `--max-concurrent-streams` of one connection.
    pub max_concurrent_streams: u32,
    /// `--grpc-keepalive-min-time`: a client that pings more often is sent away.
    pub keepalive_min_time: Duration,
    /// `--grpc-keepalive-interval`: how often an idle client is pinged.
    pub keepalive_interval: Duration,
    /// `--grpc-keepalive-timeout`: how long such a ping may stay unanswered.
    pub keepalive_timeout: Duration,
}

impl Default for Http2Settings {
    /// etcd's defaults.
    fn default() -> Self {
        Http2Settings {
            max_concurrent_streams: u32::MAX,
            keepalive_min_time: Duration::from_secs(5),
            keepalive_interval: Duration::from_hours(2),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}
