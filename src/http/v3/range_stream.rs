//! `RangeStream`: a range that comes bit by bit. Every bit is looked up in the same state, which does not
//! change, so that all are of one revision; merged they are the answer of a Range.

use std::sync::Arc;

use futures_util::stream;
use tokio::task;

use super::{
    Answers, Caller, Services,
    auth::Needs,
    check, convert,
    error::{Code, RpcError},
    long,
    pb::{
        KeyValue,
        etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader},
    },
};
use crate::{
    command::V3Range,
    storage::{
        mvcc::{State, record::KeyRecord},
        v3,
    },
};

const NO_ORDERS: RpcError =
    RpcError::new(Code::Unimplemented, "RangeStream does not support custom sort orders");
const NO_FILTERS: RpcError =
    RpcError::new(Code::Unimplemented, "RangeStream does not support revision filters");

/// An answer is full with so many bytes of keys and values, or so many keys: neither takes long to put
/// together, and a client that reads slowly makes us hold no more than one or two.
const CHUNK_BYTES: usize = 1 << 19;
const CHUNK_KEYS: usize = 1_000;

impl Services {
    /// Looks keys up, and sends them bit by bit.
    pub async fn range_stream(
        &self,
        caller: &Caller,
        request: RangeRequest,
    ) -> Result<Answers<RangeStreamResponse>, RpcError> {
        check::range(&request)?;
        let serializable = request.serializable;
        let query = convert::range(request);
        if !v3::in_key_order(&query) {
            return Err(NO_ORDERS);
        }
        if v3::filters(&query) {
            return Err(NO_FILTERS);
        }
        self.admit_range(caller, &query)?;
        if !serializable {
            self.read_index().await?;
            self.admit_range(caller, &query)?; // rights may have changed meanwhile
        }
        let state = self.state()?;
        let header = self.header(state.revision);
        let gap = state.revision.0.saturating_sub(query.revision.max(0) as u64);
        let work = if query.revision <= 0 { 0 } else { gap as usize };
        let begun = self.begun(caller, Needs::Read(query.keys.clone()));
        let reading =
            long::look(&self.doors.limits, work, move || Reading::begin(state, &query, header))
                .await?;
        Ok(Box::pin(stream::unfold(Some((begun, reading)), |reading| async {
            let (begun, mut reading) = reading?;
            if reading.sent > 0 {
                task::yield_now().await; // a fast client must not keep the others waiting
            }
            if let Err(error) = begun.may_go_on() {
                return Some((Err(error), None));
            }
            let (chunk, ended) = reading.next_chunk(CHUNK_BYTES, CHUNK_KEYS);
            let answer = RangeStreamResponse { range_response: Some(chunk) };
            Some((Ok(answer), (!ended).then_some((begun, reading))))
        })))
    }
}

/// A range of which a part was sent.
struct Reading {
    state: Arc<State>,
    view: v3::View,
    header: Option<ResponseHeader>,
    keys_only: bool,
    count_only: bool,
    /// The last key that was sent.
    last: Option<KeyRecord>,
    sent: usize,
    limit: usize,
}

impl Reading {
    fn begin(
        state: Arc<State>,
        query: &V3Range,
        header: Option<ResponseHeader>,
    ) -> Result<Reading, v3::V3Error> {
        let at = v3::revision_of(&state, query.revision)?;
        Ok(Reading {
            view: v3::View::new(&state, &query.keys, at),
            state,
            header,
            keys_only: query.keys_only,
            count_only: query.count_only,
            last: None,
            sent: 0,
            limit: v3::limit_of(query),
        })
    }

    /// The next keys, at least one if there is one; header, count and `more` come with the last of them,
    /// of which is told that they are.
    fn next_chunk(&mut self, bytes_max: usize, keys_max: usize) -> (RangeResponse, bool) {
        let mut chunk = RangeResponse::default();
        let mut more = false;
        if !self.count_only {
            let after = self.last.as_ref().map(KeyRecord::key);
            let mut keys = self.view.iter(&self.state, after).peekable();
            let keys_max = keys_max.min(self.limit - self.sent);
            let (mut bytes, mut last) = (0, None);
            while chunk.kvs.len() < keys_max
                && bytes < bytes_max
                && let Some(record) = keys.next()
            {
                bytes += if self.keys_only { record.key().len() } else { record.len() };
                let dress = if self.keys_only { KeyValue::KeyOnly } else { KeyValue::Stored };
                chunk.kvs.push(dress(record.clone()));
                last = Some(record.clone());
            }
            more = keys.peek().is_some();
            self.sent += chunk.kvs.len();
            self.last = last;
        }
        let ended = !more || self.sent == self.limit;
        if ended {
            chunk.header = self.header.take();
            chunk.more = more;
            chunk.count = self.view.count(&self.state) as i64;
        }
        (chunk, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Command, KeyRange, Proposal, ProposalId, V3Command, V3DeleteRange, V3Op, V3Put},
        types::{MemberId, Term, UnixNanos},
    };

    fn apply(state: &mut State, op: V3Op) {
        let proposal = Proposal {
            id: ProposalId(1),
            member: MemberId(1),
            time: UnixNanos(1),
            command: Command::V3(V3Command { caller: None, op }),
        };
        state.apply(state.applied_index.next(), Term(1), Some(&proposal));
    }

    /// Ten keys of ten bytes each with their values, then half of them deleted.
    fn state() -> Arc<State> {
        let mut state = State::new(Vec::new());
        for number in 0..10 {
            let (key, value) = (format!("k{number}").into(), "12345678".into());
            apply(&mut state, V3Op::Put(V3Put { key, value, ..V3Put::default() }));
        }
        let keys = KeyRange { key: "k5".into(), range_end: "z".into() };
        apply(&mut state, V3Op::DeleteRange(V3DeleteRange { keys, prev_kv: false }));
        Arc::new(state)
    }

    fn whole() -> V3Range {
        let keys = KeyRange { key: "k".into(), range_end: "l".into() };
        V3Range { keys, ..V3Range::default() }
    }

    /// Whatever the chunks, merged they are what a range answers; none is larger than it may be.
    #[test]
    fn merged_chunks_are_the_range() {
        let state = state();
        for query in [
            whole(),
            V3Range { revision: 11, ..whole() },
            V3Range { revision: 11, limit: 1, ..whole() },
            V3Range { revision: 11, limit: 9, ..whole() },
            V3Range { revision: 11, limit: 10, ..whole() },
            V3Range { revision: 11, limit: -1, keys_only: true, ..whole() },
            V3Range { limit: 4, ..whole() },
            V3Range { limit: 5, ..whole() },
            V3Range { count_only: true, limit: 2, ..whole() },
            V3Range { revision: 1, ..whole() },
            V3Range { keys: KeyRange::one("k3"), ..whole() },
            V3Range { keys: KeyRange::one("none"), ..whole() },
        ] {
            let header = Some(ResponseHeader { revision: 12, ..ResponseHeader::default() });
            let answer = v3::range(&state, &query).unwrap();
            let expected = convert::range_response(header, answer);
            for (bytes_max, keys_max) in [(1, 100), (25, 100), (1_000, 3), (1_000, 1), (1_000, 100)]
            {
                let mut reading = Reading::begin(Arc::clone(&state), &query, header).unwrap();
                let mut merged = RangeResponse::default();
                loop {
                    let (chunk, ended) = reading.next_chunk(bytes_max, keys_max);
                    let key_bytes = if query.keys_only { 2 } else { 10 };
                    let bytes = chunk.kvs.len() * key_bytes;
                    assert!(chunk.kvs.len() <= keys_max && bytes < bytes_max + key_bytes);
                    assert!(ended || !chunk.kvs.is_empty(), "a chunk of nothing");
                    assert_eq!(chunk.header.is_some(), ended);
                    assert!(ended || (chunk.count == 0 && !chunk.more));
                    merged.kvs.extend(chunk.kvs);
                    (merged.header, merged.more, merged.count) =
                        (chunk.header, chunk.more, chunk.count);
                    if ended {
                        break;
                    }
                }
                assert_eq!(merged, expected, "{query:?} in chunks of {bytes_max}, {keys_max}");
            }
        }
        let bad = V3Range { revision: 99, ..whole() };
        assert!(Reading::begin(state, &bad, None).is_err());
    }
}
