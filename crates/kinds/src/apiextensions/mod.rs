//! `apiextensions.k8s.io`: kinds made by users.

mod customresourcedefinition;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![customresourcedefinition::kind()]
}
