//! Whether who shows a certificate also calls from where it is for. etcd asks this at the peer port: a
//! certificate that was carried off is of less use elsewhere.

use std::{collections::BTreeSet, net::IpAddr};

use hickory_resolver::{TokioResolver, proto::rr::RData};

use super::Identity;

/// Whether `address` is one of the certificate's, or one of those of its names. A certificate without
/// either is good anywhere. May ask DNS: the caller sets a limit of time.
pub async fn is_from(identity: &Identity, address: IpAddr) -> bool {
    let address = address.to_canonical();
    if identity.addresses.is_empty() && identity.dns_names.is_empty() {
        return true;
    }
    if identity.addresses.iter().any(|own| own.parse() == Ok(address)) {
        return true;
    }
    for name in identity.dns_names.iter().filter(|name| !name.starts_with("*.")) {
        if let Ok(mut found) = tokio::net::lookup_host((name.as_str(), 0)).await
            && found.any(|found| found.ip().to_canonical() == address)
        {
            return true;
        }
    }
    if identity.dns_names.is_empty() {
        return false;
    }
    names_of(address).await.iter().any(|name| is_named(identity, name))
}

fn is_named(identity: &Identity, name: &str) -> bool {
    identity.dns_names.iter().any(|own| match own.strip_prefix('*') {
        Some(parent) => name.len() > parent.len() && name.ends_with(parent),
        None => own.eq_ignore_ascii_case(name),
    })
}

/// What DNS calls an address.
async fn names_of(address: IpAddr) -> BTreeSet<String> {
    let resolver =
        TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let Ok(resolver) = resolver else { return BTreeSet::new() };
    let Ok(found) = resolver.reverse_lookup(address).await else { return BTreeSet::new() };
    let name = |data: &RData| match data {
        RData::PTR(name) => Some(name.0.to_utf8().trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    };
    found.answers().iter().filter_map(|record| name(&record.data)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(addresses: &[&str], dns_names: &[&str]) -> Identity {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Identity { common_name: None, addresses: owned(addresses), dns_names: owned(dns_names) }
    }

    #[actix_rt::test]
    async fn who_calls_from_where_its_certificate_is_for() {
        for (addresses, names, from, expected) in [
            (&[][..], &[][..], "127.0.0.1", true),
            (&["127.0.0.1"], &[], "127.0.0.1", true),
            (&["127.0.0.1"], &[], "::ffff:127.0.0.1", true),
            (&["127.0.0.2"], &[], "127.0.0.1", false),
            (&[], &["localhost"], "127.0.0.1", true),
            (&["127.0.0.2"], &["localhost"], "127.0.0.1", true),
        ] {
            let found = is_from(&identity(addresses, names), from.parse().unwrap()).await;
            assert_eq!(found, expected, "{addresses:?} {names:?} {from}");
        }
    }

    #[test]
    fn a_star_is_for_what_ends_alike() {
        let identity = identity(&[], &["*.a.example", "b.example"]);
        for (name, expected) in [
            ("x.a.example", true),
            (".a.example", false),
            ("a.example", false),
            ("b.example", true),
            ("c.example", false),
        ] {
            assert_eq!(is_named(&identity, name), expected, "{name}");
        }
    }
}
