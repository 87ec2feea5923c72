//! FlowSchema: which requests belong to which priority level.

use super::{bootstrap, conditions, flow};
use crate::{at::At, rules::same};
use base::{FieldErrors, names, status::Problem};
use schema::{ClusterConfig, Column, Context, Hooks, Initial, Kind};
use value::Value;

const MAX_PRECEDENCE: i64 = 10_000;
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub fn kind() -> Kind {
    flow("FlowSchema").version("v1", "io.k8s.api.flowcontrol.v1.FlowSchema", columns()).hooks(FlowSchema).build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("PriorityLevel", |obj, _| obj.str_at(&["spec", "priorityLevelConfiguration", "name"]).into()),
        Column::text("MatchingPrecedence", |obj, _| {
            obj.at(&["spec", "matchingPrecedence"]).as_i64().unwrap_or(0).into()
        }),
        Column::text("DistinguisherMethod", |obj, _| match obj.at(&["spec", "distinguisherMethod"]) {
            Value::Null => "<none>".into(),
            method => method.str_at(&["type"]).into(),
        }),
        Column::age(),
        Column::text("MissingPL", |obj, _| {
            crate::cells::condition(obj, "Dangling").map_or("?", |condition| condition.str_at(&["status"])).into()
        }),
    ]
}

#[derive(Debug)]
struct FlowSchema;

impl Hooks for FlowSchema {
    fn default(&self, obj: &mut Value) {
        let precedence = ["spec", "matchingPrecedence"];
        if obj.at(&precedence).as_i64().unwrap_or(0) == 0 {
            obj.set(&precedence, 1000);
        }
    }

    fn validate(&self, cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let status = root.get("status");
        if cx.subresource == Some("status") {
            return conditions(status.get("conditions"), errors);
        }
        let spec = root.get("spec");
        self::spec(spec, obj.name(), errors);
        if let Some(wanted) = bootstrap::mandatory(bootstrap::schemas(), obj.name())
            && !same(&wanted, spec.value)
        {
            spec.invalid(errors, format!("spec of '{}' must equal the fixed value", obj.name()));
        }
        conditions(status.get("conditions"), errors);
    }

    fn initial(&self, _cluster: &ClusterConfig) -> Vec<Initial> {
        bootstrap::schemas()
    }
}

fn spec(spec: At, name: &str, errors: &mut FieldErrors) {
    let precedence = spec.get("matchingPrecedence");
    if precedence.int() <= 0 {
        precedence.invalid_int(errors, "must be a positive value");
    }
    if precedence.int() > MAX_PRECEDENCE {
        precedence.invalid_int(errors, format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if precedence.int() == 1 && name != "exempt" {
        precedence.invalid_int(errors, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = spec.get("distinguisherMethod");
    if method.is_set() && !["ByNamespace", "ByUser"].contains(&method.get("type").str()) {
        // Upstream prints the whole method, with the names of its own type.
        let printed = format!("{{\"Type\":{}}}", base::status::quote(method.get("type").str()));
        let detail = "supported values: \"ByNamespace\", \"ByUser\"";
        errors.add(Problem::NotSupported, method.get("type").path, Some(printed), detail);
    }
    let level = spec.get("priorityLevelConfiguration");
    let level = level.get("name");
    if level.is_empty() {
        level.required(errors, "must reference a priority level");
    } else {
        level.dns_subdomain(errors);
    }
    for rule in spec.get("rules").items() {
        let (subjects, resources, paths) =
            (rule.get("subjects"), rule.get("resourceRules"), rule.get("nonResourceRules"));
        if subjects.is_empty() {
            subjects.required(errors, "subjects must contain at least one value");
        }
        subjects.items().for_each(|s| subject(s, errors));
        if resources.is_empty() && paths.is_empty() {
            rule.required(errors, "at least one of resourceRules and nonResourceRules has to be non-empty");
        }
        resources.items().for_each(|r| resource_rule(r, errors));
        paths.items().for_each(|r| path_rule(r, errors));
    }
}

/// Each kind of subject, and the field that holds it.
const SUBJECTS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];

fn subject(subject: At, errors: &mut FieldErrors) {
    let kind = subject.get("kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(name, _)| *name == kind.str()) else {
        return kind.unsupported(errors, &SUBJECTS.map(|(name, _)| name));
    };
    let body = subject.get(own);
    if !body.is_set() {
        body.required(errors, format!("{own} is required when subject kind is '{}'", kind.str()));
    } else {
        let name = body.get("name");
        if name.need(errors) && *own == "serviceAccount" && name.str() != "*" {
            name.dns_subdomain(errors);
        }
        if *own == "serviceAccount" {
            let namespace = body.get("namespace");
            if namespace.is_empty() {
                namespace.required(errors, "must specify namespace for service account");
            } else {
                namespace.dns_label(errors);
            }
        }
    }
    // In the order in which upstream looks at them.
    for (name, field) in [SUBJECTS[1], SUBJECTS[2], SUBJECTS[0]] {
        if field != *own && subject.get(field).is_set() {
            subject.get(field).forbidden(errors, format!("{field} is forbidden when subject kind is not '{name}'"));
        }
    }
}

fn verbs(verbs: At, errors: &mut FieldErrors) {
    if verbs.is_empty() {
        verbs.required(errors, "verbs must contain at least one value");
    } else if verbs.items().any(|verb| verb.str() == "*") {
        verbs.alone_if_wild(errors, "verbs");
    } else if !verbs.items().all(|verb| VERBS.contains(&verb.str())) {
        let list = VERBS.map(base::status::quote).join(", ");
        let detail = format!("supported values: {list}");
        errors.add(Problem::NotSupported, verbs.path, Some(verbs.value.to_string()), detail);
    }
}

fn resource_rule(rule: At, errors: &mut FieldErrors) {
    verbs(rule.get("verbs"), errors);
    for (field, missing, others) in [
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ] {
        let list = rule.get(field);
        if list.is_empty() {
            list.required(errors, missing);
        }
        list.alone_if_wild(errors, others);
    }
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && !rule.get("clusterScope").flag() {
        namespaces.required(errors, "resource rules that are not cluster scoped must supply at least one namespace");
    } else if namespaces.items().any(|namespace| namespace.str() == "*") {
        namespaces.alone_if_wild(errors, "namespaces");
    } else {
        for namespace in namespaces.items() {
            if let Err(why) = names::label(namespace.str()) {
                namespace.invalid(errors, format!("each member of this list must be '*' or a DNS-1123 label; {why}"));
            }
        }
    }
}

fn path_rule(rule: At, errors: &mut FieldErrors) {
    verbs(rule.get("verbs"), errors);
    let urls = rule.get("nonResourceURLs");
    if urls.is_empty() {
        urls.required(errors, "nonResourceURLs must contain at least one value");
    } else if urls.items().any(|url| url.str() == "*") {
        urls.alone_if_wild(errors, "non-resource URLs");
    } else {
        for url in urls.items() {
            if let Some(why) = path_fault(url.str()) {
                url.invalid(errors, why);
            }
        }
    }
}

/// What is wrong with a path that a rule may name; a `*` stands only behind the last slash.
fn path_fault(path: &str) -> Option<&'static str> {
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ => match path.matches('*').count() {
            0 => None,
            1 if path.ends_with("/*") => None,
            _ => Some("wildcard can only do suffix matching"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update_of};
    use expect_test::expect;
    use value::value;

    #[test]
    fn what_every_cluster_has_is_valid() {
        for initial in bootstrap::schemas() {
            create(&kind(), initial.object, expect![""]);
        }
    }

    #[test]
    fn validation() {
        let rule = value!({
            "subjects": [{"kind": "User", "user": {"name": "u"}, "group": {"name": "g"}}, {"kind": "Robot"}, {"kind": "Group"},
                {"kind": "ServiceAccount", "serviceAccount": {"name": "A"}}],
            "resourceRules": [{"verbs": ["read"], "apiGroups": ["*", "a"], "resources": [], "namespaces": ["A"]}, {"verbs": ["*", "get"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": [], "nonResourceURLs": ["", "/", "x", "/a b", "/a//b", "/a*", "/a/*"]}, {"verbs": ["get"], "nonResourceURLs": ["*", "/"]}],
        });
        for (name, spec, want) in [
            (
                "f",
                value!({}),
                expect!["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
            ),
            (
                "f",
                value!({"matchingPrecedence": 1, "priorityLevelConfiguration": {"name": "L"}, "distinguisherMethod": {"type": "ByHand"}}),
                expect![[r#"
                spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1
                spec.distinguisherMethod.type: Unsupported value: {"Type":"ByHand"}: supported values: "ByNamespace", "ByUser"
                spec.priorityLevelConfiguration.name: Invalid value: "L": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
            ),
            (
                "f",
                value!({"matchingPrecedence": 10001, "priorityLevelConfiguration": {"name": "l"}, "rules": [{}, rule]}),
                expect![[r#"
                spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000
                spec.rules[0].subjects: Required value: subjects must contain at least one value
                spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty
                spec.rules[1].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'
                spec.rules[1].subjects[1].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"
                spec.rules[1].subjects[2].group: Required value: group is required when subject kind is 'Group'
                spec.rules[1].subjects[3].serviceAccount.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                spec.rules[1].subjects[3].serviceAccount.namespace: Required value: must specify namespace for service account
                spec.rules[1].resourceRules[0].verbs: Unsupported value: ["read"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"
                spec.rules[1].resourceRules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other api groups
                spec.rules[1].resourceRules[0].resources: Required value: resource rules must supply at least one resource
                spec.rules[1].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
                spec.rules[1].resourceRules[1].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs
                spec.rules[1].resourceRules[1].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace
                spec.rules[1].nonResourceRules[0].verbs: Required value: verbs must contain at least one value
                spec.rules[1].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "": must not be empty
                spec.rules[1].nonResourceRules[0].nonResourceURLs[2]: Invalid value: "x": must start with slash
                spec.rules[1].nonResourceRules[0].nonResourceURLs[3]: Invalid value: "/a b": must not contain white-space
                spec.rules[1].nonResourceRules[0].nonResourceURLs[4]: Invalid value: "/a//b": must not contain double slash
                spec.rules[1].nonResourceRules[0].nonResourceURLs[5]: Invalid value: "/a*": wildcard can only do suffix matching
                spec.rules[1].nonResourceRules[1].nonResourceURLs: Invalid value: ["*","/"]: if '*' is present, must not specify other non-resource URLs"#]],
            ),
            (
                "catch-all",
                value!({"matchingPrecedence": 10_000, "priorityLevelConfiguration": {"name": "catch-all"}}),
                expect![[
                    r#"spec: Invalid value: {"matchingPrecedence":10000,"priorityLevelConfiguration":{"name":"catch-all"}}: spec of 'catch-all' must equal the fixed value"#
                ]],
            ),
        ] {
            create(&kind(), value!({"metadata": {"name": name}, "spec": spec}), want);
        }
        let of = |conditions: Value| value!({"spec": {"priorityLevelConfiguration": {"name": "l"}}, "status": {"conditions": conditions}});
        update_of(
            &kind(),
            Some("status"),
            of(value!([])),
            of(value!([{"type": "A"}, {"type": "A"}, {}])),
            expect![[r#"
            status.conditions[1].type: Duplicate value: "A"
            status.conditions[2].type: Required value"#]],
        );
    }

    #[test]
    fn columns() {
        let mut obj = bootstrap::schemas().remove(1).object;
        cells(&kind(), obj.clone(), expect!["catch-all | catch-all | 10000 | ByUser | 5m | ?"]);
        obj.set(&["status"], value!({"conditions": [{"type": "Dangling", "status": "False"}]}));
        cells(&kind(), obj, expect!["catch-all | catch-all | 10000 | ByUser | 5m | False"]);
    }
}
