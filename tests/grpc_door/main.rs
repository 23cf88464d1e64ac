//! The gRPC door of the real process: framing, errors, limits, and what hostile clients do.

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod hostile;
mod life;
mod range_stream;
