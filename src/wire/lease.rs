//! Questions about v3 leases on their way to the leader, who alone knows how they stand, and its answers.
//! None of it goes through the log: whoever asks asks again when no answer comes.

use super::pack::{PackError, Reader, put_array, put_int, put_uint};
use crate::types::LeaseId;

/// Questions in one frame.
pub const QUESTIONS_MAX: usize = 4096;

/// About a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseQuestion {
    /// Keep it alive.
    Renew(LeaseId),
    /// How long does it live?
    TimeToLive(LeaseId),
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStanding {
    /// There is no such lease (any more).
    Gone,
    /// It is there.
    Lives {
        /// Its TTL in seconds.
        granted: u64,
        /// Seconds that it has left.
        left: u64,
    },
}

/// For the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseQuestions {
    /// Comes back with the answers.
    pub number: u64,
    /// At most [`QUESTIONS_MAX`].
    pub questions: Vec<LeaseQuestion>,
}

/// From the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseAnswers {
    /// That of the questions.
    pub number: u64,
    /// One for each question, in their order; none at all from a member that does not lead.
    pub answers: Vec<LeaseStanding>,
}

impl LeaseQuestions {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_array(out, 2);
        put_uint(out, self.number);
        put_array(out, self.questions.len());
        for question in &self.questions {
            let (kind, id) = match question {
                LeaseQuestion::Renew(id) => (0, id),
                LeaseQuestion::TimeToLive(id) => (1, id),
            };
            put_array(out, 2);
            put_uint(out, kind);
            put_int(out, id.0);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<LeaseQuestions, PackError> {
        reader.record("lease questions", 2)?;
        let number = reader.uint("number")?;
        let count = reader.count("lease questions", 3, QUESTIONS_MAX)?;
        let mut questions = Vec::with_capacity(count);
        for _ in 0..count {
            reader.record("lease question", 2)?;
            let kind = reader.uint("kind of question")?;
            let id = LeaseId(reader.int("lease id")?);
            questions.push(match kind {
                0 => LeaseQuestion::Renew(id),
                1 => LeaseQuestion::TimeToLive(id),
                _ => return Err(PackError::Range { what: "kind of question" }),
            });
        }
        Ok(LeaseQuestions { number, questions })
    }
}

impl LeaseAnswers {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_array(out, 2);
        put_uint(out, self.number);
        put_array(out, self.answers.len());
        for answer in &self.answers {
            let (granted, left) = match *answer {
                LeaseStanding::Gone => (0, 0),
                LeaseStanding::Lives { granted, left } => (granted, left),
            };
            put_array(out, 2);
            put_uint(out, granted);
            put_uint(out, left);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<LeaseAnswers, PackError> {
        reader.record("lease answers", 2)?;
        let number = reader.uint("number")?;
        let count = reader.count("lease answers", 3, QUESTIONS_MAX)?;
        let mut answers = Vec::with_capacity(count);
        for _ in 0..count {
            reader.record("lease answer", 2)?;
            let (granted, left) = (reader.uint("granted")?, reader.uint("left")?);
            answers.push(match granted {
                0 => LeaseStanding::Gone,
                granted => LeaseStanding::Lives { granted, left },
            });
        }
        Ok(LeaseAnswers { number, answers })
    }
}
