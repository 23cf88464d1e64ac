//! The client port on Unix sockets, with a real process: the same doors as on TCP, TLS inside, what is
//! left by a process that was killed, and what is left by one that was told to stop.

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use callboard::tls::{Setting, TlsSettings, client_config};
use rustls::pki_types::ServerName;
use support::server::{Server, free_addrs};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

/// A member that listens at sockets too, not started yet.
fn member(dir: &Path, flags: &[&str]) -> Server {
    let [client, peer] = free_addrs();
    let (plain, secure) = (plain(dir), secure(dir));
    Server::of_flags(client, peer, |data_dir| {
        let own = [
            "serve".to_owned(),
            format!("--data-dir={}", data_dir.display()),
            format!(
                "--listen-client-urls=http://{client},unix://{},unixs://{}",
                plain.display(),
                secure.display()
            ),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster=default=http://{peer}"),
            "--auto-tls".to_owned(),
        ];
        own.into_iter().chain(flags.iter().map(ToString::to_string)).collect()
    })
}

fn plain(dir: &Path) -> PathBuf {
    dir.join("plain.sock")
}

fn secure(dir: &Path) -> PathBuf {
    dir.join("secure.sock")
}

fn dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap()
}

const PUT: &[u8] = b"PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\nvalue=1";
const GET: &[u8] = b"GET /v2/keys/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn ask(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// HTTP/2 as far as the server's first frame, which is its settings.
fn greets_in_http2(path: &Path) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "a SETTINGS frame");
}

async fn ask_with_tls(server: &Server, path: &Path, request: &[u8]) -> String {
    let file = server.data_dir().join("fixtures/client/cert.pem");
    let ca_file = Some(Setting { name: "ca", path: file });
    let config = client_config(&TlsSettings { ca_file, ..TlsSettings::default() }, &[b"http/1.1"]);
    let unix = tokio::net::UnixStream::connect(path).await.unwrap();
    let host = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(config.unwrap()).connect(host, unix).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await; // it may close without saying goodbye
    String::from_utf8(answer).unwrap()
}

async fn all_doors_are_there(flags: &[&str]) {
    let dir = dir();
    let mut server = member(dir.path(), flags);
    server.spawn();
    server.wait_ready();
    for path in [plain(dir.path()), secure(dir.path())] {
        let file = fs::symlink_metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, 0o660);
    }
    let answer = ask(&plain(dir.path()), PUT);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    greets_in_http2(&plain(dir.path()));
    let answer = ask_with_tls(&server, &secure(dir.path()), GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""value":"1""#), "{answer}");
    let mut wrong = UnixStream::connect(secure(dir.path())).unwrap();
    wrong.write_all(GET).unwrap();
    let mut answer = Vec::new();
    _ = wrong.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "plain text where TLS is spoken");

    server.kill();
    assert!(plain(dir.path()).exists(), "it could not remove it");
    server.spawn();
    server.wait_ready();
    assert!(ask(&plain(dir.path()), GET).starts_with("HTTP/1.1 200 "));
    assert!(server.terminate().success());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "an orderly stop removes them");
}

#[tokio::test]
async fn all_doors_are_there_on_the_actors_thread() {
    all_doors_are_there(&["--http-workers=1"]).await;
}

#[tokio::test]
async fn all_doors_are_there_with_workers() {
    all_doors_are_there(&["--http-workers=2"]).await;
}

#[test]
fn what_is_no_stale_socket_stops_the_start_and_stays() {
    let dir = dir();
    fs::write(plain(dir.path()), "of somebody").unwrap();
    let mut server = member(dir.path(), &[]);
    server.spawn();
    assert_eq!(server.wait_exit().code(), Some(1));
    assert!(server.log().contains("there is a file, and it is no socket"), "{}", server.log());
    assert_eq!(fs::read(plain(dir.path())).unwrap(), b"of somebody");
}
