//! Bytes of a stream in, frames out.
//!
//! Nothing is allocated for a frame before its length was found allowed, and then only as its bytes come.
//! What is decoded shares one buffer, that of its frame: entries live long, and one of them must not keep
//! everything else alive that came in the same read.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    WireError,
    frame::{HEADER_LEN, Header},
    peer_frame::{self, PeerFrame},
};

/// Shorter payloads are copied out of what was read; longer ones stay where they are.
const OWN_BUFFER_BELOW: usize = 64 * 1024;

/// Decodes one direction of one stream.
pub struct Decoder {
    payload_max: usize,
    chunks: VecDeque<Bytes>,
    /// The start of a frame that does not lie in one chunk.
    partial: BytesMut,
    failed: Option<WireError>,
}

impl Decoder {
    /// Takes frames of at most this payload; see [`peer_frame::payload_max`].
    pub fn new(payload_max: usize) -> Decoder {
        Decoder { payload_max, chunks: VecDeque::new(), partial: BytesMut::new(), failed: None }
    }

    /// Takes bytes as they were read. [`Decoder::next`] is then called until it has none: what waits here
    /// is then less than one frame.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.failed.is_none() && !bytes.is_empty() {
            self.chunks.push_back(bytes);
        }
    }

    /// The next whole frame, if there is one. An error is final.
    #[expect(clippy::should_implement_trait, reason = "an iterator's end would be final")]
    pub fn next(&mut self) -> Result<Option<PeerFrame>, WireError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let next = self.try_next();
        if let Err(error) = next {
            self.failed = Some(error);
            self.chunks.clear();
            self.partial = BytesMut::new();
        }
        next
    }

    fn try_next(&mut self) -> Result<Option<PeerFrame>, WireError> {
        let Some((header, payload)) = self.take()? else { return Ok(None) };
        header.check(&payload)?;
        let said = peer_frame::decode(header.kind, payload);
        said.map(Some).map_err(|source| WireError::Malformed { kind: header.kind, source })
    }

    fn take(&mut self) -> Result<Option<(Header, Bytes)>, WireError> {
        while let Some(chunk) = self.chunks.front_mut() {
            if self.partial.is_empty()
                && let Some(header) = chunk.first_chunk::<HEADER_LEN>()
            {
                let header = header_of(header, self.payload_max)?;
                if chunk.len() - HEADER_LEN >= header.len {
                    chunk.advance(HEADER_LEN);
                    let payload = chunk.split_to(header.len);
                    if chunk.is_empty() {
                        self.chunks.pop_front();
                    }
                    let short = payload.len() < OWN_BUFFER_BELOW;
                    let payload = if short { Bytes::copy_from_slice(&payload) } else { payload };
                    return Ok(Some((header, payload)));
                }
            }
            // The header first: how much belongs to the frame is known only then.
            let header = match self.partial.first_chunk::<HEADER_LEN>() {
                Some(header) => Some(header_of(header, self.payload_max)?),
                None => None,
            };
            let whole = HEADER_LEN + header.map_or(0, |header| header.len);
            let missing = whole - self.partial.len();
            let part = chunk.split_to(missing.min(chunk.len()));
            self.partial.extend_from_slice(&part);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
            let Some(header) = self.partial.first_chunk::<HEADER_LEN>() else { continue };
            let header = header_of(header, self.payload_max)?;
            if self.partial.len() == HEADER_LEN + header.len {
                let payload = std::mem::take(&mut self.partial).freeze().split_off(HEADER_LEN);
                return Ok(Some((header, payload)));
            }
        }
        Ok(None)
    }
}

fn header_of(bytes: &[u8; HEADER_LEN], payload_max: usize) -> Result<Header, WireError> {
    let header = Header::decode(bytes, payload_max)?;
    let Header { kind, version, .. } = header;
    if peer_frame::is_known(kind, version) {
        Ok(header)
    } else {
        Err(WireError::Unknown { kind, version })
    }
}
