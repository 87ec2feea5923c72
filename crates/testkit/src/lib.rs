//! A whole control plane inside a test, and clients that speak to it as the world does: over TLS, as somebody.
//!
//! A [`Cluster`] is wired as the binary wires it: engine, API server on a loopback port, RBAC, sealed Secrets, audit
//! log; controllers where a test wants them. Nothing is switched off for tests. A [`Caller`] is one identity: kube-rs
//! for what a library would do, raw requests for what only a broken client would.
//!
//! Waiting is always for an event of a watch, with a deadline that only a failure reaches; only the audit log, a file, is looked at again and again.

mod caller;
mod clock;
mod cluster;
pub mod extension;
mod watch;

pub use caller::{Answer, Caller};
pub use clock::ManualClock;
pub use cluster::{Cluster, Setup};
pub use extension::Extension;
pub use serde_json::{Value, json};
pub use watch::Watch;

/// How long a test waits for what must come. Generous: the machine may be busy with other tests.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
