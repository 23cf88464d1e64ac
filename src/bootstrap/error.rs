//! Why a member cannot learn who is in its cluster, as one line each. Depends on `client`.

use super::client::ClientError;
use crate::types::MemberId;

/// What stops the start of a member without data.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It has been a member, and has lost its data.
    #[error(
        "member {id:x} ({name:?}) has already been bootstrapped: it has lost its data; remove it from the cluster, add it again, and start it with --initial-cluster-state=existing"
    )]
    AlreadyBootstrapped {
        /// Its id.
        id: MemberId,
        /// Its name.
        name: String,
    },
    /// What was found does not have this member.
    #[error("couldn't find local name {name:?} in the initial cluster configuration")]
    NotThere {
        /// Its name.
        name: String,
    },
    /// No member of the cluster that is to be joined answers.
    #[error("cannot fetch cluster info from peer urls: {}: {}", urls.join(","), failures.join("; "))]
    NoPeerAnswers {
        /// Who was asked.
        urls: Vec<String>,
        /// What each said.
        failures: Vec<String>,
    },
    /// The cluster that is to be joined is another one than was configured.
    #[error("error validating peerURLs: {0}")]
    Mismatch(String),
    /// The token does not say how many members there will be.
    #[error("discovery token {token}: {reason}: its _config/size must be the number of members")]
    Size {
        /// Which token.
        token: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The token has all its members.
    #[error("discovery token {token}: cluster is full: it has its {} members", entries.len())]
    Full {
        /// Which token.
        token: String,
        /// What they wrote.
        entries: Vec<String>,
    },
    /// The token has this member already.
    #[error(
        "discovery token {token}: member {id:x} is registered already; a token founds one cluster once"
    )]
    Duplicate {
        /// Which token.
        token: String,
        /// This member.
        id: MemberId,
    },
    /// What a member wrote at the token cannot be used.
    #[error("discovery token {token}: entry {entry:?} {reason}")]
    Entry {
        /// Which token.
        token: String,
        /// What is there.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server refuses for good.
    #[error("discovery token {token}: the server answers {status}: {body}")]
    Refused {
        /// Which token.
        token: String,
        /// The status.
        status: u16,
        /// What it says.
        body: String,
    },
    /// The server cannot be asked at all.
    #[error("discovery token {token}: {source}")]
    Client {
        /// Which token.
        token: String,
        /// Why.
        source: ClientError,
    },
    /// A certificate, a key or an authority that discovery is to use is not what it should be.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// DNS does not name the members.
    #[error("discovery-srv {domain}: {reason}")]
    Dns {
        /// The domain.
        domain: String,
        /// Why, on one line.
        reason: String,
    },
}
