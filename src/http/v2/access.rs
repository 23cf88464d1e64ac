//! Who may do what over v2: the same users and roles as over v3, with a name and password in each
//! request, or a certificate. Who shows neither is of the role `guest`, if there is one.
//!
//! v2's pattern `/a/*` is the range of keys that begin with `/a/`. Rights follow what is returned and
//! touched: a listing needs all below the directory, a comparison needs reading, and who may not read
//! is not told what was there before.

use std::{net::IpAddr, ops::Bound};

use actix_http::{
    Request,
    header::{self, HeaderValue},
};
use base64::Engine as _;
use bytes::Bytes;

use super::error::V2Error;
use crate::{
    command::{Caller, KeyRange},
    http::{
        Doors,
        auth::{Identity, PasswordError, certificate::CommonName},
        gateway::bare_token,
    },
    published::Published,
    storage::mvcc::{
        State,
        auth::{GUEST, Rights},
    },
};

/// What a request says about who sends it.
pub struct Credentials {
    authorization: Option<HeaderValue>,
    remote: Option<IpAddr>,
    certificate: Option<CommonName>,
}

/// What a request is about to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The path as it came, with a slash at its end if it had one.
    pub path: Bytes,
    /// Looks at it.
    pub read: bool,
    /// Changes it.
    pub write: bool,
    /// And all below it.
    pub below: bool,
}

/// What a client may show to say who it is.
#[derive(Clone, Copy)]
enum Shown {
    Password,
    PasswordOrToken,
}

/// A request that was let pass, and may be asked again when users or roles have changed.
#[derive(Clone, Debug)]
pub struct Pass {
    who: Option<Identity>,
    needs: Needs,
}

impl Credentials {
    /// Those of a request.
    pub fn of(request: &Request) -> Credentials {
        Credentials {
            authorization: request.head().headers().get(header::AUTHORIZATION).cloned(),
            remote: request.peer_addr().map(|peer| peer.ip()),
            certificate: CommonName::of_request(request),
        }
    }

    /// Who it is; none for a guest. What it says itself goes before its certificate.
    async fn identity(&self, doors: &Doors, shown: Shown) -> Result<Option<Identity>, V2Error> {
        let Some(value) = &self.authorization else {
            return Ok(self.certificate.as_ref().and_then(CommonName::user).and_then(|name| {
                let state = doors.published.state.load();
                let auth = state.auth();
                let (user, auth_revision) = (name.to_owned(), auth.revision());
                let is_there = auth.users().contains_key(&user);
                is_there.then_some(Identity { user, auth_revision, pinned: false })
            }));
        };
        let (published, remote) = (&doors.published, self.remote);
        let Some((user, password)) = basic(value.as_bytes()) else {
            let identity = match shown {
                Shown::Password => None,
                Shown::PasswordOrToken => {
                    doors.gate.identify(published, &bare_token(value.as_bytes()))
                }
            };
            return identity.map(Some).ok_or(V2Error::Unauthorized);
        };
        match doors.gate.check_again(published, remote, &user, &password).await {
            Ok(identity) => Ok(Some(identity)),
            Err(PasswordError::Wrong | PasswordError::NoPassword) => Err(V2Error::Unauthorized),
            Err(PasswordError::TooMany) => Err(V2Error::TooMany),
            Err(PasswordError::Stopping) => Err(V2Error::Stopped),
        }
    }

    /// Lets a request for keys pass, or not.
    pub async fn admit(&self, doors: &Doors, needs: Needs) -> Result<Pass, V2Error> {
        if !doors.published.state.load().auth().enabled() {
            return Ok(Pass { who: None, needs });
        }
        let pass = Pass { who: self.identity(doors, Shown::Password).await?, needs };
        let state = doors.published.state.load();
        if pass.holds(&state) { Ok(pass) } else { Err(V2Error::Unauthorized) }
    }

    /// Lets a request of someone who may do everything pass, or not; tells who it is, for the log.
    pub async fn admit_root(&self, doors: &Doors) -> Result<Option<Caller>, V2Error> {
        self.admit_root_by(doors, Shown::Password).await
    }

    /// The same where etcd's v2 has no say: a token is as good as a password.
    pub async fn admit_root_or_token(&self, doors: &Doors) -> Result<(), V2Error> {
        self.admit_root_by(doors, Shown::PasswordOrToken).await.map(drop)
    }

    async fn admit_root_by(&self, doors: &Doors, shown: Shown) -> Result<Option<Caller>, V2Error> {
        if !doors.published.state.load().auth().enabled() {
            return Ok(None);
        }
        let identity = self.identity(doors, shown).await?.ok_or(V2Error::Unauthorized)?;
        let state = doors.published.state.load();
        let rights = state.auth().rights_of(&identity.user, identity.auth_revision);
        if rights.is_some_and(|rights| rights.is_root()) {
            Ok(Some(Caller { user: identity.user, auth_revision: state.auth().revision() }))
        } else {
            Err(V2Error::Unauthorized)
        }
    }
}

impl Pass {
    /// Whether it would be let pass now.
    pub fn holds(&self, state: &State) -> bool {
        self.judge(state, |rights| self.needs.met_by(state, rights))
    }

    /// Ends when it would not be let pass any more.
    pub async fn revoked(&self, published: &Published) {
        let mut changes = published.rights.subscribe();
        while self.holds(&published.state.load()) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await; // nothing changes after the end
            }
        }
    }

    /// Whether it may be told what is there, too.
    pub fn may_read(&self, state: &State) -> bool {
        self.judge(state, |rights| rights.may_read_key(&self.needs.path))
    }

    fn judge(&self, state: &State, judge: impl FnOnce(&Rights) -> bool) -> bool {
        let auth = state.auth();
        if !auth.enabled() {
            return true;
        }
        match &self.who {
            None => judge(&auth.rights_of_role(GUEST)),
            Some(who) => auth.rights_of(&who.user, who.auth_revision).is_some_and(|r| judge(r)),
        }
    }
}

impl Needs {
    fn met_by(&self, state: &State, rights: &Rights) -> bool {
        let key = &self.path[..];
        if (self.read && !rights.may_read_key(key)) || (self.write && !rights.may_write_key(key)) {
            return false;
        }
        let below = below(key);
        let read_below = self.read && (self.below || is_listing(state, key, &below));
        (!read_below || rights.may_read(&below))
            && (!(self.write && self.below) || rights.may_write(&below))
    }
}

/// All keys below a directory.
fn below(path: &[u8]) -> KeyRange {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    KeyRange {
        key: Bytes::from([path, b"/"].concat()),
        range_end: Bytes::from([path, b"0"].concat()),
    }
}

/// Whether looking at `path` tells of what is below it.
fn is_listing(state: &State, path: &[u8], below: &KeyRange) -> bool {
    let path = if path.len() > 1 { path.strip_suffix(b"/").unwrap_or(path) } else { path };
    let (from, to) = (Bound::Excluded(&below.key[..]), Bound::Excluded(&below.range_end[..]));
    state.key(path).is_none()
        && (state.keys.range(from, to).next().is_some()
            || state.dirs.range(from, to).next().is_some())
}

/// Who a request says that it is from.
pub fn claimed_user(request: &Request) -> Option<String> {
    let value = request.head().headers().get(header::AUTHORIZATION)?;
    basic(value.as_bytes()).map(|(user, _)| user)
}

/// Name and password of `Basic …`.
pub fn basic(value: &[u8]) -> Option<(String, String)> {
    const SCHEME: &[u8] = b"basic ";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Permission;
    use std::sync::Arc;

    #[test]
    fn basic_credentials_are_read() {
        for (value, expected) in [
            ("Basic YTpi", Some(("a", "b"))),
            ("basic YTpiOmM=", Some(("a", "b:c"))),
            ("Basic Og==", Some(("", ""))),
            ("Basic YQ==", None),
            ("Basic !", None),
            ("Basic", None),
            ("Bearer YTpi", None),
            ("", None),
        ] {
            let found = basic(value.as_bytes());
            let expected = expected.map(|(user, word)| (user.to_owned(), word.to_owned()));
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn patterns_allow_what_is_returned_and_touched() {
        let mut state = State::new(Vec::new());
        let auth = Arc::make_mut(&mut state.auth);
        let hash = crate::command::PasswordHash(String::new());
        auth.add_user("root", Some(hash)).unwrap();
        auth.grant_role("root", "root").unwrap();
        auth.add_role(GUEST).unwrap();
        for (key, range_end) in [("/t/", "/t0"), ("/one", "")] {
            let keys = KeyRange { key: key.into(), range_end: range_end.into() };
            let permission = Permission { keys, read: true, write: true };
            auth.grant_permission(GUEST, &permission).unwrap();
        }
        auth.enable().unwrap();
        let put = |state: &mut State, path: &[u8]| {
            let head = crate::storage::mvcc::record::KeyHead {
                create_revision: crate::types::Revision(2),
                mod_revision: crate::types::Revision(2),
                version: 1,
                lease: crate::types::LeaseId(0),
                expires: crate::types::UnixNanos(0),
            };
            state.put_key(crate::storage::mvcc::record::KeyRecord::new(path, b"v", head));
        };
        put(&mut state, b"/t/x");
        for (path, below, expected) in [
            ("/t/x", false, true),
            ("/t/x", true, true),
            ("/t/", false, true),
            ("/t/", true, true),
            ("/t", false, false),
            ("/t", true, false),
            ("/one", false, true),
            ("/one", true, false),
            ("/two", false, false),
            ("/", false, false),
            ("/", true, false),
        ] {
            for (read, write) in [(true, false), (false, true), (true, true)] {
                let needs = Needs { path: path.into(), read, write, below };
                let pass = Pass { who: None, needs };
                assert_eq!(pass.holds(&state), expected, "{path} {below} {read} {write}");
            }
        }
        put(&mut state, b"/one/child");
        let needs = Needs { path: "/one".into(), read: true, write: false, below: false };
        assert!(!Pass { who: None, needs }.holds(&state), "its listing shows what is below");
        Arc::make_mut(&mut state.auth).delete_role(GUEST).unwrap();
        let needs = Needs { path: "/t/x".into(), read: true, write: false, below: false };
        assert!(!Pass { who: None, needs }.holds(&state), "guests are nobody then");
    }
}
