//! Makes answers comparable: what differs from run to run or from server to server is checked and
//! then replaced by a name, so that a golden file holds for any server that speaks the API.
//!
//! Indexes are written relative to the index at the start of their case, ids and addresses by name,
//! times as `<time>` after a check that they are right.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::clock::unix_seconds;
use super::http::Head;
use super::json::Json;

/// Repetitions of one character from this length on are written `<c*N>`.
const RUN_LEN_MIN: usize = 100;

/// What stands for itself in one run, and by a name in a golden file.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Literal text and its name: member id, URLs.
    pub literals: Vec<(String, &'static str)>,
    /// The member's name; it counts only as the value of `name`.
    pub member_name: String,
}

/// The point in time that a case's numbers are relative to.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// X-Etcd-Index when the case began.
    pub index: i64,
    /// The counters of `/v2/stats/store` when the case began.
    pub stats: BTreeMap<String, i64>,
}

/// What a compare error tells of last: `[given != actual]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Compared {
    /// Values.
    #[default]
    Values,
    /// Indexes; the given one is written as in the request.
    Index,
    /// Indexes; the given one was computed, and is relative as well.
    RelativeIndex,
}

/// What the normaliser must know of the request whose answer it reads.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The order of `nodes` is part of the answer.
    pub sorted: bool,
    /// What the last part of a compare error's cause is.
    pub compared: Compared,
    /// The answer holds counters.
    pub stats: bool,
    /// Every ttl that the case has asked for so far.
    pub ttls: Vec<i64>,
    /// Whole seconds since the case began: by so much a ttl may have gone down.
    pub elapsed: i64,
}

/// Replaces `<…>` in a request.
pub fn fill(text: &str, base: &Base, names: &Names) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('>') else {
            out.push('<');
            rest = after;
            continue;
        };
        match fill_one(name, base, names) {
            Some(value) => out.push_str(&value),
            None => out.extend(["<", name, ">"]),
        }
        rest = after;
    }
    out + rest
}

fn fill_one(name: &str, base: &Base, names: &Names) -> Option<String> {
    if name.starts_with(['+', '-']) {
        return name.parse::<i64>().ok().map(|offset| (base.index + offset).to_string());
    }
    if let Some(offset) = name.strip_prefix("key") {
        return offset.parse::<i64>().ok().map(|offset| format!("{:020}", base.index + offset));
    }
    if let Some((what, count)) = name.split_once('*') {
        return count.parse().ok().map(|count| what.repeat(count));
    }
    if name == "name" {
        return Some(names.member_name.clone());
    }
    let (literal, _) = names.literals.iter().find(|(_, n)| n[1..n.len() - 1] == *name)?;
    Some(literal.clone())
}

/// Status and headers of interest, on one line.
pub fn head(head: &Head, base: &Base) -> String {
    let mut line = head.status.to_string();
    let mut add = |word: &str| {
        line.push(' ');
        line.push_str(word);
    };
    if (300..400).contains(&head.status) {
        // The page that goes with a redirect, and its type, are the HTTP library's own.
        add(&format!("Location={}", head.header("Location").unwrap_or_default()));
        return line;
    }
    match head.header("Content-Type") {
        Some("application/json") => add("json"),
        Some("text/plain; charset=utf-8") => add("text"),
        Some(other) => add(&format!("Content-Type={other}")),
        None => {}
    }
    if let Some(index) = head.header("X-Etcd-Index") {
        add(&format!("index={}", relative_text(index, base)));
    }
    let decimal = |name| head.header(name).map(|v| v.parse::<u64>().is_ok_and(|n| n > 0));
    match (decimal("X-Raft-Index"), decimal("X-Raft-Term")) {
        (None, None) => {}
        (Some(true), Some(true)) => add("raft"),
        other => add(&format!("raft={other:?}")),
    }
    match head.header("X-Etcd-Cluster-Id") {
        None => {}
        Some(id) if u64::from_str_radix(id, 16).is_ok_and(|n| format!("{n:x}") == id) => {
            add("cluster");
        }
        Some(id) => add(&format!("cluster={id:?}")),
    }
    if let Some(allow) = head.header("Allow") {
        add(&format!("Allow={allow}"));
    }
    let cors = [
        ("Access-Control-Allow-Headers", "accept, content-type, authorization"),
        ("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"),
        ("Access-Control-Allow-Origin", "*"),
    ];
    if cors.iter().any(|(name, value)| head.header(name) != Some(value)) {
        add("no-cors");
    }
    line
}

/// Every header that a handler decides on, one on a line, in alphabetical order.
pub fn all_headers(head: &Head, base: &Base) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in &head.headers {
        let value = match name.as_str() {
            "Connection" | "Vary" | "X-Content-Type-Options" => continue,
            "Date" if value.ends_with(" GMT") => "<date>".into(),
            "X-Etcd-Cluster-Id" => "<cluster>".into(),
            "X-Etcd-Index" => relative_text(value, base),
            "X-Raft-Index" | "X-Raft-Term" => "<number>".into(),
            "Content-Length" if value != "0" => "<length>".into(), // it follows from the indexes
            _ => value.clone(),
        };
        lines.push(format!("{name}: {value}"));
    }
    lines.sort();
    lines
}

/// A body or a piece of one, as lines that have no blank one among them.
pub fn body(bytes: &[u8], base: &Base, names: &Names, asked: &Asked) -> String {
    if bytes.is_empty() {
        return "(empty)".into();
    }
    let text = literals(&printable(bytes), names);
    let (text, end) = match text.strip_suffix('\n') {
        Some(text) => (text, ""),
        None => (text.as_str(), "\n(no newline at the end)"),
    };
    let lines = text.split('\n').map(|line| match Json::parse(line) {
        Some(json) if !matches!(json, Json::Scalar(_)) => {
            let mut walk = Walk { base, names, asked };
            runs(&walk.value(json).to_string())
        }
        _ if line.is_empty() => "(blank)".into(),
        _ => runs(line),
    });
    lines.collect::<Vec<_>>().join("\n") + end
}

/// UTF-8 as it is, other bytes as `\x..`.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push(c),
                c if c.is_control() => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        out.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    out
}

fn literals(text: &str, names: &Names) -> String {
    names.literals.iter().fold(text.into(), |text: String, (from, to)| text.replace(from, to))
}

/// Writes long repetitions of one character short.
fn runs(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = rest.len() - rest.trim_start_matches(c).len();
        let count = len / c.len_utf8();
        if count >= RUN_LEN_MIN {
            _ = write!(out, "<{c}*{count}>");
        } else {
            out.push_str(&rest[..len]);
        }
        rest = &rest[len..];
    }
    out
}

/// An index: 0 is 0, anything else is relative.
fn relative(index: i64, base: &Base) -> String {
    if index == 0 { "0".into() } else { format!("{:+}", index - base.index) }
}

fn relative_text(index: &str, base: &Base) -> String {
    index.parse().map_or_else(|_| format!("{index:?}"), |index| relative(index, base))
}

struct Walk<'a> {
    base: &'a Base,
    names: &'a Names,
    asked: &'a Asked,
}

impl Walk<'_> {
    fn value(&mut self, value: Json) -> Json {
        match value {
            Json::Object(members) => {
                let whole = Json::Object(members.clone());
                let renamed = members
                    .into_iter()
                    .map(|(name, value)| {
                        let value = self.member(&name, value, &whole);
                        (name, value)
                    })
                    .collect();
                Json::Object(renamed)
            }
            Json::Array(items) => Json::Array(items.into_iter().map(|i| self.value(i)).collect()),
            scalar @ Json::Scalar(_) => scalar,
        }
    }

    fn member(&mut self, name: &str, value: Json, object: &Json) -> Json {
        if let Some(number) = value.as_i64() {
            return Json::Scalar(match name {
                "index" | "modifiedIndex" | "createdIndex" => relative(number, self.base),
                "ttl" => self.ttl(number).to_string(),
                "getsFail" if self.asked.stats => "\"<not compared>\"".into(),
                _ if self.asked.stats => {
                    format!("{:+}", number - self.base.stats.get(name).unwrap_or(&0))
                }
                _ => number.to_string(),
            });
        }
        if let Some(text) = value.as_str() {
            return match name {
                "expiration" => Json::string(&self.expiration(text, object)),
                "startTime" if is_time(text) => Json::string("<time>"),
                "uptime" if text.ends_with('s') => Json::string("<duration>"),
                "key" => Json::string(&self.key_names(text)),
                "cause" => Json::string(&self.cause(text)),
                "name" if text == self.names.member_name => Json::string("<name>"),
                _ => value,
            };
        }
        match (name, self.value(value)) {
            ("nodes", Json::Array(mut nodes)) if !self.asked.sorted => {
                nodes.sort_by_key(|node| {
                    node.get("key").and_then(Json::as_str).unwrap_or_default().to_owned()
                });
                Json::Array(nodes)
            }
            // In the order of ids, which are made from the time.
            ("members", Json::Array(mut members)) => {
                members.sort_by_key(|member| member.get("peerURLs").map(ToString::to_string));
                Json::Array(members)
            }
            (_, value) => value,
        }
    }

    /// The ttl that was asked for, if `left` may be what has remained of it.
    fn ttl(&self, left: i64) -> i64 {
        let may_be = |asked: &&i64| (left..=left + self.asked.elapsed).contains(*asked);
        self.asked.ttls.iter().filter(may_be).min().copied().unwrap_or(left)
    }

    /// `<time>`, if it is a time in UTC, as far away as the ttl beside it says. Without a ttl it
    /// must have passed.
    fn expiration(&self, text: &str, node: &Json) -> String {
        let ttl = node.get("ttl").and_then(Json::as_i64).unwrap_or(0);
        if !is_time(text) {
            return format!("{text} is not RFC 3339 in UTC");
        }
        let time: jiff::Timestamp = text.parse().expect("it was looked at");
        let left = time.as_duration().as_secs_f64() - unix_seconds();
        let slowest = (ttl - 2 - self.asked.elapsed) as f64;
        if left < slowest || left > (ttl + 2) as f64 {
            return format!("{text} is {left:.1} s away, not {ttl} s");
        }
        "<time>".into()
    }

    /// Names that POST made.
    fn key_names(&self, key: &str) -> String {
        let parts = key.split('/').map(|part| match part.parse::<i64>() {
            Ok(number) if part.len() == 20 => format!("<key{:+}>", number - self.base.index),
            _ => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// A cause that compares indexes; values may have been compared before them.
    fn cause(&self, cause: &str) -> String {
        if self.asked.compared == Compared::Values || !cause.ends_with(']') {
            return self.key_names(cause);
        }
        let at = cause.rfind('[').unwrap_or(0);
        let Some((given, actual)) = cause[at + 1..cause.len() - 1].split_once(" != ") else {
            return cause.into();
        };
        let Ok(actual) = actual.parse::<i64>() else { return cause.into() };
        let given = match given.parse::<i64>() {
            Ok(given) if self.asked.compared == Compared::RelativeIndex => {
                format!("<{}>", relative(given, self.base))
            }
            _ => given.to_owned(),
        };
        format!("{}[{given} != <{}>]", &cause[..at], relative(actual, self.base))
    }
}

/// RFC 3339 in UTC, with at most nanoseconds, as JSON in Go writes it.
fn is_time(text: &str) -> bool {
    text.ends_with('Z') && text.contains('T') && text.parse::<jiff::Timestamp>().is_ok()
}
