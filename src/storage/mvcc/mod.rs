//! The MVCC keyspace: the replicated state, what an entry does to it, its history and its compaction.
//!
//! [`State`] is a value: cloning it costs a few reference counts, and a clone never changes. The Store
//! works on one and publishes clones. Nothing here knows a clock, a file, a thread or randomness: the
//! same entries make the same state on every member.

mod apply;
pub mod auth;
pub mod codec;
mod membership;
pub mod reconfig;
pub mod record;
mod state;
pub mod watch;

pub use apply::{Applied, CompactError, LeaseChange, Outcome};
pub use membership::{Member, MemberError, Membership};
pub use state::State;
