//! Bodies that act on a pod: a Binding gives it a node, an Eviction deletes it.

use crate::policy::eviction;
use base::{FieldErrors, Reason, Result, Status, time};
use schema::{ActOutcome, Context};
use value::{Value, value};

/// `pods/binding`: sets the node, once.
pub fn bind(cx: &Context, body: &Value, pod: &mut Value) -> Result<ActOutcome> {
    let name = pod.name().to_string();
    check_name(body, &name, "Binding")?;
    let mut errors = FieldErrors::default();
    let kind = body.str_at(&["target", "kind"]);
    if !["", "Node"].contains(&kind) {
        errors.not_supported("target.kind", kind, &["Node", "<empty>"]);
    }
    let node = body.str_at(&["target", "name"]);
    if node.is_empty() {
        errors.required("target.name", "");
    }
    if !errors.is_empty() {
        // No Status: upstream hands the errors themselves on.
        return Err(Status::plain(errors.aggregate()));
    }
    let conflict = |why: String| Err(Status::conflict("", "pods/binding", &name, &why));
    for (field, word) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (want, have) = (body.str_at(&["metadata", field]), pod.str_at(&["metadata", field]));
        if !want.is_empty() && want != have {
            let why = format!("Precondition failed: {word} in precondition: {want}, {word} in object meta: {have}");
            return conflict(why);
        }
    }
    if !pod.at(&["metadata", "deletionTimestamp"]).is_null() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let bound = pod.str_at(&["spec", "nodeName"]);
    if !bound.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {}", base::status::quote(bound)));
    }
    if !pod.items_at(&["spec", "schedulingGates"]).is_empty() {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }

    pod.set(&["spec", "nodeName"], node);
    pod.remove(&["status", "nominatedNodeName"]);
    for map in ["annotations", "labels"] {
        for (key, value) in body.members_at(&["metadata", map]) {
            pod.set(&["metadata", map, key], value);
        }
    }
    scheduled(cx, pod);
    Ok(ActOutcome::Commit(Some(value!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))))
}

/// Sets the condition `PodScheduled` to true.
fn scheduled(cx: &Context, pod: &mut Value) {
    let condition = value!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": time::seconds(cx.now)});
    let conditions = pod.at_mut(&["status", "conditions"]);
    if conditions.as_array().is_none() {
        *conditions = Value::Array(Vec::new());
    }
    let Some(list) = conditions.as_array_mut() else { return };
    match list.iter_mut().find(|c| c.str_at(&["type"]) == "PodScheduled") {
        Some(existing) if existing.str_at(&["status"]) == "True" => {}
        Some(existing) => *existing = condition,
        None => list.push(condition),
    }
}

/// `pods/eviction`: a deletion that a disruption budget may refuse.
pub fn evict(cx: &Context, body: &Value, pod: &Value) -> Result<ActOutcome> {
    check_name(body, pod.name(), "Eviction")?;
    eviction::evict(cx, body, pod).map(ActOutcome::Delete)
}

fn check_name(body: &Value, name: &str, kind: &str) -> Result<()> {
    if body.name() == name {
        return Ok(());
    }
    Err(Status::new(Reason::BadRequest, format!("name in URL does not match name in {kind} object")))
}
