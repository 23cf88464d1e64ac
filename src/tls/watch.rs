//! Looks after certificates as long as the process runs: files that change are taken when they are seen to
//! have changed, and on SIGHUP, which no longer ends the process.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{Reloading, Side};

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Certificates of either side. Both may wait for a disk.
pub trait Look: Send + Sync {
    /// Takes what has changed.
    fn look(&self);
    /// Reads all files again, changed or not.
    fn read_again(&self);
}

impl<S: Side> Look for Reloading<S> {
    fn look(&self) {
        Reloading::look(self);
    }

    fn read_again(&self) {
        Reloading::read_again(self);
    }
}

/// See the head of the module. The task that is given is to run for as long as the certificates are used.
pub fn look_after(
    certificates: Vec<Arc<dyn Look>>,
) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = beat.tick() => false,
                _ = hangup.recv() => true,
            };
            if certificates.is_empty() {
                continue;
            }
            let all = certificates.clone();
            let look = move || {
                for one in &all {
                    if asked { one.read_again() } else { one.look() }
                }
            };
            _ = tokio::task::spawn_blocking(look).await; // files may be slow
        }
    })
}
