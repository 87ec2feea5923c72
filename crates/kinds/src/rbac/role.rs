//! Role: rules for one namespace.

use super::rules;
use crate::{at::At, cells::created_at, declare::declare};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind, NameRule};
use value::Value;

pub fn kind() -> Kind {
    declare(super::GROUP, "Role")
        .names(NameRule::PathSegment)
        .version("v1", "io.k8s.api.rbac.v1.Role", vec![Column::object_name(), created_at()])
        .create_on_update()
        .hooks(Role)
        .build()
}

#[derive(Debug)]
struct Role;

impl Hooks for Role {
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        rules::validate(At::root(obj).get("rules"), true, errors);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::create;
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(
            &super::kind(),
            value!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, {}, {"verbs": ["*"], "nonResourceURLs": ["/x"]}]}),
            expect![[r#"
                rules[1].verbs: Required value: verbs must contain at least one value
                rules[1].apiGroups: Required value: resource rules must supply at least one api group
                rules[1].resources: Required value: resource rules must supply at least one resource
                rules[2].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#]],
        );
    }
}
