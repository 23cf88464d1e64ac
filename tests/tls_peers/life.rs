//! Clusters whose members speak TLS to each other: lost leaders, laggards, certificates that change.

use std::{
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{
    scene::{Peers, Scene, bytes},
    support::{
        certs::{self, Authority, GOOD},
        clock::poll,
        cluster::{FAST, SETTLE},
        http::{Client, Request},
        json::Json,
        server::{Server, free_addrs},
    },
};

#[test]
fn a_cluster_loses_its_leader_and_a_laggard_is_brought_up_by_a_snapshot() {
    let mut scene = Scene::start(Peers::Mutual, &["--snapshot-catchup-entries=10"]);
    for n in 0..3 {
        scene.put(n, &format!("/from-n{n}"), "here"); // followers forward it
    }
    for n in 0..3 {
        (0..3).for_each(|from| scene.has(n, &format!("/from-n{from}"), "here"));
    }

    let first = scene.leader_among(&[0, 1, 2]);
    scene.member(first).kill();
    let rest: Vec<usize> = (0..3).filter(|&n| n != first).collect();
    let second = scene.leader_among(&rest);
    let large = "x".repeat(20_000);
    for n in 0..60 {
        scene.put(rest[n % 2], &format!("/k{n}"), &large);
    }
    scene.put(second, "/while-it-was-away", "yes");
    scene.member(first).restart();
    scene.has(first, "/while-it-was-away", "yes");
    let log = scene.member(second).log();
    assert!(log.contains("sent snapshot"), "it was not brought up by a snapshot");
    scene.put(first, "/after", "it");
    (0..3).for_each(|n| scene.has(n, "/after", "it"));
}

/// Writes at a member, one after the other, each on a connection of its own, until it is told to stop.
/// Answers how many were written; any failure is its end.
fn writer(
    scene: &Scene,
    n: usize,
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<Result<u64, String>> {
    let (config, at, stop) = (scene.client(), scene.clients(n), Arc::clone(stop));
    thread::spawn(move || {
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            let form = format!("value={written}");
            match certs::ask(&config, at, "PUT", &format!("/v2/keys/w{n}"), &form) {
                Ok((200 | 201, _)) => written += 1,
                other => return Err(format!("n{n}, write {written}: {other:?}")),
            }
        }
        Ok(written)
    })
}

/// `CALLBOARD_ROTATIONS` makes it longer.
fn rotations() -> usize {
    std::env::var("CALLBOARD_ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// A new authority takes over under load, without a restart: first all believe both, then all have new
/// certificates, then nobody believes the old one.
#[test]
fn certificates_of_members_change_under_load_and_no_request_fails() {
    let mut scene = Scene::start(Peers::Mutual, &[]);
    let leader = scene.leader_among(&[0, 1, 2]);
    let (follower, restarted) = ((leader + 1) % 3, (leader + 2) % 3);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = [leader, follower].map(|n| writer(&scene, n, &stop));

    let (dir, after) = (scene.dir(), Authority::new("after"));
    let believe = |pem: &str| (0..3).for_each(|n| certs::put(&dir, &format!("ca-n{n}.crt"), pem));
    scene.change(|| believe(&format!("{}{}", scene.authority.pem, after.pem)));
    for _ in 0..rotations() {
        scene.change(|| {
            (0..3).for_each(|n| scene.authority.sign(&dir, &format!("n{n}"), GOOD));
            scene.hang_up();
        });
        let config = certs::client(&dir, "ca", Some("n0"));
        for n in 0..3 {
            let answer = certs::ask(&config, scene.peers(n), "GET", "/version", "");
            assert_eq!(answer.expect("new to new").0, 200);
        }
    }
    scene.change(|| (0..3).for_each(|n| after.sign(&dir, &format!("n{n}"), GOOD)));
    scene.change(|| believe(&after.pem));
    // One that has known only the new authority from its first moment on: the others call it, and it calls
    // them, on new connections.
    scene.member(restarted).restart();
    scene.put(leader, "/after", "all");
    scene.has(restarted, "/after", "all");
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        let written = writer.join().unwrap().expect("no request fails");
        assert!(written > 20, "{written} writes");
    }
    scene.authority.sign(&dir, "old", GOOD);
    certs::put(&dir, "after.crt", &after.pem);
    let version = |shown| {
        let config = certs::client(&dir, "after", Some(shown));
        certs::ask(&config, scene.peers(leader), "GET", "/version", "")
    };
    assert_eq!(version("n0").unwrap().0, 200);
    assert!(version("old").is_err(), "it was signed by the authority from before");
}

#[test]
fn members_make_their_own_certificates_and_keep_them() {
    let mut scene = Scene::start(Peers::Auto, &[]);
    scene.put(0, "/k", "one");
    let before = bytes(&scene.own_certificate(0));
    let key = scene.own_certificate(0).with_file_name("key.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let log = scene.member(0).log();
    assert_eq!(log.matches("nobody's certificate is verified").count(), 1, "it says so once");

    let leader = scene.leader_among(&[0, 1, 2]);
    scene.member(leader).kill();
    let rest: Vec<usize> = (0..3).filter(|&n| n != leader).collect();
    scene.leader_among(&rest);
    scene.put(rest[0], "/k", "two");
    scene.member(leader).restart();
    scene.has(leader, "/k", "two");
    scene.member(0).restart();
    assert_eq!(bytes(&scene.own_certificate(0)), before, "it is used again");
}

/// As the documents say it: certificates and both kinds of ports first, then other URLs, then one kind alone.
#[test]
fn a_cluster_moves_from_http_to_https_one_member_after_the_other() {
    let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
    let authority = Authority::new("members");
    certs::put(dir.path(), "ca.crt", &authority.pem);
    authority.sign(dir.path(), "member", GOOD);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let files = [
        format!("--peer-cert-file={}", path("member.crt")),
        format!("--peer-key-file={}", path("member.key")),
        format!("--peer-trusted-ca-file={}", path("ca.crt")),
    ];
    let ports: [[SocketAddr; 3]; 3] = [free_addrs(), free_addrs(), free_addrs()];
    let founders: Vec<String> = (0..3).map(|n| format!("n{n}=http://{}", ports[n][1])).collect();
    let mut members = ports.map(|[client, plain, _]| {
        Server::of_flags(client, plain, |data_dir| {
            let n = ports.iter().position(|at| at[0] == client).unwrap();
            let own = [
                "serve".to_owned(),
                format!("--name=n{n}"),
                format!("--data-dir={}", data_dir.display()),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--initial-advertise-peer-urls=http://{plain}"),
                format!("--initial-cluster={}", founders.join(",")),
            ];
            own.into_iter().chain(FAST.iter().map(ToString::to_string)).collect()
        })
    });
    let written = |at: usize, value: &str| {
        let written = poll(SETTLE, || {
            let answer = Client::new(ports[at][0]).put("/k", &[("value", value)]).ok()?;
            matches!(answer.status(), 200 | 201).then_some(())
        });
        assert!(written.is_some(), "n{at} does not take {value}");
    };
    for (member, [_, plain, _]) in members.iter_mut().zip(ports) {
        member.spawn_with(&[&format!("--listen-peer-urls=http://{plain}")]);
    }
    members.iter_mut().for_each(Server::wait_ready);
    written(0, "http");
    let again = |member: &mut Server, listen: String, more: &[&str]| {
        assert!(member.terminate().success());
        let files = files.iter().map(String::as_str);
        let flags: Vec<&str> = files.chain([listen.as_str()]).chain(more.iter().copied()).collect();
        member.spawn_with(&flags);
        member.wait_ready();
    };
    for (n, [_, plain, tls]) in ports.into_iter().enumerate() {
        let both = format!("--listen-peer-urls=http://{plain},https://{tls}");
        again(&mut members[n], both, &[]);
        written(n, "both");
    }
    for (n, [client, _, tls]) in ports.into_iter().enumerate() {
        let updated = poll(SETTLE, || {
            let listed = Client::new(client).get("/v2/members").ok()?;
            let json = Json::parse(listed.text().trim_end())?;
            let Some(Json::Array(listed)) = json.get("members") else { return None };
            let name = format!("n{n}");
            let is_it = |it: &&Json| it.get("name").and_then(Json::as_str) == Some(&*name);
            let id = listed.iter().find(is_it)?.get("id")?.as_str()?.to_owned();
            let request = Request::new("PUT", &format!("/v2/members/{id}"))
                .header("Content-Type", "application/json")
                .body(format!(r#"{{"peerURLs":["https://{tls}"]}}"#));
            Client::new(client).send(&request).ok().filter(|answer| answer.status() == 204)
        });
        assert!(updated.is_some(), "n{n} gets no other URL");
        written((n + 1) % 3, "moving");
    }
    for (n, [_, plain, tls]) in ports.into_iter().enumerate() {
        let alone = format!("--listen-peer-urls=https://{tls}");
        again(&mut members[n], alone, &["--peer-client-cert-auth"]);
        written(n, "https");
        assert!(TcpStream::connect(plain).is_err());
    }
}
