//! `/v2/stats/{self,leader,store}`.

use std::sync::atomic::Ordering;

use actix_http::StatusCode;

use crate::{
    clock::wall_clock,
    http::{
        Doors,
        answer::{self, Answer},
        json,
    },
    storage::v2_tree::stats::{Tally, V2Stats},
    types::UnixNanos,
};

/// `/v2/stats/self`. The append counters count traffic with peers: a single member has none.
pub fn own(doors: &Doors) -> Answer {
    let published = &doors.published;
    let leader = published.raft.leader();
    let since = published.raft.leader_since.load(Ordering::Acquire);
    let mut body = br#"{"name":"#.to_vec();
    json::push_string(&mut body, published.identity.name.as_bytes());
    let state = if published.is_leader() { "StateLeader" } else { "StateFollower" };
    let id = published.identity.member_id;
    body.extend_from_slice(format!(r#","id":"{id:x}","state":"{state}","startTime":""#).as_bytes());
    json::push_time(&mut body, doors.settings.start_time);
    body.extend_from_slice(br#"","leaderInfo":{"leader":""#);
    match leader {
        Some(leader) => {
            body.extend_from_slice(format!(r#"{leader:x}","uptime":""#).as_bytes());
            json::push_duration(&mut body, wall_clock().0.saturating_sub(since));
            body.extend_from_slice(br#"","startTime":""#);
            json::push_time(&mut body, UnixNanos(since));
        }
        None => body.extend_from_slice(br#"","uptime":"0s","startTime":"0001-01-01T00:00:00Z"#),
    }
    body.extend_from_slice(br#""},"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}"#);
    answer::json(StatusCode::OK, body)
}

/// `/v2/stats/leader`: only the leader knows its followers.
pub fn leader(doors: &Doors) -> Answer {
    if !doors.published.is_leader() {
        return answer::message(StatusCode::FORBIDDEN, b"not current leader");
    }
    let id = doors.published.identity.member_id;
    answer::json(StatusCode::OK, format!(r#"{{"leader":"{id:x}","followers":{{}}}}"#))
}

/// `/v2/stats/store`.
pub fn store(doors: &Doors) -> Answer {
    answer::json(StatusCode::OK, counters(&doors.stats))
}

fn counters(stats: &V2Stats) -> Vec<u8> {
    let mut body = Vec::with_capacity(320);
    let tallies: [(&str, &Tally); 7] = [
        ("gets", &stats.gets),
        ("sets", &stats.sets),
        ("delete", &stats.deletes),
        ("update", &stats.updates),
        ("create", &stats.creates),
        ("compareAndSwap", &stats.compare_and_swaps),
        ("compareAndDelete", &stats.compare_and_deletes),
    ];
    for (name, tally) in tallies {
        push_member(&mut body, &format!("{name}Success"), tally.success.load(Ordering::Relaxed));
        push_member(&mut body, &format!("{name}Fail"), tally.fail.load(Ordering::Relaxed));
    }
    push_member(&mut body, "expireCount", stats.expires.load(Ordering::Relaxed));
    push_member(&mut body, "watchers", stats.watchers.load(Ordering::Relaxed));
    body[0] = b'{';
    body.push(b'}');
    body
}

fn push_member(body: &mut Vec<u8>, name: &str, number: u64) {
    body.extend_from_slice(format!(",\"{name}\":{number}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_etcds_order() {
        let stats = V2Stats::default();
        stats.gets.count(true);
        stats.deletes.count(false);
        stats.watchers.store(3, Ordering::Relaxed);
        let expected = concat!(
            r#"{"getsSuccess":1,"getsFail":0,"setsSuccess":0,"setsFail":0,"deleteSuccess":0,"#,
            r#""deleteFail":1,"updateSuccess":0,"updateFail":0,"createSuccess":0,"createFail":0,"#,
            r#""compareAndSwapSuccess":0,"compareAndSwapFail":0,"compareAndDeleteSuccess":0,"#,
            r#""compareAndDeleteFail":0,"expireCount":0,"watchers":3}"#,
        );
        assert_eq!(String::from_utf8(counters(&stats)).expect("JSON is text"), expected);
    }
}
