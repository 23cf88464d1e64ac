//! Proposals and forwards by hand.

use super::*;
use crate::{
    command::{Command, Proposal},
    types::UnixNanos,
};

const ME: MemberId = MemberId(7);
const NONE: [u64; 0] = [];

fn encoded(id: u64, member: MemberId) -> Bytes {
    let command = Command::Expire { leases: Vec::new() };
    let proposal = Proposal { id: ProposalId(id), member, time: UnixNanos(0), command };
    rmp_serde::to_vec(&proposal).unwrap().into()
}

fn with(ids: impl IntoIterator<Item = u64>) -> Proposals {
    let mut proposals = Proposals::default();
    for id in ids {
        assert!(proposals.add(ProposalId(id), encoded(id, ME), false, id, 1 << 20));
    }
    proposals
}

fn ids(forward: Option<Forward>) -> Vec<u64> {
    let forward = forward.map(|forward| forward.proposals).unwrap_or_default();
    forward.iter().map(|proposal| proposal.id.0).collect()
}

#[test]
fn what_waits_is_forwarded_once_and_again_after_a_while() {
    let mut proposals = with([1, 2]);
    assert_eq!(ids(proposals.forward(Term(3), 10, 1 << 20)), [1, 2]);
    assert_eq!(ids(proposals.forward(Term(3), 10, 1 << 20)), NONE);
    proposals.resend(Term(3), 14, 5);
    assert_eq!(ids(proposals.forward(Term(3), 14, 1 << 20)), NONE, "not yet");
    proposals.committed(Term(3), Some(ProposalId(1)));
    proposals.resend(Term(3), 15, 5);
    assert_eq!(ids(proposals.forward(Term(3), 15, 1 << 20)), [2], "the first is settled");
    proposals.resend(Term(4), 30, 5);
    assert_eq!(
        ids(proposals.forward(Term(4), 30, 1 << 20)),
        NONE,
        "nobody knows yet what became of it"
    );
}

/// It may be in the log of the new leader, who may be this member, and be committed with that.
#[test]
fn what_was_to_be_sent_again_in_an_earlier_term_waits_for_its_fate() {
    let mut proposals = with([1]);
    assert_eq!(ids(proposals.forward(Term(3), 10, 1 << 20)), [1]);
    proposals.resend(Term(3), 20, 5); // and no leader is known
    assert!(proposals.take_waiting(Term(4)).is_empty());
    proposals.resend(Term(3), 30, 5);
    assert_eq!(ids(proposals.forward(Term(4), 30, 1 << 20)), NONE);
    proposals.committed(Term(4), None); // it was not in that log
    assert_eq!(ids(proposals.forward(Term(4), 31, 1 << 20)), [1]);
}

#[test]
fn a_forward_is_bounded_but_never_empty() {
    let mut proposals = with([1, 2, 3]);
    let two = 2 * encoded(1, ME).len();
    assert_eq!(ids(proposals.forward(Term(3), 10, two)), [1, 2]);
    assert_eq!(ids(proposals.forward(Term(3), 10, 0)), [3]);
}

#[test]
fn what_a_later_term_did_not_commit_is_proposed_anew() {
    let mut proposals = with([1, 2, 3]);
    proposals.forward(Term(3), 10, 1 << 20);
    proposals.committed(Term(3), Some(ProposalId(1)));
    proposals.committed(Term(4), Some(ProposalId(2))); // of term 3, committed before the rest is judged
    assert_eq!(ids(proposals.forward(Term(4), 11, 1 << 20)), [3]);
    proposals.committed(Term(4), Some(ProposalId(3)));
    assert!(proposals.is_empty());
}

#[test]
fn given_up_in_order_and_told_apart() {
    let mut proposals = with([1, 2]);
    proposals.sent(ProposalId(1), Term(3), 5);
    assert_eq!(proposals.give_up(10, 10), Vec::new());
    let unknown = GivenUp::Unknown(ProposalId(1));
    assert_eq!(proposals.give_up(11, 10), [unknown]);
    assert_eq!(proposals.give_up(12, 10), [GivenUp::NeverProposed(ProposalId(2))]);
    assert_eq!(ids(proposals.forward(Term(3), 13, 1 << 20)), NONE, "nothing waits any more");
}

#[test]
fn a_refusal_counts_in_its_term_only() {
    let mut proposals = with([1, 2]);
    proposals.forward(Term(3), 10, 1 << 20);
    let refusal = |term| Refusal { term: Term(term), ids: vec![ProposalId(1), ProposalId(9)] };
    let mut refused = |term| -> Vec<ProposalId> {
        proposals.refused(&refusal(term)).into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(refused(2), []);
    assert_eq!(refused(3), [ProposalId(1)]);
}

#[test]
fn too_many_bytes_are_refused_but_never_the_only_one() {
    let mut proposals = Proposals::default();
    let large = Bytes::from(vec![0; 100]);
    assert!(proposals.add(ProposalId(1), large.clone(), false, 0, 50));
    assert!(!proposals.add(ProposalId(2), large.clone(), false, 0, 50));
    proposals.settle(ProposalId(1));
    assert!(proposals.add(ProposalId(3), large, false, 0, 50));
}

#[test]
fn a_leader_takes_each_proposal_once_in_its_term() {
    let mut forwarded = Forwarded::default();
    let forward = |term, oldest, ids: &[u64]| Forward {
        term: Term(term),
        oldest: ProposalId(oldest),
        proposals: ids
            .iter()
            .map(|&id| ForwardedProposal {
                id: ProposalId(id),
                members: false,
                data: encoded(id, ME),
            })
            .collect(),
    };
    let mut take = |from, forward| -> Vec<u64> {
        let taken = forwarded.take(MemberId(from), forward, Term(3));
        taken.iter().map(|proposal| proposal.id.0).collect()
    };
    assert_eq!(take(7, forward(2, 1, &[1])), NONE, "of another term");
    assert_eq!(take(7, forward(3, 1, &[1, 2])), [1, 2]);
    assert_eq!(take(7, forward(3, 1, &[1, 2, 3])), [3]);
    assert_eq!(take(7, forward(3, 3, &[4])), [4]);
    assert_eq!(take(7, forward(3, 1, &[1, 2])), NONE, "settled: an old forward came late");
    assert_eq!(take(8, forward(3, 1, &[5])), NONE, "it is not that member's");
    let other_start = ProposalId::first_of(1).0;
    assert_eq!(take(7, forward(3, other_start, &[other_start])), [other_start]);
    assert_eq!(take(7, forward(3, 1, &[2])), NONE, "the earlier start is not forgotten");
}

#[test]
fn what_no_member_could_apply_does_not_enter_the_log() {
    let whole = encoded(1, ME);
    let cut = whole.slice(..whole.len() - 1);
    let unknown = Bytes::from(rmp_serde::to_vec(&(1u64, ME, UnixNanos(0), "Unheard")).unwrap());
    for (data, members, expected) in [
        (whole.clone(), false, 1),
        (cut, false, 0),
        (unknown, false, 0),
        (whole.clone(), true, 0), // not what the entry would say that it is
        (encoded(2, ME), false, 0),
        (encoded(1, MemberId(8)), false, 0),
        (Bytes::new(), false, 0),
    ] {
        let proposal = ForwardedProposal { id: ProposalId(1), members, data: data.clone() };
        let forward = Forward { term: Term(3), oldest: ProposalId(1), proposals: vec![proposal] };
        let taken = Forwarded::default().take(ME, forward, Term(3));
        assert_eq!(taken.len(), expected, "{data:?}");
    }
}
