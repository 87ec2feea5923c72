//! ResourceClaimTemplate: the claim that each pod gets that names it.

use super::{GROUP, claim};
use crate::{
    at::At,
    declare::declare,
    rules::{IMMUTABLE, same},
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

/// What the claim's metadata may have.
const METADATA: [&str; 2] = ["annotations", "labels"];

pub fn kind() -> Kind {
    declare(GROUP, "ResourceClaimTemplate")
        .answers_deleted()
        .version("v1", "io.k8s.api.resource.v1.ResourceClaimTemplate", vec![Column::object_name(), Column::age()])
        .hooks(ResourceClaimTemplate)
        .build()
}

#[derive(Debug)]
struct ResourceClaimTemplate;

impl Hooks for ResourceClaimTemplate {
    fn default(&self, obj: &mut Value) {
        claim::defaults(obj.at_mut(&["spec", "spec"]));
    }

    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        let (claim, metadata) = (spec.get("spec"), spec.get("metadata"));
        if old.is_none() {
            // Upstream's path leaves out one `spec`.
            let devices = spec.path.key("devices");
            let requests = claim.value.items_at(&["devices", "requests"]);
            claim::admin_access(cx, obj, requests, &["exactly", "adminAccess"], devices.key("requests"), errors);
        }
        metadata.get("annotations").annotations(errors);
        metadata.get("labels").labels(errors);
        for (field, _) in metadata.value.members_at(&[]).filter(|(field, _)| !METADATA.contains(field)) {
            metadata.get(field).forbidden(errors, "cannot be set");
        }
        claim::spec(claim, errors);
        if let Some(old) = old
            && !same(old.at(&["spec"]), spec.value)
        {
            spec.invalid(errors, IMMUTABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        let of = |class: &str| value!({"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": class}}]}}}});
        create(&kind(), of("gpu"), expect![""]);
        let mut bad = of("");
        bad.set(&["spec", "metadata"], value!({"name": "x", "labels": {"a b": "c"}}));
        create(
            &kind(),
            bad,
            expect![[r#"
            spec.metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.metadata.name: Forbidden: cannot be set
            spec.spec.devices.requests[0].exactly.deviceClassName: Required value"#]],
        );
        update(
            &kind(),
            of("gpu"),
            of("cpu"),
            expect![[
                r#"spec: Invalid value: {"metadata":{},"spec":{"devices":{"requests":[{"exactly":{"allocationMode":"ExactCount","count":1,"deviceClassName":"cpu"},"name":"r"}]}}}: field is immutable"#
            ]],
        );
    }
}
