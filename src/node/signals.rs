//! Signals: SIGTERM and SIGINT stop the member, SIGUSR1 takes a snapshot.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are listened for, from before the start on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    snapshot: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            snapshot: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for a signal to stop, and tells its name. `snapshot` is called for each order to take one.
    pub async fn wait(&mut self, snapshot: impl Fn()) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.snapshot.recv() => snapshot(),
            }
        }
    }
}
