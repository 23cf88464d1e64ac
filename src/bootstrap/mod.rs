//! How a member without data learns who is in its cluster: from its settings, from a cluster that runs,
//! or by discovery (a token on a v2 or v3 server, or DNS). Only [`resolve`] decides; what it finds is
//! what the data directory is founded with, and is never asked for again.
//!
//! Depends on `config`, `identity`, `tls`, `types` and the `Member` of `storage`; runs in any tokio runtime.

mod base64;
pub mod client;
mod dns;
mod error;
#[doc(hidden)]
pub mod parsers;
mod remote;
mod v2_discovery;
mod v3_discovery;

use std::time::Duration;

use hickory_resolver::TokioResolver;

pub use self::dns::{from_dns, system_resolver};
pub use self::error::BootstrapError;

use self::client::Client;
use crate::config::{ClusterState, Config, Discovery, DiscoveryFallback, InitialMember, Url};
use crate::identity::{cluster_id, member_id};
use crate::storage::mvcc::Member;
use crate::tls::{Dialer, TlsSettings};
use crate::types::{ClusterId, MemberId};

/// Time for another member to say whether the cluster runs already.
const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PEER_TIMEOUT: Duration = Duration::from_secs(3);

/// Who is in the cluster, and what this member is to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// A cluster is founded, by this member among others.
    New {
        /// All founding members.
        members: Vec<Member>,
        /// Which of them this one is.
        own: MemberId,
        /// The cluster's id.
        cluster: ClusterId,
    },
    /// A cluster that runs is joined: it has this member in its list already.
    Join {
        /// The id under which the cluster has this member.
        own: MemberId,
        /// The cluster's id.
        cluster: ClusterId,
        /// All its members, this one among them.
        members: Vec<Member>,
    },
    /// The token of discovery has all its members already, and this one is to be a v2 proxy.
    Proxy {
        /// The members that the token has.
        members: Vec<Member>,
    },
}

/// Finds out who is in the cluster. To be asked by a member whose data directory holds no member,
/// after [`crate::config::verify_bootstrap`] has passed. Discovery waits until all members are there.
pub async fn resolve(config: &Config) -> Result<Bootstrap, BootstrapError> {
    resolve_by(config, system_resolver).await
}

/// The same, where DNS, should it be asked, is asked by way of `resolver`.
pub async fn resolve_by(
    config: &Config,
    resolver: impl FnOnce() -> Result<TokioResolver, BootstrapError>,
) -> Result<Bootstrap, BootstrapError> {
    let own_urls: Vec<String> =
        config.initial_advertise_peer_urls.iter().map(|url| url.as_str().to_owned()).collect();
    let found = match &config.discovery {
        Discovery::Off => found(&config.initial_cluster, &config.initial_cluster_token),
        Discovery::Srv { domain, service_name } => {
            let members = from_dns(
                &resolver()?,
                domain,
                service_name,
                &config.name,
                &config.initial_advertise_peer_urls,
            )
            .await?;
            found(&members, &config.initial_cluster_token)
        }
        Discovery::Url { url, proxy, fallback } => {
            let own = member_id(&own_urls, url);
            let place = v2_discovery::Token::new(url, proxy.clone());
            match place.join(own, &entry(&config.name, &own_urls)).await {
                Ok(entries) => found(&entries_to_members(&entries, url)?, url),
                Err(BootstrapError::Full { entries, .. })
                    if *fallback == DiscoveryFallback::Proxy =>
                {
                    tracing::info!("the token of discovery has all its members; becoming a proxy");
                    let members = found(&entries_to_members(&entries, url)?, url);
                    return Ok(Bootstrap::Proxy { members });
                }
                Err(error) => return Err(error),
            }
        }
        Discovery::Token { token, endpoints, tls, dial_timeout, request_timeout } => {
            let own = member_id(&own_urls, token);
            let dialer = Dialer::new(TlsSettings::clone(tls), None)?;
            let client = Client { dialer, ..Client::new(*dial_timeout, *request_timeout) };
            let place = v3_discovery::Token::new(client, endpoints, token);
            let entries = place.join(own, &entry(&config.name, &own_urls)).await?;
            found(&entries_to_members(&entries, token)?, token)
        }
    };
    let Some(own) = found.iter().find(|member| member.name == config.name) else {
        return Err(BootstrapError::NotThere { name: config.name.clone() });
    };
    let peers = Client {
        dialer: config.peer_tls.dialer()?,
        ..Client::new(PEER_CONNECT_TIMEOUT, PEER_TIMEOUT)
    };
    match config.initial_cluster_state {
        ClusterState::New => new(&found, own, &peers).await,
        ClusterState::Existing => join(&found, own, &peers).await,
    }
}

/// Founds, unless the cluster runs and has seen this member: without its data it would vote twice.
async fn new(
    members: &[Member],
    own: &Member,
    peers: &Client,
) -> Result<Bootstrap, BootstrapError> {
    let (remotes, _) = remote::ask_all(peers, &others(members, own)).await;
    let knows = |remote: &remote::Remote| {
        remote.members.iter().any(|member| member.id == own.id && !member.client_urls.is_empty())
    };
    if remotes.iter().any(knows) {
        return Err(BootstrapError::AlreadyBootstrapped { id: own.id, name: own.name.clone() });
    }
    let ids: Vec<MemberId> = members.iter().map(|member| member.id).collect();
    Ok(Bootstrap::New { own: own.id, cluster: cluster_id(&ids), members: members.to_vec() })
}

async fn join(
    members: &[Member],
    own: &Member,
    peers: &Client,
) -> Result<Bootstrap, BootstrapError> {
    let urls = others(members, own);
    let (remotes, failures) = remote::ask_all(peers, &urls).await;
    let Some(remote) = remotes.first() else {
        return Err(BootstrapError::NoPeerAnswers { urls, failures });
    };
    let matched = remote::match_members(members, remote).await.map_err(BootstrapError::Mismatch)?;
    let at = members.iter().position(|member| member.id == own.id);
    let Some(known) = at.and_then(|at| matched.get(at)) else {
        return Err(BootstrapError::NotThere { name: own.name.clone() });
    };
    Ok(Bootstrap::Join { own: known.id, cluster: remote.cluster, members: matched })
}

/// The peer URLs of all but this member.
fn others(members: &[Member], own: &Member) -> Vec<String> {
    let others = members.iter().filter(|member| member.name != own.name);
    others.flat_map(|member| member.peer_urls.iter().cloned()).collect()
}

/// Members with the ids that founding gives them.
fn found(initial: &[InitialMember], token: &str) -> Vec<Member> {
    let member = |initial: &InitialMember| {
        let peer_urls: Vec<String> =
            initial.peer_urls.iter().map(|url| url.as_str().to_owned()).collect();
        Member {
            id: member_id(&peer_urls, token),
            name: initial.name.clone(),
            peer_urls,
            client_urls: Vec::new(),
            learner: false,
        }
    };
    initial.iter().map(member).collect()
}

/// What a member writes of itself at a token: `name=url,name=url`.
fn entry(name: &str, urls: &[String]) -> String {
    urls.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",")
}

/// The other way round, for what all members wrote. Two of them must not have one name.
fn entries_to_members(
    entries: &[String],
    token: &str,
) -> Result<Vec<InitialMember>, BootstrapError> {
    let bad = |entry: &str, reason: &'static str| BootstrapError::Entry {
        token: token.to_owned(),
        entry: entry.to_owned(),
        reason,
    };
    let mut members: Vec<InitialMember> = Vec::new();
    for entry in entries {
        let mut own: Option<InitialMember> = None;
        for pair in entry.split(',') {
            let pair =
                pair.split_once('=').and_then(|(name, url)| Some((name, Url::parse(url).ok()?)));
            let Some((name, url)) = pair.filter(|(name, _)| !name.is_empty()) else {
                return Err(bad(entry, "is not name=url"));
            };
            match &mut own {
                Some(own) if own.name == name => own.peer_urls.push(url),
                Some(_) => return Err(bad(entry, "has several names")),
                None => own = Some(InitialMember { name: name.to_owned(), peer_urls: vec![url] }),
            }
        }
        let Some(mut own) = own else { continue };
        own.peer_urls.sort();
        own.peer_urls.dedup();
        if members.iter().any(|member| member.name == own.name) {
            return Err(bad(entry, "has the name of another member"));
        }
        members.push(own);
    }
    Ok(members)
}
