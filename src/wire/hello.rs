//! The handshake: what the member that opens a stream says of itself, in HTTP headers, and whether the
//! other may take it. The HTTP around it is the peer hosts'; docs/peer-protocol.md shows it whole.

use crate::types::{ClusterId, MemberId};

/// The version of frames that this program speaks.
pub const PROTOCOL: u32 = 1;
/// The value of the `Upgrade` header.
pub const UPGRADE: &str = "callboard-peer";
/// The path of the stream.
pub const STREAM_PATH: &str = "/raft/stream";

/// Lower-case hex.
pub const CLUSTER_ID: &str = "X-Callboard-Cluster-ID";
/// The same in the answer that refuses a stream: who refuses is of this cluster.
pub const PROOF: &str = "x-callboard-cluster-id";
/// Lower-case hex; who opens.
pub const FROM: &str = "X-Callboard-From";
/// Lower-case hex; who is meant.
pub const TO: &str = "X-Callboard-To";
/// Decimal.
pub const PROTOCOL_VERSION: &str = "X-Callboard-Protocol";
/// For the other's log.
pub const SERVER_VERSION: &str = "X-Callboard-Server-Version";
/// Where the opener is found, separated by commas.
pub const PEER_URLS: &str = "X-Callboard-Peer-URLs";

/// Longest server version and list of URLs; the rest is not kept.
const TEXT_MAX: usize = 4096;

/// What the opener says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Of which cluster both are.
    pub cluster: ClusterId,
    /// Who opens.
    pub from: MemberId,
    /// Who is meant: another process may have come to listen there.
    pub to: MemberId,
    /// See [`PROTOCOL`].
    pub protocol: u32,
    /// Of the program.
    pub server_version: String,
    /// Where the opener is found. A member that lags may not know one that was added lately, even when it
    /// leads by now; so it learns where to answer.
    pub peer_urls: Vec<String>,
}

/// How the one who is asked knows the opener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is a member, or may be one that is not known here yet: see [`Hello::peer_urls`].
    Member,
    /// It was one, and cannot be again.
    Removed,
    /// It is none.
    Unknown,
}

/// Why a stream is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// A header is missing or is not what it should be.
    #[error("header {name} is missing or malformed")]
    Header {
        /// Which.
        name: &'static str,
    },
    /// The opener belongs to another cluster.
    #[error("this member is of cluster {own:x}, not {theirs:x}")]
    WrongCluster {
        /// This one.
        own: ClusterId,
        /// As the opener said.
        theirs: ClusterId,
    },
    /// The opener means somebody else.
    #[error("this is member {own:x}, not {meant:x}")]
    NotAddressed {
        /// This one.
        own: MemberId,
        /// As the opener said.
        meant: MemberId,
    },
    /// The opener speaks a version that this program does not.
    #[error("this member speaks version {PROTOCOL} of the peer protocol, not {theirs}")]
    Protocol {
        /// As the opener said.
        theirs: u32,
    },
    /// No member has this id.
    #[error("{from:x} is not a member of this cluster")]
    UnknownMember {
        /// The opener.
        from: MemberId,
    },
    /// The member was removed.
    #[error("member {from:x} was removed from this cluster")]
    RemovedMember {
        /// The opener.
        from: MemberId,
    },
}

impl HelloError {
    /// The HTTP status that says it.
    pub fn status(&self) -> u16 {
        match self {
            HelloError::Header { .. } => 400,
            HelloError::WrongCluster { .. }
            | HelloError::NotAddressed { .. }
            | HelloError::Protocol { .. } => 412,
            HelloError::UnknownMember { .. } => 403,
            HelloError::RemovedMember { .. } => 410,
        }
    }
}

impl Hello {
    /// The headers that say it.
    pub fn headers(&self) -> [(&'static str, String); 6] {
        [
            (CLUSTER_ID, format!("{:x}", self.cluster)),
            (FROM, format!("{:x}", self.from)),
            (TO, format!("{:x}", self.to)),
            (PROTOCOL_VERSION, self.protocol.to_string()),
            (SERVER_VERSION, self.server_version.clone()),
            (PEER_URLS, self.peer_urls.join(",")),
        ]
    }

    /// Reads the headers; `header` gives the value of a name. The last two may be missing.
    pub fn parse<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Hello, HelloError> {
        let hex = |name: &'static str| {
            let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let text = header(name).filter(digits);
            let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
            number.filter(|number| *number != 0).ok_or(HelloError::Header { name })
        };
        let text = |name| header(name).filter(|text| text.len() <= TEXT_MAX).unwrap_or_default();
        let protocol = header(PROTOCOL_VERSION)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or(HelloError::Header { name: PROTOCOL_VERSION })?;
        let urls = text(PEER_URLS).split(',').map(str::trim).filter(|url| !url.is_empty());
        Ok(Hello {
            cluster: ClusterId(hex(CLUSTER_ID)?),
            from: MemberId(hex(FROM)?),
            to: MemberId(hex(TO)?),
            protocol,
            server_version: text(SERVER_VERSION).to_owned(),
            peer_urls: urls.map(str::to_owned).collect(),
        })
    }

    /// Whether the member `own` of `cluster`, which knows the opener as `standing`, takes the stream. The
    /// version comes first: what else is said may be of another version's making.
    pub fn accept(
        &self,
        cluster: ClusterId,
        own: MemberId,
        standing: Standing,
    ) -> Result<(), HelloError> {
        if self.protocol != PROTOCOL {
            return Err(HelloError::Protocol { theirs: self.protocol });
        }
        if self.cluster != cluster {
            return Err(HelloError::WrongCluster { own: cluster, theirs: self.cluster });
        }
        if self.to != own {
            return Err(HelloError::NotAddressed { own, meant: self.to });
        }
        match standing {
            Standing::Removed => Err(HelloError::RemovedMember { from: self.from }),
            Standing::Unknown => Err(HelloError::UnknownMember { from: self.from }),
            Standing::Member if self.from == own => {
                Err(HelloError::UnknownMember { from: self.from })
            }
            Standing::Member => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            cluster: ClusterId(0x00c0_ffee),
            from: MemberId(0xa),
            to: MemberId(0xb),
            protocol: PROTOCOL,
            server_version: "0.1.0".to_owned(),
            peer_urls: vec!["http://a:2380".to_owned(), "http://a:2381".to_owned()],
        }
    }

    fn parse(headers: &[(&'static str, String)]) -> Result<Hello, HelloError> {
        Hello::parse(|name| headers.iter().find(|row| row.0 == name).map(|row| row.1.as_str()))
    }

    #[test]
    fn what_is_said_is_understood() {
        assert_eq!(parse(&hello().headers()), Ok(hello()));
        let mut bare = hello().headers();
        bare[4].0 = "";
        bare[5].0 = "";
        let expected = Hello { server_version: String::new(), peer_urls: vec![], ..hello() };
        assert_eq!(parse(&bare), Ok(expected));
    }

    #[test]
    fn malformed_headers_are_named() {
        for (at, bad) in [
            (0, ""),
            (0, "0"),
            (1, "+a"),
            (1, "xyz"),
            (2, "11111111111111111"),
            (3, "-1"),
            (3, "+1"),
            (3, "4294967296"),
        ] {
            let mut headers = hello().headers();
            headers[at].1 = bad.to_owned();
            let name = headers[at].0;
            assert_eq!(parse(&headers), Err(HelloError::Header { name }), "{bad}");
        }
    }

    #[test]
    fn each_refusal_has_its_status() {
        let accept = |hello: Hello, standing| {
            let accepted = hello.accept(ClusterId(0x00c0_ffee), MemberId(0xb), standing);
            accepted.map_err(|error| (error.status(), error.to_string()))
        };
        let refused = |status, text: &str| Err((status, text.to_owned()));
        let table = [
            (hello(), Standing::Member, Ok(())),
            (
                Hello { protocol: 2, cluster: ClusterId(1), ..hello() },
                Standing::Member,
                refused(412, "this member speaks version 1 of the peer protocol, not 2"),
            ),
            (
                Hello { cluster: ClusterId(1), ..hello() },
                Standing::Member,
                refused(412, "this member is of cluster c0ffee, not 1"),
            ),
            (
                Hello { to: MemberId(0xc), ..hello() },
                Standing::Removed,
                refused(412, "this is member b, not c"),
            ),
            (hello(), Standing::Unknown, refused(403, "a is not a member of this cluster")),
            (hello(), Standing::Removed, refused(410, "member a was removed from this cluster")),
            (
                Hello { from: MemberId(0xb), ..hello() },
                Standing::Member,
                refused(403, "b is not a member of this cluster"),
            ),
        ];
        for (hello, standing, expected) in table {
            assert_eq!(accept(hello, standing), expected);
        }
    }
}
