//! CSIDriver: what Kubernetes does for a driver, and what not.

use crate::{at::At, cells, declare::declare, rules::same};
use base::FieldErrors;
use schema::{Column, ColumnType, Context, Generation, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

const SECRETS: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
                       possible logging of tokens in volume attributes";

pub fn kind() -> Kind {
    declare("storage.k8s.io", "CSIDriver")
        .answers_deleted()
        .cluster()
        .version("v1", "io.k8s.api.storage.v1.CSIDriver", columns())
        .generations(Generation::Changes)
        .conditional_update()
        .hooks(CsiDriver)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        cells::flag("AttachRequired", |obj, _| cells::or(obj.at(&["spec", "attachRequired"]), true)),
        cells::flag("PodInfoOnMount", |obj, _| cells::or(obj.at(&["spec", "podInfoOnMount"]), false)),
        cells::flag("StorageCapacity", |obj, _| cells::or(obj.at(&["spec", "storageCapacity"]), false)),
        Column::text("TokenRequests", |obj, _| match obj.at(&["spec", "tokenRequests"]).as_array() {
            Some(tokens) => tokens.iter().map(|t| t.str_at(&["audience"])).collect::<Vec<_>>().join(",").into(),
            None => "<unset>".into(),
        }),
        cells::flag("RequiresRepublish", |obj, _| cells::or(obj.at(&["spec", "requiresRepublish"]), false)),
        Column {
            kind: ColumnType::String,
            ..Column::text("Modes", |obj, _| {
                let modes = obj.items_at(&["spec", "volumeLifecycleModes"]);
                let modes: Vec<&str> = modes.iter().filter_map(Value::as_str).collect();
                cells::or_none(&modes.join(",")).into()
            })
        },
        Column::age(),
    ]
}

#[derive(Debug)]
struct CsiDriver;

impl Hooks for CsiDriver {
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        // The gate `VolumeLimitScaling` is off by default.
        obj.remove(&["spec", "preventPodSchedulingIfMissing"]);
    }
    fn prepare_update(&self, _cx: &Context, obj: &mut Value, old: &Value) {
        if old.at(&["spec", "preventPodSchedulingIfMissing"]).is_null() {
            obj.remove(&["spec", "preventPodSchedulingIfMissing"]);
        }
    }
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        // Upstream's path has a letter too many.
        let attach = At { value: spec.get("attachRequired").value, path: spec.path.key("attachedRequired") };
        for field in [attach, spec.get("podInfoOnMount"), spec.get("storageCapacity")] {
            if !field.is_set() {
                field.required(errors, "");
            }
        }
        spec.get("fsGroupPolicy").one_of_if_set(errors, &["File", "None", "ReadWriteOnceWithFSType"]);
        let tokens = spec.get("tokenRequests");
        token_requests(tokens, errors);
        let modes = spec.get("volumeLifecycleModes");
        for mode in modes.items().filter(|mode| !["Persistent", "Ephemeral"].contains(&mode.str())) {
            errors.not_supported(modes.path, mode.str(), &["Persistent", "Ephemeral"]);
        }
        if !spec.get("seLinuxMount").is_set() {
            spec.get("seLinuxMount").required(errors, "");
        }
        let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
        if period.is_set() && period.int() < 10 {
            period.invalid_int(errors, "must be greater than or equal to 10 seconds");
        }
        let secrets = spec.get("serviceAccountTokenInSecrets");
        if secrets.is_set() && tokens.is_empty() {
            secrets.invalid(errors, "serviceAccountTokenInSecrets is set but no tokenRequests are specified");
        }
        if let Some(old) = old {
            attach.immutable(errors, old.at(&["spec", "attachRequired"]));
            modes.immutable(errors, old.at(&["spec", "volumeLifecycleModes"]));
        }
    }
    fn warnings(&self, _cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let tokens = obj.at(&["spec", "tokenRequests"]);
        let changed = old.is_none_or(|old| !same(tokens, old.at(&["spec", "tokenRequests"])));
        let unset = obj.at(&["spec", "serviceAccountTokenInSecrets"]).is_null();
        if changed && unset && !tokens.items_at(&[]).is_empty() { vec![SECRETS.into()] } else { Vec::new() }
    }
}

fn token_requests(tokens: At, errors: &mut FieldErrors) {
    let mut audiences = BTreeSet::new();
    for token in tokens.items() {
        let (audience, seconds) = (token.get("audience"), token.get("expirationSeconds"));
        if !audiences.insert(audience.str().to_string()) {
            audience.duplicate(errors);
            continue;
        }
        if seconds.is_set() && seconds.int() < 600 {
            seconds.invalid_int(errors, "may not specify a duration less than 10 minutes");
        }
        if seconds.int() > 1 << 32 {
            seconds.invalid_int(errors, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, defaults, update};
    use expect_test::expect;
    use value::value;

    fn driver(spec: Value) -> Value {
        let mut obj = Value::object();
        obj.set(&["spec"], spec);
        obj
    }

    #[test]
    fn validation() {
        defaults(
            &kind(),
            driver(value!({})),
            &["spec"],
            expect![[
                r#"{"attachRequired":true,"fsGroupPolicy":"ReadWriteOnceWithFSType","podInfoOnMount":false,"requiresRepublish":false,"seLinuxMount":false,"storageCapacity":false,"volumeLifecycleModes":["Persistent"]}"#
            ]],
        );
        create(&kind(), driver(value!({})), expect![]);
        for (spec, want) in [
            (
                value!({"fsGroupPolicy": "Some", "volumeLifecycleModes": ["Once"]}),
                expect![[r#"
                spec.fsGroupPolicy: Unsupported value: "Some": supported values: "File", "None", "ReadWriteOnceWithFSType"
                spec.volumeLifecycleModes: Unsupported value: "Once": supported values: "Persistent", "Ephemeral""#]],
            ),
            (
                value!({"tokenRequests": [{"audience": "a", "expirationSeconds": 5}, {"audience": "a"},
                    {"audience": "b", "expirationSeconds": 4294967297_i64}]}),
                expect![[r#"
                    spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes
                    spec.tokenRequests[1].audience: Duplicate value: "a"
                    spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"#]],
            ),
            (
                value!({"nodeAllocatableUpdatePeriodSeconds": 9, "serviceAccountTokenInSecrets": true}),
                expect![[r#"
                spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds
                spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified"#]],
            ),
        ] {
            create(&kind(), driver(spec), want);
        }
        update(
            &kind(),
            driver(value!({})),
            driver(value!({"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"]})),
            expect![[r#"
                spec.attachedRequired: Invalid value: false: field is immutable
                spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable"#]],
        );
        testing::warnings(
            &kind(),
            driver(value!({"tokenRequests": [{"audience": "a"}]})),
            expect![
                "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"
            ],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), driver(value!({})), expect!["obj | true | false | false | <unset> | false | <none> | 5m"]);
        let spec =
            value!({"tokenRequests": [{"audience": "a"}, {"audience": "b"}], "volumeLifecycleModes": ["Ephemeral"]});
        cells(&kind(), driver(spec), expect!["obj | true | false | false | a,b | false | Ephemeral | 5m"]);
    }
}
