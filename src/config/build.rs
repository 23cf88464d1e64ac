//! From the merged texts to the typed [`Config`], and the answer to settings that do nothing here.
//! Depends on the rest of `config` only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Place};
use super::settings::{Effect, Kind, Setting, by_name};
use super::url::Url;
use super::values::{parse_bool, parse_duration, parse_i64, parse_u64};
use super::{
    AuditFile, AutoCompaction, ClientLimits, ClusterState, Config, InitialMember, Loaded,
    LogFormat, LogOutput, MailboxCapacities, MetricsDetail, Proxy, ProxyMode, discovery, rules,
};

/// etcd's quota when none is set.
const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;
/// Above this etcd warns, since its snapshots become slow.
const QUOTA_WARN_BYTES: u64 = 8 << 30;

/// What was given for one setting, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: Place,
}

/// What was given, by the present name of each setting.
#[derive(Clone, Debug, Default)]
pub(super) struct Givens(BTreeMap<&'static str, Given>);

impl Givens {
    /// Notes what was given for `setting`; a setting that was given before is a mistake.
    pub(super) fn add(&mut self, setting: &Setting, given: Given) -> Result<(), ConfigError> {
        if let Some(first) = self.0.get(setting.name) {
            return Err(ConfigError::Twice { first: first.place.clone(), second: given.place });
        }
        self.0.insert(setting.name, given);
        Ok(())
    }

    /// What was given under this name.
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    /// Whether nothing was.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what `other` has and this one has not.
    pub(super) fn fill_from(&mut self, other: Givens) {
        for (name, given) in other.0 {
            self.0.entry(name).or_insert(given);
        }
    }

    /// Refuses texts that have not the form of their settings.
    pub(super) fn check_syntax(&self) -> Result<(), ConfigError> {
        for (name, given) in &self.0 {
            let Some(setting) = by_name(name) else { continue };
            setting.check(&given.text).map_err(|allowed| ConfigError::Syntax {
                place: given.place.clone(),
                value: given.text.clone(),
                allowed,
            })?;
        }
        Ok(())
    }

    /// The text for `name`, its default if none was given, with the place that messages name.
    pub(super) fn effective(&self, name: &'static str) -> Given {
        self.get(name).cloned().unwrap_or_else(|| Given {
            text: by_name(name).map(|s| s.default.to_owned()).unwrap_or_default(),
            place: Place::Default(name),
        })
    }

    pub(super) fn read<T>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let Given { text, place } = self.effective(name);
        read(&text).ok_or_else(|| ConfigError::Syntax {
            place,
            value: text,
            allowed: by_name(name).map(Setting::allowed).unwrap_or_default(),
        })
    }

    pub(super) fn text(&self, name: &'static str) -> String {
        self.effective(name).text
    }
    pub(super) fn bool(&self, name: &'static str) -> Result<bool, ConfigError> {
        self.read(name, parse_bool)
    }
    fn count(&self, name: &'static str) -> Result<u64, ConfigError> {
        self.read(name, parse_u64)
    }
    fn size(&self, name: &'static str) -> Result<usize, ConfigError> {
        self.read(name, |text| usize::try_from(parse_u64(text)?).ok())
    }
    pub(super) fn duration(&self, name: &'static str) -> Result<Duration, ConfigError> {
        self.read(name, parse_duration)
    }
    fn urls(&self, name: &'static str) -> Result<Vec<Url>, ConfigError> {
        self.read(
            name,
            |text| {
                if text.is_empty() { Some(Vec::new()) } else { Url::parse_list(text).ok() }
            },
        )
    }
    pub(super) fn words(&self, name: &'static str) -> Vec<String> {
        let text = self.text(name);
        text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
    }
    /// A list whose emptiness means "all".
    fn words_or_all(&self, name: &'static str) -> Vec<String> {
        let words = self.words(name);
        if words.is_empty() { vec!["*".to_owned()] } else { words }
    }
    pub(super) fn path(&self, name: &'static str) -> Option<PathBuf> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }
}

/// Reads `n1=url,n2=url`; the members stay in the order in which their names appear first.
pub(super) fn parse_members(text: &str) -> Option<Vec<InitialMember>> {
    let mut members: Vec<InitialMember> = Vec::new();
    for pair in text.split(',') {
        let (name, url) = pair.split_once('=')?;
        let name = name.trim();
        let url = Url::parse(url).ok()?;
        if name.is_empty() {
            return None;
        }
        match members.iter_mut().find(|m| m.name == name) {
            Some(member) => member.peer_urls.push(url),
            None => members.push(InitialMember { name: name.to_owned(), peer_urls: vec![url] }),
        }
    }
    for member in &mut members {
        member.peer_urls.sort();
        member.peer_urls.dedup();
    }
    Some(members)
}

/// Makes the configuration, or says what is wrong with it. `advertise_required`: etcd wants
/// `advertise-client-urls` beside `listen-client-urls`, except in a file.
pub(super) fn build(
    givens: &Givens,
    advertise_required: bool,
    mut notices: Vec<String>,
) -> Result<Loaded, ConfigError> {
    givens.check_syntax()?;
    answer_for_effects(givens, &mut notices)?;

    let name = givens.text("name");
    let initial_advertise_peer_urls = givens.urls("initial-advertise-peer-urls")?;
    let initial_cluster = match givens.get("initial-cluster") {
        Some(given) if !given.text.is_empty() => {
            parse_members(&given.text).ok_or_else(|| ConfigError::Rule {
                place: given.place.clone(),
                value: given.text.clone(),
                allowed: by_name("initial-cluster").map(Setting::allowed).unwrap_or_default(),
            })?
        }
        // As etcd does for a member with a name: the member alone, at what it advertises.
        _ => vec![InitialMember {
            name: name.clone(),
            peer_urls: initial_advertise_peer_urls.clone(),
        }],
    };
    let config = Config {
        data_dir: givens.path("data-dir").unwrap_or_else(|| PathBuf::from(format!("{name}.etcd"))),
        wal_dir: givens.path("wal-dir"),
        listen_client_urls: givens.urls("listen-client-urls")?,
        advertise_client_urls: givens.urls("advertise-client-urls")?,
        listen_peer_urls: givens.urls("listen-peer-urls")?,
        initial_advertise_peer_urls,
        listen_metrics_urls: givens.urls("listen-metrics-urls")?,
        listen_client_http_urls: givens.urls("listen-client-http-urls")?,
        initial_cluster,
        initial_cluster_state: match givens.text("initial-cluster-state").as_str() {
            "existing" => ClusterState::Existing,
            _ => ClusterState::New,
        },
        initial_cluster_token: givens.text("initial-cluster-token"),
        strict_reconfig_check: givens.bool("strict-reconfig-check")?,
        max_learners: givens.count("max-learners")?,
        promote_learners: givens.bool("promote-learners")?,
        force_new_cluster: givens.bool("force-new-cluster")?,
        discovery: discovery::read(givens)?,
        heartbeat_interval_ms: givens.count("heartbeat-interval")?,
        election_timeout_ms: givens.count("election-timeout")?,
        pre_vote: givens.bool("pre-vote")?,
        initial_election_tick_advance: givens.bool("initial-election-tick-advance")?,
        snapshot_count: givens.count("snapshot-count")?,
        snapshot_catchup_entries: givens.count("snapshot-catchup-entries")?,
        snapshot_wal_ratio_percent: givens.count("snapshot-wal-ratio-percent")?,
        snapshot_wal_bytes_min: givens.count("snapshot-wal-bytes-min")?,
        max_snapshots: givens.count("max-snapshots")?,
        max_wals: givens.count("max-wals")?,
        wal_segment_bytes: givens.count("wal-segment-bytes")?,
        unsafe_no_fsync: givens.bool("unsafe-no-fsync")?,
        quota_backend_bytes: quota(givens, &mut notices)?,
        quota_auto_disarm: givens.bool("quota-auto-disarm")?,
        auto_compaction: auto_compaction(givens, &mut notices)?,
        history_bytes_max: givens.count("history-bytes-max")?,
        max_request_bytes: givens.count("max-request-bytes")?,
        max_txn_ops: givens.count("max-txn-ops")?,
        limits: limits(givens)?,
        max_concurrent_streams: givens
            .read("max-concurrent-streams", |text| u32::try_from(parse_u64(text)?).ok())?,
        grpc_keepalive_min_time: givens.duration("grpc-keepalive-min-time")?,
        grpc_keepalive_interval: givens.duration("grpc-keepalive-interval")?,
        grpc_keepalive_timeout: givens.duration("grpc-keepalive-timeout")?,
        enable_grpc_gateway: givens.bool("enable-grpc-gateway")?,
        enable_v2: givens.bool("enable-v2")?,
        http_workers: match givens.size("http-workers")? {
            0 => match std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
                ..4 => 1,
                cores => cores / 2,
            },
            workers => workers,
        },
        watch_progress_notify_interval: givens.duration("watch-progress-notify-interval")?,
        client_tls: super::tls::client_port(givens)?,
        client_cert_auth: super::tls::names_users(givens)?,
        peer_tls: super::tls::peer_port(givens)?,
        cors: givens.words_or_all("cors"),
        host_whitelist: givens.words_or_all("host-whitelist"),
        auth_token: super::auth_token::read(givens)?,
        auth_token_ttl: Duration::from_secs(givens.count("auth-token-ttl")?),
        bcrypt_cost: givens.read("bcrypt-cost", |text| u32::try_from(parse_u64(text)?).ok())?,
        metrics_auth: givens.bool("metrics-auth")?,
        metrics: match givens.text("metrics").as_str() {
            "extensive" => MetricsDetail::Extensive,
            _ => MetricsDetail::Basic,
        },
        corrupt_check_time: givens.duration("corrupt-check-time")?,
        warning_apply_duration: givens.duration("warning-apply-duration")?,
        warning_unary_request_duration: givens.duration("warning-unary-request-duration")?,
        log_level: log_level(givens)?,
        log_format: match givens.text("log-format").as_str() {
            "json" => LogFormat::Json,
            _ => LogFormat::Console,
        },
        log_outputs: log_outputs(givens)?,
        audit_log: audit_log(givens)?,
        mailbox: MailboxCapacities {
            raft_node: givens.size("mailbox-raft-node")?,
            wal_writer: givens.size("mailbox-wal-writer")?,
            store: givens.size("mailbox-store")?,
            snapshotter: givens.size("mailbox-snapshotter")?,
            peer: givens.size("mailbox-peer")?,
            peer_inbox: givens.size("mailbox-peer-inbox")?,
            watch: givens.size("mailbox-watch")?,
        },
        proxy: proxy(givens)?,
        name,
    };
    rules::validate(&config, givens, advertise_required, &mut notices)?;
    Ok(Loaded { config, notices })
}

fn limits(givens: &Givens) -> Result<ClientLimits, ConfigError> {
    Ok(ClientLimits {
        connections: givens.size("max-connections")?,
        connections_per_address: Some(givens.size("max-connections-per-address")?)
            .filter(|most| *most > 0),
        idle_timeout: givens.duration("http-idle-timeout")?,
        stalled_timeout: givens.duration("stalled-client-timeout")?,
        leases: givens.size("max-requests-leases")?,
        writes: givens.size("max-requests-writes")?,
        reads: givens.size("max-requests-reads")?,
        large: givens.size("max-requests-large")?,
        held: givens.size("max-requests-held")?,
        response_bytes: givens.count("max-response-bytes")?,
        watches: givens.size("max-watches-per-connection")?,
    })
}

fn audit_log(givens: &Givens) -> Result<Option<AuditFile>, ConfigError> {
    let path = givens.text("audit-log");
    if path.is_empty() {
        return Ok(None);
    }
    Ok(Some(AuditFile {
        path: path.into(),
        max_bytes: givens.count("audit-log-max-bytes")?,
        max_files: givens.count("audit-log-max-files")? as u32,
    }))
}

fn proxy(givens: &Givens) -> Result<Proxy, ConfigError> {
    let millis = |name| Ok(Duration::from_millis(givens.count(name)?));
    Ok(Proxy {
        mode: match givens.text("proxy").as_str() {
            "on" => ProxyMode::On,
            "readonly" => ProxyMode::ReadOnly,
            _ => ProxyMode::Off,
        },
        failure_wait: millis("proxy-failure-wait")?,
        refresh_interval: millis("proxy-refresh-interval")?,
        dial_timeout: millis("proxy-dial-timeout")?,
        write_timeout: millis("proxy-write-timeout")?,
        read_timeout: millis("proxy-read-timeout")?,
    })
}

/// Says what will not happen, and stops where that would mislead.
fn answer_for_effects(givens: &Givens, notices: &mut Vec<String>) -> Result<(), ConfigError> {
    for (name, given) in &givens.0 {
        let Some(setting) = by_name(name) else { continue };
        match setting.effect {
            Effect::Ignored(why) => {
                notices.push(format!("setting {}: has no effect: {why}", given.place));
            }
            Effect::Later(part) => notices.push(format!(
                "setting {}: has no effect yet: it is for {part}, not in this version",
                given.place
            )),
            Effect::NotYet(feature) if !says_the_default(setting, &given.text) => {
                return Err(ConfigError::NotInThisVersion {
                    place: given.place.clone(),
                    value: given.text.clone(),
                    feature: feature.to_owned(),
                });
            }
            Effect::Used | Effect::NotYet(_) => {}
        }
    }
    Ok(())
}

fn says_the_default(setting: &Setting, text: &str) -> bool {
    match setting.kind {
        Kind::Bool => parse_bool(text) == parse_bool(setting.default),
        Kind::Duration => parse_duration(text) == parse_duration(setting.default),
        Kind::Count(..) => parse_u64(text) == parse_u64(setting.default),
        _ => text == setting.default || text.is_empty(),
    }
}

fn quota(givens: &Givens, notices: &mut Vec<String>) -> Result<Option<u64>, ConfigError> {
    let bytes = match givens.read("quota-backend-bytes", parse_i64)? {
        0 => Some(QUOTA_DEFAULT_BYTES),
        bytes => u64::try_from(bytes).ok(),
    };
    if bytes.is_some_and(|bytes| bytes > QUOTA_WARN_BYTES) {
        notices.push(format!(
            "setting {}: above 8 GiB restarts and snapshots take long",
            givens.effective("quota-backend-bytes").place
        ));
    }
    Ok(bytes)
}

/// Who never heard of compaction gets a generous window of revisions. Who set either setting knows
/// etcd's meaning and gets that: the mode is `periodic` if only the retention is set (`1` is an hour,
/// not a revision), and `periodic` without a retention is off.
fn auto_compaction(
    givens: &Givens,
    notices: &mut Vec<String>,
) -> Result<AutoCompaction, ConfigError> {
    let Given { text: default_mode, place } = givens.effective("auto-compaction-mode");
    let retention = givens.get("auto-compaction-retention").filter(|g| !g.text.is_empty());
    let mode = match (givens.get("auto-compaction-mode"), retention) {
        (None, Some(_)) => "periodic",
        _ => default_mode.as_str(),
    };
    let (retention, retention_place) = match retention {
        Some(given) => (given.text.clone(), given.place.clone()),
        None if mode == "periodic" => {
            notices.push(
                "setting auto-compaction-mode: periodic without auto-compaction-retention is off; \
                 history grows until it is compacted or reaches history-bytes-max"
                    .to_owned(),
            );
            return Ok(AutoCompaction::Off);
        }
        None => {
            let default = givens.effective("auto-compaction-retention");
            (default.text, default.place)
        }
    };
    let refuse = |allowed: &str| ConfigError::Rule {
        place: retention_place.clone(),
        value: retention.clone(),
        allowed: allowed.to_owned(),
    };
    match mode {
        "revision" => match parse_u64(&retention) {
            Some(0) => Ok(AutoCompaction::Off),
            Some(revisions) => Ok(AutoCompaction::Revisions(revisions)),
            None => Err(refuse("in mode revision the number of revisions to keep; 0 is off")),
        },
        "periodic" => {
            let period = match parse_u64(&retention) {
                Some(hours) => hours.checked_mul(3600).map(Duration::from_secs),
                None => parse_duration(&retention),
            };
            match period {
                Some(Duration::ZERO) => Ok(AutoCompaction::Off),
                Some(period) => Ok(AutoCompaction::Period(period)),
                None => Err(refuse(
                    "in mode periodic a duration like 5m or 1h30m, or a number of hours; 0 is off",
                )),
            }
        }
        _ => Err(ConfigError::Rule {
            place,
            value: mode.to_owned(),
            allowed: "revision, periodic".to_owned(),
        }),
    }
}

fn log_level(givens: &Givens) -> Result<String, ConfigError> {
    if givens.get("log-level").is_none() && givens.bool("debug")? {
        return Ok("debug".to_owned());
    }
    Ok(givens.text("log-level"))
}

fn log_outputs(givens: &Givens) -> Result<Vec<LogOutput>, ConfigError> {
    let mut words = givens.words("log-outputs");
    if words.is_empty() {
        words.push("default".to_owned());
    }
    if words.len() > 1 && words.iter().any(|w| w == "default") {
        let Given { text, place } = givens.effective("log-outputs");
        return Err(ConfigError::Rule {
            place,
            value: text,
            allowed: "default alone, or stderr, stdout, systemd/journal and paths joined by commas"
                .to_owned(),
        });
    }
    let mut outputs = Vec::new();
    for word in words {
        let output = match word.as_str() {
            "default" | "stderr" | "systemd/journal" => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            path => LogOutput::File(PathBuf::from(path)),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    Ok(outputs)
}

impl Default for Config {
    /// What a member is without any setting.
    fn default() -> Config {
        match build(&Givens::default(), true, Vec::new()) {
            Ok(loaded) => loaded.config,
            // The table's own texts; a test builds them.
            Err(error) => unreachable!("the defaults are valid: {error}"),
        }
    }
}
