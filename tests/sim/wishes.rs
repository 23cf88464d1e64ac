//! What a client asks next: it draws among the operations of both APIs, on the same few keys, and knows
//! what it was told of these before.

use std::collections::BTreeMap;

use bytes::Bytes;
use callboard::command::{
    Command, CompareResult, CompareTarget, KeyRange, V2Command, V2Compare, V2Op, V2Write,
    V3Command, V3Compare, V3DeleteRange, V3Op, V3Put, V3Range, V3RequestOp, V3Txn,
};
use callboard::storage::mvcc::record::KeyRecord;
use callboard::types::{Index, LeaseId};

use super::clients::Kind;
use super::random::Random;
use super::settings::Settings;

/// A key as its client knew it last.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub value: String,
    /// 0 where that was not told.
    pub modified: u64,
    /// The same.
    pub version: u64,
}

/// A client.
pub struct Client {
    pub random: Random,
    pub at: usize,
    pub busy: bool,
    count: u64,
    pub known: BTreeMap<String, Known>,
    /// Its leases, as far as it knows, the oldest first.
    pub leases: Vec<LeaseId>,
    /// Per start of a member: how far it was seen to be.
    pub serial: BTreeMap<(usize, u64), Index>,
    pub revision: u64,
}

/// Leases that a client cares for; older ones are left to run out.
const LEASES: usize = 3;

impl Client {
    pub fn new(seed: u64, c: usize) -> Client {
        let mut random = Random::of(seed, "client", c as u64);
        Client {
            at: random.below(5) as usize,
            random,
            busy: false,
            count: 0,
            known: BTreeMap::new(),
            leases: Vec::new(),
            serial: BTreeMap::new(),
            revision: 0,
        }
    }

    /// What a read showed of a key.
    pub fn learn(&mut self, key: &str, record: Option<&KeyRecord>) {
        let Some(record) = record else {
            self.known.remove(key);
            return;
        };
        let value = String::from_utf8_lossy(record.value()).into_owned();
        let (modified, version) = (record.mod_revision.0, record.version);
        self.known.insert(key.to_owned(), Known { value, modified, version });
    }

    pub fn next(&mut self, c: usize, settings: &Settings) -> (String, Kind) {
        let r = &mut self.random;
        self.count += 1;
        let mut value = format!("c{c}.{}", self.count);
        while (value.len() as u64) < settings.value_bytes {
            value.push('.');
        }
        if r.per_mille(settings.lease_per_mille) {
            return self.next_of_leases(c, value, settings);
        }
        let number = r.below(settings.keys);
        let v3 = r.per_mille(settings.v3_per_mille);
        if r.per_mille(settings.ttl_per_mille) {
            let key = format!("/t/{number}");
            let kind = match r.below(5) {
                0 => Kind::Delete,
                1 => Kind::Set { value, ttl: None },
                2 if v3 => put(&key, value, LeaseId(0), false),
                3 if v3 => delete(KeyRange::one(key.clone()), false),
                _ => Kind::Set { value, ttl: Some(r.between(1, 4)) },
            };
            return (key, kind);
        }
        let key = format!("/k/{number}");
        if v3 {
            let kind = self.next_v3(&key, value, settings);
            return (key, kind);
        }
        if r.per_mille(50) {
            return ("/q".to_owned(), Kind::Post { value });
        }
        let known = self.known.get(&key).cloned().unwrap_or_default();
        let kind = match r.below(100) {
            0..25 => Kind::Set { value, ttl: None },
            25..35 => Kind::Create { value },
            35..50 if !known.value.is_empty() => {
                Kind::Swap { previous: known.value, index: 0, value }
            }
            50..52 if known.modified > 0 => {
                Kind::Swap { previous: String::new(), index: known.modified, value }
            }
            52..58 if !known.value.is_empty() => Kind::DeleteIf { previous: known.value },
            58..64 => Kind::Delete,
            64..72 => Kind::SerialGet,
            _ => Kind::Get,
        };
        (key, kind)
    }

    fn next_v3(&mut self, key: &str, value: String, settings: &Settings) -> Kind {
        let other = format!("/k/{}", self.random.below(settings.keys));
        let knows = |key: &str| self.known.get(key).filter(|known| known.version > 0).cloned();
        let (known, of_other) = (knows(key), knows(&other));
        let r = &mut self.random;
        let ranged = |keys| V3RequestOp::Range(V3Range { keys, ..V3Range::default() });
        match r.below(100) {
            0..14 => put(key, value, LeaseId(0), r.per_mille(500)),
            14..18 if known.is_some() => Kind::V3(V3Op::Put(V3Put {
                ignore_lease: true,
                ..put_of(key, value, LeaseId(0), true)
            })),
            18..24 => delete(KeyRange::one(key.to_owned()), r.per_mille(500)),
            24..25 => delete(everything(), r.per_mille(500)),
            // Compare and swap.
            25..45 if let Some(known) = known => {
                let target = match r.below(3) {
                    0 => CompareTarget::Value(known.value.into()),
                    1 => CompareTarget::Version(known.version as i64),
                    _ => CompareTarget::Mod(known.modified as i64),
                };
                let then = if r.per_mille(150) {
                    let keys = KeyRange::one(key.to_owned());
                    V3RequestOp::DeleteRange(V3DeleteRange { keys, prev_kv: true })
                } else {
                    V3RequestOp::Put(put_of(key, value, LeaseId(0), true))
                };
                txn(&[(key, target)], vec![then], vec![ranged(KeyRange::one(key.to_owned()))])
            }
            // Two keys change hands: both or neither.
            45..60
                if let (Some(one), Some(two)) = (known, of_other)
                    && other != key =>
            {
                let compare = [
                    (key, CompareTarget::Value(one.value.clone().into())),
                    (&other, CompareTarget::Version(two.version as i64)),
                ];
                let success = vec![
                    V3RequestOp::Put(put_of(key, two.value, LeaseId(0), true)),
                    V3RequestOp::Put(put_of(&other, one.value, LeaseId(0), true)),
                    ranged(everything()),
                ];
                txn(&compare, success, vec![ranged(everything())])
            }
            // Whatever is there, two at once.
            60..64 if other != key => {
                let (one, two) = (format!("{value}a"), format!("{value}b"));
                let success = vec![
                    V3RequestOp::Put(put_of(key, one, LeaseId(0), false)),
                    V3RequestOp::Put(put_of(&other, two, LeaseId(0), false)),
                ];
                txn(&[], success, Vec::new())
            }
            // Only if it is not there.
            64..70 => {
                let target = if r.per_mille(500) {
                    CompareTarget::Version(0)
                } else {
                    CompareTarget::Mod(0)
                };
                let success = vec![V3RequestOp::Put(put_of(key, value, LeaseId(0), false))];
                txn(&[(key, target)], success, vec![ranged(KeyRange::one(key.to_owned()))])
            }
            70..80 => Kind::Range { keys: everything(), revision: 0, serializable: false },
            80..84 => {
                let keys =
                    if r.per_mille(500) { everything() } else { KeyRange::one(key.to_owned()) };
                Kind::Range { keys, revision: 0, serializable: true }
            }
            84..88 if self.revision > 0 => {
                let back = r.below(40).min(self.revision - 1) as i64;
                let keys = KeyRange { key: Bytes::new(), range_end: Bytes::from_static(b"\0") };
                let revision = self.revision as i64 - back + i64::from(r.per_mille(100)) * 5;
                Kind::Range { keys, revision, serializable: r.per_mille(500) }
            }
            88..89 if self.revision > 20 => {
                Kind::V3(V3Op::Compact { revision: self.revision as i64 - r.below(20) as i64 })
            }
            _ => {
                let keys = KeyRange::one(key.to_owned());
                Kind::Range { keys, revision: 0, serializable: false }
            }
        }
    }

    fn next_of_leases(&mut self, c: usize, value: String, settings: &Settings) -> (String, Kind) {
        let r = &mut self.random;
        if self.leases.is_empty() || r.per_mille(150) {
            let id = LeaseId((c as i64 + 1) * 1_000_000 + self.count as i64);
            let ttl = r.pick(&[1, 2, 2, 3, 8]);
            if self.leases.len() >= LEASES {
                self.leases.remove(0);
            }
            self.leases.push(id);
            return (String::new(), Kind::V3(V3Op::LeaseGrant { id, ttl }));
        }
        let id = r.pick(&self.leases);
        let kind = match r.below(100) {
            0..45 => Kind::KeepAlive(id),
            45..55 => Kind::TimeToLive(id),
            55..62 => {
                self.leases.retain(|&known| known != id);
                Kind::V3(V3Op::LeaseRevoke { id })
            }
            _ => {
                let place = if r.per_mille(800) { "k" } else { "t" };
                let key = format!("/{place}/{}", r.below(settings.keys));
                let kind = put(&key, value, id, true);
                return (key, kind);
            }
        };
        (String::new(), kind)
    }
}

/// All keys that the search for an order knows.
pub fn everything() -> KeyRange {
    KeyRange { key: Bytes::from_static(b"/k/"), range_end: Bytes::from_static(b"/k0") }
}

fn put_of(key: &str, value: String, lease: LeaseId, prev_kv: bool) -> V3Put {
    let (key, value) = (key.to_owned().into(), value.into());
    V3Put { key, value, lease, prev_kv, ..V3Put::default() }
}

fn put(key: &str, value: String, lease: LeaseId, prev_kv: bool) -> Kind {
    Kind::V3(V3Op::Put(put_of(key, value, lease, prev_kv)))
}

fn delete(keys: KeyRange, prev_kv: bool) -> Kind {
    Kind::V3(V3Op::DeleteRange(V3DeleteRange { keys, prev_kv }))
}

fn txn(
    compare: &[(&str, CompareTarget)],
    success: Vec<V3RequestOp>,
    failure: Vec<V3RequestOp>,
) -> Kind {
    let compare = compare.iter().map(|(key, target)| V3Compare {
        keys: KeyRange::one((*key).to_owned()),
        result: CompareResult::Equal,
        target: target.clone(),
    });
    Kind::V3(V3Op::Txn(V3Txn { compare: compare.collect(), success, failure }))
}

/// What is put through the log for it; none for a question.
pub fn command(key: &str, kind: &Kind) -> Option<Command> {
    let write = |value: &String, ttl| V2Write {
        dir: false,
        value: Bytes::copy_from_slice(value.as_bytes()),
        ttl,
        refresh: false,
    };
    let op = match kind {
        Kind::Set { value, ttl } => V2Op::Set(write(value, *ttl)),
        Kind::Create { value } => V2Op::Create(write(value, None)),
        Kind::Swap { previous, index, value } => V2Op::CompareAndSwap {
            compare: V2Compare { prev_value: previous.clone().into_bytes(), prev_index: *index },
            write: write(value, None),
        },
        Kind::DeleteIf { previous } => V2Op::CompareAndDelete(V2Compare {
            prev_value: previous.clone().into_bytes(),
            prev_index: 0,
        }),
        Kind::Delete => V2Op::Delete { dir: false, recursive: false },
        Kind::Post { value } => V2Op::CreateInOrder(write(value, None)),
        Kind::Members(change) => return Some(Command::Members(change.clone())),
        Kind::V3(op) => return Some(Command::V3(V3Command { caller: None, op: op.clone() })),
        Kind::Get
        | Kind::SerialGet
        | Kind::Range { .. }
        | Kind::KeepAlive(_)
        | Kind::TimeToLive(_) => return None,
    };
    Some(Command::V2(V2Command { path: key.as_bytes().to_vec(), op }))
}
