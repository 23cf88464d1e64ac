//! The table of all settings: the one place where a setting's name, form, default and effect are
//! written down. Depends on nothing but the spellings in `values` and `url`.
//!
//! Every flag of etcd 2.3 to 3.7 is here (but for 2.3's `--addr` family, which 3.x dropped): an
//! existing unit file must start this server or be told, in one line, why not.

use super::url::Url;
use super::values::{parse_bool, parse_duration, parse_i64, parse_u64};

/// What a setting's text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A file or a folder; empty is none.
    Path,
    /// Go's booleans; on the command line the bare flag is `true`.
    Bool,
    /// A whole number within bounds.
    Count(u64, u64),
    /// A whole number that may be negative.
    Signed,
    /// Go's durations.
    Duration,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// Comma-joined URLs; empty only where the default is.
    Urls,
    /// `name=url,name=url`; empty is "not set". Read with the rules, not with the form: etcd's exit
    /// status for a wrong one is that of a rule.
    Members,
    /// Comma-joined origins of web pages, or `*`.
    Origins,
    /// Comma-joined words; an array in a file.
    List,
    /// A flag that etcd itself has ignored since 2.0: bare or with any value.
    Relic,
}

/// What a setting does in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What its help says.
    Used,
    /// Nothing, and nothing is lost: says why, in the log.
    Ignored(&'static str),
    /// Nothing until the named part is there; harmless until then, so only the log says it.
    Later(&'static str),
    /// Any value but the default stops the start: going on without the named part would mislead.
    NotYet(&'static str),
}

/// Where a setting stands in the help and in the commented file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the headings of `title` say it")]
pub enum Section {
    Member,
    Storage,
    Clustering,
    Clients,
    Mailbox,
    Monitoring,
    Logging,
    Auth,
    Tls,
    Discovery,
    Unsafe,
    WithoutEffect,
}

impl Section {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Section::Member => "Member",
            Section::Storage => "Storage",
            Section::Clustering => "Clustering",
            Section::Clients => "Clients",
            Section::Mailbox => "Mailboxes",
            Section::Monitoring => "Monitoring",
            Section::Logging => "Logging",
            Section::Auth => "Authentication",
            Section::Tls => "TLS",
            Section::Discovery => "Discovery and proxy",
            Section::Unsafe => "Unsafe",
            Section::WithoutEffect => "Accepted for etcd's sake",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The name: a flag with `--` before it, a key in a file, a variable in capitals.
    pub name: &'static str,
    /// Other names under which etcd has had it.
    pub aliases: &'static [&'static str],
    /// Its heading.
    pub section: Section,
    /// Its form.
    pub kind: Kind,
    /// Its default, spelled as a user would.
    pub default: &'static str,
    /// One or two sentences for people, with the unit.
    pub help: &'static str,
    /// What it does.
    pub effect: Effect,
    /// Whether etcd knows the name.
    pub etcd: bool,
    /// Whether it should be the same on all members.
    pub agree: bool,
}

impl Setting {
    const fn aka(mut self, aliases: &'static [&'static str]) -> Setting {
        self.aliases = aliases;
        self
    }
    const fn agree(mut self) -> Setting {
        self.agree = true;
        self
    }
    const fn ours(mut self) -> Setting {
        self.etcd = false;
        self
    }
    const fn ignored(mut self, why: &'static str) -> Setting {
        self.effect = Effect::Ignored(why);
        self
    }
    const fn later(mut self, part: &'static str) -> Setting {
        self.effect = Effect::Later(part);
        self
    }
    const fn not_yet(mut self, part: &'static str) -> Setting {
        self.effect = Effect::NotYet(part);
        self
    }

    /// All its names, the present one first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether the bare flag means `true`.
    pub fn is_bare_flag(&self) -> bool {
        matches!(self.kind, Kind::Bool | Kind::Relic)
    }

    /// Whether `text` has the form of this setting; else says what is allowed.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let fine = match self.kind {
            Kind::Text | Kind::Path | Kind::List | Kind::Relic | Kind::Members => true,
            Kind::Bool => parse_bool(text).is_some(),
            Kind::Count(min, max) => parse_u64(text).is_some_and(|n| (min..=max).contains(&n)),
            Kind::Signed => parse_i64(text).is_some(),
            Kind::Duration => parse_duration(text).is_some(),
            Kind::Choice(words) => words.contains(&text),
            Kind::Urls if text.is_empty() && self.default.is_empty() => true,
            Kind::Urls => match Url::parse_list(text) {
                Ok(_) => true,
                Err(error) => return Err(error.to_string()),
            },
            Kind::Origins => text.split(',').map(str::trim).all(is_origin),
        };
        if fine { Ok(()) } else { Err(self.allowed()) }
    }

    /// What may be given, for a message.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Relic => "any text".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::List => "words joined by commas".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::Count(0, u64::MAX) => "a whole number, 0 or more".to_owned(),
            Kind::Count(min, u64::MAX) => format!("a whole number, {min} or more"),
            Kind::Count(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Signed => "a whole number".to_owned(),
            Kind::Duration => "a duration with its unit, like 100ms, 5s, 10m or 1h30m".to_owned(),
            Kind::Choice(words) => words.join(", "),
            Kind::Urls => "URLs joined by commas, like http://127.0.0.1:2379".to_owned(),
            Kind::Origins => "*, or origins joined by commas, like https://a.example".to_owned(),
            Kind::Members => {
                "name=url pairs joined by commas, like n1=http://10.0.0.1:2380".to_owned()
            }
        }
    }
}

/// Empty, `*` or `scheme://host`, with a port or without (etcd wants one; a browser leaves out the usual
/// ones, so that origins with them would never match).
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    matches!(text, "" | "*") || host.is_some_and(|h| !h.is_empty() && !h.contains(['/', ' ', '@']))
}

/// The setting with this name, present or former.
pub fn by_name(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name == name || s.aliases.contains(&name))
}

/// The name of a setting that is most like `name`, if one is like it at all.
pub fn nearest_name(name: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .flat_map(Setting::names)
        .map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

const fn setting(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        aliases: &[],
        section,
        kind,
        default,
        help,
        effect: Effect::Used,
        etcd: true,
        agree: false,
    }
}

const NUMBER: Kind = Kind::Count(0, u64::MAX);
const CAPACITY: Kind = Kind::Count(1, 16_777_216); // slots are counted in memory: a bound that means it

const SLOW: &str = "warnings about what is slow";
const AUTH: &str = "authentication";
const NO_KEEPALIVE: &str = "each request to a discovery server has a connection of its own";
const NO_PEER_TIMEOUTS: &str = "connections between members have their own limits";
const NO_BBOLT: &str = "there is no bbolt database here";
const NO_RESTART_TRICKS: &str = "listeners are bound the usual way";
const RELIC: &str = "etcd has ignored it since 2.0";
const NO_PEER_TO_COMPARE: &str =
    "corrupt-check-time is the one comparison between members; every record on disk has a checksum";
const NO_LOOPBACK: &str = "the gateway needs no connection to the member's own client port";
const NO_TRACING: &str = "distributed tracing is not in this version";

/// All settings, in the order of help and of the commented file.
#[rustfmt::skip] // a table is read by its rows
pub const SETTINGS: &[Setting] = &[
    // Member
    setting(Section::Member, "name", Kind::Text, "default",
        "Name of this member, which no other member of the cluster has."),
    setting(Section::Member, "data-dir", Kind::Path, "",
        "Folder in which everything is kept, made with mode 0700; empty is <name>.etcd in the working folder."),
    setting(Section::Member, "wal-dir", Kind::Path, "",
        "Folder for the write-ahead log alone, for a disk of its own; empty is inside data-dir."),
    setting(Section::Member, "listen-client-urls", Kind::Urls, "http://localhost:2379",
        "Where clients are listened for: http://IP:port or localhost, joined by commas. Set advertise-client-urls beside it (only an etcd-style file may go without)."),
    setting(Section::Member, "listen-peer-urls", Kind::Urls, "http://localhost:2380",
        "Where other members are listened for: http://IP:port or localhost, or https, joined by commas."),
    setting(Section::Member, "heartbeat-interval", NUMBER, "100",
        "Milliseconds of one Raft tick and between a leader's heartbeats; about the round trip between members.").agree(),
    setting(Section::Member, "election-timeout", NUMBER, "1000",
        "Milliseconds without a leader before an election: at least 5 times heartbeat-interval, at most 50000.").agree(),
    setting(Section::Member, "initial-election-tick-advance", Kind::Bool, "true",
        "Skip most of the first election timeout at start."),
    setting(Section::Member, "pre-vote", Kind::Bool, "true",
        "Ask the others whether an election could be won before holding it, so that a member that was cut off does not disturb.").agree(),

    // Storage
    setting(Section::Storage, "snapshot-count", NUMBER, "10000",
        "Entries after which a snapshot may be taken; the sizes below decide whether it is worth its writes."),
    setting(Section::Storage, "snapshot-catchup-entries", NUMBER, "5000",
        "Entries kept behind a snapshot, so that a member that is a little late need not load it.")
        .aka(&["experimental-snapshot-catchup-entries", "experimental-snapshot-catch-up-entries"]),
    setting(Section::Storage, "snapshot-wal-ratio-percent", NUMBER, "100",
        "A snapshot is taken when the WAL since the last one exceeds this many percent of that one's size, and snapshot-wal-bytes-min.").ours(),
    setting(Section::Storage, "snapshot-wal-bytes-min", NUMBER, "67108864",
        "Bytes of WAL below which no snapshot is taken for its size.").ours(),
    setting(Section::Storage, "max-snapshots", NUMBER, "3",
        "Snapshots kept on disk; 0 keeps all. etcd's default is 5: a damaged newest one falls back to the one before, a third is for luck."),
    setting(Section::Storage, "wal-segment-bytes", Kind::Count(1_048_576, 4_294_967_296), "67108864",
        "Bytes a segment of the WAL is preallocated with.").ours(),
    setting(Section::Storage, "quota-backend-bytes", Kind::Signed, "0",
        "Bytes of keyspace and history, roughly, after which writes are refused until there is room again; 0 is 2147483648 (2 GiB), negative is no limit.").agree(),
    setting(Section::Storage, "quota-auto-disarm", Kind::Bool, "true",
        "Clear the NOSPACE alarm of this member by itself once less than nine tenths of the quota are used; with false it stays until it is disarmed.").ours(),
    setting(Section::Storage, "auto-compaction-mode", Kind::Text, "revision",
        "What auto-compaction-retention counts: revision (how many are kept) or periodic (how long). etcd's default is periodic; that holds here too when only the retention is set.").agree(),
    setting(Section::Storage, "auto-compaction-retention", Kind::Text, "100000",
        "History that is kept: revisions, or a duration (5m, 1h30m; a bare number is hours). 0 is off. etcd's default is off, and it is here as well when periodic is chosen without a retention.")
        .aka(&["experimental-auto-compaction-retention"]).agree(),
    setting(Section::Storage, "history-bytes-max", NUMBER, "268435456",
        "Bytes of superseded values that history may hold before it is compacted early.").ours().agree(),

    // Clustering
    setting(Section::Clustering, "initial-advertise-peer-urls", Kind::Urls, "http://localhost:2380",
        "How the other members reach this one; must be what initial-cluster says of it."),
    setting(Section::Clustering, "advertise-client-urls", Kind::Urls, "http://localhost:2379",
        "How clients reach this member; told to clients that ask for the members."),
    setting(Section::Clustering, "initial-cluster", Kind::Members, "",
        "The members that found the cluster: n1=http://a:2380,n2=http://b:2380; a name may repeat for several URLs. Empty is this member alone. Ignored once there is data.").agree(),
    setting(Section::Clustering, "initial-cluster-state", Kind::Choice(&["new", "existing"]), "new",
        "new founds a cluster, existing joins one. Ignored once there is data."),
    setting(Section::Clustering, "initial-cluster-token", Kind::Text, "etcd-cluster",
        "Goes into the ids of cluster and members, so that two clusters never mix. Ignored once there is data.").agree(),
    setting(Section::Clustering, "strict-reconfig-check", Kind::Bool, "true",
        "Refuse membership changes that would lose the quorum.").agree(),
    setting(Section::Clustering, "max-learners", NUMBER, "1",
        "How many learners the cluster may have.").aka(&["experimental-max-learners"]).agree(),
    setting(Section::Clustering, "promote-learners", Kind::Bool, "false",
        "Make a learner a voter as soon as it has caught up, without being asked.").ours().agree(),

    // Clients
    setting(Section::Clients, "enable-v2", Kind::Bool, "true",
        "Serve the v2 API under /v2. etcd's default is false."),
    setting(Section::Clients, "max-request-bytes", NUMBER, "1572864",
        "Bytes of the largest request.").agree(),
    setting(Section::Clients, "http-workers", Kind::Count(0, 1024), "0",
        "Threads that serve HTTP; 1 is the thread of RaftNode and Store, with more they are apart; 0 is 1 on up to three cores, else half of the cores.").ours(),
    setting(Section::Clients, "max-connections", Kind::Count(1, 1_000_000), "50000",
        "Connections of each client listener, as far as there are files; more are closed. Those of listen-metrics-urls have 64 of their own.").ours(),
    setting(Section::Clients, "max-connections-per-address", NUMBER, "10000",
        "Connections from one address at each client listener; 0 is no limit.").ours(),
    setting(Section::Clients, "http-idle-timeout", Kind::Duration, "5m",
        "How long an HTTP/1.1 connection may idle between two requests.").ours(),
    setting(Section::Clients, "stalled-client-timeout", Kind::Duration, "1m",
        "A client that takes nothing of an answer for so long is cut off; 0 never.").ours(),
    setting(Section::Clients, "max-requests-leases", CAPACITY, "16384",
        "Requests about leases under way; more are refused. Those of other kinds take none of these places.").ours(),
    setting(Section::Clients, "max-requests-writes", CAPACITY, "16384",
        "Writes under way; more are refused.").ours(),
    setting(Section::Clients, "max-requests-reads", CAPACITY, "16384",
        "Linearizable reads under way; more are refused.").ours(),
    setting(Section::Clients, "max-requests-large", CAPACITY, "64",
        "Reads of many keys under way; more are refused.").ours(),
    setting(Section::Clients, "max-requests-held", CAPACITY, "100000",
        "Long polls and streams that are held open; more are refused. Streams that keep leases alive may be as many again.").ours(),
    setting(Section::Clients, "max-response-bytes", Kind::Count(1_048_576, u64::MAX), "536870912",
        "Bytes of long answers that wait for their readers; more are refused.").ours(),
    setting(Section::Clients, "max-watches-per-connection", CAPACITY, "100000",
        "v3 watches of one client connection, on all its streams.").ours(),
    setting(Section::Clients, "cors", Kind::Origins, "*",
        "Origins whose pages may call this server, joined by commas; * or empty is all."),
    setting(Section::Clients, "host-whitelist", Kind::List, "*",
        "Host names under which clients may call this server without TLS, joined by commas; * or empty is all."),
    setting(Section::Clients, "max-txn-ops", NUMBER, "128",
        "Operations in one transaction.").agree(),
    setting(Section::Clients, "max-concurrent-streams", Kind::Count(0, 4_294_967_295), "4294967295",
        "Streams that one client connection may have open; never more than 32768."),
    setting(Section::Clients, "enable-grpc-gateway", Kind::Bool, "true",
        "Serve the v3 API as JSON under /v3."),
    setting(Section::Clients, "grpc-keepalive-min-time", Kind::Duration, "5s",
        "A client that pings more often than this is sent away."),
    setting(Section::Clients, "grpc-keepalive-interval", Kind::Duration, "2h",
        "How often an idle client is pinged; 0 never."),
    setting(Section::Clients, "grpc-keepalive-timeout", Kind::Duration, "20s",
        "How long a ping may stay unanswered; 0 for ever."),
    setting(Section::Clients, "watch-progress-notify-interval", Kind::Duration, "10m",
        "How often an idle watcher that asked for it is told the revision.")
        .aka(&["experimental-watch-progress-notify-interval"]),
    setting(Section::Clients, "listen-client-http-urls", Kind::Urls, "",
        "Where HTTP is served; listen-client-urls then serve gRPC alone. Empty: those serve both."),

    // Mailboxes
    setting(Section::Mailbox, "mailbox-raft-node", CAPACITY, "4096",
        "Proposals, read requests and peers' messages that may wait for the Raft node; the next one is answered 503.").ours(),
    setting(Section::Mailbox, "mailbox-wal-writer", CAPACITY, "64",
        "Batches that may wait for the WAL writer.").ours(),
    setting(Section::Mailbox, "mailbox-store", CAPACITY, "4096",
        "Batches and questions that may wait for the store.").ours(),
    setting(Section::Mailbox, "mailbox-snapshotter", CAPACITY, "8",
        "Orders that may wait for the snapshotter.").ours(),
    setting(Section::Mailbox, "mailbox-peer", CAPACITY, "4096",
        "Outgoing parcels that may wait for the peers' tasks; more are dropped, and Raft repeats them.").ours(),
    setting(Section::Mailbox, "mailbox-peer-inbox", CAPACITY, "256",
        "Parcels from peers that may wait for the Raft node; more are dropped, and Raft repeats them.").ours(),
    setting(Section::Mailbox, "mailbox-watch", CAPACITY, "1024",
        "Events that may wait for one watcher; a slower one catches up from history.").ours(),

    // Monitoring
    setting(Section::Monitoring, "metrics", Kind::Choice(&["basic", "extensive"]), "basic",
        "basic, or extensive with latency histograms of requests."),
    setting(Section::Monitoring, "listen-metrics-urls", Kind::Urls, "",
        "Where /metrics and the probes are served besides the client port."),
    setting(Section::Monitoring, "metrics-auth", Kind::Bool, "false",
        "While authentication is on, /metrics is for root. A password, a token or a certificate is taken.").ours(),
    setting(Section::Monitoring, "warning-apply-duration", Kind::Duration, "100ms",
        "Applying a batch of entries that takes longer is logged.").aka(&["experimental-warning-apply-duration"]),
    setting(Section::Monitoring, "warning-unary-request-duration", Kind::Duration, "300ms",
        "A request that takes longer is logged.").aka(&["experimental-warning-unary-request-duration"]).later(SLOW),
    setting(Section::Monitoring, "enable-pprof", Kind::Bool, "false",
        "Go's profiles under /debug/pprof.").ignored("Go's profiler has no counterpart here; perf works on the process"),
    setting(Section::Monitoring, "corrupt-check-time", Kind::Duration, "10m",
        "How often members compare their data; one that differs from the majority stops serving. 0 never; etcd's default is 0.")
        .aka(&["experimental-corrupt-check-time"]),
    setting(Section::Monitoring, "experimental-initial-corrupt-check", Kind::Bool, "false",
        "Compare the data with the other members before serving.").ignored(NO_PEER_TO_COMPARE),
    setting(Section::Monitoring, "experimental-compact-hash-check-enabled", Kind::Bool, "false",
        "Compare hashes after compactions.").ignored(NO_PEER_TO_COMPARE),
    setting(Section::Monitoring, "compact-hash-check-time", Kind::Duration, "1m",
        "How often hashes are compared after compactions.")
        .aka(&["experimental-compact-hash-check-time"]).ignored(NO_PEER_TO_COMPARE),
    setting(Section::Monitoring, "enable-distributed-tracing", Kind::Bool, "false",
        "Send traces to a collector.").aka(&["experimental-enable-distributed-tracing"]).ignored(NO_TRACING),
    setting(Section::Monitoring, "distributed-tracing-address", Kind::Text, "localhost:4317",
        "The collector of traces.").aka(&["experimental-distributed-tracing-address"]).ignored(NO_TRACING),
    setting(Section::Monitoring, "distributed-tracing-service-name", Kind::Text, "etcd",
        "The name of the service in traces.").aka(&["experimental-distributed-tracing-service-name"]).ignored(NO_TRACING),
    setting(Section::Monitoring, "distributed-tracing-instance-id", Kind::Text, "",
        "The name of this member in traces.").aka(&["experimental-distributed-tracing-instance-id"]).ignored(NO_TRACING),
    setting(Section::Monitoring, "distributed-tracing-sampling-rate", NUMBER, "0",
        "Traces of a million requests.").aka(&["experimental-distributed-tracing-sampling-rate"]).ignored(NO_TRACING),

    // Logging
    setting(Section::Logging, "log-level",
        Kind::Choice(&["trace", "debug", "info", "warn", "error", "dpanic", "panic", "fatal"]), "info",
        "The least important lines that are logged. dpanic, panic and fatal are error here."),
    setting(Section::Logging, "log-format", Kind::Choice(&["json", "console", "pretty"]), "json",
        "json, or console (pretty is the same) for people."),
    setting(Section::Logging, "log-outputs", Kind::List, "default",
        "default or stderr, stdout, systemd/journal (as stderr), and paths of files, joined by commas.").aka(&["log-output"]),
    setting(Section::Logging, "debug", Kind::Bool, "false",
        "The old spelling of log-level debug; log-level wins."),
    setting(Section::Logging, "logger", Kind::Choice(&["zap", "capnslog"]), "zap",
        "etcd's logging library.").ignored("log-format decides how the log looks"),
    setting(Section::Logging, "log-package-levels", Kind::Text, "",
        "Levels for each of etcd's packages.").ignored("etcd's packages are not here; log-level holds for all"),
    setting(Section::Logging, "enable-log-rotation", Kind::Bool, "false",
        "Rotate a log file.").ignored("files of the log are not rotated by this process; logrotate with copytruncate does it"),
    setting(Section::Logging, "log-rotation-config-json", Kind::Text, "",
        "How a log file is rotated.").ignored("files of the log are not rotated by this process; logrotate with copytruncate does it"),

    setting(Section::Logging, "audit-log", Kind::Path, "",
        "File that gets a line of JSON for each change and each refusal; empty is none.").ours(),
    setting(Section::Logging, "audit-log-max-bytes", Kind::Count(4096, u64::MAX), "104857600",
        "Bytes of audit-log at which it is put away as audit-log.1 and begun anew.").ours(),
    setting(Section::Logging, "audit-log-max-files", Kind::Count(0, 10_000), "10",
        "Files of audit-log that were put away and are kept.").ours(),

    // Authentication
    setting(Section::Auth, "auth-token", Kind::Text, "simple",
        "The kind of authentication tokens: simple, or jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=5m.").agree(),
    setting(Section::Auth, "auth-token-ttl", NUMBER, "300",
        "Seconds that a token lives after its last use.").agree(),
    setting(Section::Auth, "bcrypt-cost", Kind::Count(4, 31), "10",
        "The cost of hashing a password."),

    // TLS
    setting(Section::Tls, "cert-file", Kind::Path, "", "Certificate of the client port."),
    setting(Section::Tls, "key-file", Kind::Path, "", "Key of the client port."),
    setting(Section::Tls, "ca-file", Kind::Path, "", "2.3's name for trusted-ca-file with client-cert-auth."),
    setting(Section::Tls, "trusted-ca-file", Kind::Path, "", "Authorities that sign clients' certificates; with them, clients must show one."),
    setting(Section::Tls, "client-cert-auth", Kind::Bool, "false", "Clients must show a certificate."),
    setting(Section::Tls, "client-cert-file", Kind::Path, "", "Certificate shown by this member as a client of its own client port.").ignored(NO_LOOPBACK),
    setting(Section::Tls, "client-key-file", Kind::Path, "", "Key that goes with client-cert-file.").ignored(NO_LOOPBACK),
    setting(Section::Tls, "client-crl-file", Kind::Path, "", "Revoked clients' certificates."),
    setting(Section::Tls, "client-cert-allowed-cn", Kind::List, "", "Common names of clients that are let in."),
    setting(Section::Tls, "client-cert-allowed-hostname", Kind::List, "", "Host names of clients that are let in."),
    setting(Section::Tls, "client-skip-client-san-verification", Kind::Bool, "false", "Do not look at the address in clients' certificates.").ignored("clients may call from anywhere, as with etcd"),
    setting(Section::Tls, "auto-tls", Kind::Bool, "false", "Make certificates for the client port."),
    setting(Section::Tls, "peer-cert-file", Kind::Path, "", "Certificate of the peer port."),
    setting(Section::Tls, "peer-key-file", Kind::Path, "", "Key of the peer port."),
    setting(Section::Tls, "peer-ca-file", Kind::Path, "", "2.3's name for peer-trusted-ca-file with peer-client-cert-auth."),
    setting(Section::Tls, "peer-trusted-ca-file", Kind::Path, "", "Authorities that sign members' certificates; with them, members must show one."),
    setting(Section::Tls, "peer-client-cert-auth", Kind::Bool, "false", "Members must show a certificate."),
    setting(Section::Tls, "peer-client-cert-file", Kind::Path, "", "Certificate shown to other members; empty is peer-cert-file."),
    setting(Section::Tls, "peer-client-key-file", Kind::Path, "", "Key that goes with peer-client-cert-file."),
    setting(Section::Tls, "peer-crl-file", Kind::Path, "", "Revoked members' certificates."),
    setting(Section::Tls, "peer-cert-allowed-cn", Kind::List, "", "Common names of members that are let in, and are called."),
    setting(Section::Tls, "peer-cert-allowed-hostname", Kind::List, "", "Host names of members that are let in, and are called."),
    setting(Section::Tls, "peer-skip-client-san-verification", Kind::Bool, "false", "Members may call from addresses that are not in their certificates.")
        .aka(&["experimental-peer-skip-client-san-verification"]),
    setting(Section::Tls, "peer-auto-tls", Kind::Bool, "false", "Make certificates for the peer port; members then encrypt, and verify nobody."),
    setting(Section::Tls, "self-signed-cert-validity", NUMBER, "1", "Years that certificates made by auto-tls hold."),
    setting(Section::Tls, "cipher-suites", Kind::List, "", "TLS cipher suites that are offered."),
    setting(Section::Tls, "tls-min-version", Kind::Choice(&["TLS1.2", "TLS1.3"]), "TLS1.2", "The lowest TLS version."),
    setting(Section::Tls, "tls-max-version", Kind::Choice(&["", "TLS1.2", "TLS1.3"]), "", "The highest TLS version; empty is the newest."),

    // Discovery and proxy
    setting(Section::Discovery, "discovery", Kind::Text, "",
        "URL of a token on a v2 discovery server, like http://host:port/v2/keys/_etcd/registry/TOKEN: founding members find each other there. Ignored once there is data.").agree(),
    setting(Section::Discovery, "discovery-fallback", Kind::Choice(&["exit", "proxy"]), "proxy",
        "What a member does when the token of discovery has all its members already: exit, or be a v2 proxy."),
    setting(Section::Discovery, "discovery-proxy", Kind::Text, "",
        "HTTP proxy on the way to the server of discovery, like http://host:port."),
    setting(Section::Discovery, "discovery-srv", Kind::Text, "",
        "DNS domain whose SRV records (_etcd-server._tcp) name the members. Ignored once there is data.").agree(),
    setting(Section::Discovery, "discovery-srv-name", Kind::Text, "",
        "Suffix of the service in those records: x asks for _etcd-server-x._tcp.").agree(),
    setting(Section::Discovery, "discovery-token", Kind::Text, "",
        "Token of v3 discovery, with discovery-endpoints beside it. Ignored once there is data.").agree(),
    setting(Section::Discovery, "discovery-endpoints", Kind::List, "",
        "Client URLs of a server of v3 discovery, joined by commas; it is asked through its JSON gateway."),
    setting(Section::Discovery, "discovery-dial-timeout", Kind::Duration, "2s", "Time to connect to a discovery server."),
    setting(Section::Discovery, "discovery-request-timeout", Kind::Duration, "5s", "Time for a request to a discovery server."),
    setting(Section::Discovery, "discovery-keepalive-time", Kind::Duration, "2s", "How often v3 discovery servers are pinged.").ignored(NO_KEEPALIVE),
    setting(Section::Discovery, "discovery-keepalive-timeout", Kind::Duration, "6s", "How long such a ping may stay unanswered.").ignored(NO_KEEPALIVE),
    setting(Section::Discovery, "discovery-insecure-transport", Kind::Bool, "true", "Speak without TLS to v3 discovery servers that are given as host:port."),
    setting(Section::Discovery, "discovery-insecure-skip-tls-verify", Kind::Bool, "false", "Do not check their certificates."),
    setting(Section::Discovery, "discovery-cert", Kind::Path, "", "Certificate shown to them."),
    setting(Section::Discovery, "discovery-key", Kind::Path, "", "Key that goes with discovery-cert."),
    setting(Section::Discovery, "discovery-cacert", Kind::Path, "", "Authorities that sign their certificates."),
    setting(Section::Discovery, "discovery-user", Kind::Text, "", "User to be to them.").not_yet(AUTH),
    setting(Section::Discovery, "discovery-password", Kind::Text, "", "That user's password.").not_yet(AUTH),
    setting(Section::Discovery, "proxy", Kind::Choice(&["off", "readonly", "on"]), "off", "Be a proxy of the members named by initial-cluster instead of a member; readonly lets only GET through."),
    setting(Section::Discovery, "proxy-failure-wait", NUMBER, "5000", "Milliseconds that a proxy leaves an endpoint alone that did not answer."),
    setting(Section::Discovery, "proxy-refresh-interval", NUMBER, "30000", "Milliseconds between a proxy's looks at the list of members; 0 looks only at the start."),
    setting(Section::Discovery, "proxy-dial-timeout", NUMBER, "1000", "Milliseconds that a proxy may take to connect to an endpoint; 0 for ever."),
    setting(Section::Discovery, "proxy-write-timeout", NUMBER, "5000", "Milliseconds that an endpoint may leave unacknowledged what a proxy sent it; 0 for ever."),
    setting(Section::Discovery, "proxy-read-timeout", NUMBER, "0", "Milliseconds that an endpoint may keep a proxy waiting for the next part of an answer; 0 for ever, and any other value ends long polls."),

    // Unsafe
    setting(Section::Unsafe, "unsafe-no-fsync", Kind::Bool, "false",
        "Do not sync to disk: writes that were acknowledged may be lost. For throw-away data only."),
    setting(Section::Unsafe, "force-new-cluster", Kind::Bool, "false",
        "Make a cluster of this member alone out of its data, when the others are lost for good."),

    // Accepted for etcd's sake
    setting(Section::WithoutEffect, "max-wals", NUMBER, "5", "WAL files kept.")
        .ignored("a segment of the WAL goes when no kept snapshot needs it"),
    setting(Section::WithoutEffect, "feature-gates", Kind::Text, "", "etcd's features, switched one by one: Name=true,Name=false.")
        .ignored("etcd's gates switch parts of its own engine"),
    setting(Section::WithoutEffect, "backend-batch-interval", Kind::Duration, "0s", "Time between commits of the database.").ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "backend-batch-limit", Kind::Signed, "0", "Operations between commits of the database.").ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "backend-bbolt-freelist-type", Kind::Choice(&["map", "array"]), "map", "How the database keeps its free pages.")
        .aka(&["experimental-backend-bbolt-freelist-type"]).ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "bootstrap-defrag-threshold-megabytes", NUMBER, "0", "Defragment the database at start.")
        .aka(&["experimental-bootstrap-defrag-threshold-megabytes"]).ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "experimental-stop-grpc-service-on-defrag", Kind::Bool, "false", "Do not serve while defragmenting.").ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "experimental-txn-mode-write-with-shared-buffer", Kind::Bool, "true", "How transactions read while they write.").ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "memory-mlock", Kind::Bool, "false", "Keep the database in RAM.")
        .aka(&["experimental-memory-mlock"]).ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "compaction-batch-limit", NUMBER, "1000", "Revisions deleted in one go of a compaction.")
        .aka(&["experimental-compaction-batch-limit"]).ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "compaction-sleep-interval", Kind::Duration, "10ms", "Pause between those goes.")
        .aka(&["experimental-compaction-sleep-interval"]).ignored(NO_BBOLT),
    setting(Section::WithoutEffect, "socket-reuse-port", Kind::Bool, "false", "SO_REUSEPORT on listeners.").ignored(NO_RESTART_TRICKS),
    setting(Section::WithoutEffect, "socket-reuse-address", Kind::Bool, "false", "SO_REUSEADDR on listeners.").ignored(NO_RESTART_TRICKS),
    setting(Section::WithoutEffect, "raft-read-timeout", Kind::Duration, "5s", "Time for a read from a peer.").ignored(NO_PEER_TIMEOUTS),
    setting(Section::WithoutEffect, "raft-write-timeout", Kind::Duration, "5s", "Time for a write to a peer.").ignored(NO_PEER_TIMEOUTS),
    setting(Section::WithoutEffect, "downgrade-check-time", Kind::Duration, "5s", "How often a wished downgrade is looked at.")
        .aka(&["experimental-downgrade-check-time"]).ignored("etcd's data format is not used here, so there is none to go back to"),
    setting(Section::WithoutEffect, "v2-deprecation",
        Kind::Choice(&["not-yet", "write-only", "write-only-drop-data", "gone"]), "not-yet", "How far etcd has given up v2.")
        .ignored("v2 is kept here"),
    setting(Section::WithoutEffect, "experimental-enable-v2v3", Kind::Text, "", "Serve v2 from the v3 keyspace under a prefix.")
        .not_yet("a prefix for v2 in the v3 keyspace (both are one keyspace here)"),
    setting(Section::WithoutEffect, "experimental-v3demo", Kind::Bool, "false", "2.3's switch for v3.").ignored("v3 needs no switch"),
    setting(Section::WithoutEffect, "experimental-enable-lease-checkpoint", Kind::Bool, "false", "Replicate how long leases have left.")
        .ignored("what long leases have left is always replicated, and kept"),
    setting(Section::WithoutEffect, "experimental-enable-lease-checkpoint-persist", Kind::Bool, "false", "Keep how long leases have left.")
        .ignored("what long leases have left is always replicated, and kept"),
    setting(Section::WithoutEffect, "next-cluster-version-compatible", Kind::Bool, "false", "A switch of 3.4's late versions.").ignored("etcd's mixed-version clusters do not exist here"),
    setting(Section::WithoutEffect, "cluster-active-size", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "cluster-remove-delay", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "cluster-sync-interval", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "config", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "force", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "max-result-buffer", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "max-retry-attempts", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "peer-heartbeat-interval", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "peer-election-timeout", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "retry-interval", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "snapshot", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "v", Kind::Relic, "", "A relic.").ignored(RELIC),
    setting(Section::WithoutEffect, "vv", Kind::Relic, "", "A relic.").ignored(RELIC),
];
