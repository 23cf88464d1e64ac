//! LeaseKeeper answers what only the leader knows of v3 leases: how long one lives, and whether one could
//! be kept alive. Where this member leads it makes sure that it still does, with one read index for all
//! questions of a turn, and asks Store; else it sends the questions to the leader.
//!
//! Nothing of it goes through the log, and nothing is promised but an answer that is true, or an error:
//! a question may be lost on its way. To ask again does no harm, and is up to the asker.

pub mod host;
pub mod role;

use crate::{
    actors::mailbox::{Question, Slot},
    types::MemberId,
    wire::{LeaseAnswers, LeaseQuestion, LeaseQuestions, LeaseStanding},
};

/// Asks about leases. Sent by the doors. Answered when the leader has answered; not at all when that gets
/// lost, so the asker must not wait for ever. A full mailbox says so.
#[derive(Debug)]
pub struct LeaseInquiry(
    /// At most [`crate::wire::lease::QUESTIONS_MAX`].
    pub Vec<LeaseQuestion>,
);

impl Question for LeaseInquiry {
    /// An answer for each question, in their order.
    type Answer = Result<Vec<LeaseStanding>, InquiryError>;
}

/// Why there is no answer. Asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InquiryError {
    /// No leader is known, or who was taken for it is none (any more).
    #[error("no leader")]
    NoLeader,
    /// Too much is under way.
    #[error("too many requests")]
    TooMany,
}

/// From a peer's stream.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct FromPeer {
    /// Who.
    pub from: MemberId,
    /// What.
    pub what: Said,
    /// Its place in the mailbox of the peers' messages.
    pub slot: Slot,
}

/// What peers say to each other of leases.
#[derive(Debug)]
pub enum Said {
    /// To this member as the leader.
    Questions(LeaseQuestions),
    /// By the leader.
    Answers(LeaseAnswers),
}

impl Said {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        match self {
            Said::Questions(said) => size_of_val(&said.questions[..]),
            Said::Answers(said) => size_of_val(&said.answers[..]),
        }
    }
}
