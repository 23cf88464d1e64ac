//! `/v2/auth/…`: users, roles, and whether they matter, in etcd's words. They are those of v3; what v2
//! asks for is judged when it is applied ([`crate::storage::mvcc::auth`]). What is read is what this
//! member has applied, as with etcd.

mod show;
mod words;

use std::{collections::BTreeSet, sync::Arc};

use actix_http::{
    Method, Request, StatusCode,
    header::{self, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};

use self::{
    show::{push_list, push_permissions, push_role, push_strings, push_user},
    words::row,
};
use super::{
    access::Credentials,
    consensus::propose,
    error::{V2Error, set_cluster_id},
    members::unauthorized,
};
use crate::{
    command::{
        AuthChange, Caller, Command, PasswordHash, V2AuthChange, V2Permissions, V2RolePut,
        V2UserPut, V3Command, V3Op,
    },
    http::{
        Doors,
        answer::{self, Answer},
        auth::HashError,
        body::{self, BodyError},
        json,
        service::Routed,
    },
    storage::{
        mvcc::{
            Applied,
            auth::{AuthState, ROOT, V2AuthAnswer, keys_of_pattern, patterns},
        },
        v3::{AuthError, V3Answer, V3Applied, V3Error},
    },
};

/// What a path below `/v2/auth/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    Enable,
    Users,
    User(String),
    Roles,
    Role(String),
}

impl Named {
    /// None: nothing is there. An error: etcd has a word for it.
    fn of(path: &[u8]) -> Option<Result<Named, Refused>> {
        let rest = path.strip_prefix(b"/v2/auth/")?;
        if rest == b"enable" {
            return Some(Ok(Named::Enable));
        }
        let mut pieces = rest.splitn(2, |&byte| byte == b'/');
        let (kind, name) = (pieces.next()?, pieces.next().unwrap_or_default());
        let (all, one): (Named, fn(String) -> Named) = match kind {
            b"users" => (Named::Users, Named::User),
            b"roles" => (Named::Roles, Named::Role),
            _ => return None,
        };
        let name = name.strip_suffix(b"/").unwrap_or(name);
        Some(match std::str::from_utf8(name) {
            Ok("") => Ok(all),
            Ok(name) if !name.contains('/') => Ok(one(name.to_owned())),
            _ => Err(Refused::bad("Invalid path")),
        })
    }

    fn methods(&self) -> &'static str {
        match self {
            Named::Users | Named::Roles => "GET",
            Named::Enable | Named::User(_) | Named::Role(_) => "GET,PUT,DELETE",
        }
    }
}

/// Why a request is refused: status and text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    text: String,
}

impl Refused {
    fn new(status: StatusCode, text: impl Into<String>) -> Refused {
        Refused { status, text: text.into() }
    }

    fn bad(text: impl Into<String>) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, text)
    }

    fn answer(&self) -> Answer {
        let mut answer = answer::message(self.status, self.text.as_bytes());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// Answers a request below `/v2/auth/`.
pub fn answer(doors: &Arc<Doors>, path: &[u8], request: &mut Request) -> Routed {
    let named = match Named::of(path) {
        None => return Routed::Now(answer::not_found()),
        Some(Err(refused)) => return Routed::Now(refused.answer()),
        Some(Ok(named)) => named,
    };
    let method = request.method().clone();
    if !named.methods().split(',').any(|allowed| allowed == method.as_str()) {
        return Routed::Now(answer::method_not_allowed(Some(named.methods())));
    }
    let (doors, credentials) = (Arc::clone(doors), Credentials::of(request));
    let declared = body::declared_len(request.head());
    let payload = request.take_payload();
    Routed::later(async move {
        let is_open = named == Named::Enable && method == Method::GET;
        let admitted = if is_open { Ok(None) } else { credentials.admit_root(&doors).await };
        let limit = doors.settings.max_request_bytes;
        let body = body::read(payload, declared, limit).await;
        let caller = match admitted {
            Ok(caller) => caller,
            Err(error) => return unauthorized(&error),
        };
        let answered = if method == Method::GET {
            look(&doors, &named)
        } else {
            change(&doors, caller, named, &method, body).await
        };
        let mut answer = answered.unwrap_or_else(|refused| refused.answer());
        set_cluster_id(&mut answer, &doors);
        answer
    })
}

fn look(doors: &Doors, named: &Named) -> Result<Answer, Refused> {
    let state = doors.published.state.load();
    let auth = state.auth();
    let mut body = Vec::new();
    match named {
        Named::Enable => {
            body.extend_from_slice(format!("{{\"enabled\":{}}}", auth.enabled()).as_bytes());
        }
        Named::Users => {
            body.extend_from_slice(br#"{"users":"#);
            push_list(&mut body, auth.users(), |out, (name, user)| {
                // A role that is not there is left out here, and an error below.
                push_user(out, auth, name, user.roles.iter().filter(|role| is_there(auth, role)));
            });
            body.push(b'}');
        }
        Named::User(name) => {
            let missing = || not_found(format!("auth: User {name} does not exist."));
            let user = auth.users().get(name).ok_or_else(missing)?;
            if let Some(role) = user.roles.iter().find(|role| !is_there(auth, role)) {
                return Err(not_found(format!("auth: Role {role} does not exist.")));
            }
            push_user(&mut body, auth, name, user.roles.iter());
        }
        Named::Roles => {
            let mut names: BTreeSet<&str> = auth.roles().keys().map(String::as_str).collect();
            names.insert(ROOT);
            body.extend_from_slice(br#"{"roles":"#);
            push_list(&mut body, names, |out, name| push_role(out, auth, name));
            body.push(b'}');
        }
        Named::Role(name) => {
            if !is_there(auth, name) {
                return Err(not_found(format!("auth: Role {name} does not exist.")));
            }
            push_role(&mut body, auth, name);
        }
    }
    body.push(b'\n');
    Ok(answer::json(StatusCode::OK, body))
}

fn not_found(text: String) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, text)
}

fn is_there(auth: &AuthState, role: &str) -> bool {
    role == ROOT || auth.roles().contains_key(role)
}

#[derive(Deserialize)]
struct UserBody {
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    roles: Option<Vec<String>>,
    #[serde(default)]
    grant: Option<Vec<String>>,
    #[serde(default)]
    revoke: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RoleBody {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    permissions: Option<PermissionsBody>,
    #[serde(default)]
    grant: Option<PermissionsBody>,
    #[serde(default)]
    revoke: Option<PermissionsBody>,
}

#[derive(Default, Deserialize)]
struct PermissionsBody {
    #[serde(default)]
    kv: Option<KvBody>,
}

#[derive(Default, Deserialize)]
struct KvBody {
    #[serde(default)]
    read: Option<Vec<String>>,
    #[serde(default)]
    write: Option<Vec<String>>,
}

/// The first value of a body, as Go's decoder reads it; what follows it does not matter.
fn parse<T: DeserializeOwned>(body: Result<bytes::Bytes, BodyError>) -> Result<Option<T>, Refused> {
    let invalid = || Refused::bad("Invalid JSON in request body.");
    let body = body.map_err(|_| invalid())?;
    let first = serde_json::Deserializer::from_slice(&body).into_iter::<Option<T>>().next();
    first.and_then(Result::ok).ok_or_else(invalid)
}

async fn change(
    doors: &Doors,
    caller: Option<Caller>,
    named: Named,
    method: &Method,
    body: Result<bytes::Bytes, BodyError>,
) -> Result<Answer, Refused> {
    let deletes = method == Method::DELETE;
    match named {
        Named::Enable if deletes => done(doors, caller, V2AuthChange::Disable).await,
        Named::Enable => done(doors, caller, V2AuthChange::Enable).await,
        Named::User(name) if deletes => {
            done(doors, caller, V2AuthChange::DeleteUser { name }).await
        }
        Named::Role(name) if deletes => {
            done(doors, caller, V2AuthChange::DeleteRole { name }).await
        }
        Named::User(name) => put_user(doors, caller, name, parse(body)?).await,
        Named::Role(name) => put_role(doors, caller, name, parse(body)?).await,
        Named::Users | Named::Roles => unreachable!("those are only read"),
    }
}

async fn done(
    doors: &Doors,
    caller: Option<Caller>,
    change: V2AuthChange,
) -> Result<Answer, Refused> {
    apply(doors, caller, change).await?;
    Ok(answer::json(StatusCode::OK, bytes::Bytes::new()))
}

async fn put_user(
    doors: &Doors,
    caller: Option<Caller>,
    name: String,
    body: Option<UserBody>,
) -> Result<Answer, Refused> {
    let no_user = UserBody { user: None, password: None, roles: None, grant: None, revoke: None };
    let UserBody { user, password, roles, grant, revoke } = body.unwrap_or(no_user);
    if user.as_deref() != Some(&name[..]) {
        return Err(Refused::bad("User JSON name does not match the name in the URL"));
    }
    let given = roles.clone(); // null and [] are told apart, as etcd does
    let roles = roles.unwrap_or_default();
    let (grant, revoke) = (grant.unwrap_or_default(), revoke.unwrap_or_default());
    let updates = !grant.is_empty() || !revoke.is_empty();
    if updates && !roles.is_empty() {
        return Err(Refused::bad("User JSON contains both roles and grant/revoke"));
    }
    let password_hash = hashed(doors, password.unwrap_or_default()).await?;
    let has_roles = !roles.is_empty();
    let put = V2UserPut { name: name.clone(), password_hash, roles, grant, revoke };
    let mut out = br#"{"user":"#.to_vec();
    json::push_string(&mut out, name.as_bytes());
    out.extend_from_slice(br#","roles":"#);
    let answer = apply(doors, caller, V2AuthChange::PutUser(put)).await?;
    let status = if let V2AuthAnswer::UserUpdated(roles) = answer {
        push_strings(&mut out, Some(roles.iter()));
        StatusCode::OK
    } else {
        let mut given = given;
        if name == ROOT && !given.iter().flatten().any(|role| role == ROOT) {
            given.get_or_insert_default().push(ROOT.to_owned());
        }
        push_strings(&mut out, given.as_ref().map(|roles| roles.iter()));
        if has_roles { StatusCode::OK } else { StatusCode::CREATED } // etcd's quirk
    };
    out.extend_from_slice(b"}\n");
    Ok(answer::json(status, out))
}

/// The hash of a password; an empty one is none.
async fn hashed(doors: &Doors, password: String) -> Result<Option<PasswordHash>, Refused> {
    if password.is_empty() {
        return Ok(None);
    }
    doors.gate.hash(password).await.map(Some).map_err(|error| match error {
        HashError::TooLong => Refused::bad(format!("auth: {error}")),
        HashError::TooMany | HashError::Stopping => {
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, format!("etcdserver: {error}"))
        }
    })
}

async fn put_role(
    doors: &Doors,
    caller: Option<Caller>,
    name: String,
    body: Option<RoleBody>,
) -> Result<Answer, Refused> {
    let no_role = RoleBody { role: None, permissions: None, grant: None, revoke: None };
    let RoleBody { role, permissions, grant, revoke } = body.unwrap_or(no_role);
    if role.as_deref() != Some(&name[..]) {
        return Err(Refused::bad("Role JSON name does not match the name in the URL"));
    }
    let kv = |body: Option<PermissionsBody>| body.unwrap_or_default().kv.unwrap_or_default();
    let (given, grant, revoke) = (kv(permissions), kv(grant), kv(revoke));
    let put = V2RolePut {
        name: name.clone(),
        permissions: keys_of(&given)?,
        grant: keys_of(&grant)?,
        revoke: keys_of(&revoke)?,
    };
    let updates = !put.grant.is_empty() || !put.revoke.is_empty();
    if updates && !put.permissions.is_empty() && name != ROOT {
        return Err(Refused::bad("Role JSON contains both permissions and grant/revoke"));
    }
    let mut out = Vec::new();
    let answer = apply(doors, caller, V2AuthChange::PutRole(put)).await?;
    let status = if let V2AuthAnswer::RoleUpdated(role) = answer {
        push_permissions(&mut out, &name, patterns(&role).map(Some));
        StatusCode::OK
    } else {
        push_permissions(&mut out, &name, [given.read, given.write]);
        StatusCode::CREATED
    };
    out.push(b'\n');
    Ok(answer::json(status, out))
}

fn keys_of(kv: &KvBody) -> Result<V2Permissions, Refused> {
    let keys = |patterns: &Option<Vec<String>>| {
        let patterns = patterns.iter().flatten();
        let keys = patterns.map(|pattern| keys_of_pattern(pattern));
        // etcd takes an empty one, and ends when it is used.
        keys.collect::<Option<Vec<_>>>().ok_or_else(|| Refused::bad("auth: Empty key pattern"))
    };
    Ok(V2Permissions { read: keys(&kv.read)?, write: keys(&kv.write)? })
}

/// Has a change applied.
async fn apply(
    doors: &Doors,
    caller: Option<Caller>,
    change: V2AuthChange,
) -> Result<V2AuthAnswer, Refused> {
    let enables = change == V2AuthChange::Enable;
    let op = V3Op::Auth(AuthChange::V2(change.clone()));
    let applied = propose(doors, Command::V3(V3Command { caller, op })).await;
    match applied.map_err(|error| lost(&error))? {
        Applied::V3(V3Applied { result: Ok(V3Answer::V2Auth(answer)), .. }) => {
            if enables {
                tracing::warn!(
                    "authentication is on, as v2 switches it on: who sends no name has the rights of the role guest over v2"
                );
            }
            Ok(answer)
        }
        Applied::V3(V3Applied { result: Err(error), .. }) => Err(refused(&change, error)),
        other => unreachable!("a change of users was applied as {other:?}"),
    }
}

/// A change of which nothing is known, or that was not proposed; etcd says no more than this to most.
fn lost(error: &V2Error) -> Refused {
    let status = error.row().2;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return Refused::new(status, error.to_string());
    }
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

fn refused(change: &V2AuthChange, error: V3Error) -> Refused {
    match error {
        V3Error::Auth(AuthError::V2(error)) => {
            let (status, text) = row(change, error);
            Refused::new(status, format!("auth: {text}"))
        }
        V3Error::AuthOldRevision
        | V3Error::PermissionDenied
        | V3Error::Auth(AuthError::UserEmpty) => {
            let error = V2Error::Unauthorized; // rights have changed on the way
            Refused::new(error.row().2, error.to_string())
        }
        _ => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let user = |name: &str| Some(Ok(Named::User(name.to_owned())));
        let invalid = || Some(Err(Refused::bad("Invalid path")));
        for (path, expected) in [
            ("enable", Some(Ok(Named::Enable))),
            ("enable/", None),
            ("users", Some(Ok(Named::Users))),
            ("users/", Some(Ok(Named::Users))),
            ("users/bob", user("bob")),
            ("users/bob/", user("bob")),
            ("users/a b", user("a b")),
            ("users/a/b", invalid()),
            ("roles", Some(Ok(Named::Roles))),
            ("roles/r", Some(Ok(Named::Role("r".to_owned())))),
            ("roles/r/x/y", invalid()),
            ("", None),
            ("nothing", None),
            ("usersx", None),
        ] {
            assert_eq!(Named::of(format!("/v2/auth/{path}").as_bytes()), expected, "{path}");
        }
        assert_eq!(Named::of(b"/v2/auth/users/\xff"), invalid());
    }

    #[test]
    fn bodies() {
        let parsed = |body: &'static str| {
            let user = parse::<UserBody>(Ok(bytes::Bytes::from_static(body.as_bytes())));
            user.map(|user| user.and_then(|user| user.user)).map_err(|refused| refused.text)
        };
        let invalid = || Err("Invalid JSON in request body.".to_owned());
        for (body, expected) in [
            (r#"{"user":"a","x":1}"#, Ok(Some("a".to_owned()))),
            (r#"{"user":"a","roles":null} trailing"#, Ok(Some("a".to_owned()))),
            ("null", Ok(None)),
            ("{}", Ok(None)),
            ("", invalid()),
            ("[", invalid()),
            (r#"{"user":1}"#, invalid()),
            (r#"{"user":"a","roles":"r"}"#, invalid()),
        ] {
            assert_eq!(parsed(body), expected, "{body}");
        }
        assert_eq!(parse::<UserBody>(Err(BodyError::TooLarge)).err().unwrap().status, 400);
        let nested: String = "[".repeat(100_000);
        assert!(parse::<UserBody>(Ok(bytes::Bytes::from(nested))).is_err());
    }
}
