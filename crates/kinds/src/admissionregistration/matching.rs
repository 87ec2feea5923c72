//! Which requests a webhook or a policy is about: rules, selectors, conditions.

use crate::{
    at::At,
    cel::{Names, Scope},
};
use base::{FieldErrors, status::Problem};
use std::collections::BTreeSet;
use value::Value;

pub const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// What can be changed on its way.
const CHANGING: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const MAX_CONDITIONS: usize = 64;

/// A rule with operations, groups, versions, resources and scope.
pub fn rule(rule: At, errors: &mut FieldErrors) {
    let operations = rule.get("operations");
    operations.need(errors);
    operations.alone_if_wild(errors, "operations");
    operations.items().for_each(|operation| operation.one_of_if_set(errors, &OPERATIONS));
    let (groups, versions) = (rule.get("apiGroups"), rule.get("apiVersions"));
    groups.need(errors);
    groups.alone_if_wild(errors, "API groups");
    versions.need(errors);
    versions.alone_if_wild(errors, "API versions");
    for version in versions.items() {
        version.need(errors);
    }
    resources(rule.get("resources"), errors);
    rule.get("scope").one_of_if_set(errors, &["*", "Cluster", "Namespaced"]);
}

/// `pods`, `pods/*`, `*/scale`, `*`, `*/*`.
fn resources(resources: At, errors: &mut FieldErrors) {
    resources.need(errors);
    let (mut of_resource, mut of_subresource) = (BTreeSet::new(), BTreeSet::new());
    // Only the last one without a subresource counts, as upstream has it.
    let (mut everything, mut all, mut plain) = (false, false, false);
    for resource in resources.items() {
        let text = resource.str();
        if !resource.need(errors) {
            continue;
        }
        everything |= text == "*/*";
        all |= text == "*";
        let Some((name, sub)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        if of_resource.contains(name) {
            resource.invalid(errors, format!("if '{name}/*' is present, must not specify {text}"));
        }
        if of_subresource.contains(sub) {
            resource.invalid(errors, format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            of_resource.insert(name);
        }
        if name == "*" {
            of_subresource.insert(sub);
        }
    }
    if resources.len() > 1 && everything {
        resources.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    if all && plain {
        resources.invalid(errors, "if '*' is present, must not specify other resources without subresources");
    }
}

/// `MatchResources` of a policy or a binding.
pub fn match_resources(resources: At, errors: &mut FieldErrors) {
    if !resources.is_set() {
        return;
    }
    resources.get("matchPolicy").one_of(errors, &MATCH_POLICIES);
    for selector in ["namespaceSelector", "objectSelector"] {
        let selector = resources.get(selector);
        if selector.is_set() { selector.label_selector(errors) } else { selector.required(errors, "") }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in resources.get(list).items() {
            let mut names = BTreeSet::new();
            for name in rule.get("resourceNames").items() {
                name.path_segment(errors);
                if !names.insert(name.str()) {
                    name.duplicate(errors);
                }
            }
            self::rule(rule, errors);
        }
    }
}

/// A policy that changes objects cannot change one that is deleted.
pub fn no_deletion(resources: At, errors: &mut FieldErrors) {
    let rules = resources.get("resourceRules");
    let path = rules.path.key("operations");
    for operation in rules.value.as_array().into_iter().flatten().flat_map(|rule| rule.items_at(&["operations"])) {
        let operation = operation.as_str().unwrap_or("");
        if !CHANGING.contains(&operation) {
            errors.not_supported(path, operation, &CHANGING);
        }
    }
}

/// Conditions under which a webhook is called or a policy evaluated.
pub fn conditions(conditions: At, names: Names, errors: &mut FieldErrors) {
    if conditions.len() > MAX_CONDITIONS {
        conditions.too_many(errors, MAX_CONDITIONS);
    }
    let mut seen = BTreeSet::new();
    let scope = Scope::new(names);
    for condition in conditions.items() {
        condition.get("expression").compiles(errors, "", &scope, &["bool"]);
        let name = condition.get("name");
        if name.need(errors) {
            name.qualified_name(errors);
            if !seen.insert(condition.value.str_at(&["name"])) {
                name.duplicate(errors);
            }
        }
    }
}

/// `group/version` as a parameter's kind has it, and its kind.
pub fn param_kind(kind: At, errors: &mut FieldErrors) {
    use base::names::{label1035, subdomain};
    if !kind.is_set() {
        return;
    }
    let (version, name) = (kind.get("apiVersion"), kind.get("kind"));
    if version.need(errors) {
        match version.str().split('/').collect::<Vec<_>>().as_slice() {
            ["", ""] | [_, ""] => version.invalid(errors, "version must be specified"),
            [v] => version.shape_as(errors, v, label1035(v)),
            [group, v] => {
                if !group.is_empty() {
                    version.shape_as(errors, group, subdomain(group));
                }
                version.shape_as(errors, v, label1035(v));
            }
            _ => version.invalid(errors, format!("unexpected GroupVersion string: {}", version.str())),
        }
    }
    if name.need(errors)
        && let Err(why) = label1035(&name.str().to_lowercase())
    {
        name.invalid(errors, format!("may have mixed case, but should otherwise match: {why}"));
    }
}

/// A value that stands for one that is too large to print.
pub fn invalid_whole(at: At, shown: &str, detail: &str, errors: &mut FieldErrors) {
    errors.add(Problem::Invalid, at.path, Some(base::status::quote(shown)), detail);
}

/// The number of members of a list, for a column.
pub fn count(obj: &Value, path: &[&str]) -> Value {
    i64::try_from(obj.items_at(path).len()).unwrap_or(i64::MAX).into()
}
