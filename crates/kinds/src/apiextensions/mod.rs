//! `apiextensions.k8s.io`: kinds made by users.

mod customresourcedefinition;
mod names;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![customresourcedefinition::kind()]
}
