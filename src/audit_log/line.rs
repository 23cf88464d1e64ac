//! An event as a line of JSON. What is not there is left out; a key that is not UTF-8 is told in base64,
//! under another name.

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::deed::{Deed, PARTS_MAX, Part};
use crate::types::UnixNanos;

/// A change or a refusal.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// When it was over.
    pub time: UnixNanos,
    /// Through which door.
    pub door: &'a str,
    /// The user; empty: nobody said who it is, or nobody must.
    pub user: &'a str,
    /// The common name of the client's certificate, if it showed one.
    pub certificate: Option<&'a str>,
    /// From where.
    pub remote: Option<SocketAddr>,
    /// What.
    pub deed: &'a Deed,
    /// For a transaction: whether its compares held, if that is known.
    pub succeeded: Option<bool>,
    /// `ok`, or the code of an error.
    pub result: &'a str,
    /// The store's revision, as the client was told.
    pub revision: Option<u64>,
}

impl Default for Event<'_> {
    fn default() -> Self {
        static NONE: Deed = Deed {
            op: "",
            told: false,
            keys: None,
            about: Vec::new(),
            parts: Vec::new(),
            otherwise: Vec::new(),
        };
        Event {
            time: UnixNanos(0),
            door: "",
            user: "",
            certificate: None,
            remote: None,
            deed: &NONE,
            succeeded: None,
            result: "",
            revision: None,
        }
    }
}

/// The line, with its end.
pub fn encode(event: &Event<'_>) -> Vec<u8> {
    let mut line = Object(Vec::with_capacity(256));
    line.text("time", &rfc3339(event.time));
    line.text("door", event.door);
    line.text("user", event.user);
    if let Some(name) = event.certificate {
        line.text("certificate", name);
    }
    if let Some(remote) = event.remote {
        line.text("remote", &remote.to_string());
    }
    line.text("op", event.deed.op);
    if let Some(keys) = &event.deed.keys {
        line.keys(keys);
    }
    for (name, what) in &event.deed.about {
        line.text(name, what);
    }
    let lists = [(&event.deed.parts, true), (&event.deed.otherwise, false)];
    let parts: Vec<&Part> = lists
        .iter()
        .filter(|(_, held)| event.succeeded.is_none_or(|succeeded| succeeded == *held))
        .flat_map(|(parts, _)| parts.iter())
        .collect();
    if let Some(succeeded) = event.succeeded {
        line.raw("succeeded", if succeeded { "true" } else { "false" });
    }
    if !parts.is_empty() {
        line.name("writes");
        line.0.push(b'[');
        for (at, part) in parts.iter().take(PARTS_MAX).enumerate() {
            if at > 0 {
                line.0.push(b',');
            }
            let mut inner = Object(Vec::new());
            inner.text("op", part.op);
            inner.keys(part);
            line.0.extend(inner.closed());
        }
        line.0.push(b']');
        if parts.len() > PARTS_MAX {
            line.raw("writes_left_out", &(parts.len() - PARTS_MAX).to_string());
        }
    }
    line.text("result", event.result);
    if let Some(revision) = event.revision {
        line.raw("revision", &revision.to_string());
    }
    line.ended()
}

/// The line that tells how many are missing before it.
pub fn lost(time: UnixNanos, lines: u64) -> Vec<u8> {
    let mut line = Object(Vec::new());
    line.text("time", &rfc3339(time));
    line.text("op", "lines-lost");
    line.raw("lost", &lines.to_string());
    line.ended()
}

fn rfc3339(UnixNanos(nanos): UnixNanos) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A JSON object that is being written.
struct Object(Vec<u8>);

impl Object {
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.string(name);
        self.0.push(b':');
    }

    fn string(&mut self, text: &str) {
        // Writing to memory does not fail.
        _ = serde_json::to_writer(&mut self.0, text);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.string(text);
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn bytes(&mut self, name: &str, name_base64: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(name, text),
            Err(_) => self.text(name_base64, &STANDARD.encode(bytes)),
        }
    }

    fn keys(&mut self, part: &Part) {
        self.bytes("key", "key_base64", &part.key);
        if part.key_bytes > part.key.len() {
            self.raw("key_bytes", &part.key_bytes.to_string());
        }
        if !part.range_end.is_empty() {
            self.bytes("range_end", "range_end_base64", &part.range_end);
        }
    }

    fn closed(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    fn ended(self) -> Vec<u8> {
        let mut line = self.closed();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(event: &Event<'_>) -> String {
        String::from_utf8(encode(event)).unwrap()
    }

    #[test]
    fn lines_look_like_this() {
        let deed = Deed::of("put").key(b"/a \"b\"\n\x01\xc3\xa4");
        let event = Event {
            time: UnixNanos(1_700_000_000_123_456_789),
            door: "grpc",
            user: "ann",
            remote: Some("192.0.2.1:4000".parse().unwrap()),
            deed: &deed,
            result: "ok",
            revision: Some(7),
            ..Event::default()
        };
        assert_eq!(
            encoded(&event),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.123456Z","door":"grpc","user":"ann","remote":"192.0.2.1:4000","#,
                r#""op":"put","key":"/a \"b\"\n\u0001ä","result":"ok","revision":7}"#,
                "\n"
            )
        );
        let deed = Deed::of("delete").range(b"\xff", b"\xff\xff").about("user", "x");
        let event = Event { certificate: Some("cn"), deed: &deed, result: "Unknown", ..event };
        assert!(
            encoded(&event).contains(
                r#""certificate":"cn","remote":"192.0.2.1:4000","op":"delete","key_base64":"/w==","range_end_base64":"//8=","user":"x""#
            ),
            "{}",
            encoded(&event)
        );
        assert_eq!(
            String::from_utf8(lost(UnixNanos(0), 3)).unwrap(),
            "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"op\":\"lines-lost\",\"lost\":3}\n"
        );
    }

    #[test]
    fn of_a_transaction_the_branch_that_was_taken_is_told() {
        let mut deed = Deed::of("txn");
        deed.parts = (0..40).map(|_| Part::new("put", b"a", b"")).collect();
        deed.otherwise = vec![Part::new("delete", b"b", b"c")];
        let event = Event { deed: &deed, succeeded: Some(false), ..Event::default() };
        let text = encoded(&event);
        assert!(
            text.contains(
                r#""succeeded":false,"writes":[{"op":"delete","key":"b","range_end":"c"}],"result""#
            ),
            "{text}"
        );
        let text = encoded(&Event { succeeded: Some(true), ..event.clone() });
        assert!(text.contains(r#""writes_left_out":8"#) && !text.contains("delete"), "{text}");
        let text = encoded(&Event { succeeded: None, ..event });
        assert!(text.contains(r#""writes_left_out":9"#), "{text}");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["writes"].as_array().unwrap().len(), PARTS_MAX);
    }
}
