//! Configuration: one struct with what this member was told, under etcd's names, and how it is read.
//!
//! A setting exists once, as a row of [`settings::SETTINGS`]. Flags ([`flags`]), the environment
//! ([`mod@env`]), configuration files ([`mod@file`]), `--help` and the completeness test of
//! `config/callboard.toml` derive from that table; `build` turns the merged texts into the typed
//! [`Config`] and `rules` holds what must be true of several settings together. Nothing here opens
//! a socket; only the named configuration file is read. Depends on nothing else in this crate.

mod auth_token;
mod build;
mod discovery;
pub mod env;
mod error;
pub mod file;
pub mod flags;
mod rules;
pub mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod values;

use std::path::PathBuf;
use std::time::Duration;

pub use self::auth_token::AuthToken;
pub use self::error::{ConfigError, ExitStatus, Place};
pub use self::rules::verify_bootstrap;
pub use self::tls::{PeerTls, PortTls};
pub use self::url::{Scheme, Url, UrlError};
pub use self::values::{format_duration, parse_bool, parse_duration};

/// The etcd version whose interface this one answers for; clients choose their ways by it.
pub const ETCD_VERSION: &str = "3.6.0";

/// Everything this member was told at start. Names are etcd's; units are in the name or in the type.
///
/// A value of this type has passed every rule that does not depend on what the data directory
/// holds; [`verify_bootstrap`] has those, for a member without data.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "etcd's switches, one each")]
pub struct Config {
    /// The name of this member.
    pub name: String,
    /// Where everything is kept; `<name>.etcd` when not set.
    pub data_dir: PathBuf,
    /// A folder of its own for the WAL; inside the data directory when `None`.
    pub wal_dir: Option<PathBuf>,

    /// Where clients are listened for.
    pub listen_client_urls: Vec<Url>,
    /// What members and clients are told of how clients reach this member.
    pub advertise_client_urls: Vec<Url>,
    /// Where peers are listened for.
    pub listen_peer_urls: Vec<Url>,
    /// How peers reach this member, as told to them when it joins.
    pub initial_advertise_peer_urls: Vec<Url>,
    /// Where only `/metrics` and the probes are served, beside the client port; often empty.
    pub listen_metrics_urls: Vec<Url>,
    /// Where HTTP is served, if not on the client port; often empty.
    pub listen_client_http_urls: Vec<Url>,

    /// The members that found the cluster, in the order given; looked at by a member without data.
    pub initial_cluster: Vec<InitialMember>,
    /// Whether the member founds a cluster or joins one; looked at by a member without data.
    pub initial_cluster_state: ClusterState,
    /// Goes into the cluster id and the member ids; looked at by a member without data.
    pub initial_cluster_token: String,
    /// Refuse membership changes that would lose the quorum.
    pub strict_reconfig_check: bool,
    /// How many learners there may be.
    pub max_learners: u64,
    /// Make a learner that has caught up a voter without being asked.
    pub promote_learners: bool,
    /// Make a cluster of this member alone out of its data.
    pub force_new_cluster: bool,
    /// How the members find each other instead of by `initial_cluster`; looked at by a member without data.
    pub discovery: Discovery,

    /// One Raft tick, and the leader's beat.
    pub heartbeat_interval_ms: u64,
    /// How long a follower waits for its leader; a multiple of the heartbeat is used.
    pub election_timeout_ms: u64,
    /// Ask whether an election could be won before the term is raised.
    pub pre_vote: bool,
    /// Skip most of the first election timeout at start.
    pub initial_election_tick_advance: bool,

    /// Entries after which a snapshot may be taken; the sizes below decide whether it is worth it.
    pub snapshot_count: u64,
    /// Entries kept in memory behind a snapshot for followers that are a little late.
    pub snapshot_catchup_entries: u64,
    /// A snapshot is due when the WAL since the last one exceeds this share of its size, and
    /// `snapshot_wal_bytes_min`.
    pub snapshot_wal_ratio_percent: u64,
    /// The floor that goes with `snapshot_wal_ratio_percent`.
    pub snapshot_wal_bytes_min: u64,
    /// Snapshots kept on disk; 0 keeps all.
    pub max_snapshots: u64,
    /// WAL segments kept; accepted for etcd's sake: a segment goes when no kept snapshot needs it.
    pub max_wals: u64,
    /// The size a WAL segment is preallocated with.
    pub wal_segment_bytes: u64,
    /// Do not sync to disk: an acknowledged write may then be lost.
    pub unsafe_no_fsync: bool,

    /// Bytes the keyspace may hold before writes are refused; `None` is no limit. etcd's 0 has
    /// become its 2 GiB here.
    pub quota_backend_bytes: Option<u64>,
    /// Clear this member's alarm when there is room again.
    pub quota_auto_disarm: bool,
    /// What is compacted without being asked (`auto-compaction-mode` and `-retention` together).
    pub auto_compaction: AutoCompaction,
    /// Bytes of superseded values that history may hold before it is compacted early.
    pub history_bytes_max: u64,

    /// The largest request.
    pub max_request_bytes: u64,
    /// The most operations in one transaction.
    pub max_txn_ops: u64,
    /// What is let in at once.
    pub limits: ClientLimits,
    /// HTTP/2 streams that one client may have open.
    pub max_concurrent_streams: u32,
    /// A client that pings more often than this is sent away.
    pub grpc_keepalive_min_time: Duration,
    /// How often an idle client is pinged; zero never.
    pub grpc_keepalive_interval: Duration,
    /// How long a ping may stay unanswered; zero for ever.
    pub grpc_keepalive_timeout: Duration,
    /// Serve `/v3/…` as JSON.
    pub enable_grpc_gateway: bool,
    /// Serve `/v2/…`.
    pub enable_v2: bool,
    /// `/metrics` is for root while authentication is on.
    pub metrics_auth: bool,
    /// Threads that serve HTTP; never 0 (0 has been replaced by a number that fits the machine). 1 is the
    /// thread on which RaftNode and Store are, too.
    pub http_workers: usize,
    /// How often an idle watcher that asked for progress is told the revision.
    pub watch_progress_notify_interval: Duration,

    /// TLS of the client port.
    pub client_tls: PortTls,
    /// Whether the common name of a client's certificate is its user (`client-cert-auth`).
    pub client_cert_auth: bool,
    /// TLS between members.
    pub peer_tls: PeerTls,

    /// Origins that may call from a browser; `*` is all. Never empty.
    pub cors: Vec<String>,
    /// Host names that a client may have used for this server; `*` is all. Never empty.
    pub host_whitelist: Vec<String>,

    /// What authentication tokens are.
    pub auth_token: AuthToken,
    /// How long an authentication token lives after its last use.
    pub auth_token_ttl: Duration,
    /// The cost of hashing a password.
    pub bcrypt_cost: u32,

    /// How much the metrics tell.
    pub metrics: MetricsDetail,
    /// Applying an entry that takes longer is logged.
    pub warning_apply_duration: Duration,
    /// How often members compare their data; zero never.
    pub corrupt_check_time: Duration,
    /// A request that takes longer is logged.
    pub warning_unary_request_duration: Duration,
    /// The least important lines that are logged: a name that [`crate::telemetry`] takes.
    pub log_level: String,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// Where the log goes; never empty.
    pub log_outputs: Vec<LogOutput>,
    /// Where changes and refusals are written down, if they are.
    pub audit_log: Option<AuditFile>,

    /// How many messages may wait in each actor's mailbox.
    pub mailbox: MailboxCapacities,

    /// What this process does as a proxy, if it is to be one.
    pub proxy: Proxy,
}

/// `proxy` and the settings that go with it. A time of zero is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Whether to be a proxy.
    pub mode: ProxyMode,
    /// How long an endpoint is left alone that did not answer.
    pub failure_wait: Duration,
    /// Time between two looks at the list of members; zero looks only at the start.
    pub refresh_interval: Duration,
    /// Time to connect to an endpoint.
    pub dial_timeout: Duration,
    /// How long what was sent to an endpoint may stay unacknowledged.
    pub write_timeout: Duration,
    /// How long an endpoint may take for the next part of its answer.
    pub read_timeout: Duration,
}

/// `proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// A member, no proxy.
    Off,
    /// A proxy that lets only GET through.
    ReadOnly,
    /// A proxy.
    On,
}

/// One member of `initial-cluster`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name.
    pub name: String,
    /// Its peer URLs, sorted and each once, as etcd keeps them (ids are made from them in this order).
    pub peer_urls: Vec<Url>,
}

/// `initial-cluster-state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// The members of `initial-cluster` found a cluster.
    New,
    /// The member joins a cluster that runs.
    Existing,
}

/// How founding members find each other, when `initial-cluster` does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// `initial-cluster` says it.
    Off,
    /// By a token of a v2 discovery server.
    Url {
        /// The token's folder on the server; takes the place of `initial-cluster-token`.
        url: String,
        /// The HTTP proxy to go through: `host:port`.
        proxy: Option<String>,
        /// What to do when the token has all its members already.
        fallback: DiscoveryFallback,
    },
    /// By a token in a v3 server, which is asked through its JSON gateway.
    Token {
        /// The token; takes the place of `initial-cluster-token`.
        token: String,
        /// The server's client URLs.
        endpoints: Vec<Url>,
        /// How they are called where their URLs say https.
        tls: Box<crate::tls::TlsSettings>,
        /// Time to connect.
        dial_timeout: Duration,
        /// Time for a request.
        request_timeout: Duration,
    },
    /// By SRV records of DNS.
    Srv {
        /// The domain that has them.
        domain: String,
        /// The suffix of the service's name; often empty.
        service_name: String,
    },
}

/// `discovery-fallback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryFallback {
    /// The process ends.
    Exit,
    /// The process becomes a v2 proxy.
    Proxy,
}

/// What is compacted without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Nothing: history grows until a client compacts it, or `history_bytes_max` is reached.
    Off,
    /// The last so many revisions are kept.
    Revisions(u64),
    /// What is younger than this is kept.
    Period(Duration),
}

/// `metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsDetail {
    /// Counters and gauges, and the histograms that etcd always has.
    Basic,
    /// Latency histograms of requests too.
    Extensive,
}

/// `log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Columns for people; `console` and `pretty` are the same.
    Console,
}

/// One of `log-outputs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error; also for `default` and `systemd/journal` (systemd reads it).
    Stderr,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// What clients may have and do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections of each listener.
    pub connections: usize,
    /// Connections from one address; none: no limit.
    pub connections_per_address: Option<usize>,
    /// How long an HTTP/1.1 connection may idle.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of its answer; zero for ever.
    pub stalled_timeout: Duration,
    /// Requests about leases.
    pub leases: usize,
    /// Writes.
    pub writes: usize,
    /// Linearizable reads.
    pub reads: usize,
    /// Reads of many keys.
    pub large: usize,
    /// Long polls and streams.
    pub held: usize,
    /// Bytes of long answers.
    pub response_bytes: u64,
    /// v3 watches of one connection.
    pub watches: usize,
}

/// `audit-log` and the settings that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFile {
    /// The file.
    pub path: PathBuf,
    /// A longer one is put away.
    pub max_bytes: u64,
    /// So many that were put away are kept.
    pub max_files: u32,
}

/// How many messages may wait in each mailbox; each is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxCapacities {
    /// Proposals, read requests and peers' messages that wait for the Raft node.
    pub raft_node: usize,
    /// Batches that wait for the WAL writer.
    pub wal_writer: usize,
    /// Batches and questions that wait for the store.
    pub store: usize,
    /// Orders that wait for the snapshotter.
    pub snapshotter: usize,
    /// Outgoing parcels that wait for the peers' tasks.
    pub peer: usize,
    /// Parcels from peers that wait for the Raft node.
    pub peer_inbox: usize,
    /// Events that wait for one watcher before it falls back to catching up from history.
    pub watch: usize,
}

/// A configuration that is ready to be used, and what to say about it once the log is open.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Lines for the log: settings without effect, unknown variables, choices made.
    pub notices: Vec<String>,
}

/// Reads flags, variables and the configuration file that one of them names, into a configuration
/// that has passed every rule but those of [`verify_bootstrap`].
pub fn load(flags: &flags::Flags, variables: &env::Variables) -> Result<Loaded, ConfigError> {
    let mut notices = Vec::new();
    let Some(path) = flags.config_file.clone().or_else(|| variables.config_file()) else {
        let from_env = variables.givens(flags, &mut notices)?;
        let mut givens = flags.givens.clone();
        givens.fill_from(from_env);
        return build::build(&givens, true, notices);
    };
    let path = std::path::Path::new(&path);
    if !flags.givens.is_empty() || variables.says_more_than_the_file() {
        notices.push(format!(
            "configuration file {} is used; all other flags and variables are ignored",
            path.display()
        ));
    }
    let (givens, ours) = file::read(path, &mut notices)?;
    build::build(&givens, ours, notices)
}

/// The same for the text of a file that `path` is said to be.
#[doc(hidden)]
pub fn load_text(path: &std::path::Path, text: &str) -> Result<Loaded, ConfigError> {
    let mut notices = Vec::new();
    let (givens, ours) = file::parse(path, text, &mut notices)?;
    build::build(&givens, ours, notices)
}
