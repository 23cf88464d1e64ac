//! What the query of a request to the plain door says. Nothing is guessed: a parameter that is not known,
//! or means nothing for what is asked, is refused.

use std::borrow::Cow;

use super::Refused;
use crate::http::path;

/// Keys in one listing, if the client does not say.
const LIMIT: i64 = 1000;
/// And at most.
const LIMIT_MAX: i64 = 10_000;

/// The parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a parameter")]
pub struct Params {
    /// `key`.
    pub key: Option<Vec<u8>>,
    /// `prefix`: all keys that begin with it.
    pub prefix: bool,
    /// `limit` of a listing.
    pub limit: i64,
    /// `after`: a listing begins behind this key.
    pub after: Option<Vec<u8>>,
    /// `keys_only`: a listing without values.
    pub keys_only: bool,
    /// `rev`: as it was at this revision; 0 is now.
    pub rev: i64,
    /// `serializable`: as this member knows it, maybe late.
    pub serializable: bool,
    /// `lease`: the key goes with it; 0 is none.
    pub lease: i64,
    /// `wait` for a change.
    pub wait: bool,
    /// `since`: changes after this revision.
    pub since: Option<i64>,
    /// `list`: first what is there, then its changes.
    pub list: bool,
    given: Vec<&'static str>,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            key: None,
            prefix: false,
            limit: LIMIT,
            after: None,
            keys_only: false,
            rev: 0,
            serializable: false,
            lease: 0,
            wait: false,
            since: None,
            list: false,
            given: Vec::new(),
        }
    }
}

impl Params {
    /// Reads a query, as it came.
    pub fn parse(query: &str) -> Result<Params, Refused> {
        let mut params = Params::default();
        for pair in query.as_bytes().split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
            let mut parts = pair.splitn(2, |&b| b == b'=');
            let name = decoded(parts.next().unwrap_or_default())?;
            let value = parts.next().map(decoded).transpose()?;
            params.set(&String::from_utf8_lossy(&name), value)?;
        }
        Ok(params)
    }

    fn set(&mut self, name: &str, value: Option<Vec<u8>>) -> Result<(), Refused> {
        let name = match name {
            "key" => {
                self.key = Some(value.unwrap_or_default());
                "key"
            }
            "after" => {
                self.after = Some(value.unwrap_or_default());
                "after"
            }
            "prefix" => flag(&mut self.prefix, "prefix", value)?,
            "keys_only" => flag(&mut self.keys_only, "keys_only", value)?,
            "serializable" => flag(&mut self.serializable, "serializable", value)?,
            "wait" => flag(&mut self.wait, "wait", value)?,
            "list" => flag(&mut self.list, "list", value)?,
            "limit" => {
                self.limit = number("limit", value, 1)?.min(LIMIT_MAX);
                "limit"
            }
            "rev" => {
                self.rev = number("rev", value, 0)?;
                "rev"
            }
            "since" => {
                self.since = Some(number("since", value, 0)?);
                "since"
            }
            "lease" => {
                self.lease = number("lease", value, i64::MIN)?;
                "lease"
            }
            other => return Err(Refused::bad(format!("there is no parameter {other:?}"))),
        };
        if self.given.contains(&name) {
            return Err(Refused::bad(format!("parameter {name} is given twice")));
        }
        self.given.push(name);
        Ok(())
    }

    /// Refuses all parameters but these, and `key`.
    pub fn only(&self, names: &[&str]) -> Result<(), Refused> {
        match self.given.iter().find(|name| **name != "key" && !names.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Refused::bad(format!("parameter {name} means nothing here"))),
        }
    }
}

/// In a query a plus is a space.
fn decoded(raw: &[u8]) -> Result<Vec<u8>, Refused> {
    let spaced: Cow<'_, [u8]> = if raw.contains(&b'+') {
        raw.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect()
    } else {
        Cow::Borrowed(raw)
    };
    let decoded = path::decode(&spaced).map(Cow::into_owned);
    decoded.map_err(|_| Refused::bad("a % in the query has no two hex digits behind it"))
}

fn flag(
    flag: &mut bool,
    name: &'static str,
    value: Option<Vec<u8>>,
) -> Result<&'static str, Refused> {
    *flag = match value.as_deref() {
        None | Some(b"" | b"true" | b"1") => true,
        Some(b"false" | b"0") => false,
        Some(_) => return Err(Refused::bad(format!("parameter {name} is true or false"))),
    };
    Ok(name)
}

fn number(name: &'static str, value: Option<Vec<u8>>, min: i64) -> Result<i64, Refused> {
    let text = value.unwrap_or_default();
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    number
        .filter(|number| *number >= min)
        .ok_or_else(|| Refused::bad(format!("parameter {name} is no number that it can be")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        let parsed = |query| Params::parse(query).unwrap_or_else(|e| panic!("{query}: {e:?}"));
        assert_eq!(parsed(""), Params::default());
        assert_eq!(parsed("&&").given, Vec::<&str>::new());
        let params = parsed("key=%ff+a%2B&prefix&limit=99999999&rev=5&serializable=0&lease=-7");
        assert_eq!(params.key.as_deref(), Some(&b"\xff a+"[..]));
        assert!(params.prefix && !params.serializable);
        assert_eq!((params.limit, params.rev, params.lease), (LIMIT_MAX, 5, -7));
        let params = parsed("wait=true&since=0&list=1&after=a%3Db=c&keys_only=");
        assert_eq!(params.after.as_deref(), Some(&b"a=b=c"[..]));
        assert_eq!((params.wait, params.since, params.list), (true, Some(0), true));
        assert!(params.keys_only);
        assert!(params.only(&["wait", "since", "list", "after", "keys_only"]).is_ok());
        assert!(params.only(&["wait", "since", "list", "after"]).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for query in [
            "nope",
            "Key=a",
            "key=%",
            "key=%zz",
            "%=1",
            "prefix=2",
            "limit=0",
            "limit=-1",
            "limit",
            "limit=x",
            "rev=-1",
            "rev=1.5",
            "rev=99999999999999999999",
            "since=",
            "lease=0x7",
            "key=a&key=b",
            "wait&wait",
            "ke%79=a&key=a",
            "rev=%ff",
        ] {
            let refused = Params::parse(query).expect_err(query);
            assert_eq!(refused.status.as_u16(), 400, "{query}");
        }
    }
}
