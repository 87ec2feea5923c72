//! NamespaceLifecycle: objects need their namespace, a namespace that goes takes no new ones, some may never go.

use crate::{Plugin, Target, plugin::forbid};
use base::{Reason, Result, Status};
use resource::{Attributes, Call};
use schema::Operation;

/// Source: `plugin/pkg/admission/namespace/lifecycle` with the set that the server gives it.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn applies(&self, call: &Call, target: Target<'_>) -> bool {
        match target.operation {
            Operation::Create | Operation::Update => call.kind.namespaced(),
            Operation::Delete => target.is("namespaces", ""),
            Operation::Connect => false,
        }
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if a.operation == Operation::Delete {
            return match IMMORTAL.contains(&a.name.as_str()) {
                true => Err(forbid(a, "this namespace may not be deleted")),
                false => Ok(()),
            };
        }
        let namespace = match a.call.namespace.as_str() {
            "" => a.object.namespace(),
            namespace => namespace,
        };
        let Some(object) = a.view.get("", "namespaces", "", namespace) else {
            return Err(Status::not_found("", "namespaces", namespace));
        };
        if a.operation == Operation::Create && object.meta.deleting && a.call.subresource.is_none() {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            return Err(terminating(forbid(a, why), namespace));
        }
        Ok(())
    }
}

/// Clients look for the cause.
fn terminating(status: Status, namespace: &str) -> Status {
    let mut json = status.to_json();
    if let Some(details) = json.get_mut("details").and_then(|d| d.as_object_mut()) {
        let mut cause = details.clone();
        cause.clear();
        cause.insert("reason".into(), "NamespaceTerminating".into());
        cause.insert("message".into(), format!("namespace {namespace} is being terminated").into());
        cause.insert("field".into(), "metadata.namespace".into());
        details.insert("causes".into(), vec![cause].into());
    }
    Status::from_json(&json).unwrap_or_else(|| Status::new(Reason::Forbidden, "namespace is being terminated"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};
    use value::value;

    #[test]
    fn namespaces_rule_their_content() {
        let world = || {
            Case::default()
                .with("namespaces", value!({"metadata": {"name": "dev"}}))
                .with("namespaces", value!({"metadata": {"name": "gone", "deletionTimestamp": "2026-01-01T00:00:00Z"}}))
        };
        let in_namespace =
            |ns: &str| world().create("", "configmaps", value!({"metadata": {"name": "c", "namespace": ns}}));
        check(&NamespaceLifecycle, in_namespace("dev"), "ok");
        check(&NamespaceLifecycle, in_namespace("none"), r#"404 namespaces "none" not found"#);
        check(
            &NamespaceLifecycle,
            in_namespace("gone"),
            r#"403 configmaps "c" is forbidden: unable to create new content in namespace gone because it is being terminated"#,
        );
        let delete = |name: &str| world().delete("", "namespaces", value!({"metadata": {"name": name}}));
        check(&NamespaceLifecycle, delete("dev"), "ok");
        check(
            &NamespaceLifecycle,
            delete("default"),
            r#"403 namespaces "default" is forbidden: this namespace may not be deleted"#,
        );
    }
}
