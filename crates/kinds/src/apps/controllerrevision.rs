//! ControllerRevision: a state that a DaemonSet or StatefulSet once had, as its controller wrote it. Never changed but
//! for its number.

use crate::{at::At, cells, declare::declare};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("apps", "ControllerRevision")
        .version("v1", "io.k8s.api.apps.v1.ControllerRevision", columns())
        .hooks(ControllerRevision)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Controller", |obj, _| cells::controller(obj).into()),
        Column::text("Revision", |obj, _| obj.at(&["revision"]).as_i64().unwrap_or(0).into()),
        Column::age(),
    ]
}

#[derive(Debug)]
struct ControllerRevision;

impl Hooks for ControllerRevision {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        root.get("revision").non_negative(errors);
        let data = root.get("data");
        match (old, data.value) {
            (Some(old), _) => data.immutable(errors, old.at(&["data"])),
            (None, Value::Null) => data.required(errors, "data is mandatory"),
            (None, Value::Object(_)) => {}
            (None, _) => data.required(errors, "data must be a valid JSON object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(&kind(), value!({"revision": 1, "data": {"spec": 1}}), expect![]);
        create(
            &kind(),
            value!({"revision": -1}),
            expect![[r#"
            revision: Invalid value: -1: must be greater than or equal to 0
            data: Required value: data is mandatory"#]],
        );
        create(
            &kind(),
            value!({"revision": 1, "data": [1]}),
            expect!["data: Required value: data must be a valid JSON object"],
        );
        update(
            &kind(),
            value!({"revision": 1, "data": {"a": 1}}),
            value!({"revision": 2, "data": {"a": 2}}),
            expect![[r#"data: Invalid value: {"a":2}: field is immutable"#]],
        );
    }

    #[test]
    fn columns() {
        let mut obj = value!({"revision": 3, "data": {}});
        obj.set(
            &["metadata", "ownerReferences"],
            value!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "proxy", "uid": "u", "controller": true}]),
        );
        cells(&kind(), obj, expect!["obj | daemonset.apps/proxy | 3 | 5m"]);
        cells(&kind(), value!({}), expect!["obj | <none> | 0 | 5m"]);
    }
}
