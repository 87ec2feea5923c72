//! The admission chain: what may be written, beyond who may write and what is valid.
//!
//! A plugin is a small file of pure functions over the request's attributes and a read-only view; the chain runs the
//! mutating halves in upstream's order, then, after validation, the validating halves. Webhooks and policies, which the
//! cluster's users configure, come behind the plugins ([`dynamic`]).
//!
//! Invariants: a plugin never waits and never writes (two of upstream's do, so they are steps of the chain:
//! [`image_policy`] and [`namespaces::provide`]); only a webhook is waited for, at most as long as it says; the chain is the
//! same for every caller.

mod anti_affinity;
mod certificates;
mod chain;
mod declared_features;
mod default_class;
mod default_tolerations;
mod dynamic;
mod event_rate;
mod external_ips;
mod image_policy;
mod images;
mod limit_ranger;
mod namespace_lifecycle;
mod namespaces;
pub mod node_restriction;
mod node_selector;
mod owners;
mod plugin;
mod pod_node;
mod pod_security;
mod priority;
mod rbac;
mod resource_quota;
mod runtime_class;
mod service_account;
mod settings;
mod storage;
mod taint_nodes;
#[cfg(test)]
mod testing;
mod tolerations;

pub use chain::{Chain, Choice};
pub use dynamic::{Credential, Credentials};
pub use plugin::{Plugin, Target};
pub use settings::{Files, Settings};

/// What every call of a webhook needs, whoever makes it.
pub mod webhook {
    pub use crate::dynamic::{target, trust, unexpected};
}
