//! What Deployment and ReplicaSet share: a number of pods from a template, found by a selector.

use crate::{at::At, rules::selects, template};
use base::FieldErrors;
use value::Value;

/// Replicas, selector and template of a spec; the selector never changes.
pub fn spec(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if selector.is_set() {
        selector.label_selector(errors);
        if selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty() {
            selector.invalid(errors, "empty selector is invalid for deployment");
        } else {
            let metadata = template.get("metadata");
            let labels = metadata.get("labels");
            if !selects(selector.value, labels.value) {
                let shown = if labels.is_set() { labels.value.to_string() } else { "null".into() };
                errors.invalid_raw(labels.path, shown, "`selector` does not match template `labels`");
            }
        }
    } else {
        selector.required(errors, "");
    }
    template::validate_template(template, errors);
    let pod = template.get("spec");
    pod.get("restartPolicy").one_of_if_set(errors, &["Always"]);
    let deadline = pod.get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(errors, "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
    if let Some(old) = old {
        selector.immutable(errors, old.at(&["spec", "selector"]));
    }
}

/// Counts of a status: none negative, none above the replicas.
pub fn status(status: At, counts: &[&str], parts: &[&str], errors: &mut FieldErrors) {
    for count in counts {
        status.get(count).non_negative(errors);
    }
    for part in parts.iter().filter(|part| status.get(part).int() > status.get("replicas").int()) {
        status.get(part).invalid_int(errors, "cannot be greater than status.replicas");
    }
    if status.get("availableReplicas").int() > status.get("readyReplicas").int() {
        status.get("availableReplicas").invalid_int(errors, "cannot be greater than readyReplicas");
    }
}
