//! `coordination.k8s.io`: leases.

mod lease;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![lease::kind()]
}
