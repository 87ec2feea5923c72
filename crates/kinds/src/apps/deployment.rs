//! Deployment: rolls a ReplicaSet out, and back.

use super::replicas;
use crate::{
    at::At,
    cells::{count, of, workload},
    declare::declare,
    rules::amount,
    template,
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("apps", "Deployment")
        .short(["deploy"])
        .categories(["all"])
        .version("v1", "io.k8s.api.apps.v1.Deployment", columns())
        .generation()
        .status()
        .scale()
        .hooks(Deployment)
        .build()
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::object_name(),
        Column::text("Ready", |obj, _| of(obj, &["status", "readyReplicas"], &["spec", "replicas"])),
        Column::text("Up-to-date", |obj, _| count(obj, &["status", "updatedReplicas"])),
        Column::text("Available", |obj, _| count(obj, &["status", "availableReplicas"])),
        Column::age(),
    ];
    columns.extend(workload());
    columns
}

#[derive(Debug)]
struct Deployment;

impl Hooks for Deployment {
    fn default(&self, obj: &mut Value) {
        template::default_template_at(obj, &["spec", "template"]);
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], Value::object());
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let counts = [
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ];
            let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
            let status = root.get("status");
            replicas::status(status, &counts, &parts, errors);
            replicas::available_are_ready(status, "readyReplicas", errors);
            return replicas::collisions(status, old, errors);
        }
        let spec = root.get("spec");
        spec.get("replicas").non_negative(errors);
        replicas::spec(spec, old, errors);
        strategy(spec.get("strategy"), errors);
        let ready = spec.get("minReadySeconds");
        let deadline = spec.get("progressDeadlineSeconds");
        for seconds in [ready, spec.get("revisionHistoryLimit"), deadline] {
            seconds.non_negative(errors);
        }
        if deadline.is_set() && deadline.int() <= ready.int() {
            deadline.invalid_int(errors, "must be greater than minReadySeconds");
        }
    }
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let spec = root.get("spec");
        replicas::warnings(cx, obj, old, spec.get("template"))
    }
}

fn strategy(strategy: At, errors: &mut FieldErrors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "Recreate" if rolling.is_set() => {
            rolling.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => rolling_update(rolling, errors),
        _ => {
            let supported = "supported values: \"Recreate\", \"RollingUpdate\"";
            let shown = Some(strategy.value.to_string());
            errors.add(base::status::Problem::NotSupported, strategy.path, shown, supported);
        }
    }
}

fn rolling_update(rolling: At, errors: &mut FieldErrors) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    unavailable.int_or_percent(errors);
    surge.int_or_percent(errors);
    if amount(unavailable.value) == 0 && amount(surge.value) == 0 {
        unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
    }
    if unavailable.str().ends_with('%') && amount(unavailable.value) > 100 {
        unavailable.invalid(errors, "must not be greater than 100%");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, defaults, update};
    use expect_test::expect;
    use value::value;

    fn deployment() -> Value {
        value!({"spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "x:1"}]}},
        }})
    }

    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = deployment();
        obj.set(path, value);
        obj
    }

    #[test]
    fn defaulting() {
        defaults(
            &kind(),
            deployment(),
            &["spec", "strategy"],
            expect![[r#"{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}"#]],
        );
        defaults(
            &kind(),
            with(&["spec", "strategy"], value!({"type": "Recreate"})),
            &["spec", "strategy"],
            expect![[r#"{"type":"Recreate"}"#]],
        );
        defaults(&kind(), deployment(), &["spec", "replicas"], expect!["1"]);
        defaults(&kind(), deployment(), &["spec", "progressDeadlineSeconds"], expect!["600"]);
        defaults(
            &kind(),
            deployment(),
            &["spec", "template"],
            expect![[
                r#"{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"image":"x:1","imagePullPolicy":"IfNotPresent","name":"web","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}"#
            ]],
        );
    }

    #[test]
    fn validation() {
        create(&kind(), deployment(), expect![""]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                    spec.selector: Required value
                    spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`
                    spec.template.spec.containers: Required value"#]],
            ),
            (
                with(&["spec", "selector"], value!({})),
                expect!["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
            ),
            (
                with(&["spec", "selector", "matchLabels"], value!({"app": "db"})),
                expect![[
                    r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#
                ]],
            ),
            (
                with(&["spec", "replicas"], -1),
                expect!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&["spec", "strategy"], value!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}})),
                expect![[
                    r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0"#
                ]],
            ),
            (
                with(&["spec", "strategy"], value!({"rollingUpdate": {"maxUnavailable": "101%"}})),
                expect![[
                    r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#
                ]],
            ),
            (
                with(&["spec", "strategy"], value!({"type": "Other"})),
                expect![[
                    r#"spec.strategy: Unsupported value: {"type":"Other"}: supported values: "Recreate", "RollingUpdate""#
                ]],
            ),
            (
                with(&["spec", "minReadySeconds"], 600),
                expect!["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
            ),
            (
                with(&["spec", "template", "spec", "restartPolicy"], "Never"),
                expect![[
                    r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#
                ]],
            ),
        ] {
            create(&kind(), obj, want);
        }
    }

    #[test]
    fn the_selector_stays() {
        let mut new = with(&["spec", "selector", "matchLabels"], value!({"app": "web", "v": "2"}));
        new.set(&["spec", "template", "metadata", "labels", "v"], "2");
        update(
            &kind(),
            deployment(),
            new,
            expect![[r#"spec.selector: Invalid value: {"matchLabels":{"app":"web","v":"2"}}: field is immutable"#]],
        );
    }

    #[test]
    fn warnings() {
        let mut obj = with(&["spec", "template", "spec", "nodeSelector"], value!({"beta.kubernetes.io/os": "linux"}));
        obj.set(&["metadata", "name"], "a.b");
        testing::warnings(
            &kind(),
            obj,
            expect![[r#"
            metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
            spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead"#]],
        );
    }

    #[test]
    fn columns() {
        let mut obj = with(&["spec", "replicas"], 2);
        obj.set(&["status"], value!({"readyReplicas": 1, "updatedReplicas": 2}));
        cells(&kind(), obj, expect!["obj | 1/2 | 2 | 0 | 5m || web | x:1 | app=web"]);
    }
}
