//! `If-Match` and `If-None-Match`: a key's entity tag is the revision of its last change, in quotes. For a
//! write they become the comparisons of a transaction, so that nothing comes between look and write.

use actix_http::header::{self, HeaderMap, HeaderName};

use super::Refused;
use crate::http::v3::pb::etcdserverpb::{
    Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
};

/// No key has it: for tags that are none of ours.
const NEVER: i64 = -1;
/// Tags in one header.
const TAGS_MAX: usize = 32;

/// What a key must be for the request to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// `*`: any, as long as the key is there.
    Any,
    /// These revisions.
    Revisions(Vec<i64>),
}

impl Tags {
    fn hold(&self, revision: Option<i64>) -> bool {
        match (self, revision) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Revisions(tags), Some(revision)) => tags.contains(&revision),
        }
    }
}

impl Conditions {
    /// Reads them.
    pub fn parse(headers: &HeaderMap) -> Result<Conditions, Refused> {
        Ok(Conditions {
            // A weak tag never matches there: who sends one has a copy that was changed on the way.
            if_match: tags(headers, &header::IF_MATCH, false)?,
            if_none_match: tags(headers, &header::IF_NONE_MATCH, true)?,
        })
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// Whether `If-Match` holds for a key that is read; none: it is not there.
    pub fn matches(&self, revision: Option<i64>) -> bool {
        self.if_match.as_ref().is_none_or(|tags| tags.hold(revision))
    }

    /// Whether the reader has it already.
    pub fn is_known(&self, revision: i64) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| tags.hold(Some(revision)))
    }

    /// What must be true of the key for a write.
    pub fn compares(&self, key: &[u8]) -> Result<Vec<Compare>, Refused> {
        let compare = |result: CompareResult, revision| Compare {
            result: result.into(),
            target: CompareTarget::Mod.into(),
            key: key.to_vec().into(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Compare::default()
        };
        let mut compares = Vec::new();
        match &self.if_match {
            None => {}
            Some(Tags::Any) => compares.push(compare(CompareResult::Greater, 0)),
            Some(Tags::Revisions(tags)) => match tags[..] {
                [tag] => compares.push(compare(CompareResult::Equal, tag)),
                _ => return Err(Refused::bad("If-Match holds one entity tag for a write")),
            },
        }
        match &self.if_none_match {
            None => {}
            Some(Tags::Any) => compares.push(compare(CompareResult::Equal, 0)),
            Some(Tags::Revisions(tags)) => {
                compares.extend(tags.iter().map(|tag| compare(CompareResult::NotEqual, *tag)));
            }
        }
        Ok(compares)
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName, weak: bool) -> Result<Option<Tags>, Refused> {
    let malformed = || Refused::bad(format!("{name} is not made of entity tags"));
    let mut revisions = Vec::new();
    let mut any = false;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| malformed())?.trim();
        if text == "*" {
            any = true;
            continue;
        }
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            revisions.push(revision(tag, weak).ok_or_else(malformed)?);
        }
    }
    if revisions.len() > TAGS_MAX {
        return Err(Refused::bad(format!("{name} holds more than {TAGS_MAX} entity tags")));
    }
    Ok(match (any, revisions.is_empty()) {
        (true, true) => Some(Tags::Any),
        (true, false) => return Err(malformed()),
        (false, false) => Some(Tags::Revisions(revisions)),
        (false, true) if headers.contains_key(name) => return Err(malformed()),
        (false, true) => None,
    })
}

/// None: it is no entity tag.
fn revision(tag: &str, weak: bool) -> Option<i64> {
    let strong = tag.strip_prefix("W/");
    let quoted = strong.unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
    if quoted.contains('"') {
        return None;
    }
    if strong.is_some() && !weak {
        return Some(NEVER);
    }
    let revision = quoted.parse().ok().filter(|revision: &i64| *revision > 0);
    Some(revision.unwrap_or(NEVER))
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn conditions(name: HeaderName, value: &'static str) -> Result<Conditions, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        Conditions::parse(&headers)
    }

    #[test]
    fn tags_are_revisions() {
        for (value, if_match, if_none_match) in [
            (r#""7""#, vec![7], vec![7]),
            (r#"W/"7""#, vec![NEVER], vec![7]),
            (r#""7" , "8","#, vec![7, 8], vec![7, 8]),
            (r#""x""#, vec![NEVER], vec![NEVER]),
            (r#""-1""#, vec![NEVER], vec![NEVER]),
            (r#""0""#, vec![NEVER], vec![NEVER]),
            (r#""99999999999999999999""#, vec![NEVER], vec![NEVER]),
        ] {
            let parsed = conditions(header::IF_MATCH, value).expect(value);
            assert_eq!(parsed.if_match, Some(Tags::Revisions(if_match)), "{value}");
            let parsed = conditions(header::IF_NONE_MATCH, value).expect(value);
            assert_eq!(parsed.if_none_match, Some(Tags::Revisions(if_none_match)), "{value}");
        }
        for value in ["7", "", ",", "\"7", "\"7\"8\"", "*, \"7\"", "w/\"7\"", "\"7\" \"8\""] {
            conditions(header::IF_MATCH, value).expect_err(value);
        }
    }

    #[test]
    fn they_become_comparisons() {
        use CompareResult::{Equal, Greater, NotEqual};
        for (name, value, expected) in [
            (header::IF_MATCH, "*", vec![(Greater, 0)]),
            (header::IF_MATCH, "\"7\"", vec![(Equal, 7)]),
            (header::IF_NONE_MATCH, "*", vec![(Equal, 0)]),
            (header::IF_NONE_MATCH, "\"7\", \"8\"", vec![(NotEqual, 7), (NotEqual, 8)]),
        ] {
            let compares = conditions(name, value).and_then(|c| c.compares(b"k")).expect(value);
            let got: Vec<_> = compares
                .iter()
                .map(|c| match c.target_union {
                    Some(TargetUnion::ModRevision(revision)) => (c.result(), revision),
                    _ => panic!("{c:?}"),
                })
                .collect();
            assert_eq!(got, expected, "{value}");
        }
        let two = conditions(header::IF_MATCH, "\"7\", \"8\"").expect("tags");
        assert!(two.compares(b"k").is_err());
        assert!(two.matches(Some(8)) && !two.matches(Some(9)) && !two.matches(None));
        assert!(Conditions::default().is_empty() && Conditions::default().matches(None));
    }
}
