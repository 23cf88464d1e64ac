//! The RPCs by name, called with encoded messages. One table for gRPC and the JSON gateway, so that
//! none can have what the other lacks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Answers, Caller, Requests, Services,
    audit::Audited as _,
    error::RpcError,
    long,
    pb::{
        etcdserverpb::{RangeRequest, SnapshotRequest},
        v3electionpb::LeaderRequest,
    },
};
use crate::{audit_log::Deed, http::limits::Class};

/// How messages are written.
pub trait Codec: Copy + Send + 'static {
    /// Reads one.
    fn decode<M: prost::Message + Default + DeserializeOwned>(
        self,
        bytes: Bytes,
    ) -> Result<M, RpcError>;
    /// Writes one, with whatever frame the door needs around it.
    fn encode<M: prost::Message + Serialize>(self, message: &M) -> Bytes;
}

macro_rules! unary {
    ($($name:ident $grpc:literal [$($gateway:literal),*] $call:ident;)*) => {
        /// An RPC with one request and one answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are the interface's")]
        pub enum Unary { $($name),* }

        impl Unary {
            /// All, each with its gRPC path and its paths at the gateway.
            pub const ALL: &[(Unary, &str, &[&str])] =
                &[$((Unary::$name, $grpc, &[$($gateway),*])),*];

            /// That of a gRPC path.
            pub fn of_grpc(path: &str) -> Option<Unary> {
                match path { $($grpc => Some(Unary::$name),)* _ => None }
            }

            /// That of a path at the gateway.
            pub fn of_gateway(path: &str) -> Option<Unary> {
                match path { $($($gateway)|* => Some(Unary::$name),)* _ => None }
            }

            /// Its gRPC path.
            pub fn grpc_path(self) -> &'static str {
                match self { $(Unary::$name => $grpc),* }
            }

            /// Reads a request as [`Unary::call`] does, and does nothing with it.
            #[doc(hidden)]
            pub fn read<C: Codec>(self, codec: C, request: Bytes) -> Result<(), RpcError> {
                match self {
                    $(Unary::$name => {
                        let request = codec.decode(request)?;
                        // Never called: it tells which message the method takes.
                        let _call = move |services: &Services, caller: &Caller| {
                            drop(services.$call(caller, request));
                        };
                    })*
                }
                Ok(())
            }

            /// Calls it with an encoded request; gives the encoded answer.
            pub async fn call<C: Codec>(
                self,
                services: &Services,
                caller: &Caller,
                codec: C,
                request: Bytes,
            ) -> Result<Bytes, RpcError> {
                if !matches!(self, Unary::Range | Unary::Status) {
                    services.admit_voter()?; // a Range is looked at when it is read
                }
                services.catch_up(caller).await;
                match self {
                    $(Unary::$name => {
                        let request = codec.decode(request)?;
                        let audit = services.audit(caller, &request);
                        let calling = Box::pin(services.$call(caller, request));
                        let answered = calling.await;
                        if let Some(audit) = audit {
                            match &answered {
                                Ok(answer) => audit.answered(answer.header, answer),
                                Err(error) => audit.failed(error),
                            }
                        }
                        long::encode(&services.doors.limits, codec, answered?).await
                    })*
                }
            }
        }
    };
}

unary! {
    Range "/etcdserverpb.KV/Range" ["/v3/kv/range"] range;
    Put "/etcdserverpb.KV/Put" ["/v3/kv/put"] put;
    DeleteRange "/etcdserverpb.KV/DeleteRange" ["/v3/kv/deleterange"] delete_range;
    Txn "/etcdserverpb.KV/Txn" ["/v3/kv/txn"] txn;
    Compact "/etcdserverpb.KV/Compact" ["/v3/kv/compaction"] compact;
    LeaseGrant "/etcdserverpb.Lease/LeaseGrant" ["/v3/lease/grant"] lease_grant;
    LeaseRevoke "/etcdserverpb.Lease/LeaseRevoke" ["/v3/lease/revoke", "/v3/kv/lease/revoke"] lease_revoke;
    LeaseTimeToLive "/etcdserverpb.Lease/LeaseTimeToLive" ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"] lease_time_to_live;
    LeaseLeases "/etcdserverpb.Lease/LeaseLeases" ["/v3/lease/leases", "/v3/kv/lease/leases"] lease_leases;
    MemberAdd "/etcdserverpb.Cluster/MemberAdd" ["/v3/cluster/member/add"] member_add;
    MemberRemove "/etcdserverpb.Cluster/MemberRemove" ["/v3/cluster/member/remove"] member_remove;
    MemberUpdate "/etcdserverpb.Cluster/MemberUpdate" ["/v3/cluster/member/update"] member_update;
    MemberList "/etcdserverpb.Cluster/MemberList" ["/v3/cluster/member/list"] member_list;
    MemberPromote "/etcdserverpb.Cluster/MemberPromote" ["/v3/cluster/member/promote"] member_promote;
    Alarm "/etcdserverpb.Maintenance/Alarm" ["/v3/maintenance/alarm"] alarm;
    Status "/etcdserverpb.Maintenance/Status" ["/v3/maintenance/status"] status;
    Defragment "/etcdserverpb.Maintenance/Defragment" ["/v3/maintenance/defragment"] defragment;
    Hash "/etcdserverpb.Maintenance/Hash" ["/v3/maintenance/hash"] hash;
    HashKV "/etcdserverpb.Maintenance/HashKV" ["/v3/maintenance/hashkv"] hash_kv;
    MoveLeader "/etcdserverpb.Maintenance/MoveLeader" ["/v3/maintenance/transfer-leadership"] move_leader;
    Downgrade "/etcdserverpb.Maintenance/Downgrade" ["/v3/maintenance/downgrade"] downgrade;
    AuthEnable "/etcdserverpb.Auth/AuthEnable" ["/v3/auth/enable"] auth_enable;
    AuthDisable "/etcdserverpb.Auth/AuthDisable" ["/v3/auth/disable"] auth_disable;
    AuthStatus "/etcdserverpb.Auth/AuthStatus" ["/v3/auth/status"] auth_status;
    Authenticate "/etcdserverpb.Auth/Authenticate" ["/v3/auth/authenticate"] authenticate;
    UserAdd "/etcdserverpb.Auth/UserAdd" ["/v3/auth/user/add"] user_add;
    UserGet "/etcdserverpb.Auth/UserGet" ["/v3/auth/user/get"] user_get;
    UserList "/etcdserverpb.Auth/UserList" ["/v3/auth/user/list"] user_list;
    UserDelete "/etcdserverpb.Auth/UserDelete" ["/v3/auth/user/delete"] user_delete;
    UserChangePassword "/etcdserverpb.Auth/UserChangePassword" ["/v3/auth/user/changepw"] user_change_password;
    UserGrantRole "/etcdserverpb.Auth/UserGrantRole" ["/v3/auth/user/grant"] user_grant_role;
    UserRevokeRole "/etcdserverpb.Auth/UserRevokeRole" ["/v3/auth/user/revoke"] user_revoke_role;
    RoleAdd "/etcdserverpb.Auth/RoleAdd" ["/v3/auth/role/add"] role_add;
    RoleGet "/etcdserverpb.Auth/RoleGet" ["/v3/auth/role/get"] role_get;
    RoleList "/etcdserverpb.Auth/RoleList" ["/v3/auth/role/list"] role_list;
    RoleDelete "/etcdserverpb.Auth/RoleDelete" ["/v3/auth/role/delete"] role_delete;
    RoleGrantPermission "/etcdserverpb.Auth/RoleGrantPermission" ["/v3/auth/role/grant"] role_grant_permission;
    RoleRevokePermission "/etcdserverpb.Auth/RoleRevokePermission" ["/v3/auth/role/revoke"] role_revoke_permission;
    Lock "/v3lockpb.Lock/Lock" ["/v3/lock/lock"] lock;
    Unlock "/v3lockpb.Lock/Unlock" ["/v3/lock/unlock"] unlock;
    Campaign "/v3electionpb.Election/Campaign" ["/v3/election/campaign"] campaign;
    Proclaim "/v3electionpb.Election/Proclaim" ["/v3/election/proclaim"] proclaim;
    Leader "/v3electionpb.Election/Leader" ["/v3/election/leader"] leader;
    Resign "/v3electionpb.Election/Resign" ["/v3/election/resign"] resign;
}

/// An RPC with a stream of answers, and maybe one of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the interface's")]
pub enum Streaming {
    RangeStream,
    Watch,
    LeaseKeepAlive,
    Snapshot,
    Observe,
}

impl Streaming {
    /// All, each with its gRPC path and its path at the gateway, if it has one.
    pub const ALL: &[(Streaming, &str, Option<&str>)] = &[
        (Streaming::RangeStream, "/etcdserverpb.KV/RangeStream", None),
        (Streaming::Watch, "/etcdserverpb.Watch/Watch", Some("/v3/watch")),
        (
            Streaming::LeaseKeepAlive,
            "/etcdserverpb.Lease/LeaseKeepAlive",
            Some("/v3/lease/keepalive"),
        ),
        (
            Streaming::Snapshot,
            "/etcdserverpb.Maintenance/Snapshot",
            Some("/v3/maintenance/snapshot"),
        ),
        (Streaming::Observe, "/v3electionpb.Election/Observe", Some("/v3/election/observe")),
    ];

    /// That of a gRPC path.
    pub fn of_grpc(path: &str) -> Option<Streaming> {
        Self::ALL.iter().find(|(_, grpc, _)| *grpc == path).map(|row| row.0)
    }

    /// That of a path at the gateway.
    pub fn of_gateway(path: &str) -> Option<Streaming> {
        Self::ALL.iter().find(|(_, _, gateway)| *gateway == Some(path)).map(|row| row.0)
    }

    /// Its gRPC path.
    pub fn grpc_path(self) -> &'static str {
        Self::ALL.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// Whether the client sends a stream, too.
    pub fn takes_stream(self) -> bool {
        matches!(self, Streaming::Watch | Streaming::LeaseKeepAlive)
    }

    /// Calls it with encoded requests; gives encoded answers. Where the client sends one request, the
    /// stream holds one.
    pub async fn call<C: Codec>(
        self,
        services: &Services,
        caller: &Caller,
        codec: C,
        requests: Requests<Bytes>,
    ) -> Result<Answers<Bytes>, RpcError> {
        if self != Streaming::Snapshot {
            services.admit_voter()?;
        }
        services.catch_up(caller).await;
        let class = match self {
            Streaming::LeaseKeepAlive => Some(Class::KeepAlives),
            Streaming::Watch => None, // takes its place itself, for `/kv` too
            Streaming::RangeStream | Streaming::Snapshot | Streaming::Observe => Some(Class::Held),
        };
        let place = class.map(|class| services.doors.limits.enter(class)).transpose()?;
        let answers = self.begin(services, caller, codec, requests).await?;
        Ok(match place {
            None => answers,
            Some(place) => Box::pin(answers.inspect(move |_| _ = &place)),
        })
    }

    async fn begin<C: Codec>(
        self,
        services: &Services,
        caller: &Caller,
        codec: C,
        mut requests: Requests<Bytes>,
    ) -> Result<Answers<Bytes>, RpcError> {
        match self {
            Streaming::Watch => {
                let called = services.watch(caller, decoded(codec, requests));
                services.audit_stream(caller, &called, || Deed::quiet("watch"));
                Ok(encoded(services, codec, called?))
            }
            Streaming::LeaseKeepAlive => {
                let called = services.lease_keep_alive(caller, decoded(codec, requests));
                services.audit_stream(caller, &called, || Deed::quiet("lease-keep-alive"));
                Ok(encoded(services, codec, called?))
            }
            Streaming::RangeStream | Streaming::Snapshot | Streaming::Observe => {
                let request = requests.next().await.unwrap_or(Ok(Bytes::new()))?;
                match self {
                    Streaming::RangeStream => {
                        let request: RangeRequest = codec.decode(request)?;
                        let keys = (request.key.clone(), request.range_end.clone());
                        let called = services.range_stream(caller, request).await;
                        let deed = || Deed::quiet("range").range(&keys.0, &keys.1);
                        services.audit_stream(caller, &called, deed);
                        Ok(encoded(services, codec, called?))
                    }
                    Streaming::Snapshot => {
                        let request: SnapshotRequest = codec.decode(request)?;
                        let called = services.snapshot(caller, request);
                        services.audit_stream(caller, &called, || request.deed());
                        Ok(encoded(services, codec, called?))
                    }
                    _ => {
                        let request: LeaderRequest = codec.decode(request)?;
                        let name = request.name.clone();
                        let called = services.observe(caller, request);
                        services
                            .audit_stream(caller, &called, || Deed::quiet("observe").key(&name));
                        Ok(encoded(services, codec, called?))
                    }
                }
            }
        }
    }
}

fn decoded<C: Codec, M>(codec: C, requests: Requests<Bytes>) -> Requests<M>
where
    M: prost::Message + Default + DeserializeOwned + 'static,
{
    Box::pin(requests.map(move |request| codec.decode(request?)))
}

/// Answers of which the next is encoded when the last one is on its way. A long one that finds no room
/// beside those of others ends the stream.
fn encoded<C: Codec, M>(services: &Services, codec: C, answers: Answers<M>) -> Answers<Bytes>
where
    M: prost::Message + Serialize + 'static,
{
    let doors = Arc::clone(&services.doors);
    Box::pin(answers.map(move |answer| Ok(doors.limits.hold(codec.encode(&answer?))?)))
}
