//! A real `callboard` process on loopback ports of its own, killed at the latest when dropped.
//!
//! Its data directory and its log live in a temporary directory. When a test fails, the end of the
//! log is printed with the failure.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::clock::poll;
use super::http::Client;

/// How long a start or an orderly end may take, on a machine that is busy compiling.
const START_WAIT: Duration = Duration::from_secs(30);

/// How many lines of the log a failure shows.
const LOG_LINES_SHOWN: usize = 60;

/// A server process, its ports and its directory. Both stay the same over restarts.
#[derive(Debug)]
pub struct Server {
    dir: tempfile::TempDir,
    args: Vec<String>,
    client: SocketAddr,
    peer: SocketAddr,
    child: Option<Child>,
}

impl Server {
    /// Starts a single member with an empty data directory, and waits until it is ready.
    /// `flags` come after the usual ones.
    pub fn start(flags: &[&str]) -> Self {
        let mut server = Self::prepare(flags);
        server.spawn();
        server.wait_ready();
        server
    }

    /// Chooses ports and a directory, and starts nothing yet.
    pub fn prepare(flags: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
        let [client, peer] = free_addrs();
        let data_dir = dir.path().join("data").display().to_string();
        let args = [
            "serve".to_owned(),
            "--name=n1".to_owned(),
            format!("--data-dir={data_dir}"),
            format!("--listen-client-urls=http://{client}"),
            format!("--advertise-client-urls=http://{client}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--initial-cluster=n1=http://{peer}"),
        ];
        let args = args.into_iter().chain(flags.iter().map(ToString::to_string)).collect();
        Self { dir, args, client, peer, child: None }
    }

    /// A process with these flags alone and a directory of its own, not started yet; `flags` is given the
    /// data directory. Clients and peers connect at these addresses.
    pub fn of_flags(
        client: SocketAddr,
        peer: SocketAddr,
        flags: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("callboard-test-").tempdir().unwrap();
        let args = flags(&dir.path().join("data"));
        Self { dir, args, client, peer, child: None }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().expect("it runs")), signal).unwrap();
    }

    /// Waits for it to end by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let status = poll(START_WAIT, || self.exited()).expect("it ends by itself");
        self.child = None;
        status
    }

    /// Whether the process was started and not killed since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self) {
        self.spawn_with(&[]);
    }

    /// The same with further flags, for this start alone.
    pub fn spawn_with(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "it runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_callboard"))
            .args(&self.args)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until `/readyz` answers 200.
    pub fn wait_ready(&mut self) {
        let addr = self.client;
        let ready = poll(START_WAIT, || {
            if let Some(status) = self.exited() {
                panic!("the server ended before it was ready: {status}");
            }
            let answer = Client::new(addr).get("/readyz").ok()?;
            (answer.status() == 200).then_some(())
        });
        assert!(ready.is_some(), "not ready within {START_WAIT:?}");
    }

    /// Waits until it takes connections, ready or not: a learner is never ready.
    pub fn wait_listening(&mut self) {
        let addr = self.client;
        let listening = poll(START_WAIT, || {
            if let Some(status) = self.exited() {
                panic!("the server ended before it listened: {status}");
            }
            std::net::TcpStream::connect(addr).ok()
        });
        assert!(listening.is_some(), "not listening within {START_WAIT:?}");
    }

    /// Where clients connect.
    pub fn client_addr(&self) -> SocketAddr {
        self.client
    }

    /// Where other members connect.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The data directory, for tests that look into it or damage it.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// How the process ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().unwrap()
    }

    /// kill -9: no last words, no last sync.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = poll(START_WAIT, || child.try_wait().unwrap());
        if status.is_none() {
            self.child = Some(child); // to be killed when dropped
        }
        status.expect("it ends when it is told to")
    }

    /// Starts it again on the same directory and ports, killing it first if it still runs.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.wait_ready();
    }

    /// Everything that it has logged, over all its starts.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map_or_else(
            |e| format!("(no log: {e})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    fn log_path(&self) -> PathBuf {
        Path::join(self.dir.path(), "log")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("--- end of the server's log ---\n{}\n---", shown.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log_end());
        }
    }
}

/// Loopback addresses that nobody listens on. Another process may take them before the server
/// does; it would say so in its log, and the test would fail with it.
pub fn free_addrs<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}
