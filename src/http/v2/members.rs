//! `/v2/members` and `/v2/machines`: who is in the cluster. Changing that is not in this version;
//! requests for it are checked as etcd checks them, and then refused.

use std::sync::Arc;

use actix_http::{Method, Request, StatusCode, header};
use serde::Deserialize;

use super::error::set_cluster_id;
use crate::{
    http::{
        Doors,
        answer::{self, Answer},
        body, json,
        service::Routed,
    },
    storage::mvcc::{Member, State},
    types::MemberId,
};

/// Answers a request for `/v2/members` and below; `rest` is what follows it.
pub fn answer(doors: &Arc<Doors>, rest: &[u8], request: &mut Request) -> Routed {
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let change = match *request.method() {
        Method::GET => return Routed::Now(named(doors, list(doors, rest))),
        Method::POST => Change::Add,
        Method::PUT => Change::Update,
        Method::DELETE => Change::Remove,
        _ => return Routed::Now(answer::method_not_allowed(Some("GET,POST,DELETE,PUT"))),
    };
    let of = match change {
        Change::Add => None,
        Change::Update | Change::Remove if rest.is_empty() => {
            return Routed::Now(named(doors, answer::method_not_allowed(None)));
        }
        Change::Update | Change::Remove => match parse_id(rest) {
            Some(id) => Some(id),
            None => return Routed::Now(named(doors, no_such_member(rest))),
        },
    };
    if change == Change::Remove {
        return Routed::Now(named(doors, refuse_change(doors, change, of, &[])));
    }
    if let Err(refusal) = check_content_type(request.head().headers().get(header::CONTENT_TYPE)) {
        return Routed::Now(named(doors, refusal));
    }
    let declared = body::declared_len(request.head());
    let payload = request.take_payload();
    let doors = Arc::clone(doors);
    Routed::later(async move {
        let body = body::read(payload, declared, doors.settings.max_request_bytes).await;
        let urls = body.map_err(|error| error.to_string()).and_then(|body| peer_urls(&body));
        let answer = match urls {
            Ok(urls) => refuse_change(&doors, change, of, &urls),
            Err(why) => answer::message(StatusCode::BAD_REQUEST, why.as_bytes()),
        };
        named(&doors, answer)
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Update,
    Remove,
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

/// What etcd would refuse too, and otherwise that this version does not do it.
fn refuse_change(doors: &Doors, change: Change, of: Option<MemberId>, urls: &[String]) -> Answer {
    let state = doors.published.state.load();
    if let Some(id) = of {
        let Some(member) = find(&state, id) else {
            return no_such_member(format!("{id:x}").as_bytes());
        };
        if change == Change::Update && member.peer_urls == urls {
            return answer::empty(StatusCode::NO_CONTENT); // what it has already
        }
    }
    if change == Change::Remove && state.members().len() == 1 {
        // The only member stays, in etcd's words.
        return answer::message(StatusCode::INTERNAL_SERVER_ERROR, b"Internal Server Error");
    }
    let taken = state
        .members()
        .iter()
        .filter(|member| Some(member.id) != of)
        .any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
    if taken && change != Change::Remove {
        return answer::message(StatusCode::CONFLICT, b"membership: peerURL exists");
    }
    let text = b"membership changes are not supported by this version";
    answer::message(StatusCode::NOT_IMPLEMENTED, text)
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
}

/// The URLs of a request, sorted, or what is wrong with them, in etcd's words where it has some.
fn peer_urls(body: &[u8]) -> Result<Vec<String>, String> {
    let request: MemberRequest = serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
    })?;
    if request.peer_urls.is_empty() {
        return Err("no valid URLs given".to_owned());
    }
    let mut urls = Vec::with_capacity(request.peer_urls.len());
    for url in &request.peer_urls {
        let url = url.trim();
        check_url(url)?;
        urls.push(url.to_owned());
    }
    urls.sort_unstable();
    Ok(urls)
}

fn check_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match scheme {
        "http" | "https" => {}
        "unix" | "unixs" => return Ok(()),
        _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let port_at = host.rfind(':').filter(|&at| !host[at..].contains(']'));
    if port_at.is_none() {
        return Err(format!("URL address does not have the form \"host:port\": {url}"));
    }
    if rest[end..].starts_with('/') {
        return Err(format!("URL must not contain a path: {url}"));
    }
    Ok(())
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
            let urls = peer_urls(body.as_bytes()).map(|urls| urls.join(" "));
            assert_eq!(urls, expected.map(str::to_owned).map_err(str::to_owned), "{body}");
        }
        assert!(peer_urls(br#"{"peerURLs":3}"#).is_err());
    }

    #[test]
    fn ids_are_hex() {
        assert_eq!(parse_id(b"00abc"), Some(MemberId(0xabc)));
        for text in [&b"zz"[..], b"+1", b"leader", b"11112222333344445", b"abc/", b"\xff"] {
            assert_eq!(parse_id(text), None);
        }
    }
}
