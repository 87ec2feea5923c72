//! ClusterRoleBinding: gives a ClusterRole in the whole cluster.

use super::bindings;
use crate::declare::declare;
use base::FieldErrors;
use schema::{Context, Hooks, Kind, NameRule};
use value::Value;

pub fn kind() -> Kind {
    declare(super::GROUP, "ClusterRoleBinding")
        .cluster()
        .names(NameRule::PathSegment)
        .version("v1", "io.k8s.api.rbac.v1.ClusterRoleBinding", bindings::columns())
        .create_on_update()
        .hooks(ClusterRoleBinding)
        .build()
}

#[derive(Debug)]
struct ClusterRoleBinding;

impl Hooks for ClusterRoleBinding {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        bindings::validate(obj, old, &["ClusterRole"], errors);
    }
}
