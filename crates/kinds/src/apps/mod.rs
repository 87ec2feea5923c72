//! `apps`: controllers that keep pods running.

mod controllerrevision;
mod daemonset;
mod deployment;
pub mod replicas;
mod replicaset;
mod statefulset;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![controllerrevision::kind(), daemonset::kind(), deployment::kind(), replicaset::kind(), statefulset::kind()]
}
