//! Small pieces of Table cells that several kinds print alike. Source: `k8s.io/kubernetes/pkg/printers`.

use base::time::{self, Timestamp};
use schema::{Column, ColumnType};
use value::Value;

/// The time since a timestamp, `<unknown>` where there is none.
pub fn since(at: &Value, now: Timestamp) -> String {
    match at.as_str().and_then(time::parse) {
        Some(at) => time::age(now.duration_since(at)),
        None => "<unknown>".into(),
    }
}

/// The text, or `<none>` where it is empty.
pub fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// A condition of the status by type.
pub fn condition<'a>(obj: &'a Value, ty: &str) -> Option<&'a Value> {
    obj.items_at(&["status", "conditions"]).iter().find(|c| c.str_at(&["type"]) == ty)
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(map: &Value) -> String {
    let pairs: Vec<String> = map.members_at(&[]).map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    or_none(&pairs.join(",")).into()
}

/// A `metav1.LabelSelector` as one line: `app=web,tier in (a,b),!old`.
pub fn selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = selector
        .members_at(&["matchLabels"])
        .map(|(k, v)| (k.to_string(), format!("{k}={}", v.as_str().unwrap_or(""))))
        .collect();
    for expression in selector.items_at(&["matchExpressions"]) {
        let key = expression.str_at(&["key"]);
        let mut values: Vec<&str> = expression.items_at(&["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.str_at(&["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_string(),
        };
        parts.push((key.to_string(), text));
    }
    parts.sort();
    let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    or_none(&texts.join(",")).into()
}

/// `Containers` and `Images` of a pod template, and its `Selector`: the wide columns of most workloads.
pub fn workload() -> [Column; 3] {
    let [names, images] = containers();
    let selector = Column::text("Selector", |obj, _| selector(obj.at(&["spec", "selector"])).into()).wide();
    [names, images, selector]
}

/// `Containers` and `Images` of a pod template.
pub fn containers() -> [Column; 2] {
    [
        Column::text("Containers", |obj, _| each(obj.at(&["spec", "template"]), "name")).wide(),
        Column::text("Images", |obj, _| each(obj.at(&["spec", "template"]), "image")).wide(),
    ]
}

/// A field of all containers of a template.
pub fn each(template: &Value, field: &str) -> Value {
    let containers = template.items_at(&["spec", "containers"]);
    containers.iter().map(|c| c.str_at(&[field])).collect::<Vec<_>>().join(",").into()
}

/// The number at a path, 0 where there is none.
pub fn count(obj: &Value, path: &[&str]) -> Value {
    obj.at(path).as_i64().unwrap_or(0).into()
}

/// `1/2`
pub fn of(obj: &Value, part: &[&str], whole: &[&str]) -> Value {
    format!("{}/{}", count(obj, part), count(obj, whole)).into()
}

/// The value, or what its absence stands for.
pub fn or(value: &Value, absent: impl Into<Value>) -> Value {
    if value.is_null() { absent.into() } else { value.clone() }
}

/// A column of booleans.
pub fn flag(name: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column { kind: ColumnType::Boolean, ..Column::text(name, cell) }
}

/// The controller that owns an object: `daemonset.apps/proxy`.
pub fn controller(obj: &Value) -> String {
    let owners = obj.items_at(&["metadata", "ownerReferences"]);
    let Some(owner) = owners.iter().find(|o| o.at(&["controller"]).as_bool() == Some(true)) else {
        return "<none>".into();
    };
    let kind = owner.str_at(&["kind"]).to_lowercase();
    let group = owner.str_at(&["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
    format!("{}/{}", base::status::qualified(group, &kind), owner.str_at(&["name"]))
}

/// `Created At`, which kinds without a printer of their own show: the time itself, not an age.
pub fn created_at() -> Column {
    let time = Column::text("Created At", |obj, _| obj.str_at(&["metadata", "creationTimestamp"]).into());
    Column { kind: ColumnType::Date, ..time }
}

/// The first three of many, and how many more there are: `a,b,c + 2 more...`.
pub fn few(list: &[String]) -> String {
    match list.len() {
        0 => "<none>".into(),
        1..=3 => list.join(","),
        n => format!("{} + {} more...", list[..3].join(","), n - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn selectors_print_on_one_line() {
        let all = value!({"matchLabels": {"b": "2"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"},
            {"key": "d", "operator": "Exists"}]});
        assert_eq!(selector(&all), "a in (x,y),b=2,!c,d");
        assert_eq!(selector(&value!({})), "<none>");
    }
}
