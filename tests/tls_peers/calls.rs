//! What else calls by https: discovery, with a proxy on the way or without, and Callboard's own proxy.

use std::{
    io::{Read as _, Write as _, copy},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::support::{
    certs::{self, Authority, GOOD, Wish},
    clock::poll,
    cluster::SETTLE,
    http::Client,
    process::Process,
    server::{Server, free_addrs},
};

/// A single member whose client port speaks TLS, and asks for certificates if it is told to.
fn member(dir: &Path, flags: &[&str]) -> (Server, SocketAddr, SocketAddr) {
    let [clients, plain, peer] = free_addrs();
    let path = |name: &str| dir.join(name).display().to_string();
    let mut server = Server::of_flags(plain, peer, |data_dir| {
        let own = [
            "serve".to_owned(),
            format!("--data-dir={}", data_dir.display()),
            format!("--listen-client-urls=https://{clients},http://{plain}"),
            format!("--advertise-client-urls=https://{clients}"),
            format!("--listen-peer-urls=https://{peer}"),
            format!("--initial-advertise-peer-urls=https://{peer}"),
            format!("--initial-cluster=default=https://{peer}"),
            format!("--cert-file={}", path("server.crt")),
            format!("--key-file={}", path("server.key")),
            format!("--peer-cert-file={}", path("server.crt")),
            format!("--peer-key-file={}", path("server.key")),
            format!("--peer-trusted-ca-file={}", path("ca.crt")),
        ];
        let asks = flags.contains(&"--client-cert-auth");
        let authority = asks.then(|| format!("--trusted-ca-file={}", path("ca.crt")));
        let flags = flags.iter().map(ToString::to_string);
        own.into_iter().chain(authority).chain(flags).collect()
    });
    server.spawn();
    server.wait_ready();
    (server, clients, plain)
}

fn folder() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
    let authority = Authority::new("members");
    certs::put(dir.path(), "ca.crt", &authority.pem);
    authority.sign(dir.path(), "server", GOOD);
    authority.sign(dir.path(), "client", Wish { name: "client", ..GOOD });
    (dir, authority)
}

/// A process that believes an authority as if the system did; killed when dropped.
struct Believing(Child);

impl Believing {
    fn spawn(ca: &str, args: &[String]) -> Believing {
        let child = Command::new(env!("CARGO_BIN_EXE_callboard"))
            .args(args)
            .env("SSL_CERT_FILE", ca)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Believing(child.unwrap())
    }
}

impl Drop for Believing {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn ready(at: SocketAddr) -> bool {
    let ready = || Client::new(at).get("/readyz").ok().filter(|answer| answer.status() == 200);
    poll(SETTLE, ready).is_some()
}

/// An HTTP proxy that knows CONNECT alone, and counts.
fn connect_proxy(count: &Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::clone(count);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let Some(target) = head.strip_prefix("CONNECT ") else { return };
                let target = target.split(' ').next().unwrap_or_default();
                let Ok(server) = TcpStream::connect(target) else { return };
                count.fetch_add(1, Ordering::Relaxed);
                _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
                let mut back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || _ = copy(&mut back.0, &mut back.1));
                let mut server = server;
                _ = copy(&mut client, &mut server);
            });
        }
    });
    address
}

#[test]
fn members_are_found_by_https_at_v2_and_v3_tokens() {
    let (dir, _) = folder();
    let (_server, clients, plain) = member(dir.path(), &[]);
    let mut client = Client::new(plain);
    let size = "/_etcd/registry/T/_config/size";
    assert_eq!(client.put(size, &[("value", "1")]).unwrap().status(), 201);
    assert_eq!(
        client.put("/_etcd/registry/T2/_config/size", &[("value", "1")]).unwrap().status(),
        201
    );
    let path = |name: &str| dir.path().join(name).display().to_string();
    let counted = Arc::new(AtomicUsize::new(0));
    let proxy = connect_proxy(&counted);
    let url = |token: &str| format!("--discovery=https://{clients}/v2/keys/_etcd/registry/{token}");
    let ways: [Vec<String>; 3] = [
        vec![url("T")],
        vec![url("T2"), format!("--discovery-proxy=http://{proxy}")],
        vec![
            "--discovery-token=T3".to_owned(),
            format!("--discovery-endpoints=https://{clients}"),
            format!("--discovery-cacert={}", path("ca.crt")),
        ],
    ];
    // The same place in the keyspace, as v3 has it.
    let put = r#"{"key":"L19ldGNkL3JlZ2lzdHJ5L1QzL19jb25maWcvc2l6ZQ==","value":"MQ=="}"#;
    let config = certs::client(dir.path(), "ca", None);
    assert_eq!(certs::ask(&config, clients, "POST", "/v3/kv/put", put).unwrap().0, 200);
    for (n, way) in ways.into_iter().enumerate() {
        let [http, peer] = free_addrs();
        let name = format!("m{n}");
        let own = [
            "serve".to_owned(),
            format!("--name={name}"),
            format!("--data-dir={}", path(&name)),
            format!("--listen-client-urls=http://{http}"),
            format!("--advertise-client-urls=http://{http}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
        ];
        let args: Vec<String> = own.into_iter().chain(way).collect();
        let ca = if n < 2 { path("ca.crt") } else { String::new() };
        let _found = Believing::spawn(&ca, &args);
        assert!(ready(http), "way {n}");
    }
    assert!(counted.load(Ordering::Relaxed) > 0, "it went through the proxy");
}

#[test]
fn a_proxy_speaks_tls_on_both_sides() {
    let (dir, _) = folder();
    let (server, clients, _) = member(dir.path(), &["--client-cert-auth"]);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let [by_endpoints, by_peers] = free_addrs();
    let tls = |prefix: &str| {
        [
            format!("--{prefix}cert-file={}", path("server.crt")),
            format!("--{prefix}key-file={}", path("server.key")),
            format!("--{prefix}trusted-ca-file={}", path("ca.crt")),
        ]
    };
    let start = |own: Vec<String>| {
        let args: Vec<&str> = own.iter().map(String::as_str).collect();
        Process::spawn(dir.path(), &args)
    };
    let mut own = vec![
        "proxy".to_owned(),
        format!("--endpoints=https://{clients}"),
        format!("--listen-client-urls=https://{by_endpoints}"),
    ];
    own.extend(tls(""));
    let mut first = start(own);
    let mut own = vec![
        "serve".to_owned(),
        "--proxy=on".to_owned(),
        format!("--data-dir={}", path("proxy")),
        format!("--initial-cluster=default=https://{}", server.peer_addr()),
        format!("--listen-client-urls=https://{by_peers}"),
    ];
    own.extend(tls("").into_iter().chain(tls("peer-")));
    let mut second = start(own);
    first.wait_listening(by_endpoints);
    second.wait_listening(by_peers);
    let config = certs::client(dir.path(), "ca", None);
    let shows = certs::client(dir.path(), "ca", Some("client"));
    for at in [by_endpoints, by_peers] {
        let written = poll(SETTLE, || {
            let answer = certs::ask(&shows, at, "PUT", "/v2/keys/k", "value=here");
            answer.ok().filter(|(status, _)| matches!(status, 200 | 201))
        });
        assert!(written.is_some(), "by {at}");
    }
    // It asks for certificates, as the member does, and shows its own.
    let direct = certs::ask(&config, by_endpoints, "GET", "/v2/keys/k", "");
    assert!(direct.is_err(), "without a certificate: {direct:?}");
    let direct = certs::ask(&config, clients, "GET", "/v2/keys/k", "");
    assert!(direct.is_err(), "without a certificate: {direct:?}");
    drop(server);
}
