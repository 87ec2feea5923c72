//! `certificates.k8s.io`: asking for certificates.

mod certificatesigningrequest;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![certificatesigningrequest::kind()]
}
