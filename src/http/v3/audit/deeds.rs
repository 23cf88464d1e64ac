//! What each request of v3 is about, for the audit log. A new RPC does not build without a row here.
//!
//! Never a value, a password or a token: only what is named below is told.

use super::Audited;
use crate::{
    audit_log::{Deed, Part},
    http::v3::pb::{
        etcdserverpb::{
            AlarmRequest, AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest,
            AuthRoleDeleteRequest, AuthRoleGetRequest, AuthRoleGrantPermissionRequest,
            AuthRoleListRequest, AuthRoleRevokePermissionRequest, AuthStatusRequest,
            AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserDeleteRequest,
            AuthUserGetRequest, AuthUserGrantRoleRequest, AuthUserListRequest,
            AuthUserRevokeRoleRequest, AuthenticateRequest, CompactionRequest, DefragmentRequest,
            DeleteRangeRequest, DowngradeRequest, HashKvRequest, HashRequest, LeaseGrantRequest,
            LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, MemberAddRequest,
            MemberListRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
            MoveLeaderRequest, PutRequest, RangeRequest, RequestOp, SnapshotRequest, StatusRequest,
            TxnRequest, WatchCreateRequest, alarm_request::AlarmAction,
            downgrade_request::DowngradeAction, request_op::Request,
        },
        v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest},
        v3lockpb::{LockRequest, UnlockRequest},
    },
};

/// How deep transactions are looked into; deeper ones are refused anyway.
const DEPTH_MAX: usize = 32;
/// Writes of a transaction that are counted; there cannot be many more.
const PARTS_KEPT: usize = 1024;

macro_rules! deeds {
    ($($request:ident $deed:expr;)*) => {
        $(impl Audited for $request {
            fn deed(&self) -> Deed {
                let deed: fn(&$request) -> Deed = $deed;
                deed(self)
            }
        })*
    };
}

deeds! {
    RangeRequest |r| Deed::quiet("range").range(&r.key, &r.range_end);
    PutRequest |r| Deed::of("put").key(&r.key).some_lease(r.lease);
    DeleteRangeRequest |r| Deed::of("delete").range(&r.key, &r.range_end);
    TxnRequest txn;
    CompactionRequest |r| Deed::of("compact").about("at", r.revision.to_string());
    LeaseGrantRequest |r| Deed::of("lease-grant").some_lease(r.id).about("ttl", r.ttl.to_string());
    LeaseRevokeRequest |r| Deed::of("lease-revoke").lease(r.id);
    LeaseTimeToLiveRequest |r| Deed::quiet("lease-time-to-live").lease(r.id);
    LeaseLeasesRequest |_| Deed::quiet("lease-leases");
    MemberAddRequest |r| Deed::of("member-add").about("peer_urls", r.peer_ur_ls.join(","));
    MemberRemoveRequest |r| Deed::of("member-remove").member(r.id);
    MemberUpdateRequest
        |r| Deed::of("member-update").member(r.id).about("peer_urls", r.peer_ur_ls.join(","));
    MemberListRequest |_| Deed::quiet("member-list");
    MemberPromoteRequest |r| Deed::of("member-promote").member(r.id);
    AlarmRequest alarm;
    StatusRequest |_| Deed::quiet("status");
    DefragmentRequest |_| Deed::of("defragment");
    HashRequest |_| Deed::quiet("hash");
    HashKvRequest |_| Deed::quiet("hash-kv");
    MoveLeaderRequest |r| Deed::of("move-leader").member(r.target_id);
    DowngradeRequest |r| {
        let deed = Deed::of("downgrade").about("version", &r.version);
        Deed { told: r.action() != DowngradeAction::Validate, ..deed }
    };
    AuthEnableRequest |_| Deed::of("auth-enable");
    AuthDisableRequest |_| Deed::of("auth-disable");
    AuthStatusRequest |_| Deed::quiet("auth-status");
    AuthenticateRequest |r| Deed::of("authenticate").about("name", &r.name);
    AuthUserAddRequest |r| Deed::of("user-add").about("name", &r.name);
    AuthUserGetRequest |r| Deed::quiet("user-get").about("name", &r.name);
    AuthUserListRequest |_| Deed::quiet("user-list");
    AuthUserDeleteRequest |r| Deed::of("user-delete").about("name", &r.name);
    AuthUserChangePasswordRequest |r| Deed::of("user-change-password").about("name", &r.name);
    AuthUserGrantRoleRequest
        |r| Deed::of("user-grant-role").about("name", &r.user).about("role", &r.role);
    AuthUserRevokeRoleRequest
        |r| Deed::of("user-revoke-role").about("name", &r.name).about("role", &r.role);
    AuthRoleAddRequest |r| Deed::of("role-add").about("role", &r.name);
    AuthRoleGetRequest |r| Deed::quiet("role-get").about("role", &r.role);
    AuthRoleListRequest |_| Deed::quiet("role-list");
    AuthRoleDeleteRequest |r| Deed::of("role-delete").about("role", &r.role);
    AuthRoleGrantPermissionRequest |r| {
        let deed = Deed::of("role-grant-permission").about("role", &r.name);
        let Some(perm) = &r.perm else { return deed };
        let kind = perm.perm_type().as_str_name().to_ascii_lowercase();
        deed.range(&perm.key, &perm.range_end).about("permission", kind)
    };
    AuthRoleRevokePermissionRequest |r| {
        Deed::of("role-revoke-permission").about("role", &r.role).range(&r.key, &r.range_end)
    };
    LockRequest |r| Deed::of("lock").key(&r.name).some_lease(r.lease);
    UnlockRequest |r| Deed::of("unlock").key(&r.key);
    CampaignRequest |r| Deed::of("campaign").key(&r.name).some_lease(r.lease);
    ProclaimRequest |r| of_leader("proclaim", r.leader.as_ref());
    LeaderRequest |r| Deed::quiet("leader").key(&r.name);
    ResignRequest |r| of_leader("resign", r.leader.as_ref());
    SnapshotRequest |_| Deed::of("snapshot");
    WatchCreateRequest |r| Deed::quiet("watch").range(&r.key, &r.range_end);
}

impl Deed {
    fn lease(self, id: i64) -> Deed {
        self.about("lease", format!("{id:x}"))
    }

    fn some_lease(self, id: i64) -> Deed {
        if id == 0 { self } else { self.lease(id) }
    }

    fn member(self, id: u64) -> Deed {
        self.about("member", format!("{id:x}"))
    }
}

fn of_leader(op: &'static str, leader: Option<&LeaderKey>) -> Deed {
    let deed = Deed::of(op);
    leader.map_or(deed.clone(), |leader| deed.key(&leader.key))
}

fn alarm(request: &AlarmRequest) -> Deed {
    let op = match request.action() {
        AlarmAction::Get => return Deed::quiet("alarm-list"),
        AlarmAction::Activate => "alarm-activate",
        AlarmAction::Deactivate => "alarm-disarm",
    };
    Deed::of(op).member(request.member_id).about("alarm", request.alarm().as_str_name())
}

fn txn(request: &TxnRequest) -> Deed {
    let mut deed = Deed::quiet("txn");
    writes(&request.success, 0, &mut deed.parts);
    writes(&request.failure, 0, &mut deed.otherwise);
    deed.told = !(deed.parts.is_empty() && deed.otherwise.is_empty());
    deed
}

/// What a branch may write; of a transaction within it both branches.
fn writes(branch: &[RequestOp], depth: usize, found: &mut Vec<Part>) {
    for op in branch {
        if found.len() >= PARTS_KEPT || depth > DEPTH_MAX {
            return;
        }
        match &op.request {
            Some(Request::RequestPut(put)) => found.push(Part::new("put", &put.key, b"")),
            Some(Request::RequestDeleteRange(delete)) => {
                found.push(Part::new("delete", &delete.key, &delete.range_end));
            }
            Some(Request::RequestTxn(inner)) => {
                writes(&inner.success, depth + 1, found);
                writes(&inner.failure, depth + 1, found);
            }
            Some(Request::RequestRange(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> RequestOp {
        let put = PutRequest { key: key.into(), value: "secret".into(), ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    #[test]
    fn a_transaction_tells_its_writes_and_no_value() {
        let inner = TxnRequest { success: vec![put("b")], ..TxnRequest::default() };
        let inner = RequestOp { request: Some(Request::RequestTxn(inner)) };
        let range = RequestOp { request: Some(Request::RequestRange(RangeRequest::default())) };
        let request = TxnRequest {
            success: vec![put("a"), range.clone(), inner],
            failure: vec![put("c")],
            ..TxnRequest::default()
        };
        let deed = request.deed();
        let keys = |parts: &[Part]| parts.iter().map(|p| p.key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&deed.parts), [b"a", b"b"]);
        assert_eq!(keys(&deed.otherwise), [b"c"]);
        assert!(deed.told && !format!("{deed:?}").contains("secret"));
        let reads = TxnRequest { success: vec![range], ..TxnRequest::default() };
        assert!(!reads.deed().told);
    }

    #[test]
    fn passwords_are_not_told() {
        let user = AuthUserAddRequest {
            name: "ann".to_owned(),
            password: "secret".to_owned(),
            hashed_password: "secret".to_owned(),
            ..AuthUserAddRequest::default()
        };
        let login = AuthenticateRequest { name: "ann".to_owned(), password: "secret".to_owned() };
        let change = AuthUserChangePasswordRequest {
            name: "ann".to_owned(),
            password: "secret".to_owned(),
            hashed_password: "secret".to_owned(),
        };
        for deed in [user.deed(), login.deed(), change.deed()] {
            let shown = format!("{deed:?}");
            assert!(deed.told && shown.contains("ann") && !shown.contains("secret"), "{shown}");
        }
    }
}
