//! The life of a process: an orderly end, a second process on the same data, damaged data, and what
//! `check-data-dir` says of all this.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use support::clock::poll;
use support::http::{Client, Incoming, PATIENCE, Request};
use support::server::Server;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `callboard` with these arguments to its end.
fn callboard(args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_callboard"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if poll(PATIENCE, || child.try_wait().unwrap()).is_none() {
        child.kill().unwrap();
        panic!("it runs on: {}", text(&child.wait_with_output().unwrap().stderr));
    }
    child.wait_with_output().unwrap()
}

/// `callboard check-data-dir`: whether it is content, and all that it says.
fn check_data_dir(dir: &Path) -> (bool, String) {
    let output = callboard(&["check-data-dir", dir.to_str().unwrap()]);
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// The files of a folder below `member`, oldest first.
fn member_files(server: &Server, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(server.data_dir().join("member").join(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn find(bytes: &[u8], needle: &str) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap()
}

/// Starts the server on data that it must refuse, and tells what it says.
fn refused_start(server: &mut Server) -> String {
    let before = server.log().len();
    server.spawn();
    let status = poll(PATIENCE, || server.exited()).expect("it refuses to start");
    assert!(!status.success(), "{status}");
    server.kill(); // it has ended: this only forgets it
    server.log()[before..].to_owned()
}

/// Orders a snapshot and waits until it is there.
fn snapshot(server: &Server) {
    let before = server.log().matches("saved snapshot").count();
    kill_process(Pid::from_raw(server.pid() as i32).unwrap(), Signal::USR1).unwrap();
    let saved =
        poll(PATIENCE, || (server.log().matches("saved snapshot").count() > before).then_some(()));
    assert!(saved.is_some(), "no snapshot: {}", server.log());
}

fn value(client: &mut Client, key: &str) -> String {
    client.get(&format!("/v2/keys{key}")).unwrap().text()
}

#[test]
fn sigterm_answers_what_it_accepted_and_ends_watches() {
    let mut server = Server::start(&[]);
    let addr = server.client_addr();
    let open = |target: &str| Incoming::open(addr, &Request::new("GET", target), PATIENCE).unwrap();
    let mut parked: Vec<_> = (0..5).map(|n| open(&format!("/v2/keys/p{n}?wait=true"))).collect();
    parked.push(open("/v2/keys/q?wait=true&stream=true&recursive=true"));
    parked.push(open("/v2/keys/r?wait=true&waitIndex=1000000"));

    // Each writer goes on until it gets no answer, or is told that the server stops.
    let (answered, answers) = mpsc::channel();
    let write = |writer: u32, answered: mpsc::Sender<()>| {
        let mut client = Client::new(addr);
        for n in 0.. {
            match client.put(&format!("/w/{writer}/{n}"), &[("value", &n.to_string())]) {
                Ok(answer) if answer.status() == 201 => _ = answered.send(()),
                Ok(answer) => {
                    assert_eq!(answer.status(), 503, "{}", answer.text());
                    return n;
                }
                Err(_) => return n,
            }
        }
        unreachable!("the server ends first")
    };
    let writes: Vec<u32> = thread::scope(|scope| {
        let write = &write;
        let start = |n| {
            let answered = answered.clone();
            scope.spawn(move || write(n, answered))
        };
        let writers: Vec<_> = (0..4).map(start).collect();
        (0..100).for_each(|_| answers.recv_timeout(PATIENCE).unwrap());
        let status = server.terminate();
        assert_eq!(status.code(), Some(0), "{status}");
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for (n, watch) in parked.iter_mut().enumerate() {
        let rest = watch.rest(PATIENCE).unwrap_or_else(|error| panic!("watch {n}: {error}"));
        assert_eq!(text(&rest), "", "watch {n} ends with an empty body");
    }

    let before = server.log();
    assert!(before.contains("stopped"), "{before}");
    server.restart();
    let again = server.log()[before.len()..].to_owned();
    for word in ["cut short", "WARN", "ERROR"] {
        assert!(!again.contains(word), "{word} at the start after an orderly end: {again}");
    }
    let mut client = Client::new(addr);
    for (writer, &count) in writes.iter().enumerate() {
        for n in [0, count - 1] {
            let node = value(&mut client, &format!("/w/{writer}/{n}"));
            assert!(node.contains(&format!(r#""value":"{n}""#)), "acknowledged: {node}");
        }
        let next = client.get(&format!("/v2/keys/w/{writer}/{count}")).unwrap();
        assert_eq!(next.status(), 404, "carried out without an answer: {}", next.text());
    }
}

#[test]
fn a_restart_brings_everything_back() {
    let mut server = Server::start(&[]);
    let mut client = Client::new(server.client_addr());
    let form = |method: &str, key: &str, fields: &[(&str, &str)]| {
        Request::new(method, &format!("/v2/keys{key}")).form(fields)
    };
    let requests = [
        form("PUT", "/a/b", &[("value", "1")]),
        form("PUT", "/a/b", &[("value", "2"), ("ttl", "500")]),
        form("PUT", "/empty", &[("dir", "true")]),
        form("PUT", "/short", &[("dir", "true"), ("ttl", "600")]),
        form("PUT", "/short/x", &[("value", "")]),
        form("POST", "/queue", &[("value", "first")]),
        form("POST", "/queue", &[("value", "second")]),
        form("PUT", "/_hidden", &[("value", "h")]),
        form("PUT", "/gone", &[("value", "g")]),
        Request::new("DELETE", "/v2/keys/gone"),
        form("PUT", "/a/b", &[("value", "3"), ("prevValue", "2"), ("ttl", "700")]),
        form("PUT", "/a/b", &[("refresh", "true"), ("ttl", "800"), ("prevExist", "true")]),
    ];
    for (n, request) in requests.iter().enumerate() {
        let answer = client.send(request).unwrap();
        assert!(matches!(answer.status(), 200 | 201), "{n}: {}", answer.text());
        if n == 6 {
            snapshot(&server); // some of it comes back from a snapshot, the rest from the log
        }
    }
    let looks = |client: &mut Client| {
        let mut seen = BTreeMap::new();
        let history =
            (2..13).map(|index| format!("/v2/keys/?wait=true&recursive=true&waitIndex={index}"));
        let gets =
            ["/?recursive=true&sorted=true", "/a", "/_hidden", "/gone", "/short?recursive=true"];
        let targets = gets.map(|target| format!("/v2/keys{target}"));
        for target in targets.into_iter().chain(history) {
            let answer = client.get(&target).unwrap_or_else(|e| panic!("{target}: {e}"));
            let index = answer.header("X-Etcd-Index").map(str::to_owned);
            // A TTL counts down meanwhile; its end stays.
            let text = answer.text();
            let parts =
                text.split(r#","ttl":"#).map(|part| part.trim_start_matches(char::is_numeric));
            seen.insert(target, (answer.status(), index, parts.collect::<String>()));
        }
        seen
    };
    let before = looks(&mut client);
    for orderly in [false, true, false] {
        if orderly {
            assert!(server.terminate().success());
        }
        server.restart();
        let after = looks(&mut Client::new(server.client_addr()));
        for (target, seen) in &before {
            assert_eq!(&after[target], seen, "{target}");
        }
    }
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let server = Server::start(&[]);
    let dir = server.data_dir();
    let data_dir = dir.to_str().unwrap();
    let urls = format!("http://{}", server.client_addr()); // the data is looked at before the ports
    let output = callboard(&[
        "serve",
        "--name=n1",
        &format!("--data-dir={data_dir}"),
        &format!("--listen-client-urls={urls}"),
        &format!("--advertise-client-urls={urls}"),
    ]);
    let said = text(&output.stderr) + &text(&output.stdout);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("is in use") && said.contains(data_dir), "{said}");
    assert!(said.contains(&server.pid().to_string()), "it names the other: {said}");
    let (good, said) = check_data_dir(&dir);
    assert!(!good && said.contains("is in use"), "{said}");
    assert_eq!(Client::new(server.client_addr()).get("/health").unwrap().status(), 200);
}

#[test]
fn damage_in_the_middle_of_the_log_stops_the_start() {
    let mut server = Server::start(&[]);
    let mut client = Client::new(server.client_addr());
    for n in 0..20 {
        client.put(&format!("/k{n}"), &[("value", &format!("needle-{n}."))]).unwrap();
    }
    assert!(server.terminate().success());
    let (good, said) = check_data_dir(&server.data_dir());
    assert!(good && said.contains("log       good"), "{said}");

    let segments = member_files(&server, "wal");
    let segment =
        segments.iter().find(|path| path.extension().is_some_and(|e| e == "wal")).unwrap();
    let at = find(&fs::read(segment).unwrap(), "needle-7.");
    flip(segment, at);
    let damaged = fs::read(segment).unwrap();
    let (good, said_by_check) = check_data_dir(&server.data_dir());
    assert!(!good, "{said_by_check}");
    let said_by_start = refused_start(&mut server);
    for said in [said_by_check, said_by_start] {
        assert!(said.contains(segment.to_str().unwrap()), "it names the file: {said}");
        let offset = said.split("is damaged at byte ").nth(1).expect("it names the offset");
        let digits: String = offset.chars().take_while(char::is_ascii_digit).collect();
        let offset: usize = digits.parse().unwrap();
        assert!(offset <= at && at < offset + 500, "{offset} for a damage at {at}: {said}");
    }
    assert_eq!(fs::read(segment).unwrap(), damaged, "what is refused is not changed");

    flip(segment, at); // as if brought back from a copy
    server.spawn();
    server.wait_ready();
    assert!(value(&mut Client::new(server.client_addr()), "/k19").contains("needle-19."));
}

#[test]
fn damaged_snapshots_are_set_aside() {
    let mut server = Server::start(&[]);
    let mut client = Client::new(server.client_addr());
    for n in 0..3 {
        client.put(&format!("/k{n}"), &[("value", &format!("needle-{n}."))]).unwrap();
        snapshot(&server);
    }
    client.put("/last", &[("value", "needle-last")]).unwrap();
    assert!(server.terminate().success());
    let snapshots = member_files(&server, "snap");
    let [oldest, middle, newest] = &snapshots[..] else { panic!("{snapshots:?}") };
    let at = |path: &Path| find(&fs::read(path).unwrap(), "needle-0.");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();

    flip(newest, at(newest));
    let (good, said) = check_data_dir(&server.data_dir());
    assert!(!good && said.contains(&format!("{}: BAD", name(newest))), "{said}");
    assert!(said.contains("log       good"), "a start is still possible: {said}");
    server.spawn();
    server.wait_ready();
    assert!(server.log().contains(&name(newest)), "it says which one it set aside");
    let mut client = Client::new(server.client_addr());
    for (key, needle) in [("/k0", "needle-0."), ("/k2", "needle-2."), ("/last", "needle-last")] {
        assert!(value(&mut client, key).contains(needle), "{key}");
    }
    assert!(server.terminate().success());
    assert!(!newest.exists() && newest.with_extension("snap.broken").exists());

    // The log reaches back to its first entry here, so that no snapshot is needed at all.
    flip(middle, at(middle));
    flip(oldest, at(oldest));
    server.spawn();
    server.wait_ready();
    assert!(value(&mut Client::new(server.client_addr()), "/last").contains("needle-last"));
}

#[test]
fn damaged_snapshots_whose_log_is_gone_stop_the_start() {
    let mut server = Server::start(&["--wal-segment-bytes=1048576", "--max-snapshots=2"]);
    let mut client = Client::new(server.client_addr());
    let filler = "x".repeat(600_000);
    client.put("/k", &[("value", "needle")]).unwrap();
    for _ in 0..3 {
        (0..3).for_each(|_| _ = client.put("/filler", &[("value", &filler)]).unwrap());
        snapshot(&server);
    }
    assert!(server.terminate().success());
    let snapshots = member_files(&server, "snap");
    let [older, newest] = &snapshots[..] else { panic!("{snapshots:?}") };
    let whole = fs::read(older).unwrap();
    for path in [older, newest] {
        flip(path, find(&fs::read(path).unwrap(), "needle"));
    }
    let (good, said_by_check) = check_data_dir(&server.data_dir());
    assert!(!good, "{said_by_check}");
    for said in [said_by_check, refused_start(&mut server)] {
        for path in [older, newest] {
            assert!(said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
        }
    }
    assert_eq!(member_files(&server, "snap"), snapshots, "what is refused is not changed");

    fs::write(older, whole).unwrap(); // one of them is enough, with the log after it
    server.spawn();
    server.wait_ready();
    assert!(value(&mut Client::new(server.client_addr()), "/k").contains("needle"));
}

#[test]
fn a_member_is_restored_from_a_snapshot_file() {
    let mut server = Server::start(&[]);
    let mut client = Client::new(server.client_addr());
    client.put("/kept", &[("value", "1")]).unwrap();
    snapshot(&server);
    let newest = member_files(&server, "snap").pop().unwrap();
    client.put("/later", &[("value", "2")]).unwrap();
    let members = client.get("/v2/members").unwrap().text();
    server.terminate();

    // Without its log the data does not start: what came after the snapshot would be lost in silence.
    let wal = server.data_dir().join("member/wal");
    fs::remove_dir_all(&wal).unwrap();
    let said = refused_start(&mut server);
    assert!(said.contains("holds no log"), "{said}");

    // Restored on purpose, it goes on from the snapshot, as the same member.
    let restored = server.data_dir().with_file_name("restored");
    let output = callboard(&["restore", newest.to_str().unwrap(), restored.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(check_data_dir(&restored).0, "{}", check_data_dir(&restored).1);
    let again = callboard(&["restore", newest.to_str().unwrap(), restored.to_str().unwrap()]);
    assert!(!again.status.success(), "a directory in use is not restored into");
    fs::remove_dir_all(server.data_dir()).unwrap();
    fs::rename(&restored, server.data_dir()).unwrap();
    server.restart();
    let mut client = Client::new(server.client_addr());
    assert_eq!(client.get("/v2/keys/kept").unwrap().status(), 200);
    assert_eq!(client.get("/v2/keys/later").unwrap().status(), 404);
    assert_eq!(client.get("/v2/members").unwrap().text(), members);
    assert_eq!(client.put("/new", &[("value", "3")]).unwrap().status(), 201);
}
