//! PodSecurity: the pod security standards, as a namespace's labels ask for them. Pods are refused or warned about, templates
//! of workloads are warned about, and a namespace that becomes stricter hears which of its pods would no longer be let in.
//! Source: KEP-2579 and `staging/src/k8s.io/pod-security-admission`; its sentences are kept.
//!
//! [`policy`] reads labels, [`checks`] has the standards. An operator may say who is exempt, and what holds where no label says
//! anything; by default nobody is, and everything is privileged.

mod checks;
#[cfg(test)]
mod checks_tests;
mod policy;

pub use policy::Policy;

use crate::{Plugin, Target, plugin::forbid};
use base::{FieldErrors, Result, Status};
use checks::{Finding, Subject, evaluate};
use policy::{Level, Mode};
use resource::{Attributes, Call};
use schema::Operation;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use value::Value;

/// So many pods of a namespace are looked at when it becomes stricter.
const PODS_TO_CHECK: usize = 3000;
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";

/// What an operator says of the plugin.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    /// Where a namespace's labels say nothing.
    pub defaults: Policy,
    pub exempt: Exempt,
}

/// Who is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Exempt {
    pub users: HashSet<String>,
    pub namespaces: HashSet<String>,
    pub classes: HashSet<String>,
}

#[derive(Default)]
pub struct PodSecurity(pub Configuration);

impl Plugin for PodSecurity {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        if !matches!(target.operation, Operation::Create | Operation::Update) {
            return false;
        }
        match (target.group, target.plural, target.subresource) {
            ("", "namespaces", "") | ("", "pods", "" | "ephemeralcontainers" | "resize") => true,
            (group, plural, "") => template_path(group, plural).is_some(),
            _ => false,
        }
    }

    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let kind = &a.call.kind;
        match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "namespaces") => self.namespace(a),
            ("", "pods") => self.pod(a),
            (group, plural) => {
                if let Some(path) = template_path(group, plural) {
                    self.template(a, path);
                }
                Ok(())
            }
        }
    }
}

/// Where a kind keeps the template of its pods.
fn template_path(group: &str, plural: &str) -> Option<&'static [&'static str]> {
    match (group, plural) {
        ("", "podtemplates") => Some(&["template"]),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some(&["spec", "template"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

impl PodSecurity {
    /// What the labels of the request's namespace ask for.
    fn policy_of(&self, a: &Attributes<'_>) -> Result<Policy> {
        let name = &a.call.namespace;
        let Some(namespace) = a.view.get("", "namespaces", "", name) else {
            return Err(Status::internal(format!("failed to lookup namespace \"{name}\"")));
        };
        Ok(Policy::of(namespace.tree().at(&["metadata", "labels"]), self.0.defaults).0)
    }

    /// Whether the request is not looked at for whom it is of; the audit log is told.
    fn exempts_request(&self, a: &Attributes<'_>) -> bool {
        let exempt = &self.0.exempt;
        let why =
            match (exempt.namespaces.contains(a.call.namespace.as_str()), exempt.users.contains(&a.call.user.name)) {
                (true, _) => "namespace",
                (_, true) => "user",
                _ => return false,
            };
        a.options.notes.add(EXEMPT, || why.into());
        true
    }

    fn exempts_class(&self, a: &Attributes<'_>, pod: &Value) -> bool {
        let exempt = self.0.exempt.classes.contains(pod.str_at(&["spec", "runtimeClassName"]));
        if exempt {
            a.options.notes.add(EXEMPT, || "runtimeClass".into());
        }
        exempt
    }

    fn pod(&self, a: &mut Attributes<'_>) -> Result<()> {
        if self.exempts_request(a) {
            return Ok(());
        }
        let policy = self.policy_of(a)?;
        if a.old.is_some_and(|old| !is_significant(&a.object, old)) || self.exempts_class(a, &a.object) {
            return Ok(());
        }
        a.options.notes.add("pod-security.kubernetes.io/enforce-policy", || policy.enforce.to_string());
        if policy.is_privileged() {
            return Ok(());
        }
        let subject = Subject::of(&a.object);
        audit(a, policy.audit, &subject);
        let found = evaluate(policy.enforce, &subject);
        if !found.is_empty() {
            return Err(forbid(a, format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&found))));
        }
        let found = evaluate(policy.warn, &subject);
        warn(a, policy.warn, &found);
        Ok(())
    }

    fn template(&self, a: &mut Attributes<'_>, path: &[&str]) {
        if self.exempts_request(a) {
            return;
        }
        let Ok(policy) = self.policy_of(a) else { return };
        if a.object.at(path).is_null() || self.exempts_class(a, a.object.at(path)) {
            return;
        }
        let subject = Subject::of(a.object.at(path));
        audit(a, policy.audit, &subject);
        if policy.warn.level == Level::Privileged {
            return;
        }
        let found = evaluate(policy.warn, &subject);
        warn(a, policy.warn, &found);
    }

    fn namespace(&self, a: &mut Attributes<'_>) -> Result<()> {
        let read = |of: &Value| Policy::of(of.at(&["metadata", "labels"]), self.0.defaults);
        let (next, errors) = read(&a.object);
        let before = a.old.map(read);
        let known = before.as_ref().is_some_and(|(_, known)| *known == errors);
        if !errors.is_empty() && !known {
            let mut fields = FieldErrors::default();
            for error in &errors {
                fields.invalid(format!("metadata.labels[{}]", error.label), &error.value, error.why);
            }
            return Err(Status::invalid("", "Namespace", &a.name, &fields));
        }
        let stricter = match before {
            None => false,
            Some((before, _)) => {
                let looser =
                    next.enforce.version == before.enforce.version && next.enforce.level <= before.enforce.level;
                next.enforce.level != Level::Privileged && !looser
            }
        };
        if self.0.exempt.namespaces.contains(&a.name) {
            // Its labels say what does not hold.
            let ineffective = !next.is_privileged() && next != self.0.defaults;
            if ineffective && (a.operation == Operation::Create || stricter) {
                let told = next.told(a.object.at(&["metadata", "labels"]));
                a.warnings.push(format!(
                    "namespace {:?} is exempt from Pod Security, and the policy ({told}) will be ignored",
                    a.name
                ));
            }
        } else if stricter {
            let warnings = self.of_namespace(a, next.enforce);
            a.warnings.extend(warnings);
        }
        Ok(())
    }

    /// Which pods of a namespace a level would not let in.
    fn of_namespace(&self, a: &Attributes<'_>, mode: Mode) -> Vec<String> {
        let pods: Vec<_> = a.view.list("", "pods", Some(&a.name)).iter().map(|pod| pod.tree()).collect();
        of_pods(&a.name, &pods, mode, |pod| self.0.exempt.classes.contains(pod.str_at(&["spec", "runtimeClassName"])))
    }
}

/// What the audit log is told; nothing is looked for where nobody reads it.
fn audit(a: &Attributes<'_>, mode: Mode, subject: &Subject<'_>) {
    if mode.level == Level::Privileged || !a.options.notes.wanted() {
        return;
    }
    let found = evaluate(mode, subject);
    if !found.is_empty() {
        let said = || format!("would violate PodSecurity \"{mode}\": {}", details(&found));
        a.options.notes.add("pod-security.kubernetes.io/audit-violations", said);
    }
}

fn warn(a: &mut Attributes<'_>, mode: Mode, found: &[Finding]) {
    if !found.is_empty() {
        a.warnings.push(format!("would violate PodSecurity \"{mode}\": {}", details(found)));
    }
}

/// `privileged (container "c" must not …), host namespaces (hostPID=true)`
fn details(found: &[Finding]) -> String {
    let told = found.iter().map(|finding| format!("{} ({})", finding.reason, finding.detail));
    told.collect::<Vec<_>>().join(", ")
}

/// Only other images and new containers make an update worth a look: nothing else of security can change.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let all = |pod: &'_ Value, list: &str| -> Vec<(String, String)> {
        let containers = pod.items_at(&["spec", list]).iter();
        containers.map(|c| (c.str_at(&["name"]).to_string(), c.str_at(&["image"]).to_string())).collect()
    };
    let images = |pod: &Value, list: &str| -> Vec<String> { all(pod, list).into_iter().map(|c| c.1).collect() };
    let changed = |list: &str| images(pod, list) != images(old, list);
    let before = all(old, "ephemeralContainers");
    changed("containers")
        || changed("initContainers")
        || all(pod, "ephemeralContainers").iter().any(|container| !before.contains(container))
}

/// What is said of a namespace's pods, where a level that is new would not let them in.
fn of_pods(name: &str, pods: &[Arc<Value>], mode: Mode, exempt: impl Fn(&Value) -> bool) -> Vec<String> {
    // Of the pods of one controller, one is as good as all: they come last.
    let (mut seen, mut first, mut rest) = (HashSet::new(), Vec::new(), Vec::new());
    for pod in pods {
        let mut owners = pod.items_at(&["metadata", "ownerReferences"]).iter();
        match owners.find(|owner| owner.at(&["controller"]).as_bool() == Some(true)) {
            Some(owner) if !seen.insert(owner.str_at(&["uid"])) => rest.push(pod),
            _ => first.push(pod),
        }
    }
    let mut reasons: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for pod in first.into_iter().chain(rest).take(PODS_TO_CHECK) {
        let found = evaluate(mode, &Subject::of(pod));
        if found.is_empty() || exempt(pod) {
            continue;
        }
        let reason = found.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join(", ");
        let entry = reasons.entry(reason).or_insert((pod.name(), 0));
        entry.0 = entry.0.min(pod.name());
        entry.1 += 1;
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_TO_CHECK {
        let all = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_TO_CHECK} of {all} existing pods"
        ));
    }
    if !reasons.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{name}\" violate the new PodSecurity enforce level \"{mode}\""
        ));
    }
    let mut told: Vec<String> = reasons
        .iter()
        .map(|(reason, (pod, count))| match count {
            1 => format!("{pod}: {reason}"),
            2 => format!("{pod} (and 1 other pod): {reason}"),
            more => format!("{pod} (and {} other pods): {reason}", more - 1),
        })
        .collect();
    told.sort();
    warnings.extend(told);
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::value;

    fn case(labels: Value) -> Case {
        let mut namespace = value!({"metadata": {"name": "dev"}});
        namespace.set(&["metadata", "labels"], labels);
        Case::default().with("namespaces", namespace)
    }

    fn pod(spec: Value) -> Value {
        let mut pod = value!({"metadata": {"name": "web", "namespace": "dev"}});
        pod.set(&["spec"], spec);
        pod
    }

    #[test]
    fn a_namespace_says_which_pods_it_takes() {
        let labels = value!({"pod-security.kubernetes.io/enforce": "baseline"});
        let plain = value!({"containers": [{"name": "c", "image": "i"}]});
        let host = value!({"hostNetwork": true, "hostPID": true, "containers": [{"name": "c", "image": "i"}]});
        check(&PodSecurity::default(), case(value!({})).create("", "pods", pod(host.clone())), "ok");
        check(&PodSecurity::default(), case(labels.clone()).create("", "pods", pod(plain.clone())), "ok");
        check(
            &PodSecurity::default(),
            case(labels.clone()).create("", "pods", pod(host.clone())),
            "403 pods \"web\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true, hostPID=true)",
        );
        // What is there already may stay, unless its images change.
        let update = |new: &Value| case(labels.clone()).update("", "pods", "", pod(new.clone()), pod(host.clone()));
        check(&PodSecurity::default(), update(&host), "ok");
        let mut other = host.clone();
        other.array_at_mut(&["containers"]).unwrap()[0].set(&["image"], "j");
        assert!(crate::testing::run(&PodSecurity::default(), update(&other)).starts_with("403"));
    }

    #[test]
    fn labels_must_be_levels_and_versions() {
        let namespace = |level: &str| {
            let mut namespace = value!({"metadata": {"name": "dev"}});
            namespace.set(&["metadata", "labels", "pod-security.kubernetes.io/enforce"], level);
            namespace
        };
        check(
            &PodSecurity::default(),
            Case::default().create("", "namespaces", namespace("strict")),
            "422 Namespace \"dev\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
        );
        check(&PodSecurity::default(), Case::default().create("", "namespaces", namespace("restricted")), "ok");
        // A mistake that is there already does not stand in the way.
        let update = Case::default().update("", "namespaces", "", namespace("strict"), namespace("strict"));
        check(&PodSecurity::default(), update, "ok");
    }

    #[test]
    fn an_operator_says_what_holds_and_for_whom() {
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let (defaults, errors) = Policy::configured(&value!({"enforce": "baseline", "warn": ""}));
        assert!(errors.is_empty());
        let exempt = Exempt { users: set(&["root"]), namespaces: set(&["system"]), classes: set(&["vm"]) };
        let plugin = PodSecurity(Configuration { defaults, exempt });
        let host = |class: Value, namespace: &str| {
            let mut pod = pod(value!({"hostPID": true, "containers": [{"name": "c", "image": "i"}]}));
            pod.set(&["spec", "runtimeClassName"], class);
            pod.set(&["metadata", "namespace"], namespace);
            pod
        };
        let world = || case(value!({})).with("namespaces", value!({"metadata": {"name": "system"}}));
        let refused =
            "403 pods \"web\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
        check(&plugin, world().create("", "pods", host(Value::Null, "dev")), refused);
        check(&plugin, world().create("", "pods", host("runc".into(), "dev")), refused);
        check(&plugin, world().create("", "pods", host("vm".into(), "dev")), "ok");
        check(&plugin, world().create("", "pods", host(Value::Null, "system")), "ok");
        check(&plugin, world().by(base::User::new("root", [])).create("", "pods", host(Value::Null, "dev")), "ok");
        let open = value!({"pod-security.kubernetes.io/enforce": "privileged"});
        check(&plugin, case(open).create("", "pods", host(Value::Null, "dev")), "ok");
    }

    #[test]
    fn labels_of_an_exempt_namespace_hold_nothing() {
        let exempt = Exempt { namespaces: ["dev".to_string()].into(), ..Exempt::default() };
        let plugin = PodSecurity(Configuration { exempt, ..Configuration::default() });
        let labels = value!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn-version": "v1.24"});
        let mut namespace = value!({"metadata": {"name": "dev"}});
        namespace.set(&["metadata", "labels"], labels);
        assert_eq!(
            crate::testing::warnings_of(&plugin, Case::default().create("", "namespaces", namespace)),
            [
                "namespace \"dev\" is exempt from Pod Security, and the policy (enforce=baseline:latest, warn=baseline:v1.24) will be ignored"
            ]
        );
    }
}
