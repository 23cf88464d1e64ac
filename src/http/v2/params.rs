//! What a request to `/v2/keys` asks for, checked in etcd's order.

use std::borrow::Cow;

use super::{
    error::{RequestCode, V2Error},
    form::{Field, Form},
};

/// The parameters of one request.
#[allow(clippy::struct_excessive_bools, reason = "they are etcd's parameters, each its own switch")]
#[derive(Debug, Default, PartialEq)]
pub struct Params<'a> {
    /// `value`; none is an empty one.
    pub value: Cow<'a, [u8]>,
    /// `ttl` in seconds; an empty one is none.
    pub ttl: Option<u64>,
    /// `prevExist`
    pub prev_exist: Option<bool>,
    /// `prevIndex`; 0 is none.
    pub prev_index: u64,
    /// `prevValue`; empty is none.
    pub prev_value: Cow<'a, [u8]>,
    /// `dir`
    pub dir: bool,
    /// `wait`
    pub wait: bool,
    /// `waitIndex`; 0 is none.
    pub wait_index: u64,
    /// `recursive`
    pub recursive: bool,
    /// `quorum`
    pub quorum: bool,
    /// `stream`
    pub stream: bool,
    /// `refresh`
    pub refresh: bool,
    /// `noValueOnSuccess`
    pub no_value_on_success: bool,
}

impl<'a> Params<'a> {
    /// Reads the query of a request and, for PUT and POST, its form, which wins. `is_get`: `wait` goes
    /// with GET alone.
    pub fn parse(query: &'a str, body: &'a [u8], is_get: bool) -> Result<Params<'a>, V2Error> {
        if query.is_empty() && body.is_empty() {
            return Ok(Params::default());
        }
        let mut form = Form::default();
        let of_body = form.add(body);
        of_body
            .and(form.add(query.as_bytes()))
            .map_err(|error| refused(RequestCode::InvalidForm, error.to_string()))?;
        Params::check(form, is_get)
    }

    fn check(mut form: Form<'a>, is_get: bool) -> Result<Params<'a>, V2Error> {
        let prev_index = index(&form, Field::PrevIndex)?;
        let wait_index = index(&form, Field::WaitIndex)?;
        let recursive = flag(&form, Field::Recursive)?;
        flag(&form, Field::Sorted)?; // listings are always sorted
        let wait = flag(&form, Field::Wait)?;
        let dir = flag(&form, Field::Dir)?;
        let quorum = flag(&form, Field::Quorum)?;
        let stream = flag(&form, Field::Stream)?;
        if wait && !is_get {
            let cause = r#""wait" can only be used with GET requests"#.to_owned();
            return Err(refused(RequestCode::InvalidField, cause));
        }
        let prev_value = form.take(Field::PrevValue);
        if prev_value.as_deref().is_some_and(<[u8]>::is_empty) {
            let cause = r#""prevValue" cannot be empty"#.to_owned();
            return Err(refused(RequestCode::PrevValueRequired, cause));
        }
        let no_value_on_success = flag(&form, Field::NoValueOnSuccess)?;
        let ttl = match form.get(Field::Ttl).filter(|text| !text.is_empty()) {
            Some(text) => Some(
                parse_u64(text).ok_or_else(|| invalid_value(RequestCode::TtlNaN, Field::Ttl))?,
            ),
            None => None,
        };
        let prev_exist = bare_flag(&form, Field::PrevExist)?;
        let refresh = bare_flag(&form, Field::Refresh)?.unwrap_or(false);
        let value = form.take(Field::Value).unwrap_or_default();
        if refresh && !value.is_empty() {
            let cause = "A value was provided on a refresh".to_owned();
            return Err(refused(RequestCode::RefreshValue, cause));
        }
        if refresh && ttl.is_none() {
            return Err(refused(RequestCode::RefreshTtlRequired, "No TTL value set".to_owned()));
        }
        Ok(Params {
            value,
            ttl,
            prev_exist,
            prev_index,
            prev_value: prev_value.unwrap_or_default(),
            dir,
            wait,
            wait_index,
            recursive,
            quorum,
            stream,
            refresh,
            no_value_on_success,
        })
    }
}

/// A request that breaks a rule.
pub fn refused(code: RequestCode, cause: String) -> V2Error {
    V2Error::Request { code, cause }
}

fn invalid_value(code: RequestCode, field: Field) -> V2Error {
    refused(code, format!("invalid value for \"{}\"", field.name()))
}

fn index(form: &Form<'_>, field: Field) -> Result<u64, V2Error> {
    let Some(text) = form.get(field) else { return Ok(0) };
    parse_u64(text).ok_or_else(|| invalid_value(RequestCode::IndexNaN, field))
}

fn flag(form: &Form<'_>, field: Field) -> Result<bool, V2Error> {
    let Some(text) = form.get(field) else { return Ok(false) };
    parse_bool(text).ok_or_else(|| invalid_value(RequestCode::InvalidField, field))
}

/// A flag that may be absent; etcd writes its name without quotes.
fn bare_flag(form: &Form<'_>, field: Field) -> Result<Option<bool>, V2Error> {
    let Some(text) = form.get(field) else { return Ok(None) };
    let value = parse_bool(text).ok_or_else(|| {
        refused(RequestCode::InvalidField, format!("invalid value for {}", field.name()))
    })?;
    Ok(Some(value))
}

/// As Go's `strconv.ParseBool`.
fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Some(false),
        _ => None,
    }
}

/// As Go's `strconv.ParseUint(…, 10, 64)`: digits and nothing else.
fn parse_u64(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str, body: &str, is_get: bool) -> Option<(u16, String)> {
        match Params::parse(query, body.as_bytes(), is_get) {
            Ok(_) => None,
            Err(V2Error::Request { code, cause }) => Some((code as u16, cause)),
            Err(other) => panic!("not a refused request: {other:?}"),
        }
    }

    #[test]
    fn what_is_refused_and_why() {
        for (query, code, cause) in [
            ("recursive=", 209, r#"invalid value for "recursive""#),
            ("recursive=yes", 209, r#"invalid value for "recursive""#),
            ("sorted=TrUe", 209, r#"invalid value for "sorted""#),
            ("wait=2", 209, r#"invalid value for "wait""#),
            ("dir=x", 209, r#"invalid value for "dir""#),
            ("quorum=x", 209, r#"invalid value for "quorum""#),
            ("stream=x", 209, r#"invalid value for "stream""#),
            ("noValueOnSuccess=x", 209, r#"invalid value for "noValueOnSuccess""#),
            ("prevExist=", 209, "invalid value for prevExist"),
            ("refresh=x", 209, "invalid value for refresh"),
            ("prevIndex=x", 203, r#"invalid value for "prevIndex""#),
            ("prevIndex=", 203, r#"invalid value for "prevIndex""#),
            ("prevIndex=%2B1", 203, r#"invalid value for "prevIndex""#),
            ("waitIndex=-1", 203, r#"invalid value for "waitIndex""#),
            ("waitIndex=18446744073709551616", 203, r#"invalid value for "waitIndex""#),
            ("prevValue=", 201, r#""prevValue" cannot be empty"#),
            ("ttl=5s", 202, r#"invalid value for "ttl""#),
            ("ttl=+5", 202, r#"invalid value for "ttl""#),
            ("refresh=true", 212, "No TTL value set"),
            ("refresh=true&value=x", 211, "A value was provided on a refresh"),
            ("a;b", 210, "invalid semicolon separator in query"),
            // Order: each beats all that follow it.
            ("refresh=x&prevExist=x", 209, "invalid value for prevExist"),
            ("prevExist=x&ttl=x", 202, r#"invalid value for "ttl""#),
            ("ttl=x&noValueOnSuccess=x", 209, r#"invalid value for "noValueOnSuccess""#),
            ("noValueOnSuccess=x&prevValue=", 201, r#""prevValue" cannot be empty"#),
            ("stream=x&quorum=x", 209, r#"invalid value for "quorum""#),
            ("wait=x&sorted=x", 209, r#"invalid value for "sorted""#),
            ("recursive=x&waitIndex=x", 203, r#"invalid value for "waitIndex""#),
            ("waitIndex=x&prevIndex=x", 203, r#"invalid value for "prevIndex""#),
            ("prevIndex=x&%", 210, r#"invalid URL escape "%""#),
        ] {
            assert_eq!(refusal(query, "", true), Some((code, cause.to_owned())), "{query}");
        }
        let wait = Some((209, r#""wait" can only be used with GET requests"#.to_owned()));
        assert_eq!(refusal("wait=true&prevValue=", "", false), wait);
        assert_eq!(refusal("wait=true", "", true), None);
        let body_first = Some((210, r#"invalid URL escape "%2""#.to_owned()));
        assert_eq!(refusal("x=%z", "value=%2", false), body_first);
    }

    #[test]
    fn what_is_understood() {
        let params = Params::parse(
            "value=q&ttl=9&prevIndex=007&recursive=T",
            b"value=b&ttl=&prevExist=0&prevValue=%ff",
            false,
        );
        let expected = Params {
            value: Cow::Borrowed(b"b"),
            prev_exist: Some(false),
            prev_index: 7,
            prev_value: Cow::Borrowed(b"\xff"),
            recursive: true,
            ..Params::default()
        };
        assert_eq!(params, Ok(expected));
        let refresh = Params::parse("refresh=1&ttl=0&value=", b"", false).expect("it is right");
        assert_eq!((refresh.refresh, refresh.ttl), (true, Some(0)));
    }
}
