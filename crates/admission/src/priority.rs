//! Priority: a pod's class becomes its number.

use crate::{Plugin, Target, plugin::forbid};
use base::Result;
use resource::{Attributes, Call};
use schema::{Operation, View};
use value::Value;

const GROUP: &str = "scheduling.k8s.io";
/// Classes that exist whether or not their objects do.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub struct Priority;

impl Plugin for Priority {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        let class = target.group == GROUP && target.plural == "priorityclasses";
        let pod = target.is("pods", "");
        (pod && target.operation == Operation::Create)
            || (class && matches!(target.operation, Operation::Create | Operation::Update))
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if a.call.kind.plural != "pods" {
            return Ok(());
        }
        let name = a.object.str_at(&["spec", "priorityClassName"]).to_string();
        let found = if name.is_empty() { default_class(a.view) } else { class(a.view, &name) };
        let Some(Class { name, priority, preemption }) = found else {
            return Err(forbid(a, format!("no PriorityClass with name {name} was found")));
        };
        let given = a.object.at(&["spec", "priority"]).as_i64();
        if let Some(given) = given.filter(|given| *given != priority) {
            return Err(forbid(
                a,
                format!(
                    "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
                ),
            ));
        }
        let given = a.object.str_at(&["spec", "preemptionPolicy"]);
        if !given.is_empty() && given != preemption {
            return Err(forbid(
                a,
                format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {preemption} from the given PriorityClass name"
                ),
            ));
        }
        if !name.is_empty() {
            a.object.set(&["spec", "priorityClassName"], name);
        }
        a.object.set(&["spec", "priority"], priority);
        a.object.set(&["spec", "preemptionPolicy"], preemption);
        Ok(())
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if a.call.kind.plural != "priorityclasses" || a.object.at(&["globalDefault"]).as_bool() != Some(true) {
            return Ok(());
        }
        let other = a
            .view
            .list(GROUP, "priorityclasses", None)
            .into_iter()
            .find(|o| o.name() != a.object.name() && o.value().at(&["globalDefault"]).as_bool() == Some(true));
        match other {
            Some(other) => {
                let why =
                    format!("PriorityClass {} is already marked as default. Only one default can exist", other.name());
                Err(forbid(a, why))
            }
            None => Ok(()),
        }
    }
}

struct Class {
    name: String,
    priority: i64,
    preemption: String,
}

impl Class {
    fn of(object: &Value) -> Self {
        let preemption = match object.str_at(&["preemptionPolicy"]) {
            "" => "PreemptLowerPriority",
            policy => policy,
        };
        Class {
            name: object.name().into(),
            priority: object.at(&["value"]).as_i64().unwrap_or(0),
            preemption: preemption.into(),
        }
    }
}

fn class(view: &dyn View, name: &str) -> Option<Class> {
    if let Some(object) = view.get(GROUP, "priorityclasses", "", name) {
        return Some(Class::of(&object.value()));
    }
    let (name, priority) = SYSTEM.into_iter().find(|(system, _)| *system == name)?;
    Some(Class { name: name.into(), priority, preemption: "PreemptLowerPriority".into() })
}

/// The default class with the lowest value, or no class at all.
fn default_class(view: &dyn View) -> Option<Class> {
    let classes = view.list(GROUP, "priorityclasses", None).into_iter().map(|o| o.value());
    let defaults = classes.filter(|c| c.at(&["globalDefault"]).as_bool() == Some(true));
    let lowest = defaults.map(|c| Class::of(&c)).min_by_key(|c| c.priority);
    Some(lowest.unwrap_or(Class { name: String::new(), priority: 0, preemption: "PreemptLowerPriority".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};
    use value::value;

    fn pod(spec: Value) -> Case {
        let mut pod = value!({"metadata": {"name": "p", "namespace": "d"}});
        pod.set(&["spec"], spec);
        Case::default()
            .with("priorityclasses", value!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}))
            .with("priorityclasses", value!({"metadata": {"name": "usual"}, "value": 5, "globalDefault": true}))
            .create("", "pods", pod)
    }

    #[test]
    fn classes_become_numbers() {
        for (spec, want) in [
            (value!({}), r#"{"preemptionPolicy":"PreemptLowerPriority","priority":5,"priorityClassName":"usual"}"#),
            (
                value!({"priorityClassName": "high"}),
                r#"{"preemptionPolicy":"Never","priority":1000,"priorityClassName":"high"}"#,
            ),
            (
                value!({"priorityClassName": "system-node-critical"}),
                r#"{"preemptionPolicy":"PreemptLowerPriority","priority":2000001000,"priorityClassName":"system-node-critical"}"#,
            ),
        ] {
            assert_eq!(object_of(&Priority, pod(spec)).at(&["spec"]).to_string(), want);
        }
        check(
            &Priority,
            pod(value!({"priorityClassName": "none"})),
            r#"403 pods "p" is forbidden: no PriorityClass with name none was found"#,
        );
        assert!(crate::testing::run(&Priority, pod(value!({"priority": 7}))).contains("must not be provided"));
    }
}
