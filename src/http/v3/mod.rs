//! The v3 API: what each RPC does, with etcd's messages in and out, whatever carries them. [`methods`]
//! lists the RPCs and calls them with encoded messages: gRPC ([`crate::http::grpc`]) and the JSON
//! gateway are two ways to it. Knows messages to actors and published state, and no connection.

use std::{fmt, net::SocketAddr, pin::Pin, sync::Arc};

use futures_util::Stream;

use self::{error::RpcError, pb::etcdserverpb::ResponseHeader};
use super::{
    Doors,
    auth::{Identity, certificate::CommonName},
    limits::Places,
};
use crate::types::Revision;

pub mod audit;

mod auth;
mod check;
mod cluster;
mod consensus;
mod convert;
mod election;
pub mod error;
mod hash;
#[allow(clippy::unused_async, reason = "what takes long is to be done aside")]
mod kv;
mod lease;
mod lock;
mod long;
mod maintenance;
pub mod methods;
pub mod pb;
mod range_stream;
mod session;
mod watch;

/// Whether a transaction passes all that is looked at before any state is.
#[doc(hidden)]
pub fn is_sound(request: &pb::etcdserverpb::TxnRequest, ops_max: usize) -> bool {
    check::txn(request, ops_max).is_ok() && convert::txn(request.clone()).is_ok()
}

/// The RPCs. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    doors: Arc<Doors>,
}

/// Who calls, as the door found out.
#[derive(Clone, Default)]
pub struct Caller {
    /// The token of an authenticated user, as it came: metadata `token`, or the header `Authorization`.
    pub token: Option<String>,
    /// Metadata `hasleader`: fail, or end the stream, when there is no leader.
    pub has_leader: bool,
    /// From where.
    pub remote: Option<SocketAddr>,
    /// Who it is by its certificate: of no weight beside a token.
    pub certificate: Option<CommonName>,
    /// Who it is by a password that the door has looked at.
    pub shown: Option<Identity>,
    /// Through which door, for the audit log.
    pub door: &'static str,
    /// The places for watches on its connection, if there is more than one stream on it.
    pub watches: Option<Arc<Places>>,
}

impl fmt::Debug for Caller {
    /// The token is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("has_token", &self.token.is_some())
            .field("has_leader", &self.has_leader)
            .field("remote", &self.remote)
            .field("door", &self.door)
            .field("certificate", &self.certificate)
            .field("shown", &self.shown)
            .field("watches", &self.watches)
            .finish()
    }
}

/// Messages from the client of a stream; the end is its half-close.
pub type Requests<M> = Pin<Box<dyn Stream<Item = Result<M, RpcError>>>>;
/// Messages to the client of a stream; an error is the last.
pub type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, RpcError>>>>;

impl Services {
    /// Behind these doors.
    pub fn new(doors: Arc<Doors>) -> Services {
        Services { doors }
    }

    /// The header of an answer as of `revision`.
    #[allow(clippy::unnecessary_wraps, reason = "the messages have an optional header")]
    fn header(&self, revision: Revision) -> Option<ResponseHeader> {
        let identity = &self.doors.published.identity;
        Some(ResponseHeader {
            cluster_id: identity.cluster_id.0,
            member_id: identity.member_id.0,
            revision: revision.0 as i64,
            raft_term: self.doors.published.raft.term().0,
        })
    }

    /// The header of an answer as of now.
    fn header_now(&self) -> Option<ResponseHeader> {
        self.header(self.doors.published.state.load().revision)
    }

    /// A learner answers only what needs no vote: its status, a serializable range, a snapshot. What it
    /// knows may be old, and nothing of it says so.
    fn admit_voter(&self) -> Result<(), RpcError> {
        let published = &self.doors.published;
        let state = published.state.load();
        let own = state.membership().member(published.identity.member_id);
        if own.is_some_and(|member| member.learner) {
            return Err(error::NOT_SUPPORTED_FOR_LEARNER);
        }
        Ok(())
    }
}
