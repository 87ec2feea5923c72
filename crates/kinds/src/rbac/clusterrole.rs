//! ClusterRole: rules for all namespaces and for what has none; or the sum of other ClusterRoles, by their labels.

use super::rules;
use crate::{at::At, cells::created_at, declare::declare};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind, NameRule};
use value::Value;

pub fn kind() -> Kind {
    declare(super::GROUP, "ClusterRole")
        .cluster()
        .names(NameRule::PathSegment)
        .version("v1", "io.k8s.api.rbac.v1.ClusterRole", vec![Column::object_name(), created_at()])
        .create_on_update()
        .hooks(ClusterRole)
        .build()
}

#[derive(Debug)]
struct ClusterRole;

impl Hooks for ClusterRole {
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        rules::validate(root.get("rules"), false, errors);
        let aggregation = root.get("aggregationRule");
        if !aggregation.is_set() {
            return;
        }
        let selectors = aggregation.get("clusterRoleSelectors");
        if selectors.is_empty() {
            let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            selectors.required(errors, detail);
        }
        for selector in selectors.items() {
            selector.label_selector(errors);
        }
    }
}
