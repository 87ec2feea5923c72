//! What a pod asks for altogether.
//!
//! Containers run beside each other, init containers one after the other before them, and restartable init containers
//! (sidecars) beside all that come later. Source: KEP-753; KEP-2837 for resources of the pod itself; KEP-1287 for what a
//! pod still holds while it is resized.

use crate::Amounts;
use value::Value;

/// Requests of the pod's containers, without its overhead.
pub fn requests(pod: &Value) -> Amounts {
    let mut sum = of_containers(pod, "requests");
    own(pod, "requests", &mut sum);
    sum
}

/// Limits of the pod's containers, without its overhead.
pub fn limits(pod: &Value) -> Amounts {
    let mut sum = of_containers(pod, "limits");
    own(pod, "limits", &mut sum);
    sum
}

/// Requests with the overhead of the pod's RuntimeClass, as the scheduler and quotas count them.
pub fn requests_with_overhead(pod: &Value) -> Amounts {
    let mut sum = requests(pod);
    sum.add(&Amounts::of(pod.at(&["spec", "overhead"])));
    sum
}

/// Limits with the overhead, which counts only where there is a limit.
pub fn limits_with_overhead(pod: &Value) -> Amounts {
    let mut sum = limits(pod);
    let overhead = Amounts::of(pod.at(&["spec", "overhead"])).only(|name| sum.get(name).is_some_and(|l| !l.is_zero()));
    sum.add(&overhead);
    sum
}

/// Whether no container asks for processor or memory (the QoS class BestEffort).
pub fn is_best_effort(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"].into_iter().flat_map(|list| pod.items_at(&["spec", list]));
    let resources = lists.map(|container| container.at(&["resources"])).chain([pod.at(&["spec", "resources"])]);
    let mut asked = resources.flat_map(|r| ["requests", "limits"].map(|of| Amounts::of(r.at(&[of]))));
    !asked.any(|list| ["cpu", "memory"].into_iter().any(|name| list.get(name).is_some_and(|a| !a.is_zero())))
}

/// Whether resources are set for the pod as a whole.
pub fn has_own_resources(pod: &Value) -> bool {
    ["requests", "limits"]
        .into_iter()
        .any(|of| pod.members_at(&["spec", "resources", of]).any(|(name, _)| pod_level(name)))
}

fn of_containers(pod: &Value, of: &str) -> Amounts {
    let mut sum = Amounts::default();
    for container in pod.items_at(&["spec", "containers"]) {
        sum.add(&held(pod, container, "containerStatuses", of));
    }
    let (mut sidecars, mut largest) = (Amounts::default(), Amounts::default());
    for container in pod.items_at(&["spec", "initContainers"]) {
        let mut step = held(pod, container, "initContainerStatuses", of);
        if container.str_at(&["restartPolicy"]) == "Always" {
            sum.add(&step);
            sidecars.add(&step);
            step = sidecars.clone();
        } else {
            step.add(&sidecars);
        }
        largest.max(&step);
    }
    sum.max(&largest);
    sum
}

/// What a container asks for, or still holds where it was asked to shrink.
fn held(pod: &Value, container: &Value, statuses: &str, of: &str) -> Amounts {
    let mut amounts = Amounts::of(container.at(&["resources", of]));
    let name = container.str_at(&["name"]);
    let status = pod.items_at(&["status", statuses]).iter().find(|status| status.str_at(&["name"]) == name);
    if let Some(status) = status {
        let asked = amounts.clone();
        let known = |list: &Value| Amounts::of(list).only(|name| asked.get(name).is_some());
        amounts.max(&known(status.at(&["resources", of])));
        if of == "requests" {
            amounts.max(&known(status.at(&["allocatedResources"])));
        }
    }
    amounts
}

/// What is set for the pod as a whole stands in place of the sum.
fn own(pod: &Value, of: &str, sum: &mut Amounts) {
    for (name, amount) in Amounts::of(pod.at(&["spec", "resources", of])).iter().filter(|(name, _)| pod_level(name)) {
        sum.set(name, amount);
    }
}

fn pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn what_a_pod_asks_for() {
        let asks = |cpu: &str| value!({"name": cpu, "resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| {
            let mut container = asks(cpu);
            container.set(&["restartPolicy"], "Always");
            container
        };
        for (spec, want) in [
            (value!({"containers": [asks("1"), asks("500m")]}), "cpu=1500m"),
            (value!({"containers": [asks("1")], "initContainers": [asks("3"), asks("2")]}), "cpu=3"),
            (value!({"containers": [asks("1")], "initContainers": [sidecar("1"), asks("3")]}), "cpu=4"),
            (value!({"containers": [asks("1")], "initContainers": [asks("3"), sidecar("1")]}), "cpu=3"),
            (value!({"containers": [asks("1")], "resources": {"requests": {"cpu": "5"}}}), "cpu=5"),
            (value!({"containers": [{"name": "c"}]}), ""),
        ] {
            assert_eq!(requests(&value!({"spec": spec})).to_string(), want);
        }
    }

    #[test]
    fn what_shrinks_is_held_until_it_is_given_back() {
        let pod = value!({
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "overhead": {"cpu": "250m"}},
            "status": {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2", "memory": "1Gi"}}]},
        });
        assert_eq!(requests(&pod).to_string(), "cpu=2");
        assert_eq!(requests_with_overhead(&pod).to_string(), "cpu=2250m");
        assert_eq!(limits_with_overhead(&pod).to_string(), "");
    }
}
