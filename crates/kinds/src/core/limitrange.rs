//! LimitRange: the least, the most and the usual that one object of a namespace may ask for.

use crate::{at::At, cells, declare::declare, rules::quantity, template};
use base::{FieldErrors, names, quantity::Quantity};
use schema::{Column, Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

/// Above this a product with a thousand may not fit.
const MILLI_MAX: i128 = (i64::MAX / 1000) as i128;

pub fn kind() -> Kind {
    declare("", "LimitRange")
        .short(["limits"])
        .version("v1", "io.k8s.api.core.v1.LimitRange", columns())
        .create_on_update()
        .hooks(LimitRange)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), cells::created_at()]
}

#[derive(Debug)]
struct LimitRange;

impl Hooks for LimitRange {
    fn default(&self, obj: &mut Value) {
        for item in obj.array_at_mut(&["spec", "limits"]).into_iter().flatten() {
            if item.str_at(&["type"]) == "Container" {
                // What is absent is what is nearest: the most, the usual limit, the least.
                for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                    let amounts = item.at(&[from]).clone();
                    for (name, amount) in amounts.members_at(&[]) {
                        item.set_default(&[to, name], amount);
                    }
                }
            }
        }
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        if obj.name().is_empty() && obj.str_at(&["metadata", "generateName"]).is_empty() {
            obj.set(&["metadata", "name"], base::ids::uid());
        }
    }
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        let limits = spec.get("limits");
        let mut types = BTreeSet::new();
        for item in limits.items() {
            let ty = item.get("type");
            type_name(ty, errors);
            if !types.insert(ty.str().to_string()) {
                ty.duplicate(errors);
            }
            limit(item, errors);
        }
    }
}

fn type_name(ty: At, errors: &mut FieldErrors) {
    match names::qualified_name(ty.str()) {
        Err(why) => ty.invalid(errors, why),
        Ok(()) if ty.str().contains('/') || ["Pod", "Container", "PersistentVolumeClaim"].contains(&ty.str()) => {}
        Ok(()) => ty.invalid(errors, "must be a standard limit type or fully qualified"),
    }
}

fn limit(item: At, errors: &mut FieldErrors) {
    let ty = item.get("type").str();
    let mut keys = BTreeSet::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let amounts = item.get(list);
        if ty == "Pod" && list.starts_with("default") {
            if !amounts.is_empty() {
                amounts.forbidden(errors, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        if list == "maxLimitRequestRatio" && ty == "PersistentVolumeClaim" {
            let storage = |list: &str| !item.value.at(&[list, "storage"]).is_null();
            if !storage("min") && !storage("max") {
                let detail = "either minimum or maximum storage value is required, but neither was provided";
                item.get("limits").required(errors, detail);
            }
        }
        for (name, amount) in amounts.entries() {
            match ty {
                "Pod" | "Container" => template::container_resource(amount, name, errors),
                _ => drop(template::resource_name(amount, name, errors)),
            }
            keys.insert(name.to_string());
        }
    }
    for key in &keys {
        amounts(item, key, errors);
    }
}

/// The amounts of one resource against each other.
fn amounts(item: At, key: &str, errors: &mut FieldErrors) {
    let amount = |list: &str| quantity(item.value.at(&[list]).get(key).unwrap_or(&Value::Null));
    let (min, max, default, request) = (amount("min"), amount("max"), amount("default"), amount("defaultRequest"));
    let mut wrong = |list: &str, value: Quantity, detail: String| {
        errors.invalid(item.path.key(list).map_key(key), &value.to_string(), detail);
    };
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        wrong("min", min, format!("min value {min} is greater than max value {max}"));
    }
    if let Some(request) = request {
        if let Some(min) = min.filter(|min| *min > request) {
            wrong(
                "defaultRequest",
                request,
                format!("min value {min} is greater than default request value {request}"),
            );
        }
        if let Some(max) = max.filter(|max| request > *max) {
            wrong(
                "defaultRequest",
                request,
                format!("default request value {request} is greater than max value {max}"),
            );
        }
        if let Some(default) = default.filter(|default| request > *default) {
            let detail = format!("default request value {request} is greater than default limit value {default}");
            wrong("defaultRequest", request, detail);
        }
    }
    if let Some(default) = default {
        if let Some(min) = min.filter(|min| *min > default) {
            wrong("default", min, format!("min value {min} is greater than default value {default}"));
        }
        if let Some(max) = max.filter(|max| default > *max) {
            wrong("default", max, format!("default value {default} is greater than max value {max}"));
        }
    }
    if let Some(ratio) = amount("maxLimitRequestRatio") {
        if ratio < Quantity::from_units(1) {
            wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let Some(most) =
            min.zip(max).map(|(min, max)| greatest_ratio(ratio, min, max)).filter(|(is, most)| is > most)
        {
            let detail = format!("ratio {ratio} is greater than max/min = {:.6}", most.1);
            wrong("maxLimitRequestRatio", ratio, detail);
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !template::overcommit(key)
        && default != request
    {
        let detail = format!("default value {default} must equal to defaultRequest value {request} in {key}");
        wrong("defaultRequest", request, detail);
    }
}

/// The ratio asked for and the one that the bounds allow, in thousandths where those fit.
fn greatest_ratio(ratio: Quantity, min: Quantity, max: Quantity) -> (f64, f64) {
    match [ratio, min, max].into_iter().all(|q| q.units() < MILLI_MAX) {
        true => (ratio.milli() as f64 / 1000.0, max.milli() as f64 / min.milli() as f64),
        false => (ratio.units() as f64, max.units() as f64 / min.units() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, defaults};
    use expect_test::expect;
    use value::value;

    fn range(item: Value) -> Value {
        value!({"spec": {"limits": [item]}})
    }

    #[test]
    fn defaulting() {
        let item =
            value!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"memory": "4Mi"}});
        defaults(
            &kind(),
            range(item),
            &["spec", "limits"],
            expect![[
                r#"[{"default":{"cpu":"2","memory":"4Mi"},"defaultRequest":{"cpu":"2","memory":"4Mi"},"max":{"cpu":"2"},"min":{"memory":"1Mi"},"type":"Container"}]"#
            ]],
        );
        defaults(
            &kind(),
            range(value!({"type": "Pod", "max": {"cpu": "2"}})),
            &["spec", "limits"],
            expect![[r#"[{"max":{"cpu":"2"},"type":"Pod"}]"#]],
        );
    }

    #[test]
    fn validation() {
        for (item, want) in [
            (value!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}), expect![]),
            (
                value!({"type": "Some"}),
                expect![[
                    r#"spec.limits[0].type: Invalid value: "Some": must be a standard limit type or fully qualified"#
                ]],
            ),
            (
                value!({"type": "example.com/thing", "max": {"disk": "1"}}),
                expect![[
                    r#"spec.limits[0].max[disk]: Invalid value: "disk": must be a standard resource type or fully qualified"#
                ]],
            ),
            (
                value!({"type": "Pod", "default": {"cpu": "1"}, "max": {"disk": "1"}}),
                expect![[r#"
                spec.limits[0].max[disk]: Invalid value: "disk": must be a standard resource type or fully qualified
                spec.limits[0].max[disk]: Invalid value: "disk": must be a standard resource for containers
                spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"#]],
            ),
            (
                value!({"type": "PersistentVolumeClaim"}),
                expect![
                    "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided"
                ],
            ),
            (
                value!({"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}, "default": {"cpu": "3"},
                    "defaultRequest": {"cpu": "4"}, "maxLimitRequestRatio": {"cpu": "500m"}}),
                expect![[r#"
                    spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1
                    spec.limits[0].defaultRequest[cpu]: Invalid value: "4": default request value 4 is greater than max value 1
                    spec.limits[0].defaultRequest[cpu]: Invalid value: "4": default request value 4 is greater than default limit value 3
                    spec.limits[0].default[cpu]: Invalid value: "1": default value 3 is greater than max value 1
                    spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1"#]],
            ),
            (
                value!({"type": "Pod", "max": {"cpu": "3"}, "min": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "2"}}),
                expect![[
                    r#"spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "2": ratio 2 is greater than max/min = 1.500000"#
                ]],
            ),
            (
                value!({"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}}),
                expect![[
                    r#"spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/gpu"#
                ]],
            ),
        ] {
            create(&kind(), range(item), want);
        }
        create(
            &kind(),
            value!({"spec": {"limits": [{"type": "Pod"}, {"type": "Pod"}]}}),
            expect![[r#"spec.limits[1].type: Duplicate value: "Pod""#]],
        );
        cells(&kind(), value!({}), expect!["obj | 2026-01-02T03:05:00Z"]);
    }
}
