//! Messages that nobody sent: any type, any value, but mostly such as could be near the truth.

use bytes::Bytes;
use raft::{
    Raft, StateRole,
    eraftpb::{ConfState, Entry, EntryType, Message, MessageType},
};

use super::{member::Store, random::Random};

const HUGE: [u64; 4] = [(1 << 62) - 1, 1 << 62, u64::MAX - 1, u64::MAX];

fn kind(raft: &Raft<Store>, random: &mut Random) -> MessageType {
    use MessageType as T;
    match raft.state {
        StateRole::Candidate if random.percent(40) => return T::MsgRequestVoteResponse,
        StateRole::PreCandidate if random.percent(40) => return T::MsgRequestPreVoteResponse,
        StateRole::Leader if random.percent(50) => {
            return random.pick(&[
                T::MsgAppendResponse,
                T::MsgAppendResponse,
                T::MsgHeartbeatResponse,
                T::MsgReadIndex,
            ]);
        }
        _ => {}
    }
    match random.below(100) {
        0..26 => T::MsgAppend,
        26..40 => T::MsgAppendResponse,
        40..49 => T::MsgHeartbeat,
        49..55 => T::MsgHeartbeatResponse,
        55..61 => T::MsgRequestVote,
        61..72 => T::MsgRequestVoteResponse,
        72..76 => T::MsgRequestPreVote,
        76..83 => T::MsgRequestPreVoteResponse,
        83..89 => T::MsgSnapshot,
        89..91 => T::MsgTimeoutNow,
        91..93 => T::MsgReadIndex,
        93..95 => T::MsgReadIndexResp,
        95..97 => T::MsgTransferLeader,
        _ => random.pick(&[
            T::MsgHup,
            T::MsgBeat,
            T::MsgPropose,
            T::MsgUnreachable,
            T::MsgSnapStatus,
            T::MsgCheckQuorum,
        ]),
    }
}

/// Somewhere near one of the ends that matter.
fn index(raft: &Raft<Store>, random: &mut Random) -> u64 {
    let log = &raft.raft_log;
    match random.below(200) {
        0..90 => random.near(log.last_index()),
        90..130 => random.near(log.committed),
        130..150 => random.near(log.persisted),
        150..170 => random.near(log.applied),
        170..190 => random.near(log.first_index()),
        190..196 => 0,
        196..199 => random.below(12),
        _ => random.pick(&HUGE),
    }
}

fn term(raft: &Raft<Store>, calm: bool, random: &mut Random) -> u64 {
    if calm && random.percent(98) {
        return raft.term;
    }
    match random.below(400) {
        0..300 => raft.term,
        300..350 => raft.term + 1,
        350..370 => raft.term.saturating_sub(1),
        370..380 => random.near(raft.term),
        380..399 => 0,
        _ => random.pick(&HUGE),
    }
}

fn entries(raft: &Raft<Store>, message: &Message, random: &mut Random) -> Vec<Entry> {
    let mut last_term = message.log_term;
    let mut entries = Vec::new();
    for at in 0..random.below(5) {
        let mut index = message.index.wrapping_add(at + 1);
        let known = raft.raft_log.term(index).unwrap_or(0);
        let term = match random.below(20) {
            0..9 if known != 0 => known,
            0..17 => message.term,
            17 => last_term,
            18 => last_term.wrapping_add(random.below(2)),
            _ => random.below(4),
        };
        last_term = term;
        if random.percent(1) {
            index = random.near(index);
        }
        let mut entry = Entry { index, term, data: Bytes::from_static(b"data"), ..<_>::default() };
        match random.below(200) {
            0..10 => {
                entry.set_entry_type(EntryType::EntryConfChangeV2);
                let change = [random.below(4) as u8, random.below(5) as u8];
                entry.context = Bytes::copy_from_slice(&change);
            }
            10 => entry.set_entry_type(EntryType::EntryConfChangeV2),
            11 => entry.set_entry_type(EntryType::EntryConfChange),
            _ => {}
        }
        entries.push(entry);
    }
    entries
}

fn members(raft: &Raft<Store>, random: &mut Random) -> ConfState {
    let mut state = match random.below(10) {
        0..5 => raft.prs().conf().to_conf_state(),
        5..8 => ConfState::from((vec![1, 2, 3], vec![])),
        _ => ConfState::from((vec![2, 3], vec![1])),
    };
    match random.below(40) {
        0 => state.voters.clear(),
        1 => state.voters.push(random.below(5)),
        2 => state.learners.push(random.below(5)),
        3 => state.voters_outgoing = vec![random.below(5)],
        4 => state.learners_next = vec![random.below(5)],
        5 => state.auto_leave = true,
        6 => state.voters = vec![random.below(5)],
        _ => {}
    }
    state
}

/// In calm times most messages are of the member's own term, and it may lead for a while.
pub fn message(raft: &Raft<Store>, calm: bool, random: &mut Random) -> Message {
    use MessageType as T;
    let kind = kind(raft, random);
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.to = if random.percent(98) { raft.id } else { random.below(6) };
    message.from = match random.below(20) {
        0..10 if raft.leader_id != raft.id => raft.leader_id,
        0..18 => 2 + random.below(2),
        _ => random.below(6),
    };
    message.term = term(raft, calm, random);
    if kind == T::MsgReadIndex && random.percent(90) {
        message.term = 0;
    }
    if kind == T::MsgRequestPreVoteResponse && random.percent(60) {
        message.term = raft.term + 1;
    }
    message.index = index(raft, random);
    message.log_term = match random.below(20) {
        0..15 => raft.raft_log.term(message.index).unwrap_or(0),
        15..18 => message.term,
        _ => random.below(4),
    };
    if random.percent(70) {
        message.commit = index(raft, random);
        if matches!(kind, T::MsgRequestVote | T::MsgRequestVoteResponse) {
            message.commit_term = raft.raft_log.term(message.commit).unwrap_or(0);
        }
    }
    message.reject = random.percent(30);
    if random.percent(50) {
        message.reject_hint = index(raft, random);
    }
    if kind == T::MsgAppendResponse && message.reject && random.percent(10) {
        message.request_snapshot = index(raft, random);
    }
    match kind {
        T::MsgAppend => message.entries = entries(raft, &message, random).into(),
        T::MsgReadIndex | T::MsgReadIndexResp => {
            let count = if random.percent(95) { 1 } else { random.below(3) };
            let data = || Bytes::from(vec![7; 8]);
            let entry = |_| Entry { data: data(), ..Entry::default() };
            message.entries = (0..count).map(entry).collect::<Vec<_>>().into();
        }
        T::MsgSnapshot => {
            let at = index(raft, random);
            let metadata = message.mut_snapshot().mut_metadata();
            metadata.index = at;
            let known = raft.raft_log.term(at).unwrap_or(0);
            let own = if known != 0 && random.percent(50) { known } else { raft.term };
            metadata.term = if random.percent(95) { own } else { random.below(4) };
            metadata.set_conf_state(members(raft, random));
        }
        T::MsgRequestVote | T::MsgRequestPreVote if random.percent(20) => {
            message.context = Bytes::from_static(b"CampaignTransfer");
        }
        T::MsgHeartbeatResponse if random.percent(50) => {
            let waiting = raft.read_only.last_pending_request_ctx();
            message.context = waiting.unwrap_or_default().into();
        }
        _ => {}
    }
    if random.below(500) == 0 {
        message.priority = -1;
    }
    if random.below(500) == 0 {
        message.entries.push(Entry::default());
    }
    message
}
