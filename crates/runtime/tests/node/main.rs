//! Tests with real containers: as root, on this machine, each with a state directory and a cgroup of its own.

mod common;
mod containers;
mod contract;
mod recovery;
mod security;
