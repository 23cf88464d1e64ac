//! What the RPCs tell the audit log: each when it is over, in the table of RPCs, so that none is forgotten.
//! What each request is about is in [`deeds`].

use std::any::Any;

use super::{
    Caller, Services,
    error::{self, Code, RpcError},
    pb::etcdserverpb::{ResponseHeader, TxnResponse},
};
use crate::{
    audit_log::{Deed, Event},
    http::audit::{ABANDONED, caller_event},
};

pub mod deeds;

/// A request that can be told about.
pub trait Audited {
    /// What it does, without values and secrets.
    fn deed(&self) -> Deed;
}

/// An RPC that is being carried out, to be told of when it is over.
pub struct Calling<'a> {
    services: &'a Services,
    caller: &'a Caller,
    deed: Deed,
    user: String,
    is_over: bool,
}

impl Services {
    /// For this request; none without an audit log.
    pub(super) fn audit<'a>(
        &'a self,
        caller: &'a Caller,
        request: &impl Audited,
    ) -> Option<Box<Calling<'a>>> {
        self.doors.audit.as_ref()?;
        Some(self.calling(caller, request.deed()))
    }

    /// For this deed.
    pub(super) fn calling<'a>(&'a self, caller: &'a Caller, deed: Deed) -> Box<Calling<'a>> {
        // Asked before: what is done may change who is who.
        let user = self.name_of(caller);
        Box::new(Calling { services: self, caller, deed, user, is_over: false })
    }

    /// Tells how a stream began: one of which more than refusals is told, or that was refused.
    pub(super) fn audit_stream<A>(
        &self,
        caller: &Caller,
        called: &Result<A, RpcError>,
        deed: impl FnOnce() -> Deed,
    ) {
        if self.doors.audit.is_none() {
            return;
        }
        let calling = self.calling(caller, deed());
        match called {
            Ok(_) => calling.answered(None, &()),
            Err(error) => calling.failed(error),
        }
    }

    /// The caller's name; empty if it has none.
    pub(in crate::http) fn name_of(&self, caller: &Caller) -> String {
        self.user_of(caller).ok().flatten().unwrap_or_default()
    }

    /// Tells that a watch was refused: its stream goes on. `/kv` refuses the request, and tells it there.
    pub(super) fn audit_refused_watch(
        &self,
        caller: &Caller,
        error: &RpcError,
        deed: impl FnOnce() -> Deed,
    ) {
        if self.doors.audit.is_some() && caller.door != "kv" {
            self.calling(caller, deed()).failed(error);
        }
    }
}

impl Calling<'_> {
    /// It was answered.
    pub fn answered(mut self: Box<Self>, header: Option<ResponseHeader>, answer: &dyn Any) {
        self.is_over = true;
        if self.deed.told {
            let succeeded = answer.downcast_ref::<TxnResponse>().map(|txn| txn.succeeded);
            let succeeded = succeeded.filter(|_| self.deed.op == "txn");
            self.tell("ok", header.map(|header| header.revision as u64), succeeded);
        }
    }

    /// It was not.
    pub fn failed(mut self: Box<Self>, error: &RpcError) {
        self.is_over = true;
        if self.deed.told || is_refusal(error) {
            self.tell(&format!("{:?}", error.code), None, None);
        }
    }

    fn tell(&self, result: &str, revision: Option<u64>, succeeded: Option<bool>) {
        let Some(log) = &self.services.doors.audit else { return };
        let event = caller_event(self.caller, &self.deed);
        log.record(&Event { user: &self.user, result, revision, succeeded, ..event });
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.deed.told {
            self.tell(ABANDONED, None, None);
        }
    }
}

/// Wrong or missing credentials, a right that is not there, or too much of it.
fn is_refusal(error: &RpcError) -> bool {
    matches!(error.code, Code::PermissionDenied | Code::Unauthenticated)
        || [
            error::USER_EMPTY,
            error::AUTH_FAILED,
            error::AUTH_OLD_REVISION,
            error::NO_PASSWORD_USER,
            error::TOO_MANY_REQUESTS,
        ]
        .contains(error)
}
