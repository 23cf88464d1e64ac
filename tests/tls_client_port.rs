//! https on the client port of a real process: certificates of both sides, plain text where TLS is spoken
//! and the other way round, and certificates that change under a running server.

mod support;

use std::{fs, io, net::SocketAddr, path::PathBuf, process::Command, sync::Arc, time::Duration};

use callboard::tls::{Setting, TlsSettings, client_config};
use rustls::{ClientConfig, pki_types::ServerName};
use support::{
    certs::{Authority, GOOD, Wish, put},
    clock::poll,
    http::{Client, Request},
    server::{Server, free_addrs},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of certificates, and a server that speaks TLS and plain text.
struct Scene {
    dir: tempfile::TempDir,
    server: Server,
    tls: SocketAddr,
    plain: SocketAddr,
}

impl Scene {
    fn new(authority: &Authority, flags: &[&str]) -> Scene {
        let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
        put(dir.path(), "ca.crt", &authority.pem);
        authority.sign(dir.path(), "server", Wish { name: "server", ..GOOD });
        let file =
            |setting: &str, name: &str| format!("--{setting}={}", dir.path().join(name).display());
        let files = [file("cert-file", "server.crt"), file("key-file", "server.key")];
        let asks = flags.contains(&"--client-cert-auth");
        let authority = asks.then(|| file("trusted-ca-file", "ca.crt"));
        let flags = flags.iter().map(ToString::to_string);
        Scene::serving(dir, files.into_iter().chain(authority).chain(flags).collect())
    }

    /// With all flags of TLS given.
    fn serving(dir: tempfile::TempDir, flags: Vec<String>) -> Scene {
        let [tls, plain, peer] = free_addrs();
        let mut server = Server::of_flags(plain, peer, |data_dir| {
            let own = [
                "serve".to_owned(),
                format!("--data-dir={}", data_dir.display()),
                format!("--listen-client-urls=http://{plain},https://{tls}"),
                format!("--advertise-client-urls=https://{tls}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster=default=http://{peer}"),
            ];
            own.into_iter().chain(flags).collect()
        });
        server.spawn();
        server.wait_ready();
        Scene { dir, server, tls, plain }
    }

    #[allow(clippy::unnecessary_wraps, reason = "as the settings have it")]
    fn file(&self, name: &'static str, file: &str) -> Option<Setting> {
        Some(Setting { name, path: self.dir.path().join(file) })
    }

    /// What a client has that believes the authority, and maybe shows a certificate.
    fn client(&self, certificate: Option<&str>) -> Arc<ClientConfig> {
        let settings = TlsSettings {
            ca_file: self.file("ca", "ca.crt"),
            cert_file: certificate.and_then(|name| self.file("cert", &format!("{name}.crt"))),
            key_file: certificate.and_then(|name| self.file("key", &format!("{name}.key"))),
            ..TlsSettings::default()
        };
        client_config(&settings, &[b"http/1.1"]).unwrap()
    }

    async fn connect(&self, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.tls).await?;
        let host = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config).connect(host, tcp).await
    }

    /// One request on a connection of its own; its first line is the answer.
    async fn health(&self, config: Arc<ClientConfig>) -> io::Result<String> {
        let mut stream = self.connect(config).await?;
        ask(&mut stream).await
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn who_is_let_in_at_which_port() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let scene = Scene::new(&ours, &["--client-cert-auth"]);
    let dir: PathBuf = scene.dir.path().to_owned();
    ours.sign(&dir, "anna", Wish { name: "anna", ..GOOD });
    theirs.sign(&dir, "mallory", Wish { name: "mallory", ..GOOD });
    let with = async |name| scene.health(scene.client(name)).await;
    assert_eq!(with(Some("anna")).await.unwrap(), "HTTP/1.1 200 OK");
    assert!(with(None).await.is_err(), "no certificate");
    assert!(with(Some("mallory")).await.is_err(), "signed by another");

    let mut plain = Client::new(scene.plain);
    assert_eq!(plain.send(&Request::new("GET", "/health")).unwrap().status(), 200);
    let mut wrong = Client::new(scene.tls);
    assert!(wrong.send(&Request::new("GET", "/health")).is_err(), "plain text where TLS is spoken");
    let tcp = TcpStream::connect(scene.plain).await.unwrap();
    let host = ServerName::try_from("localhost").unwrap();
    let config = scene.client(Some("anna"));
    let shaking = TlsConnector::from(config).connect(host, tcp);
    assert!(shaking.await.is_err(), "TLS where plain text is spoken");
    assert!(scene.server.is_running());
}

/// Runs `callboard cert`; what it prints.
fn cert(args: &[&str]) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_callboard")).arg("cert").args(args).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

#[tokio::test]
async fn what_the_command_makes_and_prints_is_mutual_tls() {
    let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
    let path = dir.path().display().to_string();
    cert(&["ca", "--dir", &path]);
    let hosts = "localhost,127.0.0.1";
    let printed = cert(&["member", "--dir", &path, "--name", "n1", "--host", hosts]);
    cert(&["client", "--dir", &path, "--name", "alice"]);
    let flags = printed.split_whitespace().filter(|word| word.starts_with("--"));
    let flags = flags.filter(|flag| !flag.starts_with("--peer-")); // of another authority
    let scene = Scene::serving(dir, flags.map(str::to_owned).collect());

    let with = async |name| scene.health(scene.client(name)).await;
    assert_eq!(with(Some("client-alice")).await.unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(
        with(Some("member-n1")).await.unwrap(),
        "HTTP/1.1 200 OK",
        "members are clients too"
    );
    assert!(with(None).await.is_err(), "no certificate");
    let other = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
    let elsewhere = other.path().display().to_string();
    cert(&["ca", "--dir", &elsewhere]);
    cert(&["client", "--dir", &elsewhere, "--name", "mallory"]);
    for file in ["client-mallory.crt", "client-mallory.key"] {
        fs::copy(other.path().join(file), scene.dir.path().join(file)).unwrap();
    }
    assert!(with(Some("client-mallory")).await.is_err(), "signed by another authority");
}

#[tokio::test]
async fn a_certificate_that_changes_is_taken_and_nobody_is_cut_off() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let scene = Scene::new(&before, &[]);
    let mut held = scene.connect(scene.client(None)).await.unwrap();
    assert_eq!(ask(&mut held).await.unwrap(), "HTTP/1.1 200 OK");

    // A broken file changes nothing.
    put(scene.dir.path(), "server.key", "no key");
    let count = |name: &str| {
        let mut client = Client::new(scene.plain);
        let text = client.get("/metrics").unwrap().text();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().parse::<u64>().unwrap_or_default()
    };
    let refused = || (count("callboard_tls_reload_failures_total") > 0).then_some(());
    poll(PATIENCE, refused).expect("the broken file is seen");
    assert_eq!(scene.health(scene.client(None)).await.unwrap(), "HTTP/1.1 200 OK");

    after.sign(scene.dir.path(), "server", Wish { name: "server", ..GOOD });
    put(scene.dir.path(), "ca.crt", &after.pem);
    let taken = || (count("callboard_tls_reloads_total") > 0).then_some(());
    poll(PATIENCE, taken).expect("the new files are taken");
    let settings = TlsSettings { ca_file: scene.file("ca", "ca.crt"), ..TlsSettings::default() };
    let config = client_config(&settings, &[b"http/1.1"]).unwrap();
    assert_eq!(scene.health(config).await.unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(ask(&mut held).await.unwrap(), "HTTP/1.1 200 OK", "who was there goes on");
}

/// Who is let in is told by name, and who is not at all.
#[tokio::test]
async fn the_audit_log_tells_certificates_and_handshakes_that_were_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let logs = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
    let path = logs.path().join("audit.log");
    let flag = format!("--audit-log={}", path.display());
    let scene = Scene::new(&ours, &["--client-cert-auth", &flag]);
    ours.sign(scene.dir.path(), "anna", Wish { name: "anna", ..GOOD });
    theirs.sign(scene.dir.path(), "mallory", Wish { name: "mallory", ..GOOD });
    let told = |wanted: [&str; 2]| {
        poll(PATIENCE, || {
            let text = fs::read_to_string(&path).unwrap();
            let line = text.lines().find(|line| wanted.iter().all(|part| line.contains(part)));
            line.map(str::to_owned)
        })
        .unwrap_or_else(|| panic!("no {wanted:?} in {}", fs::read_to_string(&path).unwrap()))
    };
    assert!(scene.health(scene.client(None)).await.is_err());
    told([r#""op":"handshake""#, r#""result":"no certificate""#]);
    assert!(scene.health(scene.client(Some("mallory"))).await.is_err());
    let line = told([r#""op":"handshake""#, r#""result":"bad certificate""#]);
    assert!(line.contains(r#""remote":"127.0.0.1:"#), "{line}");
    let mut stream = scene.connect(scene.client(Some("anna"))).await.unwrap();
    let put = "PUT /kv/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nv";
    stream.write_all(put.as_bytes()).await.unwrap();
    told([r#""certificate":"anna""#, r#""key":"/key""#]);
    let http2 = {
        let settings = client_config(
            &TlsSettings {
                ca_file: scene.file("ca", "ca.crt"),
                cert_file: scene.file("cert", "anna.crt"),
                key_file: scene.file("key", "anna.key"),
                ..TlsSettings::default()
            },
            &[b"h2"],
        );
        scene.connect(settings.unwrap()).await.unwrap()
    };
    let (mut requests, connection) = h2::client::handshake(http2).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::put("https://localhost/v2/keys/over-http2?value=1");
    let (answer, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 201);
    told([r#""certificate":"anna""#, r#""key":"/over-http2""#]);
}
