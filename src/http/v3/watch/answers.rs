//! What a watch is told: the shapes of its answers.

use prost::Message as _;

use crate::http::v3::{
    error::RpcError,
    pb::{
        Event,
        etcdserverpb::{ResponseHeader, WatchResponse},
    },
};

/// The id in answers that concern no watch: one that was not made, or all of them.
pub const NO_WATCH: i64 = -1;

type Header = Option<ResponseHeader>;

/// A watch begins.
pub fn created(header: Header, watch_id: i64) -> WatchResponse {
    WatchResponse { header, watch_id, created: true, ..WatchResponse::default() }
}

/// A watch does not begin.
pub fn refused(header: Header, cancel_reason: String) -> WatchResponse {
    WatchResponse { canceled: true, cancel_reason, ..created(header, NO_WATCH) }
}

/// A watch ends because its client said so.
pub fn canceled(header: Header, watch_id: i64) -> WatchResponse {
    WatchResponse { header, watch_id, canceled: true, ..WatchResponse::default() }
}

/// A watch ends because history is gone.
pub fn compacted(header: Header, watch_id: i64, compacted: i64) -> WatchResponse {
    WatchResponse { compact_revision: compacted, ..canceled(header, watch_id) }
}

/// All up to the header's revision was told.
pub fn progress(header: Header, watch_id: i64) -> WatchResponse {
    WatchResponse { header, watch_id, ..WatchResponse::default() }
}

/// All that was there when the watch began was told.
pub fn initial_done(header: Header, watch_id: i64) -> WatchResponse {
    WatchResponse { initial_done: true, ..progress(header, watch_id) }
}

/// What happened: one answer, or as many as keep each below `max` bytes if one event does.
pub fn happened(
    header: Header,
    watch_id: i64,
    events: Vec<Event>,
    max: Option<usize>,
) -> Vec<WatchResponse> {
    let Some(max) = max else {
        return vec![WatchResponse { events, ..progress(header, watch_id) }];
    };
    let base = WatchResponse { fragment: true, ..progress(header, watch_id) };
    let base_len = base.encoded_len();
    let mut parts = vec![base.clone()];
    let mut len = base_len;
    for event in events {
        let event_len = len_in_answer(&event);
        if len + event_len >= max && parts.last().is_some_and(|part| !part.events.is_empty()) {
            parts.push(base.clone());
            len = base_len;
        }
        len += event_len;
        if let Some(part) = parts.last_mut() {
            part.events.push(event);
        }
    }
    if let Some(last) = parts.last_mut() {
        last.fragment = false;
    }
    parts
}

/// Bytes that an event takes in an answer.
pub fn len_in_answer(event: &Event) -> usize {
    let len = event.encoded_len();
    1 + prost::length_delimiter_len(len) + len
}

/// An error as Go's gRPC library writes it.
pub fn reason_of(error: &RpcError) -> String {
    format!("rpc error: code = {:?} desc = {}", error.code, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mvcc::record::{KeyHead, KeyRecord};

    #[test]
    fn fragments_are_small_and_only_the_last_says_so() {
        let event =
            |len: usize| Event::Stored(KeyRecord::new(b"k", &vec![b'x'; len], KeyHead::default()));
        let header = Some(ResponseHeader { revision: 7, ..ResponseHeader::default() });
        for (lens, max, expected) in [
            (vec![10, 10, 10], None, vec![3]),
            (vec![10, 10, 10], Some(1000), vec![3]),
            (vec![100, 100, 100], Some(300), vec![2, 1]),
            (vec![500, 10, 500, 10, 10], Some(300), vec![1, 1, 1, 2]),
            (vec![500], Some(300), vec![1]),
        ] {
            let events = lens.iter().map(|&len| event(len)).collect();
            let parts = happened(header, 3, events, max);
            let counts: Vec<usize> = parts.iter().map(|part| part.events.len()).collect();
            assert_eq!(counts, expected, "{lens:?}");
            for (at, part) in parts.iter().enumerate() {
                assert_eq!(part.fragment, at + 1 < parts.len());
                assert!(max.is_none_or(|max| part.events.len() == 1 || part.encoded_len() < max));
            }
        }
    }
}
