//! Discovery by DNS: the SRV records of a domain name the members. Depends on `error` and `config`'s URLs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, Record};

use super::error::BootstrapError;
use crate::config::{InitialMember, Url};

/// The resolver that the system is configured with.
pub fn system_resolver() -> Result<TokioResolver, BootstrapError> {
    let resolver =
        TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    resolver.map_err(|error| BootstrapError::Dns {
        domain: "resolver".to_owned(),
        reason: format!("the system's configuration cannot be used: {error}"),
    })
}

/// The members that `domain` names. One whose address is that of `own_urls` has `own_name`, the others
/// are counted from 0: names are only told apart here, and published later.
pub async fn from_dns(
    resolver: &TokioResolver,
    domain: &str,
    service_name: &str,
    own_name: &str,
    own_urls: &[Url],
) -> Result<Vec<InitialMember>, BootstrapError> {
    let failed = |reason: String| BootstrapError::Dns { domain: domain.to_owned(), reason };
    let suffix = if service_name.is_empty() { String::new() } else { format!("-{service_name}") };
    let (mut targets, mut reasons) = (Vec::new(), Vec::new());
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let asked = format!("_{service}{suffix}._tcp.{domain}.");
        match lookup(resolver, &asked).await {
            Ok(found) if found.is_empty() => reasons.push(format!("{asked}: no records")),
            Ok(found) => {
                targets.extend(found.into_iter().map(|(host, port)| (scheme, host, port)));
            }
            Err(reason) => reasons.push(format!("{asked}: {reason}")),
        }
    }
    if targets.is_empty() {
        return Err(failed(reasons.join("; ")));
    }
    let mut own = Vec::new();
    for url in own_urls {
        let scheme = if url.scheme().is_tls() { "https" } else { "http" };
        let found = addresses(resolver, url.host(), url.port()).await?;
        own.extend(found.into_iter().map(|address| (scheme, address)));
    }
    let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    // One that has both kinds of records is one member.
    let mut names: BTreeMap<(String, u16), String> = BTreeMap::new();
    for (scheme, host, port) in targets {
        let url = member_url(scheme, &host, port)
            .map_err(|url| failed(format!("{url} names no host")))?;
        // A host that has no address yet is a member all the same: it may start later.
        let there = addresses(resolver, &host, port).await.unwrap_or_default();
        let is_own = |(_, address): &&(&str, SocketAddr)| there.contains(address);
        let name = match own.iter().find(is_own) {
            Some((own, _)) if *own != scheme => continue, // not where it says that it is
            Some(_) => own_name.to_owned(),
            None => {
                let next = names.len().to_string();
                names.entry((host, port)).or_insert(next).clone()
            }
        };
        members.entry(name).or_default().push(url);
    }
    let member = |(name, mut peer_urls): (String, Vec<Url>)| {
        peer_urls.sort();
        InitialMember { name, peer_urls }
    };
    Ok(members.into_iter().map(member).collect())
}

/// Host and port of each SRV record, sorted, so that all members count alike.
async fn lookup(resolver: &TokioResolver, name: &str) -> Result<Vec<(String, u16)>, String> {
    let found = resolver.srv_lookup(name).await;
    let found = found.map_err(|error| error.to_string().replace('\n', " "))?;
    Ok(targets(found.answers()))
}

/// Hosts and ports that records name, each once.
pub(super) fn targets(records: &[Record]) -> Vec<(String, u16)> {
    let target = |record: &Record| match &record.data {
        RData::SRV(srv) => Some((srv.target.to_utf8(), srv.port)),
        _ => None,
    };
    let mut targets: Vec<_> = records.iter().filter_map(target).collect();
    targets.sort();
    targets.dedup();
    targets
}

pub(super) fn member_url(scheme: &str, host: &str, port: u16) -> Result<Url, String> {
    let url = format!("{scheme}://{}:{port}", host.trim_end_matches('.'));
    Url::parse(&url).map_err(|_| url)
}

async fn addresses(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, BootstrapError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = resolver.lookup_ip(host).await.map_err(|error| BootstrapError::Dns {
        domain: host.to_owned(),
        reason: error.to_string().replace('\n', " "),
    })?;
    Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
}
