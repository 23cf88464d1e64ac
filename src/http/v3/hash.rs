//! `Maintenance.HashKV`: the value that etcd computes for the same history, so that both can be compared.

use prost::Message as _;

use super::{
    Caller, Services,
    error::RpcError,
    pb::{
        KeyValue,
        etcdserverpb::{HashKvRequest, HashKvResponse, HashRequest, HashResponse},
    },
};
use crate::{
    storage::{
        mvcc::{State, codec},
        v3::{self, Revised, V3Error},
    },
    types::Revision,
};

/// The name of etcd's table, with which its hash begins.
const TABLE: &[u8] = b"key";

/// The hash of all rows up to a revision, and which revision that is.
fn hash_kv(state: &State, revision: i64) -> Result<(u32, i64), V3Error> {
    let mut crc = crc32c::crc32c(TABLE);
    let mut bytes = Vec::new();
    let at = v3::revisions(state, revision, |row| {
        bytes.clear();
        push_row(&mut bytes, &row);
        crc = crc32c::crc32c_append(crc, &bytes);
    })?;
    Ok((crc, at))
}

/// A row's key and value, as etcd stores them.
fn push_row(out: &mut Vec<u8>, row: &Revised<'_>) {
    out.extend_from_slice(&row.revision.0.to_be_bytes());
    out.push(b'_');
    out.extend_from_slice(&u64::from(row.sub).to_be_bytes());
    if !row.deleted {
        KeyValue::Stored(row.record.clone()).encode(out).expect("a Vec takes all bytes");
        return;
    }
    out.push(b't');
    let deleted = super::pb::Loose {
        key: bytes::Bytes::copy_from_slice(row.record.key()),
        ..super::pb::Loose::default()
    };
    deleted.encode(out).expect("a Vec takes all bytes");
}

impl Services {
    /// The hash of the keyspace up to a revision.
    pub async fn hash_kv(
        &self,
        caller: &Caller,
        request: HashKvRequest,
    ) -> Result<HashKvResponse, RpcError> {
        self.admit_root(caller)?;
        let asked = request.revision;
        let (revision, compacted, hashed) = self
            .aside(move |state| (state.revision, state.compacted, hash_kv(state, asked)))
            .await?;
        let (hash, hash_revision) = hashed?;
        let compact_revision = if compacted == Revision(0) { -1 } else { compacted.0 as i64 };
        let header = self.header(revision);
        Ok(HashKvResponse { header, hash, compact_revision, hash_revision })
    }

    /// A hash of all that is replicated. It is not etcd's, which is that of its file.
    pub async fn hash(
        &self,
        caller: &Caller,
        _request: HashRequest,
    ) -> Result<HashResponse, RpcError> {
        self.admit_root(caller)?;
        let hash = |state: &State| (state.revision, codec::digest(state));
        let (revision, hash) = self.aside(hash).await?;
        Ok(HashResponse { header: self.header(revision), hash })
    }

    /// Looks at the published state on a thread aside, of which there are a few for all.
    async fn aside<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, RpcError> {
        /// More of them would only take the processors from clients.
        static THREADS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);
        let permit = THREADS.acquire().await.expect("it is never closed");
        let state = self.doors.published.state.load_full();
        let looked = tokio::task::spawn_blocking(move || {
            let looked = look(&state);
            drop(permit);
            looked
        });
        looked.await.map_err(|_| super::error::STOPPED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{KeyRange, V3Command, V3DeleteRange, V3Op, V3Put, V3RequestOp, V3Txn},
        types::{LeaseId, Term, UnixNanos},
    };

    fn put(key: &str, value: &str, lease: i64) -> V3Put {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        V3Put { key, value, lease: LeaseId(lease), ..V3Put::default() }
    }

    fn delete(key: &str, end: &str) -> V3DeleteRange {
        let keys = KeyRange { key: key.to_owned().into(), range_end: end.to_owned().into() };
        V3DeleteRange { keys, prev_kv: false }
    }

    fn txn(success: Vec<V3RequestOp>) -> V3Op {
        V3Op::Txn(V3Txn { success, ..V3Txn::default() })
    }

    /// Of what revisions, and which hashes.
    type Hashed = &'static [(i64, u32)];

    /// The values are those that etcd 3.4.23 and 3.5.1 gave for this history.
    #[test]
    fn the_value_is_etcds() {
        let op_put = |key: &str, value: &str| V3RequestOp::Put(put(key, value, 0));
        let hashes: [(Vec<V3Op>, Hashed); 9] = [
            (vec![V3Op::LeaseGrant { id: LeaseId(77), ttl: 600 }], &[(0, 1_084_519_789)]),
            (
                vec![
                    V3Op::Put(put("a", "1", 0)),
                    V3Op::Put(put("b", "2", 77)),
                    txn(vec![op_put("c", "x"), op_put("a", "3"), op_put("d", "")]),
                    V3Op::DeleteRange(delete("a", "")),
                ],
                &[(0, 354_086_771), (2, 2_587_454_935), (4, 2_343_686_344), (5, 354_086_771)],
            ),
            (
                vec![
                    V3Op::Put(put("a", "again", 0)),
                    txn(vec![op_put("e", "1"), V3RequestOp::DeleteRange(delete("c", "e"))]),
                ],
                &[(0, 282_128_548)],
            ),
            (
                vec![V3Op::Compact { revision: 4 }],
                &[(0, 3_857_393_126), (5, 3_437_353_510), (6, 1_186_511_731)],
            ),
            (vec![V3Op::Compact { revision: 5 }], &[(0, 2_110_287_371), (6, 156_860_864)]),
            (vec![V3Op::LeaseRevoke { id: LeaseId(77) }], &[(0, 383_078_847), (7, 2_110_287_371)]),
            (vec![V3Op::DeleteRange(delete("a", "z"))], &[(0, 2_987_507_641), (8, 383_078_847)]),
            (vec![V3Op::Compact { revision: 8 }], &[(0, 26_924_697)]),
            (vec![V3Op::Put(put("z", "z", 0))], &[(0, 3_109_886_456)]),
        ];
        let mut state = State::new(Vec::new());
        let apply = |state: &mut State, op: V3Op| {
            let command = V3Command { caller: None, op };
            v3::apply(state, Term(1), UnixNanos(1), &command)
                .applied
                .result
                .expect("it is applied");
        };
        for (ops, expected) in hashes {
            for op in ops {
                apply(&mut state, op);
            }
            for &(revision, hash) in expected {
                let at = if revision == 0 { state.revision.0 as i64 } else { revision };
                assert_eq!(hash_kv(&state, revision), Ok((hash, at)), "now {}", state.revision);
            }
        }
        apply(&mut state, V3Op::Compact { revision: 10 });
        state.free_compacted(100);
        assert_eq!(hash_kv(&state, 0), Ok((418_945_243, 10)));
        assert_eq!(hash_kv(&state, 9), Err(V3Error::Compacted));
        assert_eq!(hash_kv(&state, 11), Err(V3Error::FutureRevision));
    }
}
