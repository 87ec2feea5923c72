//! Requests and limits as cgroup settings, and the quality-of-service class that follows from them.
//!
//! Formulas are upstream's (`pkg/kubelet/cm/helpers_linux.go`, `pkg/kubelet/qos/policy.go`): a CPU is 1024 shares, a quota
//! is per 100 ms and at least 1 ms, and a container that uses more than it asked for dies first.

use base::quantity::Quantity;
use cri::LinuxContainerResources;
use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as Text,
};
use std::collections::BTreeMap;

/// `status.qosClass`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    pub fn as_str(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// The amount of one resource; `None` where it is not given or is zero.
fn amount(list: Option<&BTreeMap<String, Text>>, name: &str) -> Option<Quantity> {
    let quantity = Quantity::parse(&list?.get(name)?.0).ok()?;
    (!quantity.is_zero()).then_some(quantity)
}

fn limit(r: Option<&ResourceRequirements>, name: &str) -> Option<Quantity> {
    amount(r?.limits.as_ref(), name)
}

/// A request; a limit without a request is one too, as the API server's defaulting has it.
fn request(r: Option<&ResourceRequirements>, name: &str) -> Option<Quantity> {
    amount(r?.requests.as_ref(), name).or_else(|| limit(r, name))
}

/// The class of a pod.
pub fn qos(pod: &Pod) -> Qos {
    let Some(spec) = &pod.spec else { return Qos::BestEffort };
    let own = spec.resources.as_ref().filter(|r| r.limits.is_some() || r.requests.is_some());
    let all: Vec<Option<&ResourceRequirements>> = match own {
        // KEP-2837: resources of the pod as a whole decide alone.
        Some(own) => vec![Some(own)],
        None => {
            spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|c| c.resources.as_ref()).collect()
        }
    };
    let names = ["cpu", "memory"];
    if all.iter().all(|r| names.iter().all(|n| request(*r, n).is_none())) {
        return Qos::BestEffort;
    }
    let guaranteed = all.iter().all(|r| names.iter().all(|n| limit(*r, n).is_some() && request(*r, n) == limit(*r, n)));
    if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
}

/// The cgroup settings of one container. `memory` is the machine's, in bytes.
pub fn container(pod: &Pod, container: &Container, memory: u64) -> LinuxContainerResources {
    let r = container.resources.as_ref();
    let own = pod.spec.as_ref().and_then(|s| s.resources.as_ref());
    LinuxContainerResources {
        oom_score_adj: oom_score(pod, container, memory),
        ..limits(
            request(r, "cpu"),
            limit(r, "cpu").or_else(|| limit(own, "cpu")),
            limit(r, "memory").or_else(|| limit(own, "memory")),
        )
    }
}

/// The cgroup settings of the pod as a whole: sums, and a limit only where every container has one.
pub fn pod(pod: &Pod) -> LinuxContainerResources {
    let Some(spec) = &pod.spec else { return LinuxContainerResources::default() };
    let own = spec.resources.as_ref();
    let sum = |get: fn(Option<&ResourceRequirements>, &str) -> Option<Quantity>, name: &str| -> Option<Quantity> {
        let mut total = Quantity::from_units(0);
        let mut all = true;
        for c in &spec.containers {
            match get(c.resources.as_ref(), name) {
                Some(q) => total += q,
                None => all = false,
            }
        }
        let mut peak = Quantity::from_units(0);
        for c in spec.init_containers.iter().flatten() {
            match get(c.resources.as_ref(), name) {
                Some(q) if c.restart_policy.as_deref() == Some("Always") => total += q,
                Some(q) => peak = peak.max(q),
                None => all = false,
            }
        }
        let sum = total.max(peak);
        let overhead = spec.overhead.as_ref().and_then(|o| amount(Some(o), name));
        let sum = overhead.map_or(sum, |o| sum + o);
        (all && !sum.is_zero()).then_some(sum)
    };
    let cpu_request = request(own, "cpu").or_else(|| {
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let total: Quantity = all.filter_map(|c| request(c.resources.as_ref(), "cpu")).sum();
        (!total.is_zero()).then_some(total)
    });
    limits(
        cpu_request,
        limit(own, "cpu").or_else(|| sum(limit, "cpu")),
        limit(own, "memory").or_else(|| sum(limit, "memory")),
    )
}

fn limits(request: Option<Quantity>, cpu: Option<Quantity>, memory: Option<Quantity>) -> LinuxContainerResources {
    const PERIOD: i64 = 100_000;
    let cpu_quota = match cpu.map_or(0, |q| q.milli_i64()) {
        0 => 0,
        milli => (milli.saturating_mul(PERIOD) / 1000).max(1000),
    };
    LinuxContainerResources {
        cpu_shares: shares(request.or(cpu).map_or(0, |q| q.milli_i64())),
        cpu_period: PERIOD,
        cpu_quota,
        memory_limit_in_bytes: memory.map_or(0, |q| q.bytes()),
        ..LinuxContainerResources::default()
    }
}

fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

fn oom_score(pod: &Pod, container: &Container, memory: u64) -> i64 {
    let critical = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0) >= 2_000_001_000;
    match qos(pod) {
        _ if critical => -997,
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let asked = request(container.resources.as_ref(), "memory").map_or(0, |q| q.units());
            let score = 1000 - 1000 * asked / i128::from(memory.max(1));
            i64::try_from(score).unwrap_or(3).clamp(3, 999)
        }
    }
}

/// The pod's cgroup below the runtime's root.
pub fn cgroup_parent(pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match qos(pod) {
        Qos::Guaranteed => format!("/kubepods/pod{uid}"),
        Qos::Burstable => format!("/kubepods/burstable/pod{uid}"),
        Qos::BestEffort => format!("/kubepods/besteffort/pod{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(containers: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}})).unwrap()
    }

    #[track_caller]
    fn check(containers: Value, class: Qos, shares: i64, quota: i64, memory: i64, oom: i64) {
        let pod = of(containers);
        let got = container(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30);
        assert_eq!(qos(&pod), class);
        let figures = (got.cpu_shares, got.cpu_quota, got.memory_limit_in_bytes, got.oom_score_adj);
        assert_eq!(figures, (shares, quota, memory, oom));
    }

    #[test]
    fn classes_and_limits() {
        check(json!([{"name": "a"}]), Qos::BestEffort, 2, 0, 0, 1000);
        let both = json!({"cpu": "500m", "memory": "64Mi"});
        check(
            json!([{"name": "a", "resources": {"limits": both, "requests": both}}]),
            Qos::Guaranteed,
            512,
            50_000,
            64 << 20,
            -997,
        );
        check(json!([{"name": "a", "resources": {"limits": both}}]), Qos::Guaranteed, 512, 50_000, 64 << 20, -997);
        check(json!([{"name": "a", "resources": {"requests": {"memory": "512Mi"}}}]), Qos::Burstable, 2, 0, 0, 500);
        check(json!([{"name": "a", "resources": {"limits": {"cpu": "1m"}}}]), Qos::Burstable, 2, 1000, 0, 999);
        check(
            json!([{"name": "a", "resources": {"limits": both}}, {"name": "b"}]),
            Qos::Burstable,
            512,
            50_000,
            64 << 20,
            938,
        );
    }

    #[test]
    fn the_pod_is_limited_only_where_all_are() {
        let one = json!({"limits": {"cpu": "1", "memory": "1Mi"}});
        let all = pod(&of(json!([{"name": "a", "resources": one}, {"name": "b", "resources": one}])));
        assert_eq!((all.cpu_quota, all.memory_limit_in_bytes, all.cpu_shares), (200_000, 2 << 20, 2048));
        let some = pod(&of(json!([{"name": "a", "resources": one}, {"name": "b"}])));
        assert_eq!((some.cpu_quota, some.memory_limit_in_bytes, some.cpu_shares), (0, 0, 1024));
        assert_eq!(cgroup_parent(&of(json!([{"name": "a"}]))), "/kubepods/besteffort/podu");
    }
}
