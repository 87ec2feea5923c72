//! VolumeAttachment: a volume is to be attached to a node, and whether it is.

use super::rules;
use crate::{at::At, cells, core::volumes, declare::declare};
use base::FieldErrors;
use schema::{Column, ColumnType, Context, Hooks, Kind};
use value::{Value, value};

const MESSAGE_MAX: usize = 1024;
/// What the message about a message that is too long says.
const MESSAGE_SAID: usize = 256 << 10;

pub fn kind() -> Kind {
    declare("storage.k8s.io", "VolumeAttachment")
        .answers_deleted()
        .cluster()
        .version("v1", "io.k8s.api.storage.v1.VolumeAttachment", columns())
        .status()
        .without_metadata()
        .conditional_update()
        .hooks(VolumeAttachment)
        .build()
}

fn columns() -> Vec<Column> {
    let attacher = Column::path("Attacher", ColumnType::String, "spec.attacher");
    vec![
        Column::object_name(),
        Column { format: "name".into(), ..attacher },
        Column::text("PV", |obj, _| obj.str_at(&["spec", "source", "persistentVolumeName"]).into()),
        Column::text("Node", |obj, _| obj.str_at(&["spec", "nodeName"]).into()),
        cells::flag("Attached", |obj, _| cells::or(obj.at(&["status", "attached"]), false)),
        Column::age(),
    ]
}

#[derive(Debug)]
struct VolumeAttachment;

impl Hooks for VolumeAttachment {
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value!({"attached": false}));
    }
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let (spec, status) = (root.get("spec"), root.get("status"));
        rules::driver(spec.get("attacher"), errors);
        source(spec.get("source"), errors);
        spec.get("nodeName").dns_subdomain(errors);
        rules::bytes(status.get("attachmentMetadata"), errors);
        for field in ["attachError", "detachError"] {
            let error = status.get(field);
            if error.get("message").str().len() > MESSAGE_MAX {
                errors.too_long(error.get("message").path, MESSAGE_SAID);
            }
            let code = error.get("errorCode");
            if code.int() < 0 {
                code.range(errors, 0, i64::from(i32::MAX));
            }
        }
        let volume = spec.value.at(&["source", "persistentVolumeName"]);
        if let Some(name) = volume.as_str()
            && let Err(why) = base::names::subdomain(name)
        {
            errors.invalid("spec.source.persistentVolumeName", name, why);
        }
        if let Some(old) = old {
            spec.immutable(errors, old.at(&["spec"]));
        }
    }
}

fn source(source: At, errors: &mut FieldErrors) {
    let (inline, name) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.is_set(), name.is_set()) {
        (false, false) => source.required(errors, one),
        (true, true) => source.forbidden(errors, one),
        (false, true) if name.is_empty() => name.required(errors, "must specify non empty persistentVolumeName"),
        (false, true) => {}
        (true, false) => volumes::spec(inline, "", true, errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update, update_of};
    use expect_test::expect;

    fn attachment() -> Value {
        value!({"spec": {"attacher": "csi.example.com", "nodeName": "n1", "source": {"persistentVolumeName": "pv"}}})
    }

    #[test]
    fn validation() {
        create(&kind(), attachment(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.attacher: Required value
                spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName
                spec.nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
            ),
            (
                value!({"spec": {"attacher": "a".repeat(64), "nodeName": "N", "source": {"persistentVolumeName": ""}}}),
                expect![[r#"
                    spec.attacher: Too long: may not be more than 63 bytes
                    spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName
                    spec.nodeName: Invalid value: "N": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                    spec.source.persistentVolumeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
            ),
            (
                value!({"spec": {"attacher": "a_b", "nodeName": "n", "source": {"inlineVolumeSpec": {}, "persistentVolumeName": "P"}}}),
                expect![[r#"
                    spec.attacher: Invalid value: "a_b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                    spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName
                    spec.source.persistentVolumeName: Invalid value: "P": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
            ),
            (
                value!({"spec": {"attacher": "a", "nodeName": "n", "source": {"inlineVolumeSpec": {}}}}),
                expect![[r#"
                spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes
                spec.source.inlineVolumeSpec.accessModes: Required value
                spec.source.inlineVolumeSpec: Required value: must specify a volume type"#]],
            ),
        ] {
            create(&kind(), obj, want);
        }
        let mut other = attachment();
        other.set(&["spec", "nodeName"], "n2");
        update(
            &kind(),
            attachment(),
            other,
            expect![[
                r#"spec: Invalid value: {"attacher":"csi.example.com","nodeName":"n2","source":{"persistentVolumeName":"pv"}}: field is immutable"#
            ]],
        );
        let mut wrong = attachment();
        wrong.set(
            &["status"],
            value!({"attached": true, "attachError": {"message": "x".repeat(1025), "errorCode": -1}}),
        );
        update_of(
            &kind(),
            Some("status"),
            attachment(),
            wrong,
            expect![[r#"
            status.attachError.message: Too long: may not be more than 262144 bytes
            status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"#]],
        );
    }

    #[test]
    fn columns() {
        let mut obj = attachment();
        obj.set(&["status", "attached"], true);
        cells(&kind(), obj, expect!["obj | csi.example.com | pv | n1 | true | 5m"]);
    }
}
