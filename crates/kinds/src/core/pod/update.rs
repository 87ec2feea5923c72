//! Which changes a pod allows. Almost none: what runs is what was asked for.

use super::qos;
use crate::{at::At, rules::same};
use base::FieldErrors;
use value::Value;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of the main resource.
pub fn spec(spec: At, old: &Value, errors: &mut FieldErrors) {
    for list in ["containers", "initContainers"] {
        let containers = spec.get(list);
        if containers.len() != old.items_at(&[list]).len() {
            return containers.forbidden(errors, "pod updates may not add or remove containers");
        }
    }
    if !deadline(spec, old, errors) {
        return;
    }
    tolerations(spec, old, errors);
    gates(spec, old, errors);
    if only_images_differ(spec.value, old) {
        return;
    }

    // Put back what may change; what then still differs may not.
    let mut rest = spec.value.clone();
    for list in ["containers", "initContainers"] {
        for (container, old) in rest.array_at_mut(&[list]).into_iter().flatten().zip(old.items_at(&[list])) {
            container.set(&["image"], old.at(&["image"]));
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        rest.set(&[field], old.at(&[field]));
    }
    let grace = "terminationGracePeriodSeconds";
    if old.at(&[grace]).as_i64().is_some_and(|g| g < 0) && rest.at(&[grace]).as_i64() == Some(1) {
        rest.set(&[grace], old.at(&[grace]));
    }
    // A pod that waits behind a gate may still be narrowed down.
    if !old.items_at(&["schedulingGates"]).is_empty() {
        node_selector(spec, old, errors);
        rest.set(&["nodeSelector"], old.at(&["nodeSelector"]));
    }
    drop_false(&mut rest);
    let mut old = old.clone();
    drop_false(&mut old);
    if !same(&rest, &old) {
        spec.forbidden(errors, format!("{UPDATABLE}\n{}", difference(&old, &rest)));
    }
}

/// The usual update, seen without copying the spec: everything but images of containers is as it was.
fn only_images_differ(new: &Value, old: &Value) -> bool {
    let same_members = |new: &Value, old: &Value, same: &dyn Fn(&str, &Value, &Value) -> bool| {
        let mut both = new.members_at(&[]).zip(old.members_at(&[]));
        new.members_at(&[]).count() == old.members_at(&[]).count() && { both }
            .all(|((key, new), (before, old))| key == before && same(key, new, old))
    };
    let container = |new: &Value, old: &Value| same_members(new, old, &|key, new, old| key == "image" || new == old);
    same_members(new, old, &|key, new, old| match (key, new, old) {
        ("containers" | "initContainers", Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| container(new, old))
        }
        _ => new == old,
    })
}

/// True where the rest may be checked.
fn deadline(spec: At, old: &Value, errors: &mut FieldErrors) -> bool {
    let (new, old) = (spec.get("activeDeadlineSeconds"), old.at(&["activeDeadlineSeconds"]).as_i64());
    if new.is_set() {
        if !(0..=i64::from(i32::MAX)).contains(&new.int()) {
            new.range(errors, 0, i32::MAX.into());
            return false;
        }
        if old.is_some_and(|old| old < new.int()) {
            new.invalid_int(errors, "must be less than or equal to previous value");
            return false;
        }
    } else if old.is_some() {
        let detail = "must not update from a positive integer to nil value";
        errors.invalid_raw(new.path, "null", detail);
    }
    true
}

fn tolerations(spec: At, old: &Value, errors: &mut FieldErrors) {
    let list = spec.get("tolerations");
    if list.value == old.at(&["tolerations"]) {
        return;
    }
    let key = |t: &Value| {
        let mut t = t.clone();
        t.remove(&["tolerationSeconds"]);
        t
    };
    let kept = |old: &Value| list.items().any(|new| same(&key(new.value), &key(old)));
    if !old.items_at(&["tolerations"]).iter().all(kept) {
        list.forbidden(errors, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(spec: At, old: &Value, errors: &mut FieldErrors) {
    let name = |gate: &Value| gate.str_at(&["name"]).to_string();
    let old: Vec<String> = old.items_at(&["schedulingGates"]).iter().map(name).collect();
    for gate in spec.get("schedulingGates").items() {
        if !old.contains(&name(gate.value)) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", name(gate.value));
            gate.get("name").forbidden(errors, detail);
        }
    }
}

fn node_selector(spec: At, old: &Value, errors: &mut FieldErrors) {
    let selector = spec.get("nodeSelector");
    for (key, value) in old.members_at(&["nodeSelector"]) {
        if selector.entry(key).value != value {
            let detail = "only additions are allowed to spec.nodeSelector (no mutations or deletions)";
            return selector.invalid(errors, detail);
        }
    }
}

/// Booleans that are false and not pointers in the API's types say the same as nothing.
fn drop_false(spec: &mut Value) {
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        drop_one(spec, field);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.array_at_mut(&[list]).into_iter().flatten() {
            ["stdin", "stdinOnce", "tty"].into_iter().for_each(|field| drop_one(container, field));
            for mount in container.array_at_mut(&["volumeMounts"]).into_iter().flatten() {
                drop_one(mount, "readOnly");
            }
        }
    }
}

fn drop_one(obj: &mut Value, field: &str) {
    if obj.at(&[field]).as_bool() == Some(false) {
        obj.remove(&[field]);
    }
}

/// The members that differ, old with `-`, new with `+`.
fn difference(old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    let keys: std::collections::BTreeSet<&str> =
        old.members_at(&[]).chain(new.members_at(&[])).map(|(key, _)| key).collect();
    for key in keys.into_iter().filter(|key| !same(old.at(&[key]), new.at(&[key]))) {
        for (sign, side) in [('-', old), ('+', new)] {
            if !side.at(&[key]).is_null() {
                lines.push(format!("{sign} {key}: {}", side.at(&[key])));
            }
        }
    }
    lines.join("\n")
}

/// What a status update may not lose.
pub fn keep_status(obj: &mut Value, old: &Value) {
    for field in ["qosClass", "observedGeneration"] {
        if obj.at(&["status", field]).is_null() && !old.at(&["status", field]).is_null() {
            obj.set(&["status", field], old.at(&["status", field]));
        }
    }
}

/// An update of the status.
pub fn status(root: At, old: &Value, errors: &mut FieldErrors) {
    let status = root.get("status");
    for condition in status.get("conditions").items() {
        condition.get("type").need(errors);
    }
    let nominated = status.get("nominatedNodeName");
    if !nominated.is_empty() && nominated.str() != old.str_at(&["status", "nominatedNodeName"]) {
        nominated.dns_subdomain(errors);
        if !old.str_at(&["spec", "nodeName"]).is_empty() {
            nominated.forbidden(errors, "may not be set on pods that are already bound to a node");
        }
    }
    status.get("qosClass").immutable(errors, old.at(&["status", "qosClass"]));
    for (list, of) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        transitions(status.get(list), old, list, of, errors);
    }
    ips(status, errors);
}

/// What has ended for good may not run again.
fn transitions(statuses: At, old: &Value, list: &str, of: &str, errors: &mut FieldErrors) {
    let pod_policy = old.str_at(&["spec", "restartPolicy"]);
    for (i, before) in old.items_at(&["status", list]).iter().enumerate() {
        let ended = before.at(&["state", "terminated"]);
        let name = before.str_at(&["name"]);
        let resumed = |s: At| s.get("name").str() == name && s.get("state").get("terminated").value.is_null();
        if ended.is_null() || !statuses.items().any(resumed) {
            continue;
        }
        let container = old.items_at(&["spec", of]).iter().find(|c| c.str_at(&["name"]) == name);
        let has_rules = container.is_some_and(|c| !c.items_at(&["restartPolicyRules"]).is_empty());
        let own = container.map_or("", |c| c.str_at(&["restartPolicy"]));
        let policy = match (own, of) {
            ("", "initContainers") if pod_policy == "Always" => "OnFailure",
            ("", _) => pod_policy,
            (own, _) => own,
        };
        let failed = ended.at(&["exitCode"]).as_i64().unwrap_or(0) != 0;
        if has_rules || policy == "Always" || policy == "OnFailure" && failed || of == "initContainers" && failed {
            continue;
        }
        // A sandbox that is made anew runs its init containers again.
        if of == "initContainers" && pod_policy == "Always" {
            continue;
        }
        let item = statuses.path.index(i);
        errors.forbidden(item.key("state"), "may not be transitioned to non-terminated state");
    }
}

fn ips(status: At, errors: &mut FieldErrors) {
    for list in ["podIPs", "hostIPs"] {
        let list = status.get(list);
        for ip in list.items() {
            ip.get("ip").ip(errors);
        }
    }
}

/// Existing ephemeral containers stay as they are.
pub fn ephemeral_containers(spec: At, old: &Value, errors: &mut FieldErrors) {
    let list = spec.get("ephemeralContainers");
    for before in old.items_at(&["spec", "ephemeralContainers"]) {
        let name = base::status::quote(before.str_at(&["name"]));
        match list.items().find(|c| c.get("name").str() == before.str_at(&["name"])) {
            None => list.forbidden(errors, format!("existing ephemeral containers {name} may not be removed\n")),
            Some(now) if !same(now.value, before) => {
                let difference = difference(before, now.value);
                list.forbidden(
                    errors,
                    format!("existing ephemeral containers {name} may not be changed\n{difference}"),
                );
            }
            Some(_) => {}
        }
    }
}

/// A resize takes resources and resize policies only; a changed set of containers is left for validation to report.
pub fn keep_all_but_resources(obj: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let (new, before) = (obj.items_at(&["spec", list]), old.items_at(&["spec", list]));
        let names = |list: &[Value]| list.iter().map(|c| c.str_at(&["name"]).to_string()).collect::<Vec<_>>();
        if names(new) != names(before) {
            continue;
        }
        let merged = new.iter().zip(before).map(|(new, before)| {
            let mut container = before.clone();
            for field in ["resources", "resizePolicy"] {
                match new.at(&[field]) {
                    Value::Null => drop(container.remove(&[field])),
                    value => container.set(&[field], value),
                }
            }
            container
        });
        let merged: Value = merged.collect();
        if !new.is_empty() {
            obj.set(&["spec", list], merged);
        }
    }
}

/// A resize changes CPU and memory, and never the QoS class.
pub fn resize(root: At, old: &Value, errors: &mut FieldErrors) {
    let spec = root.get("spec");
    let before = old.at(&["spec"]);
    if qos::class(root.value) != qos::class(old) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        spec.invalid_as(errors, qos::class(root.value), detail);
    }
    for list in ["containers", "initContainers"] {
        let containers = spec.get(list);
        if containers.len() != before.items_at(&[list]).len() {
            containers.forbidden(errors, "pod resize may not add or remove containers");
            continue;
        }
        for (container, before) in containers.items().zip(before.items_at(&[list])) {
            let resources = container.get("resources");
            for amounts in ["limits", "requests"] {
                let amounts_at = resources.get(amounts);
                let old = before.at(&["resources", amounts]);
                let names = amounts_at.entries().map(|(name, _)| name).chain(old.members_at(&[]).map(|(name, _)| name));
                for name in names.collect::<std::collections::BTreeSet<_>>() {
                    if !["cpu", "memory"].contains(&name) && !same(amounts_at.entry(name).value, old.at(&[name])) {
                        spec.forbidden(errors, "only cpu and memory resources are mutable");
                    }
                }
            }
        }
    }
}
