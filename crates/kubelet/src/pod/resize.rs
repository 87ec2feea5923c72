//! Resizing in place (KEP-1287): what a pod asks for now, what the node has granted it, and what its cgroups say.
//!
//! Three sets of resources. Those of the spec are wished for. The node grants them as a whole when there is room, and from
//! then on they count as the pod's (`allocatedResources`). They are applied to the cgroups of what runs, or by a restart
//! where the container's `resizePolicy` wants one (`resources` of the status). What was granted and applied survives a
//! restart of the agent in the pod's own status. This file decides; `begin.rs` acts.

use crate::admit;
use crate::pod::{
    decide::containers,
    state::{Container, PodState},
};
use base::{quantity::Quantity, time::Timestamp};
use cri::LinuxContainerResources;
use k8s_openapi::{
    api::core::v1::{Container as Spec, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as Text,
};
use std::{collections::BTreeMap, sync::Arc};

/// Resources by container name.
pub type Allocation = BTreeMap<String, ResourceRequirements>;

/// Where the pod's last resize stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resize {
    /// Why what is wished for was not granted: reason and message of `PodResizePending`.
    pub pending: Option<(&'static str, String)>,
    pub progress: Progress,
}

/// Whether the cgroups have what was granted.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Progress {
    #[default]
    Done,
    /// To be written as soon as there is a sandbox.
    Due,
    Writing,
    /// The kernel refused, as a limit below what is in use.
    Failed {
        message: String,
        retry_at: Timestamp,
    },
}

/// What the node says to a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is what the pod has.
    Same,
    Granted,
    /// Not beside the pods that are here now.
    Deferred(String),
    /// Never on this node.
    Infeasible(String),
}

/// The resources of all containers as the spec has them.
pub fn wished(pod: &Pod) -> Allocation {
    containers(pod).map(|(c, _)| (c.name.clone(), c.resources.clone().unwrap_or_default())).collect()
}

/// The pod with the resources that it was granted.
pub fn granted(pod: &Pod, allocated: &Allocation) -> Pod {
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        let init = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(init) {
            if let Some(resources) = allocated.get(&container.name) {
                container.resources = Some(resources.clone());
            }
        }
    }
    pod
}

/// The same, without a copy where nothing differs: that is almost always.
pub fn share(pod: &Arc<Pod>, allocated: &Allocation) -> Arc<Pod> {
    if unchanged(pod, allocated) { pod.clone() } else { Arc::new(granted(pod, allocated)) }
}

/// True where the pod asks for what it was granted.
pub fn unchanged(pod: &Pod, allocated: &Allocation) -> bool {
    containers(pod).all(|(c, _)| allocated.get(&c.name).is_none_or(|have| same(have, &asked(c))))
}

/// Decides about a wish.
pub fn answer(pod: &Pod, allocated: &Allocation, others: &[&Pod], allocatable: &BTreeMap<String, String>) -> Answer {
    if unchanged(pod, allocated) {
        return Answer::Same;
    }
    match admit::lacking(pod, others, allocatable) {
        None => Answer::Granted,
        Some(l) if l.asked > l.capacity => Answer::Infeasible(format!(
            "Node didn't have enough capacity: {}, requested: {}, capacity: {}",
            l.name, l.asked, l.capacity
        )),
        Some(l) => Answer::Deferred(l.to_string()),
    }
}

/// True where a container that runs has to be restarted for what it was granted.
pub fn needs_restart(spec: &Spec, applied: &ResourceRequirements, allocated: &ResourceRequirements) -> bool {
    let policies = spec.resize_policy.iter().flatten().filter(|p| p.restart_policy == "RestartContainer");
    policies.into_iter().any(|p| !same_of(applied, allocated, &p.resource_name))
}

/// True while something that runs has other resources than it was granted, or that is not known yet.
pub fn in_progress(state: &PodState) -> bool {
    let behind = |(name, container): (&String, &Container)| {
        let allocated = state.allocated.get(name);
        let differs = container.applied.as_ref().zip(allocated).is_some_and(|(a, b)| !same(a, b));
        differs && (container.active() || container.renew)
    };
    state.resize.progress != Progress::Done || state.containers.iter().any(behind)
}

/// The containers whose cgroups are to be written: those that run, and are not to be restarted anyway.
pub fn to_write(state: &PodState) -> Vec<(String, String)> {
    let behind = |(name, container): (&String, &Container)| {
        let allocated = state.allocated.get(name)?;
        let differs = container.applied.as_ref().is_some_and(|applied| !same(applied, allocated));
        let runs = matches!(container.phase, crate::pod::state::Phase::Running { .. });
        (differs && runs && !container.renew).then(|| (name.clone(), container.id.clone()))
    };
    state.containers.iter().filter_map(behind).collect()
}

/// Limits of a pod between two sizes: of each the larger, so that its containers fit into it before, between and after.
pub fn larger(a: &LinuxContainerResources, b: &LinuxContainerResources) -> LinuxContainerResources {
    // Zero is no limit: then nothing must be written before the containers have theirs.
    let limit = |a: i64, b: i64| if a == 0 || b == 0 { 0 } else { a.max(b) };
    LinuxContainerResources {
        cpu_period: b.cpu_period,
        cpu_quota: limit(a.cpu_quota, b.cpu_quota),
        cpu_shares: a.cpu_shares.max(b.cpu_shares),
        memory_limit_in_bytes: limit(a.memory_limit_in_bytes, b.memory_limit_in_bytes),
        ..LinuxContainerResources::default()
    }
}

fn asked(spec: &Spec) -> ResourceRequirements {
    spec.resources.clone().unwrap_or_default()
}

/// Equal in CPU and memory; nothing else can be resized.
fn same(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| same_of(a, b, name))
}

fn same_of(a: &ResourceRequirements, b: &ResourceRequirements, name: &str) -> bool {
    let amount = |list: &Option<BTreeMap<String, Text>>| Quantity::parse(&list.as_ref()?.get(name)?.0).ok();
    amount(&a.requests) == amount(&b.requests) && amount(&a.limits) == amount(&b.limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(resources: Value, policy: Value) -> Pod {
        let container = json!({"name": "c", "resources": resources, "resizePolicy": policy});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}})).unwrap()
    }

    fn cpu(request: &str) -> Value {
        json!({"requests": {"cpu": request, "memory": "1Mi"}})
    }

    #[test]
    fn wishes_are_weighed() {
        let allocatable = [("cpu", "2"), ("memory", "1Gi")].map(|(k, v)| (k.to_string(), v.to_string())).into();
        let other = pod(cpu("1500m"), json!([]));
        for (wish, want) in [
            ("100m", Answer::Same),
            ("0.1", Answer::Same),
            ("500m", Answer::Granted),
            (
                "501m",
                Answer::Deferred(
                    "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000".into(),
                ),
            ),
            ("3", Answer::Infeasible("Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000".into())),
        ] {
            let allocated = wished(&pod(cpu("100m"), json!([])));
            assert_eq!(answer(&pod(cpu(wish), json!([])), &allocated, &[&other], &allocatable), want, "{wish}");
        }
    }

    #[test]
    fn policies_ask_for_restarts() {
        let restart = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
            {"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
        let spec = pod(cpu("1"), restart).spec.unwrap().containers.remove(0);
        let resources = |cpu: &str, memory: &str| {
            serde_json::from_value(json!({"limits": {"cpu": cpu, "memory": memory}})).unwrap()
        };
        assert!(!needs_restart(&spec, &resources("1", "1Mi"), &resources("2", "1Mi")));
        assert!(needs_restart(&spec, &resources("1", "1Mi"), &resources("1", "2Mi")));
        assert!(!needs_restart(&spec, &resources("1", "1Mi"), &resources("1000m", "1024Ki")));
    }

    #[test]
    fn a_pod_is_wide_enough_in_between() {
        let limits = |cpu_quota: i64, memory: i64| LinuxContainerResources {
            cpu_quota,
            memory_limit_in_bytes: memory,
            ..LinuxContainerResources::default()
        };
        assert_eq!(larger(&limits(10, 30), &limits(20, 20)), limits(20, 30));
        assert_eq!(larger(&limits(0, 30), &limits(20, 40)), limits(0, 40));
    }
}
