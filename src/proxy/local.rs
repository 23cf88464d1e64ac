//! What the proxy answers by itself: its metrics, its endpoints, and refusals.

use actix_http::{
    Method, Response, StatusCode,
    header::{self, HeaderValue},
};
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{Proxy, body::ProxyBody};

/// The proxy's answers.
pub type Answer = Response<ProxyBody>;

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers what is about the proxy itself.
pub fn answer(proxy: &Proxy, method: &Method, path: &str) -> Option<Answer> {
    let content: fn(&Proxy) -> (String, &'static str) = match path {
        "/metrics" => metrics,
        "/v2/config/local/proxy" => endpoints_up,
        "/config/local/proxy" => endpoints,
        _ => return None,
    };
    if method != Method::GET {
        let mut refusal = whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n");
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Some(refusal);
    }
    let (body, content_type) = content(proxy);
    Some(whole(StatusCode::OK, content_type, body))
}

fn metrics(proxy: &Proxy) -> (String, &'static str) {
    let (all, now) = (proxy.director.all(), Instant::now());
    let up = all.iter().filter(|endpoint| endpoint.is_up(now)).count();
    (proxy.figures.text(all.len(), up), "text/plain; version=0.0.4; charset=utf-8")
}

/// As etcd shows it: those that requests go to.
fn endpoints_up(proxy: &Proxy) -> (String, &'static str) {
    let (all, now) = (proxy.director.all(), Instant::now());
    let up = all.iter().filter(|endpoint| endpoint.is_up(now));
    let up: Vec<&str> = up.map(|endpoint| endpoint.url.as_str()).collect();
    (json!({ "endpoints": up }).to_string() + "\n", TEXT)
}

/// All, and what is thought of each.
fn endpoints(proxy: &Proxy) -> (String, &'static str) {
    let now = Instant::now();
    let shown = |endpoint: &std::sync::Arc<super::director::Endpoint>| {
        json!({
            "url": endpoint.url.as_str(),
            "available": endpoint.is_up(now),
            "idleConnections": endpoint.pool.idle(),
        })
    };
    let all: Vec<_> = proxy.director.all().iter().map(shown).collect();
    (json!({ "endpoints": all }).to_string() + "\n", "application/json")
}

/// An answer with all its body.
pub fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::with_body(status, ProxyBody::Whole(body.into()));
    answer.head_mut().set_camel_case_headers(true);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// `{"message":…}`, as etcd's proxy refuses.
pub fn message(status: StatusCode, text: &str) -> Answer {
    whole(status, "application/json", json!({ "message": text }).to_string())
}

/// An answer of nothing but its status.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::with_body(status, ProxyBody::Whole(Bytes::new()));
    answer.head_mut().set_camel_case_headers(true);
    answer
}
