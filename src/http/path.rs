//! Paths as Go's `net/http` treats them: decoded once, redirected to their clean form, and written back
//! with what must be escaped. A path is bytes: what it decodes to need not be UTF-8.

use std::borrow::Cow;

use crate::storage::mvcc::watch::DEPTH_MAX;

/// The most components that a path may have: a tree that deep is answered by recursion.
pub const COMPONENTS_MAX: usize = DEPTH_MAX;

/// A path escape that is no escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEscape;

/// Decodes `%xx`. A plus is a plus here.
pub fn decode(raw: &[u8]) -> Result<Cow<'_, [u8]>, BadEscape> {
    let Some(first) = raw.iter().position(|&b| b == b'%') else { return Ok(Cow::Borrowed(raw)) };
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        rest = if byte == b'%' {
            let (digits, tail) = tail.split_first_chunk::<2>().ok_or(BadEscape)?;
            out.push(hex_pair(*digits).ok_or(BadEscape)?);
            tail
        } else {
            out.push(byte);
            tail
        };
    }
    Ok(Cow::Owned(out))
}

/// The byte that two hex digits stand for.
pub fn hex_pair([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Whether the path is what [`clean`] would make of it.
pub fn is_clean(path: &[u8]) -> bool {
    let Some((b'/', mut rest)) = path.split_first() else { return false };
    loop {
        let Some(slash) = rest.iter().position(|&b| b == b'/') else {
            return !matches!(rest, b"." | b"..");
        };
        if matches!(&rest[..slash], b"" | b"." | b"..") {
            return false;
        }
        rest = &rest[slash + 1..];
    }
}

/// The path without empty, `.` and `..` components; a trailing slash stays.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => _ = kept.pop(),
            _ => kept.push(part),
        }
    }
    let mut out = Vec::with_capacity(path.len() + 1);
    for part in &kept {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if kept.is_empty() || path.ends_with(b"/") {
        out.push(b'/');
    }
    out
}

/// Escapes a path for a `Location`, as Go's `url.URL` does.
pub fn encode(path: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// Whether a path with `more` components after it goes deeper than [`COMPONENTS_MAX`].
pub fn is_too_deep(path: &[u8], more: usize) -> bool {
    let components = path.split(|&b| b == b'/').skip(1).filter(|part| !part.is_empty()).count();
    components + more > COMPONENTS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mvcc::watch::is_tree_key;

    #[test]
    fn decoding() {
        for (raw, expected) in [
            ("/a", Ok(&b"/a"[..])),
            ("/a%20b+c%2fd", Ok(b"/a b+c/d")),
            ("/%ff%00", Ok(b"/\xff\0")),
            ("/%252F", Ok(b"/%2F")),
            ("/%zz", Err(BadEscape)),
            ("/%2", Err(BadEscape)),
            ("/%", Err(BadEscape)),
            ("/%+1", Err(BadEscape)),
        ] {
            assert_eq!(decode(raw.as_bytes()).as_deref().map_err(|e| *e), expected, "{raw}");
        }
    }

    #[test]
    fn cleaning_is_what_etcd_redirects_to() {
        for (path, expected) in [
            ("/v2/keys//a", "/v2/keys/a"),
            ("/v2/keys/./a", "/v2/keys/a"),
            ("/v2/keys/../a", "/v2/a"),
            ("/v2/keys/a//", "/v2/keys/a/"),
            ("/v2/keys/.", "/v2/keys"),
            ("/v2/keys/..", "/v2"),
            ("/v2/keys/a/..", "/v2/keys"),
            ("/v2/keys/../../../x", "/x"),
            ("/v2/keys/../../..", "/"),
            ("//", "/"),
            ("/", "/"),
            ("/a/", "/a/"),
            ("/a/b.c/...", "/a/b.c/..."),
        ] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
            assert_eq!(is_clean(path.as_bytes()), path == expected, "{path}");
        }
        assert!(!is_clean(b"*"));
        assert!(!is_clean(b""));
    }

    #[test]
    fn escaping_is_what_etcd_redirects_to() {
        for (path, expected) in [
            (&b"/<x>/y \""[..], "/%3Cx%3E/y%20%22"),
            (b"/a;b/\xe9?#", "/a;b/%E9%3F%23"),
            (b"/!'()*", "/%21%27%28%29%2A"),
        ] {
            assert_eq!(encode(path), expected);
        }
    }

    #[test]
    fn depth() {
        let deepest = "/a".repeat(COMPONENTS_MAX);
        assert!(!is_too_deep(deepest.as_bytes(), 0) && is_tree_key(deepest.as_bytes()));
        assert!(is_too_deep(deepest.as_bytes(), 1), "a name in it");
        let deeper = "/a".repeat(COMPONENTS_MAX + 1);
        assert!(is_too_deep(deeper.as_bytes(), 0) && !is_tree_key(deeper.as_bytes()));
        assert!(!is_too_deep(b"/", COMPONENTS_MAX) && is_too_deep(b"/", COMPONENTS_MAX + 1));
    }
}
