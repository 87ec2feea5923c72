//! What Deployment and ReplicaSet share: a number of pods from a template, found by a selector.

use crate::{at::At, rules::selects, template};
use base::FieldErrors;
use value::Value;

/// Replicas, selector and template of a spec; the selector never changes.
pub fn spec(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    let everything = selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty();
    match (selector.is_set(), everything) {
        (false, _) => {
            selector.required(errors, "");
            mismatch(template, errors);
        }
        (true, true) => selector.invalid(errors, "empty selector is invalid for deployment"),
        (true, false) => {
            selector.label_selector(errors);
            if !selects(selector.value, template.value.at(&["metadata", "labels"])) {
                mismatch(template, errors);
            }
        }
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

fn mismatch(template: At, errors: &mut FieldErrors) {
    let metadata = template.get("metadata");
    let labels = metadata.get("labels");
    errors.invalid_raw(labels.path, labels.value, "`selector` does not match template `labels`");
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
