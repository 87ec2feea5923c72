//! PodNodeSelector: a namespace's pods run on its nodes. The namespace says which by an annotation, or the operator says it
//! for all namespaces; a list per namespace says what its pods may ask for at all.

use crate::{Plugin, Target};
use base::{Result, Status, names};
use resource::{Attributes, Call};
use schema::Operation;
use std::collections::BTreeMap;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// The entry for namespaces without the annotation.
const OTHERS: &str = "clusterDefaultNodeSelector";

/// Selectors by namespace, as they are written: `zone=a,disk=ssd`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodNodeSelector(pub BTreeMap<String, String>);

type Labels = BTreeMap<String, String>;

impl Plugin for PodNodeSelector {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("pods", "") && target.operation == Operation::Create
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let own = self.of_namespace(a)?;
        agree(a, &own)?;
        for (key, value) in own {
            a.object.set(&["spec", "nodeSelector", &key], value);
        }
        self.validate(a)
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        agree(a, &self.of_namespace(a)?)?;
        let allowed = labels(self.0.get(a.call.namespace.as_str()).map_or("", String::as_str))?;
        let mut asked = a.object.members_at(&["spec", "nodeSelector"]);
        if allowed.is_empty() || asked.all(|(key, value)| allowed.get(key).map(String::as_str) == value.as_str()) {
            return Ok(());
        }
        let why = "pod node label selector labels conflict with its namespace whitelist";
        Err(Status::forbidden("", "pods", a.object.name(), why))
    }
}

impl PodNodeSelector {
    fn of_namespace(&self, a: &Attributes<'_>) -> Result<Labels> {
        let name = a.call.namespace.as_str();
        let Some(namespace) = a.view.get("", "namespaces", "", name) else {
            return Err(Status::internal(format!("namespace {name} does not exist")));
        };
        match namespace.tree().at(&["metadata", "annotations", ANNOTATION]).as_str() {
            Some(own) => labels(own),
            None => labels(self.0.get(OTHERS).map_or("", String::as_str)),
        }
    }
}

fn agree(a: &Attributes<'_>, own: &Labels) -> Result<()> {
    let other = |(key, value): (&String, &String)| {
        a.object.at(&["spec", "nodeSelector", key]).as_str().is_some_and(|asked| asked != value)
    };
    if own.iter().any(other) {
        let why = "pod node label selector conflicts with its namespace node label selector";
        return Err(Status::forbidden("", "pods", a.object.name(), why));
    }
    Ok(())
}

/// `a=b,c=d`
fn labels(selector: &str) -> Result<Labels> {
    let mut labels = Labels::new();
    if selector.is_empty() {
        return Ok(labels);
    }
    for part in selector.split(',') {
        let sides: Vec<&str> = part.split('=').collect();
        let &[key, value] = sides.as_slice() else {
            return Err(Status::plain(format!("invalid selector: [{}]", sides.join(" "))));
        };
        let (key, value) = (key.trim(), value.trim());
        let invalid = |of: &str, why: String| Status::plain(format!("<nil>: Invalid value: {of:?}: {why}"));
        names::qualified_name(key).map_err(|why| invalid(key, why))?;
        names::label_value(value).map_err(|why| invalid(value, why))?;
        labels.insert(key.into(), value.into());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};
    use value::{Value, value};

    fn case(annotation: Option<&str>, selector: Value) -> Case {
        let mut namespace = value!({"metadata": {"name": "dev"}});
        if let Some(text) = annotation {
            namespace.set(&["metadata", "annotations", ANNOTATION], text);
        }
        let pod = value!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {"nodeSelector": selector}});
        Case::default().with("namespaces", namespace).create("", "pods", pod)
    }

    #[test]
    fn pods_go_where_their_namespace_says() {
        let entries =
            |list: &[(&str, &str)]| PodNodeSelector(list.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
        let plugin = entries(&[(OTHERS, "zone=a"), ("dev", "zone=a,disk=ssd")]);
        for (annotation, own, want) in [
            (None, value!({}), value!({"zone": "a"})),
            (None, value!({"disk": "ssd"}), value!({"disk": "ssd", "zone": "a"})),
            (Some(""), value!({"disk": "ssd"}), value!({"disk": "ssd"})),
            (Some("disk = ssd"), value!({}), value!({"disk": "ssd"})),
        ] {
            assert_eq!(object_of(&plugin, case(annotation, own)).at(&["spec", "nodeSelector"]), &want);
        }
        for (annotation, own, want) in [
            (
                None,
                value!({"zone": "b"}),
                "403 pods \"p\" is forbidden: pod node label selector conflicts with its namespace node label selector",
            ),
            (
                None,
                value!({"cpu": "fast"}),
                "403 pods \"p\" is forbidden: pod node label selector labels conflict with its namespace whitelist",
            ),
            (
                Some("zone=b"),
                value!({}),
                "403 pods \"p\" is forbidden: pod node label selector labels conflict with its namespace whitelist",
            ),
            (Some("zone"), value!({}), "500 invalid selector: [zone]"),
        ] {
            check(&plugin, case(annotation, own), want);
        }
        check(&entries(&[]), case(None, value!({"zone": "b"})), "ok");
    }
}
