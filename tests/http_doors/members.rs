//! What clients see of a cluster, and do to it: members, alarms, peers. Codes, bodies and texts were
//! taken from clusters of one and three etcds.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use callboard::{
    clock::wall_clock,
    command::{AlarmKind, Command, MemberChange},
    published::PeerFigures,
    types::MemberId,
};

use super::{
    client::{Answer, Client},
    member::{Member, Sizes},
};

const NO_WORDS: &str = r#"{"message":"Internal Server Error"}"#;

/// Sends a request about members, on a connection of its own.
async fn about(member: &Member, method: &str, path: &str, body: &str) -> Answer {
    let mut client = Client::connect(member.clients).await;
    let kind = "Content-Type: application/json";
    let len = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{kind}\r\nContent-Length: {len}");
    client.say(format!("{head}\r\n\r\n{body}").as_bytes()).await;
    client.answer(method).await
}

async fn get(member: &Member, path: &str) -> Answer {
    Client::connect(member.clients).await.talk("GET", path, "").await
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, &answer.body)
}

/// The id in the answer to an addition.
fn id_in(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body.split('"').nth(3).expect("an id").to_owned()
}

/// A second member that has started.
async fn second(member: &Member) {
    let id = MemberId(0xb);
    let peer_urls = vec!["http://127.0.0.1:3380".to_owned()];
    member
        .propose(Command::Members(MemberChange::Add {
            id,
            peer_urls,
            learner: false,
            learners_max: None,
        }))
        .await;
    let client_urls = vec!["http://127.0.0.1:1379".to_owned()];
    member.propose(Command::PublishMember { id, name: "two".to_owned(), client_urls }).await;
}

fn peer(member: &Member, id: u64) -> Arc<PeerFigures> {
    let peer = Arc::new(PeerFigures::default());
    let peers = BTreeMap::from([(MemberId(id), Arc::clone(&peer))]);
    member.doors.published.peers.store(Arc::new(peers));
    peer
}

#[actix_rt::test]
async fn a_member_is_added_moved_and_removed() {
    let member = Member::start(Sizes::default()).await;
    let urls = r#"{"peerURLs":["http://127.0.0.1:2","http://127.0.0.1:1"],"name":"x"}"#;
    let added = about(&member, "POST", "/v2/members", urls).await;
    let id = id_in(&added);
    let shown =
        |urls: &str| format!(r#"{{"id":"{id}","name":"","peerURLs":[{urls}],"clientURLs":[]}}"#);
    assert_eq!(added.body, shown(r#""http://127.0.0.1:1","http://127.0.0.1:2""#) + "\n");
    assert_eq!(added.header("X-Etcd-Cluster-Id"), Some("c0ffee"));
    // Of two members one has started: that is no quorum of three, and is said before anything else.
    let other = r#"{"peerURLs":["http://127.0.0.1:3"]}"#;
    for body in [urls, other] {
        let refused = about(&member, "POST", "/v2/members", body).await;
        assert_eq!(told(&refused), (500, NO_WORDS), "{body}");
    }
    let path = format!("/v2/members/{id}");
    let taken = r#"{"peerURLs":["http://127.0.0.1:2380"]}"#;
    let taken = about(&member, "PUT", &path, taken).await;
    assert_eq!(told(&taken), (409, r#"{"message":"membership: peerURL exists"}"#));
    assert_eq!(told(&about(&member, "PUT", &path, other).await), (204, ""));
    let listing = get(&member, "/v2/members").await.body;
    assert!(listing.contains(&shown(r#""http://127.0.0.1:3""#)), "{listing}");
    assert_eq!(told(&about(&member, "DELETE", "/v2/members/a", "").await), (500, NO_WORDS));
    assert_eq!(told(&about(&member, "DELETE", &path, "").await), (204, ""));
    let gone = format!(r#"{{"message":"Member permanently removed: {id}"}}"#);
    for id in [id.clone(), id.to_uppercase(), format!("0{id}")] {
        let answer = about(&member, "DELETE", &format!("/v2/members/{id}"), "").await;
        assert_eq!(told(&answer), (410, &*gone), "{id}");
    }
    assert_eq!(told(&about(&member, "PUT", &path, other).await), (500, NO_WORDS));
    let unknown = about(&member, "PUT", "/v2/members/0abc", other).await;
    assert_eq!(told(&unknown), (404, r#"{"message":"No such member: abc"}"#));
    assert!(!get(&member, "/v2/members").await.body.contains(&id));
}

#[actix_rt::test]
async fn who_does_not_answer_for_long_enough_stops_changes() {
    let member = Member::start(Sizes::default()).await;
    second(&member).await;
    let machines = get(&member, "/v2/machines").await.body;
    assert_eq!(machines, "http://127.0.0.1:1379, http://127.0.0.1:2379");
    let body = r#"{"peerURLs":["http://127.0.0.1:1"]}"#;
    assert_eq!(told(&about(&member, "POST", "/v2/members", body).await), (500, NO_WORDS));
    let figures = peer(&member, 0xb);
    figures.note_answering(wall_clock());
    assert_eq!(told(&about(&member, "POST", "/v2/members", body).await), (500, NO_WORDS));
    assert_eq!(told(&about(&member, "DELETE", "/v2/members/b", "").await), (500, NO_WORDS));
    figures.active_since.fetch_sub(6_000_000_000, Ordering::AcqRel);
    let id = id_in(&about(&member, "POST", "/v2/members", body).await);
    assert_eq!(about(&member, "DELETE", &format!("/v2/members/{id}"), "").await.status, 204);
    // One that is down may go at once.
    figures.note_silent();
    assert_eq!(told(&about(&member, "DELETE", "/v2/members/b", "").await), (204, ""));
    assert_eq!(get(&member, "/v2/members/leader").await.status, 200);
}

#[actix_rt::test]
async fn learners_are_asked_for_and_shown() {
    let member = Member::start(Sizes::default()).await;
    let learner =
        |port: u16| format!(r#"{{"peerURLs":["http://127.0.0.1:{port}"],"isLearner":true}}"#);
    let added = about(&member, "POST", "/v2/members", &learner(1)).await;
    let id = id_in(&added);
    assert!(added.body.ends_with("\"clientURLs\":[],\"isLearner\":true}\n"), "{}", added.body);
    assert_eq!(get(&member, "/v2/members").await.body.matches("isLearner").count(), 1);
    let one_more = about(&member, "POST", "/v2/members", &learner(2)).await;
    let text = r#"{"message":"membership: too many learner members in cluster"}"#;
    assert_eq!(told(&one_more), (409, text));
    assert_eq!(about(&member, "DELETE", &format!("/v2/members/{id}"), "").await.status, 204);
    assert_eq!(get(&member, "/readyz/non_learner").await.status, 200);
}

#[actix_rt::test]
async fn a_learner_is_not_ready() {
    let member = Member::start(Sizes { learner: true, ..Sizes::default() }).await;
    let answer = get(&member, "/readyz/non_learner").await;
    let expected = "[-]non_learner failed: this member is a learner\n\n";
    assert_eq!(told(&answer), (503, expected));
    assert_eq!(get(&member, "/readyz?exclude=non_learner").await.status, 200);
    assert_eq!(get(&member, "/livez").await.status, 200);
    assert!(get(&member, "/metrics").await.body.contains("\netcd_server_is_learner 1\n"));
}

fn alarm(of: u64, kind: AlarmKind, raised: bool) -> Command {
    Command::Alarm { member: MemberId(of), kind, raised }
}

#[actix_rt::test]
async fn alarms_are_told_unless_they_are_excluded() {
    let member = Member::start(Sizes::default()).await;
    second(&member).await;
    member.propose(alarm(0xb, AlarmKind::NoSpace, true)).await;
    let answer = get(&member, "/health?serializable=true").await;
    assert_eq!(told(&answer), (503, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n"));
    assert_eq!(get(&member, "/health?exclude=NOSPACE").await.status, 200);
    assert_eq!(get(&member, "/readyz").await.status, 200);
    member.propose(alarm(0xb, AlarmKind::Corrupt, true)).await;
    let answer = get(&member, "/health?exclude=NOSPACE").await;
    assert_eq!(told(&answer), (503, "{\"health\":\"false\",\"reason\":\"ALARM CORRUPT\"}\n"));
    assert_eq!(get(&member, "/health?exclude=CORRUPT&exclude=NOSPACE").await.status, 200);
    let answer = get(&member, "/readyz/data_corruption").await;
    assert_eq!(told(&answer), (503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"));
    assert_eq!(get(&member, "/readyz?exclude=data_corruption").await.status, 200);
    // It is another's data that differs.
    assert_eq!(get(&member, "/v2/keys").await.status, 200);
}

#[actix_rt::test]
async fn a_member_that_is_corrupt_serves_no_keys() {
    let member = Member::start(Sizes::default()).await;
    let mut watches = Vec::new();
    for path in ["/v2/keys/a?wait=true", "/v2/keys/a?wait=true&stream=true"] {
        let mut client = Client::connect(member.clients).await;
        client.ask("GET", path, "").await;
        assert_eq!(client.head().await.status, 200);
        watches.push(client);
    }
    member.watchers(2).await;
    member.propose(alarm(0xa, AlarmKind::Corrupt, true)).await;
    for client in &mut watches {
        assert_eq!(client.chunk().await, None, "a watch ends");
    }
    let text = "{\"errorCode\":300,\"message\":\"Raft Internal Error\",\
                \"cause\":\"etcdserver: corrupt cluster\",\"index\":0}\n";
    let mut client = Client::connect(member.clients).await;
    for (method, path, form) in [
        ("GET", "/v2/keys/a", ""),
        ("GET", "/v2/keys/a?quorum=true", ""),
        ("GET", "/v2/keys/a?wait=true", ""),
        ("PUT", "/v2/keys/a", "value=1"),
        ("DELETE", "/v2/keys/a", ""),
    ] {
        let answer = client.talk(method, path, form).await;
        assert_eq!(told(&answer), (500, text), "{method} {path}");
    }
    assert_eq!(get(&member, "/v2/members").await.status, 200);
    assert_eq!(get(&member, "/livez").await.status, 200);
    member.propose(alarm(0xa, AlarmKind::Corrupt, false)).await;
    assert_eq!(client.talk("PUT", "/v2/keys/a", "value=1").await.status, 201);
}

#[actix_rt::test]
async fn peers_are_seen_in_statistics_and_metrics() {
    let documented = include_str!("../../docs/metrics.md");
    let member = Member::start(Sizes::default()).await;
    let figures = peer(&member, 0xb);
    figures.note_answering(wall_clock());
    figures.note_round_trip(Duration::from_millis(2));
    figures.sent_bytes.store(5, Ordering::Relaxed);
    figures.sent_failures.store(3, Ordering::Relaxed);
    let raft = &member.doors.published.raft;
    raft.appends_sent.store(7, Ordering::Relaxed);
    let followers = get(&member, "/v2/stats/leader").await.body;
    let expected = concat!(
        r#"{"leader":"a","followers":{"b":{"latency":{"current":2,"average":2,"#,
        r#""standardDeviation":0,"minimum":2,"maximum":2},"counts":{"fail":3,"success":1}}}}"#,
    );
    assert_eq!(followers, expected);
    let own = get(&member, "/v2/stats/self").await.body;
    assert!(own.contains(r#""state":"StateLeader""#), "{own}");
    assert!(own.ends_with(r#""recvAppendRequestCnt":0,"sendAppendRequestCnt":7}"#), "{own}");
    let page = get(&member, "/metrics").await.body;
    for line in [
        r#"etcd_network_peer_sent_bytes_total{To="b"} 5"#,
        r#"etcd_network_peer_received_bytes_total{From="b"} 0"#,
        r#"etcd_network_peer_sent_failures_total{To="b"} 3"#,
        r#"etcd_network_peer_received_failures_total{From="b"} 0"#,
        r#"etcd_network_active_peers{Local="a",Remote="b"} 1"#,
        r#"etcd_network_disconnected_peers_total{Local="a",Remote="b"} 0"#,
        r#"etcd_network_peer_round_trip_time_seconds_bucket{To="b",le="0.0016"} 0"#,
        r#"etcd_network_peer_round_trip_time_seconds_bucket{To="b",le="0.0032"} 1"#,
        r#"etcd_network_peer_round_trip_time_seconds_count{To="b"} 1"#,
        "etcd_server_is_learner 0",
    ] {
        assert!(page.lines().any(|seen| seen == line), "{line} is missing in\n{page}");
    }
    for line in page.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
    raft.leader.store(0xb, Ordering::Release);
    let answer = get(&member, "/v2/stats/leader").await;
    assert_eq!(told(&answer), (403, r#"{"message":"not current leader"}"#));
    let own = get(&member, "/v2/stats/self").await.body;
    assert!(own.contains(r#""state":"StateFollower""#), "{own}");
    assert!(own.contains(r#""leaderInfo":{"leader":"b""#), "{own}");
}
