//! Clusters that lose their quorum, or all their members at once: what is left, what one member shows by
//! itself, and how a cluster comes back.

mod support;

use std::sync::Arc;

use callboard::storage::disk::{Disk, RealDisk};
use callboard::storage::mvcc::State;
use callboard::storage::recovery;
use callboard::storage::snapshot::SnapshotDir;
use callboard::storage::wal::WalOptions;
use support::clock::poll;
use support::cluster::{Cluster, FAST, SETTLE, value_of};

const FORCE: &[&str] = &["--force-new-cluster"];

#[test]
fn one_of_three_goes_on_alone_after_a_crash_of_all() {
    let mut cluster = Cluster::start(3, &FAST);
    for n in 0..30 {
        cluster.put(n % 3, &format!("/k{n}"), &n.to_string());
    }
    cluster.agree();
    cluster.put(0, "/later", "it says that the others are committed");
    cluster.agree();
    (0..3).for_each(|n| cluster.member(n).kill());

    cluster.member(1).spawn_with(FORCE);
    cluster.member(1).wait_ready();
    is_alone_with_its_data(&cluster);
    cluster.put(1, "/alone", "first");
    // The flag is for one start.
    cluster.member(1).restart();
    is_alone_with_its_data(&cluster);
    assert_eq!(cluster.get(1, "/alone").as_deref(), Some("first"));
    // One of the others, should it be started, is told that it is no member any more.
    cluster.member(0).spawn();
    cluster.member(0).wait_exit();
    assert!(cluster.member(0).log().contains("was removed from the cluster"));

    let new = cluster.join(1, "");
    cluster.member(new).wait_ready();
    cluster.put(new, "/by-the-new-one", "here");
    assert_eq!(cluster.members_at(new).len(), 2);
    cluster.agree();
    cluster.member(1).restart();
    assert_eq!(cluster.get(1, "/by-the-new-one").as_deref(), Some("here"));
    assert_eq!(cluster.get(new, "/k29").as_deref(), Some("29"));
    cluster.agree();
}

fn is_alone_with_its_data(cluster: &Cluster) {
    let listed = cluster.members_at(1);
    assert_eq!(listed.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["n1"]);
    for n in 0..30 {
        assert_eq!(cluster.get(1, &format!("/k{n}")), Some(n.to_string()), "/k{n}");
    }
}

/// One that was stopped in order has all that it ever acknowledged, also what it did last.
#[test]
fn one_of_three_goes_on_alone_after_an_orderly_stop() {
    let mut cluster = Cluster::start(3, &FAST);
    cluster.put(0, "/k", "early");
    let follower = (cluster.leader() + 1) % 3;
    cluster.put(follower, "/k", "last");
    assert!(cluster.member(follower).terminate().success());
    for n in (0..3).filter(|&n| n != follower) {
        cluster.member(n).kill();
    }
    cluster.member(follower).spawn_with(FORCE);
    cluster.member(follower).wait_ready();
    assert_eq!(cluster.get(follower, "/k").as_deref(), Some("last"));
    assert_eq!(cluster.members_at(follower).len(), 1);
    cluster.put(follower, "/k", "after");
}

/// That an entry is committed goes to disk with the next entries; where none follow, a moment later.
#[test]
fn one_that_starts_without_a_quorum_shows_the_last_write() {
    let mut cluster = Cluster::start(3, &FAST);
    cluster.put(0, "/k", "early");
    cluster.put(0, "/k", "last");
    cluster.agree();
    for n in 0..3 {
        let dir = cluster.member(n).data_dir().join("member");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let snapshots = SnapshotDir::new(Arc::clone(&disk), &dir.join("snap"));
        let (wal, options) = (dir.join("wal"), WalOptions::default());
        let genesis = |_: &_| State::new(Vec::new());
        let known = poll(SETTLE, || {
            let found = recovery::read(&disk, &wal, &snapshots, options, genesis, |_| {}).ok()?;
            found.entries.is_empty().then_some(())
        });
        assert!(known.is_some(), "n{n} does not note that its last entries are committed");
    }
    (0..3).for_each(|n| cluster.member(n).kill());
    for n in 0..3 {
        cluster.member(n).spawn();
        let local = cluster.eventually(n, |client| client.get("/v2/keys/k").ok());
        assert_eq!(value_of(&local).as_deref(), Some("last"), "n{n}");
        cluster.member(n).kill();
    }
}

#[test]
fn after_a_restart_of_all_a_laggard_is_brought_up_by_entries() {
    let mut cluster = Cluster::start(3, &FAST);
    cluster.put(0, "/k", "all have it");
    cluster.agree();
    let laggard = (cluster.leader() + 1) % 3;
    cluster.member(laggard).kill();
    let others = cluster.running();
    for n in 0..20 {
        cluster.put(others[n % 2], &format!("/d/k{n}"), "x");
    }
    cluster.agree();
    for n in others {
        cluster.member(n).kill();
    }
    (0..3).for_each(|n| cluster.member(n).spawn());
    (0..3).for_each(|n| cluster.member(n).wait_ready());
    assert!(cluster.agree().contains("/d/k19"));
    for n in 0..3 {
        assert!(!cluster.member(n).log().contains("sent snapshot"), "n{n} has the entries");
    }
}
