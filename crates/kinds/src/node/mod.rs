//! `node.k8s.io`: how nodes run containers.

mod runtimeclass;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![runtimeclass::kind()]
}
