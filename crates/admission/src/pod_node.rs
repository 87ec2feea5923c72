//! What a pod takes from its node: PodTopologyLabels gives it the node's zone and region when it is bound, and
//! PodResizeValidator refuses a resize that the node could never hold. Source: upstream's plugins of these names, KEP-4742
//! and KEP-1287.

use crate::{Plugin, Target, plugin::forbid};
use base::{Result, quantity::Quantity};
use quota::{Amounts, pod};
use resource::{Attributes, Call};
use schema::Operation;
use std::sync::Arc;
use value::{Object, Value};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub struct TopologyLabels;
pub struct Resize;

impl Plugin for TopologyLabels {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.operation == Operation::Create && (target.is("pods", "") || target.is("pods", "binding"))
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        // The labels of a binding become those of the pod.
        let node = match a.call.subresource.as_deref() {
            Some(_) if a.object.str_at(&["target", "kind"]) != "Node" => "",
            Some(_) => a.object.str_at(&["target", "name"]),
            None => a.object.str_at(&["spec", "nodeName"]),
        };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = node_of(a, node) else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = node.meta.label(label) {
                a.object.set(&["metadata", "labels", label], value);
            }
        }
        Ok(())
    }
}

impl Plugin for Resize {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.operation == Operation::Update && target.is("pods", "resize")
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let name = a.object.str_at(&["spec", "nodeName"]);
        if name.is_empty() || a.old.is_some_and(|old| old.at(&["spec"]) == a.object.at(&["spec"])) {
            return Ok(());
        }
        let Some(node) = node_of(a, name) else { return Err(forbid(a, format!("node \"{name}\" not found"))) };
        if let Some(system) = node.meta.label("kubernetes.io/os").filter(|system| *system != "linux") {
            let why = format!("pod resize is only supported on linux nodes, node \"{name}\" is \"{system}\"");
            return Err(forbid(a, why).with_cause("UnsupportedPlatform", ""));
        }
        let missing = missing(&a.object, &node.tree());
        if missing.is_empty() {
            return Ok(());
        }
        let why = format!("node didn't have enough allocatable resources: {}", missing.join("; "));
        Err(forbid(a, why).with_cause("NodeCapacity", ""))
    }
}

fn node_of(a: &Attributes<'_>, name: &str) -> Option<Arc<Object>> {
    a.view.get("", "nodes", "", name)
}

/// What the whole node has too little of.
fn missing(asking: &Value, node: &Value) -> Vec<String> {
    let (asked, has) = (pod::requests_with_overhead(asking), Amounts::of(node.at(&["status", "allocatable"])));
    let mut told = Vec::new();
    let mut compare = |name: &str, count: fn(Quantity) -> i128| {
        let (asked, has) = (asked.get(name).unwrap_or_default(), has.get(name).unwrap_or_default());
        if asked > has {
            told.push(format!("{name}, requested: {}, allocatable: {}", count(asked), count(has)));
        }
    };
    compare("cpu", |amount| amount.milli());
    compare("memory", |amount| amount.units());
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};
    use value::value;

    fn case() -> Case {
        Case::default().with(
            "nodes",
            value!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z", "other": "o"}},
                "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}}),
        )
    }

    fn pod(cpu: &str, node: &str) -> Value {
        value!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {"nodeName": node, "containers": [
            {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]}})
    }

    #[test]
    fn a_pod_is_told_its_zone() {
        let given = object_of(&TopologyLabels, case().create("", "pods", pod("1", "n")));
        assert_eq!(given.at(&["metadata", "labels"]), &value!({"topology.kubernetes.io/zone": "z"}));
        let waiting = object_of(&TopologyLabels, case().create("", "pods", pod("1", "")));
        assert!(waiting.at(&["metadata", "labels"]).is_null());
    }

    #[test]
    fn a_resize_must_fit_the_node() {
        let resize = |cpu: &str, node: &str| case().update("", "pods", "resize", pod(cpu, node), pod("1", node));
        check(&Resize, resize("2", "n"), "ok");
        check(
            &Resize,
            resize("2500m", "n"),
            "403 pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000",
        );
        check(&Resize, resize("2", "gone"), "403 pods \"p\" is forbidden: node \"gone\" not found");
        check(&Resize, resize("1", "gone"), "ok");
    }
}
