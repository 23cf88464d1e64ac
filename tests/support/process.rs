//! Any other command of `callboard` as a process (`proxy`, `gateway`), killed at the latest when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::clock::poll;

const WAIT: Duration = Duration::from_secs(30);

/// A process and its log.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `callboard` with these arguments, in `dir`, where its log is written too.
    #[allow(clippy::disallowed_methods, reason = "the log of a test's own process")]
    pub fn spawn(dir: &Path, args: &[&str]) -> Process {
        let log = dir.join(format!("log-{}", fs::read_dir(dir).unwrap().count()));
        let file = File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_callboard"))
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Process { child, log }
    }

    /// Waits until it takes connections there.
    pub fn wait_listening(&mut self, addr: SocketAddr) {
        let listening = poll(WAIT, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended: {status}\n{}", self.log());
            }
            TcpStream::connect(addr).ok()
        });
        assert!(listening.is_some(), "it does not listen\n{}", self.log());
    }

    /// SIGTERM, without waiting.
    pub fn signal_to_end(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        poll(WAIT, || self.child.try_wait().unwrap()).expect("it ends")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the process ---\n{}\n---", self.log());
        }
    }
}

/// A loopback address that nobody listens on, at the moment.
pub fn free_addr() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
