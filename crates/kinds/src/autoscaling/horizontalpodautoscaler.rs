//! HorizontalPodAutoscaler: keeps a metric near its target by the number of pods. Stored as `v2`; `v1` knows one metric
//! and carries the others in annotations ([`super::convert`]).

use super::{columns, convert, metrics};
use crate::{at::At, declare::declare};
use base::{FieldErrors, Result, names};
use schema::{Context, Hooks, Kind};
use value::{Value, value};

const WINDOW_MAX: i64 = 3600;
const PERIOD_MAX: i64 = 1800;

pub fn kind() -> Kind {
    declare("autoscaling", "HorizontalPodAutoscaler")
        .short(["hpa"])
        .categories(["all"])
        .version("v2", "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler", columns::v2())
        .version("v1", "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler", columns::v1())
        .status()
        .hooks(HorizontalPodAutoscaler)
        .build()
}

#[derive(Debug)]
struct HorizontalPodAutoscaler;

impl Hooks for HorizontalPodAutoscaler {
    fn default(&self, obj: &mut Value) {
        if obj.at(&["spec"]).as_object().is_none() {
            return;
        }
        if obj.items_at(&["spec", "metrics"]).is_empty() {
            obj.set(&["spec", "metrics"], value!([metrics::cpu(80)]));
        }
        if obj.at(&["spec", "behavior"]).as_object().is_some() {
            let policy = |ty: &str, amount: i64| value!({"type": ty, "value": amount, "periodSeconds": 15});
            let up = value!([policy("Pods", 4), policy("Percent", 100)]);
            for (rules, policies) in [("scaleUp", up), ("scaleDown", value!([policy("Percent", 100)]))] {
                obj.set_default(&["spec", "behavior", rules, "selectPolicy"], "Max");
                obj.set_default(&["spec", "behavior", rules, "policies"], policies);
            }
            obj.set_default(&["spec", "behavior", "scaleUp", "stabilizationWindowSeconds"], 0);
        }
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value!({"currentMetrics": null, "desiredReplicas": 0}));
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let status = root.get("status");
            status.get("currentReplicas").non_negative(errors);
            return status.get("desiredReplicas").non_negative(errors);
        }
        spec(root.get("spec"), old, errors);
    }
    fn convert(&self, obj: &mut Value, _from: &str, to: &str) -> Result<()> {
        match to {
            "v1" => convert::to_v1(obj),
            _ => convert::to_v2(obj),
        }
        Ok(())
    }
}

fn spec(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let before = |path: &[&str]| old.map_or(&Value::Null, |old| old.at(path));
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    // Scaling to zero is an alpha feature; what has it keeps it.
    let lowest = if before(&["spec", "minReplicas"]).as_i64() == Some(0) { 0 } else { 1 };
    if min.is_set() && min.int() < lowest {
        min.invalid_int(errors, format!("must be greater than or equal to {lowest}"));
    }
    match max.int() {
        0 => max.required(errors, "must be set and greater than 0"),
        negative if negative < 0 => max.invalid_int(errors, "must be greater than or equal to 1"),
        _ => {}
    }
    if min.is_set() && max.int() < min.int() {
        max.invalid_int(errors, "must be greater than or equal to `minReplicas`");
    }
    let target = spec.get("scaleTargetRef");
    let known = old.is_some()
        && ["apiVersion", "kind"]
            .iter()
            .all(|f| before(&["spec", "scaleTargetRef", f]).as_str().unwrap_or("") == target.get(f).str());
    let group = match target.get("kind").str() {
        _ if known => Group::Any,
        "ReplicationController" => Group::MayBeEmpty,
        _ => Group::Needed,
    };
    reference(target, group, errors);
    let kept = old.is_some_and(|old| {
        let objects =
            old.items_at(&["spec", "metrics"]).iter().map(|m| m.str_at(&["object", "describedObject", "apiVersion"]));
        objects.into_iter().any(|version| version.matches('/').count() > 1)
    });
    metrics::validate(spec, if kept { Group::Any } else { Group::MayBeEmpty }, errors);
    let behavior = spec.get("behavior");
    for rules in ["scaleUp", "scaleDown"] {
        scaling_rules(behavior.get(rules), errors);
    }
}

/// What an `apiVersion` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Needed,
    MayBeEmpty,
    /// It is not looked at.
    Any,
}

/// A `CrossVersionObjectReference`.
pub fn reference(reference: At, group: Group, errors: &mut FieldErrors) {
    for field in ["kind", "name"] {
        let field = reference.get(field);
        if field.need(errors) {
            field.shape(errors, names::path_segment(field.str()));
        }
    }
    let version = reference.get("apiVersion");
    match (group, version.str().matches('/').count()) {
        (Group::Any, _) => {}
        (_, 2..) => {
            version.invalid(errors, format!("unexpected GroupVersion string: {}", version.str()));
        }
        (Group::Needed, 0) => version.invalid(errors, "apiVersion must specify API group"),
        (Group::Needed, _) if version.str().starts_with('/') => {
            version.invalid(errors, "apiVersion must specify API group");
        }
        _ => {}
    }
}

fn scaling_rules(rules: At, errors: &mut FieldErrors) {
    if !rules.is_set() {
        return;
    }
    let window = rules.get("stabilizationWindowSeconds");
    if window.int() < 0 {
        window.invalid_int(errors, "must be greater than or equal to zero");
    }
    if window.int() > WINDOW_MAX {
        window.invalid_int(errors, format!("must be less than or equal to {WINDOW_MAX}"));
    }
    rules.get("selectPolicy").one_of_if_set(errors, &["Disabled", "Max", "Min"]);
    let policies = rules.get("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        let (amount, period) = (policy.get("value"), policy.get("periodSeconds"));
        policy.get("type").one_of_or_empty(errors, &["Percent", "Pods"]);
        for number in [amount, period].into_iter().filter(|n| n.int() <= 0) {
            number.invalid_int(errors, "must be greater than zero");
        }
        if period.int() > PERIOD_MAX {
            period.invalid_int(errors, format!("must be less than or equal to {PERIOD_MAX}"));
        }
    }
    let tolerance = rules.get("tolerance");
    if tolerance.is_set() {
        tolerance.quantity(errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, defaults, update, update_of};
    use expect_test::expect;

    fn hpa() -> Value {
        value!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}})
    }
    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = hpa();
        obj.set(path, value);
        obj
    }
    fn metric(metric: Value) -> Value {
        with(&["spec", "metrics"], value!([metric]))
    }

    #[test]
    fn defaulting() {
        defaults(
            &kind(),
            hpa(),
            &["spec"],
            expect![[
                r#"{"maxReplicas":3,"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"}],"minReplicas":1,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"}}"#
            ]],
        );
        defaults(
            &kind(),
            with(&["spec", "behavior"], value!({})),
            &["spec", "behavior"],
            expect![[
                r#"{"scaleDown":{"policies":[{"periodSeconds":15,"type":"Percent","value":100}],"selectPolicy":"Max"},"scaleUp":{"policies":[{"periodSeconds":15,"type":"Pods","value":4},{"periodSeconds":15,"type":"Percent","value":100}],"selectPolicy":"Max","stabilizationWindowSeconds":0}}"#
            ]],
        );
        let own = value!({"scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}});
        defaults(
            &kind(),
            with(&["spec", "behavior"], own),
            &["spec", "behavior", "scaleDown"],
            expect![[r#"{"policies":[{"periodSeconds":60,"type":"Pods","value":1}],"selectPolicy":"Min"}"#]],
        );
    }

    #[test]
    fn validation() {
        create(&kind(), hpa(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.maxReplicas: Required value: must be set and greater than 0
                spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`
                spec.scaleTargetRef.kind: Required value
                spec.scaleTargetRef.name: Required value
                spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group"#]],
            ),
            (
                with(&["spec", "minReplicas"], 0),
                expect![[r#"
                spec.minReplicas: Invalid value: 0: must be greater than or equal to 1
                spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"#]],
            ),
            (
                with(&["spec", "maxReplicas"], -1),
                expect![[r#"
                spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1
                spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`"#]],
            ),
            (
                with(&["spec", "minReplicas"], 5),
                expect!["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
            ),
            (
                with(&["spec", "scaleTargetRef"], value!({"apiVersion": "v1", "kind": "Pod", "name": "a/b"})),
                expect![[r#"
                spec.scaleTargetRef.name: Invalid value: "a/b": may not contain '/'
                spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#]],
            ),
            (with(&["spec", "scaleTargetRef"], value!({"kind": "ReplicationController", "name": "a"})), expect![]),
            (
                with(&["spec", "scaleTargetRef", "apiVersion"], "a/b/c"),
                expect![[
                    r#"spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#
                ]],
            ),
            (
                with(
                    &["spec", "behavior"],
                    value!({"scaleUp": {"stabilizationWindowSeconds": 3601, "selectPolicy": "Some",
                    "policies": [{"type": "Nodes", "value": 0, "periodSeconds": 1801}], "tolerance": "-1"}}),
                ),
                expect![[r#"
                    spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600
                    spec.behavior.scaleUp.selectPolicy: Unsupported value: "Some": supported values: "Disabled", "Max", "Min"
                    spec.behavior.scaleUp.policies[0].type: Unsupported value: "Nodes": supported values: "Percent", "Pods"
                    spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero
                    spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800
                    spec.behavior.scaleUp.tolerance: Invalid value: "-1": must be greater than or equal to 0"#]],
            ),
            (
                with(&["spec", "behavior"], value!({"scaleUp": {"stabilizationWindowSeconds": -1, "policies": []}})),
                expect![
                    "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero"
                ],
            ),
        ] {
            create(&kind(), obj, want);
        }
        update_of(
            &kind(),
            Some("status"),
            hpa(),
            with(&["status"], value!({"currentReplicas": -1, "desiredReplicas": -1})),
            expect![[r#"
                status.currentReplicas: Invalid value: -1: must be greater than or equal to 0
                status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0"#]],
        );
        let old = with(&["spec", "scaleTargetRef", "apiVersion"], "");
        let mut new = old.clone();
        new.set(&["spec", "maxReplicas"], 5);
        update(&kind(), old, new, expect![]);
    }

    #[test]
    fn metrics() {
        let target = value!({"type": "AverageValue", "averageValue": "5"});
        for (obj, want) in [
            (metric(value!({"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": target}})), expect![]),
            (
                metric(value!({})),
                expect![[r#"
                spec.metrics[0].type: Required value: must specify a metric source type
                spec.metrics[0].type: Unsupported value: "": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#]],
            ),
            (
                metric(value!({"type": "Pods"})),
                expect!["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
            ),
            (
                metric(value!({"type": "Resource", "resource": {"name": "cpu", "target": {}}})),
                expect![[r#"
                spec.metrics[0].resource.target.type: Required value: must specify a metric target type
                spec.metrics[0].resource.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue
                spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"#]],
            ),
            (
                metric(value!({"type": "Resource", "resource": {"name": "", "target": {"type": "Utilization",
                    "averageUtilization": 0, "averageValue": "0"}}})),
                expect![[r#"
                    spec.metrics[0].resource.name: Required value: must specify a resource name
                    spec.metrics[0].resource.target.averageValue: Invalid value: "0": must be positive
                    spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0
                    spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization"#]],
            ),
            (
                metric(
                    value!({"type": "ContainerResource", "containerResource": {"name": "disk", "container": "A", "target": target}}),
                ),
                expect![[r#"
                    spec.metrics[0].containerResource.name: Invalid value: "disk": must be a standard resource type or fully qualified
                    spec.metrics[0].containerResource.name: Invalid value: "disk": must be a standard resource for containers
                    spec.metrics[0].containerResource.container: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#]],
            ),
            (
                metric(value!({"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "web"},
                    "metric": {"name": ""}, "target": {"type": "Some"}}})),
                expect![[r#"
                    spec.metrics[0].object.metric.name: Required value: must specify a metric name
                    spec.metrics[0].object.target.type: Invalid value: "Some": must be either Utilization, Value, or AverageValue
                    spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue"#]],
            ),
            (
                metric(value!({"type": "External", "external": {"metric": {"name": "a/b"},
                    "target": {"type": "Value", "value": "1", "averageValue": "1"}}})),
                expect![[r#"
                    spec.metrics[0].external.metric.name: Invalid value: "a/b": may not contain '/'
                    spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"#]],
            ),
            (
                metric(value!({"type": "Resource", "resource": {"name": "cpu", "target": target},
                    "pods": {"metric": {"name": "hits"}, "target": target}})),
                expect!["spec.metrics[0].pods: Forbidden: must populate the given metric source only"],
            ),
        ] {
            create(&kind(), obj, want);
        }
    }
}
