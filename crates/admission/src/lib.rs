//! The admission chain: what may be written, beyond who may write and what is valid.
//!
//! A plugin is a small file of pure functions over the request's attributes and a read-only view; the chain runs the
//! mutating halves in upstream's order, then, after validation, the validating halves. Webhooks, CEL policies, quota and
//! limits join as further plugins.
//!
//! Invariants: a plugin never waits and never writes; the chain is the same for every caller.

mod certificates;
mod chain;
mod default_class;
mod default_tolerations;
mod limit_ranger;
mod namespace_lifecycle;
pub mod node_restriction;
mod plugin;
mod priority;
mod rbac;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes;
#[cfg(test)]
mod testing;

pub use chain::Chain;
pub use plugin::{Plugin, Target};
