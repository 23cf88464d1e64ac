//! `mvccpb.KeyValue` as the store has it: a version of a key is shared, not copied, until it is written
//! into an answer.

use std::hash::{Hash, Hasher};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct as _};

use crate::{storage::mvcc::record::KeyRecord, types::Revision};

/// See the head of the module.
#[derive(Clone, Debug)]
pub enum KeyValue {
    /// A version of a key.
    Stored(KeyRecord),
    /// One without its value.
    KeyOnly(KeyRecord),
    /// What a deletion tells: the key, and the revision that deleted it.
    Deleted(KeyRecord, Revision),
    /// One that was read from a message.
    Loose(Box<Loose>),
}

/// The fields one by one.
#[derive(Clone, PartialEq, Message)]
pub struct Loose {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// The fields, borrowed.
#[derive(PartialEq, Eq, Hash)]
pub struct Fields<'a> {
    pub key: &'a [u8],
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub value: &'a [u8],
    pub lease: i64,
}

impl KeyValue {
    /// The fields.
    pub fn fields(&self) -> Fields<'_> {
        let stored = |record: &'_ KeyRecord| {
            let (create, modified) =
                (record.create_revision.0 as i64, record.mod_revision.0 as i64);
            (create, modified, record.version as i64, record.lease.0)
        };
        match self {
            KeyValue::Stored(record) | KeyValue::KeyOnly(record) => {
                let (create_revision, mod_revision, version, lease) = stored(record);
                let with_value = matches!(self, KeyValue::Stored(_));
                let value = if with_value { record.value() } else { &[] };
                let key = record.key();
                Fields { key, create_revision, mod_revision, version, value, lease }
            }
            KeyValue::Deleted(record, revision) => Fields {
                key: record.key(),
                create_revision: 0,
                mod_revision: revision.0 as i64,
                version: 0,
                value: &[],
                lease: 0,
            },
            KeyValue::Loose(loose) => Fields {
                key: &loose.key,
                create_revision: loose.create_revision,
                mod_revision: loose.mod_revision,
                version: loose.version,
                value: &loose.value,
                lease: loose.lease,
            },
        }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.fields().key
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.fields().value
    }

    /// The fields one by one, copied.
    pub fn to_loose(&self) -> Loose {
        let fields = self.fields();
        Loose {
            key: Bytes::copy_from_slice(fields.key),
            create_revision: fields.create_revision,
            mod_revision: fields.mod_revision,
            version: fields.version,
            value: Bytes::copy_from_slice(fields.value),
            lease: fields.lease,
        }
    }
}

impl PartialEq for KeyValue {
    fn eq(&self, other: &Self) -> bool {
        self.fields() == other.fields()
    }
}

impl Eq for KeyValue {}

impl Hash for KeyValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fields().hash(state);
    }
}

impl Default for KeyValue {
    fn default() -> Self {
        KeyValue::Loose(Box::default())
    }
}

fn bytes_len(tag: u32, bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    encoding::key_len(tag) + encoding::encoded_len_varint(bytes.len() as u64) + bytes.len()
}

fn put_bytes(tag: u32, bytes: &[u8], buf: &mut impl BufMut) {
    if !bytes.is_empty() {
        encoding::encode_key(tag, WireType::LengthDelimited, buf);
        encoding::encode_varint(bytes.len() as u64, buf);
        buf.put_slice(bytes);
    }
}

fn number_len(tag: u32, number: i64) -> usize {
    if number == 0 { 0 } else { encoding::int64::encoded_len(tag, &number) }
}

fn put_number(tag: u32, number: i64, buf: &mut impl BufMut) {
    if number != 0 {
        encoding::int64::encode(tag, &number, buf);
    }
}

impl Message for KeyValue {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        let fields = self.fields();
        put_bytes(1, fields.key, buf);
        put_number(2, fields.create_revision, buf);
        put_number(3, fields.mod_revision, buf);
        put_number(4, fields.version, buf);
        put_bytes(5, fields.value, buf);
        put_number(6, fields.lease, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if !matches!(self, KeyValue::Loose(_)) {
            *self = KeyValue::Loose(Box::new(self.to_loose()));
        }
        match self {
            KeyValue::Loose(loose) => loose.merge_field(tag, wire_type, buf, ctx),
            _ => Ok(()),
        }
    }

    fn encoded_len(&self) -> usize {
        let fields = self.fields();
        bytes_len(1, fields.key)
            + number_len(2, fields.create_revision)
            + number_len(3, fields.mod_revision)
            + number_len(4, fields.version)
            + bytes_len(5, fields.value)
            + number_len(6, fields.lease)
    }

    fn clear(&mut self) {
        *self = KeyValue::default();
    }
}

impl Serialize for KeyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.fields();
        let numbers = [
            ("create_revision", fields.create_revision),
            ("mod_revision", fields.mod_revision),
            ("version", fields.version),
        ];
        let mut out = serializer.serialize_struct("mvccpb.KeyValue", 6)?;
        if !fields.key.is_empty() {
            out.serialize_field("key", &STANDARD.encode(fields.key))?;
        }
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            out.serialize_field(name, &number.to_string())?;
        }
        if !fields.value.is_empty() {
            out.serialize_field("value", &STANDARD.encode(fields.value))?;
        }
        if fields.lease != 0 {
            out.serialize_field("lease", &fields.lease.to_string())?;
        }
        out.end()
    }
}

/// No request holds one: it is here because the types around it can be read.
impl<'de> Deserialize<'de> for KeyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Json {
            key: String,
            create_revision: String,
            mod_revision: String,
            version: String,
            value: String,
            lease: String,
        }
        let json = Json::deserialize(deserializer)?;
        let number = |text: &str| {
            if text.is_empty() { Ok(0) } else { text.parse().map_err(serde::de::Error::custom) }
        };
        let bytes =
            |text: &str| STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom);
        Ok(KeyValue::Loose(Box::new(Loose {
            key: bytes(&json.key)?,
            create_revision: number(&json.create_revision)?,
            mod_revision: number(&json.mod_revision)?,
            version: number(&json.version)?,
            value: bytes(&json.value)?,
            lease: number(&json.lease)?,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{storage::mvcc::record::KeyHead, types::LeaseId};

    #[test]
    fn is_written_as_its_fields_are() {
        let head = KeyHead {
            create_revision: Revision(2),
            mod_revision: Revision(300),
            version: 4,
            lease: LeaseId(-1),
            ..KeyHead::default()
        };
        let record = KeyRecord::new(b"key", b"value", head);
        for value in [
            KeyValue::Stored(record.clone()),
            KeyValue::KeyOnly(record.clone()),
            KeyValue::Deleted(record, Revision(301)),
            KeyValue::default(),
        ] {
            let encoded = value.encode_to_vec();
            assert_eq!(encoded, value.to_loose().encode_to_vec(), "{value:?}");
            assert_eq!(encoded.len(), value.encoded_len(), "{value:?}");
            let read = KeyValue::decode(&encoded[..]).unwrap();
            assert_eq!(read.to_loose(), value.to_loose());
            let json = serde_json::to_string(&value).unwrap();
            let read: KeyValue = serde_json::from_str(&json).unwrap();
            assert_eq!(read.to_loose(), value.to_loose(), "{json}");
        }
    }
}
