//! v3 leases in Store's role: what the leader's clock proposes, and what becomes of it in other terms.

use super::*;
use crate::{
    actors::store::{
        compactor::{Compactor, Retention},
        role::{Committed, Input},
    },
    command::{ProposalId, V3Put},
    types::{MemberId, UnixNanos},
};

const ID: LeaseId = LeaseId(7);
const LIVES: LeaseStanding = LeaseStanding::Lives { granted: 1000, left: 1000 };

/// Members apply the same log; who leads is what the test says.
struct Member(Role);

fn propose(op: V3Op) -> Command {
    Command::V3(V3Command { caller: None, op })
}

fn grant(ttl: u64) -> Command {
    propose(V3Op::LeaseGrant { id: ID, ttl })
}

fn put_on_lease() -> Command {
    let put = V3Put { key: "k".into(), lease: ID, ..V3Put::default() };
    propose(V3Op::Put(put))
}

impl Member {
    fn new() -> Member {
        let compactor = Compactor::new(Retention::Off, 0);
        Member(Role::new(MemberId(1), State::new(Vec::new()), compactor, UnixNanos(0)))
    }

    fn apply(&mut self, term: u64, command: Option<Command>) -> Vec<Effect> {
        let index = self.0.state().applied_index.next();
        let data = command.map(|command| {
            let (id, member) = (ProposalId(index.0), MemberId(1));
            let proposal = Proposal { id, member, time: UnixNanos(1_000_000_000), command };
            rmp_serde::to_vec(&proposal).unwrap().into()
        });
        let data = data.unwrap_or_default();
        self.0.handle(Input::Apply(vec![Committed { index, term: Term(term), data }]))
    }

    /// What is proposed within so many ticks, and after how many.
    fn next_proposal(&mut self, term: u64, ticks: u64) -> Option<(u64, Command)> {
        (1..=ticks).find_map(|tick| {
            let effects = self.0.handle(Input::Tick { leads: true, term: Term(term) });
            let proposed = effects.into_iter().find_map(|effect| match effect {
                Effect::Propose(command) => Some(command),
                _ => None,
            });
            proposed.map(|command| (tick, command))
        })
    }

    fn ask(&mut self, term: u64, question: LeaseQuestion) -> Option<LeaseAnswer> {
        self.0.ask_leases(Term(term), &[question]).map(|answers| answers[0])
    }

    fn renew(&mut self, term: u64) -> Option<LeaseAnswer> {
        self.ask(term, LeaseQuestion::Renew(ID))
    }

    fn left(&mut self, term: u64) -> u64 {
        match self.ask(term, LeaseQuestion::TimeToLive(ID)).expect("it leads").standing {
            LeaseStanding::Lives { left, .. } => left,
            LeaseStanding::Gone => 0,
        }
    }

    fn has_lease(&self) -> bool {
        self.0.state().lease(ID).is_some()
    }
}

fn plainly(standing: LeaseStanding) -> LeaseAnswer {
    LeaseAnswer { standing, must_tell: false }
}

#[test]
fn an_end_that_an_older_leader_found_ends_nothing() {
    let mut member = Member::new();
    member.apply(1, Some(grant(5)));
    member.apply(1, Some(put_on_lease()));
    let (tick, end) = member.next_proposal(1, 100).expect("its end");
    assert_eq!((tick, &end), (52, &propose(V3Op::LeaseExpire { leases: vec![ID], term: Term(1) })));
    assert_eq!(member.renew(1), Some(plainly(LeaseStanding::Gone)), "its end is proposed");
    assert_eq!(member.renew(2), None, "it does not lead in that term, as far as it knows");
    member.apply(2, None);
    assert_eq!(member.renew(1), None);
    assert_eq!(member.renew(2), Some(plainly(LeaseStanding::Lives { granted: 5, left: 5 })));
    let revision = member.0.state().revision;
    member.apply(2, Some(end));
    assert!(member.has_lease());
    assert_eq!(member.0.state().revision, revision);
    let (tick, end) = member.next_proposal(2, 100).expect("its end");
    assert_eq!(tick, 52, "it had all of its time again");
    member.apply(2, Some(end));
    assert!(!member.has_lease());
    assert_eq!(member.0.state().revision, revision.next(), "and its key with it");
    assert_eq!(member.renew(2), Some(plainly(LeaseStanding::Gone)));
}

#[test]
fn a_leader_gives_leases_their_time_once_all_entries_before_its_term_are_applied() {
    let mut member = Member::new();
    member.apply(1, Some(grant(5)));
    assert_eq!(member.next_proposal(2, 100), None, "nothing of its own term is applied");
    member.apply(2, None);
    assert_eq!(member.next_proposal(2, 100).map(|found| found.0), Some(52));
}

#[test]
fn what_is_left_survives_a_change_of_leaders_after_a_checkpoint() {
    let mut member = Member::new();
    member.apply(1, Some(grant(1000)));
    let (tick, checkpoint) = member.next_proposal(1, 5000).expect("a checkpoint");
    assert_eq!(tick, 3000);
    member.apply(1, Some(checkpoint.clone()));
    assert_eq!(member.left(1), 700);
    member.apply(2, None);
    assert_eq!(member.left(2), 701, "rounded up, so that it never ends early");
    assert_eq!(member.0.state().lease(ID).unwrap().remaining, Some(701));
    member.apply(2, Some(checkpoint));
    member.apply(3, None);
    assert_eq!(member.left(3), 701);
}

#[test]
fn one_that_is_kept_alive_after_its_checkpoint_is_told_of_first() {
    let mut member = Member::new();
    member.apply(1, Some(grant(1000)));
    assert_eq!(member.renew(1), Some(plainly(LIVES)), "the log says the same");
    let (_, checkpoint) = member.next_proposal(1, 5000).expect("a checkpoint");
    let must_tell = Some(LeaseAnswer { standing: LIVES, must_tell: true });
    assert_eq!(member.renew(1), must_tell, "it is on its way");
    member.apply(1, Some(checkpoint.clone()));
    assert_eq!(member.renew(1), must_tell, "it is in the state");
    let whole = propose(V3Op::LeaseCheckpoint { leases: vec![(ID, 1000)], term: Term(1) });
    member.apply(1, Some(whole));
    assert_eq!(member.renew(1), Some(plainly(LIVES)));
    assert_eq!(member.0.state().lease(ID).unwrap().remaining, None);
    member.apply(2, Some(checkpoint)); // proposed again by who led before
    member.apply(3, None);
    assert_eq!(member.left(3), 1000, "a checkpoint of an older term shortens nothing");
}

#[test]
fn a_v2_lease_is_told_of_and_cannot_be_kept_alive_here() {
    let mut member = Member::new();
    let write = crate::command::V2Write { ttl: Some(30), ..crate::command::V2Write::default() };
    let op = crate::command::V2Op::Set(write);
    member.apply(1, Some(Command::V2(crate::command::V2Command { path: b"/k".to_vec(), op })));
    let id = member.0.state().leases().next().unwrap().id;
    let standing = LeaseStanding::Lives { granted: 30, left: 30 };
    assert_eq!(member.ask(1, LeaseQuestion::TimeToLive(id)), Some(plainly(standing)));
    assert_eq!(member.ask(1, LeaseQuestion::Renew(id)), Some(plainly(LeaseStanding::Gone)));
    assert_eq!(member.0.leases_by_end(), []);
}

#[test]
fn leases_are_counted() {
    let mut member = Member::new();
    let counted = |effects: Vec<Effect>| -> Vec<Counted> {
        let count = |effect| if let Effect::Count(counted) = effect { Some(counted) } else { None };
        effects.into_iter().filter_map(count).collect()
    };
    let granted = counted(member.apply(1, Some(grant(5))));
    assert_eq!(granted, [Counted::Lease(LeaseCounted::Granted(5))]);
    member.apply(1, Some(put_on_lease()));
    let end = propose(V3Op::LeaseExpire { leases: vec![ID, LeaseId(8)], term: Term(1) });
    assert_eq!(
        counted(member.apply(1, Some(end))),
        [
            Counted::Lease(LeaseCounted::Revoked),
            Counted::Expired(1),
            Counted::Lease(LeaseCounted::Expired(1)),
        ]
    );
}
