//! `apiextensions.k8s.io`: kinds made by users.

mod customresource;
mod customresourcedefinition;
mod names;
mod rules;
mod v1beta1;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![customresourcedefinition::kind()]
}
