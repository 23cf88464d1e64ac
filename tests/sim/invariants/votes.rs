//! Votes: each member gives one a term, over all its lives.

use std::collections::BTreeMap;

use raft::eraftpb::{Message, MessageType};

use super::{Broken, Invariant};

/// Who voted for whom, by member and term.
#[derive(Debug, Default)]
pub struct Votes(BTreeMap<(u64, u64), u64>);

impl Votes {
    /// A message leaves its sender.
    pub fn sent(&mut self, message: &Message) -> Result<(), Broken> {
        let vote = match message.get_msg_type() {
            MessageType::MsgRequestVoteResponse if !message.reject => message.to,
            MessageType::MsgRequestVote => message.from,
            _ => return Ok(()),
        };
        let (voter, term) = (message.from, message.term);
        match self.0.insert((voter, term), vote) {
            Some(before) if before != vote => Err(Invariant::OneVoteATerm.broken(format!(
                "member {voter} votes for {before} and for {vote} in term {term}"
            ))),
            _ => Ok(()),
        }
    }
}
