//! Many keys: all that begin with a prefix, as JSON, page by page; and their deletion.

use actix_http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Asked, Refused, keys::tell_revision};
use crate::http::{
    answer::{self, Answer},
    json,
    v3::pb::{
        Fields, KeyValue,
        etcdserverpb::{DeleteRangeRequest, RangeRequest},
    },
};

/// A page that is so long ends, however many keys were asked for.
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Asked {
    /// The keys in order: `{"revision":…,"keys":[{…}],"next":"/kv?…"}`. `next` is there if there are more:
    /// the page that follows, as of the same revision.
    pub(super) async fn list(self) -> Result<Answer, Refused> {
        self.params.only(&[
            "prefix",
            "limit",
            "after",
            "keys_only",
            "rev",
            "serializable",
            "wait",
        ])?;
        self.refuse_conditions()?;
        let (mut key, range_end) = self.range();
        if let Some(after) = &self.params.after {
            let behind: Vec<u8> = after.iter().copied().chain([0]).collect();
            key = key.max(behind);
        }
        let request = RangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            limit: self.params.limit,
            revision: self.params.rev,
            serializable: self.params.serializable,
            keys_only: self.params.keys_only,
            ..RangeRequest::default()
        };
        let range = self.services.range(&self.caller, request).await?;
        let now = range.header.as_ref().map_or(0, |header| header.revision);
        let revision = if self.params.rev > 0 { self.params.rev } else { now };

        let mut body = br#"{"revision":"#.to_vec();
        json::push_i64(&mut body, revision);
        body.extend_from_slice(br#","keys":["#);
        let mut written = 0;
        for found in &range.kvs {
            if written > 0 {
                body.push(b',');
            }
            body.push(b'{');
            push_key_value(&mut body, &found.fields(), !self.params.keys_only);
            body.push(b'}');
            written += 1;
            if body.len() >= PAGE_BYTES_MAX {
                break;
            }
        }
        body.push(b']');
        if (range.more || written < range.kvs.len())
            && let Some(last) = range.kvs[..written].last()
        {
            // Nothing in it needs an escape: a shell finds it with sed.
            body.extend_from_slice(br#","next":""#);
            body.extend_from_slice(self.next_page(last, revision).as_bytes());
            body.push(b'"');
        }
        body.extend_from_slice(b"}\n");
        let mut answer = answer::json(StatusCode::OK, body);
        tell_revision(&mut answer, range.header.as_ref());
        Ok(answer)
    }

    fn next_page(&self, last: &KeyValue, revision: i64) -> String {
        let (key, after) = (escaped(&self.key), escaped(last.key()));
        let limit = self.params.limit;
        let mut next = format!("/kv?key={key}&prefix&after={after}&rev={revision}&limit={limit}");
        if self.params.keys_only {
            next.push_str("&keys_only");
        }
        if self.params.serializable {
            next.push_str("&serializable");
        }
        next
    }

    /// Deletes all that begin with the prefix, and tells how many they were.
    pub(super) async fn delete_all(self) -> Result<Answer, Refused> {
        self.params.only(&["prefix"])?;
        self.refuse_conditions()?;
        let (key, range_end) = self.range();
        let request = DeleteRangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..DeleteRangeRequest::default()
        };
        let deleted = self.services.delete_range(&self.caller, request).await?;
        let revision = deleted.header.as_ref().map_or(0, |header| header.revision);
        let body = format!("{{\"revision\":{revision},\"deleted\":{}}}\n", deleted.deleted);
        let mut answer = answer::json(StatusCode::OK, body);
        tell_revision(&mut answer, deleted.header.as_ref());
        Ok(answer)
    }

    /// Conditions are about one key.
    pub(super) fn refuse_conditions(&self) -> Result<(), Refused> {
        if self.conditions.is_empty() {
            return Ok(());
        }
        Err(Refused::bad("If-Match and If-None-Match mean nothing here"))
    }
}

/// What is known of a key, as the inside of a JSON object. The key is percent-encoded, as in a path; the
/// lease is a string, as it may be larger than JavaScript's numbers.
pub(super) fn push_key_value(out: &mut Vec<u8>, found: &Fields<'_>, with_value: bool) {
    out.extend_from_slice(br#""key":"#);
    json::push_string(out, escaped(found.key).as_bytes());
    for (name, number) in [
        ("create_revision", found.create_revision),
        ("mod_revision", found.mod_revision),
        ("version", found.version),
    ] {
        if number != 0 {
            out.extend_from_slice(format!(",\"{name}\":{number}").as_bytes());
        }
    }
    if found.lease != 0 {
        out.extend_from_slice(format!(",\"lease\":\"{}\"", found.lease).as_bytes());
    }
    if with_value {
        out.extend_from_slice(br#","value":""#);
        out.extend_from_slice(STANDARD.encode(found.value).as_bytes());
        out.push(b'"');
    }
}

/// Percent-encoded, so that it can stand in a path and in a query.
fn escaped(key: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(key.len());
    for &byte in key {
        if byte.is_ascii_alphanumeric() || b"-_.~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_as_json() {
        let key = Fields {
            key: b"/a b+\xff\"",
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            value: b"\0x",
            lease: i64::MAX,
        };
        let mut out = Vec::new();
        push_key_value(&mut out, &key, true);
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#""key":"/a%20b%2B%FF%22","create_revision":2,"mod_revision":3,"version":2,"lease":"9223372036854775807","value":"AHg=""#,
        );
        out.clear();
        let deleted = Fields { create_revision: 0, version: 0, lease: 0, value: b"", ..key };
        push_key_value(&mut out, &deleted, false);
        assert_eq!(out, br#""key":"/a%20b%2B%FF%22","mod_revision":3"#);
    }
}
