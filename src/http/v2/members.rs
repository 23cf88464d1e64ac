//! `/v2/members` and `/v2/machines`: who is in the cluster, and changing that. Listings show what this
//! member has applied, as etcd's do. A learner, which etcd's v2 does not know, is asked for and shown
//! with `isLearner`.

use std::sync::Arc;

use actix_http::{
    Method, Request, StatusCode,
    header::{self, HeaderValue},
};
use serde::Deserialize;

use super::{
    access::Credentials,
    consensus::{propose, read_index},
    error::{V2Error, set_cluster_id},
};
use crate::{
    command::MemberChange,
    http::{
        Doors,
        answer::{self, Answer},
        body, json,
        membership::{self, Refusal},
        service::Routed,
    },
    storage::mvcc::{Member, MemberError, State},
    types::MemberId,
};

/// Answers a request for `/v2/members` and below; `rest` is what follows it.
pub fn answer(doors: &Arc<Doors>, rest: &[u8], request: &mut Request) -> Routed {
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let method = request.method().clone();
    match method {
        Method::GET => return Routed::Now(named(doors, list(doors, rest))),
        Method::POST | Method::PUT | Method::DELETE => {}
        _ => return Routed::Now(answer::method_not_allowed(Some("GET,POST,DELETE,PUT"))),
    }
    let of = match parse_id(rest) {
        _ if method == Method::POST => MemberId(0), // made below, of what comes in the body
        _ if rest.is_empty() => {
            return Routed::Now(named(doors, answer::method_not_allowed(None)));
        }
        None => return Routed::Now(named(doors, no_such_member(rest))),
        Some(id) => id,
    };
    let declared = body::declared_len(request.head());
    let payload = request.take_payload();
    let doors = Arc::clone(doors);
    let credentials = Credentials::of(request);
    if method == Method::DELETE {
        return Routed::later(async move {
            body::discard(payload, declared).await;
            if let Err(error) = credentials.admit_root(&doors).await {
                return unauthorized(&error);
            }
            named(&doors, change(&doors, MemberChange::Remove { id: of }).await)
        });
    }
    let checked = check_content_type(request.head().headers().get(header::CONTENT_TYPE));
    Routed::later(async move {
        if let Err(error) = credentials.admit_root(&doors).await {
            body::discard(payload, declared).await;
            return unauthorized(&error);
        }
        if let Err(refusal) = checked {
            body::discard(payload, declared).await;
            return named(&doors, refusal);
        }
        let body = body::read(payload, declared, doors.settings.max_request_bytes).await;
        let asked = body.map_err(|error| error.to_string()).and_then(|body| parse(&body));
        let Asked { peer_urls, learner } = match asked {
            Ok(asked) => asked,
            Err(why) => {
                return named(&doors, answer::message(StatusCode::BAD_REQUEST, why.as_bytes()));
            }
        };
        let asked = if method == Method::POST {
            membership::addition(peer_urls, learner)
        } else {
            MemberChange::Update { id: of, peer_urls }
        };
        named(&doors, change(&doors, asked).await)
    })
}

/// `/v2/machines`: where clients find the members.
pub fn machines(doors: &Doors) -> Answer {
    let state = doors.published.state.load();
    let mut urls: Vec<&str> =
        state.members().iter().flat_map(|m| m.client_urls.iter().map(String::as_str)).collect();
    urls.sort_unstable();
    answer::text(StatusCode::OK, urls.join(", "))
}

/// Credentials that are not enough, in the form of all but keys.
pub(in crate::http) fn unauthorized(error: &V2Error) -> Answer {
    answer::message(error.row().2, error.to_string().as_bytes())
}

fn named(doors: &Doors, mut answer: Answer) -> Answer {
    set_cluster_id(&mut answer, doors);
    answer
}

fn list(doors: &Doors, which: &[u8]) -> Answer {
    let state = doors.published.state.load();
    match which {
        b"" => {
            let mut body = br#"{"members":["#.to_vec();
            for (at, member) in state.members().iter().enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                push_member(&mut body, member);
            }
            body.extend_from_slice(b"]}\n");
            answer::json(StatusCode::OK, body)
        }
        b"leader" => {
            let leader = doors.published.raft.leader();
            let Some(member) = leader.and_then(|id| find(&state, id)) else {
                return answer::message(StatusCode::SERVICE_UNAVAILABLE, b"During election");
            };
            let mut body = Vec::new();
            push_member(&mut body, member);
            body.push(b'\n');
            answer::json(StatusCode::OK, body)
        }
        _ => answer::message(StatusCode::NOT_FOUND, b"Not found"),
    }
}

fn find(state: &State, id: MemberId) -> Option<&Member> {
    state.members().iter().find(|member| member.id == id)
}

fn push_member(out: &mut Vec<u8>, member: &Member) {
    out.extend_from_slice(format!(r#"{{"id":"{:x}","name":"#, member.id).as_bytes());
    json::push_string(out, member.name.as_bytes());
    for (name, urls) in
        [(r#","peerURLs":["#, &member.peer_urls), (r#","clientURLs":["#, &member.client_urls)]
    {
        out.extend_from_slice(name.as_bytes());
        for (at, url) in urls.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json::push_string(out, url.as_bytes());
        }
        out.push(b']');
    }
    if member.learner {
        out.extend_from_slice(br#","isLearner":true"#);
    }
    out.push(b'}');
}

fn parse_id(text: &[u8]) -> Option<MemberId> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok().map(MemberId)
}

fn no_such_member(id: &[u8]) -> Answer {
    answer::message(StatusCode::NOT_FOUND, &[b"No such member: ", id].concat())
}

/// Has a change applied, and says what the client is told.
async fn change(doors: &Doors, change: MemberChange) -> Answer {
    let asked = membership::change(
        doors,
        change.clone(),
        async || read_index(doors).await,
        async |command| propose(doors, command).await,
    );
    match asked.await {
        Ok(()) => match change {
            MemberChange::Add { id, peer_urls, learner, .. } => {
                let (name, client_urls) = (String::new(), Vec::new());
                let added = Member { id, name, peer_urls, client_urls, learner };
                let mut body = Vec::new();
                push_member(&mut body, &added);
                body.push(b'\n');
                answer::json(StatusCode::CREATED, body)
            }
            _ => answer::empty(StatusCode::NO_CONTENT),
        },
        Err(refusal) => refused(&change, &refusal),
    }
}

/// The words are etcd's, which says no more than "Internal Server Error" to most. The log says why.
fn refused(change: &MemberChange, why: &Refusal<V2Error>) -> Answer {
    let (status, text) = match (why, change) {
        (
            Refusal::Invalid(
                MemberError::IdExists | MemberError::PeerUrlExists | MemberError::TooManyLearners,
            ),
            _,
        ) => (StatusCode::CONFLICT, why.to_string()),
        (Refusal::Invalid(MemberError::IdRemoved), MemberChange::Remove { id }) => {
            (StatusCode::GONE, format!("Member permanently removed: {id:x}"))
        }
        (
            Refusal::Invalid(MemberError::IdNotFound),
            MemberChange::Remove { id } | MemberChange::Update { id, .. },
        ) => return no_such_member(format!("{id:x}").as_bytes()),
        (Refusal::Log(V2Error::Busy), _) => {
            let mut answer =
                answer::message(StatusCode::SERVICE_UNAVAILABLE, why.to_string().as_bytes());
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return answer;
        }
        (Refusal::Log(V2Error::Stopped), _) => (StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error".to_owned()),
    };
    answer::message(status, text.as_bytes())
}

fn check_content_type(value: Option<&header::HeaderValue>) -> Result<(), Answer> {
    let value = value.map_or(&b""[..], header::HeaderValue::as_bytes);
    let kind = match value.iter().position(|&b| b == b';') {
        Some(end) => value[..end].trim_ascii().to_ascii_lowercase(),
        None => value.to_vec(),
    };
    if kind == b"application/json" {
        return Ok(());
    }
    let text = [b"Bad Content-Type ", &kind[..], b", accept application/json"].concat();
    Err(answer::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text))
}

#[derive(Deserialize)]
struct MemberRequest {
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    learner: bool,
}

/// What a request says of a member.
struct Asked {
    /// Sorted.
    peer_urls: Vec<String>,
    learner: bool,
}

/// Whether a body says which member is meant.
#[doc(hidden)]
pub fn is_member(body: &[u8]) -> bool {
    parse(body).is_ok()
}

/// Reads a request, or says what is wrong with it, in etcd's words where it has some.
fn parse(body: &[u8]) -> Result<Asked, String> {
    let request: MemberRequest = serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
    })?;
    let urls = membership::peer_urls(&request.peer_urls)?;
    Ok(Asked { peer_urls: urls, learner: request.learner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_judged_in_etcds_words() {
        for (body, expected) in [
            (r#"{"peerURLs":[]}"#, Err("no valid URLs given")),
            ("{}", Err("no valid URLs given")),
            ("", Err("unexpected end of JSON input")),
            (r#"{"peerURLs":"#, Err("unexpected end of JSON input")),
            (r#"{"peerURLs":["http://a:1/"]}"#, Err("URL must not contain a path: http://a:1/")),
            (
                r#"{"peerURLs":["http://a"]}"#,
                Err(r#"URL address does not have the form "host:port": http://a"#),
            ),
            (
                r#"{"peerURLs":["http://[::1]"]}"#,
                Err(r#"URL address does not have the form "host:port": http://[::1]"#),
            ),
            (r#"{"peerURLs":["a:1"]}"#, Err("URL scheme must be http, https, unix, or unixs: a:1")),
            (r#"{"peerURLs":[" http://b:2","http://[::1]:1"]}"#, Ok("http://[::1]:1 http://b:2")),
        ] {
            let urls = parse(body.as_bytes()).map(|asked| asked.peer_urls.join(" "));
            assert_eq!(urls, expected.map(str::to_owned).map_err(str::to_owned), "{body}");
        }
        assert!(parse(br#"{"peerURLs":3}"#).is_err());
        let learner = parse(br#"{"peerURLs":["http://a:1"],"isLearner":true,"name":"x"}"#);
        assert!(learner.is_ok_and(|asked| asked.learner));
    }

    #[test]
    fn ids_are_hex() {
        assert_eq!(parse_id(b"00abc"), Some(MemberId(0xabc)));
        for text in [&b"zz"[..], b"+1", b"leader", b"11112222333344445", b"abc/", b"\xff"] {
            assert_eq!(parse_id(text), None);
        }
    }
}
