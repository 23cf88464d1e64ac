//! Keeps the list of endpoints: the client URLs of the members, as a member tells them.
//!
//! A proxy that was given endpoints asks them (`/v2/members`). One that was given the members of a
//! cluster asks at their peer URLs (`/members`), until one answers, and remembers the peer URLs of the
//! answer in a file ([`super::cluster_file`]), as etcd's proxy does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Method, StatusCode, Uri, header::HeaderMap};
use serde::Deserialize;
use tracing::{debug, info, warn};

use super::{
    Proxy,
    cluster_file::ClusterFile,
    director::Endpoint,
    upstream::{self, Ask},
};
use crate::{config::Url, tls::Dialer};

/// How soon a list is asked for again while there is none.
const WITHOUT_LIST: Duration = Duration::from_secs(1);
/// No list of members is longer.
const LIST_BYTES_MAX: usize = 1 << 20;
/// How long a member may take to tell its list.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Where the list of members comes from.
#[derive(Debug)]
pub enum Source {
    /// These endpoints, and those that they name.
    Endpoints(Vec<Url>),
    /// The members with these peer URLs, and those that they name.
    Peers {
        /// Where to ask.
        urls: Vec<Url>,
        /// What keeps them.
        file: ClusterFile,
    },
}

/// A member, as far as it matters here. Both lists have these names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
}

/// The two forms of a list: bare, at the peer port; in an object, at the client port.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum List {
    Bare(Vec<Member>),
    Named { members: Vec<Member> },
}

/// Keeps the list for as long as the proxy runs.
pub async fn keep(proxy: Arc<Proxy>, mut source: Source) {
    let interval = proxy.settings.refresh_interval;
    let mut known = matches!(source, Source::Endpoints(_));
    loop {
        if known {
            if interval.is_zero() {
                return;
            }
            tokio::time::sleep(interval).await;
        }
        let found = match &mut source {
            Source::Endpoints(urls) => from_endpoints(&proxy, urls).await,
            Source::Peers { urls, file } => from_peers(&proxy, urls, file).await,
        };
        match found {
            Some(urls) if proxy.director.replace(&urls) => {
                let endpoints: Vec<&str> = urls.iter().map(Url::as_str).collect();
                info!(endpoints = endpoints.join(","), "endpoints found");
            }
            Some(_) => {}
            None if known => debug!("no endpoint told the members; the list stays"),
            None => {
                warn!("no member told the members; asked again");
                tokio::time::sleep(WITHOUT_LIST).await;
                continue;
            }
        }
        known = true;
    }
}

/// Asks the endpoints in use, then those that were configured.
async fn from_endpoints(proxy: &Proxy, configured: &[Url]) -> Option<Vec<Url>> {
    let mut ask_at = proxy.director.all();
    let known = |url: &Url, ask_at: &[Arc<Endpoint>]| ask_at.iter().any(|e| e.url == *url);
    for url in configured {
        if !known(url, &ask_at) {
            ask_at.push(Endpoint::new(url.clone()));
        }
    }
    for endpoint in ask_at {
        let members =
            list(proxy, &proxy.endpoints_tls, &endpoint, "/v2/members").await.unwrap_or_default();
        let urls = spoken(members.iter().flat_map(|member| &member.client_urls));
        if !urls.is_empty() {
            return Some(urls);
        }
    }
    None
}

async fn from_peers(proxy: &Proxy, peers: &mut Vec<Url>, file: &ClusterFile) -> Option<Vec<Url>> {
    for peer in peers.clone() {
        let endpoint = Endpoint::new(peer);
        let members =
            list(proxy, &proxy.peers_tls, &endpoint, "/members").await.unwrap_or_default();
        let urls = spoken(members.iter().flat_map(|member| &member.client_urls));
        let peer_urls = spoken(members.iter().flat_map(|member| &member.peer_urls));
        if urls.is_empty() || peer_urls.is_empty() {
            continue;
        }
        let texts: Vec<String> = peer_urls.iter().map(|url| url.as_str().to_owned()).collect();
        if peer_urls != *peers || !matches!(file.read(), Ok(Some(kept)) if kept == texts) {
            match file.write(&texts) {
                Ok(()) => info!(peer_urls = texts.join(","), "peer URLs noted"),
                Err(error) => warn!(%error, "the peer URLs could not be noted"),
            }
        }
        *peers = peer_urls;
        return Some(urls);
    }
    None
}

async fn list(
    proxy: &Proxy,
    dialer: &Dialer,
    endpoint: &Arc<Endpoint>,
    path: &'static str,
) -> Option<Vec<Member>> {
    let ask = Ask {
        method: Method::GET,
        target: Uri::from_static(path),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let asking = async {
        let reply = upstream::ask(endpoint, &ask, &proxy.settings, dialer).await.ok()?;
        if reply.head.status != StatusCode::OK {
            return None;
        }
        members(&reply.body.whole(LIST_BYTES_MAX).await.ok()?)
    };
    let members = tokio::time::timeout(ANSWER_MAX, asking).await.ok().flatten();
    if members.is_none() {
        debug!(member = %endpoint.url, path, "no list of members");
    }
    members
}

fn members(bytes: &[u8]) -> Option<Vec<Member>> {
    match serde_json::from_slice(bytes).ok()? {
        List::Bare(members) | List::Named { members } => Some(members),
    }
}

/// The URLs that this version can speak to, sorted, each once. Others are of no use here.
fn spoken<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<Url> {
    let read = |text: &String| match Url::parse(text.trim_end_matches('/')) {
        Ok(url) if !url.scheme().is_unix() => Some(url),
        _ => {
            debug!(url = text, "an address that this version cannot speak to");
            None
        }
    };
    let mut urls: Vec<Url> = texts.filter_map(read).collect();
    urls.sort();
    urls.dedup();
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_read() {
        let bare = br#"[{"id":12345678901234567890,"name":"a","peerURLs":["http://a:2380"],
            "clientURLs":["http://a:2379","https://a:4001"]},{"id":2,"peerURLs":["http://b:2380"],
            "name":"","clientURLs":[]}]"#;
        let named = br#"{"members":[{"id":"ab","name":"a","peerURLs":["http://a:2380"],
            "clientURLs":["http://a:2379/","unix://a","https://a:4001"]},{"id":"2","peerURLs":["http://b:2380"]}]}"#;
        for text in [&bare[..], &named[..]] {
            let members = members(text).unwrap();
            let clients = spoken(members.iter().flat_map(|m| &m.client_urls));
            let clients: Vec<&str> = clients.iter().map(Url::as_str).collect();
            assert_eq!(clients, ["http://a:2379", "https://a:4001"]);
            assert_eq!(spoken(members.iter().flat_map(|m| &m.peer_urls)).len(), 2);
        }
        for text in [&b""[..], b"{}", b"[1]", b"404 page not found\n"] {
            assert!(members(text).is_none());
        }
    }
}
