//! What `kubectl get hpa` shows. An object in the old version is shown as the new one would be.

use super::convert;
use crate::cells;
use schema::Column;
use value::Value;

pub fn v2() -> Vec<Column> {
    columns(Column::text("Targets", |hpa, _| targets(hpa).into()))
}

pub fn v1() -> Vec<Column> {
    columns(Column::text("Targets", |hpa, _| {
        let mut hpa = hpa.clone();
        convert::to_v2(&mut hpa);
        targets(&hpa).into()
    }))
}

fn columns(targets: Column) -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Reference", |hpa, _| {
            let target = hpa.at(&["spec", "scaleTargetRef"]);
            format!("{}/{}", target.str_at(&["kind"]), target.str_at(&["name"])).into()
        }),
        targets,
        Column::text("MinPods", |hpa, _| match hpa.at(&["spec", "minReplicas"]).as_i64() {
            Some(min) => min.to_string().into(),
            None => "<unset>".into(),
        }),
        Column::text("MaxPods", |hpa, _| cells::count(hpa, &["spec", "maxReplicas"])),
        Column::text("Replicas", |hpa, _| cells::count(hpa, &["status", "currentReplicas"])),
        Column::age(),
    ]
}

/// Up to two metrics, each what is and what should be: `cpu: 40%/50%, 3/5 + 1 more...`.
fn targets(hpa: &Value) -> String {
    let metrics = hpa.items_at(&["spec", "metrics"]);
    let current = hpa.items_at(&["status", "currentMetrics"]);
    let mut texts: Vec<String> =
        metrics.iter().enumerate().map(|(i, metric)| one(metric, current.get(i).unwrap_or(&Value::Null))).collect();
    match texts.len() {
        0 => "<none>".into(),
        1 | 2 => texts.join(", "),
        many => {
            texts.truncate(2);
            format!("{} + {} more...", texts.join(", "), many - 2)
        }
    }
}

fn one(metric: &Value, status: &Value) -> String {
    let field = match metric.str_at(&["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let target = metric.at(&[field, "target"]);
    let current = status.at(&[field, "current"]);
    let amount = |of: &Value, name: &str| of.at(&[name]).as_str().map(String::from);
    let share = |of: &Value| of.at(&["averageUtilization"]).as_i64().map(|n| format!("{n}%"));
    let is = |found: Option<String>| found.unwrap_or_else(|| "<unknown>".into());
    let average = amount(target, "averageValue");
    match (field, average) {
        ("external" | "object", Some(average)) => format!("{}/{average} (avg)", is(amount(current, "averageValue"))),
        ("external" | "object", None) => {
            format!("{}/{}", is(amount(current, "value")), amount(target, "value").unwrap_or_else(|| "<nil>".into()))
        }
        ("pods", average) => format!("{}/{}", is(amount(current, "averageValue")), average.unwrap_or_default()),
        (_, Some(average)) => {
            format!("{}: {}/{average}", metric.str_at(&[field, "name"]), is(amount(current, "averageValue")))
        }
        (_, None) => {
            let wanted = share(target).unwrap_or_else(|| "<auto>".into());
            format!("{}: {}/{wanted}", metric.str_at(&[field, "name"]), is(share(current)))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{autoscaling::horizontalpodautoscaler::kind, testing::cells};
    use expect_test::expect;
    use value::value;

    #[test]
    fn columns() {
        let target = value!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        cells(
            &kind(),
            value!({"spec": {"scaleTargetRef": target, "maxReplicas": 3, "minReplicas": 1, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}},
                {"type": "Pods", "pods": {"target": {"averageValue": "5"}}},
                {"type": "External", "external": {"target": {"value": "5"}}}]},
                "status": {"currentReplicas": 2, "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40}}}]}}),
            expect!["obj | Deployment/web | cpu: 40%/50%, <unknown>/5 + 1 more... | 1 | 3 | 2 | 5m"],
        );
        cells(
            &kind(),
            value!({"spec": {"scaleTargetRef": target}}),
            expect!["obj | Deployment/web | <none> | <unset> | 0 | 0 | 5m"],
        );
        cells(
            &kind(),
            value!({"spec": {"metrics": [{"type": "Object", "object": {"target": {"averageValue": "5"}}}, {"type": "Some"}]}}),
            expect!["obj | / | <unknown>/5 (avg), <unknown type> | <unset> | 0 | 0 | 5m"],
        );
    }
}
