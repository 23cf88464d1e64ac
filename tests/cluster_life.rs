//! Clusters of real processes: what users see when members are killed, stopped, cut off, replaced and
//! restarted.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use support::clock::poll;
use support::cluster::{Cluster, FAST, SETTLE, value_of};
use support::http::{Client, Incoming, PATIENCE, Request, Response};
use support::json::Json;

#[test]
fn members_that_found_a_cluster_behave_as_one() {
    let cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    for n in 0..3 {
        let key = format!("/from-n{n}");
        cluster.put(n, &key, "here"); // followers forward it
        for reader in 0..3 {
            assert_eq!(cluster.get(reader, &key).as_deref(), Some("here"), "n{reader} reads {key}");
        }
    }
    let listed = cluster.members_at(leader);
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|member| !member.name.is_empty()), "all have published themselves");
    cluster.agree();
}

#[test]
fn a_watch_at_a_follower_sees_what_is_written_elsewhere() {
    let cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let watch = Request::new("GET", "/v2/keys/seen?wait=true");
    let mut waiting = open(&cluster, follower, &watch);
    cluster.put((leader + 2) % 3, "/seen", "yes");
    let body = waiting.rest(PATIENCE).unwrap();
    assert!(String::from_utf8_lossy(&body).contains(r#""value":"yes""#));
}

fn open(cluster: &Cluster, n: usize, request: &Request) -> Incoming {
    cluster.eventually(n, |client| Incoming::open(client.addr(), request, PATIENCE).ok())
}

/// Writers at all members, one key each, that go on over errors; and what each was told is written.
struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<(u64, u64)>>,
    written: Arc<AtomicU64>,
}

impl Writers {
    fn start(cluster: &Cluster) -> Writers {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let addresses: Vec<_> = (0..cluster.len()).map(|n| cluster.client(n).addr()).collect();
        let threads = (0..addresses.len()).map(|writer| {
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            let addresses = addresses.clone();
            thread::spawn(move || {
                let (mut at, mut acknowledged, mut sent) = (writer, 0, 0);
                while !stop.load(Ordering::Acquire) {
                    sent += 1;
                    let mut client = Client::new(addresses[at % addresses.len()]);
                    let put = client.put(&format!("/w{writer}"), &[("value", &sent.to_string())]);
                    match put {
                        Ok(answer) if matches!(answer.status(), 200 | 201) => {
                            acknowledged = sent;
                            written.fetch_add(1, Ordering::AcqRel);
                        }
                        _ => at += 1, // the next member; what became of this one is not known
                    }
                }
                (acknowledged, sent)
            })
        });
        Writers { threads: threads.collect(), stop, written }
    }

    /// Waits for so many more acknowledged writes.
    fn wait_for(&self, more: u64) {
        let goal = self.written.load(Ordering::Acquire) + more;
        let reached = poll(SETTLE, || (self.written.load(Ordering::Acquire) >= goal).then_some(()));
        assert!(reached.is_some(), "writes do not go on");
    }

    /// Each writer's last acknowledged value is there, or a later one that it sent.
    fn end(self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Release);
        for (writer, thread) in self.threads.into_iter().enumerate() {
            let (acknowledged, sent) = thread.join().unwrap();
            let at = cluster.running()[0];
            let value: u64 = cluster.get(at, &format!("/w{writer}")).unwrap().parse().unwrap();
            assert!(
                (acknowledged..=sent).contains(&value),
                "writer {writer}: {value} is there, {acknowledged} was acknowledged, {sent} sent"
            );
        }
    }
}

#[test]
fn each_leader_in_turn_is_killed_under_load() {
    let mut cluster = Cluster::start(3, &FAST);
    let writers = Writers::start(&cluster);
    for _ in 0..4 {
        writers.wait_for(50);
        let leader = cluster.leader();
        cluster.member(leader).kill();
        writers.wait_for(50); // the other two go on
        cluster.member(leader).restart();
    }
    writers.wait_for(50);
    writers.end(&cluster);
    cluster.agree();
}

#[test]
fn two_of_five_may_be_gone() {
    let mut cluster = Cluster::start(5, &FAST);
    let writers = Writers::start(&cluster);
    writers.wait_for(50);
    let leader = cluster.leader();
    cluster.member(leader).kill();
    cluster.member((leader + 1) % 5).kill();
    writers.wait_for(100);
    cluster.member(leader).restart();
    cluster.member((leader + 1) % 5).restart();
    writers.end(&cluster);
    cluster.agree();
}

#[test]
fn a_stopped_leader_is_replaced_and_comes_back_as_a_follower() {
    let mut cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    cluster.put(leader, "/k", "before");
    cluster.member(leader).signal(Signal::STOP);
    let others: Vec<usize> = (0..3).filter(|&n| n != leader).collect();
    let next = cluster.leader_among(&others);
    cluster.put(next, "/k", "after");
    // Awake again it may believe that it leads; its linearizable reads must not.
    cluster.member(leader).signal(Signal::CONT);
    assert_eq!(cluster.get(leader, "/k").as_deref(), Some("after"));
    cluster.agree();
}

#[test]
fn a_cut_off_leader_serves_nothing_stale_and_acknowledges_nothing() {
    let cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    cluster.put(leader, "/k", "before");
    cluster.isolate(leader);
    let others: Vec<usize> = (0..3).filter(|&n| n != leader).collect();
    let next = cluster.leader_among(&others);
    cluster.put(next, "/k", "after");
    let answer = cluster.client(leader).get("/v2/keys/k?quorum=true").unwrap();
    assert_ne!(answer.status(), 200, "{}", answer.text());
    let refused = cluster.client(leader).put("/k", &[("value", "lost")]).unwrap();
    assert_eq!(refused.status(), 500, "{}", refused.text());
    let local = cluster.client(leader).get("/v2/keys/k").unwrap();
    assert_eq!(value_of(&local).as_deref(), Some("before"), "a local read may be old");
    cluster.links.heal();
    assert_eq!(cluster.get(leader, "/k").as_deref(), Some("after"));
    cluster.agree();
}

#[test]
fn a_rolling_restart_fails_no_request_that_is_retried() {
    let mut cluster = Cluster::start(3, &FAST);
    let writers = Writers::start(&cluster);
    for n in 0..3 {
        writers.wait_for(50);
        let status = cluster.member(n).terminate();
        assert_eq!(status.code(), Some(0));
        writers.wait_for(20);
        cluster.member(n).spawn();
        cluster.member(n).wait_ready();
    }
    writers.end(&cluster);
    cluster.agree();
}

#[test]
fn a_removed_member_ends_and_says_why() {
    let mut cluster = Cluster::start(3, &FAST);
    let removed = (cluster.leader() + 1) % 3;
    let (id, at) = (cluster.id(removed), cluster.leader());
    let answer = cluster.eventually(at, |client| {
        let answer = client.send(&Request::new("DELETE", &format!("/v2/members/{id}"))).ok()?;
        (answer.status() == 204).then_some(answer)
    });
    assert_eq!(answer.status(), 204);
    cluster.member(removed).wait_exit();
    assert!(cluster.member(removed).log().contains("was removed from the cluster"));
    cluster.put(at, "/still", "here");
    // Started again it ends again.
    cluster.member(removed).spawn();
    cluster.member(removed).wait_exit();
}

#[test]
fn a_ttl_ends_once_and_not_early_over_a_change_of_leaders() {
    let mut cluster = Cluster::start(3, &FAST);
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let begun = support::clock::now();
    cluster.eventually(follower, |client| {
        let answer = client.put("/brief", &[("value", "x"), ("ttl", "3")]).ok()?;
        (answer.status() == 201).then_some(())
    });
    let watch = Request::new("GET", "/v2/keys/brief?wait=true");
    let mut waiting = open(&cluster, follower, &watch);
    cluster.member(leader).kill();
    let body = waiting.rest(SETTLE).unwrap();
    let lived = begun.elapsed();
    let event = Json::parse(String::from_utf8_lossy(&body).trim_end()).unwrap();
    assert_eq!(event.get("action").and_then(Json::as_str), Some("expire"));
    assert!(lived.as_secs_f64() >= 3.0, "it ended after {lived:?}");
    assert!(lived.as_secs_f64() < 8.0, "it ended only after {lived:?}");
}

#[test]
fn without_a_quorum_what_needs_none_is_served() {
    let mut cluster = Cluster::start(3, &FAST);
    cluster.put(0, "/k", "v");
    // That an entry is committed is written down with the entries after it, or a moment later: this one
    // is not waited for.
    cluster.put(0, "/later", "x");
    cluster.agree();
    cluster.member(1).kill();
    cluster.member(2).kill();
    let health = cluster.eventually(0, |client| {
        client.get("/health").ok().filter(|answer| answer.text().contains("RAFT NO LEADER"))
    });
    assert_eq!(health.status(), 503);
    let local = cluster.client(0).get("/v2/keys/k").unwrap();
    assert_eq!(value_of(&local).as_deref(), Some("v"));
    cluster.member(0).kill();
    cluster.member(0).spawn(); // and after a restart, too
    let local = cluster.eventually(0, |client| client.get("/v2/keys/k").ok());
    assert_eq!(value_of(&local).as_deref(), Some("v"));
    cluster.member(1).spawn();
    cluster.member(0).wait_ready();
    cluster.put(0, "/k", "w");
}

#[test]
fn all_are_killed_at_once_under_load() {
    let mut cluster = Cluster::start(3, &FAST);
    let writers = Writers::start(&cluster);
    for _ in 0..2 {
        writers.wait_for(50);
        (0..3).for_each(|n| cluster.member(n).kill());
        (0..3).for_each(|n| cluster.member(n).spawn());
        (0..3).for_each(|n| cluster.member(n).wait_ready());
        writers.wait_for(50);
    }
    writers.end(&cluster);
    cluster.agree();
}

#[test]
fn a_member_whose_data_is_lost_is_replaced() {
    let mut cluster = Cluster::start(3, &[&FAST[..], &["--snapshot-catchup-entries=10"]].concat());
    for n in 0..100 {
        cluster.put(n % 3, &format!("/k{}", n % 10), &n.to_string());
    }
    let lost = (cluster.leader() + 1) % 3;
    let id = cluster.id(lost);
    cluster.member(lost).kill();
    std::fs::remove_dir_all(cluster.member(lost).data_dir()).unwrap();
    // Under its old id, without its vote and its log, it must not come back.
    cluster.member(lost).spawn();
    let status = cluster.member(lost).wait_exit();
    assert!(!status.success());
    assert!(cluster.member(lost).log().contains("already been bootstrapped"));
    let at = cluster.running()[0];
    let removed = cluster.eventually(at, |client| {
        let answer = client.send(&Request::new("DELETE", &format!("/v2/members/{id}"))).ok()?;
        matches!(answer.status(), 204 | 410).then_some(answer)
    });
    assert!(matches!(removed.status(), 204 | 410));
    let new = cluster.join(at, "");
    cluster.member(new).wait_ready();
    cluster.put(new, "/from-the-new-one", "here");
    cluster.agree();
    assert_eq!(cluster.members_at(at).len(), 3);
}

#[test]
fn a_laggard_is_brought_up_by_a_snapshot_while_the_others_serve() {
    let mut cluster = Cluster::start(3, &[&FAST[..], &["--snapshot-catchup-entries=10"]].concat());
    let laggard = (cluster.leader() + 1) % 3;
    cluster.member(laggard).kill();
    let large = "x".repeat(10_000);
    let at = cluster.leader();
    for n in 0..200 {
        cluster.put(at, &format!("/d{}/k{n}", n % 7), &large);
    }
    cluster.member(laggard).restart();
    cluster.agree();
    // And it goes on from there, over a restart too.
    cluster.put(laggard, "/after", "it");
    cluster.member(laggard).restart();
    cluster.agree();
}

#[test]
fn a_learner_follows_and_gets_its_vote() {
    let flags = [&FAST[..], &["--promote-learners=true"]].concat();
    let mut cluster = Cluster::start(3, &flags);
    for n in 0..50 {
        cluster.put(n % 3, &format!("/k{n}"), "x");
    }
    let at = cluster.leader();
    let learner = cluster.join(at, r#","isLearner":true"#);
    cluster.member(learner).wait_ready();
    let promoted = poll(SETTLE, || {
        let answer = cluster.client(at).get("/v2/members").ok()?;
        (!answer.text().contains("isLearner")).then_some(())
    });
    assert!(promoted.is_some(), "it was not promoted");
    // Four voters now: with the learner's vote two may not be missing, one may.
    cluster.member(at).kill();
    cluster.put(learner, "/after", "it");
    cluster.agree();
}

/// Each of two members sees room for one learner; the limit is looked at again where both meet, in the log.
#[test]
fn of_two_learners_that_are_added_at_once_one_comes() {
    let cluster = Cluster::start(3, &[&FAST[..], &["--strict-reconfig-check=false"]].concat());
    for round in 0..5 {
        let add = |n: usize| {
            let mut client = cluster.client(n);
            // An id is made of it, and one that was removed never comes again.
            let url = format!("http://127.0.0.1:{}", 10 * round + n);
            let body = format!(r#"{{"peerURLs":["{url}"],"isLearner":true}}"#);
            let request = Request::new("POST", "/v2/members")
                .header("Content-Type", "application/json")
                .body(body);
            // One change at a time: while the other is under way it is asked for again.
            let mut ask =
                move || client.send(&request).ok().filter(|answer| answer.status() != 503);
            thread::spawn(move || poll(SETTLE, &mut ask).expect("an answer"))
        };
        let answers = [1, 2].map(add).map(|thread| thread.join().unwrap());
        let mut statuses = answers.each_ref().map(Response::status);
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "round {round}: {answers:?}");
        let refused = answers.iter().find(|answer| answer.status() == 409).unwrap();
        assert!(refused.text().contains("too many learner members"), "{}", refused.text());
        let listed = cluster.members_at(0);
        let unnamed = listed.iter().find(|member| member.name.is_empty());
        let remove = format!("/v2/members/{}", unnamed.expect("the learner").id);
        cluster.eventually(0, |client| {
            let answer = client.send(&Request::new("DELETE", &remove)).ok()?;
            matches!(answer.status(), 204 | 410).then_some(())
        });
        // Both that are asked next see that there is room again.
        for n in [1, 2] {
            let gone = poll(SETTLE, || (cluster.members_at(n).len() == 3).then_some(()));
            assert!(gone.is_some(), "n{n} still lists the learner");
        }
    }
}
