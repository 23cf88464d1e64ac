//! Record kind 2: an entry of the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::RecordKind;
use crate::types::{Index, Term};

/// What an entry's data is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum EntryType {
    /// A command, or empty.
    #[default]
    Normal,
    /// A change of one member.
    ConfChange,
    /// A change of several members at once.
    ConfChangeV2,
}

/// One entry of the log; storage does not look into its data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its position; the first entry has 1.
    pub index: Index,
    /// What the data is.
    pub entry_type: EntryType,
    /// The command.
    pub data: Bytes,
    /// What the proposer attached.
    pub context: Bytes,
}

impl Entry {
    /// The encoded proposal, or nothing: the data of a normal entry; a change of the membership, whose
    /// data is the `raft` crate's, carries it as its context.
    pub fn proposal(&self) -> &Bytes {
        match self.entry_type {
            EntryType::Normal => &self.data,
            EntryType::ConfChange | EntryType::ConfChangeV2 => &self.context,
        }
    }
}

impl RecordKind for Entry {
    const KIND: u8 = 2;
}

impl From<EntryType> for u8 {
    fn from(entry_type: EntryType) -> u8 {
        match entry_type {
            EntryType::Normal => 0,
            EntryType::ConfChange => 1,
            EntryType::ConfChangeV2 => 2,
        }
    }
}

impl TryFrom<u8> for EntryType {
    type Error = String;

    fn try_from(number: u8) -> Result<EntryType, String> {
        match number {
            0 => Ok(EntryType::Normal),
            1 => Ok(EntryType::ConfChange),
            2 => Ok(EntryType::ConfChangeV2),
            _ => Err(format!("unknown entry type {number}")),
        }
    }
}
