//! The `raft` crate's messages as MessagePack. No byte from a peer reaches a protobuf parser: values are
//! read by hand into the crate's types, and [`super::check`] says whether the crate may see them.
//!
//! Records are arrays of their fields in a fixed order; docs/peer-protocol.md lists them. Entries' data is
//! not copied when it is read, and copied once, into the frame, when it is written. Left out are the
//! crate's deprecated fields, and the data of a snapshot, which travels by itself.

use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};

use super::pack::{PackError, Reader, put_array, put_bin, put_bool, put_int, put_nil, put_uint};

/// Fields of a message.
const MESSAGE_FIELDS: usize = 15;
/// The shortest message: its head, and a byte for each field but two for the context.
pub(super) const MESSAGE_BYTES_MIN: usize = 2 + MESSAGE_FIELDS;
/// The shortest entry.
const ENTRY_BYTES_MIN: usize = 8;
/// Entries of one message. The crate puts 1 MiB into one, and counts twelve bytes for an empty entry.
pub const ENTRIES_MAX: usize = 1 << 17;
/// Members that a snapshot may name.
pub const MEMBERS_MAX: usize = 1000;

/// Appends a message.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    put_array(out, MESSAGE_FIELDS);
    put_uint(out, message.get_msg_type() as u64);
    put_uint(out, message.to);
    put_uint(out, message.from);
    put_uint(out, message.term);
    put_uint(out, message.log_term);
    put_uint(out, message.index);
    put_uint(out, message.commit);
    put_uint(out, message.commit_term);
    put_array(out, message.entries.len());
    for entry in message.get_entries() {
        encode_entry(entry, out);
    }
    match message.snapshot.as_ref() {
        Some(snapshot) => encode_snapshot(snapshot, out),
        None => put_nil(out),
    }
    put_uint(out, message.request_snapshot);
    put_bool(out, message.reject);
    put_uint(out, message.reject_hint);
    put_bin(out, &message.context);
    put_int(out, message.priority);
}

fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    put_array(out, 5);
    put_uint(out, entry.get_entry_type() as u64);
    put_uint(out, entry.term);
    put_uint(out, entry.index);
    put_bin(out, &entry.data);
    put_bin(out, &entry.context);
}

fn encode_snapshot(snapshot: &Snapshot, out: &mut Vec<u8>) {
    let metadata = snapshot.get_metadata();
    let state = metadata.get_conf_state();
    put_array(out, 7);
    put_uint(out, metadata.index);
    put_uint(out, metadata.term);
    for ids in [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next] {
        put_array(out, ids.len());
        for id in ids {
            put_uint(out, *id);
        }
    }
    put_bool(out, state.auto_leave);
}

/// Reads a message. `entries_left` is how many entries may still be read, and falls.
pub fn decode(reader: &mut Reader, entries_left: &mut usize) -> Result<Message, PackError> {
    reader.record("message", MESSAGE_FIELDS)?;
    let mut message = Message::default();
    message.set_msg_type(message_type(reader.small("message type")?)?);
    message.to = reader.uint("to")?;
    message.from = reader.uint("from")?;
    message.term = reader.uint("term")?;
    message.log_term = reader.uint("log term")?;
    message.index = reader.uint("index")?;
    message.commit = reader.uint("commit")?;
    message.commit_term = reader.uint("commit term")?;
    let count = reader.count("entries", ENTRY_BYTES_MIN, *entries_left)?;
    *entries_left -= count;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(decode_entry(reader)?);
    }
    message.entries = entries.into();
    if !reader.nil() {
        message.set_snapshot(decode_snapshot(reader)?);
    }
    message.request_snapshot = reader.uint("request snapshot")?;
    message.reject = reader.boolean("reject")?;
    message.reject_hint = reader.uint("reject hint")?;
    message.context = reader.bin("context")?;
    message.priority = reader.int("priority")?;
    Ok(message)
}

fn decode_entry(reader: &mut Reader) -> Result<Entry, PackError> {
    reader.record("entry", 5)?;
    let entry_type = match reader.small("entry type")? {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(PackError::Range { what: "entry type" }),
    };
    Ok(Entry {
        entry_type,
        term: reader.uint("entry term")?,
        index: reader.uint("entry index")?,
        data: reader.bin("entry data")?,
        context: reader.bin("entry context")?,
        ..Entry::default()
    })
}

fn decode_snapshot(reader: &mut Reader) -> Result<Snapshot, PackError> {
    reader.record("snapshot", 7)?;
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = reader.uint("snapshot index")?;
    metadata.term = reader.uint("snapshot term")?;
    let state = ConfState {
        voters: decode_ids(reader)?,
        learners: decode_ids(reader)?,
        voters_outgoing: decode_ids(reader)?,
        learners_next: decode_ids(reader)?,
        auto_leave: reader.boolean("auto leave")?,
        ..ConfState::default()
    };
    metadata.set_conf_state(state);
    Ok(snapshot)
}

fn decode_ids(reader: &mut Reader) -> Result<Vec<u64>, PackError> {
    let count = reader.count("members", 1, MEMBERS_MAX)?;
    (0..count).map(|_| reader.uint("member")).collect()
}

fn message_type(number: u8) -> Result<MessageType, PackError> {
    use MessageType as T;
    const TYPES: [MessageType; 19] = [
        T::MsgHup,
        T::MsgBeat,
        T::MsgPropose,
        T::MsgAppend,
        T::MsgAppendResponse,
        T::MsgRequestVote,
        T::MsgRequestVoteResponse,
        T::MsgSnapshot,
        T::MsgHeartbeat,
        T::MsgHeartbeatResponse,
        T::MsgUnreachable,
        T::MsgSnapStatus,
        T::MsgCheckQuorum,
        T::MsgTransferLeader,
        T::MsgTimeoutNow,
        T::MsgReadIndex,
        T::MsgReadIndexResp,
        T::MsgRequestPreVote,
        T::MsgRequestPreVoteResponse,
    ];
    TYPES.get(usize::from(number)).copied().ok_or(PackError::Range { what: "message type" })
}
