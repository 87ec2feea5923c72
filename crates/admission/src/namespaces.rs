//! NamespaceExists: nothing is written into a namespace that is not there. NamespaceAutoProvision, which makes it: the only
//! plugin that writes, so it is no [`Plugin`] but a step of the chain.

use crate::{Plugin, Target, plugin::forbid};
use base::{Reason, Result, Status, User};
use resource::{Attributes, Body, Call, Engine, WriteOptions};
use schema::Operation;
use std::sync::Arc;
use value::value;

pub struct NamespaceExists;

impl Plugin for NamespaceExists {
    fn applies(&self, call: &Call, target: Target<'_>) -> bool {
        call.kind.namespaced() && target.operation != Operation::Connect
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        match a.view.get("", "namespaces", "", &a.call.namespace) {
            Some(_) => Ok(()),
            None => Err(Status::not_found("", "namespaces", &a.call.namespace)),
        }
    }
}

/// The namespace that a creation needs and that is not there.
pub fn wanted(call: &Call, operation: Operation) -> bool {
    operation == Operation::Create && call.kind.namespaced()
}

/// Makes the namespace of a creation, as the server itself.
pub async fn provide(engine: Option<Arc<Engine>>, a: &Attributes<'_>) -> Result<()> {
    let name = &a.call.namespace;
    if a.options.dry_run || !wanted(a.call, a.operation) || a.view.get("", "namespaces", "", name).is_some() {
        return Ok(());
    }
    let engine = engine.ok_or_else(|| forbid(a, "not yet ready to handle request"))?;
    let Some(found) = engine.catalog().resolve("", "v1", "namespaces") else { return Ok(()) };
    let call = Call {
        user: Arc::new(User::master("system:apiserver")),
        kind: found.kind,
        version: found.version,
        namespace: "".into(),
        name: "".into(),
        subresource: None,
    };
    let namespace = value!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": (name.as_str())}});
    match engine.create(&call, Body::from(namespace), &WriteOptions::default()).await {
        Ok(_) => Ok(()),
        Err(status) if status.is(Reason::AlreadyExists) => Ok(()),
        Err(status) => Err(forbid(a, status.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check};

    #[test]
    fn a_namespace_must_be_there() {
        let map = |namespace: &str| value!({"metadata": {"name": "m", "namespace": namespace}});
        let world = || Case::default().with("namespaces", value!({"metadata": {"name": "dev"}}));
        check(&NamespaceExists, world().create("", "configmaps", map("dev")), "ok");
        check(&NamespaceExists, world().create("", "configmaps", map("none")), "404 namespaces \"none\" not found");
        check(&NamespaceExists, world().delete("", "configmaps", map("none")), "404 namespaces \"none\" not found");
        check(&NamespaceExists, world().create("", "nodes", value!({"metadata": {"name": "n"}})), "ok");
    }
}
