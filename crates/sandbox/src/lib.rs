//! Containers from the kernel's parts: namespaces, cgroups, mounts, capabilities and seccomp, by system calls.
//!
//! A [`ContainerSpec`] says what a container is; [`plan::plan`] turns it into a printable list of steps without touching
//! anything; [`spawn`] clones a child that walks the list and executes the program. Between clone and exec the child
//! only makes system calls on memory that was made before: a fork of a process with a held allocator lock would hang
//! (seen with a general-purpose library in a multi-threaded process), so callers should be single-threaded too.
//!
//! Invariants: no mount of a container is ever visible outside of it (all are made in its own mount namespace); every
//! path inside a container is resolved after the pivot, so that no link in an image leads out of it; nothing here knows
//! Kubernetes, an image or a log.

pub mod caps;
pub mod cgroup;
mod child;
pub mod devices;
pub mod mountinfo;
pub mod plan;
pub mod pod;
pub mod process;
pub mod seccomp;
pub mod spawn;
pub mod spec;
mod sys;
pub mod user;

pub use spawn::{SpawnError, Spawned, Stdio};
pub use spec::*;
