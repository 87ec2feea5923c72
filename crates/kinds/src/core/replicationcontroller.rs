//! ReplicationController: what ReplicaSets were before selectors had operators.

use crate::{apps::replicas, at::At, cells, declare::declare, template};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::{Value, value};

pub fn kind() -> Kind {
    declare("", "ReplicationController")
        .short(["rc"])
        .categories(["all"])
        .version("v1", "io.k8s.api.core.v1.ReplicationController", columns())
        .stored_under("controllers")
        .stored_formerly("replicationcontrollers")
        .generation()
        .orphan_by_default()
        .status()
        .scale()
        .selectable_at("status.replicas", "status.replicas", "0")
        .hooks(ReplicationController)
        .build()
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::object_name(),
        Column::number("Desired", |obj, _| cells::count(obj, &["spec", "replicas"])),
        Column::number("Current", |obj, _| cells::count(obj, &["status", "replicas"])),
        Column::number("Ready", |obj, _| cells::count(obj, &["status", "readyReplicas"])),
        Column::age(),
    ];
    columns.extend(cells::containers());
    columns.push(Column::text("Selector", |obj, _| cells::labels(obj.at(&["spec", "selector"])).into()).wide());
    columns
}

#[derive(Debug)]
struct ReplicationController;

impl Hooks for ReplicationController {
    fn default(&self, obj: &mut Value) {
        template::default_template_at(obj, &["spec", "template"]);
        let labels = obj.at(&["spec", "template", "metadata", "labels"]).clone();
        if labels.as_object().is_some() {
            for place in [["spec", "selector"], ["metadata", "labels"]] {
                if obj.members_at(&place).next().is_none() {
                    obj.set(&place, &labels);
                }
            }
        }
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value!({"replicas": 0}));
    }
    fn validate(&self, cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let counts =
                ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
            return replicas::counted(root.get("status"), &counts, errors);
        }
        let spec = root.get("spec");
        let (selector, template) = (spec.get("selector"), spec.get("template"));
        spec.get("minReadySeconds").non_negative(errors);
        selector.need(errors);
        spec.get("replicas").non_negative(errors);
        if !template.is_set() {
            return template.required(errors, "");
        }
        let labels = template.value.at(&["metadata", "labels"]);
        if selector.entries().any(|(key, want)| labels.get(key) != Some(want.value)) {
            replicas::mismatch(template, errors);
        }
        template::validate_template(template, errors);
        replicas::runs_forever(template, "ReplicationController", errors);
    }
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let spec = root.get("spec");
        replicas::warnings(cx, obj, old, spec.get("template"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, defaults, update_of, warnings};
    use expect_test::expect;

    fn controller() -> Value {
        value!({"spec": {"replicas": 2, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "x:1"}]}}}})
    }
    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = controller();
        obj.set(path, value);
        obj
    }

    #[test]
    fn the_template_says_the_labels() {
        defaults(&kind(), controller(), &["spec", "selector"], expect![[r#"{"app":"web"}"#]]);
        defaults(&kind(), controller(), &["metadata"], expect![[r#"{"labels":{"app":"web"}}"#]]);
        defaults(
            &kind(),
            with(&["metadata", "labels"], value!({"own": "1"})),
            &["metadata"],
            expect![[r#"{"labels":{"own":"1"}}"#]],
        );
    }

    #[test]
    fn validation() {
        create(&kind(), controller(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.selector: Required value
                spec.template: Required value"#]],
            ),
            (
                with(&["spec", "selector"], value!({"app": "db"})),
                expect![[
                    r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#
                ]],
            ),
            (
                with(&["spec", "replicas"], -1),
                expect!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&["spec", "minReadySeconds"], -1),
                expect!["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&["spec", "template", "spec", "restartPolicy"], "Never"),
                expect![[
                    r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#
                ]],
            ),
            (
                with(&["spec", "template", "spec", "activeDeadlineSeconds"], 1),
                expect![
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"
                ],
            ),
        ] {
            create(&kind(), obj, want);
        }
        update_of(
            &kind(),
            Some("status"),
            controller(),
            with(&["status"], value!({"replicas": 1, "readyReplicas": 2, "availableReplicas": -1})),
            expect![[r#"
                status.availableReplicas: Invalid value: -1: must be greater than or equal to 0
                status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"#]],
        );
        warnings(
            &kind(),
            with(&["metadata", "name"], "a.b"),
            expect![
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
            ],
        );
    }

    #[test]
    fn columns() {
        cells(
            &kind(),
            with(&["spec", "selector"], value!({"app": "web"})),
            expect!["obj | 2 | 0 | 0 | 5m || web | x:1 | app=web"],
        );
    }
}
