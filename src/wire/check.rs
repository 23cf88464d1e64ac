//! Stands between a peer's message and the `raft` crate, which panics on what no sound member sends.
//!
//! [`form`] says what can be said of a message alone, [`against`] what depends on this member's state at
//! the moment before the message is stepped. Each rule names what the crate would do without it. What
//! comes through cannot stop this member, now or when its next Ready is taken; it can still be a lie, as
//! Raft trusts its members.
//!
//! The caller keeps three rules itself. It drives the crate with asynchronous Readies, and takes no Ready
//! between the check and the step. While a snapshot is being installed ([`is_installing`]) it does not
//! tick: an election would read entries that the snapshot replaced. And while a sole voter has entries
//! that are not on disk it does not tick either, unless it leads: it would win before they are there.

use raft::{
    Raft, RaftLog, StateRole, Storage,
    eraftpb::{EntryType, Message, MessageType, SnapshotMetadata},
};

use super::message::MEMBERS_MAX;

/// Terms and indices stay below this: the crate adds to them without looking.
pub const NUMBER_END: u64 = 1 << 62;
/// The longest context: of a read, of a heartbeat that confirms reads, of a vote.
pub const CONTEXT_BYTES_MAX: usize = 256;
/// Reads that may wait for a leader's heartbeats.
pub const READS_MAX: usize = 4096;

/// What no member of this version sends: the stream is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A type that members keep to themselves. The crate would take it for its own.
    #[error("message type {0} does not go from peer to peer")]
    Type(u8),
    /// 0, or the same member on both ends.
    #[error("message from {from:x} to {to:x}")]
    Ends {
        /// The sender.
        from: u64,
        /// The receiver.
        to: u64,
    },
    /// A term where there must be none, or none where there must be one.
    #[error("term {0} in a message of this type")]
    Term(u64),
    /// A term or an index that is too high to count on.
    #[error("{what} {number} is too high")]
    Number {
        /// Of what.
        what: &'static str,
        /// It.
        number: u64,
    },
    /// A term of the past that lies after the message's.
    #[error("{what} {found} lies after the message's term {term}")]
    Future {
        /// Of what.
        what: &'static str,
        /// It.
        found: u64,
        /// The message's.
        term: u64,
    },
    /// More or fewer entries than a message of this type has.
    #[error("{0} entries in a message of this type")]
    Entries(usize),
    /// Entries that do not follow each other, or what is before them.
    #[error("entry ({index}, {term}) does not follow what is before it")]
    Gap {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// A change of the membership in the crate's old form, or without a proposal.
    #[error("entry {index} is a change of the membership without a proposal")]
    ConfChange {
        /// Its index.
        index: u64,
    },
    /// Index and term of the entry before: one is zero and the other is not.
    #[error("entry {index} of term {term} cannot be")]
    Previous {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// A context that is too long.
    #[error("context of {0} bytes")]
    Context(usize),
    /// Members have no priorities.
    #[error("priority {0}")]
    Priority(i64),
    /// A snapshot where there must be none, or none where there must be one.
    #[error("snapshot out of place")]
    Snapshot,
    /// A snapshot whose members cannot be.
    #[error("snapshot with impossible members: {0}")]
    Members(&'static str),
    /// A snapshot is asked for by something that is not a refusal.
    #[error("a snapshot is asked for out of place")]
    RequestSnapshot,
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Step it.
    Pass,
    /// Forget it. Raft sends again what matters.
    Drop(DropReason),
    /// The leader knows that this member had everything up to `commit`, and it is not there: entries that
    /// were acknowledged are lost. Not to be stepped as it is. With its commit lowered to the last index it
    /// may be, and then the member asks for a snapshot.
    LostTail {
        /// Ends above this member's log.
        commit: u64,
    },
}

/// Why a message is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DropReason {
    /// Meant for another.
    #[error("meant for another member")]
    NotAddressed,
    /// From a member that this one does not know, and must.
    #[error("from an unknown member")]
    UnknownPeer,
    /// This member is not the leader that is asked.
    #[error("this member does not lead")]
    NotLeader,
    /// Only the leader may say this.
    #[error("not from the leader")]
    NotFromLeader,
    /// It contradicts what is committed here.
    #[error("contradicts a committed entry")]
    Committed,
    /// It would replace, or count on, entries that are not on disk yet.
    #[error("entries are not on disk yet")]
    NotPersisted,
    /// A snapshot is being installed.
    #[error("a snapshot is being installed")]
    Installing,
    /// A snapshot of what is applied here.
    #[error("a snapshot that holds nothing new")]
    NothingNew,
    /// It speaks of entries that this leader never had.
    #[error("beyond this leader's log")]
    BeyondLog,
    /// This leader is no member any more, or this candidate no voter.
    #[error("this member has no vote")]
    NoVote,
    /// Too many reads wait.
    #[error("too many reads wait")]
    TooManyReads,
    /// A member that never saw a term cannot refuse.
    #[error("nothing to compare with")]
    NoTerm,
}

/// Says what can be said of a message alone.
pub fn form(message: &Message) -> Result<(), CheckError> {
    use MessageType as T;
    let kind = message.get_msg_type();
    let Message { from, to, term, index, .. } = *message;
    match kind {
        // Reports of this member to itself: unreachable!, or progress that never was.
        T::MsgHup | T::MsgBeat | T::MsgUnreachable | T::MsgSnapStatus | T::MsgCheckQuorum => {
            return Err(CheckError::Type(kind as u8));
        }
        // Proposals are forwarded by a message of our own; an empty one is fatal.
        T::MsgPropose => return Err(CheckError::Type(kind as u8)),
        _ => {}
    }
    // A leader takes a read from nobody, or from itself, for its own; a match of its own for its disk's.
    if from == 0 || to == 0 || from == to {
        return Err(CheckError::Ends { from, to });
    }
    // Without a term, a message is taken for this member's own. A read with one cannot be forwarded: fatal.
    if (term == 0) != (kind == T::MsgReadIndex) {
        return Err(CheckError::Term(term));
    }
    for (what, number) in [
        ("term", term),
        ("log term", message.log_term),
        ("index", index),
        ("commit", message.commit),
        ("commit term", message.commit_term),
        ("reject hint", message.reject_hint),
        ("requested snapshot", message.request_snapshot),
    ] {
        if number >= NUMBER_END {
            return Err(CheckError::Number { what, number });
        }
    }
    for (what, found) in [("log term", message.log_term), ("commit term", message.commit_term)] {
        if found > term {
            return Err(CheckError::Future { what, found, term });
        }
    }
    if message.context.len() > CONTEXT_BYTES_MAX {
        return Err(CheckError::Context(message.context.len()));
    }
    // With a priority a member of term 0 refuses a vote, and its answer has no term: fatal.
    if message.priority != 0 || message.deprecated_priority != 0 {
        return Err(CheckError::Priority(message.priority));
    }
    if message.request_snapshot != 0 && !(kind == T::MsgAppendResponse && message.reject) {
        return Err(CheckError::RequestSnapshot);
    }
    if message.has_snapshot() != (kind == T::MsgSnapshot) {
        return Err(CheckError::Snapshot);
    }
    match kind {
        T::MsgAppend => entries(message),
        T::MsgReadIndex | T::MsgReadIndexResp => read(message), // the first is taken without looking
        _ if !message.entries.is_empty() => Err(CheckError::Entries(message.entries.len())),
        T::MsgSnapshot => snapshot(message),
        _ => Ok(()),
    }
}

/// Term 0 stands for "no entry here" in the crate: an append after such an entry, or of one, matches
/// anything beyond the log's end, and then moves commit there.
fn entries(message: &Message) -> Result<(), CheckError> {
    let (mut index, mut term) = (message.index, message.log_term);
    if (index == 0) != (term == 0) {
        return Err(CheckError::Previous { index, term });
    }
    for entry in message.get_entries() {
        let follows = entry.index == index + 1 && entry.term >= term.max(1);
        if !follows || entry.term > message.term {
            return Err(CheckError::Gap { index: entry.index, term: entry.term });
        }
        (index, term) = (entry.index, entry.term);
        let fine = match entry.get_entry_type() {
            EntryType::EntryNormal => true,
            EntryType::EntryConfChange => false,
            EntryType::EntryConfChangeV2 => !entry.context.is_empty(),
        };
        if !fine {
            return Err(CheckError::ConfChange { index });
        }
    }
    if index >= NUMBER_END {
        return Err(CheckError::Number { what: "index", number: index });
    }
    Ok(())
}

fn read(message: &Message) -> Result<(), CheckError> {
    let [entry] = message.get_entries() else {
        return Err(CheckError::Entries(message.entries.len()));
    };
    let len = entry.data.len();
    let fits = (1..=CONTEXT_BYTES_MAX).contains(&len) && entry.context.is_empty();
    if fits { Ok(()) } else { Err(CheckError::Context(len.max(entry.context.len()))) }
}

fn snapshot(message: &Message) -> Result<(), CheckError> {
    let snapshot = message.get_snapshot();
    let metadata = snapshot.get_metadata();
    let SnapshotMetadata { index, term, .. } = *metadata;
    if !snapshot.data.is_empty() {
        return Err(CheckError::Snapshot);
    }
    if index == 0 || term == 0 {
        return Err(CheckError::Previous { index, term });
    }
    if index >= NUMBER_END {
        return Err(CheckError::Number { what: "snapshot index", number: index });
    }
    if term > message.term {
        return Err(CheckError::Future { what: "snapshot term", found: term, term: message.term });
    }
    // A configuration that the crate cannot restore exactly is fatal.
    let state = metadata.get_conf_state();
    let joint = !state.voters_outgoing.is_empty() || !state.learners_next.is_empty();
    if joint || state.auto_leave {
        return Err(CheckError::Members("a joint configuration"));
    }
    if state.voters.is_empty() {
        return Err(CheckError::Members("no voters"));
    }
    let mut ids: Vec<u64> = state.voters.iter().chain(&state.learners).copied().collect();
    ids.sort_unstable();
    if ids.len() > MEMBERS_MAX {
        return Err(CheckError::Members("too many"));
    }
    if ids[0] == 0 {
        return Err(CheckError::Members("one without an id"));
    }
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(CheckError::Members("one that is named twice"));
    }
    Ok(())
}

/// Whether a snapshot was taken from the leader and is not known to be applied.
pub fn is_installing<T: Storage>(log: &RaftLog<T>) -> bool {
    log.applied + 1 < log.first_index()
}

/// Says what is to be done with a message that has passed [`form`], given what this member is just now.
pub fn against<T: Storage>(raft: &Raft<T>, message: &Message) -> Verdict {
    match judge(raft, message) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

fn judge<T: Storage>(raft: &Raft<T>, message: &Message) -> Result<Verdict, DropReason> {
    use MessageType as T;
    let kind = message.get_msg_type();
    let log = &raft.raft_log;
    let require = |holds: bool, reason: DropReason| if holds { Ok(()) } else { Err(reason) };
    require(message.to == raft.id && message.from != raft.id, DropReason::NotAddressed)?;
    let is_response = matches!(
        kind,
        T::MsgAppendResponse
            | T::MsgRequestVoteResponse
            | T::MsgHeartbeatResponse
            | T::MsgRequestPreVoteResponse
    );
    if is_response || matches!(kind, T::MsgReadIndex | T::MsgTransferLeader) {
        require(raft.prs().get(message.from).is_some(), DropReason::UnknownPeer)?;
    }
    if message.term != 0 && message.term < raft.term {
        return Ok(Verdict::Pass); // answered or ignored, whatever it says
    }
    let same_term = message.term == raft.term;
    let leads = raft.state == StateRole::Leader;
    let follows = raft.state == StateRole::Follower;
    let is_persisted = log.persisted == log.last_index();
    if !same_term && message.term != 0 && raft.promotable() && raft.prs().is_singleton() {
        // It would step down, and win again at its next election whatever is on disk: an assertion.
        require(is_persisted, DropReason::NotPersisted)?;
    }
    let from_leader = same_term && follows && message.from == raft.leader_id;
    match kind {
        T::MsgAppend | T::MsgHeartbeat | T::MsgSnapshot if leads && same_term => {} // ignored
        T::MsgAppend => append(log, message)?,
        T::MsgHeartbeat if message.commit > log.last_index() => {
            return Ok(Verdict::LostTail { commit: message.commit }); // fatal
        }
        T::MsgSnapshot => {
            require(!is_installing(log), DropReason::Installing)?;
            let metadata = message.get_snapshot().get_metadata();
            let fits = !contradicts(log, metadata.index, metadata.term);
            require(fits, DropReason::Committed)?;
            // The crate takes any that it has asked for. One that holds nothing new would be on its way to
            // the disk and look as if it were there.
            let asked = raft.pending_request_snapshot != 0;
            require(!asked || metadata.index > log.applied, DropReason::NothingNew)?;
        }
        T::MsgRequestVoteResponse | T::MsgRequestPreVoteResponse if !follows && !leads => {
            // Who was asked for a vote was asked once everything was on disk; an answer that comes before
            // makes a leader whose log is not: an assertion, then or when a Ready is taken.
            require(is_persisted, DropReason::NotPersisted)?;
            require(!is_installing(log), DropReason::Installing)?;
            require(raft.promotable(), DropReason::NoVote)?; // no progress of its own: unwrap
        }
        T::MsgRequestPreVote if raft.term == 0 => {
            // Its refusal would have no term: fatal.
            let granted = log.is_up_to_date(message.index, message.log_term);
            require(granted, DropReason::NoTerm)?;
        }
        T::MsgTimeoutNow => {
            require(from_leader, DropReason::NotFromLeader)?;
            require(is_persisted, DropReason::NotPersisted)?;
            require(!is_installing(log), DropReason::Installing)?; // reads entries that are gone: fatal
        }
        T::MsgReadIndexResp => require(from_leader, DropReason::NotFromLeader)?,
        // A follower would send these on in the sender's name, the second with a term: fatal.
        T::MsgReadIndex => {
            require(leads, DropReason::NotLeader)?;
            require(raft.pending_read_count() < READS_MAX, DropReason::TooManyReads)?;
        }
        T::MsgTransferLeader => require(leads && same_term, DropReason::NotLeader)?,
        T::MsgAppendResponse if leads && same_term => {
            // A leader that was removed counts its own progress when it commits: unwrap.
            require(raft.prs().get(raft.id).is_some(), DropReason::NoVote)?;
            // Progress that never was would be kept, and counted once the log is that long.
            let last = log.last_index();
            let known = message.index <= last && message.request_snapshot <= last;
            require(known, DropReason::BeyondLog)?;
        }
        _ => {}
    }
    Ok(Verdict::Pass)
}

/// The crate stops at an entry that conflicts with a committed one. It takes one that replaces an entry
/// which is on its way to the disk, but then loses count of what is there when that entry comes back.
fn append<T: Storage>(log: &RaftLog<T>, message: &Message) -> Result<(), DropReason> {
    if contradicts(log, message.index, message.log_term) {
        return Err(DropReason::Committed);
    }
    let last = log.last_index();
    let matches = log.match_term(message.index, message.log_term);
    for entry in message.get_entries().iter().take_while(|entry| entry.index <= last) {
        if contradicts(log, entry.index, entry.term) {
            return Err(DropReason::Committed);
        }
        if matches && entry.index > log.committed && !log.match_term(entry.index, entry.term) {
            return if last > log.persisted { Err(DropReason::NotPersisted) } else { Ok(()) };
        }
    }
    Ok(())
}

/// Whether another entry is committed here under this index, as far as this member still knows.
fn contradicts<T: Storage>(log: &RaftLog<T>, index: u64, term: u64) -> bool {
    let known = log.first_index() - 1..=log.committed;
    known.contains(&index) && !log.match_term(index, term)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
