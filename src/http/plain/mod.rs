//! The plain door: a key is a page. `/kv/a/b` is the key `/a/b`, its value is the body, its revision the
//! `ETag`; `/kv?key=…` names keys that do not begin with a slash. For `curl` and browsers; docs/plain-http.md
//! tells how to use it.
//!
//! [`params`] is what the query says, [`conditions`] what `If-Match` and `If-None-Match` say; [`keys`] reads
//! and writes one key, [`listing`] is about many, [`events`] about their changes. All of it goes through the
//! services of v3, so that the same checks hold.

use std::{borrow::Cow, sync::Arc};

use actix_http::{
    Method, Payload, Request, StatusCode,
    header::{self, HeaderValue},
};

use self::{conditions::Conditions, params::Params};
use super::{
    Doors,
    answer::{self, Answer},
    auth::PasswordError,
    body::{self, BodyError},
    gateway,
    service::Routed,
    v2::access::basic,
    v3::{
        Caller, Services,
        error::{COMPACTED, NO_SPACE, REQUEST_TOO_LARGE, RpcError, TOO_MANY_REQUESTS, USER_EMPTY},
    },
};
use crate::{audit_log::Deed, metrics::Door};

pub mod conditions;
pub mod events;
pub mod keys;
pub mod listing;
pub mod params;

/// Where keys are.
const PREFIX: &[u8] = b"/kv";

/// Whether a path names a key. Such a path is the key as it is, dots, empty parts and all.
pub fn is_key(path: &[u8]) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|key| key.is_empty() || key[0] == b'/')
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    text: Cow<'static, str>,
}

impl Refused {
    fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Refused {
        Refused { status, text: text.into() }
    }

    /// The request makes no sense.
    fn bad(text: impl Into<Cow<'static, str>>) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, text)
    }

    fn answer(&self) -> Answer {
        let mut answer = answer::error_text(self.status, format!("{}\n", self.text));
        if self.text == TOO_MANY_REQUESTS.message {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Refused {
        let status = if error == COMPACTED {
            StatusCode::GONE
        } else if error == REQUEST_TOO_LARGE {
            StatusCode::PAYLOAD_TOO_LARGE
        } else if error == NO_SPACE {
            StatusCode::INSUFFICIENT_STORAGE
        } else if error == USER_EMPTY {
            StatusCode::UNAUTHORIZED // etcd's gateway calls it a bad request
        } else {
            gateway::error::status(error.code)
        };
        Refused::new(status, error.message)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Refused {
        match error {
            BodyError::TooLarge => REQUEST_TOO_LARGE.into(),
            BodyError::Broken => Refused::bad("the body was cut short"),
            BodyError::Slow => {
                Refused::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")
            }
        }
    }
}

/// What all handlers are given.
struct Asked {
    doors: Arc<Doors>,
    services: Services,
    caller: Caller,
    key: Vec<u8>,
    params: Params,
    conditions: Conditions,
    /// `Accept: text/event-stream`.
    wants_events: bool,
    last_event_id: Option<Vec<u8>>,
}

/// What a request does, for the audit log.
pub fn deed(path: &[u8], query: &str, method: &Method) -> Deed {
    let deed = match *method {
        Method::PUT => Deed::of("put"),
        Method::DELETE => Deed::of("delete"),
        _ => Deed::quiet("read"),
    };
    let params = Params::parse(query).unwrap_or_default();
    let in_path = path.strip_prefix(PREFIX).unwrap_or_default();
    let key = params.key.as_deref().unwrap_or(in_path);
    if params.prefix { deed.range(key, &end_of_prefix(key)) } else { deed.key(key) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Put,
    Delete,
}

/// Answers a request for a path that names a key.
pub fn answer(doors: &Arc<Doors>, path: &[u8], query: &str, request: &mut Request) -> Routed {
    let (verb, door) = match *request.method() {
        Method::GET | Method::HEAD => (Verb::Get, Door::Read),
        Method::PUT => (Verb::Put, Door::Write),
        Method::DELETE => (Verb::Delete, Door::Write),
        _ => return Routed::Now(answer::method_not_allowed(Some("GET, HEAD, PUT, DELETE"))),
    };
    let asked = match ask(doors, path, query, request) {
        Ok(asked) => asked,
        Err(refused) => return Routed::Now(refused.answer()),
    };
    let declared = body::declared_len(request.head());
    let payload = request.take_payload();
    let metrics = Arc::clone(doors);
    let password = request.head().headers().get(header::AUTHORIZATION);
    let password = password.and_then(|value| basic(value.as_bytes()));
    Routed::later(async move {
        let (answer, door) = match asked.run(password, verb, payload, declared).await {
            Ok(answer) => (answer, door),
            Err(refused) => (refused.answer(), Door::Refused),
        };
        metrics.metrics.count_request(door, answer.status().as_u16());
        answer
    })
}

fn ask(doors: &Arc<Doors>, path: &[u8], query: &str, request: &Request) -> Result<Asked, Refused> {
    let mut params = Params::parse(query)?;
    let in_path = path.strip_prefix(PREFIX).unwrap_or_default();
    let key = match params.key.take() {
        None => in_path.to_vec(),
        Some(key) if in_path.is_empty() => key,
        Some(_) => return Err(Refused::bad("the key is in the path and in the query")),
    };
    if key.is_empty() && !params.prefix {
        return Err(Refused::bad("a key is needed: /kv/a/b, or /kv?key=a"));
    }
    let headers = request.head().headers();
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    Ok(Asked {
        doors: Arc::clone(doors),
        services: Services::new(Arc::clone(doors)),
        caller: Caller { door: "kv", ..gateway::caller(request) },
        key,
        params,
        conditions: Conditions::parse(headers)?,
        wants_events: accept.contains("text/event-stream"),
        last_event_id: headers.get("last-event-id").map(|id| id.as_bytes().to_vec()),
    })
}

impl Asked {
    async fn run(
        mut self,
        password: Option<(String, String)>,
        verb: Verb,
        payload: Payload,
        declared: Option<u64>,
    ) -> Result<Answer, Refused> {
        if let Some((user, password)) = password
            && let Err(refused) = self.identify(&user, &password).await
        {
            body::discard(payload, declared).await;
            return Err(refused);
        }
        if verb == Verb::Put {
            let limit = self.doors.settings.max_request_bytes;
            let value = body::read(payload, declared, limit).await?;
            return self.put(value).await;
        }
        body::discard(payload, declared).await;
        match verb {
            Verb::Delete if self.params.prefix => self.delete_all().await,
            Verb::Delete => self.delete().await,
            _ if self.params.wait => self.wait().await,
            _ if self.wants_events => self.events().await,
            _ if self.params.prefix => self.list().await,
            _ => self.get().await,
        }
    }

    /// Looks at a name and a password, which this door takes in place of a token.
    async fn identify(&mut self, user: &str, password: &str) -> Result<(), Refused> {
        let published = &self.doors.published;
        if !published.state.load().auth().enabled() {
            return Ok(());
        }
        let remote = self.caller.remote.map(|remote| remote.ip());
        match self.doors.gate.check_again(published, remote, user, password).await {
            Ok(identity) => {
                self.caller.shown = Some(identity);
                Ok(())
            }
            // One text for both: it must not tell which users there are.
            Err(PasswordError::Wrong | PasswordError::NoPassword) => {
                Err(Refused::new(StatusCode::UNAUTHORIZED, PasswordError::Wrong.to_string()))
            }
            Err(error) => Err(RpcError::from(error).into()),
        }
    }

    /// The end of the range that the key and the prefix parameter mean, and its begin.
    fn range(&self) -> (Vec<u8>, Vec<u8>) {
        if !self.params.prefix {
            return (self.key.clone(), Vec::new());
        }
        if self.key.is_empty() {
            return (vec![0], vec![0]); // all keys
        }
        (self.key.clone(), end_of_prefix(&self.key))
    }
}

/// The first key behind all that begin with this; a zero byte stands for the end of all.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::v3::error::Code;

    #[test]
    fn paths_of_keys() {
        for path in [&b"/kv"[..], b"/kv/", b"/kv/a", b"/kv//../a/.", b"/kv/\xff"] {
            assert!(is_key(path), "{path:?}");
        }
        for path in [&b"/kvx"[..], b"/k", b"/", b"", b"//kv/a"] {
            assert!(!is_key(path), "{path:?}");
        }
    }

    #[test]
    fn ends_of_prefixes() {
        for (prefix, end) in
            [(&b"/a/"[..], &b"/a0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")]
        {
            assert_eq!(end_of_prefix(prefix), end, "{prefix:?}");
        }
    }

    #[test]
    fn statuses() {
        for (error, status) in [
            (COMPACTED, 410),
            (REQUEST_TOO_LARGE, 413),
            (NO_SPACE, 507),
            (USER_EMPTY, 401),
            (RpcError::new(Code::Unavailable, "x"), 503),
            (RpcError::new(Code::PermissionDenied, "x"), 403),
        ] {
            assert_eq!(Refused::from(error).status.as_u16(), status);
        }
    }
}
