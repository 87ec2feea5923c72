//! Which objects a quota is about: its scopes.

use crate::{Subject, pod};
use value::{Value, value};

/// Whether all scopes of a quota hold for an object. A kind that knows no scopes is in no quota that has some.
pub fn holds(quota: &Value, subject: Subject<'_>, object: &Value) -> bool {
    let plain = quota.items_at(&["spec", "scopes"]).iter().filter_map(Value::as_str);
    let selected = quota.items_at(&["spec", "scopeSelector", "matchExpressions"]).iter();
    plain.into_iter().all(|scope| one(scope, "Exists", &[], subject, object))
        && selected.into_iter().all(|selector| selects(selector, subject, object))
}

/// Whether a `ScopedResourceSelectorRequirement` holds for an object.
pub fn selects(selector: &Value, subject: Subject<'_>, object: &Value) -> bool {
    let (scope, operator) = (selector.str_at(&["scopeName"]), selector.str_at(&["operator"]));
    one(scope, operator, selector.items_at(&["values"]), subject, object)
}

/// All scopes of a quota as selectors.
pub fn selectors(quota: &Value) -> Vec<Value> {
    let plain = quota.items_at(&["spec", "scopes"]).iter();
    let plain = plain.map(|scope| value!({"scopeName": (scope.clone()), "operator": "Exists"}));
    plain.chain(quota.items_at(&["spec", "scopeSelector", "matchExpressions"]).iter().cloned()).collect()
}

/// A selector as Go prints it: `{PriorityClass In [high]}`.
pub fn printed(selector: &Value) -> String {
    let values: Vec<&str> = selector.items_at(&["values"]).iter().filter_map(Value::as_str).collect();
    format!("{{{} {} [{}]}}", selector.str_at(&["scopeName"]), selector.str_at(&["operator"]), values.join(" "))
}

fn one(scope: &str, operator: &str, values: &[Value], subject: Subject<'_>, object: &Value) -> bool {
    let deadline = || object.at(&["spec", "activeDeadlineSeconds"]).as_i64().is_some_and(|seconds| seconds >= 0);
    if subject.is("", "pods") {
        return match scope {
            "Terminating" => deadline(),
            "NotTerminating" => !deadline(),
            "BestEffort" => pod::is_best_effort(object),
            "NotBestEffort" => !pod::is_best_effort(object),
            "CrossNamespacePodAffinity" => crosses_namespaces(object),
            "PriorityClass" => named(&[object.str_at(&["spec", "priorityClassName"])], operator, values),
            _ => false,
        };
    }
    if subject.is("", "persistentvolumeclaims") && scope == "VolumeAttributesClass" {
        let classes = [
            object.str_at(&["spec", "volumeAttributesClassName"]),
            object.str_at(&["status", "currentVolumeAttributesClassName"]),
            object.str_at(&["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"]),
        ];
        return named(&classes, operator, values);
    }
    false
}

/// Whether one of an object's names (`""`: none) is as the selector has it.
fn named(names: &[&str], operator: &str, values: &[Value]) -> bool {
    let mut names = names.iter().filter(|name| !name.is_empty()).peekable();
    let listed = |name: &str| values.iter().any(|value| value.as_str() == Some(name));
    match operator {
        "Exists" => names.peek().is_some(),
        "DoesNotExist" => names.peek().is_none(),
        "In" => names.any(|name| listed(name)),
        "NotIn" => names.peek().is_none() || names.any(|name| !listed(name)),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Value) -> bool {
    let crosses = |term: &Value| !term.items_at(&["namespaces"]).is_empty() || term.get("namespaceSelector").is_some();
    ["podAffinity", "podAntiAffinity"].into_iter().any(|affinity| {
        let terms = |when: &str| pod.items_at(&["spec", "affinity", affinity, when]);
        terms("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| crosses(weighted.at(&["podAffinityTerm"])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_pods_a_quota_is_about() {
        let plain = |scope: &str| value!({"spec": {"scopes": [scope]}});
        let selects = |operator: &str, values: Value| {
            let scope = value!({"scopeName": "PriorityClass", "operator": operator, "values": values});
            value!({"spec": {"scopeSelector": {"matchExpressions": [scope]}}})
        };
        let bare = value!({"spec": {"containers": [{"name": "c"}]}});
        let asking = value!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}});
        let ending = value!({"spec": {"activeDeadlineSeconds": 5, "containers": []}});
        let high = value!({"spec": {"priorityClassName": "high", "containers": []}});
        let term = value!({"namespaces": ["other"], "topologyKey": "zone"});
        let far = value!({"spec": {"affinity": {"podAntiAffinity":
            {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}}}});
        for (quota, pod, want) in [
            (value!({}), &bare, true),
            (plain("BestEffort"), &bare, true),
            (plain("BestEffort"), &asking, false),
            (plain("NotBestEffort"), &asking, true),
            (plain("Terminating"), &ending, true),
            (plain("NotTerminating"), &ending, false),
            (plain("CrossNamespacePodAffinity"), &far, true),
            (plain("CrossNamespacePodAffinity"), &bare, false),
            (selects("In", value!(["high", "low"])), &high, true),
            (selects("In", value!(["low"])), &high, false),
            (selects("NotIn", value!(["low"])), &high, true),
            (selects("NotIn", value!(["low"])), &bare, true),
            (selects("Exists", value!([])), &bare, false),
            (selects("DoesNotExist", value!([])), &bare, true),
        ] {
            assert_eq!(holds(&quota, Subject { group: "", plural: "pods" }, pod), want, "{quota} {pod}");
        }
        let secrets = Subject { group: "", plural: "secrets" };
        assert!(!holds(&plain("BestEffort"), secrets, &value!({})));
        assert!(holds(&value!({}), secrets, &value!({})));
    }
}
