//! The table of v2's errors: code, text and HTTP status, etcd's exact words.

use actix_http::{
    ConnectionType, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use crate::{
    actors::{
        mailbox::AskError,
        raft_node::{ProposeError, ReadError},
    },
    http::{
        Doors,
        answer::{self, Answer},
        json,
        limits::TooMany,
    },
    storage::v2_tree::{V2Code, V2StoreError},
};

/// `X-Etcd-Cluster-Id`
pub const X_ETCD_CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
/// `X-Etcd-Index`
pub const X_ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");
/// `X-Raft-Index`
pub const X_RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
/// `X-Raft-Term`
pub const X_RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");

/// The codes that this door raises itself, beside those of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RequestCode {
    /// 201
    PrevValueRequired = 201,
    /// 202
    TtlNaN = 202,
    /// 203
    IndexNaN = 203,
    /// 209
    InvalidField = 209,
    /// 210
    InvalidForm = 210,
    /// 211
    RefreshValue = 211,
    /// 212
    RefreshTtlRequired = 212,
}

/// What a request that timed out fell into, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing in particular.
    Nothing,
    /// The leader was lost, and another elected.
    LeaderLost,
    /// This member did not reach the leader, or as the leader no quorum.
    ConnectionLost,
}

impl Blame {
    fn words(self) -> &'static str {
        match self {
            Blame::Nothing => "",
            Blame::LeaderLost => ", possibly due to previous leader failure",
            Blame::ConnectionLost => ", possibly due to connection lost",
        }
    }
}

/// Any error of the v2 door. Of a write that was refused with [`V2Error::TimedOut`] nobody knows; with
/// every other it was not applied and will not be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum V2Error {
    /// The request makes no sense; nothing was asked of the store.
    #[error("{code:?}: {cause}")]
    Request {
        /// Which rule it breaks.
        code: RequestCode,
        /// How.
        cause: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] V2StoreError),
    /// The mailbox was full, nothing was proposed.
    #[error("etcdserver: too many requests")]
    Busy,
    /// More is asked than is let in at once, nothing was proposed.
    #[error("etcdserver: too many requests")]
    TooMany,
    /// No leader is known, nothing was proposed.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// The answer did not come in time: a write may or may not have happened, or happen later.
    #[error("etcdserver: request timed out{}", .0.words())]
    TimedOut(Blame),
    /// The request is larger than `--max-request-bytes`, nothing was proposed.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// The disk has no room, nothing was proposed.
    #[error("etcdserver: no space")]
    NoSpace,
    /// The quota is used up, nothing was proposed. etcd's v2 knows no quota: the words are its v3's.
    #[error("etcdserver: mvcc: database space exceeded")]
    OverQuota,
    /// The member shuts down, nothing was proposed.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// Whoever asks may not, or did not say who it is.
    #[error("Insufficient credentials")]
    Unauthorized,
    /// This member's data differs from the others': it serves none of it.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
}

impl From<TooMany> for V2Error {
    fn from(_: TooMany) -> V2Error {
        V2Error::TooMany
    }
}

impl From<AskError> for V2Error {
    fn from(error: AskError) -> V2Error {
        match error {
            AskError::Full => V2Error::Busy,
            AskError::Stopped => V2Error::Stopped,
        }
    }
}

impl From<ProposeError> for V2Error {
    fn from(error: ProposeError) -> V2Error {
        match error {
            ProposeError::NoLeader => V2Error::NoLeader,
            ProposeError::TooManyRequests | ProposeError::LearnerNotReady => V2Error::Busy,
            ProposeError::TooLarge => V2Error::TooLarge,
            ProposeError::NoSpace => V2Error::NoSpace,
            ProposeError::TimedOut => V2Error::TimedOut(Blame::Nothing),
            ProposeError::Stopping => V2Error::Stopped,
        }
    }
}

impl From<ReadError> for V2Error {
    fn from(error: ReadError) -> V2Error {
        match error {
            ReadError::NoLeader => V2Error::NoLeader,
            ReadError::TimedOut => V2Error::TimedOut(Blame::Nothing),
            ReadError::Stopping => V2Error::Stopped,
        }
    }
}

impl V2Error {
    /// Code, text and status.
    pub fn row(&self) -> (u16, &'static str, StatusCode) {
        const RAFT: (u16, &str) = (300, "Raft Internal Error");
        let ((code, text), status) = match self {
            V2Error::Store(error) => match error.code {
                V2Code::KeyNotFound => ((100, "Key not found"), StatusCode::NOT_FOUND),
                V2Code::TestFailed => ((101, "Compare failed"), StatusCode::PRECONDITION_FAILED),
                V2Code::NotFile => ((102, "Not a file"), StatusCode::FORBIDDEN),
                V2Code::NotDir => ((104, "Not a directory"), StatusCode::BAD_REQUEST),
                V2Code::NodeExist => ((105, "Key already exists"), StatusCode::PRECONDITION_FAILED),
                V2Code::RootReadOnly => ((107, "Root is read only"), StatusCode::BAD_REQUEST),
                V2Code::DirNotEmpty => ((108, "Directory not empty"), StatusCode::FORBIDDEN),
                V2Code::NoSpace => (RAFT, StatusCode::INTERNAL_SERVER_ERROR),
                V2Code::EventIndexCleared => (
                    (401, "The event in requested index is outdated and cleared"),
                    StatusCode::BAD_REQUEST,
                ),
            },
            V2Error::Request { code, .. } => {
                let text = match code {
                    RequestCode::PrevValueRequired => "PrevValue is Required in POST form",
                    RequestCode::TtlNaN => "The given TTL in POST form is not a number",
                    RequestCode::IndexNaN => "The given index in POST form is not a number",
                    RequestCode::InvalidField => "Invalid field",
                    RequestCode::InvalidForm => "Invalid POST form",
                    RequestCode::RefreshValue => "Value provided on refresh",
                    RequestCode::RefreshTtlRequired => "A TTL must be provided on refresh",
                };
                ((*code as u16, text), StatusCode::BAD_REQUEST)
            }
            V2Error::TooLarge => ((210, "Invalid POST form"), StatusCode::BAD_REQUEST),
            V2Error::Unauthorized => {
                ((110, "The request requires user authentication"), StatusCode::UNAUTHORIZED)
            }
            V2Error::TooMany => (RAFT, StatusCode::TOO_MANY_REQUESTS),
            V2Error::Busy | V2Error::Stopped => (RAFT, StatusCode::SERVICE_UNAVAILABLE),
            V2Error::NoLeader
            | V2Error::TimedOut(_)
            | V2Error::NoSpace
            | V2Error::OverQuota
            | V2Error::Corrupt => (RAFT, StatusCode::INTERNAL_SERVER_ERROR),
        };
        (code, text, status)
    }

    /// The answer: v2's JSON, with the store's index or none (0).
    pub fn answer(&self, doors: &Doors) -> Answer {
        let (code, text, status) = self.row();
        let words;
        let (cause, index) = match self {
            V2Error::Store(error) => (&error.cause[..], error.index.0),
            V2Error::Request { cause, .. } => (cause.as_bytes(), 0),
            _ => {
                words = self.to_string();
                (words.as_bytes(), 0)
            }
        };
        let mut body = Vec::with_capacity(96 + cause.len());
        body.extend_from_slice(br#"{"errorCode":"#);
        json::push_u64(&mut body, u64::from(code));
        body.extend_from_slice(br#","message":"#);
        json::push_string(&mut body, text.as_bytes());
        if !cause.is_empty() {
            body.extend_from_slice(br#","cause":"#);
            json::push_string(&mut body, cause);
        }
        body.extend_from_slice(br#","index":"#);
        json::push_u64(&mut body, index);
        body.extend_from_slice(b"}\n");
        let mut answer = answer::json(status, body);
        set_cluster_id(&mut answer, doors);
        answer::set_number(&mut answer, &X_ETCD_INDEX, index);
        match self {
            V2Error::Busy | V2Error::TooMany => {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            V2Error::Stopped => answer.head_mut().set_connection_type(ConnectionType::Close),
            _ => {}
        }
        answer
    }
}

/// Names the cluster in an answer.
pub fn set_cluster_id(answer: &mut Answer, doors: &Doors) {
    let mut id = Vec::with_capacity(16);
    json::push_hex(&mut id, doors.published.identity.cluster_id.0);
    answer::set_header(answer, &X_ETCD_CLUSTER_ID, id);
}

/// Names the cluster and its numbers in an answer that succeeded.
pub fn set_indexes(answer: &mut Answer, doors: &Doors, index: u64) {
    set_cluster_id(answer, doors);
    answer::set_number(answer, &X_ETCD_INDEX, index);
    answer::set_number(answer, &X_RAFT_INDEX, doors.published.raft.commit().0);
    answer::set_number(answer, &X_RAFT_TERM, doors.published.raft.term().0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Revision;

    #[test]
    fn every_row_of_the_table() {
        let store = |code| V2Error::from(V2StoreError { code, cause: vec![], index: Revision(7) });
        let request = |code| V2Error::Request { code, cause: String::new() };
        let raft = "Raft Internal Error";
        for (error, code, text, status) in [
            (store(V2Code::KeyNotFound), 100, "Key not found", 404),
            (store(V2Code::TestFailed), 101, "Compare failed", 412),
            (store(V2Code::NotFile), 102, "Not a file", 403),
            (store(V2Code::NotDir), 104, "Not a directory", 400),
            (store(V2Code::NodeExist), 105, "Key already exists", 412),
            (store(V2Code::RootReadOnly), 107, "Root is read only", 400),
            (store(V2Code::DirNotEmpty), 108, "Directory not empty", 403),
            (
                store(V2Code::EventIndexCleared),
                401,
                "The event in requested index is outdated and cleared",
                400,
            ),
            (
                request(RequestCode::PrevValueRequired),
                201,
                "PrevValue is Required in POST form",
                400,
            ),
            (request(RequestCode::TtlNaN), 202, "The given TTL in POST form is not a number", 400),
            (
                request(RequestCode::IndexNaN),
                203,
                "The given index in POST form is not a number",
                400,
            ),
            (request(RequestCode::InvalidField), 209, "Invalid field", 400),
            (request(RequestCode::InvalidForm), 210, "Invalid POST form", 400),
            (request(RequestCode::RefreshValue), 211, "Value provided on refresh", 400),
            (
                request(RequestCode::RefreshTtlRequired),
                212,
                "A TTL must be provided on refresh",
                400,
            ),
            (V2Error::TooLarge, 210, "Invalid POST form", 400),
            (V2Error::Busy, 300, raft, 503),
            (V2Error::TooMany, 300, raft, 429),
            (V2Error::Stopped, 300, raft, 503),
            (V2Error::NoLeader, 300, raft, 500),
            (V2Error::TimedOut(Blame::LeaderLost), 300, raft, 500),
            (V2Error::Corrupt, 300, raft, 500),
            (V2Error::NoSpace, 300, raft, 500),
            (V2Error::OverQuota, 300, raft, 500),
            (store(V2Code::NoSpace), 300, raft, 500),
        ] {
            let expected = (code, text, StatusCode::from_u16(status).expect("a status"));
            assert_eq!(error.row(), expected, "{error:?}");
        }
    }

    #[test]
    fn what_other_layers_say_becomes_etcds_words() {
        for (error, expected) in [
            (V2Error::from(AskError::Full), "etcdserver: too many requests"),
            (AskError::Stopped.into(), "etcdserver: server stopped"),
            (ProposeError::NoLeader.into(), "etcdserver: no leader"),
            (ProposeError::TooManyRequests.into(), "etcdserver: too many requests"),
            (ProposeError::TooLarge.into(), "etcdserver: request is too large"),
            (ProposeError::NoSpace.into(), "etcdserver: no space"),
            (ProposeError::TimedOut.into(), "etcdserver: request timed out"),
            (ProposeError::Stopping.into(), "etcdserver: server stopped"),
            (ReadError::NoLeader.into(), "etcdserver: no leader"),
            (ReadError::TimedOut.into(), "etcdserver: request timed out"),
            (ReadError::Stopping.into(), "etcdserver: server stopped"),
            (
                V2Error::TimedOut(Blame::LeaderLost),
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (
                V2Error::TimedOut(Blame::ConnectionLost),
                "etcdserver: request timed out, possibly due to connection lost",
            ),
            (V2Error::Corrupt, "etcdserver: corrupt cluster"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }
}
