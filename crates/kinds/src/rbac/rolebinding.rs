//! RoleBinding: gives a Role, or a ClusterRole, within one namespace.

use super::bindings;
use crate::declare::declare;
use base::FieldErrors;
use schema::{Context, Hooks, Kind, NameRule};
use value::Value;

pub fn kind() -> Kind {
    declare(super::GROUP, "RoleBinding")
        .names(NameRule::PathSegment)
        .version("v1", "io.k8s.api.rbac.v1.RoleBinding", bindings::columns())
        .create_on_update()
        .hooks(RoleBinding)
        .build()
}

#[derive(Debug)]
struct RoleBinding;

impl Hooks for RoleBinding {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        bindings::validate(obj, old, &["Role", "ClusterRole"], errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    fn binding(role: &str) -> Value {
        value!({
            "roleRef": {"kind": "Role", "name": role},
            "subjects": [
                {"kind": "User", "name": "alice"}, {"kind": "Group", "name": "dev"},
                {"kind": "ServiceAccount", "name": "default", "namespace": "shop"}],
        })
    }

    #[test]
    fn validation() {
        create(&kind(), binding("reader"), expect![""]);
        create(
            &kind(),
            value!({"roleRef": {"kind": "X", "name": "a/b"}, "subjects": [{"kind": "ServiceAccount", "apiGroup": "x"}, {"kind": "Y", "name": "n"}]}),
            expect![[r#"
                roleRef.kind: Unsupported value: "X": supported values: "Role", "ClusterRole"
                roleRef.name: Invalid value: "a/b": may not contain '/'
                subjects[0].name: Required value
                subjects[0].apiGroup: Unsupported value: "x": supported values: ""
                subjects[1].kind: Unsupported value: "Y": supported values: "ServiceAccount", "User", "Group""#]],
        );
        update(
            &kind(),
            binding("reader"),
            binding("writer"),
            expect![[
                r#"roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"writer"}: cannot change roleRef"#
            ]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), binding("reader"), expect!["obj | Role/reader | 5m || alice | dev | shop/default"]);
    }
}
