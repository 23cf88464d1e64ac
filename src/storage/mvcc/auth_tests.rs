//! What users may do, as tables.

use super::*;

fn keys(key: &str, end: &str) -> KeyRange {
    KeyRange {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
    }
}

fn permission(key: &str, end: &str, read: bool, write: bool) -> Permission {
    Permission { keys: keys(key, end), read, write }
}

#[test]
fn adjacent_ranges_join_and_a_gap_denies() {
    let granted =
        [("h1", "h5"), ("h5", "h9"), ("k", ""), ("k\0", "kb"), ("p", "q"), ("r", "s"), ("x", "\0")];
    let ranges: Vec<KeyRange> = granted.iter().map(|(key, end)| keys(key, end)).collect();
    let set = KeySet::of(ranges.iter().rev());
    for (key, end, expected) in [
        ("h1", "", true),
        ("h1", "h9", true),
        ("h4", "h6", true),
        ("h1", "h90", false),
        ("h9", "", false),
        ("h0", "h2", false),
        ("h", "", false),
        ("k", "", true),
        ("k", "kb", true),
        ("k", "kc", false),
        ("p", "s", false), // from q to r is a gap
        ("p", "q", true),
        ("x", "\0", true),
        ("z", "\0", true),
        ("w", "\0", false),
        ("h1", "\0", false),
        ("x", "y", true),
        ("h5", "h3", true), // no key is in it
        ("i", "h3", false),
        ("h5", "i", false),
        ("", "", false),
        ("", "\0", false),
    ] {
        assert_eq!(set.covers(key.as_bytes(), end.as_bytes()), expected, "{key:?} to {end:?}");
    }
    assert!(!KeySet::default().covers(b"a", b""));
    let all = KeySet::of([keys("\0", "\0")].iter());
    assert!(all.covers(b"\0", b"\0") && all.covers(b"a", b"b") && !all.covers(b"", b"\0"));
}

#[test]
fn rights_follow_every_change() {
    let mut auth = AuthState::default();
    let may = |auth: &AuthState| {
        let rights = auth.rights_of("ann", u64::MAX).cloned().unwrap_or_default();
        (rights.may_read(&keys("a", "")), rights.may_write(&keys("a", "")), rights.is_root())
    };
    let none = (false, false, false);
    assert_eq!(may(&auth), none);
    auth.add_user("ann", None).unwrap();
    auth.add_role("r").unwrap();
    auth.grant_role("ann", "r").unwrap();
    assert_eq!(may(&auth), none);
    auth.grant_permission("r", &permission("a", "", true, false)).unwrap();
    assert_eq!(may(&auth), (true, false, false));
    auth.grant_permission("r", &permission("a", "", false, true)).unwrap();
    assert_eq!(may(&auth), (false, true, false));
    auth.revoke_permission("r", &keys("a", "")).unwrap();
    assert_eq!(may(&auth), none);
    auth.grant_permission("r", &permission("a", "b", true, true)).unwrap();
    assert_eq!(may(&auth), (true, true, false));
    auth.revoke_role("ann", "r").unwrap();
    assert_eq!(may(&auth), none);
    auth.grant_role("ann", "r").unwrap();
    auth.delete_role("r").unwrap();
    assert_eq!(may(&auth), none);
    assert!(auth.users()["ann"].roles.is_empty());
    auth.grant_role("ann", ROOT).unwrap();
    assert_eq!(may(&auth), (true, true, true));
    auth.delete_user("ann").unwrap();
    assert_eq!(may(&auth), none);
    assert_eq!(auth.clone().restored(), auth);
}

#[test]
fn what_was_shown_before_a_password_is_void_after_it() {
    let mut auth = AuthState::default();
    let hash = PasswordHash("x".to_owned());
    auth.add_user(ROOT, Some(hash.clone())).unwrap();
    auth.grant_role(ROOT, ROOT).unwrap();
    auth.add_user("ann", Some(hash.clone())).unwrap();
    auth.enable().unwrap();
    let shown = auth.revision();
    assert!(auth.rights_of("ann", shown).is_some());
    auth.add_role("r").unwrap();
    auth.grant_role("ann", "r").unwrap();
    assert!(auth.rights_of("ann", shown).is_some(), "roles act on live tokens");
    auth.change_password("ann", &hash).unwrap();
    assert!(auth.rights_of("ann", shown).is_none());
    assert!(auth.rights_of(ROOT, shown).is_some());
    let shown = auth.revision();
    assert!(auth.rights_of("ann", shown).is_some());
    auth.delete_user("ann").unwrap();
    auth.add_user("ann", None).unwrap();
    assert!(auth.rights_of("ann", shown).is_none(), "another of the same name");
    let shown = auth.revision();
    auth.disable();
    auth.enable().unwrap();
    assert!(auth.rights_of("ann", shown).is_none());
    assert!(auth.rights_of(ROOT, shown).is_none());
}

#[test]
fn permissions_are_sorted_and_each_range_is_there_once() {
    let mut auth = AuthState::default();
    auth.add_role("r").unwrap();
    for (key, end) in [("b", ""), ("a", "c"), ("a", ""), ("b", "")] {
        auth.grant_permission("r", &permission(key, end, true, true)).unwrap();
    }
    let held: Vec<_> = auth.roles()["r"].permissions.iter().map(|held| held.keys.clone()).collect();
    assert_eq!(held, [keys("a", ""), keys("a", "c"), keys("b", "")]);
    assert_eq!(auth.revision(), 6);
}
