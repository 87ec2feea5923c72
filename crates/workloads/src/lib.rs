//! Controllers of workloads: Deployment, ReplicaSet, ReplicationController and PodDisruptionBudget.
//!
//! Each is a pure plan over the object and what it owns, and an executor that performs it. Invariants: a controller
//! touches only what it owns or may adopt; what it asked for and has not seen yet, it does not ask for again.

pub mod claim;
pub mod deployment;
pub mod disruption;
pub mod pod;
pub mod replica_set;
