//! TLS between real member processes, on both ports: clusters that live with it, strangers that are kept
//! out, certificates that change, and what else calls by https.

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod life;
mod scene;
mod strangers;
