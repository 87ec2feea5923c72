//! The node's own check of a new pod: what the scheduler should have seen, and what was bound past it.
//!
//! A pod that does not fit fails at once, so that its controller makes another (upstream's `canAdmitPod`).

use crate::pod::state::Verdict;
use base::quantity::Quantity;
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeMap, fmt};

/// `None` where the pod may run beside `others`, the pods that the node has already.
pub fn admit(pod: &Pod, others: &[&Pod], allocatable: &BTreeMap<String, String>) -> Option<Verdict> {
    let verdict = |reason: &str, message: String| Some(Verdict { reason: reason.into(), message });
    let wanted = host_ports(pod);
    if others.iter().flat_map(|other| host_ports(other)).any(|taken| wanted.iter().any(|port| clash(port, &taken))) {
        let message =
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return verdict("NodePorts", message.into());
    }
    if let Some(message) = forbidden_sysctl(pod) {
        return verdict("SysctlForbidden", format!("Pod was rejected: {message}"));
    }
    let lack = lacking(pod, others, allocatable)?;
    verdict(&format!("OutOf{}", lack.name), format!("Pod was rejected: {lack}"))
}

/// What the node has too little of. CPU in thousandths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    pub name: &'static str,
    pub asked: i128,
    pub used: i128,
    pub capacity: i128,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lack { name, asked, used, capacity } = self;
        write!(f, "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}")
    }
}

/// The first resource of which there is not enough for a pod beside `others`.
pub fn lacking(pod: &Pod, others: &[&Pod], allocatable: &BTreeMap<String, String>) -> Option<Lack> {
    let active: Vec<&&Pod> = others.iter().filter(|other| !ended(other)).collect();
    let capacity = |name: &str| allocatable.get(name).and_then(|text| Quantity::parse(text).ok());
    let count = active.len() as i128;
    if let Some(pods) = capacity("pods").filter(|pods| count + 1 > pods.units()) {
        return Some(Lack { name: "pods", asked: 1, used: count, capacity: pods.units() });
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let Some(capacity) = capacity(name) else { continue };
        let asked = requested(pod, name);
        let used: Quantity = active.iter().map(|other| requested(other, name)).sum();
        if !asked.is_zero() && used + asked > capacity {
            let figure = |q: Quantity| if name == "cpu" { q.milli() } else { q.units() };
            return Some(Lack { name, asked: figure(asked), used: figure(used), capacity: figure(capacity) });
        }
    }
    None
}

/// Settings of the kernel that every pod may make in its own namespaces (`pkg/kubelet/sysctl/safe_sysctls.go`); others could
/// reach what pods share.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn forbidden_sysctl(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let asked = spec.security_context.as_ref()?.sysctls.iter().flatten();
    asked.map(|s| s.name.replace('/', ".")).find_map(|name| {
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Some(format!("forbidden sysctl: {name:?} not allowlisted"));
        }
        let shared = |host: Option<bool>, what: &str| {
            (host == Some(true)).then(|| format!("forbidden sysctl: {name:?} not allowed with host {what} enabled"))
        };
        match name.starts_with("net.") {
            true => shared(spec.host_network, "net"),
            false => shared(spec.host_ipc, "ipc"),
        }
    })
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
    fn settings_of_the_kernel() {
        for (spec, want) in [
            (json!({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}}), None),
            (json!({"securityContext": {"sysctls": [{"name": "net/ipv4/tcp_syncookies", "value": "1"}]}}), None),
            (
                json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
                Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted"),
            ),
            (
                json!({"hostNetwork": true,
                    "securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "0"}]}}),
                Some("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"),
            ),
        ] {
            let mut spec = spec;
            spec["containers"] = json!([]);
            let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
            assert_eq!(forbidden_sysctl(&pod).as_deref(), want);
        }
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
