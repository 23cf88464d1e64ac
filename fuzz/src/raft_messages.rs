//! Messages that nobody sent, and the checker in front of the `raft` crate: the crate never panics. The
//! input decides what is forged and what happens in between, so that a fuzzer can look for the way.

#[path = "../../tests/wire_check/forge.rs"]
mod forge;
#[allow(dead_code, reason = "the test of the checker uses all of it")]
#[path = "../../tests/wire_check/member.rs"]
mod member;

use self::{member::Member, random::Random};

/// Decisions, drawn from an input. At its end it is always the first choice.
mod random {
    #[derive(Clone)]
    pub struct Random(pub Vec<u8>, pub usize);

    impl Random {
        pub fn is_used_up(&self) -> bool {
            self.1 >= self.0.len()
        }

        fn byte(&mut self) -> u64 {
            let byte = self.0.get(self.1).copied().unwrap_or(0);
            self.1 += 1;
            u64::from(byte)
        }

        pub fn below(&mut self, end: u64) -> u64 {
            let first = self.byte();
            let number = if end > 256 { first << 8 | self.byte() } else { first };
            number % end
        }

        pub fn percent(&mut self, percent: u64) -> bool {
            self.below(100) < percent
        }

        pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
            of[self.below(of.len() as u64) as usize]
        }

        pub fn near(&mut self, number: u64) -> u64 {
            number.saturating_add(self.below(5)).saturating_sub(2)
        }
    }
}

const ROUNDS_MAX: u64 = 400;

pub fn run(data: &[u8]) {
    let mut random = Random(data.to_vec(), 0);
    let (voters, learners) = match random.below(6) {
        0..3 => (vec![1, 2, 3], vec![]),
        3 => (vec![1, 2], vec![3]),
        4 => (vec![1], vec![2]),
        _ => (vec![], vec![]),
    };
    let len = if voters.is_empty() { 0 } else { random.below(8) };
    let log: Vec<u64> = (0..len).map(|at| 1 + at / 3).collect();
    let commit = random.below(len + 1);
    let mut member = Member::new(1, voters, learners, &log, commit);
    let calm = random.percent(50);
    for round in 0..ROUNDS_MAX {
        if random.is_used_up() {
            break;
        }
        if random.percent(50) {
            member.live(&mut random, round);
        } else {
            let message = forge::message(&member.node.raft, calm, &mut random);
            member.receive(message);
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut byte = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..4).map(|_| (0..600).map(|_| byte()).collect()).collect()
}
