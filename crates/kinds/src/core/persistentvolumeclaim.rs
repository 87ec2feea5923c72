//! PersistentVolumeClaim: asks for a volume, and has it once one is bound.

use super::claims;
use crate::{at::At, cells, declare::declare, rules::IMMUTABLE, rules::quantity, rules::same, template};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::{Value, value};

const FIXED: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const RESIZING: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];
const CLASS: &str = "volumeAttributesClassName";

pub fn kind() -> Kind {
    declare("", "PersistentVolumeClaim")
        .answers_deleted()
        .short(["pvc"])
        .version("v1", "io.k8s.api.core.v1.PersistentVolumeClaim", columns())
        .status()
        .selectable_at("name", "metadata.name", "")
        .hooks(PersistentVolumeClaim)
        .build()
}

fn columns() -> Vec<Column> {
    fn bound(obj: &Value) -> bool {
        !obj.str_at(&["spec", "volumeName"]).is_empty()
    }
    vec![
        Column::object_name(),
        Column::text("Status", |obj, _| super::phase(obj).into()),
        Column::text("Volume", |obj, _| obj.str_at(&["spec", "volumeName"]).into()),
        Column::text("Capacity", |obj, _| match bound(obj) {
            true => cells::or(obj.at(&["status", "capacity", "storage"]), "0"),
            false => "".into(),
        }),
        Column::text("Access Modes", |obj, _| match bound(obj) {
            true => super::access_modes(obj.at(&["status", "accessModes"])).into(),
            false => "".into(),
        }),
        Column::text("StorageClass", |obj, _| super::class(obj).into()),
        Column::text("VolumeAttributesClass", |obj, _| cells::or(obj.at(&["spec", CLASS]), "<unset>")),
        Column::age(),
        Column::text("VolumeMode", |obj, _| cells::or(obj.at(&["spec", "volumeMode"]), "<unset>")).wide(),
    ]
}

#[derive(Debug)]
struct PersistentVolumeClaim;

impl Hooks for PersistentVolumeClaim {
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value!({"phase": "Pending"}));
        data_sources(obj, None);
    }
    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        if cx.subresource.is_none() {
            data_sources(obj, Some(old));
        }
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            return status(root.get("status"), errors);
        }
        claims::spec(root.get("spec"), errors);
        if let Some(old) = old {
            update(root, old, errors);
        }
    }
    fn warnings(&self, cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if cx.subresource.is_none() {
            if !obj.at(&["metadata", "annotations", super::CLASS]).is_null() {
                let text = "deprecated since v1.8; use \"storageClassName\" attribute instead";
                warnings.push(format!("metadata.annotations[{}]: {text}", super::CLASS));
            }
            claims::fractions(At::root(obj).get("spec"), &mut warnings);
        }
        warnings
    }
}

/// Both fields for a data source say the same (KEP-1495); what only the old one says must be of a kind that it may say,
/// and sources of other namespaces are an alpha feature.
fn data_sources(obj: &mut Value, old: Option<&Value>) {
    let had = |field: &str| old.is_some_and(|old| !old.at(&["spec", field]).is_null());
    let (source, reference) = (["spec", "dataSource"], ["spec", "dataSourceRef"]);
    if !obj.str_at(&["spec", "dataSourceRef", "namespace"]).is_empty() && !had("dataSourceRef") {
        obj.remove(&reference);
    }
    if !had("dataSource") && !had("dataSourceRef") && obj.at(&reference).is_null() {
        let kind = (obj.str_at(&["spec", "dataSource", "apiGroup"]), obj.str_at(&["spec", "dataSource", "kind"]));
        let known = [("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")].contains(&kind);
        if !known {
            obj.remove(&source);
        }
    }
    let (first, second) = (obj.at(&source).clone(), obj.at(&reference).clone());
    match (first.is_null(), second.is_null()) {
        (false, true) => obj.set(&reference, first),
        (true, false) if second.str_at(&["namespace"]).is_empty() => {
            let mut local = second;
            local.remove(&["namespace"]);
            obj.set(&source, local);
        }
        _ => {}
    }
}

fn update(root: At, old: &Value, errors: &mut FieldErrors) {
    let spec = root.get("spec");
    let before = old.at(&["spec"]);
    let annotation = |obj: &Value| obj.str_at(&["metadata", "annotations", super::CLASS]).to_string();
    let (was, is) = (annotation(old), annotation(root.value));
    let (mut new_spec, mut old_spec) = (spec.value.clone(), before.clone());
    if before.str_at(&["volumeName"]).is_empty() {
        take(&mut old_spec, spec.value, "volumeName");
    }
    // A class that was an annotation, or none, may become the field once.
    let named = spec.get("storageClassName").is_set() && before.at(&["storageClassName"]).is_null();
    let class = spec.get("storageClassName").str();
    if named && !was.is_empty() && class == was && (is.is_empty() || is == was) {
        new_spec.remove(&["storageClassName"]);
    } else {
        if was != is {
            errors.invalid(format!("metadata.annotations.{}", super::CLASS), &is, IMMUTABLE);
        }
        if named && (was.is_empty() || class == was) {
            new_spec.remove(&["storageClassName"]);
        }
    }
    if root.value.str_at(&["status", "phase"]) == "Bound" {
        if !spec.value.at(&["resources", "requests"]).is_null() {
            let size = ["resources", "requests", "storage"];
            new_spec.set(&size, before.at(&size));
        }
        take(&mut new_spec, before, CLASS);
    }
    if !same(&new_spec, &old_spec) {
        errors.forbidden("spec", FIXED);
    }
    let size = |obj: &Value, path: &[&str]| quantity(obj.at(path)).unwrap_or_default();
    let storage = ["spec", "resources", "requests", "storage"];
    let (now, then) = (size(root.value, &storage), size(old, &storage));
    if now < then && now <= size(old, &["status", "capacity", "storage"]) {
        errors.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
    }
    // Upstream's path lacks `spec`.
    At::root(spec.value).get("volumeMode").immutable(errors, before.at(&["volumeMode"]));
    let attributes = spec.get(CLASS);
    if !old.at(&["status", "currentVolumeAttributesClassName"]).is_null()
        && !same(attributes.value, before.at(&[CLASS]))
    {
        let to = match attributes.value {
            Value::Null => "nil",
            Value::String(name) if name.is_empty() => "empty string",
            _ => return,
        };
        let detail = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        attributes.forbidden(errors, detail);
    }
}

fn take(into: &mut Value, from: &Value, field: &str) {
    match from.at(&[field]) {
        Value::Null => drop(into.remove(&[field])),
        found => into.set(&[field], found),
    }
}

fn status(status: At, errors: &mut FieldErrors) {
    let capacity = status.get("capacity");
    for (_, amount) in capacity.entries() {
        claims::basic(amount, errors);
    }
    let statuses = status.get("allocatedResourceStatuses");
    for (name, state) in statuses.entries() {
        claims::allocated(statuses, name, errors);
        if !RESIZING.contains(&state.str()) {
            errors.not_supported(statuses.path, name, &RESIZING);
        }
    }
    let resources = status.get("allocatedResources");
    for (name, amount) in resources.entries() {
        if claims::allocated(resources, name, errors) {
            template::amount(amount, "storage", errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, created, update, update_of};
    use expect_test::expect;

    fn claim() -> Value {
        value!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    }
    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = claim();
        obj.set(path, value);
        obj
    }

    #[test]
    fn creation() {
        let made = |source: Value| created(&kind(), with(&["spec", "dataSource"], source));
        expect![[r#"{"metadata":{"creationTimestamp":"2026-01-02T03:05:00Z","name":"obj"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"},"status":{"phase":"Pending"}}"#]].assert_eq(&created(&kind(), claim()).to_string());
        expect![[r#"{"accessModes":["ReadWriteOnce"],"dataSource":{"apiGroup":null,"kind":"PersistentVolumeClaim","name":"a"},"dataSourceRef":{"apiGroup":null,"kind":"PersistentVolumeClaim","name":"a"},"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"}"#]].assert_eq(&made(value!({"kind": "PersistentVolumeClaim", "name": "a"})).at(&["spec"]).to_string());
        expect![[
            r#"{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"}"#
        ]]
        .assert_eq(&made(value!({"kind": "Other", "name": "a"})).at(&["spec"]).to_string());
        let other = with(&["spec", "dataSourceRef"], value!({"apiGroup": "a.b", "kind": "Backup", "name": "x"}));
        expect![[r#"{"accessModes":["ReadWriteOnce"],"dataSource":{"apiGroup":"a.b","kind":"Backup","name":"x"},"dataSourceRef":{"apiGroup":"a.b","kind":"Backup","name":"x"},"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"}"#]].assert_eq(&created(&kind(), other).at(&["spec"]).to_string());
    }

    #[test]
    fn validation() {
        create(&kind(), claim(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.accessModes: Required value: at least 1 access mode is required
                spec.resources[storage]: Required value"#]],
            ),
            (
                with(&["spec", "accessModes"], value!(["ReadWriteOncePod", "ReadOnlyMany", "Some"])),
                expect![[r#"
                spec.accessModes: Unsupported value: "Some": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
                spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"#]],
            ),
            (
                with(&["spec", "resources", "requests", "storage"], "0"),
                expect![[r#"spec.resources[storage]: Invalid value: "0": must be greater than zero"#]],
            ),
            (
                with(&["spec", "storageClassName"], "A"),
                expect![[
                    r#"spec.storageClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#
                ]],
            ),
            (
                with(&["spec", "volumeMode"], "Tape"),
                expect![[r#"spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem""#]],
            ),
            (
                with(&["spec", "selector"], value!({"matchLabels": {"a b": "c"}})),
                expect![[
                    r#"spec.selector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#
                ]],
            ),
            (
                with(&["spec", "dataSourceRef"], value!({"kind": "Pod"})),
                expect![[r#"
                spec.dataSource.name: Required value
                spec.dataSource: Invalid value: "Pod": must be 'PersistentVolumeClaim' when referencing the default apiGroup
                spec.dataSourceRef.name: Required value
                spec.dataSourceRef: Invalid value: "Pod": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#]],
            ),
            (
                with(&["spec", "volumeAttributesClassName"], "A"),
                expect![[
                    r#"spec.volumeAttributesClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#
                ]],
            ),
        ] {
            create(&kind(), obj, want);
        }
    }

    #[test]
    fn what_may_change() {
        for (obj, want) in [
            (with(&["spec", "volumeName"], "pv"), expect![]),
            (with(&["spec", "storageClassName"], "fast"), expect![]),
            (
                with(&["spec", "resources", "requests", "storage"], "2Gi"),
                expect![
                    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
                ],
            ),
            (
                with(&["spec", "accessModes"], value!(["ReadOnlyMany"])),
                expect![
                    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
                ],
            ),
            (
                with(&["spec", "volumeMode"], "Block"),
                expect![[r#"
                spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims
                volumeMode: Invalid value: "Block": field is immutable"#]],
            ),
        ] {
            update(&kind(), claim(), obj, want);
        }
        let bound = |path: &[&str], value: Value| {
            let mut obj = with(&["spec", "volumeName"], "pv");
            obj.set(
                &["status"],
                value!({"phase": "Bound", "capacity": {"storage": "1Gi"},
                "currentVolumeAttributesClassName": "a"}),
            );
            obj.set(&["spec", CLASS], "a");
            obj.set(path, value);
            obj
        };
        let old = bound(&["spec", CLASS], value!("a"));
        for (path, value, want) in [
            (["spec", "resources", "requests", "storage"].as_slice(), value!("2Gi"), expect![]),
            (
                &["spec", "resources", "requests", "storage"],
                value!("1Mi"),
                expect!["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
            ),
            (
                &["spec", "volumeName"],
                value!("other"),
                expect![
                    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
                ],
            ),
            (&["spec", CLASS], value!("b"), expect![]),
            (
                &["spec", CLASS],
                value!(""),
                expect![
                    "spec.volumeAttributesClassName: Forbidden: update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"
                ],
            ),
        ] {
            update(&kind(), old.clone(), bound(path, value), want);
        }
    }

    #[test]
    fn states() {
        let wrong = value!({"capacity": {"storage": "-1"}, "allocatedResources": {"cpu": "1", "storage": "-1"},
            "allocatedResourceStatuses": {"storage": "Growing"}});
        update_of(
            &kind(),
            Some("status"),
            claim(),
            with(&["status"], wrong),
            expect![[r#"
            status.capacity[storage]: Invalid value: -1: must be a valid resource quantity
            status.allocatedResourceStatuses: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"
            status.allocatedResources: Unsupported value: "cpu": supported values: "storage"
            status.allocatedResources[storage]: Invalid value: "-1": must be greater than or equal to 0"#]],
        );
        testing::warnings(
            &kind(),
            with(&["spec", "resources", "requests", "storage"], "1500m"),
            expect![[
                r#"spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer"#
            ]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), claim(), expect!["obj |  |  |  |  |  | <unset> | 5m || <unset>"]);
        let mut obj = with(&["spec", "volumeName"], "pv");
        obj.set(&["spec", "storageClassName"], "fast");
        obj.set(
            &["status"],
            value!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}),
        );
        cells(&kind(), obj, expect!["obj | Bound | pv | 1Gi | RWO | fast | <unset> | 5m || <unset>"]);
    }
}
