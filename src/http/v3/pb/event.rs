//! `mvccpb.Event` as the store has it: a change of a revision is shared, and its Protobuf form made once
//! for all who watch it.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct as _};

use super::KeyValue;
use crate::storage::mvcc::{
    record::{KeyRecord, RevisionRecord},
    watch::SharedRecord,
};

/// See the head of the module.
#[derive(Clone, Debug)]
pub enum Event {
    /// A change of a revision.
    Changed {
        /// The revision.
        record: Arc<RevisionRecord>,
        /// Which of its changes.
        at: usize,
        /// Tell what was there before.
        prev_kv: bool,
        /// The Protobuf form, if it was made already.
        encoded: Option<Bytes>,
    },
    /// A version of a key, told as if it were put now.
    Stored(KeyRecord),
    /// One that was read from a message.
    Loose(Box<LooseEvent>),
}

/// The fields one by one.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct LooseEvent {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
    #[prost(message, optional, tag = "3")]
    pub prev_kv: Option<KeyValue>,
}

const PUT: i32 = 0;
const DELETE: i32 = 1;

impl Event {
    /// All changes of a revision, with their Protobuf forms.
    pub fn encoded_of(shared: &SharedRecord, prev_kv: bool) -> &[Bytes] {
        shared.v3_events[usize::from(prev_kv)].get_or_init(|| {
            let events = (0..shared.record.changes.len())
                .map(|at| Event::of(Arc::clone(&shared.record), at, prev_kv));
            events.map(|event| Bytes::from(event.to_loose().encode_to_vec())).collect()
        })
    }

    /// A change of a revision.
    pub fn of(record: Arc<RevisionRecord>, at: usize, prev_kv: bool) -> Event {
        Event::Changed { record, at, prev_kv, encoded: None }
    }

    /// The fields one by one; keys and values stay shared.
    pub fn to_loose(&self) -> LooseEvent {
        match self {
            Event::Changed { record, at, prev_kv, .. } => {
                let change = &record.changes[*at];
                let prev = if *prev_kv { previous(record, *at) } else { None };
                let (r#type, kv) = match (&change.after, &change.before) {
                    (Some(after), _) => (PUT, Some(KeyValue::Stored(after.clone()))),
                    (None, Some(before)) => {
                        (DELETE, Some(KeyValue::Deleted(before.clone(), record.revision)))
                    }
                    (None, None) => (DELETE, None),
                };
                LooseEvent { r#type, kv, prev_kv: prev.map(KeyValue::Stored) }
            }
            Event::Stored(record) => LooseEvent {
                r#type: PUT,
                kv: Some(KeyValue::Stored(record.clone())),
                prev_kv: None,
            },
            Event::Loose(loose) => (**loose).clone(),
        }
    }

    /// Whether it tells of a deletion.
    pub fn is_delete(&self) -> bool {
        self.to_loose().r#type == DELETE
    }
}

/// What was there before the revision; nothing is told of a key that it made.
fn previous(record: &RevisionRecord, at: usize) -> Option<KeyRecord> {
    let change = &record.changes[at];
    let made = change.after.as_ref().is_some_and(|after| after.create_revision == record.revision);
    let before = change.before.as_ref().filter(|_| !made)?;
    if before.mod_revision == record.revision {
        // The same transaction put it: what was there before the transaction is meant.
        return record.change_of(change.key())?.before.clone();
    }
    Some(before.clone())
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.to_loose() == other.to_loose()
    }
}

impl Eq for Event {}

impl Hash for Event {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_loose().hash(state);
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::Loose(Box::default())
    }
}

impl Message for Event {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        match self {
            Event::Changed { encoded: Some(encoded), .. } => buf.put_slice(encoded),
            _ => self.to_loose().encode_raw(buf),
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if !matches!(self, Event::Loose(_)) {
            *self = Event::Loose(Box::new(self.to_loose()));
        }
        match self {
            Event::Loose(loose) => loose.merge_field(tag, wire_type, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Event::Changed { encoded: Some(encoded), .. } => encoded.len(),
            _ => self.to_loose().encoded_len(),
        }
    }

    fn clear(&mut self) {
        *self = Event::default();
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let loose = self.to_loose();
        let mut out = serializer.serialize_struct("mvccpb.Event", 3)?;
        match loose.r#type {
            PUT => {}
            DELETE => out.serialize_field("type", "DELETE")?,
            other => out.serialize_field("type", &other)?,
        }
        if let Some(kv) = &loose.kv {
            out.serialize_field("kv", kv)?;
        }
        if let Some(prev) = &loose.prev_kv {
            out.serialize_field("prev_kv", prev)?;
        }
        out.end()
    }
}

/// No request holds one: it is here because the types around it can be read.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Json {
            r#type: String,
            kv: Option<KeyValue>,
            prev_kv: Option<KeyValue>,
        }
        let Json { r#type, kv, prev_kv } = Json::deserialize(deserializer)?;
        let r#type = match r#type.as_str() {
            "" | "PUT" => PUT,
            "DELETE" => DELETE,
            other => return Err(serde::de::Error::unknown_variant(other, &["PUT", "DELETE"])),
        };
        Ok(Event::Loose(Box::new(LooseEvent { r#type, kv, prev_kv })))
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::{
        storage::mvcc::record::{Action, Change, KeyHead},
        types::{Revision, UnixNanos},
    };

    fn version(value: &[u8], create: u64, modified: u64) -> KeyRecord {
        let (create_revision, mod_revision) = (Revision(create), Revision(modified));
        let version = 1 + u64::from(create != modified);
        let head = KeyHead { create_revision, mod_revision, version, ..KeyHead::default() };
        KeyRecord::new(b"key", value, head)
    }

    /// The forms that are made once, those made for one, and JSON say the same.
    #[test]
    fn all_forms_of_a_change_agree() {
        let (old, new, put) = (version(b"1", 2, 3), version(b"2", 2, 9), version(b"3", 9, 9));
        let change = |before: Option<&KeyRecord>, after: Option<&KeyRecord>| Change {
            before: before.cloned(),
            after: after.cloned(),
        };
        for (changes, at, prev) in [
            (smallvec![change(None, Some(&put))], 0, None),
            (smallvec![change(Some(&old), Some(&new))], 0, Some(&old)),
            (smallvec![change(Some(&old), None)], 0, Some(&old)),
            (smallvec![change(Some(&old), Some(&new)), change(Some(&new), None)], 1, Some(&old)),
            (smallvec![change(None, Some(&put)), change(Some(&put), None)], 1, None),
        ] {
            let record = Arc::new(RevisionRecord {
                revision: Revision(9),
                time: UnixNanos(1),
                action: Action::Txn,
                refresh: false,
                changes,
                dir: None,
            });
            let shared = SharedRecord::new(Arc::clone(&record));
            for prev_kv in [false, true] {
                let event = Event::of(Arc::clone(&record), at, prev_kv);
                let loose = event.to_loose();
                let expected = prev.filter(|_| prev_kv).cloned().map(KeyValue::Stored);
                assert_eq!(loose.prev_kv, expected);
                let bytes = event.encode_to_vec();
                assert_eq!(bytes, loose.encode_to_vec());
                assert_eq!(bytes.len(), event.encoded_len());
                let encoded = Event::encoded_of(&shared, prev_kv)[at].clone();
                assert_eq!(encoded, bytes);
                let encoded = Some(encoded);
                let cached = Event::Changed { record: Arc::clone(&record), at, prev_kv, encoded };
                assert_eq!(cached.encode_to_vec(), bytes);
                assert_eq!(Event::decode(&bytes[..]).unwrap(), event);
                let json = serde_json::to_string(&event).unwrap();
                assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event, "{json}");
            }
        }
    }
}
