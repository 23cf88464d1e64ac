//! What a running cluster says of itself on its peer ports: `GET /members`. Depends on `client`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;

use super::client::Client;
use crate::config::Url;
use crate::storage::mvcc::Member;
use crate::types::{ClusterId, MemberId};

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster, as one of its members tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) cluster: ClusterId,
    pub(super) members: Vec<Member>,
}

/// A member in the answer; ids are numbers here, and only here.
#[derive(Deserialize)]
struct Told {
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Vec<String>,
    #[serde(rename = "clientURLs", default)]
    client_urls: Vec<String>,
    #[serde(rename = "isLearner", default)]
    learner: bool,
}

/// Asks all at once; those that answered, in the order of `urls`, and why the others did not.
pub(super) async fn ask_all(client: &Client, urls: &[String]) -> (Vec<Remote>, Vec<String>) {
    let answers = join_all(urls.iter().map(|url| ask(client, url))).await;
    let (mut remotes, mut failures) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(remote) => remotes.push(remote),
            Err(failure) => failures.push(failure),
        }
    }
    (remotes, failures)
}

async fn ask(client: &Client, url: &str) -> Result<Remote, String> {
    let answer = client.get(&format!("{url}/members")).await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("{url}/members answers {}", answer.status().as_u16()));
    }
    let id = answer.headers().get("X-Etcd-Cluster-ID").and_then(|id| id.to_str().ok());
    read(url, id, answer.body())
}

/// Reads what a member says at `url`.
pub(super) fn read(url: &str, id: Option<&str>, body: &[u8]) -> Result<Remote, String> {
    let Some(id) = id.and_then(|id| u64::from_str_radix(id, 16).ok()) else {
        return Err(format!("{url}/members names no cluster id"));
    };
    let told: Vec<Told> = serde_json::from_slice(body)
        .map_err(|error| format!("{url}/members cannot be read: {error}"))?;
    let member = |told: Told| {
        let mut peer_urls = told.peer_urls;
        peer_urls.sort();
        Member {
            id: MemberId(told.id),
            name: told.name,
            peer_urls,
            client_urls: told.client_urls,
            learner: told.learner,
        }
    };
    Ok(Remote { cluster: ClusterId(id), members: told.into_iter().map(member).collect() })
}

/// Gives the configured members the ids that the cluster knows them by: as many members, and each
/// with the peer URLs of one of the cluster's, as text or after looking up the names.
pub(super) async fn match_members(
    local: &[Member],
    remote: &Remote,
) -> Result<Vec<Member>, String> {
    if local.len() != remote.members.len() {
        return Err(format!(
            "member count is unequal: initial-cluster names {}, the cluster has {}",
            local.len(),
            remote.members.len()
        ));
    }
    let mut left: Vec<&Member> = remote.members.iter().collect();
    let mut matched = Vec::new();
    for member in local {
        let mut at = left.iter().position(|other| other.peer_urls == member.peer_urls);
        if at.is_none() {
            let own = addresses(&member.peer_urls).await;
            for (place, other) in left.iter().enumerate() {
                if own.is_some() && addresses(&other.peer_urls).await == own {
                    at = Some(place);
                    break;
                }
            }
        }
        let Some(at) = at else {
            return Err(format!(
                "no member of the cluster has the peer URLs of {:?}: {}",
                member.name,
                member.peer_urls.join(",")
            ));
        };
        let mut known = left.remove(at).clone();
        if known.name.is_empty() {
            known.name.clone_from(&member.name); // it was added, and has not started yet
        }
        matched.push(known);
    }
    Ok(matched)
}

async fn addresses(urls: &[String]) -> Option<BTreeSet<SocketAddr>> {
    let mut found = BTreeSet::new();
    for url in urls {
        let url = Url::parse(url).ok()?;
        let (host, port) = url.address();
        let all = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await;
        found.insert(all.ok()?.ok()?.min()?);
    }
    Some(found)
}
