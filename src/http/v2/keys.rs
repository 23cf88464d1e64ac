//! `/v2/keys/…`: reads from published state, writes through the log.

use std::{borrow::Cow, sync::Arc};

use actix_http::{Method, Payload, Request, StatusCode, header};
use bytes::Bytes;

use super::{
    access::{Credentials, Needs, Pass},
    consensus::{propose, read_index},
    error::{RequestCode, V2Error, set_indexes},
    event, media_type,
    params::{Params, refused},
    watch,
};
use crate::{
    clock::wall_clock,
    command::{AlarmKind, Command, V2Command, V2Compare, V2Op, V2Write},
    http::{
        Doors,
        answer::{self, Answer},
        aside::aside,
        body::{self, BodyError},
        limits::Class,
        path::{COMPONENTS_MAX, is_too_deep},
        quota,
        service::Routed,
    },
    metrics::Door,
    storage::{
        mvcc::{
            Applied, State,
            record::{Action, RevisionRecord},
            watch::Part,
        },
        v2_tree::{V2Event, V2StoreError, read},
    },
    types::Revision,
};

/// The methods of v2's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Head,
    Put,
    Post,
    Delete,
}

impl Verb {
    fn of(method: &Method) -> Option<Verb> {
        Some(match *method {
            Method::GET => Verb::Get,
            Method::HEAD => Verb::Head,
            Method::PUT => Verb::Put,
            Method::POST => Verb::Post,
            Method::DELETE => Verb::Delete,
            _ => return None,
        })
    }
}

/// Answers a request for the key whose decoded path, below `/v2/keys`, is `key`.
pub fn answer(doors: &Arc<Doors>, key: &[u8], query: &str, request: &mut Request) -> Routed {
    let Some(verb) = Verb::of(request.method()) else {
        return Routed::Now(answer::method_not_allowed(Some("HEAD,GET,PUT,POST,DELETE")));
    };
    if is_corrupt(doors, &doors.published.state.load()) {
        return Routed::Now(refuse(doors, &V2Error::Corrupt));
    }
    let named = if key.is_empty() { b"/" } else { key };
    let key = match key.strip_suffix(b"/").unwrap_or(key) {
        b"" => b"/",
        key => key,
    };
    let credentials = Credentials::of(request);
    let open = !doors.published.state.load().auth().enabled();
    let payload = request.take_payload();
    if matches!(verb, Verb::Get | Verb::Head) && matches!(payload, Payload::None) {
        // The hot path: no body, and most often no wait either.
        let asked = match Params::parse(query, b"", verb == Verb::Get) {
            Ok(params) => Asked::of(&params, verb),
            Err(error) => return Routed::Now(refuse(doors, &error)),
        };
        return match asked {
            Asked::Read { recursive } if open && is_quick(doors, key) => {
                Routed::Now(read_now(doors, key, recursive))
            }
            other => {
                let (doors, key) = (Arc::clone(doors), Bytes::copy_from_slice(key));
                let needs = other.needs(named);
                Routed::later(async move {
                    match credentials.admit(&doors, needs).await {
                        Ok(pass) => other.answer(doors, key, pass).await,
                        Err(error) => refuse(&doors, &error),
                    }
                })
            }
        };
    }
    let call = Call {
        doors: Arc::clone(doors),
        verb,
        named: Bytes::copy_from_slice(named),
        credentials,
        key: key.to_vec(),
        query: query.to_owned(),
        content_type: request.head().headers().get(header::CONTENT_TYPE).cloned(),
        declared: body::declared_len(request.head()),
    };
    Routed::later(call.answer(payload))
}

/// Whether this member was found to hold other data than the others: then it shows none of it.
pub fn is_corrupt(doors: &Doors, state: &State) -> bool {
    let alarms = state.alarms();
    !alarms.is_empty() && alarms.contains(&(doors.published.identity.member_id, AlarmKind::Corrupt))
}

/// A request whose body has yet to be read.
struct Call {
    doors: Arc<Doors>,
    verb: Verb,
    /// The key as it came.
    named: Bytes,
    credentials: Credentials,
    key: Vec<u8>,
    query: String,
    content_type: Option<header::HeaderValue>,
    declared: Option<u64>,
}

impl Call {
    async fn answer(self, payload: Payload) -> Answer {
        match self.try_answer(payload).await {
            Ok(answer) => answer,
            Err((doors, error)) => refuse(&doors, &error),
        }
    }

    async fn try_answer(self, payload: Payload) -> Result<Answer, (Arc<Doors>, V2Error)> {
        let Call { doors, verb, named, credentials, key, query, content_type, declared } = self;
        let body = match verb {
            Verb::Put | Verb::Post => {
                form_body(&doors, payload, content_type.as_ref(), declared).await
            }
            Verb::Get | Verb::Head | Verb::Delete => {
                body::discard(payload, declared).await;
                Ok(Bytes::new())
            }
        };
        // Both the body and the query are read before the first complaint, which is about the body.
        let parsed = match &body {
            Ok(body) => Params::parse(&query, body, verb == Verb::Get),
            Err(error) => Err(error.clone()),
        };
        let params = match parsed {
            Ok(params) => params,
            Err(error) => return Err((doors, error)),
        };
        let no_value_on_success = params.no_value_on_success;
        let below = params.recursive || params.dir || verb == Verb::Post;
        let op = match verb {
            Verb::Get | Verb::Head => {
                let asked = Asked::of(&params, verb);
                return match credentials.admit(&doors, asked.needs(&named)).await {
                    Ok(pass) => Ok(asked.answer(doors, Bytes::from(key), pass).await),
                    Err(error) => Err((doors, error)),
                };
            }
            Verb::Put | Verb::Post => {
                write_op(verb, params, body.as_ref().unwrap_or(&Bytes::new()))
            }
            Verb::Delete => delete_op(params),
        };
        let command = V2Command { path: key, op };
        let compares =
            matches!(command.op, V2Op::CompareAndSwap { .. } | V2Op::CompareAndDelete(_));
        let needs = Needs { path: named, read: compares, write: true, below };
        let pass = match credentials.admit(&doors, needs).await {
            Ok(pass) => pass,
            Err(error) => return Err((doors, error)),
        };
        match write(&doors, command, no_value_on_success, &pass).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err((doors, error)),
        }
    }
}

/// Reads a form; a body of another type is read and forgotten.
async fn form_body(
    doors: &Doors,
    payload: Payload,
    content_type: Option<&header::HeaderValue>,
    declared: Option<u64>,
) -> Result<Bytes, V2Error> {
    let content_type = content_type.map_or(&b""[..], header::HeaderValue::as_bytes);
    let is_form = media_type::is_form(content_type);
    let limit = doors.settings.max_request_bytes;
    let bad_form = |cause: String| refused(RequestCode::InvalidForm, cause);
    let read = body::read(payload, declared, limit).await;
    let is_form = is_form.map_err(|error| bad_form(error.to_string()))?;
    match read {
        Ok(bytes) if is_form => Ok(bytes),
        Ok(_) => Ok(Bytes::new()),
        Err(error @ (BodyError::TooLarge | BodyError::Broken | BodyError::Slow)) => {
            Err(bad_form(error.to_string()))
        }
    }
}

/// What a GET or HEAD asks for.
enum Asked {
    Read { recursive: bool },
    QuorumRead { recursive: bool },
    Watch { recursive: bool, wait_index: u64, stream: bool },
}

impl Asked {
    fn of(params: &Params<'_>, verb: Verb) -> Asked {
        let recursive = params.recursive;
        if params.quorum && verb == Verb::Get {
            return Asked::QuorumRead { recursive }; // even with `wait`
        }
        if params.wait {
            let (wait_index, stream) = (params.wait_index, params.stream);
            return Asked::Watch { recursive, wait_index, stream };
        }
        Asked::Read { recursive }
    }

    fn needs(&self, named: &[u8]) -> Needs {
        let (Asked::Read { recursive }
        | Asked::QuorumRead { recursive }
        | Asked::Watch { recursive, .. }) = self;
        let path = Bytes::copy_from_slice(named);
        Needs { path, read: true, write: false, below: *recursive }
    }

    async fn answer(self, doors: Arc<Doors>, key: Bytes, pass: Pass) -> Answer {
        match self {
            Asked::Read { recursive } => read_aside(doors, key, recursive).await,
            Asked::QuorumRead { recursive } => match read_index(&doors).await {
                Ok(()) if !pass.holds(&doors.published.state.load()) => {
                    refuse(&doors, &V2Error::Unauthorized) // rights have changed meanwhile
                }
                Ok(()) if is_quick(&doors, &key) => read_now(&doors, &key, recursive),
                Ok(()) => read_aside(doors, key, recursive).await,
                Err(error) => refuse(&doors, &error),
            },
            Asked::Watch { recursive, wait_index, stream } => {
                let asked = watch::Asked { key, recursive, wait_index, stream, pass };
                match watch::watch(&doors, asked).await {
                    Ok(answer) => count(&doors, Door::Watch, answer),
                    Err(error) => refuse(&doors, &error),
                }
            }
        }
    }
}

/// Whether a read takes so little that nobody waits for it: a file, or a directory of few keys that are
/// not large.
fn is_quick(doors: &Doors, key: &[u8]) -> bool {
    const KEYS_MAX: usize = 200;
    const BYTES_MAX: usize = 1 << 20;
    let state = doors.published.state.load();
    state.key(key).is_some() || read::has_at_most(&state, key, KEYS_MAX, BYTES_MAX)
}

fn read_now(doors: &Doors, key: &[u8], recursive: bool) -> Answer {
    let state = doors.published.state.load();
    let body = read::get(&state, key, recursive).map(|node| event::got(&node, wall_clock()));
    got(doors, state.revision, body)
}

/// Reads a large directory on a thread of its own: other connections, and the actors if they live on
/// this one, go on meanwhile. What it reads is a state that does not change.
async fn read_aside(doors: Arc<Doors>, key: Bytes, recursive: bool) -> Answer {
    let _place = match doors.limits.enter(Class::Large) {
        Ok(place) => place,
        Err(error) => return refuse(&doors, &error.into()),
    };
    let published = Arc::clone(&doors);
    let reading = aside(move || {
        let state = published.published.state.load_full();
        let body = read::get(&state, &key, recursive).map(|node| event::got(&node, wall_clock()));
        (state.revision, body)
    });
    match reading.await {
        Some((revision, body)) => got(&doors, revision, body),
        None => refuse(&doors, &V2Error::Stopped), // the runtime ends
    }
}

fn got(doors: &Doors, revision: Revision, body: Result<Vec<u8>, V2StoreError>) -> Answer {
    doors.stats.gets.count(body.is_ok());
    let body = body.map(|body| doors.limits.hold(body.into()));
    match body {
        Ok(Err(error)) => refuse(doors, &error.into()),
        Ok(Ok(body)) => {
            let mut answer = answer::json(StatusCode::OK, body);
            set_indexes(&mut answer, doors, revision.0);
            count(doors, Door::Read, answer)
        }
        Err(error) => refuse(doors, &V2Error::Store(error)),
    }
}

fn refuse(doors: &Doors, error: &V2Error) -> Answer {
    count(doors, Door::Refused, error.answer(doors))
}

fn count(doors: &Doors, door: Door, answer: Answer) -> Answer {
    doors.metrics.count_request(door, answer.status().as_u16());
    answer
}

/// Which of the store's operations a PUT or POST is.
fn write_op(verb: Verb, params: Params<'_>, body: &Bytes) -> V2Op {
    let write = V2Write {
        dir: params.dir,
        value: shared_value(params.value, body),
        ttl: params.ttl,
        refresh: params.refresh,
    };
    if verb == Verb::Post {
        return V2Op::CreateInOrder(write);
    }
    let compare =
        V2Compare { prev_value: params.prev_value.into_owned(), prev_index: params.prev_index };
    let compares = compare.prev_index > 0 || !compare.prev_value.is_empty();
    match params.prev_exist {
        Some(false) => V2Op::Create(write),
        Some(true) if !compares => V2Op::Update(write),
        None if !compares => V2Op::Set(write),
        Some(true) | None => V2Op::CompareAndSwap { compare, write },
    }
}

fn delete_op(params: Params<'_>) -> V2Op {
    if params.prev_index > 0 || !params.prev_value.is_empty() {
        let (prev_value, prev_index) = (params.prev_value.into_owned(), params.prev_index);
        return V2Op::CompareAndDelete(V2Compare { prev_value, prev_index });
    }
    V2Op::Delete { dir: params.dir, recursive: params.recursive }
}

/// A value that needed no decoding is a piece of the body, not a copy of it.
fn shared_value(value: Cow<'_, [u8]>, body: &Bytes) -> Bytes {
    match value {
        Cow::Owned(value) => Bytes::from(value),
        Cow::Borrowed(value) => {
            let within = body.as_ptr_range().contains(&value.as_ptr());
            if within { body.slice_ref(value) } else { Bytes::copy_from_slice(value) }
        }
    }
}

async fn write(
    doors: &Doors,
    command: V2Command,
    no_value_on_success: bool,
    pass: &Pass,
) -> Result<Answer, V2Error> {
    let more = usize::from(matches!(command.op, V2Op::CreateInOrder(_))); // the name that it makes
    if is_too_deep(&command.path, more) {
        let cause = format!("a path has at most {COMPONENTS_MAX} components");
        return Err(refused(RequestCode::InvalidField, cause));
    }
    if let Some(bytes) = quota::v2_cost(&command)
        && !quota::has_room(doors, bytes)
    {
        return Err(V2Error::OverQuota);
    }
    let applied = propose(doors, Command::V2(command)).await?;
    let Applied::V2(result) = applied else {
        unreachable!("a v2 command is answered as one, not by {applied:?}");
    };
    let record = result?;
    let may_read = pass.may_read(&doors.published.state.load());
    Ok(written(doors, &record, no_value_on_success, may_read))
}

fn written(
    doors: &Doors,
    record: &RevisionRecord,
    no_value_on_success: bool,
    may_read: bool,
) -> Answer {
    let part = if record.dir.is_some() { Part::Dir } else { Part::Change(0) };
    let event = V2Event::of(record, part);
    let status = if event.created() { StatusCode::CREATED } else { StatusCode::OK };
    let is_brief = no_value_on_success
        && matches!(
            event.action,
            Action::Set | Action::Create | Action::Update | Action::CompareAndSwap
        );
    let body = if is_brief || !may_read {
        event::happened_briefly(event.action)
    } else {
        event::happened(&event)
    };
    let mut answer = answer::json(status, body);
    set_indexes(&mut answer, doors, record.revision.0);
    count(doors, Door::Write, answer)
}
