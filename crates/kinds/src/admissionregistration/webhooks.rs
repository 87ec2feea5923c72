//! Webhooks, of both kinds of configuration.
//!
//! Configurations of earlier versions may be laxer than a new one: what all of an object's webhooks had wrong before an
//! update may stay wrong.

use super::matching::{self, FAILURE_POLICIES, MATCH_POLICIES, count};
use crate::{at::At, cel::Names};
use base::{FieldErrors, names};
use schema::Column;
use std::collections::BTreeSet;
use value::Value;

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];

pub fn columns() -> Vec<Column> {
    vec![Column::object_name(), Column::number("Webhooks", |obj, _| count(obj, &["webhooks"])), Column::age()]
}

/// What may stay as it was.
#[derive(Debug, Default)]
struct Lax {
    conditions: bool,
    side_effects: bool,
    versions: bool,
    names: bool,
    selectors: bool,
}

impl Lax {
    fn of(obj: &Value, old: &Value) -> Lax {
        let (new, hooks) = (obj.items_at(&["webhooks"]), old.items_at(&["webhooks"]));
        let conditions = |hook: &Value| hook.at(&["matchConditions"]).clone();
        let mut names = BTreeSet::new();
        Lax {
            conditions: new.len() == hooks.len() && new.iter().zip(hooks).all(|(a, b)| conditions(a) == conditions(b)),
            side_effects: !hooks.iter().all(|hook| NO_SIDE_EFFECTS.contains(&hook.str_at(&["sideEffects"]))),
            versions: hooks.iter().any(|hook| {
                let versions = hook.items_at(&["admissionReviewVersions"]);
                !versions.is_empty() && !versions.iter().any(accepted)
            }),
            names: !hooks.iter().all(|hook| names.insert(hook.str_at(&["name"]))),
            selectors: hooks.iter().any(|hook| {
                let mut found = FieldErrors::default();
                for selector in ["namespaceSelector", "objectSelector"] {
                    At::root(hook).get(selector).label_selector(&mut found);
                }
                !found.is_empty()
            }),
        }
    }
}

fn accepted(version: &Value) -> bool {
    version.as_str().is_some_and(|v| REVIEW_VERSIONS.contains(&v))
}

/// All webhooks of a configuration.
pub fn validate(obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let lax = old.map(|old| Lax::of(obj, old)).unwrap_or_default();
    let root = At::root(obj);
    let mut names = BTreeSet::new();
    for hook in root.get("webhooks").items() {
        webhook(hook, &lax, errors);
        versions(hook.get("admissionReviewVersions"), &lax, errors);
        let name = hook.get("name");
        if !lax.names && !name.is_empty() && !names.insert(hook.value.str_at(&["name"])) {
            name.duplicate(errors);
        }
    }
}

fn webhook(hook: At, lax: &Lax, errors: &mut FieldErrors) {
    hook.get("name").fully_qualified_name(errors);
    hook.get("rules").items().for_each(|rule| matching::rule(rule, errors));
    hook.get("failurePolicy").one_of_if_set(errors, &FAILURE_POLICIES);
    hook.get("matchPolicy").one_of_if_set(errors, &MATCH_POLICIES);
    let allowed: &[&str] = if lax.side_effects { &SIDE_EFFECTS } else { &NO_SIDE_EFFECTS };
    let effects = hook.get("sideEffects");
    if effects.is_set() {
        effects.one_of_if_set(errors, allowed);
    } else {
        effects.required(errors, format!("must specify one of {}", allowed.join(", ")));
    }
    let timeout = hook.get("timeoutSeconds");
    if timeout.is_set() && !(1..=30).contains(&timeout.int()) {
        timeout.invalid_int(errors, "the timeout value must be between 1 and 30 seconds");
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        let selector = hook.get(selector);
        let mut found = FieldErrors::default();
        selector.label_selector(&mut found);
        errors.0.extend(found.0.into_iter().filter(|error| !(lax.selectors && error.path.contains(".values["))));
    }
    hook.get("reinvocationPolicy").one_of_if_set(errors, &["IfNeeded", "Never"]);
    hook.get("clientConfig").webhook_client(errors);
    if !lax.conditions {
        matching::conditions(hook.get("matchConditions"), Names { authorizer: true, ..Names::default() }, errors);
    }
}

fn versions(versions: At, lax: &Lax, errors: &mut FieldErrors) {
    let known = REVIEW_VERSIONS.join(", ");
    if versions.is_empty() {
        return versions.required(errors, format!("must specify one of {known}"));
    }
    let mut seen = BTreeSet::new();
    for version in versions.items() {
        if seen.insert(version.str()) {
            version.shape(errors, names::label1035(version.str()));
        } else {
            version.invalid(errors, "duplicate version");
        }
    }
    if !lax.versions && !versions.value.as_array().is_some_and(|list| list.iter().any(accepted)) {
        versions.invalid(errors, format!("must include at least one of {known}"));
    }
}
