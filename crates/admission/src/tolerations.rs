//! ExtendedResourceToleration: a pod that asks for a device tolerates the taint of the nodes that have it.
//! PodTolerationRestriction: a namespace, or the cluster, says which taints its pods tolerate, and which they may.

use crate::{Plugin, Target};
use base::{Result, Status, names};
use resource::{Attributes, Call};
use schema::Operation;
use std::collections::BTreeSet;
use value::{Value, value};

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

pub struct ExtendedResources;

/// What the cluster says for namespaces that say nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restriction {
    pub default: Vec<Value>,
    pub allowed: Vec<Value>,
}

impl Plugin for ExtendedResources {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        is_written(target)
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let containers =
            ["containers", "initContainers"].into_iter().flat_map(|list| a.object.items_at(&["spec", list]));
        let asked = containers.flat_map(|container| container.members_at(&["resources", "requests"]));
        let devices: BTreeSet<String> = asked.map(|(name, _)| name.to_string()).filter(|n| is_extended(n)).collect();
        for device in devices {
            let toleration = value!({"key": device, "operator": "Exists", "effect": "NoSchedule"});
            let same = |own: &Value| {
                ["key", "operator", "effect", "value"].iter().all(|f| own.str_at(&[f]) == toleration.str_at(&[f]))
            };
            match a.object.at_mut(&["spec", "tolerations"]) {
                Value::Array(own) => match own.iter_mut().find(|own| same(own)) {
                    Some(own) => *own = toleration,
                    None => own.push(toleration),
                },
                other => *other = Value::Array(vec![toleration]),
            }
        }
        Ok(())
    }
}

impl Plugin for Restriction {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        is_written(target)
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let mut more = Vec::new();
        if a.operation == Operation::Create {
            more = of_namespace(a, DEFAULTS)?.unwrap_or_else(|| self.default.clone());
        }
        let best_effort = match a.object.str_at(&["status", "qosClass"]) {
            "" => quota::pod::is_best_effort(&a.object),
            class => class == "BestEffort",
        };
        if !best_effort {
            let key = "node.kubernetes.io/memory-pressure";
            more.push(value!({"key": key, "operator": "Exists", "effect": "NoSchedule"}));
        }
        if !more.is_empty() {
            let all = [a.object.items_at(&["spec", "tolerations"]), &more].concat();
            a.object.set(&["spec", "tolerations"], Value::Array(merged(all)));
        }
        self.validate(a)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let own = a.object.items_at(&["spec", "tolerations"]);
        if own.is_empty() {
            return Ok(());
        }
        let (allowed, whose) = match of_namespace(a, ALLOWED)? {
            Some(allowed) => (allowed, "namespace"),
            None => (self.allowed.clone(), "cluster"),
        };
        let covered = |toleration: &Value| allowed.iter().any(|allowed| covers(allowed, toleration));
        if allowed.is_empty() || own.iter().all(covered) {
            return Ok(());
        }
        Err(Status::plain(format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
        )))
    }
}

fn is_written(target: Target<'_>) -> bool {
    target.is("pods", "") && matches!(target.operation, Operation::Create | Operation::Update)
}

/// `example.com/device`: what no node has by itself, and a quota could name.
fn is_extended(resource: &str) -> bool {
    let foreign = resource.contains('/') && !resource.contains("kubernetes.io/") && !resource.starts_with("requests.");
    foreign && names::qualified_name(&format!("requests.{resource}")).is_ok()
}

/// What an annotation of the pod's namespace says; `None` where there is none.
fn of_namespace(a: &Attributes<'_>, annotation: &str) -> Result<Option<Vec<Value>>> {
    let name = a.call.namespace.as_str();
    let namespace = a.view.get("", "namespaces", "", name).ok_or_else(|| Status::not_found("", "namespaces", name))?;
    let tree = namespace.tree();
    match tree.at(&["metadata", "annotations", annotation]).as_str() {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => match value::parse_lenient(text.as_bytes()) {
            Ok(Value::Array(list)) => Ok(Some(list)),
            Ok(other) => {
                let got = other.type_name();
                Err(Status::plain(format!("json: cannot unmarshal {got} into Go value of type []v1.Toleration")))
            }
            Err(e) => Err(Status::plain(e.to_string())),
        },
    }
}

/// Both lists without what others of them cover; of equal ones the first stays.
fn merged(all: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for (i, toleration) in all.iter().enumerate() {
        let later = all.iter().skip(i + 1).any(|other| other != toleration && covers(other, toleration));
        if !later && !kept.iter().any(|other| covers(other, toleration)) {
            kept.push(toleration.clone());
        }
    }
    kept
}

/// Whether all that `narrow` tolerates, `wide` tolerates too.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let field = |of: &'_ Value, name: &str| -> String { of.str_at(&[name]).to_string() };
    let any_key = field(wide, "key").is_empty() && field(wide, "operator") == "Exists";
    if field(wide, "key") != field(narrow, "key") && !any_key {
        return false;
    }
    let effect = field(wide, "effect");
    if !effect.is_empty() && effect != field(narrow, "effect") {
        return false;
    }
    let seconds = |of: &Value| of.at(&["tolerationSeconds"]).as_i64();
    if effect == "NoExecute"
        && let Some(most) = seconds(wide)
        && seconds(narrow).is_none_or(|own| own > most)
    {
        return false;
    }
    match field(wide, "operator").as_str() {
        "" | "Equal" => field(narrow, "operator") == "Equal" && field(narrow, "value") == field(wide, "value"),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};

    fn pod(requests: Value, tolerations: Value) -> Value {
        value!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": requests}}], "tolerations": tolerations}})
    }

    #[test]
    fn a_device_is_tolerated() {
        for (requests, own, want) in [
            (value!({"cpu": "1", "requests.x/y": "1", "kubernetes.io/batch": "1"}), value!([]), ""),
            (value!({"b.com/d": "1", "a.com/d": "1"}), value!([]), "a.com/d b.com/d"),
            (
                value!({"a.com/d": "1"}),
                value!([{"key": "a.com/d", "operator": "Exists", "effect": "NoSchedule"}]),
                "a.com/d",
            ),
            (value!({"a.com/d": "1"}), value!([{"key": "a.com/d", "operator": "Exists"}]), "a.com/d a.com/d"),
        ] {
            let given = object_of(&ExtendedResources, Case::default().create("", "pods", pod(requests, own)));
            let keys = given.items_at(&["spec", "tolerations"]).iter().map(|t| t.str_at(&["key"]));
            assert_eq!(keys.collect::<Vec<_>>().join(" "), want);
        }
    }

    fn case(annotations: Value) -> Case {
        let mut namespace = value!({"metadata": {"name": "dev"}});
        namespace.set(&["metadata", "annotations"], annotations);
        Case::default().with("namespaces", namespace)
    }

    #[test]
    fn a_namespace_says_what_its_pods_tolerate() {
        let (one, other) = (value!([{"key": "a", "operator": "Exists"}]), value!([{"key": "b", "operator": "Exists"}]));
        let cluster = Restriction { default: one.as_array().unwrap().clone(), allowed: Vec::new() };
        let keys = |case: Case| -> String {
            let given = object_of(&cluster, case);
            let keys = given.items_at(&["spec", "tolerations"]).iter().map(|t| t.str_at(&["key"]).to_string());
            keys.collect::<Vec<_>>().join(" ")
        };
        let bare = || pod(value!({}), value!([]));
        let said = |text: String| case(value!({(DEFAULTS): text}));
        assert_eq!(keys(case(value!({})).create("", "pods", bare())), "a", "the cluster's");
        assert_eq!(keys(said(other.to_string()).create("", "pods", bare())), "b");
        assert_eq!(keys(said(String::new()).create("", "pods", bare())), "", "said: none");
        let asking = pod(value!({"cpu": "1"}), value!([{"key": "a", "operator": "Equal", "value": "v"}]));
        assert_eq!(
            keys(case(value!({})).create("", "pods", asking.clone())),
            "a node.kubernetes.io/memory-pressure",
            "the wider one stays"
        );
        assert_eq!(keys(case(value!({})).update("", "pods", "", bare(), bare())), "", "only new pods");
        check(
            &cluster,
            said("{}".into()).create("", "pods", bare()),
            "500 json: cannot unmarshal object into Go value of type []v1.Toleration",
        );
    }

    #[test]
    fn what_pods_may_tolerate() {
        let exists =
            |key: &str| value!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10});
        let cluster = Restriction { default: Vec::new(), allowed: vec![exists("a")] };
        let of = |seconds: i64, effect: &str| value!([{"key": "a", "operator": "Equal", "value": "v", "effect": effect, "tolerationSeconds": seconds}]);
        let refused = |whose: &str| {
            format!(
                "500 pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
            )
        };
        for (own, want) in [
            (value!([]), "ok".to_string()),
            (of(5, "NoExecute"), "ok".into()),
            (of(11, "NoExecute"), refused("cluster")),
            (of(5, "NoSchedule"), refused("cluster")),
        ] {
            check(&cluster, case(value!({})).create("", "pods", pod(value!({}), own)), &want);
        }
        let all = value!([{"operator": "Exists"}]).to_string();
        check(&cluster, case(value!({(ALLOWED): all})).create("", "pods", pod(value!({}), of(99, "NoExecute"))), "ok");
        let none = value!([{"key": "z", "operator": "Exists"}]).to_string();
        check(
            &cluster,
            case(value!({(ALLOWED): none})).create("", "pods", pod(value!({}), of(5, "NoExecute"))),
            &refused("namespace"),
        );
    }
}
