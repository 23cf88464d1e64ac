//! One keyspace behind all doors: a key that is written through one is read through each other, and each
//! of them that watches is told.

mod support;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use callboard::http::v3::pb::etcdserverpb as pb;
use support::{
    grpc::{Call, Grpc},
    http::{Client, Incoming, Request},
    server::Server,
};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    V2,
    Grpc,
    Gateway,
    Plain,
}

const DOORS: [Door; 4] = [Door::V2, Door::Grpc, Door::Gateway, Door::Plain];

/// A watch of one key, however it is dressed.
enum Watch {
    Http(Incoming),
    Grpc(Call),
}

struct Doors {
    server: Server,
    grpc: Grpc,
    http: Client,
}

impl Doors {
    fn open() -> Doors {
        let server = Server::start(&[]);
        let grpc = Grpc::connect(server.client_addr());
        let http = Client::new(server.client_addr());
        Doors { server, grpc, http }
    }

    fn ask(&mut self, request: &Request) -> String {
        let answer = self.http.send(request).expect("an answer");
        assert!(answer.status() < 300, "{request:?}: {}", answer.text());
        answer.text()
    }

    fn write(&mut self, door: Door, key: &str, value: &str) {
        match door {
            Door::V2 => {
                let request = Request::new("PUT", &format!("/v2/keys{key}"));
                self.ask(&request.form(&[("value", value)]));
            }
            Door::Grpc => {
                let (key, value) = (key.to_owned().into(), value.to_owned().into());
                let request = pb::PutRequest { key, value, ..pb::PutRequest::default() };
                let put = self.grpc.unary::<_, pb::PutResponse>("/etcdserverpb.KV/Put", &request);
                put.expect("it is written");
            }
            Door::Gateway => {
                let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
                let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
                self.ask(&Request::new("POST", "/v3/kv/put").body(body));
            }
            Door::Plain => {
                self.ask(&Request::new("PUT", &format!("/kv{key}")).body(value));
            }
        }
    }

    fn delete(&mut self, door: Door, key: &str) {
        match door {
            Door::V2 => _ = self.ask(&Request::new("DELETE", &format!("/v2/keys{key}"))),
            Door::Grpc => {
                let key = key.to_owned().into();
                let request = pb::DeleteRangeRequest { key, ..pb::DeleteRangeRequest::default() };
                let path = "/etcdserverpb.KV/DeleteRange";
                let deleted = self.grpc.unary::<_, pb::DeleteRangeResponse>(path, &request);
                assert_eq!(deleted.expect("it is deleted").deleted, 1);
            }
            Door::Gateway => {
                let body = format!(r#"{{"key":"{}"}}"#, STANDARD.encode(key));
                self.ask(&Request::new("POST", "/v3/kv/deleterange").body(body));
            }
            Door::Plain => _ = self.ask(&Request::new("DELETE", &format!("/kv{key}"))),
        }
    }

    /// The value and the revision that wrote it.
    fn read(&mut self, door: Door, key: &str) -> (String, i64) {
        match door {
            Door::V2 => {
                let text = self.ask(&Request::new("GET", &format!("/v2/keys{key}?quorum=true")));
                let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                let node = &json["node"];
                let modified = node["modifiedIndex"].as_i64().expect("a number");
                (node["value"].as_str().expect("a value").to_owned(), modified)
            }
            Door::Grpc => {
                let key = key.to_owned().into();
                let request = pb::RangeRequest { key, ..pb::RangeRequest::default() };
                let range =
                    self.grpc.unary::<_, pb::RangeResponse>("/etcdserverpb.KV/Range", &request);
                let kv = range.expect("it is there").kvs.remove(0).to_loose();
                (String::from_utf8(kv.value.to_vec()).expect("text"), kv.mod_revision)
            }
            Door::Gateway => {
                let body = format!(r#"{{"key":"{}"}}"#, STANDARD.encode(key));
                let text = self.ask(&Request::new("POST", "/v3/kv/range").body(body));
                let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                let kv = &json["kvs"][0];
                let value =
                    STANDARD.decode(kv["value"].as_str().expect("a value")).expect("base64");
                let modified = kv["mod_revision"].as_str().expect("a number").parse();
                (String::from_utf8(value).expect("text"), modified.expect("a number"))
            }
            Door::Plain => {
                let answer = self.http.get(&format!("/kv{key}")).expect("an answer");
                let tag = answer.header("ETag").expect("a tag").trim_matches('"').parse();
                (answer.text(), tag.expect("a revision"))
            }
        }
    }

    /// Begins to watch; what happens from here on is told.
    fn watch(&mut self, door: Door, key: &str, revision: i64) -> Watch {
        let from = revision + 1;
        let open = |request: &Request| {
            let opened = Incoming::open(self.server.client_addr(), request, PATIENCE);
            Watch::Http(opened.expect("a head comes"))
        };
        match door {
            Door::V2 => {
                let path = format!("/v2/keys{key}?wait=true&stream=true&waitIndex={from}");
                open(&Request::new("GET", &path))
            }
            Door::Grpc => {
                let mut call = self.grpc.stream("/etcdserverpb.Watch/Watch");
                let key = key.to_owned().into();
                let create = pb::WatchCreateRequest {
                    key,
                    start_revision: from,
                    ..pb::WatchCreateRequest::default()
                };
                let union = pb::watch_request::RequestUnion::CreateRequest(create);
                call.send(&pb::WatchRequest { request_union: Some(union) });
                let created = call.recv::<pb::WatchResponse>().expect("no error");
                assert!(created.expect("an answer").created);
                Watch::Grpc(call)
            }
            Door::Gateway => {
                let key = STANDARD.encode(key);
                let body =
                    format!(r#"{{"create_request":{{"key":"{key}","start_revision":"{from}"}}}}"#);
                let mut watch = open(&Request::new("POST", "/v3/watch").body(body));
                let Watch::Http(incoming) = &mut watch else { unreachable!("it is HTTP") };
                let line = incoming.next_line(PATIENCE).expect("a line").expect("it goes on");
                assert!(String::from_utf8_lossy(&line).contains(r#""created":true"#));
                watch
            }
            Door::Plain => {
                let path = format!("/kv{key}?since={revision}");
                open(&Request::new("GET", &path).header("Accept", "text/event-stream"))
            }
        }
    }
}

/// The next event: `put VALUE` or `delete`.
fn next(door: Door, watch: &mut Watch) -> String {
    if let Watch::Grpc(call) = watch {
        let answer: pb::WatchResponse = call.recv().expect("no error").expect("it goes on");
        let event = answer.events[0].to_loose();
        let value = event.kv.expect("a key").to_loose().value;
        let value = String::from_utf8(value.to_vec()).expect("text");
        return if event.r#type == 1 { "delete".to_owned() } else { format!("put {value}") };
    }
    let Watch::Http(incoming) = watch else { unreachable!("the other is handled") };
    let mut line = || {
        let line = incoming.next_line(PATIENCE).expect("a line").expect("it goes on");
        String::from_utf8(line).expect("text").trim_end().to_owned()
    };
    match door {
        Door::V2 => {
            let json: serde_json::Value = serde_json::from_str(&line()).expect("JSON");
            match json["action"].as_str() {
                Some("delete") => "delete".to_owned(),
                Some("set") => format!("put {}", json["node"]["value"].as_str().expect("a value")),
                other => panic!("{other:?}"),
            }
        }
        Door::Gateway => {
            let json: serde_json::Value = serde_json::from_str(&line()).expect("JSON");
            let event = &json["result"]["events"][0];
            if event["type"] == "DELETE" {
                return "delete".to_owned();
            }
            let value = event["kv"]["value"].as_str().expect("a value");
            let value = STANDARD.decode(value).expect("base64");
            format!("put {}", String::from_utf8(value).expect("text"))
        }
        Door::Plain => loop {
            let text = line();
            if let Some(data) = text.strip_prefix("data: ") {
                let json: serde_json::Value = serde_json::from_str(data).expect("JSON");
                let Some(value) = json["value"].as_str() else { return "delete".to_owned() };
                let value = STANDARD.decode(value).expect("base64");
                return format!("put {}", String::from_utf8(value).expect("text"));
            }
        },
        Door::Grpc => unreachable!("handled above"),
    }
}

#[test]
fn what_one_door_writes_all_others_read_and_see() {
    let mut doors = Doors::open();
    for writer in DOORS {
        let key = format!("/matrix/{writer:?}");
        doors.write(writer, &key, "first");
        let (_, revision) = doors.read(writer, &key);
        let mut watches: Vec<(Door, Watch)> =
            DOORS.iter().map(|&door| (door, doors.watch(door, &key, revision))).collect();
        doors.write(writer, &key, "second");
        for reader in DOORS {
            let found = doors.read(reader, &key);
            assert_eq!(found, ("second".to_owned(), revision + 1), "{writer:?} to {reader:?}");
        }
        doors.delete(writer, &key);
        for (door, watch) in &mut watches {
            for expected in ["put second", "delete"] {
                assert_eq!(next(*door, watch), expected, "{writer:?} to {door:?}");
            }
        }
    }
}
