//! The `Content-Type` of a request, judged as Go's `mime.ParseMediaType` does: a form is read, another
//! type is ignored, and what is no type at all is an error.

use std::collections::BTreeSet;

/// What is wrong with a media type; the texts are Go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaTypeError {
    /// Nothing before the first separator.
    #[error("mime: no media type")]
    NoType,
    /// A second word instead of a subtype.
    #[error("mime: expected slash after first token")]
    NoSlash,
    /// Nothing behind the slash.
    #[error("mime: expected token after slash")]
    NoSubtype,
    /// More behind the subtype.
    #[error("mime: unexpected content after media subtype")]
    Trailing,
    /// A parameter that is none.
    #[error("mime: invalid media parameter")]
    Parameter,
    /// A parameter that is there twice.
    #[error("mime: duplicate parameter name")]
    Duplicate,
}

/// Whether a body of this type is a form. Without a type it is not.
pub fn is_form(value: &[u8]) -> Result<bool, MediaTypeError> {
    if value == b"application/x-www-form-urlencoded" {
        return Ok(true); // what nearly everyone sends
    }
    let value = value.trim_ascii();
    if value.is_empty() {
        return Ok(false);
    }
    let end = value.iter().position(|&b| b == b';').unwrap_or(value.len());
    let media_type = value[..end].trim_ascii();
    check_type(media_type)?;
    check_parameters(&value[end..])?;
    Ok(media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded"))
}

fn check_type(text: &[u8]) -> Result<(), MediaTypeError> {
    let (kind, rest) = token(text);
    if kind.is_empty() {
        return Err(MediaTypeError::NoType);
    }
    if rest.is_empty() {
        return Ok(());
    }
    let rest = rest.strip_prefix(b"/").ok_or(MediaTypeError::NoSlash)?;
    let (subtype, rest) = token(rest);
    if subtype.is_empty() {
        return Err(MediaTypeError::NoSubtype);
    }
    if rest.is_empty() { Ok(()) } else { Err(MediaTypeError::Trailing) }
}

fn check_parameters(mut rest: &[u8]) -> Result<(), MediaTypeError> {
    let mut seen = BTreeSet::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(());
        }
        let Some((name, after)) = parameter(rest) else {
            // A semicolon at the end is nothing.
            let ends = rest.trim_ascii() == b";";
            return if ends { Ok(()) } else { Err(MediaTypeError::Parameter) };
        };
        if !seen.insert(name) {
            return Err(MediaTypeError::Duplicate);
        }
        rest = after;
    }
}

/// `; name=value`: its lower-case name, and what follows.
fn parameter(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let rest = text.strip_prefix(b";")?.trim_ascii_start();
    let (name, rest) = token(rest);
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    Some((name.to_ascii_lowercase(), after_value(rest)?))
}

/// What follows a token or a quoted string.
fn after_value(text: &[u8]) -> Option<&[u8]> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let (value, rest) = token(text);
        return (!value.is_empty()).then_some(rest);
    };
    let mut at = 0;
    loop {
        match quoted.get(at)? {
            b'"' => return Some(&quoted[at + 1..]),
            b'\\' if quoted.get(at + 1).is_some_and(|&b| is_special(b)) => at += 2,
            b'\r' | b'\n' => return None,
            _ => at += 1,
        }
    }
}

fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |&b: &u8| b > b' ' && b < 0x7f && !is_special(b);
    let end = text.iter().position(|b| !is_token(b)).unwrap_or(text.len());
    text.split_at(end)
}

fn is_special(byte: u8) -> bool {
    b"()<>@,;:\\\"/[]?=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        use MediaTypeError::{Duplicate, NoSlash, NoSubtype, NoType, Parameter, Trailing};
        for (value, expected) in [
            ("application/x-www-form-urlencoded", Ok(true)),
            ("APPLICATION/x-www-form-urlencoded; Charset=x", Ok(true)),
            (" application/x-www-form-urlencoded ; a=\"b\\\"c;\" ; ", Ok(true)),
            ("", Ok(false)),
            ("text/plain; ", Ok(false)),
            ("multipart/form-data", Ok(false)),
            ("text", Ok(false)),
            (";", Err(NoType)),
            ("a b", Err(NoSlash)),
            ("a/", Err(NoSubtype)),
            ("a/b c", Err(Trailing)),
            ("application/x-www-form-urlencoded; charset=\"", Err(Parameter)),
            ("text/plain; a", Err(Parameter)),
            ("text/plain; a=", Err(Parameter)),
            ("text/plain; a=1; A=2", Err(Duplicate)),
        ] {
            assert_eq!(is_form(value.as_bytes()), expected, "{value}");
        }
    }
}
