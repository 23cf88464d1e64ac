//! `PUT /config/local/log` with `{"Level":"DEBUG"}`: changes the level of this member's log until it
//! ends (etcd 2 to 3.4 have this route). Once users must say who they are, `root` alone may.

use std::sync::Arc;

use actix_http::{Method, Request, StatusCode};
use serde::Deserialize;

use super::{
    Doors,
    answer::{self, Answer},
    body,
    service::Routed,
    v2::{access::Credentials, members::unauthorized},
};

#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "Level", alias = "level")]
    level: String,
}

/// Answers a request on the route.
pub fn answer(doors: &Arc<Doors>, request: &mut Request) -> Routed {
    const BODY_BYTES_MAX: usize = 1024;
    if request.method() != Method::PUT {
        return Routed::Now(answer::method_not_allowed(Some("PUT")));
    }
    let (doors, declared) = (Arc::clone(doors), body::declared_len(request.head()));
    let credentials = Credentials::of(request);
    let payload = request.take_payload();
    Routed::later(async move {
        if let Err(error) = credentials.admit_root_or_token(&doors).await {
            body::discard(payload, declared).await;
            return unauthorized(&error);
        }
        match body::read(payload, declared, BODY_BYTES_MAX).await {
            Ok(bytes) => change(&doors, &bytes),
            Err(_) => refused("the body must be JSON as {\"Level\":\"DEBUG\"}"),
        }
    })
}

fn change(doors: &Doors, bytes: &[u8]) -> Answer {
    let Ok(Wanted { level }) = serde_json::from_slice(bytes) else {
        return refused("the body must be JSON as {\"Level\":\"DEBUG\"}");
    };
    let Some(telemetry) = &doors.telemetry else { return answer::not_found() };
    match telemetry.set_level(&level.to_ascii_lowercase()) {
        Ok(()) => {
            tracing::warn!(level, "the level of the log was changed");
            answer::empty(StatusCode::NO_CONTENT)
        }
        Err(error) => refused(&error.to_string()),
    }
}

fn refused(why: &str) -> Answer {
    let text = serde_json::Value::from(why);
    answer::json(StatusCode::BAD_REQUEST, format!("{{\"message\":{text}}}\n"))
}
