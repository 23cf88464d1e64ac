//! One row for each rule on the form of a message; `tests/wire_check` tries the rules on a member's state.

use raft::eraftpb::{ConfState, Entry};

use super::*;

fn message(kind: MessageType) -> Message {
    let mut message = Message { from: 1, to: 2, term: 5, ..Message::default() };
    message.set_msg_type(kind);
    match kind {
        MessageType::MsgAppend => {
            (message.index, message.log_term, message.commit) = (7, 3, 9);
            message.entries = vec![entry(8, 3), entry(9, 5)].into();
        }
        MessageType::MsgSnapshot => {
            let metadata = message.mut_snapshot().mut_metadata();
            (metadata.index, metadata.term) = (9, 5);
            metadata.set_conf_state(ConfState::from((vec![1, 2], vec![3])));
        }
        MessageType::MsgReadIndex => {
            message.term = 0;
            message.entries = vec![named(8)].into();
        }
        MessageType::MsgReadIndexResp => message.entries = vec![named(8)].into(),
        _ => {}
    }
    message
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, ..Entry::default() }
}

fn named(len: usize) -> Entry {
    Entry { data: vec![1; len].into(), ..Entry::default() }
}

#[test]
fn each_type_that_goes_between_peers_passes_and_no_other() {
    use MessageType as T;
    for kind in [
        T::MsgAppend,
        T::MsgAppendResponse,
        T::MsgRequestVote,
        T::MsgRequestVoteResponse,
        T::MsgSnapshot,
        T::MsgHeartbeat,
        T::MsgHeartbeatResponse,
        T::MsgTransferLeader,
        T::MsgTimeoutNow,
        T::MsgReadIndex,
        T::MsgReadIndexResp,
        T::MsgRequestPreVote,
        T::MsgRequestPreVoteResponse,
    ] {
        assert_eq!(form(&message(kind)), Ok(()), "{kind:?}");
    }
    for kind in [
        T::MsgHup,
        T::MsgBeat,
        T::MsgPropose,
        T::MsgUnreachable,
        T::MsgSnapStatus,
        T::MsgCheckQuorum,
    ] {
        assert_eq!(form(&message(kind)), Err(CheckError::Type(kind as u8)));
    }
}

#[test]
fn each_rule_refuses_what_breaks_it() {
    use CheckError as E;
    use MessageType as T;
    type Spoil = fn(&mut Message);
    let state = |m: &mut Message, state: ConfState| {
        m.mut_snapshot().mut_metadata().set_conf_state(state);
    };
    let table: [(T, Spoil, E); 27] = [
        (T::MsgHeartbeat, |m| m.from = 0, E::Ends { from: 0, to: 2 }),
        (T::MsgHeartbeat, |m| m.to = 1, E::Ends { from: 1, to: 1 }),
        (T::MsgHeartbeat, |m| m.term = 0, E::Term(0)),
        (T::MsgReadIndex, |m| m.term = 5, E::Term(5)),
        (
            T::MsgHeartbeat,
            |m| m.commit = NUMBER_END,
            E::Number { what: "commit", number: NUMBER_END },
        ),
        (T::MsgRequestVote, |m| m.log_term = 6, E::Future { what: "log term", found: 6, term: 5 }),
        (T::MsgHeartbeat, |m| m.context = vec![0; 257].into(), E::Context(257)),
        (T::MsgRequestVote, |m| m.priority = -1, E::Priority(-1)),
        (T::MsgAppendResponse, |m| m.request_snapshot = 4, E::RequestSnapshot),
        (T::MsgHeartbeat, |m| _ = m.mut_snapshot(), E::Snapshot),
        (T::MsgSnapshot, Message::clear_snapshot, E::Snapshot),
        (T::MsgSnapshot, |m| m.mut_snapshot().data = vec![1].into(), E::Snapshot),
        (T::MsgHeartbeat, |m| m.entries.push(entry(1, 1)), E::Entries(1)),
        (T::MsgReadIndex, |m| m.entries.clear(), E::Entries(0)),
        (T::MsgReadIndex, |m| m.entries = vec![named(0)].into(), E::Context(0)),
        (T::MsgAppend, |m| m.log_term = 0, E::Previous { index: 7, term: 0 }),
        (T::MsgAppend, |m| m.index = 0, E::Previous { index: 0, term: 3 }),
        (T::MsgAppend, |m| m.entries[0].index = 9, E::Gap { index: 9, term: 3 }),
        (T::MsgAppend, |m| m.entries[0].term = 2, E::Gap { index: 8, term: 2 }),
        (T::MsgAppend, |m| m.entries[1].term = 6, E::Gap { index: 9, term: 6 }),
        (
            T::MsgAppend,
            |m| m.entries[0].set_entry_type(EntryType::EntryConfChange),
            E::ConfChange { index: 8 },
        ),
        (
            T::MsgAppend,
            |m| m.entries[1].set_entry_type(EntryType::EntryConfChangeV2),
            E::ConfChange { index: 9 },
        ),
        (
            T::MsgSnapshot,
            |m| m.mut_snapshot().mut_metadata().term = 0,
            E::Previous { index: 9, term: 0 },
        ),
        (
            T::MsgSnapshot,
            |m| m.mut_snapshot().mut_metadata().term = 6,
            E::Future { what: "snapshot term", found: 6, term: 5 },
        ),
        (
            T::MsgAppendResponse,
            |m| m.reject_hint = u64::MAX,
            E::Number { what: "reject hint", number: u64::MAX },
        ),
        (
            T::MsgRequestVoteResponse,
            |m| m.commit_term = 6,
            E::Future { what: "commit term", found: 6, term: 5 },
        ),
        (T::MsgReadIndexResp, |m| m.entries.push(named(1)), E::Entries(2)),
    ];
    for (kind, spoil, error) in table {
        let mut spoilt = message(kind);
        spoil(&mut spoilt);
        assert_eq!(form(&spoilt), Err(error), "{kind:?}");
    }
    for (members, why) in [
        (ConfState::from((vec![], vec![1])), "no voters"),
        (ConfState::from((vec![1, 0], vec![])), "one without an id"),
        (ConfState::from((vec![1, 1], vec![])), "one that is named twice"),
        (ConfState::from((vec![1, 2], vec![2])), "one that is named twice"),
        (
            ConfState { auto_leave: true, voters: vec![1], ..<_>::default() },
            "a joint configuration",
        ),
        (
            ConfState { voters: vec![1], voters_outgoing: vec![2], ..<_>::default() },
            "a joint configuration",
        ),
        (ConfState::from(((1..=1001).collect::<Vec<_>>(), vec![])), "too many"),
    ] {
        let mut spoilt = message(T::MsgSnapshot);
        state(&mut spoilt, members);
        assert_eq!(form(&spoilt), Err(E::Members(why)));
    }
}
