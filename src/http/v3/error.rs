//! What an RPC is refused for: gRPC's code and etcd's text, which clients compare letter by letter.
//! Most of etcd's texts are in `rpctypes/error.go` of its sources.

use std::borrow::Cow;

use crate::{
    actors::{
        mailbox::AskError,
        raft_node::{ProposeError, ReadError},
    },
    http::limits::TooMany,
    storage::v3::{AuthError, V3Error},
};

/// gRPC's status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// Of errors that have no code of their own.
    Unknown = 2,
    /// The request makes no sense.
    InvalidArgument = 3,
    /// The caller's time is over.
    DeadlineExceeded = 4,
    /// It is not there.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Too large, or too many.
    ResourceExhausted = 8,
    /// Not in this state.
    FailedPrecondition = 9,
    /// Stopped by the other side.
    Aborted = 10,
    /// Outside what there is.
    OutOfRange = 11,
    /// There is no such RPC.
    Unimplemented = 12,
    /// Broken.
    Internal = 13,
    /// Not now; ask again.
    Unavailable = 14,
    /// The data is damaged.
    DataLoss = 15,
    /// The caller must say who it is.
    Unauthenticated = 16,
}

/// A refused RPC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// gRPC's code.
    pub code: Code,
    /// The text, prefix and all.
    pub message: Cow<'static, str>,
}

impl RpcError {
    /// An error of this code and text.
    pub const fn new(code: Code, message: &'static str) -> RpcError {
        RpcError { code, message: Cow::Borrowed(message) }
    }

    /// One whose text is made for the occasion.
    pub fn with_text(code: Code, message: impl Into<String>) -> RpcError {
        RpcError { code, message: Cow::Owned(message.into()) }
    }
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:ident $text:literal;)*) => {
        $($(#[$doc])* pub const $name: RpcError = RpcError::new(Code::$code, $text);)*
    };
}

errors! {
    /// There is no such RPC.
    UNIMPLEMENTED = Unimplemented "unknown method";
    /// A key is needed.
    EMPTY_KEY = InvalidArgument "etcdserver: key is not provided";
    /// As its text says.
    KEY_NOT_FOUND = InvalidArgument "etcdserver: key not found";
    /// `ignore_value` with a value.
    VALUE_PROVIDED = InvalidArgument "etcdserver: value is provided";
    /// `ignore_lease` with a lease.
    LEASE_PROVIDED = InvalidArgument "etcdserver: lease is provided";
    /// `--max-txn-ops`.
    TOO_MANY_OPS = InvalidArgument "etcdserver: too many operations in txn request";
    /// A key is put twice.
    DUPLICATE_KEY = InvalidArgument "etcdserver: duplicate key given in txn request";
    /// A sort order or target that there is not.
    INVALID_SORT_OPTION = InvalidArgument "etcdserver: invalid sort option";
    /// `--max-request-bytes`.
    REQUEST_TOO_LARGE = InvalidArgument "etcdserver: request is too large";
    /// History is gone.
    COMPACTED = OutOfRange "etcdserver: mvcc: required revision has been compacted";
    /// There is no such revision yet.
    FUTURE_REVISION = OutOfRange "etcdserver: mvcc: required revision is a future revision";
    /// The quota is used up.
    NO_SPACE = ResourceExhausted "etcdserver: mvcc: database space exceeded";
    /// As its text says.
    LEASE_NOT_FOUND = NotFound "etcdserver: requested lease not found";
    /// As its text says.
    LEASE_EXISTS = FailedPrecondition "etcdserver: lease already exists";
    /// As its text says.
    LEASE_TTL_TOO_LARGE = OutOfRange "etcdserver: too large lease TTL";
    /// A full mailbox, or more than is let in at once.
    TOO_MANY_REQUESTS = ResourceExhausted "etcdserver: too many requests";
    /// This member's data differs from the others'.
    CORRUPT = DataLoss "etcdserver: corrupt cluster";
    /// As its text says.
    NO_LEADER = Unavailable "etcdserver: no leader";
    /// This member does not lead.
    NOT_LEADER = FailedPrecondition "etcdserver: not leader";
    /// As its text says.
    LEADER_CHANGED = Unavailable "etcdserver: leader changed";
    /// As its text says.
    STOPPED = Unavailable "etcdserver: server stopped";
    /// It may or may not have been applied.
    TIMEOUT = Unavailable "etcdserver: request timed out";
    /// The same, and an election was on.
    TIMEOUT_LEADER_LOST = Unavailable "etcdserver: request timed out, possibly due to previous leader failure";
    /// The same, and the leader cannot be reached.
    TIMEOUT_CONNECTION_LOST = Unavailable "etcdserver: request timed out, possibly due to connection lost";
    /// Not enough members are there for what was asked.
    UNHEALTHY = Unavailable "etcdserver: unhealthy cluster";
    /// A learner answers only what needs no vote.
    NOT_SUPPORTED_FOR_LEARNER = FailedPrecondition "etcdserver: rpc not supported for learner";
    /// As its text says.
    MEMBER_EXISTS = FailedPrecondition "etcdserver: member ID already exist";
    /// As its text says.
    PEER_URL_EXISTS = FailedPrecondition "etcdserver: Peer URLs already exists";
    /// Which etcd has no code for.
    NOT_ENOUGH_STARTED = Unknown "etcdserver: re-configuration failed due to not enough started members";
    /// As its text says.
    MEMBER_BAD_URLS = InvalidArgument "etcdserver: given member URLs are invalid";
    /// There is no such member, or no more.
    MEMBER_NOT_FOUND = NotFound "etcdserver: member not found";
    /// As its text says.
    MEMBER_NOT_LEARNER = FailedPrecondition "etcdserver: can only promote a learner member";
    /// As its text says.
    LEARNER_NOT_READY = FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader";
    /// `--max-learners`.
    TOO_MANY_LEARNERS = FailedPrecondition "etcdserver: too many learner members in cluster";
    /// What is asked of alarms is none of what there is.
    UNKNOWN_ALARM = InvalidArgument "etcdserver: unknown alarm request";
    /// An action that there is not.
    UNKNOWN_METHOD = Unknown "etcdserver: unknown method";
    /// It is no version at all.
    WRONG_DOWNGRADE_VERSION_FORMAT = InvalidArgument "etcdserver: wrong downgrade target version format";
    /// There is no way to that version.
    INVALID_DOWNGRADE_TARGET_VERSION = InvalidArgument "etcdserver: invalid downgrade target version";
    /// As its text says.
    NO_INFLIGHT_DOWNGRADE = FailedPrecondition "etcdserver: no inflight downgrade job";
    /// The lead was not taken over in time.
    TIMEOUT_LEADER_TRANSFER = Unknown "etcdserver: request timed out, leader transfer took too long";
    /// As its text says.
    BAD_LEADER_TRANSFEREE = FailedPrecondition "etcdserver: bad leader transferee";
    /// No token, or none that is known.
    INVALID_AUTH_TOKEN = Unauthenticated "etcdserver: invalid auth token";
    /// No token where one is needed.
    USER_EMPTY = InvalidArgument "etcdserver: user name is empty";
    /// As its text says.
    PERMISSION_DENIED = PermissionDenied "etcdserver: permission denied";
    /// As its text says.
    AUTH_OLD_REVISION = InvalidArgument "etcdserver: revision of auth store is old";
    /// Wrong name or wrong password.
    AUTH_FAILED = InvalidArgument "etcdserver: authentication failed, invalid user ID or password";
    /// No password fits this user.
    NO_PASSWORD_USER = Unknown "auth: authentication failed, password was given for no password user";
    /// bcrypt would look at a part of it alone.
    PASSWORD_TOO_LONG = InvalidArgument "etcdserver: password length exceeds 72 bytes";
    /// As its text says.
    AUTH_NOT_ENABLED = FailedPrecondition "etcdserver: authentication is not enabled";
}

impl From<V3Error> for RpcError {
    fn from(error: V3Error) -> RpcError {
        match error {
            V3Error::KeyNotFound => KEY_NOT_FOUND,
            V3Error::LeaseNotFound => LEASE_NOT_FOUND,
            V3Error::LeaseExists => LEASE_EXISTS,
            V3Error::Compacted => COMPACTED,
            V3Error::FutureRevision => FUTURE_REVISION,
            V3Error::NoSpace => NO_SPACE,
            V3Error::Corrupt => CORRUPT,
            V3Error::AuthOldRevision => AUTH_OLD_REVISION,
            V3Error::PermissionDenied => PERMISSION_DENIED,
            V3Error::Auth(error) => error.into(),
        }
    }
}

impl From<AuthError> for RpcError {
    fn from(error: AuthError) -> RpcError {
        let code = match error {
            AuthError::UserEmpty
            | AuthError::RoleEmpty
            | AuthError::PermissionNotGiven
            | AuthError::InvalidManagement => Code::InvalidArgument,
            _ => Code::FailedPrecondition,
        };
        RpcError::with_text(code, format!("etcdserver: {error}"))
    }
}

impl From<TooMany> for RpcError {
    fn from(_: TooMany) -> RpcError {
        TOO_MANY_REQUESTS
    }
}

impl From<AskError> for RpcError {
    fn from(error: AskError) -> RpcError {
        match error {
            AskError::Full => TOO_MANY_REQUESTS,
            AskError::Stopped => STOPPED,
        }
    }
}

impl From<ProposeError> for RpcError {
    fn from(error: ProposeError) -> RpcError {
        match error {
            ProposeError::NoLeader => NO_LEADER,
            ProposeError::TooManyRequests => TOO_MANY_REQUESTS,
            ProposeError::TooLarge => REQUEST_TOO_LARGE,
            ProposeError::NoSpace => NO_SPACE,
            ProposeError::LearnerNotReady => LEARNER_NOT_READY,
            ProposeError::TimedOut => TIMEOUT,
            ProposeError::Stopping => STOPPED,
        }
    }
}

impl From<ReadError> for RpcError {
    fn from(error: ReadError) -> RpcError {
        match error {
            ReadError::NoLeader => NO_LEADER,
            ReadError::TimedOut => TIMEOUT,
            ReadError::Stopping => STOPPED,
        }
    }
}
