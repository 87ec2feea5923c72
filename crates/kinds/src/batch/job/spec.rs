//! The spec of a job, wherever it stands. Source: `pkg/apis/batch/validation`.

use super::indexes;
use crate::{at::At, rules::selects, template};
use base::{FieldErrors, status::Problem};
use std::collections::BTreeSet;

/// Above this many completions a job with limits per index must bound the rest too.
const MANY: i64 = 100_000;
const BOUND: i64 = 10_000;
const SUCCEEDED_INDEXES_MAX: usize = 64 * 1024;
const MANAGED_BY_MAX: usize = 63;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// Everything but the selector.
pub fn validate(spec: At, errors: &mut FieldErrors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.get(field).non_negative(errors);
    }
    let (per_index, failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if failed.is_set() && !per_index.is_set() {
        per_index.required(errors, "when maxFailedIndexes is specified");
    }
    let manager = spec.get("managedBy");
    if manager.is_set() {
        manager.domain_prefixed_path(errors);
        if manager.str().len() > MANAGED_BY_MAX {
            errors.too_long(manager.path, MANAGED_BY_MAX);
        }
    }
    let mode = spec.get("completionMode");
    mode.one_of_if_set(errors, &["NonIndexed", "Indexed"]);
    if mode.str() == "Indexed" {
        indexed(spec, errors);
    }
    if !mode.is_set() || mode.str() == "NonIndexed" {
        for field in [per_index, failed].into_iter().filter(At::is_set) {
            field.invalid_int(errors, "requires indexed completion mode");
        }
    }
    failure_policy(spec, errors);
    success_policy(spec, errors);
    replacement(spec, errors);
    template::validate_template(spec.get("template"), errors);
    restart(spec, errors);
}

/// A selector that the template's labels match.
pub fn selector(spec: At, errors: &mut FieldErrors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if selector.is_set() {
        selector.label_selector(errors);
    } else {
        selector.required(errors, "");
    }
    if !selector.is_set() || !selects(selector.value, template.value.at(&["metadata", "labels"])) {
        crate::apps::replicas::mismatch(template, errors);
    }
}

/// Warnings about the spec.
pub fn warnings(spec: At, warnings: &mut Vec<String>) {
    let number = |field| spec.value.at(&[field]).as_i64().unwrap_or(0);
    let indexed = spec.get("completionMode").str() == "Indexed";
    if indexed && number("completions") > MANY && number("parallelism") > BOUND {
        warnings.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path
        ));
    }
    warnings.extend(template::warnings(spec.get("template")));
}

fn indexed(spec: At, errors: &mut FieldErrors) {
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let failed = spec.get("maxFailedIndexes");
    if !completions.is_set() {
        completions.required(errors, "when completion mode is Indexed");
    }
    if parallelism.int() > MANY {
        let detail = format!("must be less than or equal to {MANY} when completion mode is Indexed");
        parallelism.invalid_int(errors, detail);
    }
    if completions.is_set() && failed.is_set() && failed.int() > completions.int() {
        failed.invalid_int(errors, "must be less than or equal to completions");
    }
    if failed.int() > MANY {
        failed.invalid_int(errors, format!("must be less than or equal to {MANY}"));
    }
    if completions.int() > MANY && spec.get("backoffLimitPerIndex").is_set() {
        let detail = format!(
            "must be less than or equal to {BOUND} when completions are above {MANY} and used with backoff limit per index"
        );
        if !failed.is_set() {
            failed.required(errors, format!("must be specified when completions is above {MANY}"));
        }
        for field in [parallelism, failed].into_iter().filter(|field| field.int() > BOUND) {
            field.invalid_int(errors, &*detail);
        }
    }
}

fn failure_policy(spec: At, errors: &mut FieldErrors) {
    let policy = spec.get("podFailurePolicy");
    if !policy.is_set() {
        return;
    }
    let rules = policy.get("rules");
    rules.at_most(errors, 20);
    let mut containers = BTreeSet::new();
    for list in ["containers", "initContainers"] {
        containers.extend(spec.value.items_at(&["template", "spec", list]).iter().map(|c| c.str_at(&["name"])));
    }
    for rule in rules.items() {
        let (action, codes, conditions) = (rule.get("action"), rule.get("onExitCodes"), rule.get("onPodConditions"));
        match action.str() {
            "" => action.required(errors, valid_values(&ACTIONS)),
            "FailIndex" if spec.value.at(&["backoffLimitPerIndex"]).is_null() => {
                action.invalid(errors, "requires the backoffLimitPerIndex to be set");
            }
            _ => action.one_of(errors, &ACTIONS),
        }
        if codes.is_set() {
            exit_codes(codes, &containers, errors);
        }
        pod_conditions(conditions, errors);
        if codes.is_set() != conditions.is_empty() {
            let detail = match codes.is_set() {
                true => "specifying both OnExitCodes and OnPodConditions is not supported",
                false => "specifying one of OnExitCodes and OnPodConditions is required",
            };
            errors.add(Problem::Invalid, rule.path, None, detail);
        }
    }
}

fn valid_values(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|v| base::status::quote(v)).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

fn exit_codes(codes: At, containers: &BTreeSet<&str>, errors: &mut FieldErrors) {
    let (operator, container, values) = (codes.get("operator"), codes.get("containerName"), codes.get("values"));
    if operator.is_empty() {
        operator.required(errors, valid_values(&["In", "NotIn"]));
    } else {
        operator.one_of(errors, &["In", "NotIn"]);
    }
    if container.is_set() && !containers.contains(container.str()) {
        container.invalid(errors, "must be one of the container or initContainer names in the pod template");
    }
    if values.is_empty() {
        errors.invalid_raw(values.path, values.value, "at least one value is required");
    } else {
        values.at_most(errors, 255);
    }
    let (mut seen, mut before, mut ordered) = (BTreeSet::new(), None, true);
    for value in values.items() {
        let code = value.int();
        if operator.str() == "In" && code == 0 {
            value.invalid_int(errors, "must not be 0 for the In operator");
        }
        if !seen.insert(code) {
            value.duplicate(errors);
        }
        ordered &= before.is_none_or(|before| before <= code);
        before = Some(code);
    }
    if !ordered {
        values.invalid(errors, "must be ordered");
    }
}

fn pod_conditions(conditions: At, errors: &mut FieldErrors) {
    conditions.at_most(errors, 20);
    for pattern in conditions.items() {
        pattern.get("type").qualified_name(errors);
        let status = pattern.get("status");
        let known = ["False", "True", "Unknown"];
        if status.is_empty() {
            status.required(errors, valid_values(&known));
        } else {
            status.one_of(errors, &known);
        }
    }
}

fn success_policy(spec: At, errors: &mut FieldErrors) {
    let policy = spec.get("successPolicy");
    if !policy.is_set() {
        return;
    }
    if spec.get("completionMode").str() != "Indexed" {
        return policy.invalid(errors, "requires indexed completion mode");
    }
    let completions = spec.get("completions").int();
    let rules = policy.get("rules");
    if rules.is_empty() {
        rules.required(errors, "at least one rules must be specified when the successPolicy is specified");
    }
    rules.at_most(errors, 20);
    for rule in rules.items() {
        let (count, set) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
        if !count.is_set() && !set.is_set() {
            rule.required(errors, "at least one of succeededCount or succeededIndexes must be specified");
        }
        if set.str().len() > SUCCEEDED_INDEXES_MAX {
            errors.too_long(set.path, SUCCEEDED_INDEXES_MAX);
        }
        let listed = indexes::count(set.str(), completions);
        if let Err(why) = &listed {
            set.invalid(errors, format!("error parsing succeededIndexes: {why}"));
        }
        let listed = listed.unwrap_or(0);
        count.non_negative(errors);
        if count.int() > completions {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            count.invalid_int(errors, detail);
        }
        if set.is_set() && count.int() > listed {
            let which = "(the number of indexes in the specified succeededIndexes field)";
            count.invalid_int(errors, format!("must be less than or equal to {listed} {which}"));
        }
    }
}

fn replacement(spec: At, errors: &mut FieldErrors) {
    let policy = spec.get("podReplacementPolicy");
    match spec.get("podFailurePolicy").is_set() {
        true => policy.one_of_if_set(errors, &["Failed"]),
        false => policy.one_of_if_set(errors, &["Failed", "TerminatingOrFailed"]),
    }
}

/// Pods of a job are not started again for ever.
fn restart(spec: At, errors: &mut FieldErrors) {
    let template = spec.get("template");
    let pod = template.get("spec");
    let policy = pod.get("restartPolicy");
    match policy.str() {
        "" | "Always" => policy.required(errors, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.get("podFailurePolicy").is_set() => {
            policy.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => policy.unsupported(errors, &["OnFailure", "Never"]),
    }
}
