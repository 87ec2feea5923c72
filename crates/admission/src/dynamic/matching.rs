//! Which requests a webhook or a policy is about: rules and selectors, without the expressions.
//!
//! Pure: a request is a call, an operation and labels. With `matchPolicy: Equivalent` a rule for one version of a kind
//! is about the others too, and the object is shown in the version that the rule names.

use base::{Result, Status};
use resource::{Attributes, Call};
use schema::{Operation, View};
use select::LabelSelector;
use value::{Str, Value};

/// One rule of a webhook or a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    operations: Vec<Str>,
    groups: Vec<Str>,
    versions: Vec<Str>,
    resources: Vec<(Str, Str)>,
    scope: Str,
    /// Only policies have them; empty is all.
    names: Vec<Str>,
}

/// Rules and selectors of one webhook, one policy or one binding.
#[derive(Debug, Clone)]
pub struct Criteria {
    rules: Vec<Rule>,
    exclude: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
    /// A binding without rules takes what its policy takes.
    any_rule: bool,
}

/// What is known of a request beside its objects.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub call: &'a Call,
    pub operation: Operation,
    pub name: &'a str,
    /// That of a Namespace is its own name.
    pub namespace: &'a str,
}

impl<'a> Facts<'a> {
    pub fn of(call: &'a Call, operation: Operation, name: &'a str) -> Self {
        let own = call.kind.group.is_empty() && call.kind.plural == "namespaces";
        let namespace = if own { name } else { call.namespace.as_str() };
        Facts { call, operation, name, namespace }
    }
    pub fn subresource(&self) -> &'a str {
        self.call.subresource.as_deref().unwrap_or("")
    }
    /// As webhooks and rules write it.
    pub fn operation(&self) -> &'static str {
        match self.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// True for what is never shown to webhooks and policies: they themselves, so that a broken one can be mended.
pub fn is_exempt(call: &Call) -> bool {
    call.kind.group == "admissionregistration.k8s.io"
}

fn texts(value: &Value, field: &str) -> Vec<Str> {
    value.items_at(&[field]).iter().filter_map(Value::as_str).map(Str::from).collect()
}

fn one_of(list: &[Str], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let split = |r: Str| match r.split_once('/') {
            Some((resource, sub)) => (resource.into(), sub.into()),
            None => (r, Str::default()),
        };
        Rule {
            operations: texts(rule, "operations"),
            groups: texts(rule, "apiGroups"),
            versions: texts(rule, "apiVersions"),
            resources: texts(rule, "resources").into_iter().map(split).collect(),
            scope: rule.str_at(&["scope"]).into(),
            names: texts(rule, "resourceNames"),
        }
    }

    /// For the resource in one version of the kind.
    fn matches(&self, facts: &Facts<'_>, version: usize) -> bool {
        let kind = &facts.call.kind;
        let (group, version) = kind.group_version(version);
        let cluster = facts.namespace.is_empty() || (kind.group.is_empty() && kind.plural == "namespaces");
        let in_scope = match self.scope.as_str() {
            "Namespaced" => !cluster,
            "Cluster" => cluster,
            _ => true,
        };
        let is = |(resource, sub): &(Str, Str)| {
            (resource == "*" || *resource == kind.plural) && (sub == "*" || *sub == facts.subresource())
        };
        in_scope
            && one_of(&self.operations, facts.operation())
            && one_of(&self.groups, group)
            && one_of(&self.versions, version)
            && self.resources.iter().any(is)
            && (self.names.is_empty() || self.names.iter().any(|name| *name == facts.name))
    }
}

fn selector(value: &Value) -> Result<LabelSelector, String> {
    if value.is_null() { Ok(LabelSelector::default()) } else { LabelSelector::from_object(value) }
}

impl Criteria {
    /// Of a webhook.
    pub fn of_webhook(hook: &Value) -> Self {
        Criteria::read(hook, "rules")
    }
    /// Of a policy's `matchConstraints` or a binding's `matchResources`.
    pub fn of_policy(resources: &Value) -> Self {
        Criteria::read(resources, "resourceRules")
    }

    fn read(value: &Value, rules: &str) -> Self {
        let list = |field: &str| -> Vec<Rule> { value.items_at(&[field]).iter().map(Rule::of).collect() };
        Criteria {
            rules: list(rules),
            exclude: list("excludeResourceRules"),
            equivalent: value.str_at(&["matchPolicy"]) != "Exact",
            namespaces: selector(value.at(&["namespaceSelector"])),
            objects: selector(value.at(&["objectSelector"])),
            any_rule: rules == "resourceRules" && value.items_at(&[rules]).is_empty(),
        }
    }

    /// The version (an index) in which the request is shown, or that it is none of theirs. Fails where the namespace is
    /// needed and there is none.
    pub fn matches(
        &self,
        facts: &Facts<'_>,
        object: &Value,
        old: Option<&Value>,
        view: &dyn View,
    ) -> Result<Option<usize>> {
        let Some(version) = self.version(facts) else { return Ok(None) };
        if !self.object_selected(object, old)? {
            return Ok(None);
        }
        Ok(self.namespace_selected(facts, object, view)?.then_some(version))
    }

    fn version(&self, facts: &Facts<'_>) -> Option<usize> {
        let asked = facts.call.version;
        let others =
            || (0..facts.call.kind.versions.len()).filter(|v| *v != asked && facts.call.kind.versions[*v].served);
        let find = |rules: &[Rule]| {
            if rules.iter().any(|rule| rule.matches(facts, asked)) {
                return Some(asked);
            }
            let other = |rule: &Rule| others().find(|version| rule.matches(facts, *version));
            if self.equivalent { rules.iter().find_map(other) } else { None }
        };
        if find(&self.exclude).is_some() {
            return None;
        }
        if self.any_rule { Some(asked) } else { find(&self.rules) }
    }

    fn object_selected(&self, object: &Value, old: Option<&Value>) -> Result<bool> {
        let selector = self.objects.as_ref().map_err(Status::internal)?;
        let selected =
            |v: &Value| !v.at(&["metadata"]).is_null() && selector.matches_map(v.at(&["metadata", "labels"]));
        Ok(selector.is_everything() || selected(object) || old.is_some_and(selected))
    }

    fn namespace_selected(&self, facts: &Facts<'_>, object: &Value, view: &dyn View) -> Result<bool> {
        let kind = &facts.call.kind;
        let of_namespaces = kind.group.is_empty() && kind.plural == "namespaces";
        let selector = self.namespaces.as_ref().map_err(Status::internal)?;
        if selector.is_everything() || (facts.namespace.is_empty() && !of_namespaces) {
            return Ok(true);
        }
        let written = matches!(facts.operation, Operation::Create | Operation::Update);
        if of_namespaces && written && facts.subresource().is_empty() {
            return Ok(selector.matches_map(object.at(&["metadata", "labels"])));
        }
        match view.get("", "namespaces", "", facts.namespace) {
            Some(namespace) => Ok(selector.matches(&namespace.meta)),
            None => Err(Status::not_found("", "namespaces", facts.namespace)),
        }
    }
}

/// The old object as others see it: an object that a body was posted to is none.
pub fn old<'a>(a: &Attributes<'a>) -> Option<&'a Value> {
    if matches!(a.operation, Operation::Create | Operation::Connect) { None } else { a.old }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, call};
    use value::value;

    fn check(hook: Value, operation: Operation, call: &Call, object: Value) -> String {
        let world = World::default().and("namespaces", value!({"metadata": {"name": "ns", "labels": {"env": "a"}}}));
        let name = if call.name.is_empty() { object.name().to_string() } else { call.name.to_string() };
        let facts = Facts::of(call, operation, &name);
        let old = Some(&object).filter(|_| operation != Operation::Create);
        let object = if operation == Operation::Delete { &Value::Null } else { &object };
        match Criteria::of_webhook(&hook).matches(&facts, object, old, &world) {
            Ok(found) => found.map_or("no".into(), |version| call.kind.versions[version].name.to_string()),
            Err(status) => format!("{} {}", status.code(), status.message()),
        }
    }

    fn hook(change: impl FnOnce(&mut Value, &mut Value)) -> Value {
        let mut hook = value!({"name": "h"});
        let mut rule =
            value!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        change(&mut hook, &mut rule);
        hook.set(&["rules"], vec![rule]);
        hook
    }

    #[test]
    fn rules() {
        let pod = || value!({"metadata": {"name": "a", "namespace": "ns", "labels": {"x": "y"}}});
        let create = |hook| check(hook, Operation::Create, &call("", "pods", &["v1"], "ns", "", ""), pod());
        assert_eq!(create(hook(|_, _| {})), "v1");
        for (field, value, want) in [
            ("operations", "*", "v1"),
            ("operations", "UPDATE", "no"),
            ("apiGroups", "*", "v1"),
            ("apiGroups", "apps", "no"),
            ("apiVersions", "v2", "no"),
            ("resources", "*", "v1"),
            ("resources", "*/*", "v1"),
            ("resources", "pods/*", "v1"),
            ("resources", "pods/status", "no"),
        ] {
            assert_eq!(create(hook(|_, rule| rule.set(&[field], value!([value])))), want, "{field} {value}");
        }
        for (scope, want) in [("*", "v1"), ("Namespaced", "v1"), ("Cluster", "no")] {
            assert_eq!(create(hook(|_, rule| rule.set(&["scope"], scope))), want, "{scope}");
        }
        let status = |resource: &str| {
            let of = hook(|_, rule| {
                rule.set(&["resources"], value!([resource]));
                rule.set(&["operations"], value!(["UPDATE"]));
            });
            check(of, Operation::Update, &call("", "pods", &["v1"], "ns", "a", "status"), pod())
        };
        for (resource, want) in [("pods", "no"), ("pods/status", "v1"), ("*/status", "v1"), ("*", "no"), ("*/*", "v1")]
        {
            assert_eq!(status(resource), want, "{resource}");
        }
    }

    #[test]
    fn equivalent_versions() {
        let of = |policy: &str| {
            hook(|hook, rule| {
                hook.set(&["matchPolicy"], policy);
                rule.set(&["apiGroups"], value!(["x.io"]));
                rule.set(&["resources"], value!(["things"]));
            })
        };
        let call = call("x.io", "things", &["v2", "v1"], "", "", "");
        let thing = || value!({"metadata": {"name": "a"}});
        assert_eq!(check(of("Equivalent"), Operation::Create, &call, thing()), "v1");
        assert_eq!(check(of("Exact"), Operation::Create, &call, thing()), "no");
    }

    #[test]
    fn selectors() {
        let pod = || value!({"metadata": {"name": "a", "namespace": "ns", "labels": {"x": "y"}}});
        let with = |field: &'static str, key: &'static str, value: &'static str| {
            hook(|hook, rule| {
                hook.set(&[field, "matchLabels", key], value);
                rule.set(&["operations"], value!(["*"]));
                rule.set(&["resources"], value!(["*"]));
            })
        };
        let pods = |namespace| call("", "pods", &["v1"], namespace, "a", "");
        for (hook, operation, namespace, want) in [
            (with("objectSelector", "x", "y"), Operation::Create, "ns", "v1"),
            (with("objectSelector", "x", "z"), Operation::Create, "ns", "no"),
            (with("objectSelector", "x", "y"), Operation::Delete, "ns", "v1"),
            (with("namespaceSelector", "env", "a"), Operation::Create, "ns", "v1"),
            (with("namespaceSelector", "env", "b"), Operation::Create, "ns", "no"),
            (with("namespaceSelector", "env", "a"), Operation::Create, "gone", "404 namespaces \"gone\" not found"),
        ] {
            assert_eq!(check(hook, operation, &pods(namespace), pod()), want, "{operation:?} in {namespace}");
        }
        // A Namespace is selected by what it will be; one that is deleted by what it is.
        let namespaces = call("", "namespaces", &["v1"], "", "ns", "");
        let changed = || value!({"metadata": {"name": "ns", "labels": {"env": "b"}}});
        for (operation, label, want) in [
            (Operation::Update, "b", "v1"),
            (Operation::Update, "a", "no"),
            (Operation::Delete, "a", "v1"),
            (Operation::Delete, "b", "no"),
        ] {
            let hook = with("namespaceSelector", "env", label);
            assert_eq!(check(hook, operation, &namespaces, changed()), want, "{operation:?} {label}");
        }
        // What has no namespace is never left out by one.
        let nodes = call("", "nodes", &["v1"], "", "n", "");
        assert_eq!(check(with("namespaceSelector", "env", "x"), Operation::Create, &nodes, pod()), "v1");
    }
}
