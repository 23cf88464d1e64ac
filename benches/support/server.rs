//! A server under measurement: callboard or etcd, a process of its own on loopback ports and a fresh
//! directory. Both are started with the same flags.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{now, pause, process};

/// A program that serves v2.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is called in tables.
    pub name: String,
    path: PathBuf,
    is_etcd: bool,
}

impl Program {
    /// The release binary of this package.
    pub fn callboard() -> Program {
        let path = PathBuf::from(env!("CARGO_BIN_EXE_callboard"));
        Program { name: "callboard".to_owned(), path, is_etcd: false }
    }

    /// The etcd that `$ETCD` names, or that is found on `$PATH`, if one runs at all.
    pub fn etcd() -> Option<Program> {
        let path = PathBuf::from(std::env::var_os("ETCD").unwrap_or_else(|| "etcd".into()));
        let output = Command::new(&path).arg("--version").stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "))?;
        Some(Program { name: format!("etcd {version}"), path, is_etcd: true })
    }

    /// Whether it is etcd.
    pub fn is_etcd(&self) -> bool {
        self.is_etcd
    }
}

/// A running server. Dropping it kills it and removes its directory.
pub struct Server {
    program: Program,
    dir: tempfile::TempDir,
    client: SocketAddr,
    peer: SocketAddr,
    child: Option<Child>,
    pid: u32,
}

/// Longer than any start here takes.
const START_MAX: Duration = Duration::from_secs(120);

impl Server {
    /// Starts it on an empty directory below `parent` and waits until it serves.
    pub fn start(program: &Program, parent: &Path) -> Server {
        let [client, peer] = free_addresses();
        let dir = tempfile::tempdir_in(parent).expect("a place for data");
        let mut server =
            Server { program: program.clone(), dir, client, peer, child: None, pid: 0 };
        server.start_again(&[]);
        server
    }

    /// Starts it, with more flags, after [`Server::kill`]. How long it took until it answered a
    /// linearizable read.
    pub fn start_again(&mut self, flags: &[&str]) -> Duration {
        let (client, peer) = (self.client, self.peer);
        let log_path = self.dir.path().join("log");
        let log = OpenOptions::new().create(true).append(true).open(&log_path).expect("a log");
        let mut command = Command::new(&self.program.path);
        if self.program.is_etcd {
            command.args(["--enable-v2=true", "--logger=zap", "--log-level=error"]);
        } else {
            command.arg("serve");
        }
        command
            .arg("--name=n1")
            .arg(format!("--data-dir={}", self.dir.path().join("data").display()))
            .arg(format!("--listen-client-urls=http://{client}"))
            .arg(format!("--advertise-client-urls=http://{client}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster=n1=http://{peer}"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        for (name, _) in std::env::vars_os() {
            if ["ETCD", "CALLBOARD"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
                command.env_remove(name);
            }
        }
        let started = now();
        let child = self.child.insert(command.spawn().expect("the program starts"));
        self.pid = child.id();
        while !is_serving(client) {
            if let Some(status) = child.try_wait().expect("it is our child") {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                panic!("{} ended before it served: {status}\n{log}", self.program.name);
            }
            assert!(started.elapsed() < START_MAX, "{} does not serve", self.program.name);
            pause(Duration::from_millis(2));
        }
        let took = started.elapsed();
        self.pid = process::innermost(self.pid);
        took
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.client
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Bytes of resident memory.
    pub fn resident(&self) -> u64 {
        process::resident(&self.pid.to_string())
    }

    /// The sum of all samples of a metric; 0 if there is none of that name.
    pub fn metric(&self, name: &str) -> f64 {
        let page = get(self.client, "/metrics").unwrap_or_default();
        page.lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter_map(|rest| rest.rsplit_once(' '))
            .filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }

    /// Asks callboard for a snapshot. It does not wait for it.
    pub fn order_snapshot(&self) {
        self.signal(Signal::USR1);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.signal(Signal::KILL);
            _ = child.kill(); // or it has ended with the process that it started
            child.wait().expect("it is our child");
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid as i32).expect("it was started");
        _ = kill_process(pid, signal); // or it is gone
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_serving(address: SocketAddr) -> bool {
    get(address, "/v2/keys/?quorum=true").is_some_and(|answer| answer.contains("200 OK"))
}

/// One request on a connection of its own: head and body. HTTP/1.0: an answer without chunks.
fn get(address: SocketAddr, target: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let request = format!("GET {target} HTTP/1.0\r\nHost: bench\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Two loopback addresses that nobody listens on.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("it is bound"))
}
