//! ResourceQuota: how much all objects of a namespace may ask for together.

use crate::{at::At, declare::declare, rules::IMMUTABLE, rules::quantity, template};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
const COMPUTE: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const NOT_BOTH: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
/// Scopes that are there or not, without values.
const PLAIN: [&str; 5] = ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];
const EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                      ResourceQuotaScopeCrossNamespacePodAffinity";

pub fn kind() -> Kind {
    declare("", "ResourceQuota")
        .answers_deleted()
        .short(["quota"])
        .version("v1", "io.k8s.api.core.v1.ResourceQuota", columns())
        .status()
        .hooks(ResourceQuota)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Request", |quota, _| amounts(quota, false).into()),
        Column::text("Limit", |quota, _| amounts(quota, true).into()),
        Column::age(),
    ]
}

/// `cpu: 1/2, pods: 3/10`: what is used of what there is.
fn amounts(quota: &Value, limits: bool) -> String {
    let hard = quota.members_at(&["status", "hard"]).filter(|(name, _)| name.starts_with("limits.") == limits);
    let mut texts: Vec<String> = hard
        .map(|(name, hard)| {
            let used = quota.at(&["status", "used"]).get(name).and_then(Value::as_str).unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or("0"))
        })
        .collect();
    texts.sort();
    texts.join(", ")
}

#[derive(Debug)]
struct ResourceQuota;

impl Hooks for ResourceQuota {
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], Value::object());
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let status = root.get("status");
            resources(status.get("hard"), errors);
            return resources(status.get("used"), errors);
        }
        let spec = root.get("spec");
        resources(spec.get("hard"), errors);
        scopes(spec, errors);
        selector(spec, errors);
        if let Some(old) = old {
            let set = |spec: &Value| -> BTreeSet<String> {
                spec.items_at(&["scopes"]).iter().map(ToString::to_string).collect()
            };
            if set(spec.value) != set(old.at(&["spec"])) {
                listed(spec, IMMUTABLE, errors);
            }
        }
    }
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() || old.is_some() {
            return Vec::new();
        }
        let hard = |name: &str| quantity(obj.at(&["spec", "hard"]).get(name).unwrap_or(&Value::Null));
        let mut warnings = Vec::new();
        for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
            let plain = ["cpu", "memory"].contains(&name);
            let asked = [Some(format!("requests.{name}")), plain.then(|| name.to_string())];
            let request = asked.into_iter().flatten().find_map(|name| Some((hard(&name)?, name)));
            let limit = format!("limits.{name}");
            if let (Some((request, asked)), Some(most)) = (request, hard(&limit))
                && request > most
            {
                warnings.push(format!("ResourceQuota {asked} ({request}) should be less than {limit} ({most})"));
            }
        }
        warnings
    }
}

fn huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// A resource that quotas know by a name without a domain. (`storage` is one of claims, not of quotas.)
fn standard(name: &str) -> bool {
    huge_pages(name) || name != "storage" && template::is_standard_resource(name)
}

fn resources(amounts: At, errors: &mut FieldErrors) {
    for (name, amount) in amounts.entries() {
        template::resource_name(amount, name, errors);
        if !name.contains('/') && !standard(name) {
            amount.invalid_as(errors, name, "must be a standard resource for quota");
        }
        template::quota_amount(amount, name, errors);
    }
}

/// True where a scope can be held against a resource.
fn applies(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&resource),
        scope if SCOPES.contains(&scope) => resource == "pods" || COMPUTE.contains(&resource),
        _ => true,
    }
}

fn fits(spec: At, scope: &str) -> bool {
    spec.value.members_at(&["hard"]).all(|(name, _)| !standard(name) || applies(scope, name))
}

/// A fault of the scopes, which upstream shows whole.
fn listed(spec: At, detail: &str, errors: &mut FieldErrors) {
    let scopes = spec.get("scopes");
    let shown = if scopes.is_set() { scopes.value.to_string() } else { "null".into() };
    errors.invalid_raw(scopes.path, shown, detail);
}

fn scopes(spec: At, errors: &mut FieldErrors) {
    let scopes: Vec<&str> = spec.value.items_at(&["scopes"]).iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            listed(spec, "unsupported scope", errors);
        }
        if !fits(spec, scope) {
            listed(spec, "unsupported scope applied to resource", errors);
        }
    }
    if NOT_BOTH.iter().any(|pair| pair.iter().all(|scope| scopes.contains(scope))) {
        listed(spec, "conflicting scopes", errors);
    }
}

/// Upstream leaves out which expression it is.
fn selector(spec: At, errors: &mut FieldErrors) {
    let selector = spec.get("scopeSelector");
    let expressions = selector.get("matchExpressions");
    let place = |field: &'static str| expressions.path.key(field);
    let mut seen = BTreeSet::new();
    for expression in expressions.value.items_at(&[]) {
        let (scope, operator) = (expression.str_at(&["scopeName"]), expression.str_at(&["operator"]));
        let values = expression.at(&["values"]);
        if !SCOPES.contains(&scope) {
            errors.invalid(place("scopeName"), scope, "unsupported scope");
        }
        if !fits(spec, scope) {
            errors.invalid_raw(expressions.path, selector.value, "unsupported scope applied to resource");
        }
        if PLAIN.contains(&scope) && operator != "Exists" {
            errors.invalid(place("operator"), operator, EXISTS);
        }
        let empty = values.items_at(&[]).is_empty();
        match operator {
            "In" | "NotIn" if empty => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(place("values"), detail);
            }
            "Exists" | "DoesNotExist" if !empty => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid_raw(place("values"), values, detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(place("operator"), operator, "not a valid selector operator"),
        }
        seen.insert(scope);
    }
    if NOT_BOTH.iter().any(|pair| pair.iter().all(|scope| seen.contains(scope))) {
        errors.invalid_raw(expressions.path, spec.value.at(&["scopes"]), "conflicting scopes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, update, update_of};
    use expect_test::expect;
    use value::value;

    fn quota(spec: Value) -> Value {
        let mut obj = Value::object();
        obj.set(&["spec"], spec);
        obj
    }

    #[test]
    fn validation() {
        let on = |scope: &str, operator: &str, values: Value| {
            let one = value!({"scopeName": scope, "operator": operator, "values": values});
            quota(value!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [one]}}))
        };
        for (obj, want) in [
            (
                quota(
                    value!({"hard": {"pods": "5", "cpu": "500m", "count/jobs.batch": "3", "requests.hugepages-2Mi": "1Gi"}}),
                ),
                expect![],
            ),
            (
                quota(value!({"hard": {"disks": "1", "a b": "1", "pods": "1500m", "cpu": "-1", "storage": "1"}})),
                expect![[r#"
                    spec.hard[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                    spec.hard[a b]: Invalid value: "a b": must be a standard resource for quota
                    spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0
                    spec.hard[disks]: Invalid value: "disks": must be a standard resource type or fully qualified
                    spec.hard[disks]: Invalid value: "disks": must be a standard resource for quota
                    spec.hard[pods]: Invalid value: "1500m": must be an integer
                    spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota"#]],
            ),
            (
                quota(value!({"scopes": ["Some"]})),
                expect![[r#"spec.scopes: Invalid value: ["Some"]: unsupported scope"#]],
            ),
            (
                quota(value!({"hard": {"services": "1"}, "scopes": ["Terminating"]})),
                expect![[r#"spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource"#]],
            ),
            (
                quota(value!({"scopes": ["BestEffort", "NotBestEffort"]})),
                expect![[r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes"#]],
            ),
            (on("PriorityClass", "In", value!(["high"])), expect![]),
            (
                on("PriorityClass", "In", value!([])),
                expect![
                    "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                ],
            ),
            (
                on("PriorityClass", "Exists", value!(["x"])),
                expect![[
                    r#"spec.scopeSelector.matchExpressions.values: Invalid value: ["x"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"#
                ]],
            ),
            (
                on("Terminating", "In", value!(["x"])),
                expect![[
                    r#"spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"#
                ]],
            ),
            (
                on("Some", "Some", value!([])),
                expect![[r#"
                spec.scopeSelector.matchExpressions.scopeName: Invalid value: "Some": unsupported scope
                spec.scopeSelector.matchExpressions.operator: Invalid value: "Some": not a valid selector operator"#]],
            ),
        ] {
            create(&kind(), obj, want);
        }
        update(
            &kind(),
            quota(value!({"scopes": ["BestEffort"]})),
            quota(value!({"scopes": ["Terminating"]})),
            expect![[r#"spec.scopes: Invalid value: ["Terminating"]: field is immutable"#]],
        );
        update_of(
            &kind(),
            Some("status"),
            value!({}),
            value!({"status": {"used": {"disks": "1"}}}),
            expect![[r#"
            status.used[disks]: Invalid value: "disks": must be a standard resource type or fully qualified
            status.used[disks]: Invalid value: "disks": must be a standard resource for quota"#]],
        );
        let hard = value!({"hard": {"cpu": "3", "limits.cpu": "2", "requests.memory": "2Gi", "limits.memory": "1Gi"}});
        testing::warnings(
            &kind(),
            quota(hard),
            expect![[r#"
            ResourceQuota cpu (3) should be less than limits.cpu (2)
            ResourceQuota requests.memory (2Gi) should be less than limits.memory (1Gi)"#]],
        );
    }

    #[test]
    fn columns() {
        let hard = value!({"pods": "10", "cpu": "2", "limits.cpu": "4"});
        cells(
            &kind(),
            value!({"status": {"hard": hard, "used": {"pods": "3", "cpu": "1"}}}),
            expect!["obj | cpu: 1/2, pods: 3/10 | limits.cpu: 0/4 | 5m"],
        );
    }
}
