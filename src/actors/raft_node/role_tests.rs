//! The role by hand: given this input, expect that effect.

use bytes::Bytes;
use raft::Storage;

use super::*;
use crate::{
    command::{Command, MemberChange, Proposal, ProposalId},
    storage::mvcc::Member,
    types::UnixNanos,
};

fn members(ids: &[u64]) -> Arc<Membership> {
    let member = |&id: &u64| Member {
        id: MemberId(id),
        name: String::new(),
        peer_urls: Vec::new(),
        client_urls: Vec::new(),
        learner: false,
    };
    Arc::new(Membership::new(ids.iter().map(member).collect()))
}

/// A proposal that carries `text`.
fn encoded(id: u64, text: &[u8]) -> Bytes {
    let name = String::from_utf8(text.to_vec()).unwrap();
    let command = Command::PublishMember { id: MemberId(7), name, client_urls: Vec::new() };
    let (id, member, time) = (ProposalId(id), MemberId(7), UnixNanos(0));
    rmp_serde::to_vec(&Proposal { id, member, time, command }).unwrap().into()
}

/// What it carries.
fn text_of(data: &[u8]) -> Vec<u8> {
    match rmp_serde::from_slice::<Proposal>(data).map(|proposal| proposal.command) {
        Ok(Command::PublishMember { name, .. }) => name.into_bytes(),
        _ => data.to_vec(),
    }
}

fn boot() -> Boot {
    Boot {
        id: MemberId(7),
        election_ticks: 10,
        pre_vote: true,
        promote_learners: false,
        proposal_ticks: 70,
        uncommitted_bytes_max: 1 << 20,
        catch_up_entries: 100,
        seed: 1,
        applied: Index(0),
        before: (Index(0), Term(0)),
        hard_state: HardState::default(),
        membership: members(&[7]),
        entries: Vec::new(),
    }
}

fn start(boot: Boot) -> Role {
    Role::new(boot, &slog::Logger::root(slog::Discard, slog::o!())).unwrap()
}

/// Ends turns and plays a perfect disk and store until nothing happens any more.
fn settle(role: &mut Role) -> Vec<Effect> {
    let mut all = Vec::new();
    loop {
        let effects = role.end_turn(true);
        if effects.is_empty() {
            return all;
        }
        for effect in &effects {
            match effect {
                Effect::Append { number, .. } => role.handle(Input::Persisted { number: *number }),
                Effect::Apply(entries) => {
                    let index = Index(entries.last().unwrap().index);
                    role.handle(Input::Applied { index });
                }
                _ => {}
            }
        }
        all.extend(effects);
    }
}

fn propose(role: &mut Role, id: u64, data: &[u8]) {
    let (id, data) = (ProposalId(id), encoded(id, data));
    role.handle(Input::Propose { id, data, members: false });
}

fn applied_data(effects: &[Effect]) -> Vec<Vec<u8>> {
    let entries = effects.iter().filter_map(|effect| match effect {
        Effect::Apply(entries) => Some(entries),
        _ => None,
    });
    entries.flatten().filter(|e| !e.data.is_empty()).map(|e| text_of(&e.data)).collect()
}

#[test]
fn an_only_voter_leads_at_once() {
    let mut role = start(boot());
    settle(&mut role);
    assert_eq!(role.leader(), Some(MemberId(7)));
    assert_eq!(role.term(), Term(1));
    assert_eq!(role.commit(), Index(1), "its first, empty entry");
}

#[test]
fn proposals_of_one_turn_share_one_batch() {
    let mut role = start(boot());
    settle(&mut role);
    for id in 1..=5 {
        propose(&mut role, id, &[id as u8]);
    }
    let effects = role.end_turn(true);
    let [Effect::Append { entries, must_sync: true, .. }] = &effects[..] else {
        panic!("expected one batch, got {effects:?}");
    };
    assert_eq!(entries.len(), 5);
}

#[test]
fn nothing_is_applied_before_it_is_persisted() {
    let mut role = start(boot());
    settle(&mut role);
    propose(&mut role, 1, b"a");
    let effects = role.end_turn(true);
    let Some(Effect::Append { number, .. }) = effects.last() else { panic!("{effects:?}") };
    for _ in 0..50 {
        role.handle(Input::Tick);
        assert_eq!(applied_data(&role.end_turn(true)), Vec::<Vec<u8>>::new());
    }
    role.handle(Input::Persisted { number: *number });
    assert_eq!(applied_data(&role.end_turn(true)), [b"a"]);
}

#[test]
fn turns_go_on_while_the_disk_is_busy() {
    let mut role = start(boot());
    settle(&mut role);
    let mut numbers = Vec::new();
    for id in 1..=3 {
        propose(&mut role, id, &[id as u8]);
        for effect in role.end_turn(true) {
            if let Effect::Append { number, .. } = effect {
                numbers.push(number);
            }
        }
    }
    assert_eq!(numbers.len(), 3, "three batches are under way");
    role.handle(Input::Persisted { number: numbers[2] }); // implies all before
    assert_eq!(applied_data(&role.end_turn(true)), [[1], [2], [3]]);
}

#[test]
fn a_turn_without_room_in_the_wal_loses_nothing() {
    let mut role = start(boot());
    settle(&mut role);
    propose(&mut role, 1, b"a");
    assert_eq!(role.end_turn(false), []);
    propose(&mut role, 2, b"b");
    assert_eq!(applied_data(&settle(&mut role)), [b"a", b"b"]);
}

#[test]
fn too_much_uncommitted_is_refused() {
    let mut role = start(boot());
    settle(&mut role);
    propose(&mut role, 1, &vec![0; 600 << 10]);
    propose(&mut role, 2, &vec![0; 600 << 10]); // together more than uncommitted_bytes_max
    let effects = role.end_turn(true);
    assert_eq!(effects[0], Effect::Refuse(ProposalId(2), ProposeError::TooManyRequests));
    let Some(Effect::Append { number, .. }) = effects.last() else { panic!("{effects:?}") };
    role.handle(Input::Persisted { number: *number });
    settle(&mut role);
    propose(&mut role, 3, &vec![0; 600 << 10]);
    assert!(!role.end_turn(true).iter().any(|e| matches!(e, Effect::Refuse(..))));
}

#[test]
fn without_a_leader_proposals_and_reads_fail_in_time() {
    let membership = members(&[7, 8, 9]);
    let mut role = start(Boot { membership, ..boot() });
    propose(&mut role, 1, b"a");
    role.handle(Input::Read { id: ReadId(1) });
    let mut failed = Vec::new();
    for tick in 0..140 {
        let told = role.end_turn(true).into_iter();
        failed.extend(told.filter(|e| !matches!(e, Effect::Send(_))).map(|e| (tick, e)));
        role.handle(Input::Tick);
    }
    let refused = Effect::Refuse(ProposalId(1), ProposeError::NoLeader);
    let read = Effect::ReadFailed(vec![ReadId(1)], ReadError::NoLeader);
    assert_eq!(failed, [(70, refused), (70, read)]);
}

#[test]
fn reads_of_one_turn_share_a_round_and_wait_to_be_applied() {
    let mut role = start(boot());
    settle(&mut role);
    propose(&mut role, 1, b"a");
    let effects = role.end_turn(true);
    let Some(Effect::Append { number, .. }) = effects.last() else { panic!("{effects:?}") };
    role.handle(Input::Persisted { number: *number }); // committed, not applied
    role.handle(Input::Read { id: ReadId(1) });
    role.handle(Input::Read { id: ReadId(2) });
    let mut effects = role.end_turn(true);
    effects.extend(role.end_turn(true));
    assert!(!effects.iter().any(|e| matches!(e, Effect::ReadReady(..))), "{effects:?}");
    role.handle(Input::Applied { index: Index(2) });
    let ready = Effect::ReadReady(vec![ReadId(1), ReadId(2)], Index(2));
    assert_eq!(role.end_turn(true)[0], ready);
}

#[test]
fn reads_before_the_first_entry_of_the_term_wait_for_it() {
    let mut role = start(boot());
    role.handle(Input::Read { id: ReadId(1) });
    let effects = settle(&mut role);
    assert!(effects.contains(&Effect::ReadReady(vec![ReadId(1)], Index(1))), "{effects:?}");
}

#[test]
fn the_log_in_memory_is_let_go_when_nobody_needs_it() {
    let mut role = start(boot());
    for id in 1..=1000 {
        propose(&mut role, id, &[0; 100]);
        settle(&mut role);
    }
    assert_eq!(role.log_bytes(), 0);
    assert_eq!(role.node.store().first_index().unwrap(), 1002);
}

#[test]
fn a_restart_applies_what_the_log_holds() {
    let entries: Vec<_> = (11..=13)
        .map(|index| Entry { index, term: 2, data: vec![index as u8].into(), ..Entry::default() })
        .collect();
    let hard_state = HardState { term: 2, vote: 7, commit: 12, ..HardState::default() };
    let (applied, before) = (Index(10), (Index(10), Term(2)));
    let mut role = start(Boot { applied, before, hard_state, entries, ..boot() });
    assert_eq!(applied_data(&settle(&mut role)), [[11], [12], [13]]);
    assert_eq!(role.term(), Term(3));
}

#[test]
fn the_same_inputs_give_the_same_effects() {
    let membership = members(&[7, 8, 9]);
    let run = |seed| {
        let mut role = start(Boot { seed, membership: Arc::clone(&membership), ..boot() });
        let mut all = Vec::new();
        for _ in 0..200 {
            role.handle(Input::Tick);
            all.push(format!("{:?}", role.end_turn(true)));
        }
        all
    };
    assert_eq!(run(1), run(1));
    assert!((2..20).any(|seed| run(seed) != run(1)), "the seed decides when it campaigns");
}

#[test]
fn each_read_has_its_own_time_to_fail() {
    let membership = members(&[7, 8, 9]);
    let mut role = start(Boot { membership, ..boot() });
    role.handle(Input::Read { id: ReadId(1) });
    let mut failed = Vec::new();
    for tick in 1..=90 {
        if tick == 15 {
            role.handle(Input::Read { id: ReadId(2) });
        }
        role.handle(Input::Tick);
        for effect in role.end_turn(true) {
            if let Effect::ReadFailed(ids, _) = effect {
                failed.push((tick, ids));
            }
        }
    }
    assert_eq!(failed, [(70, vec![ReadId(1)]), (84, vec![ReadId(2)])]);
}

fn add_learner() -> MemberChange {
    let (id, peer_urls) = (MemberId(8), vec!["http://b:1".to_owned()]);
    MemberChange::Add { id, peer_urls, learner: true, learners_max: None }
}

fn message(kind: MessageType, term: u64, index: u64) -> Message {
    let mut message = Message { from: 8, to: 7, term, index, ..Message::default() };
    message.set_msg_type(kind);
    message
}

fn sent(effects: &[Effect]) -> Vec<Message> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(messages) => Some(messages.clone()),
        _ => None,
    });
    sent.flatten().collect()
}

/// Should the vote be lost with a crash, this member would lead in the same term again.
#[test]
fn a_sole_voter_tells_learners_nothing_before_its_vote_is_on_disk() {
    let mut membership = Membership::clone(&members(&[7]));
    membership.apply(&add_learner()).unwrap();
    let mut role = start(Boot { membership: Arc::new(membership), ..boot() });
    let effects = role.end_turn(true);
    assert!(role.leads() && sent(&effects).is_empty(), "{effects:?}");
    let Some(Effect::Append { number, hard_state: Some(_), .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    role.handle(Input::Persisted { number: *number });
    let appends = sent(&role.end_turn(true));
    assert!(appends.iter().any(|m| m.get_msg_type() == MessageType::MsgAppend), "{appends:?}");
}

/// The crate's way of joining messages put entry 5 behind an empty append after entry 5; the follower
/// then acknowledged entry 6, which nobody had written.
#[test]
fn entries_follow_the_index_of_their_message() {
    let mut role = start(Boot { membership: members(&[7, 8]), ..boot() });
    elect(&mut role);
    for id in 1..=4 {
        propose(&mut role, id, b"a");
    }
    settle(&mut role);
    let term = role.term().0;
    role.handle(Input::Step(message(MessageType::MsgAppendResponse, term, 1)));
    settle(&mut role);
    assert_eq!(role.last_index(), Index(5));
    role.handle(Input::Step(message(MessageType::MsgAppendResponse, term, 4)));
    let mut reject = message(MessageType::MsgAppendResponse, term, 5);
    (reject.reject, reject.reject_hint, reject.log_term) = (true, 4, term);
    role.handle(Input::Step(reject));
    let appends = sent(&settle(&mut role));
    assert!(appends.iter().any(|message| !message.entries.is_empty()), "{appends:?}");
    for message in appends {
        let first = message.entries.first().map_or(message.index + 1, |entry| entry.index);
        assert_eq!(first, message.index + 1, "{message:?}");
    }
}

/// The crate forgets who answered lately once in an election timeout. A leader that looks only then would
/// never promote, and one that is stopped just then would hand its lead to nobody.
#[test]
fn who_answered_lately_is_looked_at_in_every_phase() {
    let mut membership = Membership::clone(&members(&[7]));
    membership.apply(&add_learner()).unwrap();
    let membership = Arc::new(membership);
    let mut role = start(Boot { membership, promote_learners: true, ..boot() });
    settle(&mut role);
    let mut promoted = 0;
    for _ in 0..60 {
        role.handle(Input::Tick);
        promoted += settle(&mut role).iter().filter(|e| matches!(e, Effect::Promote(_))).count();
        for kind in [MessageType::MsgAppendResponse, MessageType::MsgHeartbeatResponse] {
            let (term, index) = (role.term().0, role.last_index().0);
            let mut answer = Message { from: 8, to: 7, term, index, ..Message::default() };
            answer.set_msg_type(kind);
            role.handle(Input::Step(answer));
            settle(&mut role);
        }
    }
    assert!((3..=7).contains(&promoted), "asked {promoted} times in six election timeouts");
}

/// What member 8 asks the role (7), which is to become its leader, until it leads.
fn elect(role: &mut Role) {
    while !role.leads() {
        role.handle(Input::Tick);
        for asked in sent(&settle(role)) {
            let kind = match asked.get_msg_type() {
                MessageType::MsgRequestPreVote => MessageType::MsgRequestPreVoteResponse,
                MessageType::MsgRequestVote => MessageType::MsgRequestVoteResponse,
                _ => continue,
            };
            role.handle(Input::Step(message(kind, asked.term, 0)));
        }
    }
    settle(role);
}

/// The log reaches back behind what is applied, so a peer that lags a little needs no snapshot.
#[test]
fn after_a_restart_a_laggard_is_brought_up_by_entries() {
    let entries: Vec<_> = (6..=12)
        .map(|index| Entry { index, term: 2, data: vec![index as u8].into(), ..Entry::default() })
        .collect();
    for (peer_has, comes) in [(12, vec![13]), (8, vec![9, 10, 11, 12, 13]), (4, vec![])] {
        let hard_state = HardState { term: 2, vote: 7, commit: 10, ..HardState::default() };
        let (applied, before) = (Index(10), (Index(5), Term(2)));
        let (membership, entries) = (members(&[7, 8]), entries.clone());
        let boot = Boot { applied, before, hard_state, membership, entries, ..boot() };
        let mut role = start(boot);
        elect(&mut role);
        let term = role.term().0;
        let mut reject = message(MessageType::MsgAppendResponse, term, 12);
        (reject.reject, reject.reject_hint, reject.log_term) = (true, peer_has, 2);
        if peer_has == 12 {
            reject = message(MessageType::MsgAppendResponse, term, 12);
        }
        role.handle(Input::Step(reject));
        let effects = settle(&mut role);
        let sent = sent(&effects);
        let indexes: Vec<u64> =
            sent.iter().flat_map(|m| m.entries.iter().map(|e| e.index)).collect();
        assert_eq!(indexes, comes, "the peer has {peer_has}: {sent:?}");
        let wanted = effects.iter().any(|effect| matches!(effect, Effect::WantSnapshot(_)));
        assert_eq!(wanted, comes.is_empty(), "the peer has {peer_has}: {effects:?}");
        let applied = applied_data(&effects);
        assert!(applied.iter().all(|data| data[0] > 10), "{applied:?} was applied before");
    }
}

/// Else a member that starts again without a quorum would not show the last writes.
#[test]
fn a_commit_index_is_written_when_nothing_follows() {
    let mut role = start(Boot { membership: members(&[7, 8]), ..boot() });
    elect(&mut role);
    let term = role.term().0;
    let mut written = Vec::new();
    for round in 1..=3 {
        propose(&mut role, round, b"a");
        settle(&mut role);
        let (last, before) = (role.last_index(), role.commit());
        role.handle(Input::Step(message(MessageType::MsgAppendResponse, term, last.0)));
        settle(&mut role);
        assert!(role.commit() == last && last > before);
        for tick in 1..=5 {
            role.handle(Input::Step(message(MessageType::MsgHeartbeatResponse, term, 0)));
            role.handle(Input::Tick);
            for effect in settle(&mut role) {
                if let Effect::Append { entries, hard_state, must_sync, .. } = effect {
                    let commit = hard_state.unwrap().commit;
                    assert!(entries.is_empty() && !must_sync && commit == last.0);
                    written.push((round, tick));
                }
            }
        }
    }
    assert_eq!(written, [(1, 2), (2, 2), (3, 2)], "once for each time, and not at once");
    // Under load it goes with the entries.
    for round in 4..=20 {
        propose(&mut role, round, b"a");
        for effect in settle(&mut role) {
            assert!(!matches!(effect, Effect::Append { entries, .. } if entries.is_empty()));
        }
        let last = role.last_index();
        role.handle(Input::Step(message(MessageType::MsgAppendResponse, term, last.0)));
        role.handle(Input::Tick);
        settle(&mut role);
    }
    // A stop waits for nothing.
    role.flush();
    let effects = role.end_turn(true);
    assert!(matches!(effects[..], [Effect::Append { must_sync: false, .. }]), "{effects:?}");
}
