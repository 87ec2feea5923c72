//! What workloads share: pods from a template, found by a selector, counted in a status.

use crate::{
    at::At,
    rules::{self, selects},
    template,
};
use base::FieldErrors;
use schema::Context;
use value::Value;

/// Selector and template of a Deployment or ReplicaSet; the selector never changes.
pub fn spec(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    required_selector(selector, "deployment", errors);
    if !selector.is_set() || !everything(selector) {
        matches(selector, template, errors);
    }
    template::validate_template(template, errors);
    runs_forever(template, "ReplicaSet", errors);
    if let Some(old) = old {
        selector.immutable(errors, old.at(&["spec", "selector"]));
    }
}

/// A selector that must be there and select something.
pub fn required_selector(selector: At, kind: &str, errors: &mut FieldErrors) {
    if !selector.is_set() {
        return selector.required(errors, "");
    }
    selector.label_selector(errors);
    not_everything(selector, kind, errors);
}

pub fn not_everything(selector: At, kind: &str, errors: &mut FieldErrors) {
    if selector.is_set() && everything(selector) {
        selector.invalid(errors, format!("empty selector is invalid for {kind}"));
    }
}

fn everything(selector: At) -> bool {
    selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty()
}

/// The template's labels are selected; no selector selects nothing.
pub fn matches(selector: At, template: At, errors: &mut FieldErrors) {
    if !selector.is_set() || !selects(selector.value, template.value.at(&["metadata", "labels"])) {
        mismatch(template, errors);
    }
}

pub fn mismatch(template: At, errors: &mut FieldErrors) {
    let metadata = template.get("metadata");
    let labels = metadata.get("labels");
    errors.invalid_raw(labels.path, labels.value, "`selector` does not match template `labels`");
}

/// Pods that are replaced when they end have no end of their own.
pub fn runs_forever(template: At, kind: &str, errors: &mut FieldErrors) {
    let pod = template.get("spec");
    pod.get("restartPolicy").one_of_if_set(errors, &["Always"]);
    let deadline = pod.get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(errors, format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// What is said about a workload: its name becomes part of host names, and its template.
pub fn warnings(cx: &Context, obj: &Value, old: Option<&Value>, template: At) -> Vec<String> {
    let name = rules::hostname_warning(cx, obj, old);
    name.into_iter().chain(template_warnings(cx, obj, old, template)).collect()
}

/// What is said about a template, where it is new or the object has changed.
pub fn template_warnings(cx: &Context, obj: &Value, old: Option<&Value>, template: At) -> Vec<String> {
    let generation = |obj: &Value| obj.at(&["metadata", "generation"]).as_i64();
    if cx.subresource.is_some() || old.is_some_and(|old| generation(old) == generation(obj)) {
        return Vec::new();
    }
    template::warnings(template)
}

/// Counts of a status: none negative, none above the replicas.
pub fn status(status: At, counts: &[&str], parts: &[&str], errors: &mut FieldErrors) {
    for count in counts {
        status.get(count).non_negative(errors);
    }
    for part in parts.iter().filter(|part| status.get(part).int() > status.get("replicas").int()) {
        status.get(part).invalid_int(errors, "cannot be greater than status.replicas");
    }
}

/// The status of a ReplicaSet or ReplicationController.
pub fn counted(status: At, counts: &[&str], errors: &mut FieldErrors) {
    self::status(status, counts, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"], errors);
    available_are_ready(status, "readyReplicas", errors);
}

/// Who is available is ready too. `ready` is what the message says, which kinds write differently.
pub fn available_are_ready(status: At, ready: &str, errors: &mut FieldErrors) {
    if status.get("availableReplicas").int() > status.get("readyReplicas").int() {
        status.get("availableReplicas").invalid_int(errors, format!("cannot be greater than {ready}"));
    }
}

/// `collisionCount` only grows; what is absent counts as less than any number.
pub fn collisions(status: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let before = old.and_then(|old| old.at(&["status", "collisionCount"]).as_i64());
    let now = status.get("collisionCount");
    if before.is_some_and(|before| now.value.as_i64().is_none_or(|now| now < before)) {
        now.invalid_int(errors, "cannot be decremented");
    }
}

/// A number or percentage of pods, at most all of them.
pub fn share(amount: At, errors: &mut FieldErrors) {
    amount.int_or_percent(errors);
    if amount.str().ends_with('%') && rules::amount(amount.value) > 100 {
        amount.invalid(errors, "must not be greater than 100%");
    }
}
