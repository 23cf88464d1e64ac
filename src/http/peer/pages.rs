//! The pages that etcd has on its peer port: joining members and DNS-based clients read `/members` there,
//! with ids as numbers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, header::HeaderValue};

use super::{PeerAnswer, PeerDoors, text, whole};
use crate::{
    clock::wall_clock,
    http::{json, probes::version_json},
    storage::mvcc::Member,
};

/// Answers whatever is no stream and no snapshot.
pub fn answer<B>(doors: &PeerDoors, request: &Request<B>) -> PeerAnswer {
    let page: fn(&PeerDoors) -> PeerAnswer = match request.uri().path() {
        "/version" => |_| whole(StatusCode::OK, "application/json", version_json()),
        "/members" => members,
        "/raft/probing" => |_| probing(),
        _ => return text(StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return not_allowed("GET,HEAD");
    }
    page(doors)
}

/// 405.
pub fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    answer.headers_mut().insert(hyper::header::ALLOW, HeaderValue::from_static(allow));
    answer
}

fn members(doors: &PeerDoors) -> PeerAnswer {
    let state = doors.published.state.load();
    let mut body = b"[".to_vec();
    for (at, member) in state.members().iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        push_member(&mut body, member);
    }
    body.extend_from_slice(b"]\n");
    let mut answer = whole(StatusCode::OK, "application/json", body);
    let cluster = format!("{:x}", doors.published.identity.cluster_id);
    if let Ok(cluster) = HeaderValue::from_str(&cluster) {
        answer.headers_mut().insert("x-etcd-cluster-id", cluster);
    }
    answer
}

/// As etcd's JSON has it: what is empty is left out.
fn push_member(out: &mut Vec<u8>, member: &Member) {
    out.extend_from_slice(br#"{"id":"#);
    json::push_u64(out, member.id.0);
    out.extend_from_slice(br#","peerURLs":"#);
    push_strings(out, &member.peer_urls);
    if member.learner {
        out.extend_from_slice(br#","isLearner":true"#);
    }
    if !member.name.is_empty() {
        out.extend_from_slice(br#","name":"#);
        json::push_string(out, member.name.as_bytes());
    }
    if !member.client_urls.is_empty() {
        out.extend_from_slice(br#","clientURLs":"#);
        push_strings(out, &member.client_urls);
    }
    out.push(b'}');
}

fn push_strings(out: &mut Vec<u8>, strings: &[String]) {
    out.push(b'[');
    for (at, string) in strings.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::push_string(out, string.as_bytes());
    }
    out.push(b']');
}

fn probing() -> PeerAnswer {
    let now = i64::try_from(wall_clock().0).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_nanosecond(now.into()).unwrap_or_default();
    whole(StatusCode::OK, "application/json", format!("{{\"Health\":true,\"Now\":\"{now}\"}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberId;

    #[test]
    fn members_have_numbers_for_ids() {
        let mut member = Member {
            id: MemberId(10_276_657_743_932_975_437),
            name: "n1".to_owned(),
            peer_urls: vec!["http://a:2380".to_owned()],
            client_urls: vec!["http://a:2379".to_owned(), "http://b:2379".to_owned()],
            learner: false,
        };
        let shown = |member: &Member| {
            let mut out = Vec::new();
            push_member(&mut out, member);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(&member),
            concat!(
                r#"{"id":10276657743932975437,"peerURLs":["http://a:2380"],"name":"n1","#,
                r#""clientURLs":["http://a:2379","http://b:2379"]}"#
            )
        );
        (member.name, member.client_urls, member.learner) = (String::new(), vec![], true);
        assert_eq!(
            shown(&member),
            r#"{"id":10276657743932975437,"peerURLs":["http://a:2380"],"isLearner":true}"#
        );
    }
}
