//! Namespace: a room for names. It goes when its own finalizers have gone, which whoever empties it takes away at
//! `/finalize`.

use crate::{at::At, declare::declare};
use base::{FieldErrors, Result};
use schema::{Column, Context, Hooks, Kind, NameRule, Pool, Verb};
use value::{Value, value};

const KUBERNETES: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub fn kind() -> Kind {
    declare("", "Namespace")
        .answers_deleted()
        .short(["ns"])
        .cluster()
        .names(NameRule::Label)
        .version("v1", "io.k8s.api.core.v1.Namespace", columns())
        .without(Verb::DeleteCollection)
        .status()
        .fields("finalize", [&["spec"]])
        .only([Verb::Update])
        .selectable(["status.phase"])
        .hooks(Namespace)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::text("Status", |ns, _| ns.str_at(&["status", "phase"]).into()), Column::age()]
}

#[derive(Debug)]
struct Namespace;

impl Hooks for Namespace {
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], value!({"phase": "Active"}));
        let mut finalizers = obj.items_at(&["spec", "finalizers"]).to_vec();
        if !finalizers.iter().any(|f| *f == KUBERNETES) {
            finalizers.push(KUBERNETES.into());
        }
        obj.set(&["spec", "finalizers"], finalizers);
    }
    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        if cx.subresource.is_none() {
            match old.at(&["spec", "finalizers"]) {
                Value::Null => drop(obj.remove(&["spec", "finalizers"])),
                finalizers => obj.set(&["spec", "finalizers"], finalizers),
            }
        }
        label(obj);
    }
    /// Only now is a generated name known.
    fn allocate(&self, _cx: &Context, obj: &mut Value, _old: Option<&Value>, _pool: &dyn Pool) -> Result<()> {
        label(obj);
        Ok(())
    }
    fn validate(&self, cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        match cx.subresource {
            Some("finalize") => {
                let spec = root.get("spec");
                for finalizer in spec.get("finalizers").items() {
                    finalizer_name(finalizer, errors);
                }
            }
            Some("status") => {
                let deleting = !obj.at(&["metadata", "deletionTimestamp"]).is_null();
                let (status, phase) = (root.get("status"), obj.str_at(&["status", "phase"]));
                let place = status.get("Phase");
                if deleting && phase != "Terminating" {
                    let detail = "may only be 'Terminating' if `deletionTimestamp` is not empty";
                    place.invalid_as(errors, phase, detail);
                }
                if !deleting && phase != "Active" {
                    place.invalid_as(errors, phase, "may only be 'Active' if `deletionTimestamp` is empty");
                }
            }
            _ => {}
        }
    }
    fn may_be_removed(&self, obj: &Value) -> bool {
        obj.items_at(&["spec", "finalizers"]).is_empty()
    }
    fn begin_deletion(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status", "phase"], "Terminating");
    }
}

fn label(obj: &mut Value) {
    let name = obj.name().to_string();
    if !name.is_empty() {
        obj.set(&["metadata", "labels", NAME_LABEL], name);
    }
}

fn finalizer_name(finalizer: At, errors: &mut FieldErrors) {
    finalizer.qualified_name(errors);
    let standard = [KUBERNETES, "orphan", "foregroundDeletion"];
    if !finalizer.str().contains('/') && !standard.contains(&finalizer.str()) {
        finalizer.invalid(errors, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, created, update_of, updated};
    use expect_test::expect;

    #[test]
    fn creation_sets_finalizer_and_phase() {
        let obj =
            created(&kind(), value!({"spec": {"finalizers": ["example.com/x"]}, "status": {"phase": "Terminating"}}));
        assert_eq!(obj.at(&["spec", "finalizers"]), &value!(["example.com/x", "kubernetes"]));
        assert_eq!(obj.str_at(&["status", "phase"]), "Active");
        let after = updated(&kind(), &obj, value!({"spec": {"finalizers": []}}));
        assert_eq!(after.at(&["spec"]), obj.at(&["spec"]));
        assert_eq!(after.str_at(&["metadata", "labels", NAME_LABEL]), "obj");
        assert!(!kind().hooks.may_be_removed(&after));
    }

    #[test]
    fn subresources_are_checked() {
        let old = value!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let new = value!({"spec": {"finalizers": ["own"]}, "status": {"phase": "Terminating"}});
        update_of(
            &kind(),
            Some("finalize"),
            old.clone(),
            new.clone(),
            expect![[
                r#"spec.finalizers[0]: Invalid value: "own": name is neither a standard finalizer name nor is it fully qualified"#
            ]],
        );
        update_of(
            &kind(),
            Some("status"),
            old,
            new,
            expect![[
                r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#
            ]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), value!({"status": {"phase": "Active"}}), expect!["obj | Active | 5m"]);
    }
}
