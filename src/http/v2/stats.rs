//! `/v2/stats/{self,leader,store}`.

use std::{sync::atomic::Ordering, time::Duration};

use actix_http::StatusCode;

use crate::{
    clock::wall_clock,
    http::{
        Doors,
        answer::{self, Answer},
        json,
    },
    published::RoundTrips,
    storage::v2_tree::stats::{Tally, V2Stats},
    types::{MemberId, UnixNanos},
};

/// `/v2/stats/self`. The append counters count traffic with peers: a single member has none. etcd's
/// rates of the last second are left out, as etcd leaves them out of a member without traffic.
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
    let received = published.raft.appends_received.load(Ordering::Relaxed);
    let sent = published.raft.appends_sent.load(Ordering::Relaxed);
    let appends =
        format!(r#""}},"recvAppendRequestCnt":{received},"sendAppendRequestCnt":{sent}}}"#);
    body.extend_from_slice(appends.as_bytes());
    answer::json(StatusCode::OK, body)
}

/// `/v2/stats/leader`: only the leader knows its followers.
pub fn leader(doors: &Doors) -> Answer {
    if !doors.published.is_leader() {
        return answer::message(StatusCode::FORBIDDEN, b"not current leader");
    }
    let peers = doors.published.peers.load();
    let followers = peers.iter().map(|(id, peer)| {
        (format!("{id:x}"), peer.round_trips(), peer.sent_failures.load(Ordering::Relaxed))
    });
    let id = doors.published.identity.member_id;
    answer::json(StatusCode::OK, following(id, followers.collect()))
}

/// The answer of a leader with these followers: id, round trips, failures.
fn following(leader: MemberId, mut followers: Vec<(String, RoundTrips, u64)>) -> String {
    followers.sort_by(|a, b| a.0.cmp(&b.0)); // as text, as etcd's map is
    let follower = |(id, trips, failures): (String, RoundTrips, u64)| {
        let millis = |time: Duration| time.as_nanos() as f64 / 1e6;
        let count = trips.count.max(1) as f64;
        let average = trips.sum / count;
        let deviation = (trips.sum_of_squares / count - average * average).max(0.0).sqrt();
        // As etcd: where nothing was measured the shortest time is the longest that there can be.
        let minimum = if trips.count == 0 { i64::MAX as f64 } else { millis(trips.min) };
        format!(
            concat!(
                r#""{}":{{"latency":{{"current":{},"average":{},"standardDeviation":{},"#,
                r#""minimum":{},"maximum":{}}},"counts":{{"fail":{},"success":{}}}}}"#,
            ),
            id,
            millis(trips.current),
            average * 1e3,
            deviation * 1e3,
            minimum,
            millis(trips.max),
            failures,
            trips.count,
        )
    };
    let followers: Vec<String> = followers.into_iter().map(follower).collect();
    format!(r#"{{"leader":"{leader:x}","followers":{{{}}}}}"#, followers.join(","))
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
    use crate::published::PeerFigures;

    #[test]
    fn followers_in_milliseconds() {
        assert_eq!(following(MemberId(10), Vec::new()), r#"{"leader":"a","followers":{}}"#);
        let peer = PeerFigures::default();
        peer.note_round_trip(Duration::from_secs(3));
        peer.note_round_trip(Duration::from_secs(1));
        let followers = vec![
            ("b".to_owned(), RoundTrips::default(), 7),
            ("1f".to_owned(), peer.round_trips(), 0),
        ];
        let expected = concat!(
            r#"{"leader":"a","followers":{"#,
            r#""1f":{"latency":{"current":1000,"average":2000,"standardDeviation":1000,"minimum":1000,"#,
            r#""maximum":3000},"counts":{"fail":0,"success":2}},"#,
            r#""b":{"latency":{"current":0,"average":0,"standardDeviation":0,"#,
            r#""minimum":9223372036854776000,"maximum":0},"counts":{"fail":7,"success":0}}}}"#,
        );
        assert_eq!(following(MemberId(10), followers), expected);
    }

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
