//! Messages as JSON, in the way of Protobuf: names as in the interface files, 64-bit integers as strings,
//! bytes in base64, what is zero left out. Numbers are read with quotes or without, names in snake or camel
//! case, base64 of both alphabets, padded or not; a `null` is as if it was not there.

use bytes::Bytes;
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_json::{Deserializer, Number, Value, value};

use crate::http::v3::{
    error::{Code, RpcError},
    methods::Codec,
};

/// An answer that JSON has no words for, such as an enum's number without a name.
pub const NOT_WRITTEN: RpcError =
    RpcError::new(Code::Internal, "the answer cannot be written as JSON");

/// JSON.
#[derive(Clone, Copy, Debug)]
pub enum Json {
    /// One answer is all.
    Unary,
    /// Each answer is a line of its own, wrapped as the result.
    Lines,
}

impl Codec for Json {
    fn decode<M: prost::Message + Default + DeserializeOwned>(
        self,
        bytes: Bytes,
    ) -> Result<M, RpcError> {
        if bytes.trim_ascii().is_empty() {
            return Ok(M::default()); // as etcd: no body is an empty request
        }
        read(&bytes).map_err(|error| RpcError::with_text(Code::InvalidArgument, error.to_string()))
    }

    /// Empty, which no JSON is, if the message cannot be written.
    fn encode<M: prost::Message + Serialize>(self, message: &M) -> Bytes {
        let mut out = Vec::with_capacity(256);
        if let Json::Lines = self {
            out.extend_from_slice(br#"{"result":"#);
        }
        if serde_json::to_writer(&mut out, message).is_err() {
            return Bytes::new();
        }
        if let Json::Lines = self {
            out.extend_from_slice(b"}\n");
        }
        Bytes::from(out)
    }
}

/// Reads the first value; what follows it is not looked at, as in etcd. How deep a value may be is
/// `serde_json`'s limit: 128.
fn read<M: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<M> {
    match M::deserialize(&mut Deserializer::from_slice(bytes)) {
        Ok(message) => Ok(message),
        Err(error) if !error.is_data() => Err(error),
        // What is rare is read a second time: without nulls, and with whole numbers that were written
        // as floats.
        Err(error) => {
            let mut deserializer = Deserializer::from_slice(bytes);
            let Ok(mut whole) = Value::deserialize(&mut deserializer) else { return Err(error) };
            if !normalize(&mut whole) {
                return Err(error);
            }
            if whole.is_null() {
                whole = Value::Object(serde_json::Map::new());
            }
            M::deserialize(whole)
        }
    }
}

/// Whether there was something to change. Recursion goes as deep as the parser went.
fn normalize(value: &mut Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => whole_number(number).is_some_and(|whole| {
            *value = whole;
            true
        }),
        Value::Array(items) => items.iter_mut().fold(false, |any, item| normalize(item) | any),
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|_, field| !field.is_null());
            let fewer = fields.len() < before;
            fields.values_mut().fold(fewer, |any, field| normalize(field) | any)
        }
        Value::Bool(_) | Value::String(_) => false,
    }
}

/// The integer that a float is, if it is one.
fn whole_number(number: &Number) -> Option<Value> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.fract() == 0.0 && float.abs() <= EXACT_MAX)
        .then(|| value::to_value(float as i64).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::v3::pb::etcdserverpb::{
        PutRequest, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, WatchRequest,
        compare::TargetUnion, request_op::Request, watch_request::RequestUnion,
    };

    fn decoded<M: prost::Message + Default + DeserializeOwned>(text: &str) -> Result<M, RpcError> {
        Json::Unary.decode(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn requests_are_read_in_every_spelling() {
        let put =
            |text: &str| decoded::<PutRequest>(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let expected = PutRequest {
            key: Bytes::from_static(b"\xfb\xff"),
            lease: 7,
            prev_kv: true,
            ..PutRequest::default()
        };
        for text in [
            r#"{"key":"+/8=","lease":"7","prev_kv":true}"#,
            r#"{"key":"+/8","lease":7,"prevKv":true}"#,
            r#"{"key":"-_8=","lease":7.0,"prevKv":true}"#,
            r#"{"key":"-_8","lease":7e0,"prevKv":true,"value":null}"#,
            r#" {"key":"-_8","lease":"7","prevKv":true,"nope":{"a":[1,null]}} trailing"#,
        ] {
            assert_eq!(put(text), expected, "{text}");
        }
        for text in ["", " \r\n", "{}", "null", r#"{"key":null}"#] {
            assert_eq!(put(text), PutRequest::default(), "{text}");
        }
        let range = |text: &str| decoded::<RangeRequest>(text).expect("a range").sort_order;
        assert_eq!(range(r#"{"sort_order":"DESCEND"}"#), 2);
        assert_eq!(range(r#"{"sortOrder":2}"#), 2);
    }

    #[test]
    fn unions_are_read() {
        let text = r#"{"compare":[{"target":"CREATE","key":"YQ==","createRevision":"2"}],
            "success":[{"requestPut":{"key":"YQ=="}},{"request_txn":{"success":[{"request_range":{}}]}}]}"#;
        let txn: TxnRequest = decoded(text).expect("a txn");
        assert_eq!(txn.compare[0].target_union, Some(TargetUnion::CreateRevision(2)));
        assert!(matches!(txn.success[0].request, Some(Request::RequestPut(_))));
        assert!(matches!(txn.success[1].request, Some(Request::RequestTxn(_))));
        let watch: WatchRequest = decoded(r#"{"create_request":{}}"#).expect("a watch");
        assert!(matches!(watch.request_union, Some(RequestUnion::CreateRequest(_))));
    }

    #[test]
    fn nonsense_is_refused() {
        let deep = format!("{{\"nope\":{}", "[".repeat(100_000));
        let nested = r#"{"success":[{"request_txn":"#.repeat(1000);
        for text in [
            "[]",
            "7",
            "\"x\"",
            "{",
            "{\"key\":",
            "{\"key\":\"!!\"}",
            "{\"key\":7}",
            "{\"key\":[\"YQ==\"]}",
            "{\"lease\":\"x\"}",
            "{\"lease\":1.5}",
            "{\"lease\":1e300}",
            "{\"lease\":99999999999999999999}",
            "{\"lease\":\"99999999999999999999\"}",
            "{\"lease\":true}",
            "{\"prev_kv\":\"true\"}",
            "{\"prev_kv\":1}",
            "{\"key\":\"YQ==\",\"key\":\"Yg==\"}",
            "{key:1}",
            "nul",
            "{\"key\":\"\\ud800\"}",
            &deep,
            &nested,
        ] {
            let error = decoded::<PutRequest>(text).and(decoded::<TxnRequest>(text).map(drop));
            let error = error.expect_err(text);
            assert_eq!(error.code, Code::InvalidArgument, "{text}");
        }
        for text in [r#"{"sort_order":"FOO"}"#, r#"{"sort_order":1.5}"#, r#"{"sort_order":[]}"#] {
            assert!(decoded::<RangeRequest>(text).is_err(), "{text}");
        }
        assert!(decoded::<RangeRequest>(r#"{"sort_order":77}"#).is_err());
        let bad_utf8 = Bytes::from_static(b"{\"key\":\"\xff\"}");
        assert!(Json::Unary.decode::<PutRequest>(bad_utf8).is_err());
    }

    #[test]
    fn answers_are_written_as_etcd_does() {
        let header =
            ResponseHeader { cluster_id: u64::MAX, member_id: 0, revision: 3, raft_term: 2 };
        let answer = RangeResponse { header: Some(header), count: 1, ..RangeResponse::default() };
        let text = r#"{"header":{"cluster_id":"18446744073709551615","revision":"3","raft_term":"2"},"count":"1"}"#;
        assert_eq!(Json::Unary.encode(&answer), text);
        assert_eq!(Json::Lines.encode(&answer), format!("{{\"result\":{text}}}\n"));
        assert_eq!(Json::Unary.encode(&RangeResponse::default()), "{}");
    }
}
