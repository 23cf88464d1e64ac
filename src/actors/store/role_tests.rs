//! What the Store's clocks ask for.

use super::*;
use crate::{
    actors::store::compactor::Retention,
    command::{V2Command, V2Write},
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
    for effect in role.handle(Input::Tick { leads: true }) {
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
