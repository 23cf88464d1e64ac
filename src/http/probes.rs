//! The questions of load balancers, service managers and Prometheus' blackbox: `/version`, `/health`,
//! `/livez` and `/readyz`.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use actix_http::StatusCode;

use super::{
    Doors,
    answer::{self, Answer},
    json,
    service::Routed,
    v2::consensus::read_index,
};
use crate::command::AlarmKind;

/// The version of etcd that this one speaks like; clients choose their protocol by it.
pub const ETCD_VERSION: &str = "3.6.0";

/// `GET /version`.
pub fn version() -> Answer {
    answer::json(StatusCode::OK, version_json())
}

/// Its body, which the peer port shows too.
pub fn version_json() -> String {
    format!(
        r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_VERSION}","storage":"{ETCD_VERSION}","callboard":"{}"}}"#,
        env!("CARGO_PKG_VERSION"),
    )
}

/// `GET /health`: whether no alarm is raised (but for those that are excluded), there is a leader, and a
/// linearizable read works; with `serializable=true`, whether no alarm is raised and this member answers.
pub fn health(doors: &Arc<Doors>, query: &str) -> Routed {
    if doors.published.draining.load(Ordering::Acquire) {
        return Routed::Now(health_answer(doors, Some("SERVER STOPPING")));
    }
    let state = doors.published.state.load();
    let excluded = excluded(query);
    let raised = state.alarms().iter().map(|(_, kind)| alarm_name(*kind));
    if let Some(alarm) = raised.into_iter().find(|name| !excluded.iter().any(|not| not == name)) {
        return Routed::Now(health_answer(doors, Some(&format!("ALARM {alarm}"))));
    }
    let mut given = form_urlencoded::parse(query.as_bytes());
    if given.find(|(name, _)| name == "serializable").is_some_and(|(_, value)| value == "true") {
        return Routed::Now(health_answer(doors, None));
    }
    if doors.published.raft.leader().is_none() {
        return Routed::Now(health_answer(doors, Some("RAFT NO LEADER")));
    }
    let doors = Arc::clone(doors);
    Routed::later(async move {
        let reason = read_index(&doors).await.err().map(|error| format!("RANGE ERROR:{error}"));
        health_answer(&doors, reason.as_deref())
    })
}

fn health_answer(doors: &Doors, reason: Option<&str>) -> Answer {
    let counter = match reason {
        None => &doors.metrics.health_success,
        Some(_) => &doors.metrics.health_failures,
    };
    counter.inc();
    let mut body = Vec::with_capacity(64);
    let health = if reason.is_none() { "true" } else { "false" };
    body.extend_from_slice(format!(r#"{{"health":"{health}","reason":"#).as_bytes());
    json::push_string(&mut body, reason.unwrap_or("").as_bytes());
    body.push(b'}');
    if reason.is_none() {
        return answer::text(StatusCode::OK, body);
    }
    body.push(b'\n');
    answer::error_text(StatusCode::SERVICE_UNAVAILABLE, body)
}

/// The name that etcd gives an alarm.
pub fn alarm_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

/// One thing that a probe looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// No member was found to hold other data than its peers.
    DataCorruption,
    /// This member reads its own state.
    SerializableRead,
    /// This member reads what the cluster agreed on.
    LinearizableRead,
    /// This member votes.
    NonLearner,
    /// This member is not about to stop.
    NotDraining,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
            Check::NotDraining => "not_draining",
        }
    }

    /// Why it fails, if it does. A member that answers at all reads its own state.
    async fn failure(self, doors: &Doors) -> Option<String> {
        match self {
            Check::SerializableRead => None,
            Check::DataCorruption => {
                let state = doors.published.state.load();
                let raised = state.alarms().iter().any(|(_, kind)| *kind == AlarmKind::Corrupt);
                raised.then(|| format!("alarm activated: {}", alarm_name(AlarmKind::Corrupt)))
            }
            Check::NonLearner => {
                let state = doors.published.state.load();
                let own = state.membership().member(doors.published.identity.member_id);
                let is_learner = own.is_some_and(|member| member.learner);
                is_learner.then(|| "this member is a learner".to_owned())
            }
            Check::LinearizableRead => read_index(doors).await.err().map(|e| e.to_string()),
            Check::NotDraining => {
                let draining = doors.published.draining.load(Ordering::Acquire);
                draining.then(|| "server is shutting down".to_owned())
            }
        }
    }
}

const LIVEZ: &[Check] = &[Check::SerializableRead];
const READYZ: &[Check] = &[
    Check::DataCorruption,
    Check::SerializableRead,
    Check::LinearizableRead,
    Check::NonLearner,
    Check::NotDraining,
];

/// The checks behind a path: `/livez`, `/readyz`, or one of theirs alone, as `/readyz/non_learner`.
pub fn checks_at(path: &[u8]) -> Option<&'static [Check]> {
    let (all, rest) = if let Some(rest) = path.strip_prefix(b"/livez") {
        (LIVEZ, rest)
    } else {
        (READYZ, path.strip_prefix(b"/readyz")?)
    };
    if rest.is_empty() {
        return Some(all);
    }
    let name = rest.strip_prefix(b"/")?;
    let at = all.iter().position(|check| check.name().as_bytes() == name)?;
    Some(&all[at..=at])
}

/// Runs checks, but those that the query excludes; `verbose` lists them, a failure always does.
pub fn checks(doors: &Arc<Doors>, checks: &'static [Check], query: &str) -> Routed {
    let (verbose, excluded) = asked(query);
    let doors = Arc::clone(doors);
    Routed::later(async move {
        let mut lines = String::new();
        let mut failed = false;
        for check in checks.iter().filter(|check| !excluded.iter().any(|name| name == check.name()))
        {
            match check.failure(&doors).await {
                None if *check == Check::NotDraining => {} // etcd lists no such check
                None => _ = writeln!(lines, "[+]{} ok", check.name()),
                Some(why) => {
                    failed = true;
                    _ = writeln!(lines, "[-]{} failed: {why}", check.name());
                }
            }
        }
        if failed {
            lines.push('\n'); // as etcd: its http.Error ends the text with one more
            return answer::error_text(StatusCode::SERVICE_UNAVAILABLE, lines);
        }
        if !verbose {
            lines.clear();
        }
        lines.push_str("ok\n");
        answer::error_text(StatusCode::OK, lines)
    })
}

/// Whether `verbose` is asked for, and what is excluded.
fn asked(query: &str) -> (bool, Vec<String>) {
    let verbose = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "verbose");
    (verbose, excluded(query))
}

fn excluded(query: &str) -> Vec<String> {
    let given = form_urlencoded::parse(query.as_bytes());
    given.filter(|(name, _)| name == "exclude").map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_checks() {
        assert_eq!(checks_at(b"/livez"), Some(LIVEZ));
        assert_eq!(checks_at(b"/readyz"), Some(READYZ));
        assert_eq!(checks_at(b"/readyz/non_learner"), Some(&[Check::NonLearner][..]));
        for path in [&b"/livez/non_learner"[..], b"/readyz/", b"/readyzz", b"/ready", b"/livez/x"] {
            assert_eq!(checks_at(path), None, "{path:?}");
        }
    }

    #[test]
    fn what_is_asked() {
        assert_eq!(asked(""), (false, vec![]));
        assert_eq!(
            asked("verbose&exclude=a&exclude=non%5Flearner"),
            (true, vec!["a".to_owned(), "non_learner".to_owned()]),
        );
    }
}
