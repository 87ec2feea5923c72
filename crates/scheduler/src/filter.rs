//! Filtering: why a pod cannot go to a node, in upstream's words.

use crate::{
    model::{Pod, Taint},
    snapshot::NodeState,
    spread::Domains,
};

/// Every reason that keeps a pod off a node; the first rule that fails speaks, resources speak together.
pub fn reasons(pod: &Pod, state: &NodeState, domains: &Domains) -> Vec<String> {
    let rules: [fn(&Pod, &NodeState) -> Vec<String>; 5] = [unschedulable, taints, affinity, ports, resources];
    for rule in rules {
        let found = rule(pod, state);
        if !found.is_empty() {
            return found;
        }
    }
    domains.reason(pod, &state.node).into_iter().map(String::from).collect()
}

/// True where node selector and required affinity admit the node.
pub fn affinity_admits(pod: &Pod, state: &NodeState) -> bool {
    let node = &state.node;
    pod.selector.iter().all(|(k, v)| node.labels.label(k) == Some(v))
        && pod.required.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
}

/// True where the pod tolerates every taint that repels.
pub fn taints_admit(pod: &Pod, state: &NodeState) -> bool {
    state.node.taints.iter().filter(|t| t.repels()).all(|t| pod.tolerates(t))
}

fn unschedulable(pod: &Pod, state: &NodeState) -> Vec<String> {
    let cordon =
        Taint { key: "node.kubernetes.io/unschedulable".into(), value: "".into(), effect: "NoSchedule".into() };
    only(state.node.unschedulable && !pod.tolerates(&cordon), "node(s) were unschedulable")
}

fn taints(pod: &Pod, state: &NodeState) -> Vec<String> {
    only(!taints_admit(pod, state), "node(s) had untolerated taint(s)")
}

fn affinity(pod: &Pod, state: &NodeState) -> Vec<String> {
    only(!affinity_admits(pod, state), "node(s) didn't match Pod's node affinity/selector")
}

fn ports(pod: &Pod, state: &NodeState) -> Vec<String> {
    let mut used = state.pods.values().flat_map(|p| &p.host_ports);
    let clash = !pod.host_ports.is_empty() && used.any(|u| pod.host_ports.iter().any(|p| p.clashes(u)));
    only(clash, "node(s) didn't have free ports for the requested pod ports")
}

fn resources(pod: &Pod, state: &NodeState) -> Vec<String> {
    let mut found = only(state.pods.len() as i64 >= state.allocatable("pods"), "Too many pods");
    for (name, n) in pod.requests.iter().filter(|(_, n)| **n > 0) {
        if state.requested(name) + n > state.allocatable(name) {
            found.push(format!("Insufficient {name}"));
        }
    }
    found
}

fn only(holds: bool, reason: &str) -> Vec<String> {
    if holds { vec![reason.to_string()] } else { Vec::new() }
}
