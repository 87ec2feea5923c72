//! What an autoscaler may measure, and the targets.

use super::horizontalpodautoscaler::{Group, reference};
use crate::{at::At, rules::quantity, template};
use base::{FieldErrors, names};
use value::{Value, value};

/// Sources by the field that holds them, in the order in which upstream looks at them.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// The metric that `v1` has a field for.
pub fn cpu(utilization: i64) -> Value {
    value!({"type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": utilization}}})
}

pub fn validate(spec: At, group: Group, errors: &mut FieldErrors) {
    let metrics = spec.get("metrics");
    for metric in metrics.items() {
        one(metric, group, errors);
    }
    let from_zero = |metric: At| ["Object", "External"].contains(&metric.get("type").str());
    let min = spec.get("minReplicas");
    if min.is_set() && min.int() == 0 && !metrics.items().any(from_zero) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        metrics.forbidden(errors, detail);
    }
}

fn one(metric: At, group: Group, errors: &mut FieldErrors) {
    let ty = metric.get("type");
    if ty.is_empty() {
        ty.required(errors, "must specify a metric source type");
    }
    ty.one_of_or_empty(errors, &TYPES);
    let present: Vec<&str> = SOURCES.iter().map(|(field, _)| *field).filter(|f| metric.get(f).is_set()).collect();
    if let Some(first) = present.first() {
        source(first, metric.get(first), group, errors);
    }
    let expected = SOURCES.iter().find(|(_, known)| *known == ty.str()).map(|(field, _)| *field);
    if let Some(field) = expected.filter(|field| !present.contains(field)) {
        metric.get(field).required(errors, "must populate information for the given metric source");
    }
    if present.len() != 1 {
        for other in present.into_iter().filter(|field| Some(*field) != expected) {
            metric.get(other).forbidden(errors, "must populate the given metric source only");
        }
    }
}

fn source(field: &str, source: At, group: Group, errors: &mut FieldErrors) {
    let (name, goal) = (source.get("name"), source.get("target"));
    let (value, average) = (goal.get("value"), goal.get("averageValue"));
    match field {
        "resource" | "containerResource" => {
            if name.is_empty() {
                name.required(errors, "must specify a resource name");
            } else if field == "containerResource" {
                template::container_resource(name, name.str(), errors);
            }
            let container = source.get("container");
            if field == "containerResource" && container.is_empty() {
                container.required(errors, "must specify a container");
            } else if field == "containerResource" {
                container.dns_label(errors);
            }
            target(goal, errors);
            let utilization = goal.get("averageUtilization");
            if !utilization.is_set() && !average.is_set() {
                utilization.required(errors, "must set either a target raw value or a target utilization");
            }
            if utilization.is_set() && average.is_set() {
                average.forbidden(errors, "may not set both a target raw value and a target utilization");
            }
            return;
        }
        "object" => reference(source.get("describedObject"), group, errors),
        _ => {}
    }
    let metric = source.get("metric");
    let name = metric.get("name");
    if name.is_empty() {
        name.required(errors, "must specify a metric name");
    } else {
        name.shape(errors, names::path_segment(name.str()));
    }
    target(goal, errors);
    match field {
        "pods" if !average.is_set() => average.required(errors, "must specify a positive target averageValue"),
        "pods" => {}
        "object" if !value.is_set() && !average.is_set() => {
            average.required(errors, "must set either a target value or averageValue");
        }
        "external" if !value.is_set() && !average.is_set() => {
            average.required(errors, "must set either a target value for metric or a per-pod target");
        }
        "external" if value.is_set() && average.is_set() => {
            value.forbidden(errors, "may not set both a target value for metric and a per-pod target");
        }
        _ => {}
    }
}

fn target(target: At, errors: &mut FieldErrors) {
    let ty = target.get("type");
    if ty.is_empty() {
        ty.required(errors, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&ty.str()) {
        ty.invalid(errors, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let amount = target.get(field);
        if quantity(amount.value).is_some_and(|q| q.is_zero() || q.is_negative()) {
            amount.invalid(errors, "must be positive");
        }
    }
    let utilization = target.get("averageUtilization");
    if utilization.is_set() && utilization.int() < 1 {
        utilization.invalid_int(errors, "must be greater than 0");
    }
}
