//! Ferry from outside: the real binary as a process, clients over its sockets, containers that run. One test binary, because
//! all of it stands on the same few helpers and links the same clients.
//!
//! `cargo xtask test NAME` runs what has NAME in its path (`network::`, `commands::images`); `SCENARIO=word` picks scenarios
//! among those that share a cluster.

mod commands;
mod common;
mod demo;
#[cfg(feature = "etcd")]
mod etcd;
mod join;
#[cfg(feature = "kubectl")]
mod kubectl;
mod network;
mod pods;
mod registry;
mod scenes;
mod scheduling;
mod soak;
