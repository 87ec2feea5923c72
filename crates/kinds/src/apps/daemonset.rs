//! DaemonSet: a pod on every node that fits.
//!
//! The count of its templates, long gone from the API, lives on as an annotation that only the server writes.

use super::replicas;
use crate::{
    at::At,
    cells::{self, workload},
    declare::declare,
    rules::{amount, same},
    template,
};
use base::{FieldErrors, status::Problem};
use schema::{Column, Context, Hooks, Kind};
use value::Value;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub fn kind() -> Kind {
    declare("apps", "DaemonSet")
        .short(["ds"])
        .categories(["all"])
        .version("v1", "io.k8s.api.apps.v1.DaemonSet", columns())
        .generation()
        .status()
        .hooks(DaemonSet)
        .build()
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::object_name(),
        Column::number("Desired", |obj, _| cells::count(obj, &["status", "desiredNumberScheduled"])),
        Column::number("Current", |obj, _| cells::count(obj, &["status", "currentNumberScheduled"])),
        Column::number("Ready", |obj, _| cells::count(obj, &["status", "numberReady"])),
        Column::number("Up-to-date", |obj, _| cells::count(obj, &["status", "updatedNumberScheduled"])),
        Column::number("Available", |obj, _| cells::count(obj, &["status", "numberAvailable"])),
        Column::text("Node Selector", |obj, _| {
            cells::labels(obj.at(&["spec", "template", "spec", "nodeSelector"])).into()
        }),
        Column::age(),
    ];
    columns.extend(workload());
    columns
}

#[derive(Debug)]
struct DaemonSet;

impl Hooks for DaemonSet {
    fn default(&self, obj: &mut Value) {
        template::default_template_at(obj, &["spec", "template"]);
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        let given = generation(obj).max(1);
        obj.set(&["metadata", "annotations", TEMPLATE_GENERATION], given.to_string());
        obj.set(&["status"], no_status());
    }
    fn prepare_update(&self, _cx: &Context, obj: &mut Value, old: &Value) {
        let template = ["spec", "template"];
        let changed = !same(obj.at(&template), old.at(&template));
        let next = generation(old) + i64::from(changed);
        obj.set(&["metadata", "annotations", TEMPLATE_GENERATION], next.to_string());
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            return status(root.get("status"), old, errors);
        }
        let spec = root.get("spec");
        let (selector, template) = (spec.get("selector"), spec.get("template"));
        if let Some(old) = old {
            selector.immutable(errors, old.at(&["spec", "selector"]));
        }
        selector.label_selector(errors);
        replicas::matches(selector, template, errors);
        replicas::not_everything(selector, "daemonset", errors);
        template::validate_template(template, errors);
        replicas::runs_forever(template, "DaemonSet", errors);
        spec.get("minReadySeconds").non_negative(errors);
        strategy(spec.get("updateStrategy"), errors);
        spec.get("revisionHistoryLimit").non_negative(errors);
    }
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let spec = root.get("spec");
        match old {
            Some(old) if generation(old) == generation(obj) => Vec::new(),
            _ => replicas::template_warnings(cx, obj, old, spec.get("template")),
        }
    }
}

/// The fields of its status that have no empty form.
fn no_status() -> Value {
    value::value!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
}

fn generation(obj: &Value) -> i64 {
    obj.str_at(&["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(0)
}

fn strategy(strategy: At, errors: &mut FieldErrors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => rolling.required(errors, ""),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            for share in [unavailable, surge] {
                replicas::share(share, errors);
            }
            match (amount(unavailable.value) != 0, amount(surge.value) != 0) {
                (true, true) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
                (false, false) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => {
            let supported = "supported values: \"RollingUpdate\", \"OnDelete\"";
            errors.add(Problem::NotSupported, strategy.path, Some(strategy.value.to_string()), supported);
        }
    }
}

fn status(status: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    replicas::status(status, &counts, &[], errors);
    replicas::collisions(status, old, errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, created, defaults, update, update_of, updated};
    use expect_test::expect;
    use value::value;

    fn set() -> Value {
        value!({"spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "log", "image": "x:1"}]}},
        }})
    }
    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = set();
        obj.set(path, value);
        obj
    }

    #[test]
    fn defaulting() {
        defaults(
            &kind(),
            set(),
            &["spec", "updateStrategy"],
            expect![[r#"{"rollingUpdate":{"maxSurge":0,"maxUnavailable":1},"type":"RollingUpdate"}"#]],
        );
        defaults(
            &kind(),
            with(&["spec", "updateStrategy", "type"], "OnDelete"),
            &["spec", "updateStrategy"],
            expect![[r#"{"type":"OnDelete"}"#]],
        );
        defaults(&kind(), set(), &["spec", "revisionHistoryLimit"], expect!["10"]);
    }

    #[test]
    fn validation() {
        create(&kind(), set(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`
                spec.template.spec.containers: Required value"#]],
            ),
            (
                with(&["spec", "selector"], value!({})),
                expect!["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
            ),
            (
                with(&["spec", "selector", "matchLabels", "app"], "web"),
                expect![[
                    r#"spec.template.metadata.labels: Invalid value: {"app":"log"}: `selector` does not match template `labels`"#
                ]],
            ),
            (
                with(&["spec", "updateStrategy"], value!({"type": "Other"})),
                expect![[
                    r#"spec.updateStrategy: Unsupported value: {"type":"Other"}: supported values: "RollingUpdate", "OnDelete""#
                ]],
            ),
            (
                with(&["spec", "updateStrategy"], value!({"rollingUpdate": {"maxSurge": 1}})),
                expect![
                    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
                ],
            ),
            (
                with(&["spec", "updateStrategy"], value!({"rollingUpdate": {"maxUnavailable": 0}})),
                expect![
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"
                ],
            ),
            (
                with(
                    &["spec", "updateStrategy"],
                    value!({"rollingUpdate": {"maxUnavailable": "101%", "maxSurge": "x"}}),
                ),
                expect![[r#"
                    spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%
                    spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"#]],
            ),
            (
                with(&["spec", "template", "spec", "restartPolicy"], "OnFailure"),
                expect![[
                    r#"spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always""#
                ]],
            ),
            (
                with(&["spec", "template", "spec", "activeDeadlineSeconds"], 5),
                expect![
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported"
                ],
            ),
            (
                with(&["spec", "minReadySeconds"], -1),
                expect!["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
            ),
        ] {
            create(&kind(), obj, want);
        }
        let mut other = with(&["spec", "selector", "matchLabels", "v"], "2");
        other.set(&["spec", "template", "metadata", "labels", "v"], "2");
        update(
            &kind(),
            set(),
            other,
            expect![[r#"spec.selector: Invalid value: {"matchLabels":{"app":"log","v":"2"}}: field is immutable"#]],
        );
        update_of(
            &kind(),
            Some("status"),
            value!({"status": {"collisionCount": 2}}),
            value!({"status": {"numberReady": -1, "collisionCount": 1}}),
            expect![[r#"
                status.numberReady: Invalid value: -1: must be greater than or equal to 0
                status.collisionCount: Invalid value: 1: cannot be decremented"#]],
        );
    }

    #[test]
    fn templates_are_counted() {
        let first = created(&kind(), set());
        assert_eq!(first.str_at(&["metadata", "annotations", TEMPLATE_GENERATION]), "1");
        let count = |obj: Value| {
            let after = updated(&kind(), &first, obj);
            after.str_at(&["metadata", "annotations", TEMPLATE_GENERATION]).to_string()
        };
        assert_eq!(count(with(&["spec", "minReadySeconds"], 5)), "1");
        assert_eq!(count(with(&["metadata", "annotations", TEMPLATE_GENERATION], "7")), "1");
        assert_eq!(count(with(&["spec", "template", "metadata", "labels", "v"], "2")), "2");
    }

    #[test]
    fn columns() {
        let mut obj = with(&["spec", "template", "spec", "nodeSelector"], value!({"disk": "ssd"}));
        obj.set(&["status"], value!({"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1}));
        cells(&kind(), obj, expect!["obj | 3 | 2 | 1 | 0 | 0 | disk=ssd | 5m || log | x:1 | app=log"]);
    }
}
