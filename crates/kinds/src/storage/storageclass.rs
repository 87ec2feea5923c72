//! StorageClass: how volumes are made for claims that name it.

use super::rules;
use crate::{at::At, cells, declare::declare, template::node_labels};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

/// Annotations that say that a class is the default one.
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub fn kind() -> Kind {
    declare("storage.k8s.io", "StorageClass")
        .plural("storageclasses")
        .answers_deleted()
        .short(["sc"])
        .cluster()
        .version("v1", "io.k8s.api.storage.v1.StorageClass", columns())
        .hooks(StorageClass)
        .build()
}

fn columns() -> Vec<Column> {
    let name = Column {
        format: "name".into(),
        ..Column::text("Name", |obj, _| {
            let default = DEFAULT.iter().any(|key| obj.str_at(&["metadata", "annotations", key]) == "true");
            format!("{}{}", obj.name(), if default { " (default)" } else { "" }).into()
        })
    };
    vec![
        name,
        Column::text("Provisioner", |obj, _| obj.str_at(&["provisioner"]).into()),
        Column::text("ReclaimPolicy", |obj, _| cells::or(obj.at(&["reclaimPolicy"]), "Delete")),
        Column::text("VolumeBindingMode", |obj, _| cells::or(obj.at(&["volumeBindingMode"]), "Immediate")),
        Column::text("AllowVolumeExpansion", |obj, _| cells::or(obj.at(&["allowVolumeExpansion"]), false)),
        Column::age(),
    ]
}

#[derive(Debug)]
struct StorageClass;

impl Hooks for StorageClass {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        rules::provisioner(root.get("provisioner"), errors);
        rules::parameters(root.get("parameters"), errors);
        let (reclaim, binding) = (root.get("reclaimPolicy"), root.get("volumeBindingMode"));
        if !reclaim.is_empty() {
            reclaim.one_of(errors, &["Delete", "Retain"]);
        }
        binding.one_of(errors, &["Immediate", "WaitForFirstConsumer"]);
        topologies(root.get("allowedTopologies"), errors);
        if let Some(old) = old {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                root.get(field).immutable(errors, old.at(&[field]));
            }
        }
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let mut warnings = Vec::new();
        let topologies = root.get("allowedTopologies");
        for term in topologies.items() {
            node_labels::warn_of_keys(term.get("matchLabelExpressions"), &mut warnings);
        }
        warnings
    }
}

/// Terms that differ, each with keys that differ, each with values that differ.
fn topologies(terms: At, errors: &mut FieldErrors) {
    let mut seen: Vec<Vec<(String, BTreeSet<String>)>> = Vec::new();
    for term in terms.items() {
        let mut keys: Vec<(String, BTreeSet<String>)> = Vec::new();
        let expressions = term.get("matchLabelExpressions");
        for expression in expressions.items() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            values.need(errors);
            let mut known = BTreeSet::new();
            for value in values.items().filter(|value| !known.insert(value.str().to_string())) {
                value.duplicate(errors);
            }
            key.qualified_name(errors);
            if keys.iter().any(|(other, _)| other == key.str()) {
                key.duplicate(errors);
            }
            keys.push((key.str().to_string(), known));
        }
        keys.sort();
        if seen.contains(&keys) {
            errors.duplicate(expressions.path, "");
        }
        seen.push(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, defaults, update};
    use expect_test::expect;
    use value::value;

    fn class() -> Value {
        value!({"provisioner": "Example.com/disk", "parameters": {"type": "fast"}})
    }
    fn with(field: &str, value: impl Into<Value>) -> Value {
        let mut obj = class();
        obj.set(&[field], value);
        obj
    }

    #[test]
    fn validation() {
        defaults(
            &kind(),
            class(),
            &[],
            expect![[
                r#"{"metadata":{},"parameters":{"type":"fast"},"provisioner":"Example.com/disk","reclaimPolicy":"Delete","volumeBindingMode":"Immediate"}"#
            ]],
        );
        create(&kind(), class(), expect![]);
        let zone = |values: Value| value!({"matchLabelExpressions": [{"key": "zone", "values": values}]});
        for (obj, want) in [
            (value!({}), expect!["provisioner: Required value"]),
            (
                with("provisioner", "a b"),
                expect![[
                    r#"provisioner: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#
                ]],
            ),
            (
                with("parameters", value!({"": "x"})),
                expect![[r#"parameters: Invalid value: "": field can not be empty."#]],
            ),
            (
                with("parameters", value!({"a": "x".repeat(300_000)})),
                expect!["parameters: Too long: may not be more than 262144 bytes"],
            ),
            (
                with("reclaimPolicy", "Recycle"),
                expect![[r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#]],
            ),
            (
                with("volumeBindingMode", "Later"),
                expect![[
                    r#"volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer""#
                ]],
            ),
            (
                with("allowedTopologies", value!([zone(value!(["a", "b"])), zone(value!(["b", "a"]))])),
                expect![[r#"allowedTopologies[1].matchLabelExpressions: Duplicate value: """#]],
            ),
            (
                with("allowedTopologies", value!([zone(value!(["a", "a"])), zone(value!([]))])),
                expect![[r#"
                allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"
                allowedTopologies[1].matchLabelExpressions[0].values: Required value"#]],
            ),
        ] {
            create(&kind(), obj, want);
        }
        let mut other = with("provisioner", "other");
        other.set(&["reclaimPolicy"], "Retain");
        other.set(&["volumeBindingMode"], "WaitForFirstConsumer");
        other.set(&["parameters"], value!({}));
        other.set(&["allowVolumeExpansion"], true);
        update(
            &kind(),
            class(),
            other,
            expect![[r#"
            parameters: Invalid value: "": field is immutable
            provisioner: Invalid value: "other": field is immutable
            reclaimPolicy: Invalid value: "Retain": field is immutable
            volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable"#]],
        );
    }

    #[test]
    fn warnings() {
        let term =
            value!({"matchLabelExpressions": [{"key": "failure-domain.beta.kubernetes.io/zone", "values": ["a"]}]});
        testing::warnings(
            &kind(),
            with("allowedTopologies", value!([term])),
            expect![[
                r#"allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#
            ]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), class(), expect!["obj | Example.com/disk | Delete | Immediate | false | 5m"]);
        let mut obj = with("allowVolumeExpansion", true);
        obj.set(&["metadata", "annotations", DEFAULT[0]], "true");
        cells(&kind(), obj, expect!["obj (default) | Example.com/disk | Delete | Immediate | true | 5m"]);
    }
}
