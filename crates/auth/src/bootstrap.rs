//! Makes sure that the bootstrap policy exists, at every start of the server.
//!
//! As upstream: what is missing is created; rules and subjects that are missing from an object are added, unless its
//! autoupdate annotation says `false`; what an administrator added stays.

use crate::{
    Rule, authorizer, escalation,
    policy::{self, Wanted},
};
use base::{Reason, Result};
use resource::{Body, Engine, WriteOptions};
use std::sync::Arc;
use tokio::task::JoinSet;
use value::Value;

const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Creates and repairs the objects of the bootstrap policy. The namespaces `kube-system` and `kube-public` must exist.
pub async fn ensure_bootstrap(engine: &Arc<Engine>) -> Result<()> {
    let mut writes = JoinSet::new();
    for wanted in policy::bootstrap_objects() {
        let object = &wanted.object;
        let present = engine.view().get("rbac.authorization.k8s.io", wanted.plural, object.namespace(), object.name());
        match present.map(|o| o.value()) {
            None => drop(writes.spawn(write(engine.clone(), wanted, true))),
            Some(present) => {
                if let Some(object) = repaired(&present, object) {
                    writes.spawn(write(engine.clone(), Wanted { object, ..wanted }, false));
                }
            }
        }
    }
    // Concurrent, so that the store commits them together.
    while let Some(done) = writes.join_next().await {
        done.map_err(base::Status::internal)??;
    }
    Ok(())
}

async fn write(engine: Arc<Engine>, wanted: Wanted, create: bool) -> Result<()> {
    let (namespace, name) = (wanted.object.namespace().to_string(), wanted.object.name().to_string());
    let in_path = if create { "" } else { &name };
    let Some(call) = authorizer::call(&engine, wanted.plural, &namespace, in_path) else { return Ok(()) };
    let (body, options) = (Body::from(wanted.object), WriteOptions::default());
    let done = match create {
        true => engine.create(&call, body, &options).await,
        false => engine.update(&call, body, &options).await,
    };
    match done {
        // Another server of the same cluster was faster.
        Err(e) if e.is(Reason::AlreadyExists) || e.is(Reason::Conflict) => Ok(()),
        other => other.map(drop),
    }
}

/// The object with what it lacks; `None` where it lacks nothing or may not be touched.
fn repaired(present: &Value, wanted: &Value) -> Option<Value> {
    if present.str_at(&["metadata", "annotations", AUTO_UPDATE]) == "false" {
        return None;
    }
    let mut out = present.clone();
    let mut changed = false;
    // Gathered rules are written by the aggregation.
    if present.at(&["aggregationRule"]).is_null() {
        let held = Rule::list(present);
        for rule in wanted.items_at(&["rules"]) {
            if !escalation::missing(&held, &[Rule::of(rule)]).is_empty() {
                push(&mut out, "rules", rule);
                changed = true;
            }
        }
    }
    for subject in wanted.items_at(&["subjects"]) {
        let same = |s: &Value| ["kind", "name", "namespace"].iter().all(|key| s.at(&[key]) == subject.at(&[key]));
        if !present.items_at(&["subjects"]).iter().any(same) {
            push(&mut out, "subjects", subject);
            changed = true;
        }
    }
    changed.then_some(out)
}

fn push(object: &mut Value, list: &str, item: &Value) {
    let at = object.at_mut(&[list]);
    match at {
        Value::Array(items) => items.push(item.clone()),
        other => *other = Value::Array(vec![item.clone()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn what_is_missing_is_added_and_the_rest_stays() {
        let rule = |verbs: &[&str]| value!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]});
        let wanted = value!({"rules": [rule(&["get"])], "subjects": [{"kind": "User", "name": "a"}]});
        let own = value!({"rules": [rule(&["delete"])], "subjects": [{"kind": "User", "name": "b"}]});
        let repaired_own = repaired(&own, &wanted).unwrap();
        assert_eq!(repaired_own.items_at(&["rules"]), [rule(&["delete"]), rule(&["get"])]);
        assert_eq!(repaired_own.items_at(&["subjects"]).len(), 2);
        assert_eq!(repaired(&repaired_own, &wanted), None);
        let mut locked = own.clone();
        locked.set(&["metadata", "annotations", AUTO_UPDATE], "false");
        assert_eq!(repaired(&locked, &wanted), None);
    }
}
