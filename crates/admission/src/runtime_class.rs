//! RuntimeClass: a pod's class says what a sandbox costs beside its containers, and where it may run (KEP-585, KEP-688).

use crate::{Plugin, Target, plugin::forbid};
use base::Result;
use quota::Amounts;
use resource::{Attributes, Call};
use schema::Operation;
use value::Value;

pub struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("pods", "") && target.operation == Operation::Create
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let Some(class) = class_of(a)? else { return Ok(()) };
        let fixed = class.at(&["overhead", "podFixed"]);
        if class.get("overhead").is_some() {
            let own = Amounts::of(a.object.at(&["spec", "overhead"]));
            if !own.is_empty() && own != Amounts::of(fixed) {
                return Err(mismatch(a));
            }
            a.object.set(&["spec", "overhead"], fixed.clone());
        }
        for (key, value) in class.members_at(&["scheduling", "nodeSelector"]) {
            let own = a.object.at(&["spec", "nodeSelector"]).get(key);
            if let Some(own) = own.filter(|own| *own != value) {
                let (wanted, own) = (value.as_str().unwrap_or(""), own.as_str().unwrap_or(""));
                return Err(forbid(
                    a,
                    format!(
                        "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
                    ),
                ));
            }
            a.object.set(&["spec", "nodeSelector", key], value.clone());
        }
        for toleration in class.items_at(&["scheduling", "tolerations"]) {
            match a.object.at_mut(&["spec", "tolerations"]) {
                Value::Array(own) if own.contains(toleration) => {}
                Value::Array(own) => own.push(toleration.clone()),
                other => *other = Value::Array(vec![toleration.clone()]),
            }
        }
        Ok(())
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let own = a.object.at(&["spec", "overhead"]);
        match class_of(a)?.filter(|class| class.get("overhead").is_some()) {
            Some(class) if Amounts::of(own) != Amounts::of(class.at(&["overhead", "podFixed"])) => Err(mismatch(a)),
            None if !own.is_null() => {
                Err(forbid(a, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
            }
            _ => Ok(()),
        }
    }
}

fn class_of(a: &Attributes<'_>) -> Result<Option<Value>> {
    let Some(name) = a.object.at(&["spec", "runtimeClassName"]).as_str() else { return Ok(None) };
    match a.view.get("node.k8s.io", "runtimeclasses", "", name) {
        Some(class) => Ok(Some(class.value())),
        None => Err(forbid(a, format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

fn mismatch(a: &Attributes<'_>) -> base::Status {
    forbid(a, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};
    use value::value;

    fn pod(spec: Value) -> Case {
        let class = value!({"metadata": {"name": "heavy"}, "handler": "h", "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
        let mut pod = value!({"metadata": {"name": "p", "namespace": "dev"}});
        pod.set(&["spec"], spec);
        Case::default().with("runtimeclasses", class).create("", "pods", pod)
    }

    #[test]
    fn a_class_says_cost_and_place() {
        let given =
            object_of(&RuntimeClass, pod(value!({"runtimeClassName": "heavy", "nodeSelector": {"disk": "ssd"}})));
        assert_eq!(given.at(&["spec", "overhead"]), &value!({"cpu": "250m"}));
        assert_eq!(given.at(&["spec", "nodeSelector"]), &value!({"disk": "ssd", "vm": "yes"}));
        assert_eq!(given.items_at(&["spec", "tolerations"]).len(), 1);
    }

    #[test]
    fn what_is_refused() {
        for (spec, want) in [
            (value!({}), "ok"),
            (value!({"runtimeClassName": "none"}), "pod rejected: RuntimeClass \"none\" not found"),
            (
                value!({"runtimeClassName": "heavy", "overhead": {"cpu": "1"}}),
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (
                value!({"overhead": {"cpu": "1"}}),
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
            (
                value!({"runtimeClassName": "heavy", "nodeSelector": {"vm": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
            ),
        ] {
            let want = if want == "ok" { want.into() } else { format!("403 pods \"p\" is forbidden: {want}") };
            check(&RuntimeClass, pod(spec), &want);
        }
    }
}
