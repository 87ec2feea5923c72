//! Nobody grants what they do not hold.
//!
//! Checked where RBAC objects are written (by an admission plugin): roles against the writer's own rules, or the verb
//! `escalate`; bindings against the rules of the role that they bind, or the verb `bind` on it.

use crate::{
    Attributes, Authorizer, Rule,
    rule::{Atom, AtomTarget},
};
use base::{Result, Status, User};
use schema::Operation;
use value::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks one write to one of the four kinds; any other kind passes. `old` is given on updates.
pub fn check(
    authorizer: &Authorizer,
    user: &User,
    operation: Operation,
    (group, plural): (&str, &str),
    object: &Value,
    old: Option<&Value>,
) -> Result<()> {
    if group != GROUP || user.in_group("system:masters") {
        return Ok(());
    }
    let (namespace, name) = (object.namespace(), object.name());
    let wanted: Vec<Rule> = match plural {
        "roles" | "clusterroles" => {
            let unchanged = |key: &str| old.is_some_and(|old| old.at(&[key]) == object.at(&[key]));
            if operation == Operation::Update && unchanged("rules") && unchanged("aggregationRule") {
                return Ok(());
            }
            let escalate = Attributes::resource(user, "escalate", GROUP, plural).in_namespace(namespace).named(name);
            if authorizer.authorize(&escalate).allowed() {
                return Ok(());
            }
            let mut wanted = Rule::list(object);
            // A role that gathers rules may come to hold anything; so may one whose selectors somebody changes, and what
            // one held that no longer gathers.
            let gathers = |role: &Value| !role.at(&["aggregationRule"]).is_null();
            if gathers(object) || old.is_some_and(gathers) {
                wanted.push(Rule::of(&value::value!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})));
                wanted.push(Rule::of(&value::value!({"verbs": ["*"], "nonResourceURLs": ["*"]})));
            }
            wanted
        }
        "rolebindings" | "clusterrolebindings" => {
            let unchanged = |key: &str| old.is_some_and(|old| old.at(&[key]) == object.at(&[key]));
            if operation == Operation::Update && unchanged("subjects") && unchanged("roleRef") {
                return Ok(());
            }
            let role = object.str_at(&["roleRef", "name"]);
            let (plural, role_namespace) = match object.str_at(&["roleRef", "kind"]) {
                "Role" => ("roles", namespace),
                _ => ("clusterroles", ""),
            };
            let bind = Attributes::resource(user, "bind", GROUP, plural).in_namespace(namespace).named(role);
            if authorizer.authorize(&bind).allowed() {
                return Ok(());
            }
            match authorizer.role(role_namespace, role) {
                Some(rules) => rules.to_vec(),
                None => return Err(Status::not_found(GROUP, plural, role)),
            }
        }
        _ => return Ok(()),
    };
    let missing = missing(&authorizer.rules_for(user, namespace), &wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user.groups.iter().map(|g| base::status::quote(g)).collect();
    let why = format!(
        "user {} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        base::status::quote(&user.name),
        groups.join(" "),
        missing.join("\n")
    );
    Err(Status::forbidden(GROUP, plural, name, &why))
}

/// What of `wanted` is not covered by `held`, in upstream's compact form.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<String> {
    let atoms = wanted.iter().flat_map(Rule::atoms);
    let mut out: Vec<(AtomTarget<'_>, Vec<&str>)> = Vec::new();
    for atom in atoms.filter(|atom| !held.iter().any(|rule| rule.covers(atom))) {
        let Atom { verb, target } = atom;
        match out.iter_mut().find(|(t, _)| *t == target) {
            Some((_, verbs)) => verbs.push(verb),
            None => out.push((target, vec![verb])),
        }
    }
    out.into_iter().map(|(target, verbs)| describe(&target, &verbs)).collect()
}

fn describe(target: &AtomTarget<'_>, verbs: &[&str]) -> String {
    let list = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|w| base::status::quote(w)).collect();
        format!("[{}]", words.join(" "))
    };
    match *target {
        AtomTarget::Url(url) => format!("{{NonResourceURLs:{}, Verbs:{}}}", list(&[url]), list(verbs)),
        AtomTarget::Resource { group, resource, name: "" } => {
            format!("{{APIGroups:{}, Resources:{}, Verbs:{}}}", list(&[group]), list(&[resource]), list(verbs))
        }
        AtomTarget::Resource { group, resource, name } => format!(
            "{{APIGroups:{}, Resources:{}, ResourceNames:{}, Verbs:{}}}",
            list(&[group]),
            list(&[resource]),
            list(&[name]),
            list(verbs)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn rules(value: Value) -> Vec<Rule> {
        value.as_array().unwrap().iter().map(Rule::of).collect()
    }

    #[test]
    fn what_is_not_held_is_named() {
        let held = rules(value!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/log"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]},
        ]));
        #[track_caller]
        fn check(held: &[Rule], wanted: Value, want: &[&str]) {
            assert_eq!(missing(held, &rules(wanted)), want);
        }
        check(&held, value!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]), &[]);
        check(
            &held,
            value!([{"verbs": ["get", "delete", "create"], "apiGroups": [""], "resources": ["pods"]}]),
            &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete" "create"]}"#],
        );
        check(
            &held,
            value!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]),
            &[r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#],
        );
        check(
            &held,
            value!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}]),
            &[],
        );
        check(
            &held,
            value!([{"verbs": ["get"], "nonResourceURLs": ["/healthz/ping", "/metrics"]}]),
            &[r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#],
        );
        check(
            &held,
            value!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}]),
            &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#],
        );
        let all = rules(value!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]));
        check(&all, value!([{"verbs": ["*"], "apiGroups": ["x"], "resources": ["y/z"]}]), &[]);
    }

    #[test]
    fn who_writes_a_gathering_role_must_hold_everything() {
        use crate::token::tests::Objects;
        let role = value!({"metadata": {"name": "editor"}, "rules": [
            {"verbs": ["update"], "apiGroups": [GROUP], "resources": ["clusterroles"]},
        ]});
        let binding = value!({"metadata": {"name": "editor"}, "roleRef": {"kind": "ClusterRole", "name": "editor"},
            "subjects": [{"kind": "User", "name": "eve"}]});
        let view = Objects::default().with("clusterroles", role).with("clusterrolebindings", binding);
        let authorizer = Authorizer::new(std::sync::Arc::new(view));
        let eve = User::new("eve", ["system:authenticated"]);
        let gathering = |label: &str| {
            let selector = value!({"matchLabels": {"gather": label}});
            value!({"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []})
        };
        let plain = value!({"metadata": {"name": "r"}, "rules": []});
        let write = |new: &Value, old: &Value| {
            check(&authorizer, &eve, Operation::Update, (GROUP, "clusterroles"), new, Some(old)).map_err(|e| e.code())
        };
        assert_eq!(write(&gathering("b"), &gathering("a")), Err(403));
        assert_eq!(write(&gathering("a"), &plain), Err(403));
        assert_eq!(write(&plain, &gathering("a")), Err(403));
        assert_eq!(write(&gathering("a"), &gathering("a")), Ok(()));
        assert_eq!(write(&plain, &plain), Ok(()));
    }
}
