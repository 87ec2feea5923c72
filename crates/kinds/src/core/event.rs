//! Event: something happened. One object, two views: `v1` with `involvedObject` and `message`, and `events.k8s.io/v1`
//! with `regarding` and `note`. Stored is the first, for an hour after the last write.
//!
//! The second view is a version of this kind whose name holds its group: `apiVersion` reads `events.k8s.io/v1`, and
//! [`Hooks::convert`] moves between both.

use crate::{
    at::At,
    cells::since,
    declare::declare,
    rules::{IMMUTABLE, same},
};
use base::{FieldErrors, Result, time::Timestamp};
use schema::{Column, ColumnType, Context, Hooks, Kind};
use std::time::Duration;
use value::Value;

const NEW: &str = "events.k8s.io/v1";

pub fn kind() -> Kind {
    let involved = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
    let mut declaration = declare("", "Event")
        .short(["ev"])
        .version("v1", "io.k8s.api.core.v1.Event", columns())
        .version(NEW, "io.k8s.api.events.v1.Event", columns())
        .create_on_update()
        .routine()
        .never_owns()
        .ttl(Duration::from_secs(3600))
        .selectable(["reason", "type", "reportingComponent"])
        .selectable_either("source", "source.component", "reportingComponent");
    for field in involved {
        let path = format!("involvedObject.{field}");
        // As events.k8s.io calls it; a selector may use either name in both views, where upstream lets it use one.
        declaration = declaration.selectable([path.as_str()]).selectable_at(&format!("regarding.{field}"), &path, "");
    }
    declaration = declaration.selectable_at("reportingController", "reportingComponent", "");
    declaration.hooks(Event).build()
}

fn columns() -> Vec<Column> {
    let name = Column::object_name().wide();
    vec![
        Column::text("Last Seen", |event, now| last_seen(event, now).into()),
        Column::text("Type", |event, _| event.str_at(&["type"]).into()),
        Column::text("Reason", |event, _| event.str_at(&["reason"]).into()),
        Column::text("Object", |event, _| object(event).into()),
        Column::text("Subobject", |event, _| {
            either(event, &["involvedObject", "fieldPath"], &["regarding", "fieldPath"]).into()
        })
        .wide(),
        Column::text("Source", |event, _| source(event).into()).wide(),
        Column::text("Message", |event, _| either(event, &["message"], &["note"]).trim().into()),
        Column::text("First Seen", |event, now| first_seen(event, now).into()).wide(),
        Column { kind: ColumnType::String, ..Column::number("Count", |event, _| count(event).into()).wide() },
        name,
    ]
}

/// The text at the first path that has one.
fn either<'a>(event: &'a Value, old: &[&str], new: &[&str]) -> &'a str {
    match event.str_at(old) {
        "" => event.str_at(new),
        text => text,
    }
}

fn first_seen(event: &Value, now: Timestamp) -> String {
    let first = either(event, &["firstTimestamp"], &["deprecatedFirstTimestamp"]);
    since(&if first.is_empty() { event.str_at(&["eventTime"]) } else { first }.into(), now)
}

fn last_seen(event: &Value, now: Timestamp) -> String {
    let series = event.str_at(&["series", "lastObservedTime"]);
    let last = either(event, &["lastTimestamp"], &["deprecatedLastTimestamp"]);
    match (series, last) {
        ("", "") => first_seen(event, now),
        ("", last) => since(&last.into(), now),
        (series, _) => since(&series.into(), now),
    }
}

fn count(event: &Value) -> i64 {
    let counts = [["series", "count"].as_slice(), &["count"], &["deprecatedCount"]];
    counts.into_iter().find_map(|path| event.at(path).as_i64().filter(|n| *n != 0)).unwrap_or(1)
}

/// `pod/web`
fn object(event: &Value) -> String {
    let kind = either(event, &["involvedObject", "kind"], &["regarding", "kind"]).to_lowercase();
    match either(event, &["involvedObject", "name"], &["regarding", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

/// `kubelet, node-1`
fn source(event: &Value) -> String {
    let component = [["source", "component"].as_slice(), &["reportingComponent"], &["reportingController"]];
    let host = [["source", "host"].as_slice(), &["reportingInstance"]];
    let first = |paths: &[&[&str]]| {
        paths.iter().map(|path| event.str_at(path)).find(|text| !text.is_empty()).unwrap_or("").to_string()
    };
    match (first(&component), first(&host)) {
        (component, host) if host.is_empty() => component,
        (component, host) => format!("{component}, {host}"),
    }
}

/// The same field in both views.
const FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

#[derive(Debug)]
struct Event;

impl Hooks for Event {
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let strict = cx.version == NEW;
        let involved = root.get("involvedObject");
        let (namespace, about) = (obj.namespace(), involved.get("namespace"));
        let is_new = !root.get("eventTime").is_empty();
        // Events about cluster-scoped objects stand in `default`.
        let fits = match about.str() {
            "" if is_new => ["default", "kube-system"].contains(&namespace),
            "" => ["", "default"].contains(&namespace),
            about => is_new || about == namespace,
        };
        if !fits {
            about.invalid(errors, "does not match event.namespace");
        }
        if is_new {
            let controller = root.get("reportingComponent");
            let name = if strict { "reportingController" } else { "reportingComponent" };
            let controller = At { value: controller.value, path: root.path.key(name) };
            controller.need(errors);
            controller.qualified_name(errors);
            for (field, max) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
                let field = root.get(field);
                field.need(errors);
                at_most(field, max, errors);
            }
            at_most(root.get("message"), 1024, errors);
        }
        match old {
            _ if !strict => {}
            None => created(root, errors),
            Some(old) => changed(root, old, errors),
        }
    }

    fn convert(&self, obj: &mut Value, _from: &str, to: &str) -> Result<()> {
        for (old, new) in FIELDS {
            let (from, to) = if to == NEW { (old, new) } else { (new, old) };
            if let Some(value) = obj.remove(&[from]) {
                obj.set(&[to], value);
            }
        }
        Ok(())
    }
}

/// What events.k8s.io asks beyond what v1 does: nothing of the old form.
fn created(root: At, errors: &mut FieldErrors) {
    series(root, errors);
    root.get("eventTime").need(errors);
    let ty = root.get("type");
    if !["Normal", "Warning"].contains(&ty.str()) {
        ty.invalid_as(errors, "", format!("has invalid value: {}", ty.str()));
    }
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        let old = root.get(field);
        let nothing = old.is_empty() || old.value.as_i64() == Some(0);
        let parts = old.value.members_at(&[]).any(|(_, part)| part.as_str().is_some_and(|text| !text.is_empty()));
        if !nothing && (field != "source" || parts) {
            old.invalid_as(errors, "", "needs to be unset");
        }
    }
}

/// What happened stays what it was; only that it went on may be said.
fn changed(root: At, old: &Value, errors: &mut FieldErrors) {
    if !same(root.get("series").value, old.at(&["series"])) {
        series(root, errors);
    }
    for (field, name) in UNCHANGING {
        let (now, before) = (root.get(field), old.at(&[field]));
        if !same(now.value, before) {
            At { value: now.value, path: root.path.key(name) }.invalid(errors, IMMUTABLE);
        }
    }
}

/// In the order in which upstream looks at them, and as it calls them.
const UNCHANGING: [(&str, &str); 13] = [
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

fn series(root: At, errors: &mut FieldErrors) {
    let series = root.get("series");
    if !series.is_set() {
        return;
    }
    // Upstream's paths are one member with a dot in it.
    if series.get("count").int() < 2 {
        errors.invalid("series.count", "", "should be at least 2");
    }
    if series.get("lastObservedTime").is_empty() {
        errors.required("series.lastObservedTime", "");
    }
}

fn at_most(field: At, max: usize, errors: &mut FieldErrors) {
    if field.str().len() > max {
        field.invalid_as(errors, "", format!("can have at most {max} characters"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create};
    use expect_test::expect;
    use value::value;

    fn event() -> Value {
        value!({
            "metadata": {"name": "e", "namespace": "shop"},
            "involvedObject": {"kind": "Pod", "name": "web", "namespace": "shop"},
            "reason": "Pulled", "message": " ok ", "type": "Normal", "count": 3,
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-01-02T03:00:00Z", "lastTimestamp": "2026-01-02T03:09:00Z",
        })
    }

    #[test]
    fn columns() {
        cells(&kind(), event(), expect!["60s | Normal | Pulled | pod/web | ok ||  | kubelet, n1 | 10m | 3 | e"]);
    }

    #[test]
    fn both_views_hold_the_same() {
        let mut converted = event();
        kind().hooks.convert(&mut converted, "v1", NEW).unwrap();
        assert_eq!(converted.str_at(&["regarding", "name"]), "web");
        assert_eq!(converted.str_at(&["note"]), " ok ");
        assert!(converted.at(&["message"]).is_null());
        kind().hooks.convert(&mut converted, NEW, "v1").unwrap();
        assert_eq!(converted, event());
    }

    /// Errors of a write through events.k8s.io.
    fn strict(obj: &Value, old: Option<&Value>, want: expect_test::Expect) {
        let mut errors = FieldErrors::default();
        crate::testing::within(schema::Operation::Create, None, |cx| {
            kind().hooks.validate(&Context { version: NEW, ..*cx }, obj, old, &mut errors);
        });
        want.assert_eq(&errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn the_new_view_is_strict() {
        let good = value!({
            "metadata": {"name": "e", "namespace": "shop"}, "involvedObject": {"kind": "Pod", "namespace": "shop"}, "type": "Normal",
            "eventTime": "2026-01-02T03:00:00.000000Z", "reason": "r", "action": "a", "reportingComponent": "a.b/c",
            "reportingInstance": "i", "message": "m",
        });
        strict(&good, None, expect![""]);
        strict(
            &event(),
            None,
            expect![[r#"
            eventTime: Required value
            firstTimestamp: Invalid value: "": needs to be unset
            lastTimestamp: Invalid value: "": needs to be unset
            count: Invalid value: "": needs to be unset
            source: Invalid value: "": needs to be unset"#]],
        );
        let mut went_on = good.clone();
        went_on.set(&["series"], value!({"count": 2, "lastObservedTime": "2026-01-02T03:01:00.000000Z"}));
        strict(&went_on, Some(&good), expect![""]);
        let mut other = good.clone();
        other.set(&["series"], value!({"count": 1}));
        other.set(&["message"], "n");
        other.set(&["reportingComponent"], "a.b/d");
        strict(
            &other,
            Some(&good),
            expect![[r#"
            series.count: Invalid value: "": should be at least 2
            series.lastObservedTime: Required value
            message: Invalid value: "n": field is immutable
            reportingController: Invalid value: "a.b/d": field is immutable"#]],
        );
    }

    #[test]
    fn validation() {
        create(
            &kind(),
            value!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}),
            expect![[r#"involvedObject.namespace: Invalid value: "b": does not match event.namespace"#]],
        );
        create(
            &kind(),
            value!({"metadata": {"namespace": "default"}, "eventTime": "2026-01-02T03:00:00Z", "reportingComponent": "a b"}),
            expect![[r#"
                reportingComponent: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                reportingInstance: Required value
                action: Required value
                reason: Required value"#]],
        );
    }
}
