//! `autoscaling/v1` and `v2`. The old version has a field for one metric, the average use of CPU; whatever else there is
//! stands in annotations, as JSON in the old version's own words. Both directions lose nothing that the other side can say.
//!
//! Each metric is a table of where a field stands in either version. Source: `pkg/apis/autoscaling/v1/conversion.go`.

use super::metrics;
use value::{Map, Value};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Once written, now dropped.
const TOLERANCES: [&str; 2] =
    ["autoscaling.alpha.kubernetes.io/scale-down-tolerance", "autoscaling.alpha.kubernetes.io/scale-up-tolerance"];

/// Where one thing stands: in `v2`, as a path with dots, and in `v1`.
type Fields = &'static [(&'static str, &'static str)];

/// The sources of `spec.metrics` by field.
const SPEC: [(&str, Fields); 5] = [
    (
        "object",
        &[
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("target.value", "targetValue"),
            ("target.averageValue", "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "name"),
            ("target.averageUtilization", "targetAverageUtilization"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("container", "container"),
            ("target.averageUtilization", "targetAverageUtilization"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
    (
        "external",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("target.value", "targetValue"),
            ("target.averageValue", "targetAverageValue"),
        ],
    ),
];

/// The sources of `status.currentMetrics` by field.
const STATUS: [(&str, Fields); 5] = [
    (
        "object",
        &[
            ("describedObject", "target"),
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("current.value", "currentValue"),
            ("current.averageValue", "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "selector"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            ("name", "name"),
            ("current.averageUtilization", "currentAverageUtilization"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", "name"),
            ("container", "container"),
            ("current.averageUtilization", "currentAverageUtilization"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
    (
        "external",
        &[
            ("metric.name", "metricName"),
            ("metric.selector", "metricSelector"),
            ("current.value", "currentValue"),
            ("current.averageValue", "currentAverageValue"),
        ],
    ),
];

/// Amounts that the old version cannot leave out.
const NEEDED: [(&str, &str); 7] = [
    ("object", "targetValue"),
    ("pods", "targetAverageValue"),
    ("object", "currentValue"),
    ("pods", "currentAverageValue"),
    ("resource", "currentAverageValue"),
    ("containerResource", "currentAverageValue"),
    ("external", "currentValue"),
];

/// From the stored version to the old one.
pub fn to_v1(obj: &mut Value) {
    drop_annotations(obj);
    let metrics = take_list(obj, &["spec", "metrics"]);
    if let Some(utilization) = metrics.iter().find_map(cpu_utilization) {
        obj.set(&["spec", "targetCPUUtilizationPercentage"], utilization);
    }
    let others: Vec<Value> =
        metrics.iter().filter(|m| cpu_utilization(m).is_none()).map(|metric| old_metric(metric, &SPEC)).collect();
    annotate(obj, METRICS, others);

    let current = take_list(obj, &["status", "currentMetrics"]);
    if let Some(used) = current.iter().filter_map(cpu_used).next_back() {
        obj.set(&["status", "currentCPUUtilizationPercentage"], used);
    }
    annotate(obj, CURRENT, current.iter().map(|metric| old_metric(metric, &STATUS)).collect());
    let conditions = take_list(obj, &["status", "conditions"]);
    annotate(obj, CONDITIONS, conditions);

    if let Some(behavior) = obj.remove(&["spec", "behavior"]).filter(|b| !b.is_null()) {
        // Upstream writes its internal type, whose fields begin with capital letters.
        let text = renamed(&behavior, &|c: char| c.to_ascii_uppercase()).to_string();
        obj.set(&["metadata", "annotations", BEHAVIOR], text);
    }
    if obj.at(&["status"]).as_object().is_some() {
        obj.set_default(&["status", "currentReplicas"], 0);
    }
}

/// From the old version to the stored one.
pub fn to_v2(obj: &mut Value) {
    let mut metrics: Vec<Value> =
        annotated(obj, METRICS).items_at(&[]).iter().map(|metric| new_metric(metric, &SPEC)).collect();
    let cpu = obj.remove(&["spec", "targetCPUUtilizationPercentage"]);
    if let Some(utilization) = cpu.and_then(|cpu| cpu.as_i64()) {
        metrics.push(metrics::cpu(utilization));
    }
    if metrics.is_empty() {
        metrics.push(metrics::cpu(80));
    }
    obj.set(&["spec", "metrics"], metrics);

    let mut current: Vec<Value> = Vec::new();
    let used = obj.remove(&["status", "currentCPUUtilizationPercentage"]);
    if let Some(used) = used.and_then(|used| used.as_i64()) {
        let source = value::value!({"name": "cpu", "current": {"averageUtilization": used}});
        current.push(value::value!({"type": "Resource", "resource": source}));
    }
    let known = annotated(obj, CURRENT);
    if known.as_array().is_some() {
        current = known.items_at(&[]).iter().map(|metric| new_metric(metric, &STATUS)).collect();
    }
    if obj.at(&["status"]).as_object().is_some() {
        obj.set(&["status", "currentMetrics"], if current.is_empty() { Value::Null } else { current.into() });
    }
    let conditions = annotated(obj, CONDITIONS);
    if !conditions.items_at(&[]).is_empty() {
        obj.set(&["status", "conditions"], conditions);
    }
    let behavior = renamed(&annotated(obj, BEHAVIOR), &|c: char| c.to_ascii_lowercase());
    if behavior.members_at(&[]).next().is_some() {
        obj.set(&["spec", "behavior"], behavior);
    }
    drop_annotations(obj);
}

fn cpu_utilization(metric: &Value) -> Option<i64> {
    let cpu = metric.str_at(&["type"]) == "Resource" && metric.str_at(&["resource", "name"]) == "cpu";
    metric.at(&["resource", "target", "averageUtilization"]).as_i64().filter(|_| cpu)
}

fn cpu_used(metric: &Value) -> Option<i64> {
    let cpu = metric.str_at(&["type"]) == "Resource" && metric.str_at(&["resource", "name"]) == "cpu";
    metric.at(&["resource", "current", "averageUtilization"]).as_i64().filter(|_| cpu)
}

fn take_list(obj: &mut Value, path: &[&str]) -> Vec<Value> {
    match obj.remove(path) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn annotate(obj: &mut Value, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        obj.set(&["metadata", "annotations", key], Value::Array(list).to_string());
    }
}

/// What an annotation holds; null where it is absent or no JSON.
fn annotated(obj: &Value, key: &str) -> Value {
    let text = obj.str_at(&["metadata", "annotations", key]);
    value::parse_lenient(text.as_bytes()).unwrap_or_default()
}

fn drop_annotations(obj: &mut Value) {
    for key in [METRICS, CURRENT, CONDITIONS, BEHAVIOR].into_iter().chain(TOLERANCES) {
        obj.remove(&["metadata", "annotations", key]);
    }
    if obj.at(&["metadata", "annotations"]).as_object().is_some_and(Map::is_empty) {
        obj.remove(&["metadata", "annotations"]);
    }
}

fn old_metric(metric: &Value, sources: &[(&str, Fields)]) -> Value {
    let mut old = Value::object();
    old.set(&["type"], metric.str_at(&["type"]));
    for (field, places) in sources {
        let source = metric.at(&[field]);
        if source.as_object().is_none() {
            continue;
        }
        for (new_place, old_place) in *places {
            let path: Vec<&str> = new_place.split('.').collect();
            if !source.at(&path).is_null() {
                old.set(&[field, old_place], source.at(&path));
            }
            if NEEDED.contains(&(*field, *old_place)) {
                old.set_default(&[field, old_place], "0");
            }
        }
    }
    old
}

fn new_metric(metric: &Value, sources: &[(&str, Fields)]) -> Value {
    let mut new = Value::object();
    new.set(&["type"], metric.str_at(&["type"]));
    for (field, places) in sources {
        let source = metric.at(&[field]);
        if source.as_object().is_none() {
            continue;
        }
        for (new_place, old_place) in *places {
            let found = source.at(&[old_place]);
            // An amount that the old version could not leave out says nothing beside an average.
            let filled = *old_place == "targetValue" && *found == "0" && !source.at(&["averageValue"]).is_null();
            if !found.is_null() && !filled {
                let path: Vec<&str> = std::iter::once(*field).chain(new_place.split('.')).collect();
                new.set(&path, found);
            }
        }
        if places.iter().any(|(place, _)| place.starts_with("target.")) {
            let ty = target_type(field, new.at(&[field, "target"]));
            new.set(&[field, "target", "type"], ty);
        }
    }
    new
}

fn target_type(field: &str, target: &Value) -> &'static str {
    let has = |name: &str| !target.at(&[name]).is_null();
    match field {
        "object" if !has("averageValue") => "Value",
        "external" if has("value") => "Value",
        "resource" | "containerResource" if has("averageUtilization") => "Utilization",
        _ => "AverageValue",
    }
}

/// The tree with the first letter of every name changed.
fn renamed(value: &Value, change: &impl Fn(char) -> char) -> Value {
    match value {
        Value::Object(map) => {
            let mut out = Value::object();
            for (key, member) in map.iter().filter(|(_, member)| !member.is_null()) {
                let mut letters = key.chars();
                let first = letters.next().map(change);
                let name: String = first.into_iter().chain(letters).collect();
                out.set(&[&name], renamed(member, change));
            }
            out
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, change)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use value::value;

    fn whole() -> Value {
        let average = value!({"type": "AverageValue", "averageValue": "5"});
        value!({"metadata": {"name": "a"}, "spec": {"minReplicas": 1, "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "behavior": {"scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
            "metrics": [
                {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "web"}, "metric": {"name": "hits"},
                    "target": {"type": "Value", "value": "7"}}},
                {"type": "Pods", "pods": {"metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}}, "target": average}},
                {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "web", "target": average}},
                {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "3"}}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
            ]},
            "status": {"currentReplicas": 1, "desiredReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 40, "averageValue": "400m"}}}]}})
    }

    #[test]
    fn the_old_version_carries_everything() {
        let mut obj = whole();
        to_v1(&mut obj);
        expect![[r#"{"maxReplicas":3,"minReplicas":1,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"targetCPUUtilizationPercentage":50}"#]].assert_eq(&obj.at(&["spec"]).to_string());
        expect![[r#"{"currentCPUUtilizationPercentage":40,"currentReplicas":1,"desiredReplicas":2}"#]]
            .assert_eq(&obj.at(&["status"]).to_string());
        let notes: Vec<String> = obj
            .members_at(&["metadata", "annotations"])
            .map(|(k, v)| format!("{k} {}", v.as_str().unwrap_or("")))
            .collect();
        expect![[r#"
            autoscaling.alpha.kubernetes.io/behavior {"ScaleUp":{"Policies":[{"PeriodSeconds":15,"Type":"Pods","Value":4}],"SelectPolicy":"Max"}}
            autoscaling.alpha.kubernetes.io/conditions [{"status":"True","type":"AbleToScale"}]
            autoscaling.alpha.kubernetes.io/current-metrics [{"resource":{"currentAverageUtilization":40,"currentAverageValue":"400m","name":"cpu"},"type":"Resource"}]
            autoscaling.alpha.kubernetes.io/metrics [{"object":{"metricName":"hits","target":{"kind":"Service","name":"web"},"targetValue":"7"},"type":"Object"},{"pods":{"metricName":"hits","selector":{"matchLabels":{"a":"b"}},"targetAverageValue":"5"},"type":"Pods"},{"containerResource":{"container":"web","name":"memory","targetAverageValue":"5"},"type":"ContainerResource"},{"external":{"metricName":"queue","targetValue":"3"},"type":"External"}]"#]].assert_eq(&notes.join("\n"));
        to_v2(&mut obj);
        assert_eq!(obj, whole());
    }

    #[test]
    fn the_old_version_alone() {
        let mut obj = value!({"metadata": {"annotations": {"own": "1"}}, "spec": {"maxReplicas": 3}});
        to_v2(&mut obj);
        expect![[r#"{"metadata":{"annotations":{"own":"1"}},"spec":{"maxReplicas":3,"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"}]}}"#]].assert_eq(&obj.to_string());
        let mut obj =
            value!({"spec": {"targetCPUUtilizationPercentage": 60}, "status": {"currentCPUUtilizationPercentage": 5}});
        to_v2(&mut obj);
        expect![[r#"{"spec":{"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":60,"type":"Utilization"}},"type":"Resource"}]},"status":{"currentMetrics":[{"resource":{"current":{"averageUtilization":5},"name":"cpu"},"type":"Resource"}]}}"#]].assert_eq(&obj.to_string());
    }
}
