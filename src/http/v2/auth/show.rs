//! Users and roles as etcd's v2 writes them in JSON.

use crate::{
    http::json,
    storage::mvcc::auth::{AuthState, ROOT, patterns},
};

/// A list; `null` if there is nothing in it, as Go writes one that was never made.
pub fn push_list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    let mut is_empty = true;
    for item in items {
        out.push(if is_empty { b'[' } else { b',' });
        is_empty = false;
        push(out, item);
    }
    out.extend_from_slice(if is_empty { b"null" } else { b"]" });
}

/// A list of strings; none is `null`.
pub fn push_strings<'a>(out: &mut Vec<u8>, strings: Option<impl Iterator<Item = &'a String>>) {
    let Some(strings) = strings else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    for (at, string) in strings.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::push_string(out, string.as_bytes());
    }
    out.push(b']');
}

/// A user, with its roles as they are.
pub fn push_user<'a>(
    out: &mut Vec<u8>,
    auth: &AuthState,
    name: &str,
    roles: impl Iterator<Item = &'a String>,
) {
    out.extend_from_slice(br#"{"user":"#);
    json::push_string(out, name.as_bytes());
    let mut roles = roles.peekable();
    if roles.peek().is_some() {
        out.extend_from_slice(br#","roles":"#);
        push_list(out, roles, |out, role| push_role(out, auth, role));
    }
    out.push(b'}');
}

/// A role, with what it may do. `root` may do everything, whatever is said of it.
pub fn push_role(out: &mut Vec<u8>, auth: &AuthState, name: &str) {
    let lists = match auth.roles().get(name) {
        _ if name == ROOT => [(); 2].map(|()| Some(vec!["/*".to_owned()])),
        Some(role) if !role.permissions.is_empty() => patterns(role).map(Some),
        _ => [None, None],
    };
    push_permissions(out, name, lists);
}

/// A role with these patterns.
pub fn push_permissions(out: &mut Vec<u8>, name: &str, lists: [Option<Vec<String>>; 2]) {
    out.extend_from_slice(br#"{"role":"#);
    json::push_string(out, name.as_bytes());
    let [read, write] = lists;
    out.extend_from_slice(br#","permissions":{"kv":{"read":"#);
    push_strings(out, read.as_ref().map(|read| read.iter()));
    out.extend_from_slice(br#","write":"#);
    push_strings(out, write.as_ref().map(|write| write.iter()));
    out.extend_from_slice(b"}}}");
}
