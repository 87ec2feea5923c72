//! ReplicaSet and ReplicationController: as many pods as `spec.replicas`.

mod kind;
mod plan;
mod run;
mod status;

pub use kind::{Kind, REPLICA_SET, REPLICATION_CONTROLLER};
pub use plan::{Plan, plan};
pub use run::run;
