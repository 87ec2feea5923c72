//! `discovery.k8s.io`: the addresses behind Services.

mod endpointslice;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![endpointslice::kind()]
}
