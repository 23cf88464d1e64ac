//! placeholder
use crate::types::Index;
use raft::{
    Raft, Storage,
    eraftpb::{Message, MessageType},
};
/// Verdict
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// ok
    Pass,
    /// no
    Drop(&'static str),
    /// lost
    LostTail {
        /// commit
        commit: Index,
    },
}
/// against
pub fn against<T: Storage>(raft: &Raft<T>, message: &Message) -> Verdict {
    let beyond = message.get_msg_type() == MessageType::MsgHeartbeat
        && message.commit > raft.raft_log.last_index();
    if beyond && message.term >= raft.term {
        return Verdict::LostTail { commit: Index(message.commit) };
    }
    if message.to != raft.id {
        return Verdict::Drop("not for this member");
    }
    Verdict::Pass
}
