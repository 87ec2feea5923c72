//! RuntimeClass: a name for a way to run containers.

use crate::{at::At, declare::declare, template};
use base::FieldErrors;
use schema::{Column, ColumnType, Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

pub fn kind() -> Kind {
    declare("node.k8s.io", "RuntimeClass")
        .plural("runtimeclasses")
        .cluster()
        .version("v1", "io.k8s.api.node.v1.RuntimeClass", columns())
        .create_on_update()
        .conditional_update()
        .hooks(RuntimeClass)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::path("Handler", ColumnType::String, "handler"), Column::age()]
}

#[derive(Debug)]
struct RuntimeClass;

impl Hooks for RuntimeClass {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let handler = root.get("handler");
        if handler.need(errors) {
            handler.dns_label(errors);
        }
        let overhead = root.get("overhead");
        // Upstream reads it as the limits of a container.
        let limits = At { value: overhead.get("podFixed").value, path: overhead.path.key("limits") };
        for (name, amount) in limits.entries() {
            template::container_resource(amount, name, errors);
            template::amount(amount, name, errors);
        }
        let scheduling = root.get("scheduling");
        scheduling.get("nodeSelector").labels(errors);
        let tolerations = scheduling.get("tolerations");
        template::tolerations(tolerations, errors);
        let mut seen = BTreeSet::new();
        for toleration in tolerations.items() {
            let key = ["key", "operator", "value", "effect"].map(|field| toleration.get(field).str().to_string());
            if !seen.insert(key) {
                toleration.duplicate(errors);
            }
        }
        if let Some(old) = old {
            handler.immutable(errors, old.at(&["handler"]));
        }
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let scheduling = root.get("scheduling");
        let mut warnings = Vec::new();
        template::node_labels::warn_of_map(scheduling.get("nodeSelector"), true, &mut warnings);
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        let class = value!({"handler": "runc", "overhead": {"podFixed": {"cpu": "10m"}}});
        create(&kind(), class.clone(), expect![]);
        create(
            &kind(),
            value!({"overhead": {"podFixed": {"disk": "1", "cpu": "-1"}}}),
            expect![[r#"
            handler: Required value
            overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0
            overhead.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified
            overhead.limits[disk]: Invalid value: "disk": must be a standard resource for containers"#]],
        );
        let toleration = value!({"key": "a", "operator": "Exists"});
        create(
            &kind(),
            value!({"handler": "a.b", "scheduling": {"nodeSelector": {"a b": "c"}, "tolerations": [toleration, toleration]}}),
            expect![[r#"
                handler: Invalid value: "a.b": must not contain dots
                scheduling.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                scheduling.tolerations[1]: Duplicate value: {"key":"a","operator":"Exists"}"#]],
        );
        update(
            &kind(),
            class.clone(),
            value!({"handler": "kata"}),
            expect![[r#"handler: Invalid value: "kata": field is immutable"#]],
        );
        let old = value!({"handler": "runc", "scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}});
        testing::warnings(
            &kind(),
            old,
            expect![[r#"scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead"#]],
        );
        cells(&kind(), class, expect!["obj | runc | 5m"]);
    }
}
