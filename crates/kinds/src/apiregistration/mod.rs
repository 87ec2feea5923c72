//! `apiregistration.k8s.io`: who serves which group and version.

mod apiservice;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![apiservice::kind()]
}
