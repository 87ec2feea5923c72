//! ReplicaSet: as many pods as `spec.replicas`.

mod plan;
mod run;

pub use plan::{Plan, plan};
pub use run::run;
