//! Leases, locks and elections of the v3 API, with real processes: alone and as three.

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use callboard::http::v3::pb::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, ResponseHeader,
};
use callboard::http::v3::pb::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use callboard::http::v3::pb::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use prost::Message;
use support::clock::poll;
use support::cluster::{Cluster, FAST};
use support::grpc::{Call, Grpc, Status};
use support::http::{Client, Incoming, PATIENCE, Request};
use support::server::Server;

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const LOCK: &str = "/v3lockpb.Lock/Lock";
const CAMPAIGN: &str = "/v3electionpb.Election/Campaign";

const UNKNOWN: u32 = 2;

fn grant(grpc: &Grpc, id: i64, ttl: i64) -> Result<LeaseGrantResponse, Status> {
    grpc.unary(GRANT, &LeaseGrantRequest { id, ttl })
}

fn revoke(grpc: &Grpc, id: i64) -> Result<LeaseRevokeResponse, Status> {
    grpc.unary(REVOKE, &LeaseRevokeRequest { id })
}

fn time_to_live(grpc: &Grpc, id: i64) -> LeaseTimeToLiveResponse {
    let request = LeaseTimeToLiveRequest { id, keys: true };
    grpc.unary("/etcdserverpb.Lease/LeaseTimeToLive", &request).unwrap()
}

fn put(grpc: &Grpc, key: &'static str, lease: i64) -> i64 {
    let request = PutRequest { key: key.into(), lease, ..PutRequest::default() };
    revision(grpc.unary::<_, PutResponse>("/etcdserverpb.KV/Put", &request).unwrap().header)
}

fn count(grpc: &Grpc, key: &'static str) -> i64 {
    let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
    grpc.unary::<_, RangeResponse>("/etcdserverpb.KV/Range", &request).unwrap().count
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.expect("a header").revision
}

fn keep_alive(stream: &mut Call, id: i64) -> i64 {
    stream.send(&LeaseKeepAliveRequest { id });
    let answer: LeaseKeepAliveResponse = stream.recv().unwrap().expect("an answer");
    assert_eq!(answer.id, id);
    answer.ttl
}

/// Begins an RPC whose answer takes its time.
fn begin<M: Message>(grpc: &Grpc, path: &str, request: &M) -> Call {
    let mut call = grpc.stream(path);
    call.send(request);
    call.half_close();
    call
}

fn until(holds: impl Fn() -> bool) {
    poll(PATIENCE, || holds().then_some(())).expect("it comes to pass");
}

fn alone() -> (Server, Grpc, Client) {
    let server = Server::start(&FAST);
    let (grpc, client) = (Grpc::connect(server.client_addr()), Client::new(server.client_addr()));
    (server, grpc, client)
}

#[test]
fn answers_are_etcds() {
    let (_server, grpc, mut client) = alone();
    assert!(grant(&grpc, 7, 9_000_000_001).unwrap_err().is(11, "etcdserver: too large lease TTL"));
    let granted = grant(&grpc, 7, 100).unwrap();
    assert_eq!((granted.id, granted.ttl, revision(granted.header)), (7, 100, 1), "no revision");
    assert!(grant(&grpc, 7, 100).unwrap_err().is(9, "etcdserver: lease already exists"));
    assert_eq!(grant(&grpc, -5, 30).unwrap().id, -5);
    let chosen = grant(&grpc, 0, 50).unwrap().id;
    assert!(chosen > 0, "{chosen}");
    let list = |grpc: &Grpc| -> Vec<i64> {
        let list: LeaseLeasesResponse =
            grpc.unary("/etcdserverpb.Lease/LeaseLeases", &LeaseLeasesRequest {}).unwrap();
        list.leases.iter().map(|lease| lease.id).collect()
    };
    assert_eq!(list(&grpc), [-5, chosen, 7], "the first to end first");
    assert_eq!(grant(&grpc, 8, -1).unwrap().ttl, 1, "one that outlives an election");
    assert!(revoke(&grpc, 1).unwrap_err().is(5, "etcdserver: requested lease not found"));
    let gone = time_to_live(&grpc, 1);
    assert_eq!((gone.id, gone.ttl, gone.granted_ttl), (1, -1, 0));
    let mut stream = grpc.stream(KEEP_ALIVE);
    assert_eq!(keep_alive(&mut stream, 1), 0, "gone, and the stream goes on");
    assert_eq!(keep_alive(&mut stream, 7), 100);
    for id in [7, 1, 7] {
        stream.send(&LeaseKeepAliveRequest { id });
    }
    stream.half_close();
    for (id, ttl) in [(7, 100), (1, 0), (7, 100)] {
        let answer: LeaseKeepAliveResponse = stream.recv().unwrap().expect("an answer");
        assert_eq!((answer.id, answer.ttl), (id, ttl));
    }
    assert_eq!(stream.end().code, Some(0));

    put(&grpc, "/b", 7);
    put(&grpc, "/a", 7);
    let lives = time_to_live(&grpc, 7);
    assert_eq!((lives.granted_ttl, lives.keys), (100, vec!["/a".into(), "/b".into()]));
    assert!((95..=100).contains(&lives.ttl), "{}", lives.ttl);
    let last = put(&grpc, "/c", chosen);
    assert_eq!(revision(revoke(&grpc, 7).unwrap().header), last + 1, "both keys in one revision");
    assert_eq!(revision(revoke(&grpc, chosen).unwrap().header), last + 2);

    client.put("/v2", &[("value", "1"), ("ttl", "70")]).unwrap();
    let v2 = (1 << 62) + last + 3;
    let lives = time_to_live(&grpc, v2);
    assert_eq!((lives.granted_ttl, lives.keys), (70, vec!["/v2".into()]), "v2's are told of");
    assert_eq!(keep_alive(&mut grpc.stream(KEEP_ALIVE), v2), 0, "but v2 keeps them alive");
    assert!(revoke(&grpc, v2).unwrap_err().is(5, "etcdserver: requested lease not found"));
}

#[test]
fn an_end_takes_all_keys_in_one_revision_and_wakes_v2_watchers() {
    let (server, grpc, mut client) = alone();
    let id = grant(&grpc, 0, 1).unwrap().id;
    let started = Instant::now();
    put(&grpc, "/dir/a", id);
    let last = put(&grpc, "/dir/b", id);
    let shown = client.get("/v2/keys/dir/a").unwrap().text();
    assert!(shown.contains(r#""ttl":1"#) && shown.contains(r#""expiration":""#), "{shown}");
    let watch = Request::new("GET", "/v2/keys/dir/a?wait=true");
    let mut watch = Incoming::open(server.client_addr(), &watch, PATIENCE).unwrap();
    let line = watch.next_line(PATIENCE).unwrap().expect("an event");
    let took = started.elapsed();
    let event = String::from_utf8_lossy(&line);
    assert!(event.starts_with(r#"{"action":"expire","node":{"key":"/dir/a""#), "{event}");
    assert!(event.contains(&format!(r#""modifiedIndex":{}"#, last + 1)), "{event}");
    assert!(took >= Duration::from_secs(1), "it ended after {took:?}");
    assert_eq!((count(&grpc, "/dir/a"), count(&grpc, "/dir/b")), (0, 0));
    assert_eq!(put(&grpc, "x", 0), last + 2, "one revision for both");
    assert_eq!(time_to_live(&grpc, id).ttl, -1);
}

#[test]
fn one_that_is_kept_alive_stays_and_v2_shows_so() {
    let (_server, grpc, mut client) = alone();
    let id = grant(&grpc, 0, 1).unwrap().id;
    put(&grpc, "/kept", id);
    let mut stream = grpc.stream(KEEP_ALIVE);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        assert_eq!(keep_alive(&mut stream, id), 1);
        std::thread::sleep(Duration::from_millis(100)); // what is tested is that time passes
    }
    let shown = client.get("/v2/keys/kept").unwrap().text();
    assert!(shown.contains(r#""ttl":1"#) && shown.contains(r#""expiration":""#), "{shown}");
    until(|| count(&grpc, "/kept") == 0);
}

#[test]
fn a_cluster_keeps_what_is_kept_alive_and_ends_the_rest_when_its_leader_is_killed() {
    const TTL: i64 = 4;
    let mut cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|&n| n != leader).collect();
    let connect = |cluster: &mut Cluster, n: usize| Grpc::connect(cluster.member(n).client_addr());
    let at_follower = connect(&mut cluster, others[0]);
    let kept = grant(&at_follower, 0, TTL).unwrap().id;
    let left = grant(&at_follower, 0, TTL).unwrap().id;
    let granted = Instant::now();
    put(&at_follower, "/kept", kept);
    put(&at_follower, "/left", left);
    let mut stream = at_follower.stream(KEEP_ALIVE);
    assert_eq!(keep_alive(&mut stream, kept), TTL, "by way of the leader");
    assert_eq!(time_to_live(&at_follower, kept).granted_ttl, TTL);

    cluster.member(leader).kill();
    let mut ended = None;
    while granted.elapsed() < Duration::from_secs(TTL as u64 * 4) {
        assert_eq!(keep_alive(&mut stream, kept), TTL, "{:?} after", granted.elapsed());
        if ended.is_none() && count(&at_follower, "/left") == 0 {
            ended = Some(granted.elapsed());
        }
        std::thread::sleep(Duration::from_millis(100)); // what is tested is that time passes
    }
    let ended = ended.expect("the one that was left ends in due time");
    assert!(ended >= Duration::from_secs(TTL as u64), "it ended early: after {ended:?}");
    assert_eq!(count(&at_follower, "/kept"), 1);
    assert_eq!(time_to_live(&at_follower, left).ttl, -1);
    let third = connect(&mut cluster, others[1]);
    assert_eq!(keep_alive(&mut third.stream(KEEP_ALIVE), kept), TTL);
}

#[test]
fn a_lock_goes_from_hand_to_hand() {
    let (_server, grpc, _) = alone();
    let name = || "m".into();
    let lock = |lease| LockRequest { name: name(), lease };
    for id in 1..=4 {
        grant(&grpc, id, 100).unwrap();
    }
    let first: LockResponse = grpc.unary(LOCK, &lock(1)).unwrap();
    assert_eq!(first.key, "m/1");
    let again: LockResponse = grpc.unary(LOCK, &lock(1)).unwrap();
    assert_eq!(again.key, "m/1", "it has it already");
    let waits = |id, key| {
        let call = begin(&grpc, LOCK, &lock(id));
        until(|| count(&grpc, key) == 1);
        call
    };
    let mut second = waits(2, "m/2");
    let third = waits(3, "m/3");
    let mut fourth = waits(4, "m/4");
    assert!(second.is_silent_for(Duration::from_millis(50)), "the lock is taken");
    third.cancel();
    until(|| count(&grpc, "m/3") == 0);
    let unlock = |key: &'static str| -> UnlockResponse {
        grpc.unary("/v3lockpb.Lock/Unlock", &UnlockRequest { key: key.into() }).unwrap()
    };
    unlock("m/1");
    let key = |call: &mut Call| call.recv::<LockResponse>().unwrap().expect("the lock").key;
    assert_eq!(key(&mut second), "m/2");
    assert!(fourth.is_silent_for(Duration::from_millis(50)), "the lock is taken");
    revoke(&grpc, 4).unwrap();
    let expired = fourth.end();
    assert!(expired.is(UNKNOWN, "mutex: session is expired"), "{expired:?}");
    revoke(&grpc, 2).unwrap();
    let own_lease: LockResponse = grpc.unary(LOCK, &lock(0)).unwrap();
    let id = i64::from_str_radix(std::str::from_utf8(&own_lease.key[2..]).unwrap(), 16).unwrap();
    assert_eq!(time_to_live(&grpc, id).granted_ttl, 60);

    unlock("m/nobody");
    let refused = grpc.unary::<_, LockResponse>(LOCK, &lock(99)).unwrap_err();
    assert!(refused.is(UNKNOWN, "etcdserver: requested lease not found"), "{refused:?}");
    let nothing = UnlockRequest::default();
    let refused = grpc.unary::<_, UnlockResponse>("/v3lockpb.Lock/Unlock", &nothing).unwrap_err();
    assert!(refused.is(UNKNOWN, "etcdserver: key is not provided"), "{refused:?}");
}

#[test]
fn an_election_has_one_leader_after_the_other() {
    let (_server, grpc, _) = alone();
    let campaign = |lease, value: &'static str| CampaignRequest {
        name: "e".into(),
        lease,
        value: value.into(),
    };
    let who = LeaderRequest { name: "e".into() };
    let leader = || grpc.unary::<_, LeaderResponse>("/v3electionpb.Election/Leader", &who);
    let proclaim = |leader: Option<LeaderKey>, value: &'static str| {
        let request = ProclaimRequest { leader, value: value.into() };
        grpc.unary::<_, ProclaimResponse>("/v3electionpb.Election/Proclaim", &request)
    };
    let resign = |leader: Option<LeaderKey>| {
        let request = ResignRequest { leader };
        grpc.unary::<_, ResignResponse>("/v3electionpb.Election/Resign", &request)
    };
    let said = |answer: LeaderResponse| -> String {
        let kv = answer.kv.expect("a leader");
        String::from_utf8(kv.value().to_vec()).unwrap()
    };
    for id in 1..=3 {
        grant(&grpc, id, 100).unwrap();
    }
    assert!(leader().unwrap_err().is(UNKNOWN, "election: no leader"));
    let mut observer = begin(&grpc, "/v3electionpb.Election/Observe", &who);
    let mut observed = || said(observer.recv().unwrap().expect("what the leader says"));
    let first: CampaignResponse = grpc.unary(CAMPAIGN, &campaign(1, "one")).unwrap();
    let first = first.leader.unwrap();
    assert_eq!((first.name.as_ref(), first.key.as_ref(), first.lease), (&b"e"[..], &b"e/1"[..], 1));
    assert_eq!(observed(), "one");
    let again: CampaignResponse = grpc.unary(CAMPAIGN, &campaign(1, "uno")).unwrap();
    assert_eq!(again.leader.unwrap().rev, first.rev, "it leads already, and says something else");
    assert_eq!(observed(), "uno");
    let mut second = begin(&grpc, CAMPAIGN, &campaign(2, "two"));
    until(|| count(&grpc, "e/2") == 1);
    let mut third = begin(&grpc, CAMPAIGN, &campaign(3, "three"));
    until(|| count(&grpc, "e/3") == 1);
    proclaim(Some(first.clone()), "eins").unwrap();
    assert_eq!((observed().as_str(), said(leader().unwrap()).as_str()), ("eins", "eins"));
    let another = LeaderKey { rev: first.rev + 1, ..first.clone() };
    assert!(proclaim(Some(another.clone()), "x").unwrap_err().is(UNKNOWN, "election: not leader"));
    let missing = "\"leader\" field must be provided";
    assert!(proclaim(None, "x").unwrap_err().is(UNKNOWN, missing));
    assert!(resign(None).unwrap_err().is(UNKNOWN, missing));
    resign(Some(another)).unwrap();
    assert_eq!(said(leader().unwrap()), "eins", "that was somebody else");
    assert!(second.is_silent_for(Duration::from_millis(50)), "somebody leads");
    revoke(&grpc, 2).unwrap();
    assert_eq!(second.end().code, Some(UNKNOWN), "its lease has gone");
    resign(Some(first)).unwrap();
    let elected: CampaignResponse = third.recv().unwrap().expect("an election");
    assert_eq!(elected.leader.unwrap().key, "e/3");
    assert_eq!((observed().as_str(), said(leader().unwrap()).as_str()), ("three", "three"));
}
