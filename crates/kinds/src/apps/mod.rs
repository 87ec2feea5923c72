//! `apps`: controllers that keep pods running.

mod deployment;
mod replicas;
mod replicaset;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![deployment::kind(), replicaset::kind()]
}
