//! `/v2/auth/…`: this version has no users. It says so, and that authentication is off.

use actix_http::{Method, StatusCode};

use crate::http::answer::{self, Answer};

/// Answers `GET /v2/auth/enable`; everything else is not there yet.
pub fn answer(path: &[u8], method: &Method) -> Answer {
    if path == b"/v2/auth/enable" && method == Method::GET {
        return answer::json(StatusCode::OK, &b"{\"enabled\":false}\n"[..]);
    }
    let text = b"authentication is not supported by this version";
    answer::message(StatusCode::NOT_IMPLEMENTED, text)
}
