//! PodDisruptionBudget: how many of a set of pods may be away at once. Evictions ask it ([`super::eviction`]).

use crate::{at::At, cells, declare::declare};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind, NameRule};
use value::{Value, value};

pub fn kind() -> Kind {
    declare("policy", "PodDisruptionBudget")
        .short(["pdb"])
        .names(NameRule::PathSegment)
        .version("v1", "io.k8s.api.policy.v1.PodDisruptionBudget", columns())
        .generation()
        .status()
        .conditional_update()
        .hooks(PodDisruptionBudget)
        .build()
}

fn columns() -> Vec<Column> {
    fn amount(obj: &Value, field: &str) -> Value {
        match obj.at(&["spec", field]) {
            Value::Null => "N/A".into(),
            Value::String(share) => share.clone().into(),
            number => number.to_string().into(),
        }
    }
    vec![
        Column::object_name(),
        Column::text("Min Available", |obj, _| amount(obj, "minAvailable")),
        Column::text("Max Unavailable", |obj, _| amount(obj, "maxUnavailable")),
        Column::number("Allowed Disruptions", |obj, _| cells::count(obj, &["status", "disruptionsAllowed"])),
        Column::age(),
    ]
}

#[derive(Debug)]
struct PodDisruptionBudget;

/// The version of stores that were filled before Kubernetes 1.21, and the label that its selectors have meanings by.
/// Source: `pkg/apis/policy/v1beta1/conversion.go`.
const OLD: &str = "policy/v1beta1";
const OLD_LABEL: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

/// What an old selector says: the empty one matched nothing, and there was another one for everything.
fn selector_of_old(old: &Value) -> Value {
    let empty = |v: &Value| v.is_null() || v.as_object().is_some_and(|o| o.is_empty());
    let expressions = old.items_at(&["matchExpressions"]);
    if empty(old.at(&["matchLabels"])) {
        match expressions {
            [] => return value!({"matchExpressions": [{"key": OLD_LABEL, "operator": "Exists"}]}),
            [all] if all.str_at(&["key"]) == OLD_LABEL && all.str_at(&["operator"]) == "DoesNotExist" => {
                return Value::object();
            }
            _ => {}
        }
    }
    let mut new = old.clone();
    if expressions.iter().any(|e| e.str_at(&["key"]) == OLD_LABEL) {
        let rest: Vec<Value> = expressions.iter().filter(|e| e.str_at(&["key"]) != OLD_LABEL).cloned().collect();
        new.set(&["matchExpressions"], rest);
    }
    new
}

impl Hooks for PodDisruptionBudget {
    fn receive(&self, obj: &mut Value) {
        if obj.str_at(&["apiVersion"]) != OLD {
            return;
        }
        obj.set(&["apiVersion"], "policy/v1");
        let selector = obj.at(&["spec", "selector"]);
        if selector.as_object().is_some() {
            let selector = selector_of_old(selector);
            obj.set(&["spec", "selector"], selector);
        }
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        let status = value!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        obj.set(&["status"], status);
    }
    fn validate(&self, cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let status = root.get("status");
            status.get("conditions").conditions(errors);
            for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                status.get(count).non_negative(errors);
            }
            return;
        }
        let spec = root.get("spec");
        let (available, unavailable) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
        if available.is_set() && unavailable.is_set() {
            // Upstream prints its inner type.
            let of = |key: &str| obj.at(&["spec", key]);
            let (least, most, selector) = (of("minAvailable"), of("maxUnavailable"), of("selector"));
            let policy = of("unhealthyPodEvictionPolicy");
            let shown = format!(
                r#"{{"MinAvailable":{least},"Selector":{selector},"MaxUnavailable":{most},"UnhealthyPodEvictionPolicy":{policy}}}"#
            );
            errors.invalid_raw("spec", shown, "minAvailable and maxUnavailable cannot be both set");
        }
        for share in [available, unavailable].into_iter().filter(At::is_set) {
            crate::apps::replicas::share(share, errors);
        }
        spec.get("selector").label_selector(errors);
        spec.get("unhealthyPodEvictionPolicy").one_of_if_set(errors, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update_of};
    use expect_test::expect;

    #[test]
    fn validation() {
        let spec = |spec: Value| {
            let mut obj = Value::object();
            obj.set(&["spec"], spec);
            obj
        };
        for (obj, want) in [
            (spec(value!({"minAvailable": 1, "selector": {}})), expect![]),
            (
                spec(value!({"minAvailable": 1, "maxUnavailable": 1})),
                expect![[
                    r#"spec: Invalid value: {"MinAvailable":1,"Selector":null,"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set"#
                ]],
            ),
            (
                spec(value!({"minAvailable": "101%"})),
                expect![[r#"spec.minAvailable: Invalid value: "101%": must not be greater than 100%"#]],
            ),
            (
                spec(value!({"maxUnavailable": "some"})),
                expect![[
                    r#"spec.maxUnavailable: Invalid value: "some": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"#
                ]],
            ),
            (
                spec(value!({"maxUnavailable": -1})),
                expect!["spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                spec(value!({"selector": {"matchLabels": {"a": "b c"}}})),
                expect![[
                    r#"spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#
                ]],
            ),
            (
                spec(value!({"unhealthyPodEvictionPolicy": "Never"})),
                expect![[
                    r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget""#
                ]],
            ),
        ] {
            create(&kind(), obj, want);
        }
        update_of(
            &kind(),
            Some("status"),
            value!({}),
            value!({"status": {"disruptionsAllowed": -1, "conditions": [{"type": "a b", "status": "Some"}]}}),
            expect![[r#"
                status.conditions[0].type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                status.conditions[0].status: Unsupported value: "Some": supported values: "False", "True", "Unknown"
                status.conditions[0].lastTransitionTime: Required value
                status.conditions[0].reason: Required value
                status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"#]],
        );
    }

    #[test]
    fn old_versions_are_received() {
        let (one, none) =
            (value!({"key": "a", "operator": "Exists"}), value!({"key": OLD_LABEL, "operator": "Exists"}));
        let all = value!({"key": OLD_LABEL, "operator": "DoesNotExist"});
        for (version, selector, want) in [
            (OLD, value!({}), value!({"matchExpressions": [none.clone()]})),
            (OLD, value!({"matchExpressions": [all.clone()]}), value!({})),
            (OLD, value!({"matchExpressions": [one.clone(), all]}), value!({"matchExpressions": [one]})),
            (OLD, value!({"matchLabels": {"a": "b"}}), value!({"matchLabels": {"a": "b"}})),
            (OLD, Value::Null, Value::Null),
            ("policy/v1", value!({}), value!({})),
        ] {
            let mut obj = value!({"apiVersion": version, "spec": {"selector": selector}});
            kind().hooks.receive(&mut obj);
            assert_eq!(obj, value!({"apiVersion": "policy/v1", "spec": {"selector": want}}), "{version}");
        }
    }

    #[test]
    fn columns() {
        cells(
            &kind(),
            value!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 2}}),
            expect!["obj | 50% | N/A | 2 | 5m"],
        );
        cells(&kind(), value!({"spec": {"maxUnavailable": 1}}), expect!["obj | N/A | 1 | 0 | 5m"]);
    }
}
