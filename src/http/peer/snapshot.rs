//! `/raft/snapshot/<term>-<index>`: a peer asks how much of a snapshot file is here, and sends the rest.
//! docs/peer-protocol.md describes the exchange.

use std::{fmt::Display, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, StatusCode,
    body::Body,
    header::{self, HeaderValue},
};
use raft::eraftpb::Message;

use super::{PeerAnswer, pages, text};

use crate::{
    actors::snapshotter::{
        receive::{Progress, Refused, Session, Transfer},
        receiver::ReceiverDoor,
    },
    published::Published,
    storage::snapshot::SnapshotName,
    wire::{
        Hello, Standing, check,
        snapshot_chunk::{ChunkDecoder, HEAD_CRC, LEN, OFFSET, PATH, Part},
    },
};

/// A body of which nothing comes for so long is given up; the sender goes on with another.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What the handlers may reach.
pub struct SnapshotDoors {
    /// Who this member is, and what is applied.
    pub published: Arc<Published>,
    /// Where the bytes go.
    pub receiver: ReceiverDoor,
    /// How this member knows the one who sends.
    pub standing: Box<dyn Fn(&Hello) -> Standing + Send + Sync>,
}

/// Whether this path is answered here.
pub fn is_here(path: &str) -> bool {
    path.starts_with(PATH)
}

/// Answers a request whose path [`is_here`].
pub async fn answer<B>(doors: &SnapshotDoors, request: Request<B>) -> PeerAnswer
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let asks = request.method() == Method::GET;
    if !asks && request.method() != Method::POST {
        return pages::not_allowed("GET,POST");
    }
    let asked = match Asked::read(doors, &request) {
        Ok(asked) => asked,
        Err(refusal) => return *refusal,
    };
    let answered = if asks {
        doors.receiver.progress(asked.transfer).await.map(progress)
    } else {
        receive(doors, &asked, request.into_body()).await
    };
    answered.unwrap_or_else(|refused| refusal(&refused))
}

struct Asked {
    hello: Hello,
    transfer: Transfer,
    offset: u64,
}

impl Asked {
    fn read<B>(doors: &SnapshotDoors, request: &Request<B>) -> Result<Asked, Box<PeerAnswer>> {
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        let refuse = |status, error: &dyn Display| Box::new(close(status, &error.to_string()));
        let identity = &doors.published.identity;
        let hello = Hello::parse(header)
            .and_then(|hello| {
                let standing = (doors.standing)(&hello);
                hello.accept(identity.cluster_id, identity.member_id, standing)?;
                Ok(hello)
            })
            .map_err(|error| {
                refuse(
                    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST),
                    &error,
                )
            })?;
        let number = |name: &str| header(name).and_then(|text| text.parse::<u64>().ok());
        let stem = request.uri().path().strip_prefix(PATH).unwrap_or_default();
        let name = SnapshotName::parse(&format!("{stem}.snap"))
            .ok_or_else(|| refuse(StatusCode::NOT_FOUND, &"no snapshot has this name"))?;
        let missing = || refuse(StatusCode::BAD_REQUEST, &"a header is missing or malformed");
        let transfer = Transfer {
            name,
            len: number(LEN).ok_or_else(missing)?,
            head_crc: number(HEAD_CRC).and_then(|crc| crc.try_into().ok()).ok_or_else(missing)?,
        };
        let offset = match *request.method() {
            Method::POST => number(OFFSET).ok_or_else(missing)?,
            _ => 0,
        };
        Ok(Asked { hello, transfer, offset })
    }
}

async fn receive<B>(doors: &SnapshotDoors, asked: &Asked, body: B) -> Result<PeerAnswer, Refused>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let Some(session) = doors.receiver.begin(asked.transfer, asked.offset).await? else {
        return Ok(closing(progress(Progress::Have)));
    };
    match take_body(doors, asked, session, body).await {
        Ok(message) => {
            doors.receiver.end(session, message).await?;
            Ok(text(StatusCode::OK, ""))
        }
        Err(Stopped::Refused(refused)) => Err(refused),
        Err(Stopped::Bad(text)) => Ok(close(StatusCode::BAD_REQUEST, &text)),
    }
}

enum Stopped {
    Refused(Refused),
    /// The body is not what it should be; what came before it is kept.
    Bad(String),
}

/// Hands the pieces on, one at a time, until the message comes.
async fn take_body<B>(
    doors: &SnapshotDoors,
    asked: &Asked,
    session: Session,
    mut body: B,
) -> Result<Box<Message>, Stopped>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let bad = |error: &dyn Display| Stopped::Bad(error.to_string());
    let mut decoder = ChunkDecoder::default();
    loop {
        let read = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
        let read = read.map_err(|_| bad(&"the body did not go on"))?;
        let read = read.ok_or_else(|| bad(&"the body ended before its message"))?;
        let frame = read.map_err(|error| bad(&error))?;
        decoder.feed(frame.data_ref().ok_or_else(|| bad(&"a body with trailers"))?);
        while let Some(part) = decoder.next().map_err(|error| bad(&error))? {
            match part {
                Part::Chunk { offset, bytes } => {
                    let written = doors.receiver.chunk(session, offset, bytes).await;
                    written.map_err(Stopped::Refused)?;
                }
                Part::End(message) => {
                    check::form(&message).map_err(|error| bad(&error))?;
                    let Hello { from, to, .. } = asked.hello;
                    if (message.from, message.to) != (from.0, to.0) || !message.has_snapshot() {
                        return Err(bad(&"the message is not the sender's, or not a snapshot's"));
                    }
                    let rest = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
                    if !matches!(rest, Ok(None)) || decoder.buffered() > 0 {
                        return Err(bad(&"something follows the message"));
                    }
                    return Ok(message);
                }
            }
        }
    }
}

fn progress(progress: Progress) -> PeerAnswer {
    match progress {
        Progress::Have => text(StatusCode::NO_CONTENT, ""),
        Progress::Bytes(bytes) => {
            let mut answer = text(StatusCode::OK, "");
            answer.headers_mut().insert(OFFSET, bytes.into());
            answer
        }
    }
}

fn refusal(refused: &Refused) -> PeerAnswer {
    let status = match refused {
        Refused::Busy | Refused::Superseded | Refused::Offset { .. } => StatusCode::CONFLICT,
        Refused::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::Disk(_) => StatusCode::INSUFFICIENT_STORAGE,
        Refused::Full | Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    tracing::warn!(%refused, "a snapshot that a peer sends is refused");
    close(status, &refused.to_string())
}

/// The rest of the body, if there is one, is not read.
fn close(status: StatusCode, words: &str) -> PeerAnswer {
    closing(text(status, format!("{words}\n")))
}

fn closing(mut answer: PeerAnswer) -> PeerAnswer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
