//! Requests and limits.

use crate::{at::At, rules::quantity};
use base::{FieldErrors, names, quantity::Quantity};
use std::collections::{BTreeMap, BTreeSet};
use value::Value;

/// Resources that a container may ask for without a domain in the name.
const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// `ResourceRequirements` of a container.
pub fn requirements(resources: At, errors: &mut FieldErrors) {
    amounts(resources, container_resource, errors);
}

/// Limits, and requests that fit them; `name` says which resources may stand there.
fn amounts(resources: At, name_check: fn(At, &str, &mut FieldErrors), errors: &mut FieldErrors) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, amount) in limits.entries() {
        name_check(amount, name, errors);
        amount_of(amount, name, errors);
    }
    for (name, amount) in requests.entries() {
        name_check(amount, name, errors);
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

/// Resources that have a name without a domain, here or in a quota.
const STANDARD: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

/// Amounts by the name of the resource.
type Amounts = BTreeMap<String, Quantity>;

/// What all containers of a pod ask for together: init containers run one after another beside the side-cars before
/// them, so the largest of them counts. Source: `k8s.io/component-helpers/resource`.
fn together(spec: &Value, list: &str) -> Amounts {
    let add = |total: &mut Amounts, more: &Amounts| {
        for (name, amount) in more {
            *total.entry(name.clone()).or_default() += *amount;
        }
    };
    let own = |container: &Value| -> Amounts {
        let amounts = container.at(&["resources", list]).as_object().into_iter().flat_map(|map| map.iter());
        amounts.filter_map(|(name, amount)| Some((name.to_string(), quantity(amount)?))).collect()
    };
    let (mut total, mut sidecars, mut largest) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in spec.items_at(&["containers"]) {
        add(&mut total, &own(container));
    }
    for container in spec.items_at(&["initContainers"]) {
        let mut at_once = own(container);
        if container.str_at(&["restartPolicy"]) == "Always" {
            add(&mut total, &at_once);
            add(&mut sidecars, &at_once);
            at_once.clone_from(&sidecars);
        } else {
            add(&mut at_once, &sidecars);
        }
        for (name, amount) in at_once {
            let most = largest.entry(name).or_default();
            *most = amount.max(*most);
        }
    }
    for (name, amount) in largest {
        let most = total.entry(name).or_default();
        *most = amount.max(*most);
    }
    total
}

/// `resources` of the pod itself (KEP-2837): requests that are absent are those of the containers, or the limits.
pub fn default_pod(spec: &mut Value) {
    if spec.at(&["resources", "limits"]).as_object().is_none_or(|limits| limits.is_empty()) {
        return;
    }
    for (name, amount) in together(spec, "requests") {
        if CONTAINER[..2].contains(&name.as_str()) {
            spec.set_default(&["resources", "requests", &name], amount.to_string());
        }
    }
    let limits = spec.at(&["resources", "limits"]).clone();
    for (name, limit) in limits.members_at(&[]).filter(|(name, _)| pod_level(name)) {
        spec.set_default(&["resources", "requests", name], limit);
    }
}

/// `resources` of the pod itself against those of its containers.
pub fn pod(spec: At, errors: &mut FieldErrors) {
    let resources = spec.get("resources");
    if !resources.is_set() {
        return;
    }
    if !resources.get("claims").is_empty() {
        resources.get("claims").forbidden(errors, "claims may not be set for Resources at pod-level");
    }
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    amounts(resources, pod_resource, errors);
    for (name, sum) in together(spec.value, "requests") {
        let request = requests.entry(&name);
        if let Some(own) = quantity(request.value).filter(|own| sum > *own) {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            request.invalid_as(errors, &own.to_string(), detail);
        }
    }
    let containers = resources.get("containers");
    for (i, container) in spec.get("containers").items().enumerate() {
        for (name, limit) in container.value.members_at(&["resources", "limits"]) {
            let (limit, most) = (quantity(limit), quantity(limits.entry(name).value));
            if let (Some(limit), Some(most)) = (limit, most)
                && limit > most
            {
                let detail = format!("must be less than or equal to pod limits of {most}");
                let place = containers.path.index(i);
                errors.invalid(place.map_key(name).key("limits"), &limit.to_string(), detail);
            }
        }
    }
}

fn pod_level(name: &str) -> bool {
    CONTAINER[..2].contains(&name) || huge_page(name)
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

/// An amount of the resource `name`.
pub fn amount_of(amount: At, name: &str, errors: &mut FieldErrors) {
    let Some(quantity) = amount.quantity(errors) else { return };
    // Devices and huge pages come whole.
    if !overcommit(name) && !huge_page(name) && !quantity.is_whole() {
        amount.invalid(errors, "must be an integer");
    }
}

/// The same in a quota, which counts objects too.
pub fn quota_amount(amount: At, name: &str, errors: &mut FieldErrors) {
    const COUNTED: [&str; 9] = [
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    let Some(quantity) = amount.quantity(errors) else { return };
    let extended = !native(name) && !name.starts_with("requests.");
    if (extended || COUNTED.contains(&name)) && !quantity.is_whole() {
        amount.invalid(errors, "must be an integer");
    }
}

/// True for a resource that has a name without a domain, here or in a quota.
pub fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
}

/// A name with a domain, or one of the names without.
pub fn resource_name(place: At, name: &str, errors: &mut FieldErrors) -> bool {
    let wrong = match names::qualified_name(name) {
        Err(message) => message,
        Ok(()) if name.contains('/') || STANDARD.contains(&name) || huge_page(name.trim_start_matches("requests.")) => {
            return true;
        }
        Ok(()) => "must be a standard resource type or fully qualified".into(),
    };
    place.invalid_as(errors, name, wrong);
    false
}

fn pod_resource(place: At, name: &str, errors: &mut FieldErrors) {
    if resource_name(place, name, errors) && !pod_level(name) {
        errors.not_supported(place.path, name, &["cpu", "hugepages-", "memory"]);
    }
}

/// The name of a resource that a container may ask for.
pub fn container_resource(place: At, name: &str, errors: &mut FieldErrors) {
    resource_name(place, name, errors);
    if !name.contains('/') {
        if !CONTAINER.contains(&name) && !huge_page(name) {
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
/// True where more may be promised than there is.
pub fn overcommit(name: &str) -> bool {
    native(name) && !huge_page(name)
}
