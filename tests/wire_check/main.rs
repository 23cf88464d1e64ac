//! The checker in front of the `raft` crate: whatever members say, true or forged, the crate does not
//! panic; and what sound members say comes through.
//!
//! `CALLBOARD_WIRE_MESSAGES` is how many messages are forged.

mod forge;
mod member;
mod random;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use callboard::wire::check::DropReason;
use callboard::wire::{Decoder, PeerFrame, encode};
use member::{Member, Said};
use raft::StateRole;
use random::Random;

fn count() -> u64 {
    let asked = std::env::var("CALLBOARD_WIRE_MESSAGES").ok();
    asked.map_or(300_000, |count| count.parse().expect("a number of messages"))
}

/// Names the run when something panics in it.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() && !QUIET.get() {
            eprintln!("seed {}", self.0);
        }
    }
}

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A member in one of the states from which clusters start, or lag.
fn start(random: &mut Random) -> Member {
    let (voters, learners) = match random.below(12) {
        0..7 => (vec![1, 2, 3], vec![]),
        7 => (vec![1, 2], vec![3]),
        8 => (vec![1], vec![2]),
        9 => (vec![1], vec![]),
        10 => (vec![2, 3], vec![1]),
        _ => (vec![], vec![]), // it joins, and was told nothing yet
    };
    let len = if voters.is_empty() { 0 } else { random.below(12) };
    let mut term = 0;
    let log: Vec<u64> = (0..len)
        .map(|_| {
            term += if term == 0 { 1 } else { u64::from(random.percent(30)) };
            term
        })
        .collect();
    let commit = random.below(len + 1);
    Member::new(1, voters, learners, &log, commit)
}

#[derive(Default)]
struct Tally {
    passed: BTreeMap<(u8, &'static str), u64>,
    dropped: BTreeMap<DropReason, u64>,
    refused: u64,
    lost_tails: u64,
}

fn role(state: StateRole) -> &'static str {
    match state {
        StateRole::Follower => "follower",
        StateRole::Candidate => "candidate",
        StateRole::Leader => "leader",
        StateRole::PreCandidate => "pre-candidate",
    }
}

/// The life of one member among liars.
fn live(seed: u64, messages: u64, tally: &mut Tally) {
    let named = Seed(seed);
    let mut random = Random(seed);
    let mut member = start(&mut random);
    let busy = 20 + random.below(70);
    let calm = random.percent(50);
    let mut forged = 0;
    while forged < messages {
        if random.percent(busy) {
            member.live(&mut random, forged);
            if random.percent(1) {
                let _ = member.node.request_snapshot(); // as after a lost tail, but at any time
            }
        } else {
            forged += 1;
            let message = forge::message(&member.node.raft, calm, &mut random);
            let key = (message.get_msg_type() as u8, role(member.node.raft.state));
            match member.receive(message) {
                Said::Refused(_) => tally.refused += 1,
                Said::Dropped(reason) => *tally.dropped.entry(reason).or_default() += 1,
                Said::LostTail => tally.lost_tails += 1,
                Said::Passed => *tally.passed.entry(key).or_default() += 1,
            }
        }
        member.outbox.clear();
    }
    drop(named);
}

#[test]
fn no_forged_message_panics() {
    const EACH: u64 = 300;
    let mut tally = Tally::default();
    for seed in 0..count().div_ceil(EACH) {
        live(seed, EACH, &mut tally);
    }
    let passed: u64 = tally.passed.values().sum();
    eprintln!(
        "{passed} passed, {} refused, {} lost tails, dropped {:?}\n{:?}",
        tally.refused, tally.lost_tails, tally.dropped, tally.passed
    );
    // Not for want of trying:
    assert!(passed > count() / 3, "{passed} messages passed");
    for kind in [3, 4, 5, 6, 7, 8, 9, 14, 16, 17, 18] {
        assert!(tally.passed.get(&(kind, "follower")) > Some(&10), "type {kind} to followers");
    }
    for kind in [3, 5, 6, 8] {
        assert!(tally.passed.get(&(kind, "candidate")) > Some(&10), "type {kind} to candidates");
    }
    for kind in [4, 9, 13, 15] {
        assert!(tally.passed.get(&(kind, "leader")) > Some(&10), "type {kind} to leaders");
    }
    assert!(tally.lost_tails > 10 && tally.refused > 100);
}

/// The same messages without the checker: they do stop the crate.
#[test]
fn the_crate_alone_panics() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            previous(info);
        }
    }));
    QUIET.set(true);
    let mut panics = 0;
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut member = start(&mut random);
        let alone = || {
            for at in 0..100 {
                member.live(&mut random, at);
                let message = forge::message(&member.node.raft, false, &mut random);
                let _ = member.node.step(message);
            }
        };
        panics += u64::from(catch_unwind(AssertUnwindSafe(alone)).is_err());
    }
    QUIET.set(false);
    assert!(panics > 150, "{panics} of 200 members died");
}

/// Three members that only say what the crate says; messages get lost, overtake each
/// other and come twice. Nothing they say is refused, and they get on.
#[test]
fn what_sound_members_say_comes_through() {
    let mut dropped: BTreeMap<DropReason, u64> = BTreeMap::new();
    let (mut received, mut committed) = (0, 0);
    for seed in 0..20 {
        let _named = Seed(seed);
        let mut random = Random(seed + 1_000_000);
        let voters = vec![1, 2, 3];
        let member = |id| {
            let mut member = Member::new(id, voters.clone(), vec![], &[], 0);
            member.changes = false; // made this fast, and seen this late, they are not safe in the crate
            member
        };
        let mut members: Vec<Member> = (1..=3).map(member).collect();
        let mut under_way = Vec::new();
        for turn in 0..8000 {
            for member in &mut members {
                member.live(&mut random, turn);
                if random.percent(50) {
                    member.take_ready();
                    member.persist(usize::MAX);
                    member.apply(3);
                }
                let mut bytes = Vec::new();
                let said = PeerFrame::Raft(std::mem::take(&mut member.outbox));
                encode(&said, &mut bytes);
                let mut decoder = Decoder::new(1 << 20);
                decoder.feed(bytes.into());
                while let Some(PeerFrame::Raft(messages)) = decoder.next().unwrap() {
                    under_way.extend(messages);
                }
            }
            for _ in 0..under_way.len().min(12) {
                let at = if random.percent(80) { 0 } else { random.below(under_way.len() as u64) };
                let message = if random.percent(97) {
                    under_way.remove(at as usize)
                } else {
                    under_way[at as usize].clone()
                };
                if random.percent(2) {
                    continue;
                }
                received += 1;
                match members[message.to as usize - 1].receive(message.clone()) {
                    Said::Refused(error) => panic!("{error}: {message:?}"),
                    Said::LostTail => panic!("no member lost anything: {message:?}"),
                    Said::Dropped(reason) => *dropped.entry(reason).or_default() += 1,
                    Said::Passed => {}
                }
            }
        }
        committed += members.iter().map(|m| m.node.raft.raft_log.committed).max().unwrap();
    }
    eprintln!("{received} received, {committed} committed, dropped {dropped:?}");
    assert!(committed > 20 * 100, "{committed} entries were committed");
    assert!(!dropped.contains_key(&DropReason::Committed), "{dropped:?}");
    assert!(dropped.values().sum::<u64>() < received / 20, "{dropped:?} of {received}");
}
