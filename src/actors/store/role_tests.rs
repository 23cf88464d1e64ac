//! What the Store's clocks ask for.

use super::*;
use crate::{
    actors::store::compactor::Retention,
    command::{V2Command, V2Write},
    storage::mvcc::Member,
};

fn entry(index: Index, command: Command) -> Committed {
    let proposal = Proposal {
        id: ProposalId(index.0),
        member: MemberId(1),
        time: UnixNanos(1_000_000_000),
        command,
    };
    let data = rmp_serde::to_vec(&proposal).unwrap().into();
    Committed { index, term: Term(1), data }
}

fn set(value: &Bytes) -> Command {
    let write = V2Write { dir: false, value: value.clone(), ttl: None, refresh: false };
    Command::V2(V2Command { path: b"/key".to_vec(), op: V2Op::Set(write) })
}

/// Passes time, carrying out at once what is asked for.
fn tick(role: &mut Role) {
    for effect in role.handle(Input::Tick { leads: true, term: Term(1) }) {
        if let Effect::Propose(command) = effect {
            let index = role.state().applied_index.next();
            role.handle(Input::Apply(vec![entry(index, command)]));
        }
    }
}

#[test]
fn history_over_its_bound_is_cut_once_however_long_the_freeing_takes() {
    const WRITES: u64 = 20_000;
    const BOUND: u64 = 2_000_000;
    let compactor = Compactor::new(Retention::Off, BOUND);
    let mut role = Role::new(MemberId(1), State::new(Vec::new()), compactor, UnixNanos(0));
    let value = Bytes::from(vec![7; 100]);
    let writes = (1..=WRITES).map(|index| entry(Index(index), set(&value))).collect();
    role.handle(Input::Apply(writes));
    let bytes = role.state().history_bytes();
    assert!(bytes > BOUND, "{bytes}");
    for _ in 0..100 {
        tick(&mut role);
    }
    let kept = role.state().revision.0 - role.state().compacted.0;
    let expected = u128::from(WRITES) * u128::from(BOUND) * 3 / 4 / u128::from(bytes);
    assert!(!role.state().must_free());
    assert_eq!(u128::from(kept), expected, "three quarters of the bound");
}

#[test]
fn a_corrupt_member_tells_nobody_anything() {
    let member = Member {
        id: MemberId(1),
        name: "one".to_owned(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    let compactor = Compactor::new(Retention::Off, 0);
    let mut role = Role::new(MemberId(1), State::new(vec![member]), compactor, UnixNanos(0));
    let subscribe = |id| Input::Subscribe {
        id: SubscriptionId(id),
        pattern: WatchPattern { path: Bytes::from_static(b"/key"), recursive: false },
        after: Revision(1),
        once: false,
    };
    role.handle(subscribe(1));
    assert_eq!(role.watchers(), 1);
    let kind = AlarmKind::Corrupt;
    let alarm = Command::Alarm { member: MemberId(1), kind, raised: true };
    let batch = vec![entry(Index(1), alarm), entry(Index(2), set(&Bytes::from_static(b"1")))];
    let effects = role.handle(Input::Apply(batch));
    let ended = |effect: &Effect| matches!(effect, Effect::End(ids) if *ids == [SubscriptionId(1)]);
    assert!(effects.iter().any(ended), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Deliver(..))), "{effects:?}");
    let effects = role.handle(subscribe(2));
    let refused =
        |effect: &Effect| matches!(effect, Effect::Subscribed(_, Err(SubscribeError::Corrupt)));
    assert!(effects.iter().all(refused), "{effects:?}");
}
