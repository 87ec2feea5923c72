//! One decision: filter, score, choose; or say why not.

use crate::{filter, model::Pod, score, snapshot::Snapshot, spread::Domains};
use std::collections::BTreeMap;
use value::Str;

/// What to do with a waiting pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Bind it to this node.
    Bind(Str),
    /// No node takes it now; the text goes into its condition and its event.
    Unschedulable(String),
    /// Its scheduling gates are closed.
    Gated,
}

/// Decides for one pod. Pure: the same picture gives the same answer.
pub fn decide(pod: &Pod, snapshot: &Snapshot) -> Decision {
    if !pod.gates.is_empty() {
        return Decision::Gated;
    }
    let domains = Domains::of(pod, snapshot);
    let mut against: BTreeMap<String, usize> = BTreeMap::new();
    let mut feasible = Vec::new();
    for (name, state) in &snapshot.nodes {
        let reasons = filter::reasons(pod, state, &domains);
        if reasons.is_empty() {
            feasible.push(name.clone());
        }
        for reason in reasons {
            *against.entry(reason).or_default() += 1;
        }
    }
    match score::rank(pod, &feasible, snapshot, &domains).into_iter().next() {
        Some((node, _)) => Decision::Bind(node),
        None => Decision::Unschedulable(explain(snapshot.nodes.len(), &against)),
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). …`. The last sentence is
/// upstream's where preemption could not help; Ferry does not preempt yet.
fn explain(nodes: usize, against: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut reasons: Vec<String> = against.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    reasons.sort();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Node;
    use std::sync::Arc;
    use value::{Object, Value, value};

    fn object(v: Value) -> Arc<Object> {
        Object::from_json(v.to_json().into()).unwrap()
    }

    fn node(name: &str, spec: Value, cpu: &str) -> Node {
        Node::read(&object(value!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "disk": if name == "a" { "ssd" } else { "hdd" }}},
            "spec": serde_json::Value::from(&spec),
            "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "10"}},
        })))
    }

    fn pod(name: &str, spec: Value) -> Pod {
        Pod::read(&object(value!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"}},
            "spec": serde_json::Value::from(&spec),
        })))
    }

    fn cluster() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(node("a", value!({}), "2"));
        snapshot.set_node(node("b", value!({"taints": [{"key": "x", "value": "y", "effect": "NoSchedule"}]}), "4"));
        snapshot.set_node(node("c", value!({"unschedulable": true}), "4"));
        snapshot
    }

    #[track_caller]
    fn check(spec: Value, want: Decision) {
        assert_eq!(decide(&pod("p", spec), &cluster()), want);
    }

    fn no(text: &str) -> Decision {
        Decision::Unschedulable(text.into())
    }

    #[test]
    fn decisions() {
        let cpu = |n: &str| value!({"containers": [{"resources": {"requests": {"cpu": n}}}]});
        check(cpu("1"), Decision::Bind("a".into()));
        check(
            cpu("3"),
            no(
                "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.",
            ),
        );
        check(
            value!({"tolerations": [{"key": "x", "operator": "Exists"}], "containers": [{"resources": {"requests": {"cpu": "3"}}}]}),
            Decision::Bind("b".into()),
        );
        check(
            value!({"nodeSelector": {"disk": "tape"}, "tolerations": [{"operator": "Exists"}]}),
            no("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        );
        check(value!({"schedulingGates": [{"name": "g"}]}), Decision::Gated);
        let affinity = |op: &str| value!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": op, "values": ["ssd"]}]}]}}}, "tolerations": [{"key": "x", "operator": "Equal", "value": "y"}]});
        check(affinity("In"), Decision::Bind("a".into()));
        check(affinity("NotIn"), Decision::Bind("b".into()));
        assert_eq!(decide(&pod("p", value!({})), &Snapshot::default()), no("no nodes available to schedule pods"));
    }

    #[test]
    fn init_containers_count_by_their_peak() {
        let p = pod(
            "p",
            value!({
                "initContainers": [
                    {"resources": {"requests": {"cpu": "1500m"}}},
                    {"restartPolicy": "Always", "resources": {"requests": {"cpu": "200m"}}},
                    {"resources": {"requests": {"cpu": "1"}}},
                ],
                "containers": [{"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}],
            }),
        );
        assert_eq!(p.requests["cpu"], 1500);
        assert_eq!(p.requests["memory"], 1 << 30);
    }

    #[test]
    fn host_ports_and_hard_spread() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(node("a", value!({}), "2"));
        snapshot.set_node(node("b", value!({}), "2"));
        let port = value!({"nodeName": "a", "containers": [{"ports": [{"hostPort": 80}]}]});
        snapshot.set_pod(Arc::new(pod("one", port)));
        let wants = pod("two", value!({"containers": [{"ports": [{"hostPort": 80}]}]}));
        assert_eq!(decide(&wants, &snapshot), Decision::Bind("b".into()));
        let spread = value!({"topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        assert_eq!(decide(&pod("three", spread.clone()), &snapshot), Decision::Bind("b".into()));
        let mut taken = spread;
        taken.set(&["nodeName"], "b");
        snapshot.set_pod(Arc::new(pod("b1", taken.clone())));
        snapshot.set_pod(Arc::new(pod("b2", taken.clone())));
        taken.remove(&["nodeName"]);
        assert_eq!(decide(&pod("four", taken), &snapshot), Decision::Bind("a".into()));
        snapshot.remove_pod(&"ns/one".split_once('/').map(|(a, b)| value::ObjectKey::new(a, b)).unwrap());
        assert!(snapshot.nodes["a"].pods.is_empty());
    }

    #[test]
    fn pods_of_one_owner_are_spread() {
        let mut snapshot = Snapshot::default();
        snapshot.set_node(node("a", value!({}), "2"));
        snapshot.set_node(node("b", value!({}), "2"));
        let mut seen = Vec::new();
        for i in 0..4 {
            let mut p = pod(&format!("p{i}"), value!({}));
            p.owner = "rs".into();
            let Decision::Bind(node) = decide(&p, &snapshot) else { panic!("must fit") };
            seen.push(node.clone());
            p.node = node;
            snapshot.set_pod(Arc::new(p));
        }
        assert_eq!(seen.iter().filter(|n| *n == "a").count(), 2, "{seen:?}");
    }
}
