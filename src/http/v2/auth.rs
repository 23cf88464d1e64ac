//! `/v2/auth/…`: whether authentication is on. Users and roles, which v2's keys and members ask for
//! ([`super::access`]), are managed over v3; here it is said so.

use actix_http::{Method, StatusCode};

use crate::http::{
    Doors,
    answer::{self, Answer},
};

/// Answers `GET /v2/auth/enable`; everything else is not here.
pub fn answer(doors: &Doors, path: &[u8], method: &Method) -> Answer {
    if path == b"/v2/auth/enable" && method == Method::GET {
        let enabled = doors.published.state.load().auth().enabled();
        let body = if enabled { "{\"enabled\":true}\n" } else { "{\"enabled\":false}\n" };
        return answer::json(StatusCode::OK, body);
    }
    let text = b"users and roles are managed over v3 in this version";
    answer::message(StatusCode::NOT_IMPLEMENTED, text)
}
