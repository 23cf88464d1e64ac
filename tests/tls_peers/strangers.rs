//! Who is kept out of the peer port, and what a cluster does about a member that shows a bad certificate.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use crate::{
    scene::{Peers, Scene},
    support::{
        certs::{self, Authority, GOOD, Wish},
        clock::poll,
        cluster::SETTLE,
        http::{Client, Request},
        server::{Server, free_addrs},
    },
};

/// All that the peer port has.
const PAGES: [&str; 5] =
    ["/version", "/members", "/raft/probing", "/raft/stream", "/raft/snapshot/x"];

#[test]
fn nobody_comes_in_without_a_good_certificate_and_a_bad_member_stays_outside() {
    let mut scene = Scene::start(Peers::Mutual, &["--peer-cert-allowed-cn=member,guest"]);
    let (dir, theirs) = (scene.dir(), Authority::new("members")); // the name is the same
    let ours = &scene.authority;
    theirs.sign(&dir, "theirs", GOOD);
    ours.sign(&dir, "guest", Wish { name: "guest", ..GOOD });
    ours.sign(&dir, "expired", Wish { until: 2020, ..GOOD });
    ours.sign(&dir, "other-name", Wish { name: "other", ..GOOD });
    ours.sign(&dir, "revoked", Wish { serial: 66, ..GOOD });
    ours.sign(&dir, "elsewhere", Wish { hosts: &["127.0.0.9", "a.invalid"], ..GOOD });
    ours.sign(&dir, "anywhere", Wish { hosts: &[], ..GOOD });
    for (shown, comes_in) in [
        (Some("n0"), true),
        (Some("guest"), true),
        (Some("anywhere"), true),
        (None, false),
        (Some("theirs"), false),
        (Some("expired"), false),
        (Some("other-name"), false),
        (Some("revoked"), false),
        (Some("elsewhere"), false),
    ] {
        let config = certs::client(&dir, "ca", shown);
        for page in PAGES {
            let answer = certs::ask(&config, scene.peers(0), "GET", page, "");
            assert_eq!(answer.is_ok(), comes_in, "{shown:?} {page}: {answer:?}");
        }
    }
    let plain = Client::new(scene.peers(0)).send(&Request::new("GET", "/version"));
    assert!(plain.is_err(), "plain text where TLS is spoken: {plain:?}");

    // A member that shows such a certificate is not let in, and does not disturb the others.
    let leader = scene.leader_among(&[0, 1, 2]);
    let (bad, other) = ((leader + 1) % 3, (leader + 2) % 3);
    scene.member(bad).kill();
    for (round, what) in ["theirs", "expired", "other-name"].into_iter().enumerate() {
        let refusals =
            |scene: &mut Scene| scene.member(leader).log().matches("a peer was refused").count();
        let before = refusals(&mut scene);
        let sign = match what {
            "theirs" => (&theirs, GOOD),
            "expired" => (&scene.authority, Wish { until: 2020, ..GOOD }),
            _ => (&scene.authority, Wish { name: "other", ..GOOD }),
        };
        sign.0.sign(&dir, &format!("n{bad}"), sign.1);
        scene.member(bad).spawn();
        let knocked = poll(SETTLE, || (refusals(&mut scene) > before).then_some(()));
        assert!(knocked.is_some(), "{what}: it is not refused");
        let value = round.to_string();
        scene.put(leader, "/goes-on", &value);
        scene.has(other, "/goes-on", &value);
        assert_eq!(scene.figure(bad, "etcd_server_has_leader"), Some(0), "{what}");
        if what != "other-name" {
            scene.member(bad).kill();
        }
    }
    // With a good one it comes in as it is: nothing has to be restarted.
    scene.authority.sign(&dir, &format!("n{bad}"), GOOD);
    scene.has(bad, "/goes-on", "2");
}

/// A single member that listens for others in plain text and in TLS.
fn mixed(scene_dir: &tempfile::TempDir) -> (Server, SocketAddr, SocketAddr) {
    let [client, plain, tls] = free_addrs();
    let authority = Authority::new("members");
    certs::put(scene_dir.path(), "ca.crt", &authority.pem);
    authority.sign(scene_dir.path(), "n", GOOD);
    let path = |name: &str| scene_dir.path().join(name).display().to_string();
    let mut server = Server::of_flags(client, plain, |data_dir| {
        vec![
            "serve".to_owned(),
            format!("--data-dir={}", data_dir.display()),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{plain},https://{tls}"),
            format!("--initial-advertise-peer-urls=https://{tls}"),
            format!("--initial-cluster=default=https://{tls}"),
            format!("--peer-cert-file={}", path("n.crt")),
            format!("--peer-key-file={}", path("n.key")),
            format!("--peer-trusted-ca-file={}", path("ca.crt")),
        ]
    });
    server.spawn();
    server.wait_ready();
    (server, plain, tls)
}

#[test]
fn plain_text_and_tls_are_each_spoken_at_their_own_port() {
    let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
    let (mut server, plain, tls) = mixed(&dir);
    let mut silent = TcpStream::connect(tls).unwrap();
    silent.write_all(&[0x16, 3]).unwrap(); // begins a handshake, and says no more
    let config = certs::client(dir.path(), "ca", Some("n"));
    let by_tls = |at| certs::ask(&config, at, "GET", "/members", "").map(|(status, _)| status);
    let by_text = |at| Client::new(at).get("/members").map(|answer| answer.status());
    assert_eq!(by_tls(tls).unwrap(), 200);
    assert_eq!(by_text(plain).unwrap(), 200);
    assert!(by_tls(plain).is_err() && by_text(tls).is_err());
    let nobody = certs::client(dir.path(), "ca", None);
    let answer = certs::ask(&nobody, tls, "GET", "/members", "");
    assert!(answer.is_err(), "as with etcd, who names an authority asks for certificates");
    silent.set_read_timeout(Some(SETTLE)).unwrap();
    assert_eq!(silent.read(&mut [0; 64]).unwrap(), 0, "who does not go on is cut off");
    assert!(server.exited().is_none());
    let log = server.log();
    assert!(log.contains("says http for some URLs"), "it is told");
}

/// One that takes connections and says nothing keeps neither the start nor the calls of a member waiting.
#[test]
fn a_handshake_that_does_not_go_on_is_given_up_by_the_caller() {
    let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
    let authority = Authority::new("members");
    certs::put(dir.path(), "ca.crt", &authority.pem);
    authority.sign(dir.path(), "n", GOOD);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let [client, peer] = free_addrs();
    let mut server = Server::of_flags(client, peer, |data_dir| {
        vec![
            "serve".to_owned(),
            format!("--data-dir={}", data_dir.display()),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=https://{peer}"),
            format!("--initial-advertise-peer-urls=https://{peer}"),
            format!(
                "--initial-cluster=default=https://{peer},silent=https://{}",
                silent.local_addr().unwrap()
            ),
            format!("--peer-cert-file={}", path("n.crt")),
            format!("--peer-key-file={}", path("n.key")),
            format!("--peer-trusted-ca-file={}", path("ca.crt")),
        ]
    });
    server.spawn();
    server.wait_listening();
    let given_up = || server.log().contains("no answer in time").then_some(());
    assert!(poll(SETTLE, given_up).is_some(), "the call is not given up");
}
