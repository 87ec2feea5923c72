//! LimitPodHardAntiAffinityTopology: a pod that keeps others away does so from a node, not from a zone.

use crate::{Plugin, Target};
use base::{Result, Status};
use resource::{Attributes, Call};
use schema::Operation;

const NODE: &str = "kubernetes.io/hostname";

pub struct LimitTopology;

impl Plugin for LimitTopology {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("pods", "") && matches!(target.operation, Operation::Create | Operation::Update)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let path = ["spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
        let keys = a.object.items_at(&path).iter().map(|term| term.str_at(&["topologyKey"]));
        match keys.into_iter().find(|key| *key != NODE) {
            None => Ok(()),
            Some(key) => {
                let why = format!(
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {NODE} is allowed"
                );
                Err(Status::forbidden("", "pods", a.object.name(), &why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::{Value, value};

    #[test]
    fn only_nodes_are_kept_clear() {
        let pod = |terms: Value| {
            let mut pod = value!({"metadata": {"name": "p", "namespace": "dev"}});
            pod.set(&["spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"], terms);
            Case::default().create("", "pods", pod)
        };
        check(&LimitTopology, pod(value!([])), "ok");
        check(&LimitTopology, pod(value!([{"topologyKey": "kubernetes.io/hostname"}])), "ok");
        check(
            &LimitTopology,
            pod(value!([{"topologyKey": "kubernetes.io/hostname"}, {"topologyKey": "zone"}])),
            "403 pods \"p\" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed",
        );
    }
}
