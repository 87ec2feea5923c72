//! `matchLabelKeys` and `mismatchLabelKeys`: at creation the pod's own labels become part of the selector, so that pods of
//! one revision spread among themselves. Source: KEP-3243, KEP-3633.

use value::{Value, value};

/// Extends the selectors of topology spread constraints and of pod affinity.
pub fn merge(pod: &mut Value) {
    let labels = pod.at(&["metadata", "labels"]).clone();
    for constraint in pod.array_at_mut(&["spec", "topologySpreadConstraints"]).into_iter().flatten() {
        extend(constraint, &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = |rule| ["spec", "affinity", kind, rule];
        let required = path("requiredDuringSchedulingIgnoredDuringExecution");
        for term in pod.array_at_mut(&required).into_iter().flatten() {
            extend(term, &labels);
        }
        let preferred = path("preferredDuringSchedulingIgnoredDuringExecution");
        for weighted in pod.array_at_mut(&preferred).into_iter().flatten() {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                extend(term, &labels);
            }
        }
    }
}

/// A term without a selector selects nothing, with or without these keys.
fn extend(term: &mut Value, labels: &Value) {
    if term.at(&["labelSelector"]).as_object().is_none() {
        return;
    }
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = term.items_at(&[keys]).iter().filter_map(Value::as_str);
        let known = keys.filter_map(|key| Some((key, labels.get(key)?.as_str()?)));
        let more: Vec<Value> =
            known.map(|(key, label)| value!({"key": key, "operator": operator, "values": [label]})).collect();
        if more.is_empty() {
            continue;
        }
        let mut expressions = term.items_at(&["labelSelector", "matchExpressions"]).to_vec();
        expressions.extend(more);
        term.set(&["labelSelector", "matchExpressions"], expressions);
    }
}
