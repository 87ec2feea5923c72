//! `scheduling.k8s.io`: who goes first.

mod priorityclass;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![priorityclass::kind()]
}
