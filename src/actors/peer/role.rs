//! The session with one peer: when to dial, when to ping, when to give up, what RaftNode is told. Time
//! comes in as a duration since some start, randomness as a seed.

use std::time::Duration;

/// How patient a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first wait between two attempts; it doubles with each.
    pub retry_min: Duration,
    /// The longest.
    pub retry_max: Duration,
    /// The time between two pings.
    pub ping_every: Duration,
    /// A stream on which nothing was answered for so long is broken.
    pub silence_max: Duration,
}

impl Pace {
    /// One that fits a cluster with this heartbeat.
    pub fn for_heartbeat(heartbeat: Duration) -> Pace {
        let ping_every = (heartbeat * 5).clamp(Duration::from_millis(100), Duration::from_secs(2));
        Pace {
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            ping_every,
            silence_max: ping_every * 6,
        }
    }
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer could not be reached, or the stream broke.
    Unreachable(String),
    /// The peer answered and said no.
    Refused {
        /// Its HTTP status.
        status: u16,
        /// Its words.
        text: String,
    },
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The peer has taken the stream.
    Connected,
    /// An attempt came to nothing, or the stream ended.
    Failed(Failure),
    /// Raft messages were dropped: there is no stream, or too much waits in it.
    Dropped,
    /// All that waited in the stream has been written.
    Drained,
    /// The peer answered a ping.
    Pong {
        /// Of the ping.
        nonce: u64,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// RaftNode is to know that messages are lost.
    Unreachable,
    /// A ping is to be sent.
    Ping {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// The stream is to be closed: nothing comes back.
    Close,
    /// The peer answers from now on, or no longer.
    Active(bool),
    /// A ping took so long.
    RoundTrip(Duration),
    /// There is a reason that was not there before; the log is to have it.
    Warn(Failure),
    /// The peer says that this member was removed.
    RefusedAsRemoved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// None until this time.
    Down { dial_at: Duration },
    /// There is one, and the peer was heard at this time.
    Up { heard: Duration, ping_at: Duration },
}

/// See the head of the module.
#[derive(Debug)]
pub struct Session {
    pace: Pace,
    random: u64,
    stream: Stream,
    /// Attempts since the peer was last heard.
    attempts: u32,
    /// RaftNode knows of the present loss.
    told: bool,
    /// What the log has of the present break.
    reason: Option<Failure>,
    ping: Option<(u64, Duration)>,
    nonce: u64,
}

impl Session {
    /// Not connected yet; the first attempt is due at once.
    pub fn new(pace: Pace, seed: u64) -> Session {
        Session {
            pace,
            random: seed,
            stream: Stream::Down { dial_at: Duration::ZERO },
            attempts: 0,
            told: false,
            reason: None,
            ping: None,
            nonce: 0,
        }
    }

    /// When the next attempt is due, while there is no stream.
    pub fn dial_at(&self) -> Option<Duration> {
        match self.stream {
            Stream::Down { dial_at } => Some(dial_at),
            Stream::Up { .. } => None,
        }
    }

    /// Which of the peer's URLs is next: each in turn.
    pub fn next_url(&self, count: usize) -> usize {
        self.attempts as usize % count.max(1)
    }

    /// The peer has other URLs now: an attempt is due at once.
    pub fn moved(&mut self, now: Duration) {
        self.attempts = 0;
        if let Stream::Down { dial_at } = &mut self.stream {
            *dial_at = now;
        }
    }

    /// Takes an input at a time.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match (input, self.stream) {
            (Input::Connected, _) => {
                self.stream = Stream::Up { heard: now, ping_at: now };
                self.told = false;
                self.ping = None;
                self.tick(now)
            }
            (Input::Failed(failure), before) => self.failed(now, failure, before),
            (Input::Dropped, _) => self.tell().into_iter().collect(),
            (Input::Drained, Stream::Up { .. }) => {
                self.told = false;
                Vec::new()
            }
            (Input::Pong { nonce }, Stream::Up { ping_at, .. }) => {
                let Some((_, sent)) = self.ping.take_if(|ping| ping.0 == nonce) else {
                    return Vec::new(); // an old one, or made up
                };
                self.stream = Stream::Up { heard: now, ping_at };
                // Only now, so that a peer that takes streams and drops them is not dialled in a rush.
                self.attempts = 0;
                self.reason = None;
                vec![Effect::Active(true), Effect::RoundTrip(now.saturating_sub(sent))]
            }
            (Input::Tick, Stream::Up { .. }) => self.tick(now),
            (Input::Tick | Input::Drained | Input::Pong { .. }, Stream::Down { .. }) => Vec::new(),
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Effect> {
        let Stream::Up { heard, ping_at } = self.stream else { return Vec::new() };
        if now.saturating_sub(heard) >= self.pace.silence_max {
            return vec![Effect::Close];
        }
        if now < ping_at || self.ping.is_some() {
            return Vec::new(); // one at a time: the answer to the last is still on its way
        }
        self.nonce += 1;
        self.ping = Some((self.nonce, now));
        self.stream = Stream::Up { heard, ping_at: now + self.pace.ping_every };
        vec![Effect::Ping { nonce: self.nonce }]
    }

    fn failed(&mut self, now: Duration, failure: Failure, before: Stream) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(before, Stream::Up { .. }) {
            effects.push(Effect::Active(false));
            self.told = false; // this break is a new one
        }
        effects.extend(self.tell());
        let wait = self.wait(&failure);
        self.stream = Stream::Down { dial_at: now + wait };
        self.attempts = self.attempts.saturating_add(1);
        if matches!(failure, Failure::Refused { status: 410, .. }) {
            effects.push(Effect::RefusedAsRemoved);
        }
        if self.reason.as_ref() != Some(&failure) {
            self.reason = Some(failure.clone());
            effects.push(Effect::Warn(failure));
        }
        effects
    }

    fn tell(&mut self) -> Option<Effect> {
        (!std::mem::replace(&mut self.told, true)).then_some(Effect::Unreachable)
    }

    /// Between half of the step and all of it, so that members that lost each other at the same time do
    /// not come back in step. A peer that says no is asked slowly.
    fn wait(&mut self, failure: &Failure) -> Duration {
        let step = match failure {
            Failure::Refused { .. } => self.pace.retry_max,
            Failure::Unreachable(_) => {
                let doubled = self.pace.retry_min.saturating_mul(1 << self.attempts.min(16));
                doubled.min(self.pace.retry_max)
            }
        };
        let half = step / 2;
        half + half.mul_f64(self.fraction())
    }

    /// From 0 to 1, by SplitMix64.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        retry_min: Duration::from_millis(100),
        retry_max: Duration::from_secs(5),
        ping_every: Duration::from_millis(500),
        silence_max: Duration::from_secs(3),
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn lost() -> Failure {
        Failure::Unreachable("gone".to_owned())
    }

    fn refused(status: u16) -> Failure {
        Failure::Refused { status, text: "no".to_owned() }
    }

    #[test]
    fn attempts_come_at_growing_distances_and_each_url_in_turn() {
        let mut session = Session::new(PACE, 7);
        assert_eq!((session.dial_at(), session.next_url(2)), (Some(ms(0)), 0));
        for (step, url) in
            [(100, 1), (200, 0), (400, 1), (800, 0), (1600, 1), (3200, 0), (5000, 1), (5000, 0)]
        {
            let now = session.dial_at().unwrap();
            session.handle(now, Input::Failed(lost()));
            let wait = session.dial_at().unwrap().saturating_sub(now);
            assert!(wait >= ms(step) / 2 && wait <= ms(step), "{wait:?} of {step} ms");
            assert_eq!(session.next_url(2), url);
        }
        session.handle(ms(90_000), Input::Connected);
        session.handle(ms(90_001), Input::Pong { nonce: 1 });
        session.handle(ms(90_002), Input::Failed(lost()));
        assert!(
            session.dial_at().unwrap() <= ms(90_102),
            "an answer makes the distance short again"
        );
        session.moved(ms(90_003));
        assert_eq!(session.dial_at(), Some(ms(90_003)));
    }

    #[test]
    fn a_stream_that_breaks_before_it_answers_counts_as_an_attempt() {
        let mut session = Session::new(PACE, 7);
        for _ in 0..10 {
            session.handle(ms(0), Input::Connected);
            session.handle(ms(0), Input::Failed(lost()));
        }
        assert!(session.dial_at().unwrap() >= ms(2500));
    }

    #[test]
    fn two_seeds_do_not_dial_in_step() {
        let wait = |seed| {
            let mut session = Session::new(PACE, seed);
            session.handle(ms(0), Input::Failed(lost()));
            session.dial_at()
        };
        assert_ne!(wait(1), wait(2));
        assert_eq!(wait(1), wait(1));
    }

    #[test]
    fn raft_node_is_told_once_for_each_break() {
        let mut session = Session::new(PACE, 7);
        assert_eq!(session.handle(ms(0), Input::Dropped), [Effect::Unreachable]);
        assert_eq!(session.handle(ms(0), Input::Dropped), []);
        assert_eq!(session.handle(ms(0), Input::Failed(lost())), [Effect::Warn(lost())]);
        assert_eq!(session.handle(ms(1), Input::Connected), [Effect::Ping { nonce: 1 }]);
        assert_eq!(session.handle(ms(2), Input::Dropped), [Effect::Unreachable]);
        assert_eq!(session.handle(ms(2), Input::Dropped), []);
        assert_eq!(session.handle(ms(3), Input::Drained), []);
        assert_eq!(session.handle(ms(4), Input::Dropped), [Effect::Unreachable]);
        assert_eq!(
            session.handle(ms(5), Input::Failed(lost())),
            [Effect::Active(false), Effect::Unreachable],
            "the same reason as before is not logged again"
        );
        assert_eq!(session.handle(ms(6), Input::Dropped), []);
    }

    #[test]
    fn pings_measure_and_silence_closes() {
        let mut session = Session::new(PACE, 7);
        assert_eq!(session.handle(ms(0), Input::Connected), [Effect::Ping { nonce: 1 }]);
        assert_eq!(session.handle(ms(3), Input::Pong { nonce: 9 }), []);
        assert_eq!(
            session.handle(ms(4), Input::Pong { nonce: 1 }),
            [Effect::Active(true), Effect::RoundTrip(ms(4))]
        );
        assert_eq!(session.handle(ms(5), Input::Pong { nonce: 1 }), []);
        assert_eq!(session.handle(ms(499), Input::Tick), []);
        assert_eq!(session.handle(ms(500), Input::Tick), [Effect::Ping { nonce: 2 }]);
        assert_eq!(session.handle(ms(1500), Input::Tick), [], "one ping at a time");
        assert_eq!(session.handle(ms(3003), Input::Tick), []);
        assert_eq!(session.handle(ms(3004), Input::Tick), [Effect::Close]);
    }

    #[test]
    fn refusals_are_logged_when_they_change_and_asked_slowly() {
        let mut session = Session::new(PACE, 7);
        let table = [
            (refused(412), vec![Effect::Unreachable, Effect::Warn(refused(412))]),
            (refused(412), vec![]),
            (refused(403), vec![Effect::Warn(refused(403))]),
            (refused(410), vec![Effect::RefusedAsRemoved, Effect::Warn(refused(410))]),
        ];
        for (failure, expected) in table {
            assert_eq!(session.handle(ms(0), Input::Failed(failure.clone())), expected);
            assert!(session.dial_at().unwrap() >= ms(2500), "{failure:?}");
        }
    }
}
