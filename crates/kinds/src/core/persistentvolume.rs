//! PersistentVolume: storage that outlives pods, and the claim that has it.

use super::volumes;
use crate::{at::At, cells, declare::declare, rules::IMMUTABLE, rules::same, template::node_labels};
use base::{FieldErrors, time};
use schema::{Column, Context, Hooks, Kind};
use value::{Value, value};

/// Annotations of old, and what they say today.
const DEPRECATED: [(&str, &str); 2] = [
    (super::CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
    (MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
/// Sources that cannot be mounted with options.
const WITHOUT_OPTIONS: [&str; 9] =
    ["hostPath", "flocker", "fc", "flexVolume", "portworxVolume", "scaleIO", "local", "storageos", "csi"];

pub fn kind() -> Kind {
    declare("", "PersistentVolume")
        .answers_deleted()
        .short(["pv"])
        .cluster()
        .version("v1", "io.k8s.api.core.v1.PersistentVolume", columns())
        .status()
        .selectable_at("name", "metadata.name", "")
        .hooks(PersistentVolume)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Capacity", |obj, _| cells::or(obj.at(&["spec", "capacity", "storage"]), "0")),
        Column::text("Access Modes", |obj, _| super::access_modes(obj.at(&["spec", "accessModes"])).into()),
        Column::text("Reclaim Policy", |obj, _| obj.str_at(&["spec", "persistentVolumeReclaimPolicy"]).into()),
        Column::text("Status", |obj, _| super::phase(obj).into()),
        Column::text("Claim", |obj, _| match obj.at(&["spec", "claimRef"]) {
            Value::Null => "".into(),
            claim => format!("{}/{}", claim.str_at(&["namespace"]), claim.str_at(&["name"])).into(),
        }),
        Column::text("StorageClass", |obj, _| super::class(obj).into()),
        Column::text("VolumeAttributesClass", |obj, _| {
            cells::or(obj.at(&["spec", "volumeAttributesClassName"]), "<unset>")
        }),
        Column::text("Reason", |obj, _| obj.str_at(&["status", "reason"]).into()),
        Column::age(),
        Column::text("VolumeMode", |obj, _| cells::or(obj.at(&["spec", "volumeMode"]), "<unset>")).wide(),
    ]
}

#[derive(Debug)]
struct PersistentVolume;

impl Hooks for PersistentVolume {
    fn prepare_create(&self, cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value!({"phase": "Pending", "lastPhaseTransitionTime": time::seconds(cx.now)}));
    }
    /// The server notes when the phase changed, unless whoever changed it said so.
    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        if cx.subresource != Some("status") {
            return;
        }
        let at = ["status", "lastPhaseTransitionTime"];
        let changed = obj.str_at(&["status", "phase"]) != old.str_at(&["status", "phase"]);
        if changed && (obj.at(&at).is_null() || obj.at(&at) == old.at(&at)) {
            obj.set(&at, time::seconds(cx.now));
        } else if !changed && obj.at(&at).is_null() && !old.at(&at).is_null() {
            obj.set(&at, old.at(&at));
        }
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        if cx.subresource.is_some() {
            return;
        }
        let root = At::root(obj);
        let spec = root.get("spec");
        volumes::spec(spec, obj.name(), false, errors);
        match old {
            Some(old) => update(spec, old, errors),
            None => mount_options(obj, errors),
        }
    }
    fn warnings(&self, cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if cx.subresource.is_some() {
            return warnings;
        }
        for (key, text) in DEPRECATED {
            if !obj.at(&["metadata", "annotations", key]).is_null() {
                warnings.push(format!("metadata.annotations[{key}]: {text}"));
            }
        }
        let root = At::root(obj);
        let spec = root.get("spec");
        if spec.get("persistentVolumeReclaimPolicy").str() == "Recycle" {
            let text = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
            warnings.push(format!("spec.persistentVolumeReclaimPolicy: {text}"));
        }
        let affinity = spec.get("nodeAffinity");
        let required = affinity.get("required");
        let terms = required.get("nodeSelectorTerms");
        for term in terms.items() {
            node_labels::warn_of_expressions(term.get("matchExpressions"), &mut warnings);
        }
        volumes::warnings(spec.value, &mut warnings);
        warnings
    }
}

fn mount_options(obj: &Value, errors: &mut FieldErrors) {
    let source = volumes::sources().find(|source| !obj.at(&["spec", source]).is_null());
    if obj.at(&["metadata", "annotations", MOUNT_OPTIONS]).is_null()
        || !source.is_none_or(|s| WITHOUT_OPTIONS.contains(&s))
    {
        return;
    }
    let path = format!("metadata.annotations.{MOUNT_OPTIONS}");
    errors.forbidden(path, "may not specify mount options for this volume type");
}

fn update(spec: At, old: &Value, errors: &mut FieldErrors) {
    let before = old.at(&["spec"]);
    let source = |spec: &Value| -> Value {
        let mut out = Value::object();
        for name in volumes::sources().filter(|name| !spec.at(&[name]).is_null()) {
            out.set(&[name], spec.at(&[name]));
        }
        out
    };
    let mut origin = source(spec.value);
    // The secret for expanding may come later.
    let secret = ["csi", "controllerExpandSecretRef"];
    if before.at(&["csi"]).as_object().is_some() && before.at(&secret).is_null() {
        origin.remove(&secret);
    }
    if !same(&origin, &source(before)) {
        errors.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    }
    // Upstream's paths of these two lack `spec`.
    let root = At::root(spec.value);
    root.get("volumeMode").immutable(errors, before.at(&["volumeMode"]));
    let (affinity, now) = (before.at(&["nodeAffinity"]), spec.value.at(&["nodeAffinity"]));
    if !affinity.is_null() && !same(now, affinity) && !same(now, &node_labels::renamed(affinity)) {
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        root.get("nodeAffinity").invalid(errors, detail);
    }
    let class = "volumeAttributesClassName";
    if !before.at(&[class]).is_null() && !spec.get(class).is_set() {
        spec.get(class).forbidden(errors, "update from non-nil value to nil is forbidden");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, created, defaults, update, update_of, updated_of};
    use expect_test::expect;

    fn volume() -> Value {
        value!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}})
    }
    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = volume();
        obj.set(path, value);
        obj
    }
    /// With that source and nothing else.
    fn source(name: &str, source: Value) -> Value {
        let mut obj = volume();
        obj.remove(&["spec", "hostPath"]);
        obj.set(&["spec", name], source);
        obj
    }

    fn source_recycled(path: &str) -> Value {
        let mut obj = source("hostPath", value!({"path": path}));
        obj.set(&["spec", "persistentVolumeReclaimPolicy"], "Recycle");
        obj
    }

    #[test]
    fn creation() {
        defaults(
            &kind(),
            volume(),
            &["spec"],
            expect![[
                r#"{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"hostPath":{"path":"/data","type":""},"persistentVolumeReclaimPolicy":"Retain","volumeMode":"Filesystem"}"#
            ]],
        );
        expect![[r#"{"lastPhaseTransitionTime":"2026-01-02T03:10:00Z","phase":"Pending"}"#]]
            .assert_eq(&created(&kind(), volume()).at(&["status"]).to_string());
    }

    #[test]
    fn validation() {
        create(&kind(), volume(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.accessModes: Required value
                spec.capacity: Required value
                spec.capacity: Unsupported value: null: supported values: "storage"
                spec: Required value: must specify a volume type"#]],
            ),
            (
                with(&["spec", "capacity"], value!({"storage": "0", "cpu": "1"})),
                expect![[r#"
                spec.capacity: Unsupported value: {"cpu":"1","storage":"0"}: supported values: "storage"
                spec.capacity[storage]: Invalid value: "0": must be greater than zero"#]],
            ),
            (
                with(&["spec", "accessModes"], value!(["ReadWriteOncePod", "ReadWriteMany", "Some"])),
                expect![[r#"
                spec.accessModes: Unsupported value: "Some": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
                spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"#]],
            ),
            (
                with(&["spec", "persistentVolumeReclaimPolicy"], "Lose"),
                expect![[
                    r#"spec.persistentVolumeReclaimPolicy: Unsupported value: "Lose": supported values: "Delete", "Recycle", "Retain""#
                ]],
            ),
            (
                with(&["spec", "volumeMode"], "Tape"),
                expect![[r#"spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem""#]],
            ),
            (
                with(&["spec", "storageClassName"], "A"),
                expect![[
                    r#"spec.storageClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#
                ]],
            ),
            (
                with(&["spec", "nfs"], value!({"server": "s", "path": "/p"})),
                expect!["spec.nfs: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                with(&["spec", "volumeAttributesClassName"], ""),
                expect![[r#"
                spec.volumeAttributesClassName: Required value: an empty string is disallowed
                spec.csi: Required value: has to be specified when using volumeAttributesClassName"#]],
            ),
            (
                with(&["spec", "nodeAffinity"], value!({})),
                expect!["spec.nodeAffinity.required: Required value: must specify required node constraints"],
            ),
            (
                with(&["spec", "hostPath", "path"], "../x"),
                expect![[r#"spec.hostPath.path: Invalid value: "../x": must not contain '..'"#]],
            ),
        ] {
            create(&kind(), obj, want);
        }
    }

    #[test]
    fn where_it_is() {
        for (obj, want) in [
            (
                source("nfs", value!({"path": "p"})),
                expect![[r#"
                spec.nfs.server: Required value
                spec.nfs.path: Invalid value: "p": must be an absolute path"#]],
            ),
            (
                source_recycled("//./"),
                expect![
                    "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"
                ],
            ),
            (
                source("local", value!({})),
                expect![[r#"
                spec.local.path: Required value
                spec.nodeAffinity: Required value: Local volume requires node affinity"#]],
            ),
            (
                source("csi", value!({"nodePublishSecretRef": {"name": "A"}})),
                expect![[r#"
                spec.csi.driver: Required value
                spec.csi.volumeHandle: Required value
                spec.csi.nodePublishSecretRef.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                spec.csi.nodePublishSecretRef.namespace: Required value"#]],
            ),
            (
                source("iscsi", value!({"iqn": "x", "lun": 256, "chapAuthSession": true})),
                expect![[r#"
                spec.iscsi.targetPortal: Required value
                spec.iscsi.iqn: Invalid value: "x": must be valid format
                spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive
                spec.iscsi.secretRef: Required value"#]],
            ),
            (
                source("fc", value!({})),
                expect!["spec.fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"],
            ),
            (
                source("rbd", value!({})),
                expect![[r#"
                spec.rbd.monitors: Required value
                spec.rbd.image: Required value"#]],
            ),
            (
                with(&["metadata", "annotations", MOUNT_OPTIONS], "ro"),
                expect![
                    "metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for this volume type"
                ],
            ),
        ] {
            create(&kind(), obj, want);
        }
    }

    #[test]
    fn what_may_change() {
        for (obj, want) in [
            (with(&["spec", "capacity", "storage"], "2Gi"), expect![]),
            (
                with(&["spec", "hostPath", "path"], "/other"),
                expect![
                    "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
                ],
            ),
            (
                with(&["spec", "volumeMode"], "Block"),
                expect![[r#"volumeMode: Invalid value: "Block": field is immutable"#]],
            ),
        ] {
            update(&kind(), volume(), obj, want);
        }
        let csi = |more: Value| {
            let mut csi = value!({"driver": "d", "volumeHandle": "h"});
            for (key, value) in more.members_at(&[]) {
                csi.set(&[key], value);
            }
            source("csi", csi)
        };
        let secret = value!({"controllerExpandSecretRef": {"name": "s", "namespace": "n"}});
        update(&kind(), csi(value!({})), csi(secret), expect![]);
        let zone = |key: &str| {
            let term = value!({"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]});
            with(&["spec", "nodeAffinity"], value!({"required": {"nodeSelectorTerms": [term]}}))
        };
        update(&kind(), zone("failure-domain.beta.kubernetes.io/zone"), zone("topology.kubernetes.io/zone"), expect![]);
        update(
            &kind(),
            zone("a"),
            zone("b"),
            expect![[
                r#"nodeAffinity: Invalid value: {"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"b","operator":"In","values":["a"]}]}]}}: field is immutable, except for updating from beta label to GA"#
            ]],
        );
        update_of(&kind(), Some("status"), volume(), with(&["status"], value!({"phase": "Bound"})), expect![]);
    }

    #[test]
    fn the_server_notes_when_the_phase_changed() {
        let old = with(&["status"], value!({"phase": "Pending", "lastPhaseTransitionTime": "2026-01-02T03:00:00Z"}));
        let after = |status: Value| {
            let new = updated_of(&kind(), "status", &old, with(&["status"], status));
            new.str_at(&["status", "lastPhaseTransitionTime"]).to_string()
        };
        assert_eq!(after(value!({"phase": "Bound"})), "2026-01-02T03:10:00Z");
        assert_eq!(after(value!({"phase": "Pending"})), "2026-01-02T03:00:00Z");
        let own = value!({"phase": "Bound", "lastPhaseTransitionTime": "2026-01-02T03:05:00Z"});
        assert_eq!(after(own), "2026-01-02T03:05:00Z");
    }

    #[test]
    fn warnings() {
        testing::warnings(
            &kind(),
            with(&["spec", "persistentVolumeReclaimPolicy"], "Recycle"),
            expect![
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
            ],
        );
        let mut obj = source("rbd", value!({}));
        obj.set(&["metadata", "annotations", crate::core::CLASS], "slow");
        testing::warnings(
            &kind(),
            obj,
            expect![[r#"
            metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead
            spec.rbd: deprecated in v1.28, non-functional in v1.31+"#]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), volume(), expect!["obj | 1Gi | RWO |  |  |  |  | <unset> |  | 5m || <unset>"]);
        let mut obj = with(&["spec", "claimRef"], value!({"namespace": "d", "name": "c"}));
        obj.set(&["spec", "accessModes"], value!(["ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany"]));
        obj.set(&["spec", "storageClassName"], "fast");
        obj.set(&["status", "phase"], "Bound");
        cells(&kind(), obj, expect!["obj | 1Gi | RWO,ROX,RWX |  | Bound | d/c | fast | <unset> |  | 5m || <unset>"]);
    }
}
