//! `rbac.authorization.k8s.io`: who may do what.

mod bindings;
mod clusterrole;
mod clusterrolebinding;
mod role;
mod rolebinding;
mod rules;

const GROUP: &str = "rbac.authorization.k8s.io";

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![clusterrole::kind(), clusterrolebinding::kind(), role::kind(), rolebinding::kind()]
}
