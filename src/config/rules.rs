//! What must be true of several settings together, and of a member that has no data yet: etcd's
//! `embed.Config.Validate` and its check of the bootstrap. Depends on the rest of `config` only.

use std::net::{SocketAddr, ToSocketAddrs};

use super::build::Givens;
use super::error::{ConfigError, Place};
use super::tls::{CLIENT_BY, PEER_BY, can_serve};
use super::url::Url;
use super::{ClusterState, Config, Discovery, ProxyMode};

/// A longer election timeout is a mistake in the unit, more likely than a wish.
const ELECTION_TIMEOUT_MS_MAX: u64 = 50_000;

pub(super) fn refuse(
    givens: &Givens,
    name: &'static str,
    allowed: impl Into<String>,
) -> ConfigError {
    let given = givens.effective(name);
    ConfigError::Rule { place: given.place, value: given.text, allowed: allowed.into() }
}

pub(super) fn validate(
    config: &Config,
    givens: &Givens,
    advertise_required: bool,
    notices: &mut Vec<String>,
) -> Result<(), ConfigError> {
    if config.name.is_empty() {
        return Err(refuse(givens, "name", "a name that is not empty"));
    }
    listened(givens, "listen-peer-urls", &config.listen_peer_urls)?;
    let peer_tls = &config.peer_tls.port;
    let urls = &config.listen_peer_urls;
    can_serve(givens, "listen-peer-urls", urls, peer_tls, PEER_BY, notices)?;
    if config.proxy.mode == ProxyMode::Off {
        super::tls::no_open_door(givens, config)?; // members do not call a proxy
    }
    for (name, urls) in [
        ("listen-client-urls", &config.listen_client_urls),
        ("listen-client-http-urls", &config.listen_client_http_urls),
        ("listen-metrics-urls", &config.listen_metrics_urls),
        ("listen-client-http-urls", &config.listen_client_http_urls),
    ] {
        listened(givens, name, urls)?;
        can_serve(givens, name, urls, &config.client_tls, CLIENT_BY, notices)?;
    }
    let peer_urls = &config.initial_advertise_peer_urls;
    advertised(givens, "initial-advertise-peer-urls", peer_urls, By::Members)?;
    advertised(givens, "advertise-client-urls", &config.advertise_client_urls, By::Clients)?;
    for member in &config.initial_cluster {
        advertised(givens, "initial-cluster", &member.peer_urls, By::Members)?;
    }
    timing(config, givens)?;

    // Nobody is told of a proxy.
    let is_member = config.proxy.mode == ProxyMode::Off;
    if is_member
        && givens.get("listen-client-urls").is_some()
        && givens.get("advertise-client-urls").is_none()
    {
        if advertise_required {
            return Err(refuse(
                givens,
                "listen-client-urls",
                "with --advertise-client-urls beside it, since clients must be told an address that they can reach",
            ));
        }
        notices.push(
            "setting advertise-client-urls: not set beside listen-client-urls; clients are told http://localhost:2379"
                .to_owned(),
        );
    }
    let secure = |urls: &[Url]| urls.iter().any(|url| url.scheme().is_tls());
    for (name, told, listened) in [
        ("advertise-client-urls", &config.advertise_client_urls, &config.listen_client_urls),
        ("initial-advertise-peer-urls", peer_urls, &config.listen_peer_urls),
    ] {
        if secure(told) && !secure(listened) {
            notices.push(format!(
                "setting {name}: says https, but no https is listened for; something before this member must speak TLS"
            ));
        }
    }
    if peer_tls.makes_its_own() {
        notices.push(
            "setting peer-auto-tls: connections to members are encrypted, but nobody's certificate is verified"
                .to_owned(),
        );
    }
    let calling = config.client_tls.calling();
    if !is_member && calling.is_some_and(|calling| calling.believe_anyone) {
        notices.push(
            "setting auto-tls: connections to endpoints are encrypted, but nobody's certificate is verified"
                .to_owned(),
        );
    }
    if config.unsafe_no_fsync {
        notices.push(
            "setting unsafe-no-fsync: nothing is synced to disk; acknowledged writes may be lost"
                .to_owned(),
        );
    }
    if config.max_request_bytes == 0 {
        return Err(refuse(givens, "max-request-bytes", "a whole number, 1 or more"));
    }
    if config.snapshot_count == 0 {
        return Err(refuse(givens, "snapshot-count", "a whole number, 1 or more"));
    }
    gates(givens)
}

fn timing(config: &Config, givens: &Givens) -> Result<(), ConfigError> {
    if config.heartbeat_interval_ms == 0 {
        return Err(refuse(givens, "heartbeat-interval", "milliseconds, 1 or more"));
    }
    let least = config.heartbeat_interval_ms.saturating_mul(5);
    if config.election_timeout_ms < least || config.election_timeout_ms > ELECTION_TIMEOUT_MS_MAX {
        // Point at what was set: with the default election timeout, the heartbeat is the mistake.
        let (heartbeat, election) = ("heartbeat-interval", "election-timeout");
        if givens.get(election).is_none() && givens.get(heartbeat).is_some() {
            return Err(refuse(
                givens,
                heartbeat,
                format!(
                    "milliseconds, at most a fifth of election-timeout, which is {}",
                    config.election_timeout_ms
                ),
            ));
        }
        return Err(refuse(
            givens,
            election,
            format!(
                "milliseconds, at least 5 times heartbeat-interval (5 × {} = {least}), at most {ELECTION_TIMEOUT_MS_MAX}",
                config.heartbeat_interval_ms
            ),
        ));
    }
    Ok(())
}

/// Who calls at an address that is told to others.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// They must be able to.
    Members,
    /// What they can is their affair.
    Clients,
}

fn listened(givens: &Givens, name: &'static str, urls: &[Url]) -> Result<(), ConfigError> {
    for url in urls {
        if name == "listen-peer-urls" && url.scheme().is_unix() {
            return Err(refuse(givens, name, "URLs with an address that other members can reach"));
        }
        if !url.is_bindable() {
            return Err(refuse(
                givens,
                name,
                "URLs with an IP address or localhost to listen on, like http://127.0.0.1:2379 or http://0.0.0.0:2379",
            ));
        }
    }
    Ok(())
}

fn advertised(
    givens: &Givens,
    name: &'static str,
    urls: &[Url],
    by: By,
) -> Result<(), ConfigError> {
    for url in urls {
        if by == By::Members {
            spoken(givens, name, url)?;
        }
        if url.host().is_empty() || (url.port() == 0 && !url.scheme().is_unix()) {
            return Err(refuse(
                givens,
                name,
                "URLs with a host and a port that others can reach, like http://10.0.0.1:2379",
            ));
        }
    }
    Ok(())
}

/// Whether this version can speak to such an address.
pub(super) fn spoken(givens: &Givens, name: &'static str, url: &Url) -> Result<(), ConfigError> {
    if !url.scheme().is_unix() {
        return Ok(());
    }
    Err(ConfigError::NotInThisVersion {
        place: givens.effective(name).place,
        value: url.to_string(),
        feature: "Unix sockets; http://host:port is".to_owned(),
    })
}

const GATES: [&str; 11] = [
    "AllAlpha",
    "AllBeta",
    "CompactHashCheck",
    "FastLeaseKeepAlive",
    "InitialCorruptCheck",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "PriorityRequest",
    "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag",
    "TxnModeWriteWithSharedBuffer",
];

/// Gates do nothing here, but a misspelled one should be heard of as with etcd.
fn gates(givens: &Givens) -> Result<(), ConfigError> {
    let text = givens.effective("feature-gates").text;
    for gate in text.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
        let known = gate.split_once('=').is_some_and(|(name, value)| {
            GATES.contains(&name.trim()) && super::values::parse_bool(value.trim()).is_some()
        });
        if !known {
            let allowed = format!("Name=true or Name=false; names: {}", GATES.join(", "));
            return Err(refuse(givens, "feature-gates", allowed));
        }
    }
    Ok(())
}

/// The rules for a member without data: what the `initial-` settings say of the cluster. A member
/// with data ignores those settings, as with etcd, so its start does not ask this. Host names are
/// looked up if the peer URLs are not the same text.
pub fn verify_bootstrap(config: &Config) -> Result<(), ConfigError> {
    let cluster_text = || {
        let urls = |m: &super::InitialMember| -> Vec<String> {
            m.peer_urls.iter().map(|url| format!("{}={url}", m.name)).collect()
        };
        config.initial_cluster.iter().flat_map(urls).collect::<Vec<_>>().join(",")
    };
    let rule = |name: &str, value: String, allowed: String| ConfigError::Rule {
        place: Place::Flag(name.to_owned()),
        value,
        allowed,
    };
    let joins = config.initial_cluster_state == ClusterState::Existing;
    match &config.discovery {
        Discovery::Off => {}
        Discovery::Url { url: value, .. } | Discovery::Token { token: value, .. } if joins => {
            let name = match config.discovery {
                Discovery::Url { .. } => "discovery",
                _ => "discovery-token",
            };
            let allowed = "only with --initial-cluster-state=new; who joins names the members in --initial-cluster";
            return Err(rule(name, value.clone(), allowed.to_owned()));
        }
        _ => return Ok(()), // who the members are is not known yet
    }
    let Some(member) = config.initial_cluster.iter().find(|m| m.name == config.name) else {
        return Err(rule(
            "initial-cluster",
            cluster_text(),
            format!("a list with this member's name, {:?}", config.name),
        ));
    };
    // Who joins has told the cluster its peer URLs when it was added: etcd asks no more then.
    if !joins
        && member.peer_urls != config.initial_advertise_peer_urls
        && addresses(&member.peer_urls) != addresses(&config.initial_advertise_peer_urls)
    {
        let join = |urls: &[Url]| urls.iter().map(Url::as_str).collect::<Vec<_>>().join(",");
        return Err(rule(
            "initial-advertise-peer-urls",
            join(&config.initial_advertise_peer_urls),
            format!("what initial-cluster says of {:?}: {}", config.name, join(&member.peer_urls)),
        ));
    }
    let mut urls: Vec<&Url> = config.initial_cluster.iter().flat_map(|m| &m.peer_urls).collect();
    urls.sort();
    if urls.windows(2).any(|pair| pair[0] == pair[1]) {
        let allowed = "a list in which no two members have the same URL";
        return Err(rule("initial-cluster", cluster_text(), allowed.to_owned()));
    }
    Ok(())
}

/// What the names of `urls` stand for, one address each, IPv4 first as Go's resolver has it. A name
/// that cannot be looked up makes the lists differ, which is the answer wanted.
fn addresses(urls: &[Url]) -> Option<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for url in urls {
        let mut all: Vec<SocketAddr> = url.address().to_socket_addrs().ok()?.collect();
        all.sort();
        found.push(*all.first()?);
    }
    found.sort();
    Some(found)
}
