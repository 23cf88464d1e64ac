//! The thread that digests a state: one at a time, out of everybody's way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{
    storage::mvcc::{State, codec},
    types::Index,
};

/// How far the thread stands back for others (of 19).
const NICENESS: i32 = 10;

/// Digests states in the background.
pub struct Digester {
    busy: Arc<AtomicBool>,
    done: Arc<dyn Fn(Index, u64) + Send + Sync>,
}

impl Digester {
    /// `done` is told the digest of the state after which entry.
    pub fn new(done: impl Fn(Index, u64) + Send + Sync + 'static) -> Digester {
        Digester { busy: Arc::default(), done: Arc::new(done) }
    }

    /// Digests `state`, unless the one before is not done yet: then this checkpoint is passed over.
    pub fn digest(&self, state: State) {
        if self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let (busy, done) = (Arc::clone(&self.busy), Arc::clone(&self.done));
        let spawned = thread::Builder::new().name("state-digest".to_owned()).spawn(move || {
            // Where the system refuses, it works all the same.
            _ = rustix::process::setpriority_process(None, NICENESS);
            let hash = codec::digest(&state);
            busy.store(false, Ordering::Release);
            done(state.applied_index, u64::from(hash));
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for the comparison of states");
            self.busy.store(false, Ordering::Release);
        }
    }
}
