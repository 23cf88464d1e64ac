//! Plays the conversations in `tests/golden/v3` through the JSON gateway of the real server.
//!
//! - `GOLDEN_ETCD=/path/to/etcd` plays them with that etcd and writes its answers into the files.
//! - `GOLDEN_FILES=txn,lease` plays only these files.
//!
//! See `tests/golden/README.md` for the format.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use support::clock::poll;
use support::http::{Client, Incoming, PATIENCE, Request};
use support::script::cases;
use support::server::free_addrs;
use support::{diff, server::Server};

#[test]
fn golden_v3() {
    let etcd = env::var_os("GOLDEN_ETCD");
    let (mut failures, mut played_files) = (Vec::new(), 0);
    for path in golden_files() {
        let expected = fs::read_to_string(&path).unwrap();
        let (played, difference) = if let Some(etcd) = &etcd {
            let etcd = Etcd::start(Path::new(etcd));
            play_file(etcd.client, &expected, true)
        } else {
            let server = Server::start(&[]);
            play_file(server.client_addr(), &expected, false)
        };
        played_files += 1;
        if etcd.is_some() {
            fs::write(&path, played).unwrap();
        } else if !difference.is_empty() {
            failures.push(format!("{}\n{difference}", path.display()));
        }
    }
    assert!(played_files > 0, "no golden files");
    let (count, text) = (failures.len(), failures.join("\n"));
    assert!(count == 0, "{count} of {played_files} files differ (- golden, + played):\n\n{text}");
}

fn golden_files() -> Vec<PathBuf> {
    let wanted = env::var("GOLDEN_FILES").unwrap_or_default();
    let wanted: Vec<_> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v3");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| {
            let stem = path.file_stem().unwrap_or_default();
            path.extension().is_some_and(|e| e == "txt")
                && (wanted.is_empty() || wanted.iter().any(|name| stem == *name))
        })
        .collect();
    files.sort();
    files
}

/// The etcd that answers are recorded from, with an empty data directory of its own.
struct Etcd {
    child: Child,
    client: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Etcd {
    fn start(program: &Path) -> Etcd {
        let dir = tempfile::tempdir().unwrap();
        let [client, peer] = free_addrs();
        let child = Command::new(program)
            .arg(format!("--data-dir={}", dir.path().display()))
            .arg(format!("--listen-client-urls=http://{client}"))
            .arg(format!("--advertise-client-urls=http://{client}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster=default=http://{peer}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Etcd { child, client, _dir: dir };
        let ready = poll(Duration::from_secs(30), || {
            let answer = Client::new(client).get("/health").ok()?;
            (answer.status() == 200).then_some(())
        });
        ready.expect("etcd becomes healthy");
        etcd
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Plays every case of a file. Returns the file as played, and what differs.
fn play_file(addr: SocketAddr, file: &str, record: bool) -> (String, String) {
    let (mut blocks, mut difference) = (Vec::new(), String::new());
    let mut player = Player {
        addr,
        client: Client::new(addr),
        tokens: BTreeMap::new(),
        watches: BTreeMap::new(),
    };
    for case in cases(file) {
        let Some(expected) = &case.answers else {
            let comments = case.script.lines().all(|line| line.starts_with('#'));
            assert!(comments, "a case without ---- :\n{}", case.script);
            blocks.push(case.script + "\n");
            continue;
        };
        let mut before = expected.lines();
        let (mut answers, mut newer) = (Vec::new(), false);
        for line in case.script.lines() {
            if line.starts_with('#') {
                newer = line.starts_with("#!");
                continue;
            }
            let answer = player.step(line).unwrap_or_else(|error| format!("({error})"));
            let before = before.next().unwrap_or_default();
            let kept = record && newer && !before.is_empty();
            answers.push(if kept { before.to_owned() } else { answer });
            newer = false;
        }
        let answers = answers.join("\n");
        if answers != *expected {
            difference.extend(["\n", &case.script, "\n", &diff::lines(expected, &answers)]);
        }
        blocks.push(case.text(&answers));
    }
    (blocks.join("\n"), difference)
}

/// One conversation: what is remembered of it.
struct Player {
    addr: SocketAddr,
    client: Client,
    tokens: BTreeMap<String, String>,
    watches: BTreeMap<String, Incoming>,
}

impl Player {
    /// `PATH JSON`, `@USER PATH JSON` with its token, `@USER = PATH JSON` to get one, `W = PATH JSON` to
    /// open a stream and `next W` for its next line.
    fn step(&mut self, line: &str) -> Result<String, String> {
        if let Some(name) = line.strip_prefix("next ") {
            let watch = self.watches.get_mut(name).ok_or("no such stream")?;
            let line = watch.next_line(PATIENCE).map_err(|error| error.to_string())?;
            return Ok(line.map_or("(end)".to_owned(), |line| normal(&line)));
        }
        let (name, call) = match line.find("/v3/") {
            None | Some(0) => ("", line),
            Some(at) => (line[..at].trim_end(), &line[at..]),
        };
        let (path, json) = call.split_once(' ').unwrap_or((call, ""));
        let mut request = Request::new("POST", path).body(wire(json));
        if let Some(user) = name.strip_prefix('@').filter(|name| !name.ends_with('=')) {
            request = request.header("Authorization", self.tokens.get(user).ok_or("no token")?);
        }
        if let Some(name) = name.strip_suffix('=').filter(|name| !name.starts_with('@')) {
            let incoming = Incoming::open(self.addr, &request, PATIENCE);
            let incoming = incoming.map_err(|error| error.to_string())?;
            let status = incoming.head.status;
            self.watches.insert(name.trim_end().to_owned(), incoming);
            return Ok(status.to_string());
        }
        let response = self.client.send(&request).map_err(|error| error.to_string())?;
        if let Some(user) = name.strip_prefix('@').and_then(|name| name.strip_suffix('=')) {
            let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let token = body.get("token").and_then(Value::as_str).unwrap_or_default();
            self.tokens.insert(user.trim_end().to_owned(), token.to_owned());
        }
        let lines: Vec<String> = response
            .body
            .split(|&byte| byte == b'\n')
            .filter(|l| !l.is_empty())
            .map(normal)
            .collect();
        Ok(format!("{} {}", response.status(), lines.join(" ")))
    }
}

/// Bytes are written as `b"text"`, many of one as `b"x*1000"`.
fn wire(json: &str) -> String {
    let mut out = String::new();
    let mut parts = json.split(":b\"");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (text, rest) = part.split_once('"').unwrap_or((part, ""));
        let bytes = match text.split_once('*') {
            Some((text, count)) => text.repeat(count.parse().expect("how many")).into_bytes(),
            None => text.replace("\\0", "\0").into_bytes(),
        };
        out.extend([":\"", &BASE64_STANDARD.encode(bytes), "\"", rest]);
    }
    out
}

/// A line of JSON as it is compared: members sorted, bytes readable, what is another in each run left out.
fn normal(line: &[u8]) -> String {
    match serde_json::from_slice(line) {
        Ok(mut value) => {
            tidy(&mut value);
            value.to_string().replace("\"b'", "b\"").replace("'b\"", "\"")
        }
        Err(_) => String::from_utf8_lossy(line).into_owned(),
    }
}

fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            let members_before = std::mem::take(members);
            for (name, mut value) in members_before {
                tidy(&mut value);
                let value = tidied(&name, value);
                members.extend(value.map(|value| (name, value)));
            }
        }
        _ => {}
    }
}

/// A member of an object; none if it is not compared.
fn tidied(name: &str, value: Value) -> Option<Value> {
    const BYTES: [&str; 3] = ["key", "value", "range_end"];
    match (name, &value) {
        ("error", Value::String(_)) | ("details", _) => None, // of some versions only
        ("token", Value::String(_)) => Some(Value::from("*")),
        ("header", Value::Object(header)) => Some(Value::from(header_text(header))),
        (name, Value::String(text)) if BYTES.contains(&name) => {
            let bytes = BASE64_STANDARD.decode(text).ok()?;
            Some(Value::from(format!("b'{}'b", bytes.escape_ascii())))
        }
        _ => Some(value),
    }
}

/// `2` is a header of revision 2 with all ids; `bare 2` has a revision alone.
fn header_text(header: &Map<String, Value>) -> String {
    let set = |name: &str| header.get(name).and_then(Value::as_str).is_some_and(|id| id != "0");
    let ids = ["cluster_id", "member_id", "raft_term"].map(set);
    let revision = header.get("revision").and_then(Value::as_str).unwrap_or("none");
    match ids {
        [true, true, true] => revision.to_owned(),
        [false, false, false] => format!("bare {revision}"),
        other => format!("{other:?} {revision}"),
    }
}
