//! What is let in at once, whatever comes: connections, requests by class, bytes of answers that wait for
//! their readers. What is beyond is refused at once and counted, so that the rest is served well.
//!
//! Classes are apart, so that none takes another's places: a flood of reads keeps no write waiting, a flood
//! of either no lease. Raft and the probes are in no class. A request takes its place where it begins to
//! wait (for the log, for a read index, for a thread), so what is answered at once is never refused.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;

pub mod connections;

use self::connections::ConnectionFigures;
use crate::command::{Command, V3Op};

/// An answer up to this length is not counted: there are only as many as there are streams.
pub const SHORT_BYTES: usize = 4096;

/// What the configuration says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// `--max-requests-leases`, and so on: requests under way.
    pub leases: usize,
    /// Changes of keys.
    pub writes: usize,
    /// Reads that wait for a read index.
    pub reads: usize,
    /// Reads of many keys, or far into the past.
    pub large: usize,
    /// Long polls and streams; and as many streams that keep leases alive.
    pub held: usize,
    /// `--max-response-bytes`: of long answers that wait for their readers.
    pub response_bytes: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        LimitSettings {
            leases: 16_384,
            writes: 16_384,
            reads: 16_384,
            large: 64,
            held: 100_000,
            response_bytes: 512 << 20,
        }
    }
}

/// Which places a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Leases are granted, revoked, kept alive and asked about.
    Leases,
    /// Changes of keys, and compactions.
    Writes,
    /// Linearizable reads.
    Reads,
    /// Reads of many keys, or far into the past.
    Large,
    /// What waits for something to happen: long polls, streams.
    Held,
    /// Streams that keep leases alive.
    KeepAlives,
}

impl Class {
    /// All.
    pub const ALL: [Class; 6] =
        [Class::Leases, Class::Writes, Class::Reads, Class::Large, Class::Held, Class::KeepAlives];

    /// The label of its metrics.
    pub fn name(self) -> &'static str {
        match self {
            Class::Leases => "leases",
            Class::Writes => "writes",
            Class::Reads => "reads",
            Class::Large => "large",
            Class::Held => "held",
            Class::KeepAlives => "keep-alives",
        }
    }

    /// That of a proposal; none for what an operator does, which is rare and must go through.
    pub fn of(command: &Command) -> Option<Class> {
        match command {
            Command::V2(_) => Some(Class::Writes),
            Command::V3(command) => match command.op {
                V3Op::LeaseGrant { .. } | V3Op::LeaseRevoke { .. } => Some(Class::Leases),
                V3Op::Auth(_) => None,
                _ => Some(Class::Writes),
            },
            Command::Expire { .. }
            | Command::Compact { .. }
            | Command::PublishMember { .. }
            | Command::Members(_)
            | Command::Checkpoint
            | Command::Alarm { .. } => None,
        }
    }
}

/// There are no more places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests")]
pub struct TooMany;

/// Places, and how many are taken.
#[derive(Debug)]
pub struct Places {
    max: usize,
    taken: AtomicUsize,
    refused: AtomicU64,
}

impl Places {
    /// So many, all free.
    pub fn new(max: usize) -> Arc<Places> {
        Arc::new(Places { max, taken: AtomicUsize::new(0), refused: AtomicU64::new(0) })
    }

    /// How many are taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How often there was none.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes so many. What alone is more than all finds room when nothing is taken.
    pub fn take(self: &Arc<Self>, amount: usize) -> Result<Place, TooMany> {
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            let sum = taken.saturating_add(amount);
            (taken == 0 || sum <= self.max).then_some(sum)
        });
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(TooMany);
        }
        Ok(Place { places: Arc::clone(self), amount })
    }
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    amount: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// See the head of the module.
#[derive(Debug)]
pub struct Limits {
    classes: [Arc<Places>; 6],
    responses: Arc<Places>,
    /// Of the client port's listeners.
    pub connections: Arc<ConnectionFigures>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits::new(LimitSettings::default())
    }
}

impl Limits {
    /// With nothing under way.
    pub fn new(settings: LimitSettings) -> Limits {
        let LimitSettings { leases, writes, reads, large, held, response_bytes } = settings;
        Limits {
            classes: [leases, writes, reads, large, held, held].map(Places::new),
            responses: Places::new(response_bytes),
            connections: Arc::default(),
        }
    }

    /// The places of a class.
    pub fn class(&self, class: Class) -> &Arc<Places> {
        &self.classes[class as usize]
    }

    /// The bytes of long answers.
    pub fn responses(&self) -> &Arc<Places> {
        &self.responses
    }

    /// Takes a place in a class.
    pub fn enter(&self, class: Class) -> Result<Place, TooMany> {
        self.class(class).take(1)
    }

    /// Takes a place for a proposal; none if it needs none.
    pub fn enter_proposal(&self, command: &Command) -> Result<Option<Place>, TooMany> {
        Class::of(command).map(|class| self.enter(class)).transpose()
    }

    /// Counts a long answer for as long as any of its bytes wait to be sent.
    pub fn hold(&self, answer: Bytes) -> Result<Bytes, TooMany> {
        struct Held(Bytes, Place);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                debug_assert!(self.1.amount >= self.0.len());
                &self.0
            }
        }
        if answer.len() <= SHORT_BYTES {
            return Ok(answer);
        }
        let place = self.responses.take(answer.len())?;
        Ok(Bytes::from_owner(Held(answer, place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{V2Command, V2Op, V3Command},
        types::LeaseId,
    };

    #[test]
    fn classes_take_none_of_each_others_places() {
        let limits =
            Limits::new(LimitSettings { writes: 2, leases: 1, ..LimitSettings::default() });
        let first = limits.enter(Class::Writes).unwrap();
        let _second = limits.enter(Class::Writes).unwrap();
        assert_eq!(limits.enter(Class::Writes).unwrap_err(), TooMany);
        let _lease = limits.enter(Class::Leases).unwrap();
        assert_eq!(limits.enter(Class::Leases).unwrap_err(), TooMany);
        assert_eq!(limits.class(Class::Writes).refused(), 1);
        drop(first);
        assert!(limits.enter(Class::Writes).is_ok());
        assert_eq!(limits.class(Class::Writes).taken(), 1);
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
    }

    #[test]
    fn a_long_answer_is_counted_until_its_last_byte_is_gone() {
        let limits = Limits::new(LimitSettings { response_bytes: 250_000, ..Default::default() });
        let answer = |len| limits.hold(Bytes::from(vec![7; len]));
        let mut first = answer(200_000).unwrap();
        assert_eq!(answer(100_000).unwrap_err(), TooMany);
        assert!(answer(SHORT_BYTES).is_ok(), "short ones always pass");
        let piece = first.split_to(1000);
        drop(first);
        assert_eq!(limits.responses().taken(), 200_000);
        assert_eq!(piece, [7; 1000][..]);
        drop(piece);
        assert_eq!(limits.responses().taken(), 0);
        let alone = answer(1_000_000).expect("or it never would");
        drop(alone);
        assert_eq!(limits.responses().refused(), 1);
    }

    #[test]
    fn proposals_by_class() {
        let v3 = |op| Command::V3(V3Command { caller: None, op });
        let v2 =
            V2Command { path: b"/a".to_vec(), op: V2Op::Delete { dir: false, recursive: false } };
        for (command, class) in [
            (Command::V2(v2), Some(Class::Writes)),
            (v3(V3Op::LeaseRevoke { id: LeaseId(1) }), Some(Class::Leases)),
            (v3(V3Op::Compact { revision: 1 }), Some(Class::Writes)),
            (v3(V3Op::Auth(crate::command::AuthChange::Enable)), None),
        ] {
            assert_eq!(Class::of(&command), class, "{command:?}");
        }
    }
}
