//! ReplicaSet: keeps a number of equal pods.

use super::replicas;
use crate::{
    at::At,
    cells::{count, workload},
    declare::declare,
    template,
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("apps", "ReplicaSet")
        .short(["rs"])
        .categories(["all"])
        .version("v1", "io.k8s.api.apps.v1.ReplicaSet", columns())
        .generation()
        .status()
        .scale()
        .hooks(ReplicaSet)
        .build()
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::object_name(),
        Column::number("Desired", |obj, _| count(obj, &["spec", "replicas"])),
        Column::number("Current", |obj, _| count(obj, &["status", "replicas"])),
        Column::number("Ready", |obj, _| count(obj, &["status", "readyReplicas"])),
        Column::age(),
    ];
    columns.extend(workload());
    columns
}

#[derive(Debug)]
struct ReplicaSet;

impl Hooks for ReplicaSet {
    fn default(&self, obj: &mut Value) {
        template::default_template_at(obj, &["spec", "template"]);
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value::value!({"replicas": 0}));
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let counts = [
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "observedGeneration",
                "terminatingReplicas",
            ];
            return replicas::counted(root.get("status"), &counts, errors);
        }
        let spec = root.get("spec");
        spec.get("replicas").non_negative(errors);
        spec.get("minReadySeconds").non_negative(errors);
        replicas::spec(spec, old, errors);
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
    use crate::testing::{cells, update_of};
    use expect_test::expect;
    use value::value;

    #[test]
    fn counts_fit_each_other() {
        update_of(
            &kind(),
            Some("status"),
            value!({}),
            value!({"status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": 3, "fullyLabeledReplicas": -1}}),
            expect![[r#"
                status.fullyLabeledReplicas: Invalid value: -1: must be greater than or equal to 0
                status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas
                status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas
                status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas"#]],
        );
    }

    #[test]
    fn columns() {
        cells(
            &kind(),
            value!({
                "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                    "template": {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]}}},
                "status": {"replicas": 2},
            }),
            expect!["obj | 3 | 2 | 0 | 5m || a,b | x:1,y | app=web"],
        );
    }
}
