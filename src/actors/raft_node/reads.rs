//! Reads on their way to a read index: waiting for a round, in a round, waiting to be applied.
//!
//! One round serves all reads that came before it. Where there are peers, one round is under way at a
//! time, and those that come meanwhile share the next. A round that gets no answer is asked anew under
//! a name of its own: the `raft` crate keeps the first index of a name that comes twice.
//!
//! Pure: part of RaftNode's role.

use std::{collections::BTreeMap, mem};

use super::role::ReadId;
use crate::types::{Index, MemberId};

/// See the head of the module.
#[derive(Debug)]
pub(super) struct Reads {
    member: MemberId,
    /// Tells the rounds of this start from those of any other.
    boot: u64,
    /// With the tick of their asking.
    waiting: Vec<(ReadId, u64)>,
    rounds: BTreeMap<u64, (u64, Vec<(ReadId, u64)>)>,
    next_round: u64,
    to_apply: BTreeMap<Index, Vec<ReadId>>,
}

impl Reads {
    /// None yet.
    pub fn new(member: MemberId, boot: u64) -> Reads {
        Reads {
            member,
            boot,
            waiting: Vec::new(),
            rounds: BTreeMap::new(),
            next_round: 0,
            to_apply: BTreeMap::new(),
        }
    }

    /// A read came.
    pub fn add(&mut self, id: ReadId, now: u64) {
        self.waiting.push((id, now));
    }

    /// Whether a round is to be started.
    pub fn wants_round(&self, one_at_a_time: bool) -> bool {
        !self.waiting.is_empty() && (!one_at_a_time || self.rounds.is_empty())
    }

    /// Starts a round for all that wait; answers its name for the crate.
    pub fn start_round(&mut self, now: u64) -> Vec<u8> {
        let round = self.next_round;
        self.next_round += 1;
        self.rounds.insert(round, (now, mem::take(&mut self.waiting)));
        [self.member.0, self.boot, round].map(u64::to_be_bytes).concat()
    }

    /// A round has its index. Answers the reads that are served by what is applied already.
    pub fn round_done(&mut self, context: &[u8], index: Index, applied: Index) -> Vec<ReadId> {
        let mut numbers = context.chunks_exact(8).filter_map(|number| number.try_into().ok());
        let mut next = || numbers.next().map(u64::from_be_bytes);
        let own = next() == Some(self.member.0) && next() == Some(self.boot);
        let round = own.then(next).flatten().and_then(|round| self.rounds.remove(&round));
        let Some((_, reads)) = round else { return Vec::new() };
        let ids: Vec<ReadId> = reads.into_iter().map(|(id, _)| id).collect();
        if index > applied {
            self.to_apply.entry(index).or_default().extend(ids);
            return Vec::new();
        }
        ids
    }

    /// All up to `index` is applied. The reads that are thereby served.
    pub fn applied(&mut self, index: Index) -> Vec<(Vec<ReadId>, Index)> {
        let later = self.to_apply.split_off(&index.next());
        let served = mem::replace(&mut self.to_apply, later);
        served.into_iter().map(|(index, ids)| (ids, index)).collect()
    }

    /// Rounds without an answer for `round_patience` ticks are asked anew; reads that have no index after
    /// `patience` are given up and returned.
    pub fn age(&mut self, now: u64, round_patience: u64, patience: u64) -> Vec<ReadId> {
        let old = self.rounds.extract_if(.., |_, round| now - round.0 >= round_patience);
        let old: Vec<_> = old.flat_map(|(_, (_, reads))| reads).collect();
        self.waiting.extend(old);
        let late = |&mut (_, since): &mut (ReadId, u64)| now - since >= patience;
        self.waiting.extract_if(.., late).map(|(id, _)| id).collect()
    }
}
