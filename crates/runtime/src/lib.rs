//! The built-in container runtime: the CRI seam over the `sandbox` crate, with a shim process per pod.
//!
//! Two halves share one binary. The daemon half ([`Runtime`]) answers the kubelet, resolves images and networks, and
//! keeps what it knows in a directory per pod. The shim half ([`shim_main`]) is that binary executed again, single
//! threaded: it lives in the pod's namespaces, is the parent of the pod's containers, writes their logs and journals what
//! happens to them. The daemon may be killed at any moment: containers run on, logs are written on, exits are in the
//! journal, and the next daemon reads it from the last acknowledged record.
//!
//! Invariants: an exit is journalled before anybody is told of it; every record has a sequence that grows by one and is
//! delivered until it is acknowledged; no call to the shim waits for a container; nothing of a removed pod stays: no process,
//! mount, cgroup, network namespace or directory (logs are the kubelet's).
//!
//! Decided against: a shim per container (twice the memory, no shared keeper for the pod's namespaces); containers as the
//! daemon's own children (an upgrade would kill them); holding a pod's state in a database (a directory can be read with `ls`).

mod attach;
mod cleanup;
mod client;
mod config;
mod container_status;
mod create_container;
mod exec;
mod journal;
mod layout;
mod log;
mod pipe;
mod pod;
mod port_forward;
mod protocol;
mod recover;
mod run_pod_sandbox;
mod service;
mod shim;
mod spec;
mod stats;
mod stop_container;
mod stop_pod_sandbox;

pub use cleanup::cleanup;
pub use config::{Config, ShimCommand};
pub use pod::Runtime;
pub use shim::shim_main;
