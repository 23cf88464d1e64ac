//! Reading the body of a request: never more than its limit, never for ever.

use std::time::Duration;

use actix_http::{Payload, RequestHead, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

/// How long a client may take to send a body.
const BODY_SECONDS_MAX: u64 = 30;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit; the rest was not read.
    #[error("http: POST too large")]
    TooLarge,
    /// It ended before it was complete, or its framing is broken.
    #[error("unexpected EOF")]
    Broken,
    /// It did not come in time.
    #[error("i/o timeout")]
    Slow,
}

/// The length that the client announces, if it does.
pub fn declared_len(head: &RequestHead) -> Option<u64> {
    head.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Reads a whole body of at most `limit` bytes. What is announced to be longer is not read at all; a
/// body that comes in one piece is not copied.
pub async fn read(
    payload: Payload,
    declared: Option<u64>,
    limit: usize,
) -> Result<Bytes, BodyError> {
    if declared.is_some_and(|len| len > limit as u64) {
        return Err(BodyError::TooLarge);
    }
    let reading = collect(payload, declared.unwrap_or(0) as usize, limit);
    tokio::time::timeout(Duration::from_secs(BODY_SECONDS_MAX), reading)
        .await
        .unwrap_or(Err(BodyError::Slow))
}

async fn collect(mut payload: Payload, declared: usize, limit: usize) -> Result<Bytes, BodyError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|_| BodyError::Broken)?;
    if first.len() > limit {
        return Err(BodyError::TooLarge);
    }
    let Some(mut chunk) = payload.next().await else { return Ok(first) };
    let mut whole = BytesMut::with_capacity(declared.max(first.len()));
    whole.extend_from_slice(&first);
    loop {
        let bytes = chunk.map_err(|_| BodyError::Broken)?;
        if whole.len() + bytes.len() > limit {
            return Err(BodyError::TooLarge);
        }
        whole.extend_from_slice(&bytes);
        match payload.next().await {
            Some(next) => chunk = next,
            None => return Ok(whole.freeze()),
        }
    }
}

/// A body that means nothing is read up to here.
const DISCARD_BYTES_MAX: usize = 256 * 1024;

/// Reads a body that means nothing, so that its connection can be used again. A long one is left; its
/// connection is then closed behind the answer.
pub async fn discard(mut payload: Payload, declared: Option<u64>) {
    if declared.is_some_and(|len| len > DISCARD_BYTES_MAX as u64) {
        return;
    }
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            seen += chunk.len();
            if seen > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    _ = tokio::time::timeout(Duration::from_secs(BODY_SECONDS_MAX), reading).await;
}
