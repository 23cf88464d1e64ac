//! Who may call what: a request for each RPC of the table, which does no harm. The users are root, bob (who
//! may read and write `in/`) and others, who may nothing.

use bytes::Bytes;
use callboard::http::{
    gateway::codec::Json,
    v3::{
        methods::{Codec as _, Streaming, Unary},
        pb::{etcdserverpb as pb, v3electionpb, v3lockpb},
    },
};
use prost::Message;
use serde::Serialize;

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum May {
    /// Whoever it is.
    Anyone,
    /// Whoever is someone.
    Users,
    /// Who may read and write `in/`.
    Bob,
    /// Who may everything.
    Root,
}

/// A request, and who may make it.
pub struct Row {
    /// In Protobuf.
    pub message: Vec<u8>,
    /// As JSON, for the gateway.
    pub json: Bytes,
    /// Who may.
    pub may: May,
}

impl Row {
    fn of<M: Message + Serialize>(may: May, message: &M) -> Row {
        Row { message: message.encode_to_vec(), json: Json::Unary.encode(message), may }
    }
}

/// Writes a key.
pub fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: "v".into(), ..pb::PutRequest::default() }
}

/// A request for each RPC, which does no harm, and who may make it. A new RPC needs a row. Whoever waits
/// for a turn waits below `name`.
pub fn row(rpc: Unary, name: &str) -> Row {
    let key = || Bytes::from("in/k");
    macro_rules! of {
        ($may:ident $message:expr) => {
            Row::of(May::$may, &$message)
        };
    }
    let absent = String::from("absent");
    match rpc {
        Unary::Range => of!(Bob pb::RangeRequest { key: key(), ..Default::default() }),
        Unary::Put => of!(Bob put("in/k")),
        Unary::DeleteRange => of!(Bob pb::DeleteRangeRequest { key: key(), ..Default::default() }),
        Unary::Txn => of!(Bob pb::TxnRequest {
            success: vec![pb::RequestOp {
                request: Some(pb::request_op::Request::RequestPut(put("in/t"))),
            }],
            ..Default::default()
        }),
        Unary::Compact => {
            of!(Root pb::CompactionRequest { revision: 1 << 40, ..Default::default() })
        }
        Unary::LeaseGrant => of!(Users pb::LeaseGrantRequest { ttl: 60, id: 0 }),
        Unary::LeaseRevoke => of!(Users pb::LeaseRevokeRequest { id: 404 }),
        Unary::LeaseTimeToLive => of!(Users pb::LeaseTimeToLiveRequest { id: 404, keys: true }),
        Unary::LeaseLeases => of!(Users pb::LeaseLeasesRequest {}),
        Unary::MemberAdd => of!(Root pb::MemberAddRequest::default()),
        Unary::MemberRemove => of!(Root pb::MemberRemoveRequest { id: 404 }),
        Unary::MemberUpdate => of!(Root pb::MemberUpdateRequest { id: 404, ..Default::default() }),
        Unary::MemberList => of!(Users pb::MemberListRequest::default()),
        Unary::MemberPromote => of!(Root pb::MemberPromoteRequest { id: 404 }),
        Unary::Alarm => of!(Root pb::AlarmRequest { action: 2, alarm: 1, member_id: 404 }),
        Unary::Status => of!(Users pb::StatusRequest {}),
        Unary::Defragment => of!(Root pb::DefragmentRequest {}),
        Unary::Hash => of!(Root pb::HashRequest {}),
        Unary::HashKV => of!(Root pb::HashKvRequest { revision: 0 }),
        Unary::MoveLeader => of!(Root pb::MoveLeaderRequest { target_id: 404 }),
        Unary::Downgrade => of!(Root pb::DowngradeRequest::default()),
        Unary::AuthEnable => of!(Root pb::AuthEnableRequest {}),
        Unary::AuthDisable => of!(Root pb::AuthDisableRequest {}),
        Unary::AuthStatus => of!(Anyone pb::AuthStatusRequest {}),
        Unary::Authenticate => of!(Anyone pb::AuthenticateRequest {
            name: "bob".into(),
            password: "pw-bob".into()
        }),
        Unary::UserAdd => {
            of!(Root pb::AuthUserAddRequest { name: "eve".into(), ..Default::default() })
        }
        Unary::UserGet => of!(Bob pb::AuthUserGetRequest { name: "bob".into() }),
        Unary::UserList => of!(Root pb::AuthUserListRequest {}),
        Unary::UserDelete => of!(Root pb::AuthUserDeleteRequest { name: absent.clone() }),
        Unary::UserChangePassword => {
            of!(Root pb::AuthUserChangePasswordRequest { name: absent.clone(), ..Default::default() })
        }
        Unary::UserGrantRole => {
            of!(Root pb::AuthUserGrantRoleRequest { user: absent.clone(), role: "r".into() })
        }
        Unary::UserRevokeRole => {
            of!(Root pb::AuthUserRevokeRoleRequest { name: absent.clone(), role: "r".into() })
        }
        Unary::RoleAdd => of!(Root pb::AuthRoleAddRequest { name: "r".into() }),
        Unary::RoleGet => of!(Bob pb::AuthRoleGetRequest { role: "r".into() }),
        Unary::RoleList => of!(Root pb::AuthRoleListRequest {}),
        Unary::RoleDelete => of!(Root pb::AuthRoleDeleteRequest { role: absent.clone() }),
        Unary::RoleGrantPermission => {
            of!(Root pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: None })
        }
        Unary::RoleRevokePermission => {
            of!(Root pb::AuthRoleRevokePermissionRequest { role: absent.clone(), ..Default::default() })
        }
        Unary::Lock => {
            of!(Bob v3lockpb::LockRequest { name: format!("in/lock/{name}").into(), lease: 0 })
        }
        Unary::Unlock => of!(Bob v3lockpb::UnlockRequest { key: "in/lock/1".into() }),
        Unary::Campaign => {
            of!(Bob v3electionpb::CampaignRequest {
                name: format!("in/e/{name}").into(),
                ..Default::default()
            })
        }
        Unary::Proclaim | Unary::Resign => {
            let leader = v3electionpb::LeaderKey {
                name: "in/e".into(),
                key: "in/e/1".into(),
                rev: 1,
                lease: 1,
            };
            if rpc == Unary::Proclaim {
                let request = v3electionpb::ProclaimRequest {
                    leader: Some(leader),
                    ..v3electionpb::ProclaimRequest::default()
                };
                return of!(Bob request);
            }
            of!(Bob v3electionpb::ResignRequest { leader: Some(leader.clone()) })
        }
        Unary::Leader => of!(Bob v3electionpb::LeaderRequest { name: "in/e".into() }),
    }
}

/// The same for RPCs with many answers; of each the first answer counts.
pub fn streaming_row(rpc: Streaming) -> Row {
    let key = || Bytes::from("in/k");
    match rpc {
        Streaming::RangeStream => {
            Row::of(May::Bob, &pb::RangeRequest { key: key(), ..Default::default() })
        }
        Streaming::Watch => {
            let create = pb::WatchCreateRequest { key: key(), ..Default::default() };
            let union = pb::watch_request::RequestUnion::CreateRequest(create);
            Row::of(May::Bob, &pb::WatchRequest { request_union: Some(union) })
        }
        Streaming::LeaseKeepAlive => Row::of(May::Users, &pb::LeaseKeepAliveRequest { id: 404 }),
        Streaming::Snapshot => Row::of(May::Root, &pb::SnapshotRequest::default()),
        Streaming::Observe => Row::of(May::Bob, &v3electionpb::LeaderRequest { name: "in".into() }),
    }
}
