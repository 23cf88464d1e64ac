//! v2's rules for users and roles, and what they are for v3.

use super::*;
use crate::{command::PasswordHash, storage::mvcc::auth::Rights};

fn hash(text: &str) -> PasswordHash {
    PasswordHash(text.to_owned())
}

fn user(name: &str, password: &str, roles: &[&str]) -> V2UserPut {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    let password_hash = (!password.is_empty()).then(|| hash(password));
    V2UserPut { name: name.to_owned(), password_hash, roles, ..V2UserPut::default() }
}

fn update(name: &str, grant: &[&str], revoke: &[&str]) -> V2UserPut {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (grant, revoke) = (owned(grant), owned(revoke));
    V2UserPut { name: name.to_owned(), grant, revoke, ..V2UserPut::default() }
}

fn permissions(read: &[&str], write: &[&str]) -> V2Permissions {
    let keys = |patterns: &[&str]| {
        patterns.iter().map(|pattern| keys_of_pattern(pattern).unwrap()).collect()
    };
    V2Permissions { read: keys(read), write: keys(write) }
}

fn role(name: &str, read: &[&str], write: &[&str]) -> V2RolePut {
    let permissions = permissions(read, write);
    V2RolePut { name: name.to_owned(), permissions, ..V2RolePut::default() }
}

fn put_user(auth: &mut AuthState, put: V2UserPut) -> Result<V2AuthAnswer, V2AuthError> {
    auth.change_v2(&V2AuthChange::PutUser(put))
}

fn put_role(auth: &mut AuthState, put: V2RolePut) -> Result<V2AuthAnswer, V2AuthError> {
    auth.change_v2(&V2AuthChange::PutRole(put))
}

fn updated(roles: &[&str]) -> V2AuthAnswer {
    V2AuthAnswer::UserUpdated(roles.iter().map(|&role| role.to_owned()).collect())
}

#[test]
fn patterns_are_ranges_and_back() {
    for (pattern, key, end) in [
        ("/a", "/a", ""),
        ("/a/*", "/a/", "/a0"),
        ("/a*", "/a", "/b"),
        ("/*", "/", "0"),
        ("*", "\0", "\0"),
        ("a\u{7f}*", "a\u{7f}", "a\u{80}"),
    ] {
        let keys = keys_of_pattern(pattern).unwrap();
        if pattern != "a\u{7f}*" {
            assert_eq!((&keys.key[..], &keys.range_end[..]), (key.as_bytes(), end.as_bytes()));
        }
        assert_eq!(pattern_of(&keys).as_deref(), Some(pattern));
    }
    assert_eq!(keys_of_pattern(""), None);
    let range = |key: &'static [u8], end: &'static [u8]| KeyRange {
        key: Bytes::from_static(key),
        range_end: Bytes::from_static(end),
    };
    for keys in [
        range(b"/a*", b""), // one key; as a pattern it would be many
        range(b"/a/", b"/b"),
        range(b"/a/", b"\0"),
        range(b"\xff", b""),
        range(b"\xff", b"\0"),
    ] {
        assert_eq!(pattern_of(&keys), None, "{keys:?}");
    }
}

#[test]
fn users_are_made_and_changed() {
    let mut auth = AuthState::default();
    assert_eq!(put_user(&mut auth, user("bob", "", &[])), Err(V2AuthError::EmptyPassword));
    assert_eq!(put_user(&mut auth, user("bob", "pw", &[])), Ok(V2AuthAnswer::UserCreated));
    let revision = auth.revision();
    for (put, expected) in [
        (user("bob", "", &[]), V2AuthError::UserNotUpdated),
        (user("bob", "pw", &["r"]), V2AuthError::UserExists),
        (user("ann", "", &["r"]), V2AuthError::EmptyPassword),
        (update("no", &["r"], &[]), V2AuthError::NoSuchUser),
        (update("bob", &["r", "s", "r"], &[]), V2AuthError::DuplicateRole(2)),
        (update("bob", &[], &["r"]), V2AuthError::UngrantedRole(0)),
        (update("bob", &["r"], &["r"]), V2AuthError::UserNotUpdated),
    ] {
        assert_eq!(put_user(&mut auth, put), Err(expected));
    }
    assert_eq!(auth.revision(), revision, "what is refused changes nothing");
    // A role may be given that is not there yet.
    assert_eq!(put_user(&mut auth, update("bob", &["s", "r"], &[])), Ok(updated(&["r", "s"])));
    assert_eq!(put_role(&mut auth, role("s", &["/s/*"], &[])), Ok(V2AuthAnswer::RoleCreated));
    let rights = |auth: &AuthState| Rights::clone(auth.rights_of("bob", auth.revision()).unwrap());
    assert!(rights(&auth).may_read_key(b"/s/x") && !rights(&auth).may_write_key(b"/s/x"));
    assert_eq!(put_user(&mut auth, update("bob", &[], &["s"])), Ok(updated(&["r"])));
    assert!(!rights(&auth).may_read_key(b"/s/x"));
    // Another password ends what the one before opened.
    let before = auth.revision();
    assert_eq!(put_user(&mut auth, user("bob", "new", &[])), Ok(updated(&["r"])));
    assert!(auth.rights_of("bob", before).is_none() && rights(&auth) == Rights::default());
    let delete = |name: &str| V2AuthChange::DeleteUser { name: name.to_owned() };
    assert_eq!(auth.change_v2(&delete("bob")), Ok(V2AuthAnswer::Done));
    assert_eq!(auth.change_v2(&delete("bob")), Err(V2AuthError::NoSuchUser));
}

#[test]
fn roles_are_made_and_changed() {
    let mut auth = AuthState::default();
    let made = put_role(&mut auth, role("w", &["/z", "/a/*"], &["/a/*"]));
    assert_eq!(made, Ok(V2AuthAnswer::RoleCreated));
    // What v2 has no pattern for is kept, and not shown.
    let other = KeyRange { key: "/k".into(), range_end: "/z".into() };
    let permission = Permission { keys: other.clone(), read: true, write: true };
    auth.grant_permission("w", &permission).unwrap();
    let revision = auth.revision();
    let grant = |read: &[&str], write: &[&str]| V2RolePut {
        name: "w".to_owned(),
        grant: permissions(read, write),
        ..V2RolePut::default()
    };
    let revoke = |read: &[&str], write: &[&str]| V2RolePut {
        name: "w".to_owned(),
        revoke: permissions(read, write),
        ..V2RolePut::default()
    };
    for (put, expected) in [
        (role("w", &[], &[]), V2AuthError::RoleExists),
        (role(ROOT, &[], &[]), V2AuthError::RootRole),
        (grant(&["/y", "/z"], &[]), V2AuthError::DuplicateRead(1)),
        (grant(&[], &["/a/*"]), V2AuthError::DuplicateWrite(0)),
        (revoke(&["/none"], &["/z"]), V2AuthError::RoleNotUpdated),
        (V2RolePut { name: "no".to_owned(), ..grant(&["/"], &[]) }, V2AuthError::NoSuchRole),
        (V2RolePut { name: ROOT.to_owned(), ..grant(&["/"], &[]) }, V2AuthError::RootRole),
    ] {
        assert_eq!(put_role(&mut auth, put), Err(expected));
    }
    assert_eq!(auth.revision(), revision);
    let shown = |auth: &AuthState| patterns(&auth.roles()["w"]);
    assert_eq!(shown(&auth), [vec!["/a/*", "/z"], vec!["/a/*"]]);
    put_role(&mut auth, grant(&[], &["/z", "/b"])).unwrap();
    put_role(&mut auth, revoke(&["/a/*", "/z"], &["/a/*"])).unwrap();
    assert_eq!(shown(&auth), [vec![], vec!["/b", "/z"]]);
    let rights = auth.rights_of_role("w");
    assert!(rights.may_write_key(b"/z") && !rights.may_read_key(b"/a/x"));
    assert!(rights.may_read(&other) && rights.may_write(&other));
    let delete = |name: &str| V2AuthChange::DeleteRole { name: name.to_owned() };
    assert_eq!(auth.change_v2(&delete("w")), Ok(V2AuthAnswer::Done));
    assert_eq!(auth.change_v2(&delete("w")), Err(V2AuthError::NoSuchRole));
    assert_eq!(auth.change_v2(&delete(ROOT)), Err(V2AuthError::RootRole));
}

#[test]
fn enabling_needs_root_and_makes_a_guest() {
    let mut auth = AuthState::default();
    assert_eq!(auth.change_v2(&V2AuthChange::Enable), Err(V2AuthError::NoRoot));
    assert_eq!(auth.change_v2(&V2AuthChange::Disable), Err(V2AuthError::AlreadyDisabled));
    // One that was made over v3, and has no role there.
    auth.add_user(ROOT, Some(hash("pw"))).unwrap();
    auth.change_v2(&V2AuthChange::Enable).unwrap();
    assert_eq!(auth.change_v2(&V2AuthChange::Enable), Err(V2AuthError::AlreadyEnabled));
    assert!(auth.enabled() && auth.rights_of(ROOT, auth.revision()).unwrap().is_root());
    let guest = auth.rights_of_role(GUEST);
    assert!(guest.may_read_key(b"/a") && guest.may_write_key(b"/a/b"));
    assert!(!guest.may_read_key(b"a") && !guest.is_root());
    let delete = V2AuthChange::DeleteUser { name: ROOT.to_owned() };
    assert_eq!(auth.change_v2(&delete), Err(V2AuthError::RootUser));
    // etcd tells that the role is gone, and keeps it.
    assert_eq!(put_user(&mut auth, update(ROOT, &[], &[ROOT])), Ok(updated(&[])));
    let again = put_user(&mut auth, update(ROOT, &[ROOT], &[]));
    assert_eq!(again, Err(V2AuthError::DuplicateRole(0)));
    assert!(auth.rights_of(ROOT, auth.revision()).unwrap().is_root());
    // A guest that was taken away stays away until it is enabled anew.
    let delete = V2AuthChange::DeleteRole { name: GUEST.to_owned() };
    auth.change_v2(&delete).unwrap();
    assert_eq!(auth.rights_of_role(GUEST), Rights::default());
    auth.change_v2(&V2AuthChange::Disable).unwrap();
    assert!(!auth.enabled());
}
