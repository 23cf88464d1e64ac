//! From method and path to handler, in the order in which etcd looks at a request: the path must
//! decode, OPTIONS is answered anywhere, an unclean path is redirected (but one that is a key is taken as
//! it is), then the path decides.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use actix_http::{
    ConnectionType, Method, Payload, Request, StatusCode, Uri, Version,
    header::{self, HeaderValue},
};

use super::{
    Doors,
    answer::{self, Answer},
    audit, body, gateway, host_names, log_level, path, plain, probes, scrape,
    service::Routed,
    v2::{self, access::Credentials, members::unauthorized},
};

/// What a listener offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// All doors.
    Everything,
    /// `--listen-client-http-urls`: what is not gRPC.
    Http,
    /// `--listen-client-urls`, where HTTP has listeners of its own.
    Grpc,
    /// `--listen-metrics-urls`: probes and metrics.
    Probes,
}

impl Offer {
    /// Whether RPCs are answered as such.
    pub fn has_grpc(self) -> bool {
        matches!(self, Offer::Everything | Offer::Grpc)
    }

    /// Whether anything else is answered.
    pub fn has_http(self) -> bool {
        self != Offer::Grpc
    }
}

/// Answers a request, or says that the answer comes later.
pub fn route(doors: &Arc<Doors>, offer: Offer, mut request: Request) -> Routed {
    match (pick(doors, offer, &mut request), request.take_payload()) {
        // On HTTP/2 a body that nobody wanted is in nobody's way.
        (Routed::Now(answer), payload)
            if !matches!(payload, Payload::None) && request.version() < Version::HTTP_2 =>
        {
            // Nobody wanted the body: it is read, or its connection could not be used again.
            let declared = body::declared_len(request.head());
            Routed::later(async move {
                body::discard(payload, declared).await;
                answer
            })
        }
        (routed, _) => routed,
    }
}

fn pick(doors: &Arc<Doors>, offer: Offer, request: &mut Request) -> Routed {
    let uri = request.uri().clone(); // shares the request's bytes
    let is_options = request.method() == Method::OPTIONS;
    let Ok(decoded) = path::decode(uri.path().as_bytes()) else { return Routed::Now(bad_target()) };
    if !has_port(&uri) {
        return Routed::Now(bad_target());
    }
    if !host_names::is_allowed(&doors.settings.host_whitelist, request.head()) {
        return Routed::Now(host_names::refused());
    }
    if is_options {
        return Routed::Now(answer::empty(StatusCode::OK));
    }
    if !decoded.starts_with(b"/") {
        return Routed::Now(answer::empty(StatusCode::BAD_REQUEST));
    }
    if !path::is_clean(&decoded) && !plain::is_key(&decoded) {
        return Routed::Now(redirect(&decoded, uri.query(), request.method()));
    }
    let query = uri.query().unwrap_or("");
    if let Some(routed) = probe(doors, &decoded, query, request) {
        return routed;
    }
    if offer == Offer::Probes {
        return Routed::Now(answer::not_found());
    }
    if doors.published.draining.load(Ordering::Acquire) {
        return Routed::Now(draining());
    }
    let Some(audit) = audit::Asked::new(doors, &decoded, query, request) else {
        return door(doors, &decoded, query, request);
    };
    match door(doors, &decoded, query, request) {
        Routed::Now(answer) => {
            audit.over(&answer);
            Routed::Now(answer)
        }
        Routed::Later(answering) => Routed::later(async move {
            let answer = answering.await;
            audit.over(&answer);
            answer
        }),
    }
}

/// What is on the listeners for metrics too.
fn probe(doors: &Arc<Doors>, path: &[u8], query: &str, request: &Request) -> Option<Routed> {
    let method = request.method();
    let get_only = |answer: &dyn Fn() -> Routed| {
        if method == Method::GET {
            return answer();
        }
        Routed::Now(answer::method_not_allowed(Some("GET")))
    };
    Some(match path {
        b"/metrics" if doors.settings.metrics_auth => {
            let (doors, credentials) = (Arc::clone(doors), Credentials::of(request));
            Routed::later(async move {
                match credentials.admit_root_or_token(&doors).await {
                    Ok(()) => scrape::metrics(&doors),
                    Err(error) => unauthorized(&error),
                }
            })
        }
        b"/metrics" => Routed::Now(scrape::metrics(doors)),
        b"/version" => get_only(&|| Routed::Now(probes::version())),
        b"/health" => get_only(&|| probes::health(doors, query)),
        _ => {
            let checks = probes::checks_at(path)?;
            get_only(&|| probes::checks(doors, checks, query))
        }
    })
}

fn door(doors: &Arc<Doors>, path: &[u8], query: &str, request: &mut Request) -> Routed {
    if path == b"/config/local/log" {
        return log_level::answer(doors, request);
    }
    if plain::is_key(path) {
        return plain::answer(doors, path, query, request);
    }
    if gateway::is_gateway(path) {
        if !doors.settings.enable_gateway {
            return Routed::Now(answer::not_found());
        }
        return gateway::answer(doors, path, request);
    }
    if path == b"/v3" && doors.settings.enable_gateway {
        return Routed::Now(redirect(b"/v3/", Some(query), request.method()));
    }
    if path.starts_with(b"/v2/") && !doors.settings.enable_v2 {
        return Routed::Now(answer::not_found());
    }
    if let Some(key) = path.strip_prefix(b"/v2/keys").filter(|rest| is_below_or_none(rest)) {
        return v2::keys::answer(doors, key, query, request);
    }
    if let Some(rest) = path.strip_prefix(b"/v2/members").filter(|rest| is_below_or_none(rest)) {
        return v2::members::answer(doors, rest, request);
    }
    if path.starts_with(b"/v2/auth/") {
        return v2::auth::answer(doors, path, request);
    }
    let get_only = |get: fn(&Doors) -> Answer| {
        if request.method() == Method::GET {
            return get(doors);
        }
        answer::method_not_allowed(Some("GET"))
    };
    Routed::Now(match path {
        b"/v2/machines" if request.method() == Method::GET || request.method() == Method::HEAD => {
            v2::members::machines(doors)
        }
        b"/v2/machines" => answer::method_not_allowed(Some("GET,HEAD")),
        b"/v2/stats/self" => get_only(v2::stats::own),
        b"/v2/stats/leader" => get_only(v2::stats::leader),
        b"/v2/stats/store" => get_only(v2::stats::store),
        _ => answer::not_found(),
    })
}

fn is_below_or_none(rest: &[u8]) -> bool {
    rest.is_empty() || rest[0] == b'/'
}

/// Whether the port in a target of the form `http://host:port/path`, if it is one, is a number.
fn has_port(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return true };
    let host_end = authority.as_str().rfind(']').map_or(0, |end| end + 1);
    let port = authority.as_str()[host_end..].rsplit_once(':').map_or("", |(_, port)| port);
    port.bytes().all(|b| b.is_ascii_digit())
}

fn bad_target() -> Answer {
    let mut answer = answer::text(StatusCode::BAD_REQUEST, &b"400 Bad Request"[..]);
    answer.head_mut().set_connection_type(ConnectionType::Close);
    answer
}

fn draining() -> Answer {
    let mut answer =
        answer::error_text(StatusCode::SERVICE_UNAVAILABLE, &b"server is shutting down\n"[..]);
    answer.head_mut().set_connection_type(ConnectionType::Close);
    answer
}

/// 301 to the clean path, query kept; with a link for those who read, as Go does for GET.
fn redirect(path: &[u8], query: Option<&str>, method: &Method) -> Answer {
    let mut location = path::encode(&path::clean(path));
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        location.push('?');
        location.push_str(query);
    }
    let mut answer = if method == Method::GET || method == Method::HEAD {
        let page = if method == Method::GET {
            format!("<a href=\"{}\">Moved Permanently</a>.\n\n", html_escaped(&location))
        } else {
            String::new()
        };
        answer::whole(StatusCode::MOVED_PERMANENTLY, "text/html; charset=utf-8", page)
    } else {
        answer::empty(StatusCode::MOVED_PERMANENTLY)
    };
    if let Ok(value) = HeaderValue::from_str(&location) {
        answer.headers_mut().insert(header::LOCATION, value);
    }
    answer
}

fn html_escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;");
    Cow::Owned(escaped)
}
