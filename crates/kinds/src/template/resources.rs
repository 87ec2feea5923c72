//! Requests and limits.

use crate::{at::At, rules::quantity};
use base::{FieldErrors, names};
use std::collections::BTreeSet;

/// Resources that a container may ask for without a domain in the name.
const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// `ResourceRequirements` of a container.
pub fn requirements(resources: At, errors: &mut FieldErrors) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, amount) in limits.entries() {
        resource_name(amount, name, errors);
        amount_of(amount, name, errors);
    }
    for (name, amount) in requests.entries() {
        resource_name(amount, name, errors);
        amount_of(amount, name, errors);
        let limit = limits.entry(name);
        match (quantity(amount.value), quantity(limit.value)) {
            (Some(request), Some(limit)) if !overcommit(name) && request != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                requests.invalid_as(errors, &request.to_string(), detail);
            }
            (Some(request), Some(limit)) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                requests.invalid_as(errors, &request.to_string(), detail);
            }
            (_, None) if !overcommit(name) => {
                limits.required(errors, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let all: Vec<&str> = limits.entries().chain(requests.entries()).map(|(name, _)| name).collect();
    if all.iter().any(|n| huge_page(n)) && !all.iter().any(|n| ["cpu", "memory"].contains(n)) {
        resources.forbidden(errors, "HugePages require cpu or memory");
    }
}

/// `resizePolicy` of a container.
pub fn resize_policy(policies: At, pod_restart: &str, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for policy in policies.items() {
        let (resource, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        if !seen.insert(resource.str().to_string()) {
            errors.duplicate(policy.path, resource.str());
        }
        for (field, supported) in
            [(resource, &["cpu", "memory"] as &[_]), (restart, &["NotRequired", "RestartContainer"])]
        {
            if field.is_empty() {
                policies.required(errors, "");
            } else if !supported.contains(&field.str()) {
                errors.not_supported(policies.path, field.str(), supported);
            }
        }
        if pod_restart == "Never" && restart.str() != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            policies.invalid_as(errors, restart.str(), detail);
        }
    }
}

fn amount_of(amount: At, name: &str, errors: &mut FieldErrors) {
    let Some(quantity) = amount.quantity(errors) else { return };
    // Devices and huge pages come whole.
    if !overcommit(name) && !huge_page(name) && !quantity.is_whole() {
        amount.invalid(errors, "must be an integer");
    }
}

fn resource_name(place: At, name: &str, errors: &mut FieldErrors) {
    if let Err(message) = names::qualified_name(name) {
        return place.invalid_as(errors, name, message);
    }
    if !name.contains('/') {
        if !CONTAINER.contains(&name) && !huge_page(name) {
            place.invalid_as(errors, name, "must be a standard resource type or fully qualified");
            place.invalid_as(errors, name, "must be a standard resource for containers");
        }
    } else if !native(name)
        && (name.starts_with("requests.") || names::qualified_name(&format!("requests.{name}")).is_err())
    {
        place.invalid_as(errors, name, "doesn't follow extended resource name standard");
    }
}

fn huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}
fn native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}
fn overcommit(name: &str) -> bool {
    native(name) && !huge_page(name)
}
