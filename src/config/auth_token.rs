//! `--auth-token`: the kind of tokens and, for JWTs, the keys. Depends on the rest of `config` only.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{build::Givens, error::ConfigError, rules::refuse, values::parse_duration};

/// What kind of tokens a member gives out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthToken {
    /// Random ones, known to all members.
    #[default]
    Simple,
    /// Signed ones.
    Jwt {
        /// How: `RS256` and so on.
        sign_method: String,
        /// File with the key that checks; of no use to HMAC.
        pub_key: Option<PathBuf>,
        /// File with the key that signs.
        priv_key: Option<PathBuf>,
        /// How long a token lives.
        ttl: Duration,
    },
}

const NAME: &str = "auth-token";
/// etcd's.
const TTL_DEFAULT: Duration = Duration::from_secs(300);

pub(super) fn read(givens: &Givens) -> Result<AuthToken, ConfigError> {
    let text = givens.text(NAME);
    let allowed = |what: &str| {
        refuse(
            givens,
            NAME,
            format!("simple, or jwt,pub-key=FILE,priv-key=FILE,sign-method=METHOD,ttl=5m ({what})"),
        )
    };
    let mut parts = text.split(',');
    match parts.next() {
        Some("simple") if text == "simple" => return Ok(AuthToken::Simple),
        Some("jwt") => {}
        _ => return Err(allowed("there is no other kind")),
    }
    let mut options = BTreeMap::new();
    for part in parts {
        let (key, value) =
            part.split_once('=').ok_or_else(|| allowed("each option has a value"))?;
        if !["pub-key", "priv-key", "sign-method", "ttl"].contains(&key) {
            return Err(allowed("there is no other option"));
        }
        if options.insert(key, value).is_some() {
            return Err(allowed("each option once"));
        }
    }
    let ttl = match options.get("ttl") {
        None => TTL_DEFAULT,
        Some(text) => parse_duration(text)
            .filter(|ttl| *ttl >= Duration::from_secs(1))
            .ok_or_else(|| allowed("ttl is a duration of a second or more"))?,
    };
    let sign_method =
        options.get("sign-method").ok_or_else(|| allowed("sign-method is needed"))?.to_string();
    let file = |key| options.get(key).map(PathBuf::from);
    let (pub_key, priv_key) = (file("pub-key"), file("priv-key"));
    if pub_key.is_none() && priv_key.is_none() {
        return Err(allowed("a key is needed"));
    }
    Ok(AuthToken::Jwt { sign_method, pub_key, priv_key, ttl })
}
