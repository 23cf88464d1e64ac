//! The corruption check: members compare a digest of their whole state at the same entry, in the
//! background.
//!
//! The leader puts a checkpoint into the log now and then. Whoever applies it keeps that state (a clone
//! costs nothing), digests it on a thread of its own ([`digest`]), and sends the digest to the leader,
//! whose [`role`] compares. The state that most voters agree on is right; those who differ get an alarm,
//! and stop serving.

pub mod digest;
pub mod role;
