//! Plays the conversations in `tests/golden/v2` against the real server through real sockets.
//!
//! - `UPDATE_GOLDEN=1` writes the answers into the files instead of comparing.
//! - `GOLDEN_ENDPOINT=http://host:port` talks to that server instead of starting `callboard`.
//! - `GOLDEN_FILES=ttl,post` plays only these files.
//!
//! See `tests/golden/README.md` for the format.

mod support;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use support::clock::{now, poll};
use support::http::{Client, Incoming, PATIENCE, Request, Response, escape};
use support::json::Json;
use support::normal::{self, Asked, Base, Compared, Names};
use support::script::{Case, Step, Template, cases};
use support::{diff, server::Server};

/// How many servers play at once: most of the time is waiting for keys to expire.
const PLAYERS: usize = 4;

/// How long `eventually` asks.
const EVENTUALLY: Duration = Duration::from_secs(10);

#[test]
fn golden_v2() {
    let files = golden_files("v2");
    assert!(!files.is_empty(), "no golden files");
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let endpoint = env::var("GOLDEN_ENDPOINT").ok();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let play = || {
        // As large as the forms that etcd's v2 takes, whatever this setting says there.
        let flags = ["--max-request-bytes=10485760"];
        let mut server = endpoint.is_none().then(|| Server::start(&flags));
        let addr = match (&server, &endpoint) {
            (Some(server), _) => server.client_addr(),
            (None, endpoint) => resolve(endpoint.as_deref().unwrap_or_default()),
        };
        let names = learn_names(addr);
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let expected = fs::read_to_string(path).unwrap();
            let (played, difference) = play_file(addr, &names, &expected);
            if update {
                fs::write(path, played).unwrap();
            } else if !difference.is_empty() {
                failures.lock().unwrap().push(format!("{}\n{difference}", path.display()));
            }
            if let Some(status) = server.as_mut().and_then(Server::exited) {
                panic!("the server ended while it played {}: {status}", path.display());
            }
        }
    };
    thread::scope(|scope| {
        // Cases count on nobody else changing the index of their server.
        for _ in 0..if endpoint.is_some() { 1 } else { PLAYERS } {
            scope.spawn(play);
        }
    });
    let failures = failures.into_inner().unwrap();
    let (count, text) = (failures.len(), failures.join("\n"));
    assert!(count == 0, "{count} of {} files differ (- golden, + played):\n\n{text}", files.len());
}

/// After one of these a server has lost its quorum: each has a server of its own.
#[test]
fn golden_v2_growing() {
    play_apart("v2_growing", &[]);
}

/// Users and roles of a server are those of all its cases: each file has a server of its own.
#[test]
fn golden_v2_auth() {
    play_apart("v2_auth", &["--bcrypt-cost=4"]);
}

/// Plays each file of a folder at a server of its own.
fn play_apart(folder: &str, flags: &[&str]) {
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let endpoint = env::var("GOLDEN_ENDPOINT").ok();
    if endpoint.is_some() && env::var_os("GOLDEN_FILES").is_none() {
        return; // that server is for the others
    }
    for path in golden_files(folder) {
        let server = endpoint.is_none().then(|| Server::start(flags));
        let addr = match (&server, &endpoint) {
            (Some(server), _) => server.client_addr(),
            (None, endpoint) => resolve(endpoint.as_deref().unwrap_or_default()),
        };
        let expected = fs::read_to_string(&path).unwrap();
        let (played, difference) = play_file(addr, &learn_names(addr), &expected);
        if update {
            fs::write(path, played).unwrap();
        } else {
            assert!(difference.is_empty(), "{} differs:\n{difference}", path.display());
        }
    }
}

fn golden_files(folder: &str) -> Vec<PathBuf> {
    let wanted = env::var("GOLDEN_FILES").unwrap_or_default();
    let wanted: Vec<_> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let stem = path.file_stem().unwrap_or_default();
            path.extension().is_some_and(|e| e == "txt")
                && (wanted.is_empty() || wanted.iter().any(|name| stem == *name))
        })
        .collect();
    files.sort();
    files
}

fn resolve(endpoint: &str) -> SocketAddr {
    let host = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    host.to_socket_addrs().unwrap().next().unwrap()
}

/// Asks the server who it is.
fn learn_names(addr: SocketAddr) -> Names {
    let answer = Client::new(addr).get("/v2/members").unwrap().text();
    let members = Json::parse(answer.trim_end()).unwrap_or(Json::Array(Vec::new()));
    let Some(Json::Array(members)) = members.get("members") else {
        return Names::default(); // the files that name the member will say so
    };
    let text = |name| match members[0].get(name) {
        Some(Json::Array(items)) => items[0].as_str().unwrap_or_default().to_owned(),
        other => other.and_then(Json::as_str).unwrap_or_default().to_owned(),
    };
    let literals = [("id", "<id>"), ("peerURLs", "<peer>"), ("clientURLs", "<client>")];
    let literals = literals.map(|(member, name)| (text(member), name));
    Names {
        literals: literals.into_iter().filter(|(literal, _)| !literal.is_empty()).collect(),
        member_name: text("name"),
    }
}

/// Plays every case of a file. Returns the file as played, and what differs.
fn play_file(addr: SocketAddr, names: &Names, file: &str) -> (String, String) {
    let (mut blocks, mut difference) = (Vec::new(), String::new());
    for case in cases(file) {
        let Some(expected) = &case.answers else {
            let comments = case.script.lines().all(|line| line.starts_with('#'));
            assert!(comments, "a case without ---- :\n{}", case.script);
            blocks.push(case.script + "\n");
            continue;
        };
        let answers = play_case(addr, names, &case);
        if answers != *expected {
            let shown = diff::lines(expected, &answers);
            difference.extend(["\n", &case.script, "\n", &shown]);
        }
        blocks.push(case.text(&answers));
    }
    (blocks.join("\n"), difference)
}

fn play_case(addr: SocketAddr, names: &Names, case: &Case) -> String {
    let mut player = match Player::prepare(addr, names, case) {
        Ok(player) => player,
        Err(e) => return format!("(the case could not be prepared: {e})"),
    };
    let answers = case.steps().into_iter().map(|(line, step)| {
        let step = step.unwrap_or_else(|e| panic!("{e}: {line}"));
        player.step(&step).unwrap_or_else(|e| format!("({e})"))
    });
    answers.collect::<Vec<_>>().join("\n")
}

/// A case in play.
struct Player<'a> {
    addr: SocketAddr,
    names: Cow<'a, Names>,
    client: Client,
    base: Base,
    ttls: Vec<i64>,
    began: Instant,
    raft: [u64; 2],
    watches: BTreeMap<String, Incoming>,
}

impl<'a> Player<'a> {
    /// Empties the tree and notes where the case begins.
    fn prepare(addr: SocketAddr, names: &'a Names, case: &Case) -> io::Result<Self> {
        let mut client = Client::new(addr);
        let mut keys = hidden_roots(&case.script);
        keys.extend(root_keys(&client.get("/v2/keys/")?));
        for key in keys {
            client.send(&Request::new("DELETE", &format!("/v2/keys{key}?recursive=true")))?;
        }
        let left = root_keys(&client.get("/v2/keys/")?);
        if !left.is_empty() {
            return Err(io::Error::other(format!("{left:?} could not be deleted")));
        }
        let index = client.get("/v2/keys/_nothing")?;
        let index = index.header("X-Etcd-Index").and_then(|index| index.parse().ok());
        let index = index.ok_or_else(|| io::Error::other("no X-Etcd-Index"))?;
        let stats = if case.script.contains("/v2/stats/store") {
            counters(&client.get("/v2/stats/store")?)
        } else {
            BTreeMap::new()
        };
        let base = Base { index, stats };
        let (ttls, began, watches) = (Vec::new(), now(), BTreeMap::new());
        let names = Cow::Borrowed(names);
        Ok(Self { addr, names, client, base, ttls, began, raft: [0; 2], watches })
    }

    fn step(&mut self, step: &Step) -> io::Result<String> {
        match step {
            Step::Send(template) => {
                let request = self.request(template);
                let response = self.client.send(&request)?;
                if request_adds_member(template) && response.status() == 201 {
                    self.learn_added(&response);
                }
                Ok(self.print(template, &response))
            }
            Step::Eventually(text, template) => {
                let request = self.request(template);
                let mut last = String::new();
                poll(EVENTUALLY, || {
                    let response = self.client.send(&request);
                    last = response.map_or_else(
                        |e| format!("({e})"),
                        |response| self.print(template, &response),
                    );
                    last.contains(text).then_some(())
                });
                Ok(last)
            }
            Step::Open(name, template) => {
                let request = self.request(template);
                let incoming = Incoming::open(self.addr, &request, PATIENCE)?;
                let mut lines = vec![normal::head(&incoming.head, &self.base)];
                if template.all_headers {
                    lines.extend(normal::all_headers(&incoming.head, &self.base));
                }
                self.watches.insert(name.clone(), incoming);
                Ok(format!("{name}: {}", lines.join("\n")))
            }
            Step::Next(name) => {
                let line = self.watch(name)?.next_line(PATIENCE)?;
                Ok(format!(
                    "{name}: {}",
                    line.map_or("(end)".into(), |mut line| {
                        line.push(b'\n');
                        self.body(&line, &self.asked())
                    })
                ))
            }
            Step::Await(name) => {
                let rest = self.watch(name)?.rest(PATIENCE)?;
                Ok(format!("{name}: {}", self.body(&rest, &self.asked())))
            }
            Step::Hangup(name) => {
                self.watch(name)?;
                self.watches.remove(name).into_iter().for_each(Incoming::hangup);
                Ok(format!("{name}: (hung up)"))
            }
        }
    }

    /// The id of a member that was added is `<added>` from now on.
    fn learn_added(&mut self, response: &Response) {
        let member = Json::parse(response.text().trim_end());
        let id = member.as_ref().and_then(|member| member.get("id")?.as_str());
        if let Some(id) = id {
            self.names.to_mut().literals.push((id.to_owned(), "<added>"));
        }
    }

    fn watch(&mut self, name: &str) -> io::Result<&mut Incoming> {
        self.watches.get_mut(name).ok_or_else(|| io::Error::other(format!("no watch {name}")))
    }

    /// Fills in what the script left open, and remembers what it asks for.
    fn request(&mut self, template: &Template) -> Request {
        let parameters = template.parameters();
        let ttls = parameters.split('&').filter_map(|p| p.strip_prefix("ttl="));
        self.ttls.extend(ttls.filter_map(|ttl| ttl.parse::<i64>().ok()));
        template.request(|text| normal::fill(text, &self.base, &self.names))
    }

    fn print(&mut self, template: &Template, response: &Response) -> String {
        if template.status_only {
            return response.status().to_string();
        }
        let mut lines = vec![normal::head(&response.head, &self.base)];
        // Clients turn away from a member whose term goes back.
        for (last, name) in self.raft.iter_mut().zip(["X-Raft-Index", "X-Raft-Term"]) {
            let new = response.header(name).and_then(|n| n.parse().ok()).unwrap_or(*last);
            if new < *last {
                lines[0].extend([" ", name, "-went-back"]);
            }
            *last = new;
        }
        if template.all_headers {
            lines.extend(normal::all_headers(&response.head, &self.base));
        }
        let parameters = template.parameters();
        let asked = Asked {
            sorted: ["sorted=true", "sorted=1", "sorted=t"].iter().any(|s| parameters.contains(s)),
            compared: if parameters.contains("prevIndex=<") {
                Compared::RelativeIndex
            } else if parameters.contains("prevIndex=") {
                Compared::Index
            } else {
                Compared::Values
            },
            stats: template.target(str::to_owned).starts_with("/v2/stats/store"),
            ..self.asked()
        };
        if !template.no_body && !(300..400).contains(&response.status()) {
            lines.push(self.body(&response.body, &asked));
        }
        lines.join("\n")
    }

    fn body(&self, bytes: &[u8], asked: &Asked) -> String {
        normal::body(bytes, &self.base, &self.names, asked)
    }

    fn asked(&self) -> Asked {
        let elapsed = self.began.elapsed().as_secs() as i64;
        Asked { ttls: self.ttls.clone(), elapsed, ..Asked::default() }
    }
}

fn request_adds_member(template: &Template) -> bool {
    template.target(str::to_owned) == "/v2/members"
}

/// The keys at the root, escaped for a path.
fn root_keys(listing: &Response) -> Vec<String> {
    let listing = Json::parse(listing.text().trim_end());
    let nodes = listing.as_ref().and_then(|json| json.get("node")?.get("nodes"));
    let Some(Json::Array(nodes)) = nodes else { return Vec::new() };
    let keys = nodes.iter().filter_map(|node| {
        let key: String = serde_json::from_str(&node.get("key")?.to_string()).ok()?;
        Some(escape(&key).replace('+', "%20"))
    });
    keys.collect()
}

/// The hidden keys at the root that a script names: no listing shows them.
fn hidden_roots(script: &str) -> Vec<String> {
    let names = script.match_indices("/v2/keys/_").map(|(at, _)| {
        let key = &script[at + "/v2/keys".len()..];
        let end = key[1..].find(['/', '?', ' ', '\n']).map_or(key.len(), |end| end + 1);
        key[..end].to_owned()
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    names
}

fn counters(response: &Response) -> BTreeMap<String, i64> {
    let Some(Json::Object(members)) = Json::parse(response.text().trim_end()) else {
        return BTreeMap::new();
    };
    members.into_iter().filter_map(|(name, value)| Some((name, value.as_i64()?))).collect()
}
