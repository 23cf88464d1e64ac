//! Query strings and form bodies as Go's `net/url` reads them. Only the parameters that v2 knows are
//! kept, so memory is bounded by the request however many others there are.

use std::{borrow::Cow, fmt::Write as _};

use crate::http::path::hex_pair;

macro_rules! fields {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// A parameter of `/v2/keys`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = $text] $name,)*
        }

        impl Field {
            const COUNT: usize = [$(Field::$name),*].len();

            /// Its name in a request.
            pub fn name(self) -> &'static str {
                match self { $(Field::$name => $text,)* }
            }

            fn of(name: &[u8]) -> Option<Field> {
                $(if name == $text.as_bytes() { return Some(Field::$name); })*
                None
            }
        }
    };
}

fields! {
    Value = "value",
    Ttl = "ttl",
    PrevExist = "prevExist",
    PrevIndex = "prevIndex",
    PrevValue = "prevValue",
    Dir = "dir",
    Wait = "wait",
    WaitIndex = "waitIndex",
    Recursive = "recursive",
    Sorted = "sorted",
    Quorum = "quorum",
    Stream = "stream",
    Refresh = "refresh",
    NoValueOnSuccess = "noValueOnSuccess",
}

/// Why a query or form could not be read; the texts are Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A `%` without two hex digits behind it; at most three bytes are shown.
    #[error("invalid URL escape {}", quoted(.0))]
    Escape(Vec<u8>),
    /// `;` no longer separates.
    #[error("invalid semicolon separator in query")]
    Semicolon,
}

/// The first value of each known parameter.
#[derive(Debug, Default, PartialEq)]
pub struct Form<'a> {
    values: [Option<Cow<'a, [u8]>>; Field::COUNT],
}

impl<'a> Form<'a> {
    /// The value of a parameter; empty is not none.
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        self.values[field as usize].as_deref()
    }

    /// Takes the value of a parameter out.
    pub fn take(&mut self, field: Field) -> Option<Cow<'a, [u8]>> {
        self.values[field as usize].take()
    }

    /// Adds what `text` says; what is there already wins. All of it is read; of several errors Go
    /// reports the last semicolon, or else the first escape.
    pub fn add(&mut self, text: &'a [u8]) -> Result<(), FormError> {
        let mut problem = None;
        for pair in text.split(|&b| b == b'&') {
            if pair.contains(&b';') {
                problem = Some(FormError::Semicolon);
            } else if !pair.is_empty()
                && let Err(error) = self.add_pair(pair)
            {
                problem.get_or_insert(error);
            }
        }
        problem.map_or(Ok(()), Err)
    }

    fn add_pair(&mut self, pair: &'a [u8]) -> Result<(), FormError> {
        let (name, value) = match pair.iter().position(|&b| b == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        check(name)?;
        check(value)?;
        let known = if name.len() <= 3 * LONGEST_NAME { Field::of(&unescape(name)) } else { None };
        if let Some(field) = known {
            self.values[field as usize].get_or_insert_with(|| unescape(value));
        }
        Ok(())
    }
}

const LONGEST_NAME: usize = "noValueOnSuccess".len();

/// Finds an escape that is none.
fn check(text: &[u8]) -> Result<(), FormError> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        let escape = &rest[at..];
        let shown = &escape[..escape.len().min(3)];
        if shown.len() < 3 || hex_pair([shown[1], shown[2]]).is_none() {
            return Err(FormError::Escape(shown.to_vec()));
        }
        rest = &escape[3..];
    }
    Ok(())
}

/// Decodes checked text: `+` is a space, `%xx` a byte.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = text.iter().position(|b| matches!(b, b'%' | b'+')) else {
        return Cow::Borrowed(text);
    };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let Some((&digits, tail)) = tail.split_first_chunk::<2>() else { break };
                out.push(hex_pair(digits).unwrap_or(b'%'));
                rest = tail;
            }
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// As Go's `strconv.Quote`, for the few bytes that an error shows.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0b' => out.push_str("\\v"),
                c if c.is_ascii_control() => _ = write!(out, "\\x{:02x}", u32::from(c)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(text: &str) -> Result<Option<Vec<u8>>, String> {
        let mut form = Form::default();
        form.add(text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(form.get(Field::Value).map(<[u8]>::to_vec))
    }

    #[test]
    fn values() {
        for (text, expected) in [
            ("", None),
            ("value", Some("")),
            ("value=", Some("")),
            ("value=a&value=b", Some("a")),
            ("x=1&&value=1=2", Some("1=2")),
            ("=x&value=a+b%20c%2B", Some("a b c+")),
            ("%76alue=x", Some("x")),
            ("Value=x", None),
            ("values=x", None),
        ] {
            assert_eq!(value_of(text), Ok(expected.map(|s| s.as_bytes().to_vec())), "{text}");
        }
        assert_eq!(value_of("value=%ff%00"), Ok(Some(vec![0xff, 0])));
    }

    #[test]
    fn errors_have_gos_words() {
        for (text, expected) in [
            ("value=%zz", r#"invalid URL escape "%zz""#),
            ("value=%2", r#"invalid URL escape "%2""#),
            ("x=%", r#"invalid URL escape "%""#),
            ("%=1", r#"invalid URL escape "%""#),
            ("x=%\"\\", r#"invalid URL escape "%\"\\""#),
            ("x=%2\u{e4}", r#"invalid URL escape "%2\xc3""#),
            ("x=%zz&y=%yy", r#"invalid URL escape "%zz""#),
            ("x=%zz&a;b", "invalid semicolon separator in query"),
            ("a;b&x=%zz", "invalid semicolon separator in query"),
        ] {
            assert_eq!(value_of(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_was_added_first_wins_and_plain_values_are_not_copied() {
        let mut form = Form::default();
        form.add(b"value=body").unwrap();
        form.add(b"value=query&ttl=5").unwrap();
        assert_eq!(form.get(Field::Ttl), Some(&b"5"[..]));
        assert!(matches!(form.take(Field::Value), Some(Cow::Borrowed(b"body"))));
    }
}
