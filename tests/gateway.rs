//! `callboard gateway`, before real members and before plain sockets.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use support::clock::poll;
use support::http::{Client, Incoming, PATIENCE, Request};
use support::process::{Process, free_addr};
use support::server::Server;

fn start(
    words: &[&str],
    endpoints: &[SocketAddr],
    delay: &str,
) -> (Process, SocketAddr, tempfile::TempDir) {
    let (dir, addr) = (tempfile::tempdir().unwrap(), free_addr());
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    let (endpoints, listen) =
        (format!("--endpoints={}", endpoints.join(",")), format!("--listen-addr={addr}"));
    let delay = format!("--retry-delay={delay}");
    let args = [words, &[&endpoints, &listen, &delay]].concat();
    let mut process = Process::spawn(dir.path(), &args);
    let ready = poll(PATIENCE, || process.log().contains("ready to proxy").then_some(()));
    assert!(ready.is_some(), "{}", process.log());
    process.wait_listening(addr);
    (process, addr, dir)
}

#[test]
fn connections_take_turns_and_go_on_when_an_endpoint_is_killed() {
    let mut servers = [Server::start(&[]), Server::start(&[])];
    for (server, value) in servers.iter().zip(["one", "two"]) {
        Client::new(server.client_addr()).put("/k", &[("value", value)]).unwrap();
    }
    let endpoints = servers.each_ref().map(Server::client_addr);
    let (mut gateway, addr, _dir) = start(&["gateway", "start"], &endpoints, "100ms");
    let value = || {
        let text = Client::new(addr).get("/v2/keys/k").unwrap().text();
        if text.contains("two") { "two" } else { "one" }
    };
    let (first, second) = (value(), value());
    assert_ne!(first, second, "in turn");
    let mut watch =
        Incoming::open(addr, &Request::new("GET", "/v2/keys/w?wait=true"), PATIENCE).unwrap();
    let watched = if first == "one" { &servers[0] } else { &servers[1] };
    Client::new(watched.client_addr()).put("/w", &[("value", "1")]).unwrap();
    assert!(!watch.rest(PATIENCE).unwrap().is_empty());

    servers[0].kill();
    for _ in 0..6 {
        assert_eq!(value(), "two");
    }
    servers[0].restart();
    let back = poll(PATIENCE, || (value() == "one").then_some(()));
    assert!(back.is_some(), "it is tried again in the background: {}", gateway.log());
    gateway.signal_to_end();
    assert!(gateway.ended().success());
}

#[test]
fn each_side_may_end_before_the_other() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (_gateway, addr, _dir) = start(&["gateway"], &[listener.local_addr().unwrap()], "1m");
    drop(listener.accept().unwrap()); // that was the look whether it listens
    let mut client = TcpStream::connect(addr).unwrap();
    let (mut endpoint, _) = listener.accept().unwrap();
    for stream in [&client, &endpoint] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    // The client has said all, and still hears the answer.
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    endpoint.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "question");
    endpoint.write_all(b"answer").unwrap();
    drop(endpoint);
    heard.clear();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");

    // And the other way round.
    let mut client = TcpStream::connect(addr).unwrap();
    let (mut endpoint, _) = listener.accept().unwrap();
    endpoint.write_all(b"greeting").unwrap();
    endpoint.shutdown(Shutdown::Write).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    heard.clear();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "greeting");
    let listening = thread::spawn(move || {
        let mut heard = String::new();
        endpoint.read_to_string(&mut heard).unwrap();
        heard
    });
    client.write_all(b"thanks").unwrap();
    drop(client);
    assert_eq!(listening.join().unwrap(), "thanks");
}

#[test]
fn without_an_endpoint_a_client_is_let_go() {
    let (_gateway, addr, _dir) = start(&["gateway"], &[free_addr()], "1m");
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    assert!(matches!(client.read_to_end(&mut heard), Ok(0) | Err(_)));
    assert!(heard.is_empty());
}
