//! What the doors tell the audit log. Two places see every request: the table of RPCs, for gRPC and the
//! gateway ([`crate::http::v3::methods`]), and [`super::route`] for all other paths of HTTP, by method and
//! status alone. So nothing that is added behind them can be forgotten here.
//!
//! A request whose client leaves before the answer is told as `abandoned`: it may have been carried out.

use std::{net::SocketAddr, sync::Arc};

use actix_http::{Method, Request, StatusCode, header::HeaderName};

use super::{
    Doors,
    answer::Answer,
    auth::certificate::CommonName,
    gateway, plain,
    v2::{access, error::X_ETCD_INDEX},
    v3::{Caller, Services},
};
use crate::{
    audit_log::{AuditLog, Deed, Event},
    clock::wall_clock,
};

const KV_REVISION: HeaderName = HeaderName::from_static("callboard-revision");

/// What is said of a request whose client did not wait for its end.
pub const ABANDONED: &str = "abandoned";

/// A request on a path of HTTP, to be told of when it is over.
pub struct Asked {
    doors: Arc<Doors>,
    door: &'static str,
    deed: Deed,
    user: String,
    certificate: Option<CommonName>,
    remote: Option<SocketAddr>,
    is_over: bool,
}

impl Asked {
    /// For a request that is not an RPC's; none without an audit log. The path is decoded.
    pub fn new(doors: &Arc<Doors>, path: &[u8], query: &str, request: &Request) -> Option<Asked> {
        doors.audit.as_ref()?;
        if gateway::is_gateway(path) {
            return None;
        }
        let is_key = plain::is_key(path);
        let door = match path {
            _ if is_key => "kv",
            _ if path.starts_with(b"/v2/") => "v2",
            _ => "http",
        };
        let deed = if is_key {
            plain::deed(path, query, request.method())
        } else {
            deed(path, request.method())
        };
        let auth = doors.published.state.load().auth().enabled();
        let user = match door {
            _ if !auth => String::new(),
            "kv" => {
                let caller = gateway::caller(request);
                Services::new(Arc::clone(doors)).name_of(&caller)
            }
            _ => access::claimed_user(request).unwrap_or_default(),
        };
        Some(Asked {
            doors: Arc::clone(doors),
            door,
            deed,
            user,
            certificate: CommonName::of_request(request),
            remote: request.peer_addr(),
            is_over: false,
        })
    }

    /// It is answered.
    pub fn over(mut self, answer: &Answer) {
        self.is_over = true;
        let status = answer.status();
        if !self.deed.told && !is_refusal(status) {
            return;
        }
        let number = |name: &HeaderName| answer.headers().get(name)?.to_str().ok()?.parse().ok();
        let revision = number(&KV_REVISION).or_else(|| number(&X_ETCD_INDEX));
        let revision = revision.filter(|revision| *revision > 0);
        let result = if status.is_success() { "ok" } else { status.as_str() };
        self.tell(result, revision);
    }

    fn tell(&self, result: &str, revision: Option<u64>) {
        let Some(log) = &self.doors.audit else { return };
        log.record(&Event {
            time: wall_clock(),
            door: self.door,
            user: &self.user,
            certificate: self.certificate.as_ref().map(CommonName::name),
            remote: self.remote,
            deed: &self.deed,
            succeeded: None,
            result,
            revision,
        });
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_over && self.deed.told {
            self.tell(ABANDONED, None);
        }
    }
}

/// Wrong or missing credentials, a right that is not there, or too much of it.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    )
}

/// What a request outside `/kv` does, as its method says.
fn deed(path: &[u8], method: &Method) -> Deed {
    let key = path.strip_prefix(b"/v2/keys").filter(|key| key.is_empty() || key[0] == b'/');
    let op = match *method {
        Method::PUT => "put",
        Method::POST => "create",
        Method::DELETE => "delete",
        _ => "read",
    };
    let deed = if op == "read" { Deed::quiet(op) } else { Deed::of(op) };
    match key {
        Some(b"") => deed.key(b"/"),
        Some(key) => deed.key(key),
        None => deed.about("path", String::from_utf8_lossy(path)),
    }
}

/// A handshake was refused for the certificate that its client showed, or did not show.
pub fn handshake_refused(log: &AuditLog, remote: Option<SocketAddr>, error: &std::io::Error) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let result = match inner {
        Some(rustls::Error::NoCertificatesPresented) => "no certificate",
        Some(rustls::Error::InvalidCertificate(_)) => "bad certificate",
        _ => return, // nothing that an identity was refused for
    };
    let deed = Deed::of("handshake");
    let (time, door) = (wall_clock(), "tls");
    log.record(&Event { time, door, remote, deed: &deed, result, ..Event::default() });
}

/// Who calls over v3, for a line of the log.
pub fn caller_event<'a>(caller: &'a Caller, deed: &'a Deed) -> Event<'a> {
    Event {
        time: wall_clock(),
        door: caller.door,
        certificate: caller.certificate.as_ref().map(CommonName::name),
        remote: caller.remote,
        deed,
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_by_method_and_path() {
        for (path, method, expected) in [
            (&b"/v2/keys/a/b"[..], Method::PUT, Deed::of("put").key(b"/a/b")),
            (b"/v2/keys", Method::POST, Deed::of("create").key(b"/")),
            (b"/v2/keys/a\xff", Method::DELETE, Deed::of("delete").key(b"/a\xff")),
            (b"/v2/keys/a", Method::GET, Deed::quiet("read").key(b"/a")),
            (b"/v2/members/7", Method::DELETE, Deed::of("delete").about("path", "/v2/members/7")),
            (b"/v2/keysx", Method::PUT, Deed::of("put").about("path", "/v2/keysx")),
            (b"/config/local/log", Method::PUT, Deed::of("put").about("path", "/config/local/log")),
        ] {
            assert_eq!(deed(path, &method), expected, "{method} {path:?}");
        }
    }
}
