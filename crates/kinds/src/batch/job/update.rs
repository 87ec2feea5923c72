//! What may change in a job that exists: how much of it runs at once, and, while it is suspended, where and with how
//! much its pods would run.

use super::is;
use crate::{at::At, rules::same};
use base::FieldErrors;
use value::Value;

pub fn validate(spec: At, old: &Value, errors: &mut FieldErrors) {
    let before = old.at(&["spec"]);
    completions(spec, before, errors);
    spec.get("selector").immutable(errors, before.at(&["selector"]));
    template(spec, old, errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        spec.get(field).immutable(errors, before.at(&[field]));
    }
}

fn completions(spec: At, before: &Value, errors: &mut FieldErrors) {
    let completions = spec.get("completions");
    if spec.get("completionMode").str() != "Indexed" {
        return completions.immutable(errors, before.at(&["completions"]));
    }
    let changed = !same(completions.value, before.at(&["completions"]));
    if changed && completions.is_set() && completions.int() != spec.get("parallelism").int() {
        completions.invalid_int(errors, "can only be modified in tandem with spec.parallelism");
    }
}

fn template(spec: At, old: &Value, errors: &mut FieldErrors) {
    let template = spec.get("template");
    let mut before = old.at(&["spec", "template"]).clone();
    let suspended = old.at(&["spec", "suspend"]).as_bool() == Some(true);
    let never_ran = old.at(&["status", "startTime"]).is_null() || is(old, "Suspended");
    let idle = old.at(&["status", "active"]).as_i64().unwrap_or(0) == 0;
    if !(suspended && never_ran && idle) {
        return template.immutable(errors, &before);
    }
    let pod = template.get("spec");
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        take(&mut before, template.value, &["spec", field]);
    }
    take(&mut before, template.value, &["spec", "affinity", "nodeAffinity"]);
    if before.members_at(&["spec", "affinity"]).next().is_none() && !pod.get("affinity").is_set() {
        before.remove(&["spec", "affinity"]);
    }
    for list in ["containers", "initContainers"] {
        let new = template.value.items_at(&["spec", list]);
        let Some(old) = before.array_at_mut(&["spec", list]).filter(|old| old.len() == new.len()) else { continue };
        for (old, new) in old.iter_mut().zip(new).filter(|(old, new)| old.at(&["name"]) == new.at(&["name"])) {
            take(old, new, &["resources"]);
        }
    }
    if !same(pod.value, before.at(&["spec"])) {
        let at = At { value: pod.value, path: spec.path.key("template.spec") };
        at.invalid(errors, crate::rules::IMMUTABLE);
    }
}

fn take(into: &mut Value, from: &Value, path: &[&str]) {
    match from.at(path) {
        Value::Null => drop(into.remove(path)),
        found => into.set(path, found),
    }
}
