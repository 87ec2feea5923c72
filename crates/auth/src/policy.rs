//! What a new cluster grants: `policy.txt` as RBAC objects.

use crate::Rule;
use std::collections::BTreeMap;
use value::{Str, Value, value};

const TEXT: &str = include_str!("policy.txt");
const GROUP: &str = "rbac.authorization.k8s.io";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// One object that a cluster must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// `clusterroles`, `roles` …
    pub plural: &'static str,
    pub object: Value,
}

/// All of them; aggregated cluster roles hold the rules that they gather.
pub fn bootstrap_objects() -> Vec<Wanted> {
    let mut out: Vec<Wanted> = Vec::new();
    for line in TEXT.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(rule) = line.strip_prefix("  ") {
            if let Some(role) = out.iter_mut().rev().find(|w| w.plural.ends_with("roles")) {
                let rules = role.object.at_mut(&["rules"]);
                if let Value::Array(list) = rules {
                    list.push(parse_rule(rule));
                }
            }
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "clusterrole" => out.push(cluster_role(rest)),
            "role" => {
                let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
                out.push(Wanted { plural: "roles", object: role("Role", namespace, name) });
            }
            "controller" => {
                let name = format!("system:controller:{rest}");
                let subject = format!("sa:kube-system/{rest}");
                out.push(Wanted { plural: "clusterrolebindings", object: binding("", &name, &name, &[&subject]) });
                // The role last: the rules that follow belong to it.
                out.push(Wanted { plural: "clusterroles", object: role("ClusterRole", "", &name) });
            }
            "clusterbinding" | "binding" => {
                let (target, tail) = rest.split_once(" -> ").unwrap_or((rest, ""));
                let mut words = tail.split(' ');
                let role = words.next().unwrap_or_default();
                let (namespace, name) = match word {
                    "binding" => target.split_once('/').unwrap_or(("", target)),
                    _ => ("", target),
                };
                let plural = if word == "binding" { "rolebindings" } else { "clusterrolebindings" };
                let subjects: Vec<&str> = words.collect();
                out.push(Wanted { plural, object: binding(namespace, name, role, &subjects) });
            }
            _ => {}
        }
    }
    let roles: Vec<Value> = out.iter().filter(|w| w.plural == "clusterroles").map(|w| w.object.clone()).collect();
    for wanted in out.iter_mut().filter(|w| w.plural == "clusterroles") {
        if let Some(rules) = aggregated(&wanted.object, &transitive(&roles)) {
            wanted.object.set(&["rules"], rules);
        }
    }
    out
}

/// The rules of `system:node`, which the Node authorizer evaluates for nodes only.
pub fn node_rules() -> Vec<Rule> {
    let role = bootstrap_objects().into_iter().find(|w| w.plural == "clusterroles" && w.object.name() == "system:node");
    role.map(|w| Rule::list(&w.object)).unwrap_or_default()
}

/// The rules that a cluster role with an `aggregationRule` gathers from all others; `None` where it has none.
pub fn aggregated(role: &Value, all: &BTreeMap<Str, Value>) -> Option<Value> {
    let selectors = role.items_at(&["aggregationRule", "clusterRoleSelectors"]);
    if role.at(&["aggregationRule"]).is_null() {
        return None;
    }
    let selectors: Vec<select::LabelSelector> =
        selectors.iter().filter_map(|s| select::LabelSelector::from_object(s).ok()).collect();
    let mut rules: Vec<Value> = Vec::new();
    for other in all.values().filter(|o| o.name() != role.name()) {
        let labels = other.at(&["metadata", "labels"]);
        if selectors.iter().any(|s| s.matches_map(labels)) {
            for rule in other.items_at(&["rules"]) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(Value::Array(rules))
}

/// Cluster roles with what they gather, through any number of steps (`view` is in `edit`, `edit` in `admin`).
pub fn transitive(roles: &[Value]) -> BTreeMap<Str, Value> {
    let mut all: BTreeMap<Str, Value> = roles.iter().map(|r| (r.name().into(), r.clone())).collect();
    // Each pass carries rules one step further; a cycle stops changing as well.
    for _ in 0..8 {
        let mut changed = false;
        for name in all.keys().cloned().collect::<Vec<_>>() {
            if let Some(rules) = all.get(&name).and_then(|role| aggregated(role, &all)) {
                let role = all.entry(name).or_default();
                if *role.at(&["rules"]) != rules {
                    role.set(&["rules"], rules);
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    all
}

fn cluster_role(rest: &str) -> Wanted {
    let mut words = rest.split(' ');
    let mut object = role("ClusterRole", "", words.next().unwrap_or_default());
    for word in words {
        match word.split_once('=') {
            Some(("into", label)) => object.set(&["metadata", "labels", &format!("{AGGREGATE}{label}")], "true"),
            Some(("from", label)) => {
                let mut selector = value!({"matchLabels": {}});
                selector.set(&["matchLabels", &format!("{AGGREGATE}{label}")], "true");
                object.set(&["aggregationRule", "clusterRoleSelectors"], vec![selector]);
            }
            _ => {}
        }
    }
    Wanted { plural: "clusterroles", object }
}

fn role(kind: &str, namespace: &str, name: &str) -> Value {
    let mut role = header(kind, namespace, name);
    role.set(&["rules"], Value::Array(Vec::new()));
    role
}

fn binding(namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Value {
    let (kind, role_kind) = match namespace {
        "" => ("ClusterRoleBinding", "ClusterRole"),
        _ => ("RoleBinding", "Role"),
    };
    let mut out = header(kind, namespace, name);
    out.set(&["roleRef"], value!({"apiGroup": GROUP, "kind": role_kind, "name": role}));
    let subjects: Vec<Value> = subjects.iter().filter_map(|s| subject(s)).collect();
    if !subjects.is_empty() {
        out.set(&["subjects"], subjects);
    }
    out
}

fn subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once(':')?;
    Some(match kind {
        "user" => value!({"apiGroup": GROUP, "kind": "User", "name": name}),
        "group" => value!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        _ => {
            let (namespace, name) = name.split_once('/')?;
            value!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
    })
}

fn header(kind: &str, namespace: &str, name: &str) -> Value {
    let mut out = value!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    if !namespace.is_empty() {
        out.set(&["metadata", "namespace"], namespace);
    }
    out
}

fn parse_rule(text: &str) -> Value {
    let mut parts = text.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let (verbs, groups, resources, names) = (verbs(next()), next(), next(), next());
    let list = |text: &str| text.split(',').map(|w| if w == "core" { "" } else { w }).collect::<Value>();
    if groups == "url" {
        return value!({"verbs": verbs, "nonResourceURLs": list(resources)});
    }
    let mut rule = value!({"verbs": verbs, "apiGroups": list(groups), "resources": list(resources)});
    if let Some(names) = names.strip_prefix('=') {
        rule.set(&["resourceNames"], list(names));
    }
    rule
}

fn verbs(text: &str) -> Vec<&str> {
    match text {
        "read" => vec!["get", "list", "watch"],
        "write" => vec!["create", "delete", "deletecollection", "patch", "update"],
        "all" => vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        words => words.split(',').collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(plural: &str, name: &str) -> Value {
        let all = bootstrap_objects();
        all.into_iter().find(|w| w.plural == plural && w.object.name() == name).expect(name).object
    }

    #[test]
    fn the_table_becomes_objects() {
        assert_eq!(find("clusterroles", "cluster-admin").items_at(&["rules"]).len(), 2);
        assert_eq!(
            find("clusterrolebindings", "cluster-admin").to_string(),
            r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"annotations":{"rbac.authorization.kubernetes.io/autoupdate":"true"},"labels":{"kubernetes.io/bootstrapping":"rbac-defaults"},"name":"cluster-admin"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"system:masters"}]}"#
        );
        let deployment = find("clusterrolebindings", "system:controller:deployment-controller");
        assert_eq!(deployment.items_at(&["subjects"])[0].str_at(&["name"]), "deployment-controller");
        assert!(!find("clusterroles", "system:controller:deployment-controller").items_at(&["rules"]).is_empty());
        assert!(find("clusterrolebindings", "system:node").at(&["subjects"]).is_null());
        assert_eq!(find("roles", "extension-apiserver-authentication-reader").namespace(), "kube-system");
        assert!(node_rules().len() > 20);
    }

    #[test]
    fn aggregation_goes_through_all_steps() {
        let (view, edit, admin) =
            (find("clusterroles", "view"), find("clusterroles", "edit"), find("clusterroles", "admin"));
        let rules = |role: &Value| role.items_at(&["rules"]).to_vec();
        assert!(!rules(&view).is_empty());
        assert!(rules(&view).iter().all(|r| rules(&edit).contains(r)));
        assert!(rules(&edit).iter().all(|r| rules(&admin).contains(r)));
        let allows = |role: &Value, verb, resource| {
            let user = base::User::default();
            let asked = crate::Attributes::resource(&user, verb, "", resource);
            Rule::list(role).iter().any(|r| r.allows(&asked))
        };
        assert!(allows(&edit, "create", "pods") && !allows(&view, "create", "pods"));
        assert!(!allows(&view, "get", "secrets"), "who may view must not read secrets");
    }
}
