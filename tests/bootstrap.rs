//! How a member without data learns who is in its cluster, over real sockets: peers, discovery servers
//! and a DNS server, all on the loopback.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;

use callboard::bootstrap::client::{Client, ClientError};
use callboard::bootstrap::{Bootstrap, BootstrapError, from_dns, resolve, resolve_by};
use callboard::config::{self, Config, Url, env::Variables, flags};
use callboard::identity::{cluster_id, member_id};
use callboard::types::{ClusterId, MemberId};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType, rdata};
use serde_json::{Value, json};
use support::http::Request;
use support::server::Server;

/// A status, headers and a body.
type Answer = (u16, Vec<(&'static str, String)>, String);

fn config(args: &[&str]) -> Config {
    let flags::Asked::Run(flags) = flags::parse(args.iter().map(Into::into)).unwrap() else {
        panic!("asked for help");
    };
    let loaded = config::load(&flags, &Variables::new([]).unwrap()).unwrap();
    config::verify_bootstrap(&loaded.config).unwrap();
    loaded.config
}

fn run<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), task).await.expect("in time")
    })
}

/// An HTTP server that answers each request (target, body) by `answer`; its URL. Ends with the process.
fn serve(answer: impl Fn(&str, &str) -> Answer + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut length = 0;
            loop {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let (status, headers, text) = answer(&target, &String::from_utf8(body).unwrap());
            let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", text.len());
            for (name, value) in headers {
                head = format!("{head}{name}: {value}\r\n");
            }
            _ = reader.get_mut().write_all(format!("{head}\r\n{text}").as_bytes());
        }
    });
    url
}

/// A peer port of a cluster with this id and these members.
fn peer(cluster: &'static str, members: impl Fn() -> Value + Send + 'static) -> String {
    serve(move |target, _| match target {
        "/members" => (200, vec![("X-Etcd-Cluster-ID", cluster.to_owned())], members().to_string()),
        _ => (404, Vec::new(), String::new()),
    })
}

#[test]
fn members_that_found_have_ids_from_their_settings() {
    let config = config(&[
        "--name=b",
        "--initial-advertise-peer-urls=http://127.0.0.1:2",
        "--initial-cluster=a=http://127.0.0.1:1,b=http://127.0.0.1:2,a=http://127.0.0.1:3",
    ]);
    let a = member_id(&["http://127.0.0.1:1".into(), "http://127.0.0.1:3".into()], "etcd-cluster");
    let b = member_id(&["http://127.0.0.1:2".into()], "etcd-cluster");
    let Bootstrap::New { members, own, cluster } = run(resolve(&config)).unwrap() else {
        panic!("founds");
    };
    assert_eq!(
        members.iter().map(|m| (m.id, m.name.as_str())).collect::<Vec<_>>(),
        [(a, "a"), (b, "b")]
    );
    assert_eq!((own, cluster), (b, cluster_id(&[a, b])));
}

#[test]
fn who_has_lost_its_data_does_not_come_back_under_its_id() {
    let id = member_id(&["http://127.0.0.1:2".into()], "etcd-cluster");
    for (client_urls, refused) in [(json!(["http://127.0.0.1:9"]), true), (json!([]), false)] {
        let told = move || json!([{ "id": id.0, "name": "b", "peerURLs": ["http://127.0.0.1:2"], "clientURLs": client_urls }]);
        let config = config(&[
            "--name=b",
            "--initial-advertise-peer-urls=http://127.0.0.1:2",
            &format!("--initial-cluster=a={},b=http://127.0.0.1:2", peer("1f", told)),
        ]);
        match run(resolve(&config)) {
            Err(BootstrapError::AlreadyBootstrapped { id: found, .. }) if refused => {
                assert_eq!(found, id);
            }
            Ok(Bootstrap::New { .. }) if !refused => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_joins_takes_its_id_from_the_cluster() {
    let own_url = Mutex::new(String::new());
    let own_url: &'static Mutex<String> = Box::leak(Box::new(own_url));
    let url = peer("cafe", || {
        json!([
            { "id": 18_446_744_073_709_551_615_u64, "peerURLs": ["http://127.0.0.1:2"], "isLearner": true },
            { "id": 7, "name": "a", "peerURLs": [own_url.lock().unwrap().clone()], "clientURLs": ["http://c:1"] },
        ])
    });
    own_url.lock().unwrap().clone_from(&url);
    let args = |cluster: &str| {
        config(&[
            "--name=b",
            "--initial-cluster-state=existing",
            &format!("--initial-cluster={cluster}"),
        ])
    };
    // localhost is what the cluster calls 127.0.0.1; a peer that does not answer is passed over.
    let joining = args(&format!("a={url},b=http://localhost:2"));
    let Bootstrap::Join { own, cluster, members } = run(resolve(&joining)).unwrap() else {
        panic!("joins");
    };
    assert_eq!((own, cluster), (MemberId(u64::MAX), ClusterId(0xcafe)));
    assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(members[1].learner && members[0].client_urls == ["http://c:1"]);

    for (cluster, begins) in [
        (
            format!("a={url},b=http://127.0.0.1:2,c=http://127.0.0.1:3"),
            "error validating peerURLs: member count is unequal",
        ),
        (
            format!("a={url},b=http://127.0.0.1:4"),
            "error validating peerURLs: no member of the cluster has the peer URLs of \"b\"",
        ),
        (
            "a=http://127.0.0.1:1,b=http://127.0.0.1:2".to_owned(),
            "cannot fetch cluster info from peer urls: http://127.0.0.1:1: cannot connect",
        ),
    ] {
        let error = run(resolve(&args(&cluster))).unwrap_err().to_string();
        assert!(error.starts_with(begins) && !error.contains('\n'), "{error}");
    }
}

/// The settings of the member that listens at this port.
fn seeker(port: u16, discovery: &[&str]) -> Config {
    let (name, url) = (format!("n{port}"), format!("http://127.0.0.1:{port}"));
    let own = [format!("--name={name}"), format!("--initial-advertise-peer-urls={url}")];
    config(&[&[own[0].as_str(), own[1].as_str()], discovery].concat())
}

/// Three look for each other, and a fourth comes too late.
fn they_meet(discovery: &[&str]) -> Result<Bootstrap, BootstrapError> {
    let configs: Vec<Config> = [11, 12, 13].map(|port| seeker(port, discovery)).into();
    let found = run(futures_util::future::join_all(configs.iter().map(resolve)));
    let mut owns = Vec::new();
    let mut all = Vec::new();
    for (found, config) in found.into_iter().zip(&configs) {
        let Ok(Bootstrap::New { members, own, cluster }) = found else { panic!("{found:?}") };
        assert!(members.iter().any(|m| m.id == own && m.name == config.name));
        owns.push(own);
        all.push((members, cluster));
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "all found the same: {all:?}");
    assert_eq!(all[0].1, cluster_id(&owns));
    run(resolve(&seeker(14, discovery)))
}

#[test]
fn by_a_token_on_a_v2_server() {
    let server = Server::start(&[]);
    let mut client = support::http::Client::new(server.client_addr());
    let url = format!("--discovery=http://{}/v2/keys/_etcd/registry/T", server.client_addr());
    let error = run(resolve(&seeker(11, &[&url]))).unwrap_err();
    assert!(matches!(error, BootstrapError::Size { .. }), "{error}");

    let size = Request::new("PUT", "/v2/keys/_etcd/registry/T/_config/size");
    assert_eq!(client.send(&size.form(&[("value", "3")])).unwrap().status(), 201);
    let Ok(Bootstrap::Proxy { members }) = they_meet(&[&url]) else { panic!("becomes a proxy") };
    assert_eq!(members.len(), 3);
    let exit = [url.as_str(), "--discovery-fallback=exit"];
    let error = run(resolve(&seeker(14, &exit))).unwrap_err();
    assert!(
        matches!(&error, BootstrapError::Full { entries, .. } if entries.len() == 3),
        "{error}"
    );
    let error = run(resolve(&seeker(11, &exit))).unwrap_err();
    assert!(matches!(error, BootstrapError::Duplicate { .. }), "{error}");
}

/// As much of a JSON gateway as discovery needs: keys and values in base64, with create revisions.
fn gateway(size: (Value, Value)) -> String {
    let shown = |at: usize, (key, value): &(Value, Value)| json!({ "key": key, "value": value, "create_revision": (at + 2).to_string() });
    let keys_cell = Mutex::new(vec![size]);
    serve(move |target, body| {
        let asked: Value = serde_json::from_str(body).unwrap();
        let mut keys = keys_cell.lock().unwrap();
        let answer = if target == "/v3/kv/txn" {
            let put = &asked["success"][0]["request_put"];
            let there = keys.iter().position(|(key, _)| *key == put["key"]);
            if let Some(at) = there {
                json!({ "responses": [{ "response_range": { "kvs": [shown(at, &keys[at])] } }] })
            } else {
                keys.push((put["key"].clone(), put["value"].clone()));
                json!({ "succeeded": true })
            }
        } else {
            let is_range = asked.get("range_end").is_some();
            // The only range asked for is that of the members: all but the size, which is the first key.
            let fits =
                |key: &Value| if is_range { *key != keys[0].0 } else { *key == asked["key"] };
            let kvs = keys.iter().enumerate().filter(|(_, (key, _))| fits(key));
            json!({ "kvs": kvs.map(|(at, kv)| shown(at, kv)).rev().collect::<Vec<_>>() })
        };
        (200, Vec::new(), answer.to_string())
    })
}

#[test]
fn by_a_token_in_a_v3_server() {
    // "/_etcd/registry/T/_config/size" and "3".
    let size = (json!("L19ldGNkL3JlZ2lzdHJ5L1QvX2NvbmZpZy9zaXpl"), json!("Mw=="));
    let endpoints = format!("--discovery-endpoints=127.0.0.1:1,{}", gateway(size));
    let error = they_meet(&["--discovery-token=T", &endpoints]).unwrap_err();
    assert!(
        matches!(&error, BootstrapError::Full { entries, .. } if entries.len() == 3),
        "{error}"
    );
    let error = run(resolve(&seeker(11, &["--discovery-token=U", &endpoints]))).unwrap_err();
    assert!(matches!(error, BootstrapError::Size { .. }), "{error}");
}

#[test]
fn the_way_to_a_discovery_server_may_lead_through_a_proxy() {
    let proxy = serve(|target, _| match target {
        "http://discovery.invalid/T/_config/size" => (404, Vec::new(), "{}".to_owned()),
        _ => (403, Vec::new(), format!("not {target}")),
    });
    let args = ["--discovery=http://discovery.invalid/T", &format!("--discovery-proxy={proxy}")];
    let error = run(resolve(&seeker(11, &args))).unwrap_err();
    assert!(matches!(error, BootstrapError::Size { .. }), "{error}");
}

#[test]
fn an_answer_that_is_late_or_long_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let client = Client::new(Duration::from_secs(1), Duration::from_millis(50));
    assert!(matches!(run(client.get(&url)), Err(ClientError::Slow(_))));
    let long = serve(|_, _| (200, Vec::new(), "x".repeat(1001)));
    let client = Client {
        body_bytes_max: 1000,
        ..Client::new(Duration::from_secs(5), Duration::from_secs(5))
    };
    assert!(matches!(run(client.get(&long)), Err(ClientError::Body(..))));
    assert!(matches!(run(client.get("ftp://127.0.0.1:1/")), Err(ClientError::Url(_))));
}

/// A DNS server with these SRV records (owner, port, target); each target is at 127.0.0.1. Its port.
fn dns(records: &'static [(&str, u16, &str)]) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
            answer.add_query(query.clone());
            let is = |name: &str| Name::from_ascii(name).unwrap() == *query.name();
            let record = |data| Record::from_rdata(query.name().clone(), 60, data);
            for (owner, port, target) in records {
                if query.query_type() == RecordType::SRV && is(owner) {
                    let srv = rdata::SRV::new(0, 0, *port, Name::from_ascii(target).unwrap());
                    answer.add_answer(record(RData::SRV(srv)));
                }
                if query.query_type() == RecordType::A && is(target) && answer.answers.is_empty() {
                    answer.add_answer(record(RData::A(rdata::A(Ipv4Addr::LOCALHOST))));
                }
            }
            if answer.answers.is_empty() {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
        }
    });
    port
}

/// Asks the server at this port, and nobody else.
fn resolver(port: u16) -> TokioResolver {
    let mut udp = ConnectionConfig::udp();
    udp.port = port;
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![udp]);
    let resolver = TokioResolver::builder_with_config(
        ResolverConfig::from_name_servers(vec![server]),
        TokioRuntimeProvider::default(),
    );
    resolver.build().unwrap()
}

/// The settings of a member whose cluster is found by the domain `d.test`.
fn found_by_dns(name: &str, port: u16, state: &str) -> Config {
    config(&[
        &format!("--name={name}"),
        &format!("--initial-advertise-peer-urls=http://127.0.0.1:{port}"),
        &format!("--initial-cluster-state={state}"),
        "--discovery-srv=d.test",
    ])
}

#[test]
fn members_that_dns_names_found_one_cluster() {
    let dns = dns(&[
        ("_etcd-server._tcp.d.test.", 21, "one.d.test."),
        ("_etcd-server._tcp.d.test.", 22, "two.d.test."),
    ]);
    let ids = ["http://one.d.test:21", "http://two.d.test:22"]
        .map(|url| member_id(&[url.to_owned()], "etcd-cluster"));
    for (at, port) in [21, 22].into_iter().enumerate() {
        let config = found_by_dns("me", port, "new");
        let found = run(resolve_by(&config, || Ok(resolver(dns)))).unwrap();
        let Bootstrap::New { mut members, own, cluster } = found else { panic!("founds") };
        // Each knows its own name alone; the others tell theirs when they have started.
        members.sort_by_key(|member| member.peer_urls.clone());
        assert_eq!([members[0].id, members[1].id], ids);
        assert_eq!((own, members[at].name.as_str()), (ids[at], "me"));
        assert_eq!(cluster, cluster_id(&ids));
    }
    // One that DNS does not name has no place.
    let stranger = found_by_dns("me", 23, "new");
    let error = run(resolve_by(&stranger, || Ok(resolver(dns)))).unwrap_err();
    assert!(matches!(error, BootstrapError::NotThere { .. }), "{error}");
}

#[test]
fn who_joins_finds_the_cluster_by_dns() {
    let own_port = 22;
    let there = Mutex::new(0_u16);
    let there: &'static Mutex<u16> = Box::leak(Box::new(there));
    let url = peer("cafe", || {
        let other = format!("http://localhost:{}", there.lock().unwrap());
        json!([
            { "id": 7, "name": "a", "peerURLs": [other], "clientURLs": ["http://c:1"] },
            { "id": 8, "peerURLs": ["http://127.0.0.1:22"], "isLearner": true },
        ])
    });
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    *there.lock().unwrap() = port;
    let dns = dns(Box::leak(Box::new([
        ("_etcd-server._tcp.d.test.", port, "localhost."),
        ("_etcd-server._tcp.d.test.", own_port, "localhost."),
    ])));
    let config = found_by_dns("b", own_port, "existing");
    let found = run(resolve_by(&config, || Ok(resolver(dns)))).unwrap();
    let Bootstrap::Join { own, cluster, members } = found else { panic!("joins") };
    assert_eq!((own, cluster), (MemberId(8), ClusterId(0xcafe)));
    let mut names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
    assert!(members.iter().any(|member| member.id == own && member.learner));
}

#[test]
fn by_dns() {
    let port = dns(&[
        ("_etcd-server._tcp.d.test.", 21, "one.d.test."),
        ("_etcd-server._tcp.d.test.", 22, "two.d.test."),
        ("_etcd-server-x._tcp.d.test.", 23, "one.d.test."),
        ("_etcd-server-ssl._tcp.tls.test.", 24, "one.d.test."),
        ("_etcd-server-ssl._tcp.tls.test.", 22, "two.d.test."),
        ("_etcd-server._tcp.tls.test.", 24, "one.d.test."),
        ("_etcd-server._tcp.tls.test.", 22, "two.d.test."),
    ]);
    let own = [Url::parse("http://127.0.0.1:22").unwrap()];
    let find = |domain: &str, service: &str| {
        let (domain, service, own) = (domain.to_owned(), service.to_owned(), own.clone());
        run(async move { from_dns(&resolver(port), &domain, &service, "me", &own).await })
    };
    let shown = |domain, service| {
        let found: Vec<_> = find(domain, service).unwrap();
        found.into_iter().map(|m| format!("{}={}", m.name, m.peer_urls[0])).collect::<Vec<_>>()
    };
    assert_eq!(shown("d.test", ""), ["0=http://one.d.test:21", "me=http://two.d.test:22"]);
    assert_eq!(shown("d.test", "x"), ["0=http://one.d.test:23"]);
    // One who has both kinds of records is one member; our own is where it says that it is.
    let both = find("tls.test", "").unwrap();
    let urls: Vec<String> = both.iter().flat_map(|m| &m.peer_urls).map(Url::to_string).collect();
    let expected = ["http://one.d.test:24", "https://one.d.test:24", "http://two.d.test:22"];
    assert_eq!(urls, expected);
    assert_eq!((both.len(), both[1].name.as_str()), (2, "me"));
    let error = find("none.test", "").unwrap_err().to_string();
    assert!(error.starts_with("discovery-srv none.test: ") && !error.contains('\n'), "{error}");
}
