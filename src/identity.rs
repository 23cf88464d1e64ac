//! Ids of a cluster and its members, made as etcd makes them, so that the same settings give the same
//! ids: SHA-1 over peer URLs and token (etcd's `membership/member.go` and `cluster.go`).

use sha1::{Digest, Sha1};

use crate::types::{ClusterId, MemberId};

/// The id of a founding member: from its peer URLs (sorted) and the cluster's token.
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    MemberId(first_eight(&[urls.concat().as_bytes(), token.as_bytes()].concat()))
}

/// The id of a member that is added to a running cluster: from its peer URLs (sorted) and the time.
pub fn added_member_id(peer_urls: &[String], unix_seconds: u64) -> MemberId {
    member_id(peer_urls, &unix_seconds.to_string())
}

/// The id of a cluster: from its founding members' ids.
pub fn cluster_id(members: &[MemberId]) -> ClusterId {
    let mut ids: Vec<u64> = members.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    let bytes: Vec<u8> = ids.into_iter().flat_map(u64::to_be_bytes).collect();
    ClusterId(first_eight(&bytes))
}

fn first_eight(bytes: &[u8]) -> u64 {
    let digest: [u8; 20] = Sha1::digest(bytes).into();
    let (first, _) = digest.split_first_chunk::<8>().expect("a digest has twenty bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_etcd_s() {
        let member = member_id(&["http://localhost:2380".to_owned()], "etcd-cluster");
        assert_eq!(format!("{member:x}"), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id(&[member])), "cdf818194e3a8c32");
        let urls = ["http://127.0.0.1:42391", "http://127.0.0.1:42390"].map(str::to_owned);
        let added = added_member_id(&urls, 1_795_580_723);
        assert_eq!(format!("{added:x}"), "d4b090fe7e25cd2e");
    }
}
