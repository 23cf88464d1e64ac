//! Messages as Protobuf; those that go out in the frame that gRPC wants, so that no byte is copied again.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::framing::HEAD_BYTES;
use crate::http::v3::{
    error::{Code, RpcError},
    methods::Codec,
};

/// The longest message that is sent: the longest that Go's clients could take.
pub const SENT_BYTES_MAX: usize = i32::MAX as usize;

/// Protobuf.
#[derive(Clone, Copy, Debug)]
pub struct Proto {
    /// Whether the request comes as a stream: only the text of an error differs.
    pub streamed: bool,
}

impl Proto {
    /// Reads a message, one that has no JSON form too.
    pub fn read<M: prost::Message + Default>(self, bytes: Bytes) -> Result<M, RpcError> {
        M::decode(bytes).map_err(|error| {
            let what = if self.streamed {
                "grpc: failed to unmarshal the received message"
            } else {
                "grpc: error unmarshalling request"
            };
            RpcError::with_text(Code::Internal, format!("{what}: {error}"))
        })
    }
}

impl Codec for Proto {
    fn decode<M: prost::Message + Default + DeserializeOwned>(
        self,
        bytes: Bytes,
    ) -> Result<M, RpcError> {
        self.read(bytes)
    }

    fn encode<M: prost::Message + Serialize>(self, message: &M) -> Bytes {
        frame(message)
    }
}

/// A message in its frame; nothing at all if it is too long to be sent.
pub fn frame<M: prost::Message>(message: &M) -> Bytes {
    let len = message.encoded_len();
    if len > SENT_BYTES_MAX {
        return Bytes::new();
    }
    let mut out = BytesMut::with_capacity(HEAD_BYTES + len);
    out.put_u8(0); // not compressed
    out.put_u32(len as u32);
    message.encode_raw(&mut out);
    out.freeze()
}

/// The error in place of a message that is too long to be sent.
pub fn too_long() -> RpcError {
    let text = format!("grpc: trying to send message larger than max (vs. {SENT_BYTES_MAX})");
    RpcError::with_text(Code::ResourceExhausted, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::v3::pb::etcdserverpb::PutRequest;

    #[test]
    fn a_message_and_its_frame_are_one_buffer() {
        let put = PutRequest { key: "k".into(), ..PutRequest::default() };
        let bytes = Proto { streamed: false }.encode(&put);
        assert_eq!(bytes[..], [0, 0, 0, 0, 3, 0x0a, 1, b'k']);
        let decoded: PutRequest =
            Proto { streamed: false }.decode(bytes.slice(HEAD_BYTES..)).expect("just encoded");
        assert_eq!(decoded, put);
    }

    #[test]
    fn nonsense_is_refused() {
        for (streamed, text) in [
            (false, "grpc: error unmarshalling request: "),
            (true, "grpc: failed to unmarshal the received message: "),
        ] {
            let decoded = Proto { streamed }.decode::<PutRequest>(Bytes::from_static(b"\xff"));
            let error = decoded.expect_err("nonsense");
            assert_eq!(error.code, Code::Internal);
            assert!(error.message.starts_with(text), "{error}");
        }
    }
}
