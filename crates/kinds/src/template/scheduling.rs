//! Where a pod may run: affinity, tolerations, spread, gates.

use crate::at::At;
use base::FieldErrors;
use std::collections::BTreeSet;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `affinity` of all three kinds.
pub fn affinity(affinity: At, errors: &mut FieldErrors) {
    let node = affinity.get("nodeAffinity");
    if node.get(REQUIRED).is_set() {
        node_selector(node.get(REQUIRED), errors);
    }
    for term in node.get(PREFERRED).items() {
        weight(term, errors);
        node_selector_term(term.get("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = affinity.get(kind);
        for term in affinity.get(REQUIRED).items() {
            pod_term(term, errors);
        }
        for term in affinity.get(PREFERRED).items() {
            weight(term, errors);
            pod_term(term.get("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: At, errors: &mut FieldErrors) {
    let weight = term.get("weight");
    if !(1..=100).contains(&weight.int()) {
        weight.invalid_int(errors, "must be in the range 1-100");
    }
}

/// A `NodeSelector`.
pub fn node_selector(selector: At, errors: &mut FieldErrors) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(errors, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_selector_term(term, errors);
    }
}

fn node_selector_term(term: At, errors: &mut FieldErrors) {
    for requirement in term.get("matchExpressions").items() {
        let (operator, values) = (requirement.get("operator"), requirement.get("values"));
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => operator.invalid(errors, "not a valid selector operator"),
        }
        requirement.get("key").qualified_name(errors);
        for value in values.items() {
            value.label_value(errors);
        }
    }
    for requirement in term.get("matchFields").items() {
        let (operator, values, key) = (requirement.get("operator"), requirement.get("values"), requirement.get("key"));
        match operator.str() {
            "In" | "NotIn" if values.len() == 1 => {}
            "In" | "NotIn" => {
                values.required(
                    errors,
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                );
            }
            _ => operator.invalid(errors, "not a valid selector operator"),
        }
        if key.str() != "metadata.name" {
            key.invalid(errors, "not a valid field selector key");
            continue;
        }
        for value in values.items() {
            value.dns_subdomain(errors);
        }
    }
}

fn pod_term(term: At, errors: &mut FieldErrors) {
    term.get("labelSelector").label_selector(errors);
    term.get("namespaceSelector").label_selector(errors);
    for namespace in term.get("namespaces").items() {
        // Upstream's path is the singular.
        term.get("namespace").shape_as(errors, namespace.str(), base::names::label(namespace.str()));
    }
    label_keys(term, errors);
    let key = term.get("topologyKey");
    if key.is_empty() {
        key.required(errors, "can not be empty");
    }
    key.qualified_name(errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys` go with a selector, and share no key.
fn label_keys(term: At, errors: &mut FieldErrors) {
    let (same, other) = (term.get("matchLabelKeys"), term.get("mismatchLabelKeys"));
    for keys in [same, other] {
        if !keys.is_empty() && !term.get("labelSelector").is_set() {
            keys.forbidden(errors, "must not be specified when labelSelector is not set");
        }
        for key in keys.items() {
            key.qualified_name(errors);
        }
    }
    for key in same.items().filter(|key| other.items().any(|o| o.value == key.value)) {
        key.invalid(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// `tolerations`
pub fn tolerations(list: At, errors: &mut FieldErrors) {
    for toleration in list.items() {
        let (key, operator) = (toleration.get("key"), toleration.get("operator"));
        let (value, effect) = (toleration.get("value"), toleration.get("effect"));
        if !key.is_empty() {
            key.qualified_name(errors);
        } else if operator.str() != "Exists" {
            operator.invalid(
                errors,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.get("tolerationSeconds").is_set() && effect.str() != "NoExecute" {
            effect.invalid(errors, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator.str() {
            "" | "Equal" => operator.shape_as(errors, value.str(), base::names::label_value(value.str())),
            "Exists" if !value.is_empty() => {
                operator.invalid_as(errors, value.str(), "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            // Known, behind a feature gate that is off.
            "Lt" | "Gt" => operator.unsupported(errors, &["Equal", "Exists", "Lt", "Gt"]),
            _ => operator.unsupported(errors, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            effect.one_of(errors, &EFFECTS);
        }
    }
}

/// `taints` of a node.
pub fn taints(list: At, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for taint in list.items() {
        taint.get("key").qualified_name(errors);
        taint.get("value").label_value(errors);
        taint.get("effect").one_of(errors, &EFFECTS);
        let id = (taint.get("key").str().to_string(), taint.get("effect").str().to_string());
        if !seen.insert(id) {
            let detail = "taints must be unique by key and effect pair";
            errors.add(base::status::Problem::Duplicate, taint.path, Some(taint.value.to_string()), detail);
        }
    }
}

/// `schedulingGates`
pub fn gates(list: At, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for gate in list.items() {
        let name = gate.value.str_at(&["name"]);
        gate.shape_as(errors, name, base::names::qualified_name(name));
        if !seen.insert(name.to_string()) {
            errors.duplicate(gate.path, name);
        }
    }
}

/// `topologySpreadConstraints`
pub fn spread(list: At, errors: &mut FieldErrors) {
    let id = |c: &At| (c.get("topologyKey").str().to_string(), c.get("whenUnsatisfiable").str().to_string());
    for (i, constraint) in list.items().enumerate() {
        let skew = constraint.get("maxSkew");
        if skew.int() <= 0 {
            skew.invalid_int(errors, "must be greater than zero");
        }
        let key = constraint.get("topologyKey");
        if key.is_empty() {
            key.required(errors, "can not be empty");
        }
        let action = constraint.get("whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action.str()) {
            action.unsupported(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if list.items().skip(i + 1).any(|other| id(&other) == id(&constraint)) {
            let (key, action) = id(&constraint);
            let place = constraint.get("{topologyKey, whenUnsatisfiable}");
            errors.duplicate(place.path, &format!("{{{key}, {action}}}"));
        }
        let domains = constraint.get("minDomains");
        if domains.is_set() && domains.int() <= 0 {
            domains.invalid_int(errors, "must be greater than zero");
        }
        if domains.is_set() && action.str() != "DoNotSchedule" {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action.str());
            domains.invalid_int(errors, detail);
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.get(policy).one_of_if_set(errors, &["Honor", "Ignore"]);
        }
        label_keys(constraint, errors);
        constraint.get("labelSelector").label_selector(errors);
    }
}
