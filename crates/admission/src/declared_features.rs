//! NodeDeclaredFeatureValidator: a pod is changed only into what its node has said that it can do (KEP-5328). Source:
//! `component-helpers/nodedeclaredfeatures`; of the features that nodes declare in 1.36, two bear on changes.

use crate::{Plugin, Target, plugin::forbid};
use base::Result;
use resource::{Attributes, Call};
use schema::Operation;
use value::Value;

/// Resources of the pod as a whole are resized.
const POD_LEVEL: &str = "InPlacePodLevelResourcesVerticalScaling";
/// Resources of init containers that end are resized.
const INIT: &str = "InPlacePodVerticalScalingInitContainers";

pub struct DeclaredFeatures;

impl Plugin for DeclaredFeatures {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.operation == Operation::Update && (target.is("pods", "") || target.is("pods", "resize"))
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let name = a.object.str_at(&["spec", "nodeName"]);
        let Some(old) = a.old.filter(|_| !name.is_empty()) else { return Ok(()) };
        let needed = needed(&a.object, old);
        if needed.is_empty() {
            return Ok(());
        }
        let Some(node) = a.view.get("", "nodes", "", name) else {
            return Err(forbid(a, format!("node {name:?} not found")));
        };
        let tree = node.tree();
        let declared = tree.items_at(&["status", "declaredFeatures"]);
        let has = |feature: &&&str| declared.iter().any(|own| own.as_str() == Some(**feature));
        let missing: Vec<&str> = needed.iter().filter(|feature| !has(feature)).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        Err(forbid(a, format!("pod update requires features {missing} which are not available on node {name:?}")))
    }
}

/// Sorted by name.
fn needed(pod: &Value, old: &Value) -> Vec<&'static str> {
    let list = |pod: &Value| -> Vec<(bool, Value)> {
        let containers = pod.items_at(&["spec", "initContainers"]).iter();
        let of = |c: &Value| (c.str_at(&["restartPolicy"]) == "Always", quantities(c.at(&["resources"])));
        containers.map(of).collect()
    };
    let mut needed = Vec::new();
    if quantities(pod.at(&["spec", "resources"])) != quantities(old.at(&["spec", "resources"])) {
        needed.push(POD_LEVEL);
    }
    let (new, old) = (list(pod), list(old));
    if old.iter().zip(&new).any(|((sidecar, before), (_, after))| !sidecar && before != after) {
        needed.push(INIT);
    }
    needed
}

/// Without what says nothing: an absent list is as good as an empty one.
fn quantities(resources: &Value) -> Value {
    let mut told = Value::object();
    for (name, value) in resources.members_at(&[]) {
        let empty = match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            other => other.is_null(),
        };
        if !empty {
            told.set(&[name], value.clone());
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::value;

    fn pod(whole: &str, init: &str, sidecar: &str) -> Value {
        let of = |cpu: &str| value!({"requests": {"cpu": cpu}});
        value!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {"nodeName": "n", "resources": (of(whole)),
            "initContainers": [{"name": "i", "resources": (of(init))},
                {"name": "s", "restartPolicy": "Always", "resources": (of(sidecar))}]}})
    }

    #[test]
    fn a_node_says_what_it_can() {
        let refused = |features: &str| {
            format!(
                "403 pods \"p\" is forbidden: pod update requires features {features} which are not available on node \"n\""
            )
        };
        for (declared, new, want) in [
            (value!([]), pod("1", "1", "1"), "ok".to_string()),
            (value!([]), pod("1", "1", "2"), "ok".into()),
            (value!([]), pod("2", "1", "1"), refused(POD_LEVEL)),
            (value!([POD_LEVEL]), pod("2", "1", "1"), "ok".into()),
            (value!([]), pod("2", "2", "1"), refused(&format!("{POD_LEVEL}, {INIT}"))),
            (value!([POD_LEVEL]), pod("2", "2", "1"), refused(INIT)),
        ] {
            let node = value!({"metadata": {"name": "n"}, "status": {"declaredFeatures": declared}});
            let case = Case::default().with("nodes", node);
            check(&DeclaredFeatures, case.update("", "pods", "resize", new, pod("1", "1", "1")), &want);
        }
        check(
            &DeclaredFeatures,
            Case::default().update("", "pods", "resize", pod("2", "1", "1"), pod("1", "1", "1")),
            "403 pods \"p\" is forbidden: node \"n\" not found",
        );
    }
}
