//! A member whose data differ from the others', though every checksum holds: it is found out by the
//! comparison of states, and serves no more, while the others go on.

mod support;

use std::path::Path;
use std::sync::Arc;

use callboard::storage::disk::{Disk, RealDisk};
use callboard::storage::snapshot::{SnapshotDir, SnapshotName, SnapshotWriter};
use rustix::process::Signal;
use support::clock::poll;
use support::cluster::{Cluster, FAST, SETTLE, value_of};
use support::http::{Incoming, Request};

const RIGHT: &str = "the-value-that-was-written";
const WRONG: &str = "the-value-that-was-altered";

#[test]
fn a_member_whose_data_differ_serves_no_more() {
    let mut cluster = Cluster::start(3, &[&FAST[..], &["--corrupt-check-time=1s"]].concat());
    cluster.put(0, "/k", RIGHT);
    for n in 0..20 {
        cluster.put(n % 3, &format!("/d/k{n}"), "x");
    }
    cluster.agree();
    let (leader, victim) = (cluster.leader(), (cluster.leader() + 1) % 3);
    let others: Vec<usize> = (0..3).filter(|&n| n != victim).collect();

    // Its newest snapshot gets another value, and checks all the same.
    cluster.member(victim).signal(Signal::USR1);
    let dir = cluster.member(victim).data_dir().join("member/snap");
    let snapshots = SnapshotDir::new(Arc::new(RealDisk), &dir);
    let taken = poll(SETTLE, || {
        let newest = snapshots.list().ok()?.into_iter().next()?;
        holds(&snapshots, newest, RIGHT).then_some(newest)
    });
    cluster.member(victim).kill();
    alter(&snapshots, taken.expect("it takes a snapshot"));

    // Until it hears of the others it shows what it has, and watchers wait.
    cluster.isolate(victim);
    cluster.member(victim).spawn();
    let shown = cluster.eventually(victim, |client| client.get("/v2/keys/k").ok());
    assert_eq!(value_of(&shown).as_deref(), Some(WRONG), "the log after it does not mend it");
    let watch = Request::new("GET", "/v2/keys/never?wait=true");
    let mut waiting = Incoming::open(cluster.client(victim).addr(), &watch, SETTLE).unwrap();
    cluster.put(leader, "/k2", "meanwhile");

    cluster.links.heal();
    let seen = waiting.rest(SETTLE).unwrap();
    assert!(seen.is_empty(), "the watcher is told nothing: {}", String::from_utf8_lossy(&seen));
    let refused = cluster.eventually(victim, |client| {
        client.get("/health").ok().filter(|answer| answer.text().contains("ALARM CORRUPT"))
    });
    assert_eq!(refused.status(), 503);
    for path in
        ["/v2/keys/k", "/v2/keys/k?quorum=true", "/v2/keys/?recursive=true", "/v2/keys/k?wait=true"]
    {
        let answer = cluster.client(victim).get(path).unwrap();
        assert_eq!(answer.status(), 500, "{path}");
        assert!(answer.text().contains("etcdserver: corrupt cluster"), "{path}: {}", answer.text());
    }
    let write = cluster.client(victim).put("/k", &[("value", "more")]).unwrap();
    assert_eq!(write.status(), 500);

    // The others know of it, and serve on.
    for &n in &others {
        let health = cluster.client(n).get("/health").unwrap();
        assert!(health.text().contains("ALARM CORRUPT"), "n{n}: {}", health.text());
        cluster.put(n, "/after", &format!("n{n}"));
        for &reader in &others {
            assert_eq!(cluster.get(reader, "/after"), Some(format!("n{n}")));
            assert_eq!(cluster.get(reader, "/k").as_deref(), Some(RIGHT));
        }
    }
    // And a restart makes nothing good.
    cluster.member(victim).kill();
    cluster.member(victim).spawn();
    cluster.eventually(victim, |client| {
        client.get("/v2/keys/k").ok().filter(|answer| answer.status() == 500)
    });
}

/// Whether a snapshot has this value.
fn holds(snapshots: &SnapshotDir, name: SnapshotName, value: &str) -> bool {
    let mut reader = snapshots.open(name).unwrap();
    while let Some(record) = reader.next().unwrap() {
        if record.windows(value.len()).any(|part| part == value.as_bytes()) {
            return true;
        }
    }
    false
}

/// Writes a snapshot anew, with the wrong value for the right one.
fn alter(snapshots: &SnapshotDir, name: SnapshotName) {
    let mut reader = snapshots.open(name).unwrap();
    let meta = reader.meta().clone();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let aside = tempfile::tempdir().unwrap();
    let mut writer = SnapshotWriter::create(disk, aside.path(), &meta).unwrap();
    let mut altered = 0;
    while let Some(record) = reader.next().unwrap() {
        let mut record = record.to_vec();
        let found = record.windows(RIGHT.len()).position(|part| part == RIGHT.as_bytes());
        if let Some(at) = found {
            record[at..at + WRONG.len()].copy_from_slice(WRONG.as_bytes());
            altered += 1;
        }
        writer.push(&record).unwrap();
    }
    writer.finish().unwrap();
    assert!(altered > 0, "the value is nowhere in it");
    let (from, to): (_, &Path) = (name.path(aside.path()), snapshots.path());
    std::fs::copy(from, name.path(to)).unwrap();
}
