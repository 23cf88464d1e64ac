//! Settings seen from outside: what a real process does differently because of one.

mod support;

use support::http::{Client, Request};
use support::server::Server;

#[test]
fn without_v2_its_paths_are_not_there() {
    let server = Server::start(&["--enable-v2=false"]);
    let mut client = Client::new(server.client_addr());
    for path in ["/v2/keys/a", "/v2/members", "/v2/machines", "/v2/stats/self", "/v2/auth/enable"] {
        assert_eq!(client.get(path).unwrap().status(), 404, "{path}");
    }
    assert_eq!(client.put("/a", &[("value", "1")]).unwrap().status(), 404);
    for path in ["/version", "/health", "/readyz", "/metrics"] {
        assert_eq!(client.get(path).unwrap().status(), 200, "{path}");
    }
}

#[test]
fn a_host_name_that_is_not_on_the_list_is_turned_away() {
    let server = Server::start(&["--host-whitelist=127.0.0.1,Callboard.example"]);
    let mut client = Client::new(server.client_addr());
    for (host, allowed) in [
        ("127.0.0.1:2379", true),
        ("callboard.example", true),
        ("evil.example", false),
        ("callboard.example.evil.example:2379", false),
    ] {
        for (path, status) in [("/v2/keys/", 200), ("/health", 200), ("/nothing", 404)] {
            let answer = client.send(&Request::new("GET", path).header("Host", host)).unwrap();
            let expected = if allowed { status } else { 421 };
            assert_eq!(answer.status(), expected, "{path} at {host}: {}", answer.text());
        }
    }
    let write = Request::new("PUT", "/v2/keys/a").form(&[("value", "1")]);
    let answer = client.send(&write.header("Host", "evil.example")).unwrap();
    assert_eq!(answer.status(), 421, "{}", answer.text());
    assert_eq!(client.get("/v2/keys/a").unwrap().status(), 404, "what is refused is not done");
}

#[test]
fn the_level_of_the_log_changes_until_the_process_ends() {
    let mut server = Server::start(&[]);
    let mut client = Client::new(server.client_addr());
    let mut ask = |method: &str, body: &str| {
        let request = Request::new(method, "/config/local/log");
        client.send(&request.body(body)).unwrap().status()
    };
    assert_eq!(ask("GET", ""), 405);
    for body in ["", "DEBUG", r#"{"Level":"LOUD"}"#, r#"{"Level":7}"#] {
        assert_eq!(ask("PUT", body), 400, "{body}");
    }
    assert_eq!(ask("PUT", r#"{"Level":"DEBUG"}"#), 204);
    assert!(server.log().contains("the level of the log was changed"), "{}", server.log());

    assert_eq!(ask("PUT", r#"{"Level":"ERROR"}"#), 204);
    let before = server.log();
    assert!(server.terminate().success());
    let last = server.log()[before.len()..].to_owned();
    assert!(!last.contains("stopped"), "nothing was wrong: {last}");
    server.restart();
    let after = server.log()[before.len()..].to_owned();
    assert!(after.contains("serving HTTP"), "the next start has its own level: {after}");
}
