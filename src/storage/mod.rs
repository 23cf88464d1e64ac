//! What is kept: data structures and files. Nothing here is an actor, and nothing opens a socket.

pub mod tree;
