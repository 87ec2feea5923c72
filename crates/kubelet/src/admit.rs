//! The node's own check of a new pod: what the scheduler should have seen, and what was bound past it.
//!
//! A pod that does not fit fails at once, so that its controller makes another (upstream's `canAdmitPod`).

use crate::pod::state::Verdict;
use base::quantity::Quantity;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;

/// `None` where the pod may run beside `others`, the pods that the node has already.
pub fn admit(pod: &Pod, others: &[&Pod], allocatable: &BTreeMap<String, String>) -> Option<Verdict> {
    let verdict = |reason: &str, message: String| Some(Verdict { reason: reason.into(), message });
    let wanted = host_ports(pod);
    if others.iter().flat_map(|other| host_ports(other)).any(|taken| wanted.iter().any(|port| clash(port, &taken))) {
        let message =
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return verdict("NodePorts", message.into());
    }
    let active: Vec<&&Pod> = others.iter().filter(|other| !ended(other)).collect();
    let capacity = |name: &str| allocatable.get(name).and_then(|text| Quantity::parse(text).ok());
    if let Some(pods) = capacity("pods").filter(|pods| active.len() as i128 + 1 > pods.units()) {
        let message = format!(
            "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: {}, capacity: {pods}",
            active.len()
        );
        return verdict("OutOfpods", message);
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let Some(capacity) = capacity(name) else { continue };
        let asked = requested(pod, name);
        let used: Quantity = active.iter().map(|other| requested(other, name)).sum();
        if !asked.is_zero() && used + asked > capacity {
            let figure = |q: Quantity| if name == "cpu" { q.milli() } else { q.units() };
            let (asked, used, capacity) = (figure(asked), figure(used), figure(capacity));
            let message = format!(
                "Pod was rejected: Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
            );
            return verdict(&format!("OutOf{name}"), message);
        }
    }
    None
}

fn ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Host port, protocol, address.
fn host_ports(pod: &Pod) -> Vec<(i32, String, String)> {
    if ended(pod) {
        return Vec::new();
    }
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|s| {
        let sidecars = s.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
        s.containers.iter().chain(sidecars)
    });
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let ip = p.host_ip.clone().filter(|ip| ip != "0.0.0.0").unwrap_or_default();
            Some((p.host_port.filter(|port| *port > 0)?, p.protocol.clone().unwrap_or_else(|| "TCP".into()), ip))
        })
        .collect()
}

/// No address stands for all of them.
fn clash(a: &(i32, String, String), b: &(i32, String, String)) -> bool {
    a.0 == b.0 && a.1 == b.1 && (a.2 == b.2 || a.2.is_empty() || b.2.is_empty())
}

/// What a pod asks for as a whole: its containers together with its sidecars, or its largest init container.
pub fn requested(pod: &Pod, name: &str) -> Quantity {
    let Some(spec) = &pod.spec else { return Quantity::from_units(0) };
    let of = |resources: Option<&k8s_openapi::api::core::v1::ResourceRequirements>| -> Option<Quantity> {
        let r = resources?;
        let text = r.requests.as_ref().and_then(|m| m.get(name)).or_else(|| r.limits.as_ref()?.get(name))?;
        Quantity::parse(&text.0).ok()
    };
    let zero = Quantity::from_units(0);
    let mut together: Quantity = spec.containers.iter().filter_map(|c| of(c.resources.as_ref())).sum();
    let mut peak = zero;
    for container in spec.init_containers.iter().flatten() {
        let asked = of(container.resources.as_ref()).unwrap_or(zero);
        match container.restart_policy.as_deref() {
            Some("Always") => together += asked,
            _ => peak = peak.max(asked),
        }
    }
    let overhead = spec.overhead.as_ref().and_then(|o| Quantity::parse(&o.get(name)?.0).ok()).unwrap_or(zero);
    of(spec.resources.as_ref()).unwrap_or_else(|| together.max(peak)) + overhead
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: serde_json::Value, phase: &str) -> Pod {
        let mut container = container;
        container["name"] = "c".into();
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}, "status": {"phase": phase}});
        serde_json::from_value(pod).unwrap()
    }

    #[track_caller]
    fn check(new: serde_json::Value, old: serde_json::Value, old_phase: &str, want: Option<&str>) {
        let allocatable = [("cpu", "2"), ("memory", "1Gi"), ("pods", "2")];
        let allocatable = allocatable.map(|(k, v)| (k.to_string(), v.to_string())).into();
        let (new, old) = (pod(new, "Pending"), pod(old, old_phase));
        assert_eq!(admit(&new, &[&old], &allocatable).map(|v| v.reason).as_deref(), want);
    }

    #[test]
    fn what_fits() {
        let port = |ip: &str| json!({"ports": [{"containerPort": 1, "hostPort": 80, "hostIP": ip, "protocol": "TCP"}]});
        check(port(""), port(""), "Running", Some("NodePorts"));
        check(port("10.0.0.1"), port("10.0.0.2"), "Running", None);
        check(port("10.0.0.1"), port("0.0.0.0"), "Running", Some("NodePorts"));
        check(port(""), port(""), "Succeeded", None);
        let cpu = |n: &str| json!({"resources": {"requests": {"cpu": n}}});
        check(cpu("1500m"), cpu("500m"), "Running", None);
        check(cpu("1501m"), cpu("500m"), "Running", Some("OutOfcpu"));
        check(cpu("2"), cpu("500m"), "Failed", None);
        check(json!({"resources": {"limits": {"memory": "2Gi"}}}), json!({}), "Running", Some("OutOfmemory"));
    }
}
