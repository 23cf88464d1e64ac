//! The HTTP doors, asked over real sockets, byte by byte. What etcd would answer was taken from etcd
//! 3.4.23; only its numbers differ.

mod client;
mod keys;
mod manners;
mod member;
mod members;
mod other_paths;
mod watch_v3;
mod watch_v3_model;
mod watching;
